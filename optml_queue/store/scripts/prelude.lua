-- What the scripts share. `x` is an experiment's key ("optml:x:<id>", a hash of its facts and counters), `n` a trial's number as text.
--
--   <x>                 hash    facts, counters "n:<state>" and "e:<event>", next, end, exhausted, ending …
--   <x>:t:<n>           hash    a live trial: s state, p params, d digest, seed, g generation (the sequence number of its last message), a attempt, f failures, r releases,
--                               tok token, w worker, q queued, pub published, b begun (times in ms), o order,
--                               c key of the last checkpoint, l since when it is lost (ms),
--                               from where its point comes from (JSON), if a searcher learned,
--                               m 1 while it runs as one of several that began together (see turn.lua)
--   <x>:fresh           zset    reserved, never published; score: what is claimed first (see add_fresh)
--   <x>:due             zset    to be published again; score: not before (ms)
--   <x>:published       zset    published and not begun; score: sequence number within the resource class
--   <x>:running         zset    score: begun (ms)
--   <x>:done:<n / 100>  hash    finished trials, each a JSON list (see records.py)
--   <x>:buckets         zset    the buckets there are, in order
--   <x>:log             list    numbers in the order of finishing
--   <x>:rank            zset    complete trials, best first
--   <x>:in:<state>      zset    finished trials of every other state, by number
--   <x>:forgotten:<k>   bits    of the finished trials from 10,000 k on: whose record the archive alone has (see forget.lua)
--   <x>:heads           set     trials that stay because they stood at the head of a list
--   <x>:reopened        set     trials that were run again after they had failed or been cancelled
--   <x>:attempts:<n>    list    attempts that ended without a result
--   <x>:checkpoints     hash    failed or cancelled trial -> key of its last checkpoint, from where a retry goes on
--   <x>:rung:<b>:<step> zset    trials that came to a rung of bracket b (see report.lua); score: their value, smallest best
--   <x>:averages:<step> zset    complete trials; score: mean of their values up to the step, smallest best (median stopping)
--   <x>:bests           hash    trial -> its best value so far, smallest best, where early stopping needs it
--   <x>:archivist       string  who archives the experiment; gone when its lease has ended
--   <x>:recoveries      list    times (ms) from the loss of an attempt to the begin of the next, the last ones
--   optml:leases        zset    "<id>|<n>"; score: end of the lease (ms)
--   optml:active        zset    experiments that are not over
--   optml:wanted        zset    experiments that wait for `advance`
--   optml:sharing:<class> zset  experiments that share the class's window; score: weight
--   optml:share:<class> hash    level (trials in the queue per unit of weight), until when it holds, recalled (times in ms)
--   optml:times:<class> hash    how long finished trials ran and waited, as histograms: counts "run:<i>", "wait:<i>", sums in ms
--   optml:totals        hash    what only ever grows: recovered (messages)
--
-- Parameters and metrics pass through as the text they came as: cjson would round their floats.

local ROOT = 'optml'
local LEASES, ACTIVE, WANTED = ROOT .. ':leases', ROOT .. ':active', ROOT .. ':wanted'
local RELEASES_MAX = 20     -- hand-backs without a new checkpoint before a trial is taken for a hot potato
local FAILURES_AT_START = 5 -- failures with no result at all before an experiment is given up
local RECOVERIES_MAX = 10000

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function int(number)
  return string.format('%d', number)
end

