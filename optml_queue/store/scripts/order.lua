-- KEYS: x. ARGV: number, order (stop, cancel, release). A running trial is told at its next beat or report; a queued one
-- can only be cancelled, and is at once. Returns the trial's state now, or 'refused'.
local x, n, order = KEYS[1], ARGV[1], ARGV[2]
local state = redis.call('HGET', x .. ':t:' .. n, 's')
if state == 'running' then
  redis.call('HSET', x .. ':t:' .. n, 'o', order)
  return state
end
if state == 'queued' and order == 'cancel' then
  conclude(x, n, 'cancelled', '{}', '"cancelled"', '""')
  return 'cancelled'
end
return 'refused'
