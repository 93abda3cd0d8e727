-- KEYS: x. ARGV: number, record as it was read, state, params, digest, seed, attempts, origin (JSON or ""), … seven of each
-- trial after its number.
-- Puts failed and cancelled trials back in line with a fresh count of failures; they go on from their last checkpoints.
-- Returns how many; -1 while the experiment is ending: to reopen a trial now would mean to go on with those that are yet
-- to be cancelled.
local x = KEYS[1]
if redis.call('HEXISTS', x, 'ending') == 1 and redis.call('HEXISTS', x, 'finished_at') == 0 then
  return -1
end
local now = int(now_ms())
local reopened = 0
for i = 1, #ARGV, 8 do
  local n, state = ARGV[i], ARGV[i + 2]
  if redis.call('HGET', bucket_of(x, n), n) == ARGV[i + 1] then
    redis.call('HDEL', bucket_of(x, n), n)
    redis.call('ZREM', x .. ':in:' .. state, n)
    redis.call('HSET', x .. ':t:' .. n, 's', 'queued', 'p', ARGV[i + 3], 'd', ARGV[i + 4], 'seed', ARGV[i + 5],
      'a', ARGV[i + 6], 'q', now)
    if ARGV[i + 7] ~= '' then
      redis.call('HSET', x .. ':t:' .. n, 'from', ARGV[i + 7])
    end
    local checkpoint = redis.call('HGET', x .. ':checkpoints', n)
    if checkpoint then
      redis.call('HSET', x .. ':t:' .. n, 'c', checkpoint)
      redis.call('HDEL', x .. ':checkpoints', n)
    end
    redis.call('SADD', x .. ':reopened', n)
    add_fresh(x, n)
    count(x, state, -1)
    count(x, 'queued', 1)
    reopened = reopened + 1
  end
end
if reopened > 0 then
  if redis.call('HGET', x, 'state') == 'cancelled' or redis.call('HGET', x, 'ending') == 'complete' then
    -- Only what was asked for runs again, not the rest of a grid that somebody, a target or a budget cut off.
    redis.call('HSET', x, 'exhausted', '1')
  end
  redis.call('HDEL', x, 'ending')
  open_again(x)
end
return reopened
