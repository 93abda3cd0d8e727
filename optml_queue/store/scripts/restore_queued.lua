-- KEYS: x. ARGV: number, params, digest, seed, attempts, key of the last checkpoint (or "") of each trial that had begun or waited.
-- Those that are there stay as they are. Returns 1, or 0 when the experiment is not being restored any more.
local x = KEYS[1]
if redis.call('HEXISTS', x, 'restoring') == 0 then
  return 0
end
local now = int(now_ms())
for i = 1, #ARGV, 6 do
  local n = ARGV[i]
  local key = x .. ':t:' .. n
  if redis.call('EXISTS', key) == 0 then
    redis.call('HSET', key, 's', 'queued', 'p', ARGV[i + 1], 'd', ARGV[i + 2], 'seed', ARGV[i + 3],
      'a', ARGV[i + 4], 'q', now)
    if ARGV[i + 5] ~= '' then
      redis.call('HSET', key, 'c', ARGV[i + 5])
    end
    add_fresh(x, n)
    count(x, 'queued', 1)
  end
end
return 1
