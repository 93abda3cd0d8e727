-- What the scripts share. `x` is an experiment's key ("optml:x:<id>", a hash of its facts and counters), `n` a trial's number as text.
--
--   <x>                 hash    facts, counters "n:<state>", next, end, exhausted, ending …
--   <x>:t:<n>           hash    a live trial: s state, p params, d digest, seed, g generation (the sequence number of its last message), a attempt, f failures, r releases,
--                               tok token, w worker, q queued, pub published, b begun (times in ms), o order,
--                               c key of the last checkpoint
--   <x>:fresh           list    reserved, never published
--   <x>:due             zset    to be published again; score: not before (ms)
--   <x>:published       zset    published and not begun; score: sequence number within the resource class
--   <x>:running         zset    score: begun (ms)
--   <x>:done:<n / 100>  hash    finished trials, each a JSON list (see records.py)
--   <x>:buckets         zset    the buckets there are, in order
--   <x>:log             list    numbers in the order of finishing
--   <x>:rank            zset    complete trials, best first
--   <x>:in:<state>      zset    finished trials of every other state, by number
--   <x>:attempts:<n>    list    attempts that ended without a result
--   optml:leases        zset    "<id>|<n>"; score: end of the lease (ms)
--   optml:active        zset    experiments that are not over
--   optml:wanted        zset    experiments that wait for `advance`
--   optml:times:<class> hash    how long finished trials ran and waited, as histograms: counts "run:<i>", "wait:<i>", sums in ms
--   optml:totals        hash    what only ever grows: recovered (messages)
--
-- Parameters and metrics pass through as the text they came as: cjson would round their floats.

local ROOT = 'optml'
local LEASES, ACTIVE, WANTED = ROOT .. ':leases', ROOT .. ':active', ROOT .. ':wanted'
local RELEASES_MAX = 20     -- hand-backs without a new checkpoint before a trial is taken for a hot potato
local FAILURES_AT_START = 5 -- failures with no result at all before an experiment is given up

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

local function count(x, state, change)
  return redis.call('HINCRBY', x, 'n:' .. state, change)
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
  if facts[2] ~= '1' or redis.call('LLEN', x .. ':fresh') > 0 or redis.call('ZCOUNT', x .. ':due', '-inf', now_ms()) > 0 then
    want(x)
  end
end

-- End an experiment none of whose trials is alive and that has no more to reserve.
local function settle(x)
  local facts = redis.call('HMGET', x, 'state', 'ending', 'exhausted', 'n:queued', 'n:running', 'n:complete')
  if facts[1] ~= 'running' and facts[1] ~= 'paused' then
    return false
  end
  if tonumber(facts[4] or '0') + tonumber(facts[5] or '0') > 0 or not (facts[2] or facts[3] == '1') then
    return false
  end
  local state = facts[2] or 'complete'
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

-- The place of a complete trial in the ranking, smallest best; nil when its metric is missing or not finite.
local function rank_of(x, metrics)
  local facts = redis.call('HMGET', x, 'metric', 'goal')
  local value = cjson.decode(metrics)[facts[1]]
  if type(value) ~= 'number' then
    return nil
  end
  return string.format('%.17g', facts[2] == 'maximize' and -value or value)
end

-- Count how long an attempt ran, or a trial waited for it, in the histogram of its class.
local TIMES_MS = { 10, 100, 1000, 10000, 60000, 600000, 3600000 } -- upper ends; store.py has the same figures
local function note_time(times, what, ms)
  local i = 1
  while TIMES_MS[i] and ms > TIMES_MS[i] do
    i = i + 1
  end
  redis.call('HINCRBY', times, what .. ':' .. i, 1)
  redis.call('HINCRBY', times, what .. '_ms', int(math.max(0, ms)))
end

-- A trial reaches a terminal state: its live record becomes a finished one. `metrics`, `reason` and `error` are JSON.
local function conclude(x, n, state, metrics, reason, error)
  local key = x .. ':t:' .. n
  local t = redis.call('HMGET', key, 's', 'seed', 'p', 'a', 'w', 'q', 'b')
  local now = now_ms()
  local begun = (t[7] and t[7] ~= '') and t[7] or 'null'
  local record = table.concat({
    '["' .. state .. '"', t[2], t[3], metrics, reason, error, t[4], cjson.encode(t[5] or ''), t[6], begun, int(now) .. ']'
  }, ',')
  if redis.call('HSET', bucket_of(x, n), n, record) == 1 then
    redis.call('ZADD', x .. ':buckets', 'NX', bucket_number(n), bucket_number(n))
  end
  redis.call('DEL', key)
  if t[1] == 'running' then
    redis.call('ZREM', x .. ':running', n)
    redis.call('ZREM', LEASES, lease_of(x, n))
  else
    redis.call('ZREM', x .. ':published', n)
    redis.call('ZREM', x .. ':due', n)
  end
  count(x, t[1], -1)
  count(x, state, 1)
  redis.call('RPUSH', x .. ':log', n)
  if begun ~= 'null' then
    local times = ROOT .. ':times:' .. (redis.call('HGET', x, 'class') or '')
    note_time(times, 'run', now - tonumber(begun))
    note_time(times, 'wait', tonumber(begun) - tonumber(t[6]))
  end
  if state == 'complete' then
    local rank = rank_of(x, metrics)
    if rank then
      redis.call('ZADD', x .. ':rank', rank, n)
    end
  else
    redis.call('ZADD', x .. ':in:' .. state, n, n)
  end
  if state == 'failed' then
    give_up_if_hopeless(x)
  end
  if not settle(x) then
    want_if_low(x)
  end
end

-- The running attempt of a trial ended without a result; `error`, `traceback` and `output` are JSON. Returns the state the trial is in now.
local function end_attempt(x, n, reason, failed, error, traceback, delay_ms, output)
  local key = x .. ':t:' .. n
  local t = redis.call('HMGET', key, 'a', 'w', 'b', 'f', 'r', 'o')
  local facts = redis.call('HMGET', x, 'max_attempts', 'retry_on', 'ending')
  local now = now_ms()
  redis.call('RPUSH', x .. ':attempts:' .. n, '[' .. table.concat({
    t[1], cjson.encode(t[2] or ''), t[3], int(now), cjson.encode(reason), error, traceback, output
  }, ',') .. ']')
  if facts[3] or reason == 'cancelled' or t[6] == 'cancel' then
    conclude(x, n, 'cancelled', '{}', cjson.encode(reason), error)
    return 'cancelled'
  end
  local failures, releases = tonumber(t[4]), tonumber(t[5])
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
  redis.call('HSET', key, 's', 'queued', 'tok', '', 'f', failures, 'r', releases)
  redis.call('ZREM', x .. ':running', n)
  redis.call('ZREM', LEASES, lease_of(x, n))
  redis.call('ZADD', x .. ':due', now + delay_ms, n)
  count(x, 'running', -1)
  count(x, 'queued', 1)
  if delay_ms <= 0 then
    want(x)
  end
  return 'queued'
end

local function lose(x, n)
  return end_attempt(x, n, 'lost', true, '"the worker stopped beating"', '""', 0, '""')
end
