-- KEYS: x. ARGV: expected next, new next, exhausted (0 or 1), extensions (of the plan that was read), then number, params, digest, seed, cost
-- ("": unknown), origin (JSON or "") of each new trial.
-- Returns 1, or 0 when another reserved first, the plan was extended, or the experiment does not run.
local x = KEYS[1]
local facts = redis.call('HMGET', x, 'next', 'state', 'ending', 'extensions')
if facts[1] ~= ARGV[1] or facts[2] ~= 'running' or facts[3] or (facts[4] or '0') ~= ARGV[4] then
  return 0
end
local now = int(now_ms())
local added = 0
for i = 5, #ARGV, 6 do
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
settle(x)
return 1