local function id_of(x)
  return string.sub(x, #ROOT + 4)
end

local function lease_of(x, n)
  return id_of(x) .. '|' .. n
end

local function bucket_number(n)
  return int(math.floor(tonumber(n) / 100))
end

local function bucket_of(x, n)
  return x .. ':done:' .. bucket_number(n)
end

local FORGOTTEN_TOGETHER = 10000
local function forgotten_key(x, n)
  return x .. ':forgotten:' .. int(math.floor(tonumber(n) / FORGOTTEN_TOGETHER))
end

-- Whether a trial that is not alive has ended: its record is here, or was given up for the one in the archive.
local function is_finished(x, n)
  return redis.call('HEXISTS', bucket_of(x, n), n) == 1
    or redis.call('GETBIT', forgotten_key(x, n), tonumber(n) % FORGOTTEN_TOGETHER) == 1
end

local function count(x, state, change)
  return redis.call('HINCRBY', x, 'n:' .. state, change)
end

-- Count something out of the ordinary, for the report on an experiment.
local function note(x, event)
  redis.call('HINCRBY', x, 'e:' .. event, 1)
end

-- Put a trial among those that were never published. The most expensive come first, so that none of them runs alone at
-- the end; those without a cost (nil or "") come after, in the order of numbers.
local function add_fresh(x, n, cost)
  redis.call('ZADD', x .. ':fresh', cost and cost ~= '' and -tonumber(cost) or n, n)
end

local function want(x)
  redis.call('ZADD', WANTED, 'NX', now_ms(), id_of(x))
end

-- Ask for `advance` when the window runs low and there is something to fill it with.
local function want_if_low(x)
  local facts = redis.call('HMGET', x, 'state', 'exhausted', 'low', 'max_parallel', 'ending')
  if facts[5] then
    return want(x)
  end
  if facts[1] ~= 'running' then
    return
  end
  local published = redis.call('ZCARD', x .. ':published')
  if published >= tonumber(facts[3] or '1') then
    return
  end
  if facts[4] and facts[4] ~= '' and published + redis.call('ZCARD', x .. ':running') >= tonumber(facts[4]) then
    return
  end
  if facts[2] ~= '1' or redis.call('ZCARD', x .. ':fresh') > 0 or redis.call('ZCOUNT', x .. ':due', '-inf', now_ms()) > 0 then
    want(x)
  end
end

-- What a running attempt with the order `own` (or none) is told. A stopped experiment lets its attempts finish.
local function order_of(x, own)
  local ending = redis.call('HGET', x, 'ending')
  if ending and ending ~= 'stopped' then
    return 'cancel'
  end
  return own or 'ok'
end

-- Go on with an experiment that was over, or ending.
local function open_again(x)
  redis.call('HDEL', x, 'finished_at')
  redis.call('HSET', x, 'state', 'running', 'reason', '', 'consolidated', '-1')
  redis.call('ZADD', ACTIVE, 'NX', now_ms(), id_of(x))
  want(x)
end

-- End an experiment none of whose trials is alive and that has no more to reserve; a stopped one ends when none runs.
local function settle(x)
  local facts = redis.call('HMGET', x, 'state', 'ending', 'exhausted', 'n:queued', 'n:running', 'n:complete')
  if facts[1] ~= 'running' and facts[1] ~= 'paused' then
    return false
  end
  local queued, ending = tonumber(facts[4] or '0'), facts[2]
  local is_stopped = ending == 'stopped' and (queued > 0 or facts[3] ~= '1')
  if tonumber(facts[5] or '0') > 0 or not (is_stopped or (queued == 0 and (ending or facts[3] == '1'))) then
    return false
  end
  local state = ending or 'complete'
  if state == 'stopped' and not is_stopped then
    -- The last trials that ran were the last there were.
    state = 'complete'
    redis.call('HDEL', x, 'ending')
    redis.call('HSET', x, 'reason', '')
  end
  if state == 'complete' and tonumber(facts[6] or '0') == 0 then
    state = 'failed'
    redis.call('HSET', x, 'reason', 'no trial completed')
  end
  redis.call('HSET', x, 'state', state, 'finished_at', int(now_ms()))
  redis.call('ZREM', ACTIVE, id_of(x))
  want(x)
  return true
end

-- Give an experiment up when too many of its trials fail. Called after a failure was counted.
local function give_up_if_hopeless(x)
  local facts = redis.call('HMGET', x, 'max_failed', 'n:failed', 'n:complete', 'n:diverged', 'n:stopped_early', 'ending')
  if facts[6] then
    return
  end
  local failed = tonumber(facts[2] or '0')
  if facts[1] and facts[1] ~= '' then
    if failed > tonumber(facts[1]) then
      redis.call('HSET', x, 'ending', 'failed', 'reason', int(failed) .. ' trials failed; max_failed is ' .. facts[1])
    end
    return
  end
  local results = tonumber(facts[3] or '0') + tonumber(facts[4] or '0') + tonumber(facts[5] or '0')
  if results == 0 and failed >= FAILURES_AT_START then
    redis.call('HSET', x, 'ending', 'failed', 'reason', 'the first ' .. int(failed) .. ' trials to end all failed')
  end
end

-- How many trials have ended by the counters of their states, cancelled ones left out: the four values from place `first` on.
local function ended_in(counters, first)
  local ended = 0
  for i = first, first + 3 do
    ended = ended + tonumber(counters[i] or '0')
  end
  return ended
end

-- Let an experiment end, before all its trials have, as complete.
local function end_ahead(x, reason)
  redis.call('HSET', x, 'ending', 'complete', 'reason', reason)
  want(x)
end

-- End an experiment that has spent its budget; `spent` is worker time (ms). See spend.lua.
local function end_if_spent(x, spent)
  local facts = redis.call('HMGET', x, 'state', 'ending', 'budget_trials', 'budget_hours', 'budget_wall_s', 'budget_cost',
    'budget_cost_ms', 'created_at', 'n:complete', 'n:diverged', 'n:failed', 'n:stopped_early')
  if facts[1] ~= 'running' or facts[2] then
    return
  end
  local function is_reached(limit, value)
    limit = tonumber(limit or '')
    return limit and value >= limit
  end
  if is_reached(facts[3], ended_in(facts, 9)) then
    end_ahead(x, 'budget spent: ' .. facts[3] .. ' trials have ended')
  elseif is_reached(facts[4], spent / 3600000) then
    end_ahead(x, 'budget spent: ' .. facts[4] .. ' worker hours')
  elseif is_reached(facts[7], spent) then
    end_ahead(x, 'budget spent: a cost of ' .. facts[6])
  elseif is_reached(facts[5], (now_ms() - tonumber(facts[8])) / 1000) then
    end_ahead(x, 'budget spent: ' .. facts[5] .. ' s since submission')
  end
end

-- Attempts that took `ms` end: count their time. How much (ms) the experiment has spent.
local function spend(x, ms)
  return redis.call('HINCRBY', x, 'worker_ms', int(math.max(0, ms)))
end

-- Whether a complete trial broke a constraint: it says so in its reason (JSON); see constraints.py.
local function is_infeasible(reason)
  return string.sub(reason, 1, 12) == '"infeasible:'
end

-- The place in the ranking of a complete trial, smallest best; nil when its metric is missing or not finite, or a constraint broken.
local function rank_of(metric, goal, metrics, reason)
  local value = not is_infeasible(reason) and cjson.decode(metrics)[metric]
  if type(value) ~= 'number' then
    return nil
  end
  return string.format('%.17g', goal == 'maximize' and -value or value)
end

local function reaches(rank, target, goal)
  return rank <= (goal == 'maximize' and -target or target)
end

-- End an experiment with a target (else nil) when the first of those ranked, { rank, number, … }, reaches it.
local function end_if_target_reached(x, target, metric, goal, ranks)
  if not target or redis.call('HEXISTS', x, 'ending') == 1 or redis.call('HEXISTS', x, 'finished_at') == 1 then
    return
  end
  for i = 1, #ranks, 2 do
    local rank = tonumber(ranks[i])
    if reaches(rank, target, goal) then
      local value = string.format('%.6g', goal == 'maximize' and -rank or rank)
      return end_ahead(x, 'target reached: trial ' .. ranks[i + 1] .. ' has ' .. metric .. ' ' .. value)
    end
  end
end

-- The steps at which a trial reported, in order, and what it reported there, as text.
local function curve_of(x, n)
  local curve, values, steps = redis.call('HGETALL', x .. ':curve:' .. n), {}, {}
  for i = 1, #curve, 2 do
    steps[#steps + 1] = tonumber(curve[i])
    values[steps[#steps]] = curve[i + 1]
  end
  table.sort(steps)
  return steps, values
end

-- What the median rule compares running trials with: the means of a complete one's values, at each of its steps.
local function keep_averages(x, n)
  local sign = redis.call('HGET', x, 'goal') == 'maximize' and -1 or 1
  local steps, values = curve_of(x, n)
  local total, finite = 0, 0
  for _, step in ipairs(steps) do
    local value = tonumber(values[step])
    if value and value == value and math.abs(value) < math.huge then
      total, finite = total + value, finite + 1
      redis.call('ZADD', x .. ':averages:' .. int(step), 'NX', string.format('%.17g', sign * total / finite), n)
    end
  end
end

-- What several trials write to one key is written with one command.
local function send(command, key, arguments)
  if #arguments > 0 then
    redis.call(command, key, unpack(arguments))
  end
end

local function add(list, first, second)
  list[#list + 1] = first
  list[#list + 1] = second
end

local function list_in(lists, key)
  lists[key] = lists[key] or {}
  return lists[key]
end

-- Where finished trials are found by their state: complete ones by rank, the others in a list of their state.
local function new_places()
  return { ranks = {}, others = {} }
end

local function place(places, judged, n, state, metrics, reason)
  if state ~= 'complete' then
    return add(list_in(places.others, state), n, n)
  end
  local rank = rank_of(judged[1], judged[2], metrics, reason)
  if rank then
    add(places.ranks, rank, n)
  end
end

local function write_places(x, places)
  send('ZADD', x .. ':rank', places.ranks)
  for state, list in pairs(places.others) do
    send('ZADD', x .. ':in:' .. state, list)
  end
end

-- The latest message of a class whose trial has begun: those published clearly earlier were overtaken (see recover.lua).
local function note_begun(class, sequence)
  local key = ROOT .. ':begun:' .. class
  if sequence > tonumber(redis.call('GET', key) or '0') then
    redis.call('SET', key, int(sequence))
  end
end

-- A trial that may not run now counts as unpublished again: `resume` publishes it anew. NX: a back-off goes on.
local function unpublish(x, n, now)
  redis.call('ZREM', x .. ':published', n)
  redis.call('ZADD', x .. ':due', 'NX', now, n)
end

-- Count how long an attempt ran, or a trial waited for it, in a histogram.
local TIMES_MS = { 10, 100, 1000, 10000, 60000, 600000, 3600000 } -- upper ends; store.py has the same figures
local function note_time(times, what, ms)
  local i = 1
  while TIMES_MS[i] and ms > TIMES_MS[i] do
    i = i + 1
  end
  times[what .. ':' .. i] = (times[what .. ':' .. i] or 0) + 1
  times[what .. '_ms'] = (times[what .. '_ms'] or 0) + math.max(0, ms)
end

local function add_counts(key, counts)
  for field, change in pairs(counts) do
    redis.call('HINCRBY', key, field, int(change))
  end
end

-- A live record as `refusal_of` and `conclude` take it.
local function live(x, n)
  return redis.call('HMGET', x .. ':t:' .. n, 's', 'tok', 'a', 'seed', 'p', 'w', 'q', 'b', 'c', 'from')
end

local function finished_record(t, each, begun, finished)
  return table.concat({
    '["' .. each.state .. '"', t[4], t[5], each.metrics, each.reason, each.error, t[3], cjson.encode(t[6] or ''), t[7],
    begun and int(begun) or 'null', int(finished) .. (t[10] and ',' .. t[10] or '') .. ']'
  }, ',')
end

-- Trials reach terminal states: their live records become finished ones. Each of `ended` has its number n, its live record t, its
-- state, and metrics, reason and error (JSON); one that ran with others also when it began and when it finished (ms, with fractions).
local function conclude_all(x, ended)
  local facts, now = redis.call('HMGET', x, 'metric', 'goal', 'class', 'target'), now_ms()
  local keys, numbers, leases, running, waiting, checkpoints = {}, {}, {}, {}, {}, {}
  local records, places, counts, times, spent = {}, new_places(), {}, {}, 0
  for _, each in ipairs(ended) do
    local n, state, t = each.n, each.state, each.t
    local begun, finished = each.begun or tonumber(t[8] or ''), each.finished or now
    add(list_in(records, bucket_number(n)), n, finished_record(t, each, begun, finished))
    add(keys, x .. ':t:' .. n)
    add(numbers, n)
    if t[1] == 'running' then
      add(running, n)
      add(leases, lease_of(x, n))
      spent = spent + math.max(0, finished - begun)
    else
      add(waiting, n)
    end
    counts['n:' .. t[1]] = (counts['n:' .. t[1]] or 0) - 1
    counts['n:' .. state] = (counts['n:' .. state] or 0) + 1
    if begun then
      note_time(times, 'run', finished - begun)
      note_time(times, 'wait', begun - tonumber(t[7]))
    end
    place(places, facts, n, state, each.metrics, each.reason)
    if t[9] and (state == 'failed' or state == 'cancelled') then
      add(checkpoints, n, t[9])
    end
  end
  for bucket, list in pairs(records) do
    send('HSET', x .. ':done:' .. bucket, list)
    redis.call('ZADD', x .. ':buckets', 'NX', bucket, bucket)
  end
  redis.call('DEL', unpack(keys))
  send('ZREM', x .. ':running', running)
  send('ZREM', LEASES, leases)
  send('ZREM', x .. ':published', waiting)
  send('ZREM', x .. ':due', waiting)
  send('RPUSH', x .. ':log', numbers)
  send('HSET', x .. ':checkpoints', checkpoints)
  write_places(x, places)
  add_counts(x, counts)
  add_counts(ROOT .. ':times:' .. (facts[3] or ''), times)
  if counts['n:failed'] then
    give_up_if_hopeless(x)
  end
  end_if_target_reached(x, tonumber(facts[4] or ''), facts[1], facts[2], places.ranks)
  end_if_spent(x, spend(x, spent))
  if not settle(x) then
    want_if_low(x)
  end
end

local function conclude(x, n, state, metrics, reason, error)
  conclude_all(x, { { n = n, t = live(x, n), state = state, metrics = metrics, reason = reason, error = error } })
end

-- Why a result is not taken for a trial with the live record t: 'duplicate' (it had ended) or 'refused' (another's); nil when it is.
local function refusal_of(x, n, t, token)
  if not t[1] then
    if is_finished(x, n) then
      note(x, 'duplicate results')
      return 'duplicate'
    end
    return 'refused'
  end
  if t[1] == 'running' and t[2] ~= token then
    note(x, 'refused results')
    return 'refused'
  end
  -- A queued trial has no living attempt: a late finisher whose lease ran out still brings the one result there is.
  if t[1] == 'queued' then
    note(x, 'late results')
  end
  if t[3] == '0' then
    t[3] = '1' -- its begin was in a last second that the server lost
  end
  return nil
end

-- How long (ms) a trial waits after its failure number `failures`: the back-off doubled with each, between half of it and all
-- of it. Which part is a matter of the trial and the failure, so that trials that failed together do not come back together.
local function back_off_ms(x, n, failures, reason)
  if reason == 'lost' then
    return 0 -- no fault of the trial
  end
  local policy = redis.call('HMGET', x, 'backoff_ms', 'max_backoff_ms')
  local longest = math.min(tonumber(policy[1] or '0') * 2 ^ (failures - 1), tonumber(policy[2] or '0'))
  local chance = tonumber(string.sub(redis.sha1hex(id_of(x) .. '|' .. n .. '|' .. failures), 1, 8), 16) / 0x100000000
  return math.floor(longest * (0.5 + chance / 2))
end

-- The running attempt of a trial ended without a result; `error`, `traceback` and `output` are JSON; `delay_ms` nil means as the
-- experiment's policy has it. Returns the state the trial is in now.
local function end_attempt(x, n, reason, failed, error, traceback, delay_ms, output)
  local key = x .. ':t:' .. n
  local t = redis.call('HMGET', key, 'a', 'w', 'b', 'f', 'r', 'o')
  local facts = redis.call('HMGET', x, 'max_attempts', 'retry_on', 'ending')
  local now = now_ms()
  local is_lost = reason == 'lost'
  local lost_at = is_lost and math.min(now, tonumber(redis.call('ZSCORE', LEASES, lease_of(x, n)) or now))
  note(x, 'ended:' .. reason)
  redis.call('RPUSH', x .. ':attempts:' .. n, '[' .. table.concat({
    t[1], cjson.encode(t[2] or ''), t[3], int(now), cjson.encode(reason), error, traceback, output
  }, ',') .. ']')
  if (facts[3] and facts[3] ~= 'stopped') or reason == 'cancelled' or t[6] == 'cancel' then
    conclude(x, n, 'cancelled', '{}', cjson.encode(reason), error)
    return 'cancelled'
  end
  local failures, releases = tonumber(t[4] or '0'), tonumber(t[5] or '0')
  local over = false
  if failed then
    failures = failures + 1
    over = failures >= tonumber(facts[1]) or not string.find(facts[2], ',' .. reason .. ',', 1, true)
  else
    releases = releases + 1
    over = releases >= RELEASES_MAX
    if over then
      error = cjson.encode('handed back ' .. int(releases) .. ' times without a new checkpoint')
    end
  end
  if over then
    conclude(x, n, 'failed', '{}', cjson.encode(reason), error)
    return 'failed'
  end
  end_if_spent(x, spend(x, now - tonumber(t[3])))
  delay_ms = delay_ms or (failed and back_off_ms(x, n, failures, reason) or 0)
  redis.call('HSET', key, 's', 'queued', 'tok', '', 'f', failures, 'r', releases)
  redis.call('HDEL', key, 'm')
  if t[6] == 'release' then
    redis.call('HDEL', key, 'o') -- done; an order to stop is for the next attempt, too
  end
  if is_lost then
    redis.call('HSET', key, 'l', int(lost_at))
  end
  redis.call('ZREM', x .. ':running', n)
  redis.call('ZREM', LEASES, lease_of(x, n))
  redis.call('ZADD', x .. ':due', now + delay_ms, n)
  count(x, 'running', -1)
  count(x, 'queued', 1)
  if facts[3] then
    settle(x)
  elseif delay_ms <= 0 then
    want(x)
  end
  return 'queued'
end

-- An attempt after the first begins: count it, and how long it took if the one before was lost.
local function note_another_attempt(x, key, now)
  note(x, 'attempts after the first')
  local lost_at = redis.call('HGET', key, 'l')
  if lost_at then
    redis.call('HDEL', key, 'l')
    if redis.call('RPUSH', x .. ':recoveries', int(now - lost_at)) > RECOVERIES_MAX then
      redis.call('LPOP', x .. ':recoveries')
    end
  end
end

-- A worker that ran several trials together cannot be asked which of them was its end: it is no failure of any. From now on
-- each goes alone.
local function lose(x, n)
  local together = redis.call('HEXISTS', x .. ':t:' .. n, 'm') == 1
  return end_attempt(x, n, 'lost', not together, '"the worker stopped beating"', '""', 0, '""')
end
