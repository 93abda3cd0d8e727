-- KEYS: x. ARGV: reason. The server was started anew by its only user: no worker lives and the queue was emptied.
-- Pauses the experiment; its running attempts are lost, its published trials unpublished. Returns its state.
local x = KEYS[1]
local now = now_ms()
for _, n in ipairs(redis.call('ZRANGE', x .. ':running', 0, -1)) do
  lose(x, n)
end
for _, n in ipairs(redis.call('ZRANGE', x .. ':published', 0, -1)) do
  redis.call('ZADD', x .. ':due', now, n)
end
redis.call('DEL', x .. ':published')
if redis.call('HGET', x, 'state') == 'running' and redis.call('HEXISTS', x, 'ending') == 0 then
  redis.call('HSET', x, 'state', 'paused', 'reason', ARGV[1])
end
return redis.call('HGET', x, 'state')
