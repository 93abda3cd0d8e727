-- KEYS: x. ARGV: number, token, step, value. Recorded once per step; the first value of a step stands. Returns the order.
local x, n = KEYS[1], ARGV[1]
local t = redis.call('HMGET', x .. ':t:' .. n, 's', 'tok', 'o')
if t[1] ~= 'running' or t[2] ~= ARGV[2] then
  return 'abort'
end
redis.call('HSETNX', x .. ':curve:' .. n, ARGV[3], ARGV[4])
return order_of(x, t[3])
