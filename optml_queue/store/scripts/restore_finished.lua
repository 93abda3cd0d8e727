-- KEYS: x. ARGV: number, state, metrics (JSON), reason (JSON), record (a JSON list, see records.py) of each finished trial. Those that are there
-- stay as they are. Returns 1, or 0 when the experiment is not being restored any more.
local x = KEYS[1]
if redis.call('HEXISTS', x, 'restoring') == 0 then
  return 0
end
local judged = redis.call('HMGET', x, 'metric', 'goal')
for i = 1, #ARGV, 5 do
  local n, state = ARGV[i], ARGV[i + 1]
  if redis.call('HSETNX', bucket_of(x, n), n, ARGV[i + 4]) == 1 then
    redis.call('ZADD', x .. ':buckets', 'NX', bucket_number(n), bucket_number(n))
    count(x, state, 1)
    if state ~= 'complete' then
      redis.call('ZADD', x .. ':in:' .. state, n, n)
    else
      local rank = rank_of(judged[1], judged[2], ARGV[i + 2], ARGV[i + 3])
      if rank then
        redis.call('ZADD', x .. ':rank', rank, n)
      end
    end
  end
end
return 1
