-- KEYS: x. ARGV: number, token, key of the checkpoint. The pointer moves to it, and hand-backs count anew: the trial got
-- further. Returns the order; with abort, the pointer stands where it was.
local x, n = KEYS[1], ARGV[1]
local key = x .. ':t:' .. n
local t = redis.call('HMGET', key, 's', 'tok', 'o')
if t[1] ~= 'running' or t[2] ~= ARGV[2] then
  return 'abort'
end
redis.call('HSET', key, 'c', ARGV[3], 'r', 0)
return order_of(x, t[3])
