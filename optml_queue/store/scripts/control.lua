-- KEYS: x. ARGV: verb (pause, resume, cancel, fail), reason. Returns the state the experiment is in now.
-- One that is over or ending stays as it is, and keeps the reason it ends for.
local x, verb = KEYS[1], ARGV[1]
local state = redis.call('HGET', x, 'state')
if (state ~= 'running' and state ~= 'paused') or redis.call('HEXISTS', x, 'ending') == 1 then
  return state
end
if verb == 'pause' then
  redis.call('HSET', x, 'state', 'paused', 'reason', ARGV[2])
elseif verb == 'resume' then
  redis.call('HSET', x, 'state', 'running', 'reason', '')
  redis.call('ZADD', ACTIVE, 'NX', now_ms(), id_of(x))
  want(x)
else
  redis.call('HSET', x, 'state', 'running', 'ending', verb == 'fail' and 'failed' or 'cancelled', 'reason', ARGV[2])
  settle(x)
  want(x)
end
return redis.call('HGET', x, 'state')
