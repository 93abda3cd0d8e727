-- KEYS: x. ARGV: nonce, then field, value, … Returns 1 (also to the same call again), or 0 when the experiment exists.
local x, nonce = KEYS[1], table.remove(ARGV, 1)
if redis.call('EXISTS', x) == 1 then
  return redis.call('HGET', x, 'nonce') == nonce and 1 or 0
end
local now = now_ms()
redis.call('HSET', x, unpack(ARGV))
redis.call('HSET', x, 'state', 'running', 'created_at', int(now), 'next', '0', 'exhausted', '0', 'nonce', nonce)
redis.call('ZADD', ROOT .. ':experiments', now, id_of(x))
redis.call('ZADD', ACTIVE, now, id_of(x))
want(x)
return 1
