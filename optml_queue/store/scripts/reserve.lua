-- KEYS: x. ARGV: expected next, new next, exhausted (0 or 1), extensions (of the plan that was read), how many results are reused;
-- of each of those number, state, metrics (JSON), reason (JSON), origin (JSON), the key of the earlier trial's curve;
-- then number, params, digest, seed, cost ("": unknown), origin (JSON or "") of each new trial, the reused ones too.
-- Returns 1, or 0 when another reserved first, the plan was extended, or the experiment does not run.
local x = KEYS[1]
local FIRST = 6
local facts = redis.call('HMGET', x, 'next', 'state', 'ending', 'extensions')
if facts[1] ~= ARGV[1] or facts[2] ~= 'running' or facts[3] or (facts[4] or '0') ~= ARGV[4] then
  return 0
end
local now = int(now_ms())
local reused, added = tonumber(ARGV[5]), 0
for i = FIRST + 6 * reused, #ARGV, 6 do
  local n = ARGV[i]
  redis.call('HSET', x .. ':t:' .. n, 's', 'queued', 'p', ARGV[i + 1], 'd', ARGV[i + 2], 'seed', ARGV[i + 3],
    'a', 0, 'q', now)
  if ARGV[i + 5] ~= '' then
    redis.call('HSET', x .. ':t:' .. n, 'from', ARGV[i + 5])
  end
  add_fresh(x, n, ARGV[i + 4])
  added = added + 1
end
count(x, 'queued', added)
redis.call('HINCRBY', x, 'created', added)
redis.call('HSET', x, 'next', ARGV[2], 'exhausted', ARGV[3])
for i = FIRST, FIRST + 6 * reused - 1, 6 do
  local n, state = ARGV[i], ARGV[i + 1]
  if redis.call('HEXISTS', x, 'ending') == 1 then
    break -- a target was reached, or a budget spent: what is left is cancelled as any trial that waits
  end
  redis.call('ZREM', x .. ':fresh', n)
  redis.call('HSET', x .. ':t:' .. n, 'from', ARGV[i + 4])
  redis.call('COPY', ARGV[i + 5], x .. ':curve:' .. n)
  redis.call('HINCRBY', x, 'reused', 1)
  conclude(x, n, state, ARGV[i + 2], ARGV[i + 3], '""')
  if state == 'complete' and redis.call('HGET', x, 'stop') == 'median' then
    keep_averages(x, n)
  end
end
settle(x)
return 1
