-- KEYS: x. ARGV: live workers, most. Takes trials for publishing, as many as window and max_parallel leave room for.
-- Returns the list of experiments that were recalled, then the messages to publish: of each the point of its first trial, then number
-- and generation of every trial that it carries. The experiment itself is recalled when its trials were put in another order (see
-- reorder.lua).
--
-- An experiment alone in its class has the whole window. Several share one that is short, for what waits in the queue
-- cannot be overtaken: each has a part of it in proportion to its weight, 2^priority, and at least one trial. What
-- one has no use for, the others have. When another arrives, what waits is recalled, so that it need not stand behind,
-- and it may fill the window at first: a small one then ends about as soon as it would alone.
local x = KEYS[1]
local now = now_ms()
local LEVEL_HOLDS_MS, RECALL_EVERY_MS = 250, 1000
local MESSAGE_MS, SHORT_MS, CARRIED_MAX = 50, 10, 500 -- how long a message's trials run; only trials this short share one
local MEASURED_MIN = 20 -- trials that have to end before they are called short
local WINDOW_S = 0.25 -- of throughput: what is recalled is declined, message by message, before a newcomer's turn

-- Measure, over at least a second, how many trials finish per second, and how long they run.
local function measure()
  local mark = redis.call('HMGET', x, 'rate_at', 'rate_finished', 'rate_ms', 'worker_ms')
  local finished, worker_ms = redis.call('LLEN', x .. ':log'), tonumber(mark[4] or '0')
  local passed_ms = now - tonumber(mark[1] or '0')
  if passed_ms < 1000 then
    return
  end
  local ended = finished - tonumber(mark[2] or '0')
  redis.call('HSET', x, 'rate_at', int(now), 'rate_finished', finished, 'rate_ms', worker_ms,
    'rate', tostring(mark[1] and ended * 1000 / passed_ms or 0))
  if ended > 0 then
    redis.call('HSET', x, 'run_ms', tostring((worker_ms - tonumber(mark[3] or '0')) / ended))
  end
end

-- How long (ms) the trials of an experiment run, where that is so short that several share a message; nil where each has its own.
local function short_run_ms(other)
  local facts = redis.call('HMGET', other, 'batch', 'max_parallel', 'run_ms', 'worker_ms')
  local finished = redis.call('LLEN', other .. ':log')
  if facts[1] ~= 'auto' or (facts[2] and facts[2] ~= '') or finished < MEASURED_MIN then
    return nil
  end
  local run_ms = tonumber(facts[3] or '') or tonumber(facts[4] or '0') / finished
  return run_ms <= SHORT_MS and math.max(run_ms, 0.01) or nil
end

-- How many trials one message carries, when so many are to be in the queue.
local function carried(workers, queued)
  local run_ms = short_run_ms(x)
  if not run_ms then
    return 1
  end
  local each = math.ceil(queued / (2 * math.max(1, workers)))
  return math.max(1, math.min(each, CARRIED_MAX, math.floor(MESSAGE_MS / run_ms)))
end

-- How many trials of an experiment could be in the queue at once, and how many it finishes per second, or would, were
-- there no messages. Nil when it has none, now or later.
local function demand_of(other, workers)
  local facts = redis.call('HMGET', other, 'state', 'ending', 'n:queued', 'exhausted', 'end', 'next', 'max_parallel', 'n:running', 'rate')
  local queued = tonumber(facts[3] or '0')
  if facts[1] ~= 'running' or facts[2] or (queued == 0 and facts[4] == '1') then
    return nil
  end
  local demand = queued + (facts[4] == '1' and 0 or math.max(0, tonumber(facts[5]) - tonumber(facts[6])))
  if facts[7] and facts[7] ~= '' then
    demand = math.max(0, math.min(demand, tonumber(facts[7]) - tonumber(facts[8] or '0')))
  end
  local run_ms = short_run_ms(other)
  return demand, math.max(tonumber(facts[9] or '0'), run_ms and 1000 * workers / run_ms or 0)
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
    local demand, rate = demand_of(ROOT .. ':x:' .. members[i], workers)
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
measure()
local workers = tonumber(ARGV[1])
local is_new = demand_of(x, workers) ~= nil and redis.call('ZADD', ROOT .. ':sharing:' .. class, 'NX', weight, id_of(x)) == 1
local share, whole, heaviest = level(class, workers, is_new)
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
-- Half of the window is time enough to fill it again; where it is no more than what workers have in hand, less would do.
local low = math.max(window * 0.5, math.min(window * 0.8, 2 * workers))
redis.call('HSET', x, 'window', window, 'low', math.max(1, math.floor(low)))
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
local most = carried(workers, published + #numbers)
redis.call('HSET', x, 'carried', most)
local reply, shared, published_now = { recalled }, nil, {}
for _, n in ipairs(numbers) do
  local key = x .. ':t:' .. n
  local t = redis.call('HMGET', key, 's', 'a')
  if t[1] == 'queued' then
    sequence = sequence + 1
    redis.call('HSET', key, 'g', int(sequence), 'pub', int(now))
    add(published_now, sequence, n)
    -- What had begun before goes alone: it may be what ended its process.
    local message = t[2] == '0' and shared
    if not message or #message > 2 * most then
      message = { redis.call('HGET', key, 'p') }
      reply[#reply + 1] = message
      shared = t[2] == '0' and message or shared
    end
    add(message, n, sequence)
  end
end
send('ZADD', x .. ':published', published_now)
return reply
