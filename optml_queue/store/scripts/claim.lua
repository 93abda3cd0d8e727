-- KEYS: x. ARGV: live workers, most. Takes trials for publishing, as many as window and max_parallel leave room for.
-- Returns the list of experiments that were recalled, then number, generation, params, seed of each trial, in one flat list.
-- The experiment itself is among them when its trials were put in another order (see reorder.lua).
--
-- An experiment alone in its class has the whole window. Several share one that is short, for what waits in the queue
-- cannot be overtaken: each has a part of it in proportion to its weight, 2^priority, and at least one trial. What
-- one has no use for, the others have. When another arrives, what waits is recalled, so that it need not stand behind,
-- and it may fill the window at first: a small one then ends about as soon as it would alone.
local x = KEYS[1]
local now = now_ms()
local LEVEL_HOLDS_MS, RECALL_EVERY_MS = 250, 1000
local LOW = 0.8 -- the part of a window below which more is asked for
local WINDOW_S = 0.25 -- of throughput: what is recalled is declined, message by message, before a newcomer's turn

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

-- How many trials of an experiment could be in the queue at once, and how many it finishes per second.
-- Nil when it has none, now or later.
local function demand_of(other)
  local facts = redis.call('HMGET', other, 'state', 'ending', 'n:queued', 'exhausted', 'end', 'next', 'max_parallel', 'n:running', 'rate')
  local queued = tonumber(facts[3] or '0')
  if facts[1] ~= 'running' or facts[2] or (queued == 0 and facts[4] == '1') then
    return nil
  end
  local demand = queued + (facts[4] == '1' and 0 or math.max(0, tonumber(facts[5]) - tonumber(facts[6])))
  if facts[7] and facts[7] ~= '' then
    demand = math.max(0, math.min(demand, tonumber(facts[7]) - tonumber(facts[8] or '0')))
  end
  return demand, tonumber(facts[9] or '0')
end

-- How many trials in the queue one unit of weight stands for: the water that fills vessels as wide as weights and as
-- high as demands allow.
local function level_of(window, sharers)
  table.sort(sharers, function(a, b) return a.demand / a.weight < b.demand / b.weight end)
  local weights = 0
  for _, each in ipairs(sharers) do
    weights = weights + each.weight
  end
  for _, each in ipairs(sharers) do
    if each.demand / each.weight >= window / weights then
      break
    end
    window, weights = window - each.demand, weights - each.weight
  end
  return weights > 0 and window / weights or window
end

-- The level, the window, and the weight of the heaviest, the latter two only when measured anew, as for a newcomer.
-- With several sharers measured anew a few times a second, whatever their number.
local function level(class, workers, is_new)
  local key, sharing = ROOT .. ':share:' .. class, ROOT .. ':sharing:' .. class
  local known = redis.call('HMGET', key, 'level', 'until')
  if known[1] and not is_new and tonumber(known[2]) > now and redis.call('ZCARD', sharing) > 1 then
    return tonumber(known[1])
  end
  local members, sharers, rates, heaviest = redis.call('ZRANGE', sharing, 0, -1, 'WITHSCORES'), {}, 0, 0
  for i = 1, #members, 2 do
    local demand, rate = demand_of(ROOT .. ':x:' .. members[i])
    if demand then
      sharers[#sharers + 1] = { demand = demand, weight = tonumber(members[i + 1]) }
      rates = rates + rate
      heaviest = math.max(heaviest, tonumber(members[i + 1]))
    else
      redis.call('ZREM', sharing, members[i])
    end
  end
  local window = math.min(10000, math.max(#sharers > 1 and 20 or 100, 2 * workers, math.ceil(WINDOW_S * rates)))
  local found = #sharers > 1 and level_of(window, sharers) or window / (sharers[1] and sharers[1].weight or 1)
  redis.call('HSET', key, 'level', string.format('%.17g', found), 'until', int(now + LEVEL_HOLDS_MS))
  return found, window, heaviest
end

-- Take back what others published and no worker began: their messages are stale from now on. The oldest stays first.
-- Soon after such a recall only from those with more than a window there, who filled it alone: newcomers that come one
-- after another would overtake each other. Returns the experiments whose messages they are.
local function recall(class, window)
  local key, recalled = ROOT .. ':share:' .. class, {}
  local is_soon = now < tonumber(redis.call('HGET', key, 'recalled') or '0') + RECALL_EVERY_MS
  for _, id in ipairs(redis.call('ZRANGE', ROOT .. ':sharing:' .. class, 0, -1)) do
    local other = ROOT .. ':x:' .. id
    local waiting = other == x and 0 or redis.call('ZCARD', other .. ':published')
    local numbers = waiting > (is_soon and window or 0) and redis.call('ZRANGE', other .. ':published', 0, -1) or {}
    for i, n in ipairs(numbers) do
      redis.call('HSET', other .. ':t:' .. n, 'g', 0)
      redis.call('ZADD', other .. ':due', string.format('%.4f', now - 10 + i / 1000), n)
    end
    if #numbers > 0 then
      redis.call('DEL', other .. ':published')
      redis.call('HSET', key, 'recalled', int(now))
      recalled[#recalled + 1] = id
      want(other)
    end
  end
  return recalled
end

local facts = redis.call('HMGET', x, 'state', 'ending', 'max_parallel', 'class', 'priority')
if facts[1] ~= 'running' or facts[2] then
  return { {} }
end
local class, weight = facts[4], 2 ^ tonumber(facts[5] or '0')
throughput()
local is_new = demand_of(x) ~= nil and redis.call('ZADD', ROOT .. ':sharing:' .. class, 'NX', weight, id_of(x)) == 1
local share, whole, heaviest = level(class, tonumber(ARGV[1]), is_new)
local window = math.max(1, math.floor(math.min(10000, share * weight) + 1e-6))
local recalled = is_new and recall(class, whole) or {}
if redis.call('HDEL', x, 'recalled') == 1 then
  recalled[#recalled + 1] = id_of(x)
end
local published = redis.call('ZCARD', x .. ':published')
-- A newcomer may fill the window, if none outweighs it; else a part of it, in proportion.
local room = (is_new and math.max(window, math.floor(whole * weight / heaviest + 1e-6)) or window) - published
if facts[3] and facts[3] ~= '' then
  room = math.min(room, tonumber(facts[3]) - published - redis.call('ZCARD', x .. ':running'))
end
redis.call('HSET', x, 'window', window, 'low', math.max(1, math.floor(window * LOW)))
room = math.min(room, tonumber(ARGV[2]))
if room <= 0 then
  return { recalled }
end
local numbers = redis.call('ZRANGEBYSCORE', x .. ':due', '-inf', now, 'LIMIT', 0, room)
for _, n in ipairs(numbers) do
  redis.call('ZREM', x .. ':due', n)
end
if #numbers < room then
  -- A trial that `begin` or `cancel` took meanwhile may still stand in the list; it is passed over below.
  local fresh = redis.call('ZPOPMIN', x .. ':fresh', room - #numbers)
  for i = 1, #fresh, 2 do
    numbers[#numbers + 1] = fresh[i]
  end
end
local sequence = redis.call('INCRBY', ROOT .. ':sequence:' .. class, #numbers) - #numbers
local reply = { recalled }
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
