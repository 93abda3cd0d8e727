-- KEYS: x, a list of the numbers in order of finishing. ARGV: field, value, … Everything is there: the list becomes the log, and the
-- fields, state among them, hold from now on. Returns 1, or 0 when somebody else was first.
local x, log = KEYS[1], KEYS[2]
if redis.call('HDEL', x, 'restoring') == 0 then
  redis.call('DEL', log)
  return 0
end
if redis.call('EXISTS', log) == 1 then
  redis.call('PERSIST', log)
  redis.call('RENAME', log, x .. ':log')
end
redis.call('HSET', x, unpack(ARGV))
local length = redis.call('LLEN', x .. ':log')
redis.call('HSET', x, 'archived', length)
if redis.call('HEXISTS', x, 'finished_at') == 1 then
  redis.call('HSET', x, 'consolidated', length)
else
  redis.call('ZADD', ACTIVE, 'NX', now_ms(), id_of(x))
end
return 1
