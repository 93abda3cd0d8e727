-- KEYS: x. ARGV: token, reason, error (JSON), then number and generation of the trials that one message carried.
-- Their run was cut off: those that had begun are handed back, those that had not are to be published again. Nobody knows which one
-- it was that failed, so none of them is said to have. Returns the state of the last one that this concerned, or 'refused'.
local x, token, now = KEYS[1], ARGV[1], now_ms()
local state = 'refused'
for i = 4, #ARGV, 2 do
  local n = ARGV[i]
  local t = redis.call('HMGET', x .. ':t:' .. n, 's', 'tok', 'g')
  if t[1] == 'running' and t[2] == token then
    state = end_attempt(x, n, ARGV[2], false, ARGV[3], '""', 0, '""')
  elseif t[1] == 'queued' and t[3] == ARGV[i + 1] and redis.call('ZREM', x .. ':published', n) == 1 then
    redis.call('ZADD', x .. ':due', now, n)
    state = 'queued'
  end
end
if state == 'queued' then
  want(x)
end
return state
