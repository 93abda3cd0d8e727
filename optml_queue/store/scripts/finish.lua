-- KEYS: x. ARGV: number, token, state, metrics (JSON), reason (JSON).
-- Returns 'accepted', 'duplicate' or 'refused'.
local x, n = KEYS[1], ARGV[1]

local t = redis.call('HMGET', x .. ':t:' .. n, 's', 'tok', 'a')
if not t[1] then
  if redis.call('HEXISTS', bucket_of(x, n), n) == 1 then
    note(x, 'duplicate results')
    return 'duplicate'
  end
  return 'refused'
end
if t[1] == 'running' and t[2] ~= ARGV[2] then
  note(x, 'refused results')
  return 'refused'
end
-- A queued trial has no living attempt: a late finisher whose lease ran out still brings the one result there is.
if t[1] == 'queued' then
  note(x, 'late results')
end
if t[3] == '0' then
  redis.call('HSET', x .. ':t:' .. n, 'a', 1) -- its begin was in a last second that the server lost
end
if ARGV[3] == 'complete' then
  end_if_target_reached(x, n, ARGV[4], ARGV[5])
end
conclude(x, n, ARGV[3], ARGV[4], ARGV[5], '""')
if ARGV[3] == 'complete' and redis.call('HGET', x, 'stop') == 'median' then
  keep_averages(x, n)
end
return 'accepted'
