-- KEYS: x. ARGV: number, record (a JSON list, see records.py) of each attempt that ended without a result; all of a trial's, in order.
-- Returns 1, or 0 when the experiment is not being restored any more.
local x = KEYS[1]
if redis.call('HEXISTS', x, 'restoring') == 0 then
  return 0
end
local is_new = {}
for i = 1, #ARGV, 2 do
  local key = x .. ':attempts:' .. ARGV[i]
  if is_new[key] == nil then
    is_new[key] = redis.call('EXISTS', key) == 0
  end
  if is_new[key] then
    redis.call('RPUSH', key, ARGV[i + 1])
  end
end
return 1
