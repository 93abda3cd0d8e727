-- KEYS: x. ARGV: live workers, most. Takes trials for publishing, as many as window and max_parallel leave room for.
-- Returns number, generation, params, seed, … in one flat list.
local x = KEYS[1]
local now = now_ms()

-- Trials finished per second, measured over at least a second.
local function throughput()
  local mark = redis.call('HMGET', x, 'rate_at', 'rate_finished', 'rate')
  local finished = redis.call('LLEN', x .. ':log')
  local passed_ms = now - tonumber(mark[1] or '0')
  if passed_ms < 1000 then
    return tonumber(mark[3] or '0')
  end
  local rate = mark[1] and (finished - tonumber(mark[2])) * 1000 / passed_ms or 0
  redis.call('HSET', x, 'rate_at', int(now), 'rate_finished', finished, 'rate', tostring(rate))
  return rate
end

local facts = redis.call('HMGET', x, 'state', 'ending', 'max_parallel', 'class')
if facts[1] ~= 'running' or facts[2] then
  return {}
end
local window = math.min(10000, math.max(100, 2 * tonumber(ARGV[1]), math.ceil(5 * throughput())))
local published = redis.call('ZCARD', x .. ':published')
local room = window - published
if facts[3] and facts[3] ~= '' then
  room = math.min(room, tonumber(facts[3]) - published - redis.call('ZCARD', x .. ':running'))
end
redis.call('HSET', x, 'window', window, 'low', math.max(1, math.floor(window * 0.8)))
room = math.min(room, tonumber(ARGV[2]))
if room <= 0 then
  return {}
end
local numbers = redis.call('ZRANGEBYSCORE', x .. ':due', '-inf', now, 'LIMIT', 0, room)
for _, n in ipairs(numbers) do
  redis.call('ZREM', x .. ':due', n)
end
if #numbers < room then
  -- A trial that `begin` or `cancel` took meanwhile may still stand in the list; it is passed over below.
  for _, n in ipairs(redis.call('LPOP', x .. ':fresh', room - #numbers) or {}) do
    numbers[#numbers + 1] = n
  end
end
local sequence = redis.call('INCRBY', ROOT .. ':sequence:' .. facts[4], #numbers) - #numbers
local reply = {}
for _, n in ipairs(numbers) do
  local key = x .. ':t:' .. n
  local t = redis.call('HMGET', key, 's', 'p', 'seed')
  if t[1] == 'queued' then
    sequence = sequence + 1
    redis.call('HSET', key, 'g', int(sequence), 'pub', int(now))
    redis.call('ZADD', x .. ':published', sequence, n)
    reply[#reply + 1] = n
    reply[#reply + 1] = sequence
    reply[#reply + 1] = t[2]
    reply[#reply + 1] = t[3]
  end
end
return reply
