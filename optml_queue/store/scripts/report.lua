-- KEYS: x. ARGV: number, token, step, value. Recorded once per step; the first value of a step stands, and only that one is
-- judged by the experiment's rule of early stopping (see stopping.lua). Who is to stop has it as an order, for later attempts
-- too. Returns the order.
local x, n, step, value = KEYS[1], ARGV[1], ARGV[3], ARGV[4]
local t = redis.call('HMGET', x .. ':t:' .. n, 's', 'tok', 'o')
if t[1] ~= 'running' or t[2] ~= ARGV[2] then
  return 'abort'
end
local is_first = redis.call('HSETNX', x .. ':curve:' .. n, step, value) == 1
local order = order_of(x, t[3])
if order == 'ok' and is_first and is_to_stop(x, n, rule_of(x), tonumber(step), value) then
  redis.call('HSET', x .. ':t:' .. n, 'o', 'stop')
  return 'stop'
end
return order
