-- KEYS: x. ARGV: created at (ms), then field, value, … An experiment that the archive knows comes into being, paused until all
-- of it is there. Returns 1 (also when somebody began before, and is not done), or 0 when it exists.
local x, created_at = KEYS[1], table.remove(ARGV, 1)
if redis.call('EXISTS', x) == 1 then
  return redis.call('HEXISTS', x, 'restoring')
end
redis.call('HSET', x, unpack(ARGV))
redis.call('HSET', x, 'state', 'paused', 'reason', 'is being restored from the archive', 'restoring', '1',
  'created_at', created_at, 'next', '0', 'exhausted', '0')
redis.call('ZADD', ROOT .. ':experiments', created_at, id_of(x))
return 1
