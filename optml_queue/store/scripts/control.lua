-- KEYS: x. ARGV: verb (pause, resume, stop, cancel, fail), reason. Returns the state the experiment is in now.
-- One that is over or ending stays as it is, and keeps the reason it ends for; but one that was stopped can be resumed,
-- and cancelled as long as trials of it run.
local x, verb = KEYS[1], ARGV[1]
local facts = redis.call('HMGET', x, 'state', 'ending', 'restoring')
local state, ending = facts[1], facts[2]
if not state or facts[3] then
  return state
end
if verb == 'resume' and (state == 'stopped' or ending == 'stopped') then
  redis.call('HDEL', x, 'ending')
  open_again(x)
  settle(x) -- what was stopped may have finished late
  return redis.call('HGET', x, 'state')
end
if (state ~= 'running' and state ~= 'paused') or (ending and not (ending == 'stopped' and verb == 'cancel')) then
  return state
end
if verb == 'pause' then
  redis.call('HSET', x, 'state', 'paused', 'reason', ARGV[2])
elseif verb == 'resume' then
  redis.call('HSET', x, 'state', 'running', 'reason', '')
  redis.call('ZADD', ACTIVE, 'NX', now_ms(), id_of(x))
  want(x)
else
  local ends = { stop = 'stopped', cancel = 'cancelled', fail = 'failed' }
  redis.call('HSET', x, 'state', 'running', 'ending', ends[verb], 'reason', ARGV[2])
  settle(x)
  want(x)
end
return redis.call('HGET', x, 'state')
