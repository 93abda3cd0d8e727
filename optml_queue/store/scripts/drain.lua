-- KEYS: x. ARGV: most. Cancels queued trials of an experiment that is ending; one that is stopped keeps them.
-- Returns how many.
local x = KEYS[1]
local facts = redis.call('HMGET', x, 'ending', 'reason')
if not facts[1] or facts[1] == 'stopped' then
  return 0
end
local most = tonumber(ARGV[1])
local numbers = redis.call('ZRANGE', x .. ':due', 0, most - 1)
for _, n in ipairs(redis.call('ZRANGE', x .. ':published', 0, most - 1)) do
  numbers[#numbers + 1] = n
end
local fresh = redis.call('ZPOPMIN', x .. ':fresh', most)
for i = 1, #fresh, 2 do
  numbers[#numbers + 1] = fresh[i]
end
local drained = 0
for _, n in ipairs(numbers) do
  if redis.call('HGET', x .. ':t:' .. n, 's') == 'queued' then
    conclude(x, n, 'cancelled', '{}', '"cancelled"', '""')
    drained = drained + 1
  end
end
settle(x)
return drained
