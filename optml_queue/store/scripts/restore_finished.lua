-- KEYS: x. ARGV: number, state, metrics (JSON), reason (JSON), record (a JSON list, see records.py) of each finished trial. Those that are there
-- stay as they are. Returns 1, or 0 when the experiment is not being restored any more.
local x = KEYS[1]
if redis.call('HEXISTS', x, 'restoring') == 0 then
  return 0
end
local judged, places = redis.call('HMGET', x, 'metric', 'goal'), new_places()
for i = 1, #ARGV, 5 do
  local n, state = ARGV[i], ARGV[i + 1]
  if redis.call('HSETNX', bucket_of(x, n), n, ARGV[i + 4]) == 1 then
    redis.call('ZADD', x .. ':buckets', 'NX', bucket_number(n), bucket_number(n))
    count(x, state, 1)
    place(places, judged, n, state, ARGV[i + 2], ARGV[i + 3])
  end
end
write_places(x, places)
return 1
