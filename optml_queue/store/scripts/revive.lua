-- KEYS: x. ARGV: number, generation. The message of that generation can no longer be delivered.
-- A published trial that has not begun, and has no younger message, is due again. Returns 1 if it is, else 0.
local x, n = KEYS[1], ARGV[1]
local t = redis.call('HMGET', x .. ':t:' .. n, 's', 'g')
if t[1] ~= 'queued' or t[2] ~= ARGV[2] or redis.call('ZREM', x .. ':published', n) == 0 then
  return 0
end
redis.call('ZADD', x .. ':due', now_ms(), n)
redis.call('HINCRBY', x, 'recovered', 1)
want(x)
return 1
