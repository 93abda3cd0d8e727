-- KEYS: x. ARGV: field, value, the value it must have now. Returns 1, or 0 when it has another.
local x = KEYS[1]
local value = redis.call('HGET', x, ARGV[1]) or (ARGV[1] == 'archived' and '0' or '-1')
if value ~= ARGV[3] then
  return 0
end
redis.call('HSET', x, ARGV[1], ARGV[2])
return 1
