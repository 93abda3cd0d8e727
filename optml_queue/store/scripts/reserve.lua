-- KEYS: x. ARGV: expected next, new next, exhausted (0 or 1), extensions (of the plan that was read), how many trials take a result over;
-- of each of those number, params, seed and origin (JSON or ""), then of the result state, metrics (JSON), reason (JSON), origin (JSON)
-- of who has it, the key of the earlier trial's curve, whether that enters rungs (0 or 1);
-- then number, params, digest, seed, cost ("": unknown) and origin of each other new trial.
--
-- A trial that takes a result over ends at once, by the same function as one that ran. Where one of them reaches the target, or
-- spends the budget, those after it are cancelled.
-- Returns 1, or 0 when another reserved first, the plan was extended, or the experiment does not run.
local x = KEYS[1]
local FIRST, REUSED_ARGS, NEW_ARGS = 6, 10, 6
local facts = redis.call('HMGET', x, 'next', 'state', 'ending', 'extensions')
if facts[1] ~= ARGV[1] or facts[2] ~= 'running' or facts[3] or (facts[4] or '0') ~= ARGV[4] then
  return 0
end
local now = int(now_ms())
local reused = tonumber(ARGV[5])
local first_new = FIRST + REUSED_ARGS * reused

local function add_waiting(i)
  local n = ARGV[i]
  redis.call('HSET', x .. ':t:' .. n, 's', 'queued', 'p', ARGV[i + 1], 'd', ARGV[i + 2], 'seed', ARGV[i + 3],
    'a', 0, 'q', now)
  if ARGV[i + 5] ~= '' then
    redis.call('HSET', x .. ':t:' .. n, 'from', ARGV[i + 5])
  end
  add_fresh(x, n, ARGV[i + 4])
end

-- A trial as `conclude_all` takes it, without ever having had a live record.
local function ended_at_once(i, origin, state, metrics, reason)
  return {
    n = ARGV[i], t = { 'queued', false, '0', ARGV[i + 2], ARGV[i + 1], false, now, false, false, origin ~= '' and origin },
    state = state, metrics = metrics, reason = reason, error = '""'
  }
end

-- Where the results end that count: behind the first by which the experiment reaches its target or spends its budget of trials.
local function end_of_counted()
  local limits = redis.call('HMGET', x, 'metric', 'goal', 'target', 'budget_trials',
    'n:complete', 'n:diverged', 'n:failed', 'n:stopped_early')
  local target, budget = tonumber(limits[3] or ''), tonumber(limits[4] or '')
  local left = (budget or math.huge) - ended_in(limits, 5)
  for i = FIRST, (target or budget) and first_new - 1 or 0, REUSED_ARGS do
    left = left - 1
    local rank = target and ARGV[i + 4] == 'complete' and rank_of(limits[1], limits[2], ARGV[i + 5], ARGV[i + 6])
    if left <= 0 or (rank and reaches(tonumber(rank), target, limits[2])) then
      return i + REUSED_ARGS
    end
  end
  return first_new
end

-- A curve enters the rungs that it would have entered here: up to where it would have been stopped.
local function enter_rungs(n, rule)
  local steps, values = curve_of(x, n)
  for _, step in ipairs(steps) do
    if is_to_stop(x, n, rule, step, values[step]) then
      return
    end
  end
end

-- What a result brings along for the rule of early stopping.
local function take_curve(i, rule)
  local n = ARGV[i]
  if redis.call('COPY', ARGV[i + 8], x .. ':curve:' .. n) == 0 then
    return
  end
  if rule.method == 'median' then
    if ARGV[i + 4] == 'complete' then
      keep_averages(x, n)
    end
  elseif rule.method ~= '' and ARGV[i + 9] == '1' then
    enter_rungs(n, rule)
  end
end

local added = reused
for i = first_new, #ARGV, NEW_ARGS do
  add_waiting(i)
  added = added + 1
end
count(x, 'queued', added)
redis.call('HINCRBY', x, 'created', added)
redis.call('HSET', x, 'next', ARGV[2], 'exhausted', ARGV[3])
if reused == 0 then
  settle(x)
  return 1
end
local end_counted, rule, counted, cancelled = end_of_counted(), rule_of(x), {}, {}
for i = FIRST, end_counted - 1, REUSED_ARGS do
  add(counted, ended_at_once(i, ARGV[i + 7], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6]))
  take_curve(i, rule)
end
for i = end_counted, first_new - 1, REUSED_ARGS do
  add(cancelled, ended_at_once(i, ARGV[i + 3], 'cancelled', '{}', '"cancelled"'))
end
redis.call('HINCRBY', x, 'reused', #counted)
conclude_all(x, counted)
if #cancelled > 0 then
  conclude_all(x, cancelled)
end
return 1
