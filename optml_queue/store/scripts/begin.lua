-- KEYS: x. ARGV: number, generation, digest, token, worker, lease (ms).
-- Returns {'run', attempt, params, seed, key of the last checkpoint} or {'declined', why}.
local x, n, token = KEYS[1], ARGV[1], ARGV[4]
local key = x .. ':t:' .. n

local function declined(why)
  note(x, 'declined:' .. why)
  return { 'declined', why }
end

local t = redis.call('HMGET', key, 's', 'tok', 'a', 'p', 'seed', 'c', 'g', 'd')
local state, attempt = t[1], tonumber(t[3] or '0')

local function answer()
  return { 'run', attempt, t[4], t[5], t[6] or '' }
end

if not state then
  if is_finished(x, n) then
    return declined('already finished')
  end
  return { 'declined', 'unknown trial' } -- not noted: there may be no such experiment
end
if state == 'running' then
  if t[2] == token then
    return answer()
  end
  local lease = redis.call('ZSCORE', LEASES, lease_of(x, n))
  if lease and tonumber(lease) > now_ms() then
    return declined('running elsewhere')
  end
  if lose(x, n) ~= 'queued' then
    return declined('out of attempts')
  end
end
if t[7] ~= ARGV[2] then
  return declined('stale message')
end
if t[8] ~= ARGV[3] then
  return declined('other parameters than the store has')
end
local facts = redis.call('HMGET', x, 'state', 'ending', 'class', 'max_parallel')
local now = now_ms()
if facts[2] and facts[2] ~= 'stopped' then
  return declined(facts[2])
end
if facts[2] or facts[1] ~= 'running' then
  unpublish(x, n, now)
  return declined(facts[2] or facts[1])
end
local due = redis.call('ZSCORE', x .. ':due', n)
if due and tonumber(due) > now then
  return declined('waits before its next attempt')
end
local sequence = redis.call('ZSCORE', x .. ':published', n)
if sequence then
  note_begun(facts[3], tonumber(sequence))
end
if not sequence and facts[4] and facts[4] ~= '' then
  -- Its message was taken for lost, and others may have come in its place.
  if redis.call('ZCARD', x .. ':published') + redis.call('ZCARD', x .. ':running') >= tonumber(facts[4]) then
    return declined('waits for others to end')
  end
end
redis.call('ZREM', x .. ':published', n)
if due then
  redis.call('ZREM', x .. ':due', n)
end
attempt = attempt + 1
if attempt > 1 then
  note_another_attempt(x, key, now)
end
redis.call('HSET', key, 's', 'running', 'a', int(attempt), 'tok', token, 'w', ARGV[5], 'b', int(now))
redis.call('ZADD', x .. ':running', now, n)
redis.call('ZADD', LEASES, now + tonumber(ARGV[6]), lease_of(x, n))
count(x, 'queued', -1)
count(x, 'running', 1)
want_if_low(x)
return answer()
