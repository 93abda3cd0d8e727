-- KEYS: x. ARGV: most, slack (messages), grace (ms), idle (0 or 1: a worker of the class has polled empty for a while).
-- Puts published trials whose message must be lost back in line, oldest first: ones published clearly later have begun,
-- or workers find nothing. A message that was only slow is declined later as stale. Returns how many.
local x = KEYS[1]
local facts = redis.call('HMGET', x, 'state', 'ending', 'class', 'carried')
if facts[1] ~= 'running' or facts[2] then
  return 0
end
local now = now_ms()
local begun = tonumber(redis.call('GET', ROOT .. ':begun:' .. facts[3]) or '0')
local oldest = redis.call('ZRANGE', x .. ':published', 0, tonumber(ARGV[1]) - 1, 'WITHSCORES')
local slack = tonumber(ARGV[2]) * tonumber(facts[4] or '1')
local found = 0
for i = 1, #oldest, 2 do
  local n, sequence = oldest[i], tonumber(oldest[i + 1])
  local overtaken = sequence + slack < begun
  local published = tonumber(redis.call('HGET', x .. ':t:' .. n, 'pub') or '0')
  if (overtaken or ARGV[4] == '1') and published + tonumber(ARGV[3]) <= now then
    redis.call('ZREM', x .. ':published', n)
    redis.call('ZADD', x .. ':due', now, n)
    found = found + 1
  end
end
if found > 0 then
  redis.call('HINCRBY', x, 'recovered', found)
  redis.call('HINCRBY', ROOT .. ':totals', 'recovered', found)
  want(x)
end
return found
