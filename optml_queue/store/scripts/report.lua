-- KEYS: x. ARGV: number, token, step, value. Recorded once per step; the first value of a step stands, and only that one is
-- judged by the experiment's rule of early stopping (see early_stopping.py, which has the same rules). Who is to stop has it
-- as an order, for later attempts too. Returns the order.
local x, n, step = KEYS[1], ARGV[1], tonumber(ARGV[3])
local rule = {}

local function load_rule()
  local facts = redis.call('HMGET', x, 'stop', 'stop_min', 'stop_reduction', 'stop_max', 'stop_trials', 'goal', 'at')
  rule.method = facts[1] or ''
  rule.min, rule.reduction, rule.max = tonumber(facts[2] or ''), tonumber(facts[3] or ''), tonumber(facts[4] or '')
  rule.trials, rule.sign = tonumber(facts[5] or ''), facts[6] == 'maximize' and -1 or 1
  rule.by_best = rule.method == 'median' or facts[7] == 'best'
end

local function is_at_end()
  return rule.max > 0 and step >= rule.max
end

-- The smallest score of the trial so far.
local function best_so_far(score)
  local best = tonumber(redis.call('HGET', x .. ':bests', n) or '')
  if best and best <= score then
    return best
  end
  redis.call('HSET', x .. ':bests', n, string.format('%.17g', score))
  return score
end

local function bracket()
  if rule.method ~= 'hyperband' then
    return 0
  end
  local brackets, first = 1, rule.min
  while first * rule.reduction <= rule.max do
    first, brackets = first * rule.reduction, brackets + 1
  end
  return tonumber(n) % brackets
end

-- Whether a trial that enters a rung is not among the best of those that have.
local function is_outside_top(score)
  local own, rung = bracket(), nil
  local next = rule.min * rule.reduction ^ own
  while next <= step and not is_at_end() and (rule.max == 0 or next < rule.max) do
    rung, next = next, next * rule.reduction
  end
  if not rung then
    return false
  end
  local key = x .. ':rung:' .. int(own) .. ':' .. int(rung)
  local text = string.format('%.17g', score)
  if redis.call('ZADD', key, 'NX', text, n) == 0 then
    return false
  end
  local there = redis.call('ZCARD', key)
  return there >= rule.reduction and redis.call('ZCOUNT', key, '-inf', '(' .. text) >= math.floor(there / rule.reduction)
end

local function is_below_median(best)
  local key = x .. ':averages:' .. ARGV[3]
  local there = redis.call('ZCARD', key)
  if step < rule.min or is_at_end() or there < rule.trials then
    return false
  end
  local lower = redis.call('ZRANGE', key, math.floor((there - 1) / 2), math.floor((there - 1) / 2), 'WITHSCORES')
  local upper = redis.call('ZRANGE', key, math.floor(there / 2), math.floor(there / 2), 'WITHSCORES')
  return best > (tonumber(lower[2]) + tonumber(upper[2])) / 2
end

local function is_to_stop()
  load_rule()
  if rule.method == '' then
    return false
  end
  if ARGV[4] == 'nan' or ARGV[4] == 'inf' or ARGV[4] == '-inf' then
    return true
  end
  local score = rule.sign * tonumber(ARGV[4])
  if rule.by_best then
    score = best_so_far(score)
  end
  if rule.method == 'median' then
    return is_below_median(score)
  end
  return is_outside_top(score)
end

local t = redis.call('HMGET', x .. ':t:' .. n, 's', 'tok', 'o')
if t[1] ~= 'running' or t[2] ~= ARGV[2] then
  return 'abort'
end
local is_first = redis.call('HSETNX', x .. ':curve:' .. n, ARGV[3], ARGV[4]) == 1
local order = order_of(x, t[3])
if order == 'ok' and is_first and is_to_stop() then
  redis.call('HSET', x .. ':t:' .. n, 'o', 'stop')
  return 'stop'
end
return order
