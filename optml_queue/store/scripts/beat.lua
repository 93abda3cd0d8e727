-- KEYS: x. ARGV: token, lease (ms; 0: only ask), numbers of the trials that run under the token, or may.
-- Returns the order for the first that does: ok, stop, cancel, release or abort; abort when none does.
local x, token, lease_ms = KEYS[1], ARGV[1], tonumber(ARGV[2])
local order = nil
for i = 3, #ARGV do
  local n = ARGV[i]
  local t = redis.call('HMGET', x .. ':t:' .. n, 's', 'tok', 'o')
  if t[1] == 'running' and t[2] == token then
    if lease_ms > 0 then
      redis.call('ZADD', LEASES, 'XX', now_ms() + lease_ms, lease_of(x, n))
    end
    order = order or order_of(x, t[3])
  end
end
return order or 'abort'
