-- KEYS: x. ARGV: number, cost, … Puts trials that wait, in the queue too, in the order of costs, the greatest first: those that were
-- published are recalled (see claim.lua) and published again. Trials that wait after a failure go before, as ever.
-- Returns how many have a place now.
local x, key = KEYS[1], KEYS[1] .. ':t:'
local facts = redis.call('HMGET', x, 'state', 'ending')
if facts[1] ~= 'running' or facts[2] then
  return 0
end
local placed, is_recalled = 0, false
for i = 1, #ARGV, 2 do
  local n = ARGV[i]
  local was_published = redis.call('ZREM', x .. ':published', n) == 1
  if was_published or redis.call('ZSCORE', x .. ':fresh', n) then
    if was_published then
      redis.call('HSET', key .. n, 'g', 0)
      is_recalled = true
    end
    add_fresh(x, n, ARGV[i + 1])
    placed = placed + 1
  end
end
if is_recalled then
  redis.call('HSET', x, 'recalled', '1')
  want(x)
end
return placed
