-- KEYS: x. ARGV: number, token, lease (ms; 0: only ask). Returns the order: ok, stop, cancel, release or abort.
local x, n = KEYS[1], ARGV[1]
local t = redis.call('HMGET', x .. ':t:' .. n, 's', 'tok', 'o')
if t[1] ~= 'running' or t[2] ~= ARGV[2] then
  return 'abort'
end
if tonumber(ARGV[3]) > 0 then
  redis.call('ZADD', LEASES, 'XX', now_ms() + tonumber(ARGV[3]), lease_of(x, n))
end
return order_of(x, t[3])
