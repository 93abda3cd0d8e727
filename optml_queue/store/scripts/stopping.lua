-- The rule of early stopping (see early_stopping.py, which has the same rules), for reports and for curves that are taken over.

local function rule_of(x)
  local facts = redis.call('HMGET', x, 'stop', 'stop_min', 'stop_reduction', 'stop_max', 'stop_trials', 'goal', 'at')
  return {
    method = facts[1] or '',
    min = tonumber(facts[2] or ''),
    reduction = tonumber(facts[3] or ''),
    max = tonumber(facts[4] or ''),
    trials = tonumber(facts[5] or ''),
    sign = facts[6] == 'maximize' and -1 or 1,
    by_best = facts[1] == 'median' or facts[7] == 'best',
  }
end

local function is_at_end(rule, step)
  return rule.max > 0 and step >= rule.max
end

-- The smallest score of the trial so far.
local function best_so_far(x, n, score)
  local best = tonumber(redis.call('HGET', x .. ':bests', n) or '')
  if best and best <= score then
    return best
  end
  redis.call('HSET', x .. ':bests', n, string.format('%.17g', score))
  return score
end

local function bracket_of(rule, n)
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
local function is_outside_top(x, n, rule, step, score)
  local own, rung = bracket_of(rule, n), nil
  local next = rule.min * rule.reduction ^ own
  while next <= step and not is_at_end(rule, step) and (rule.max == 0 or next < rule.max) do
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

local function is_below_median(x, rule, step, best)
  local key = x .. ':averages:' .. int(step)
  local there = redis.call('ZCARD', key)
  if step < rule.min or is_at_end(rule, step) or there < rule.trials then
    return false
  end
  local lower = redis.call('ZRANGE', key, math.floor((there - 1) / 2), math.floor((there - 1) / 2), 'WITHSCORES')
  local upper = redis.call('ZRANGE', key, math.floor(there / 2), math.floor(there / 2), 'WITHSCORES')
  return best > (tonumber(lower[2]) + tonumber(upper[2])) / 2
end

-- Whether a trial that reports a value (text) at a step is to stop.
local function is_to_stop(x, n, rule, step, value)
  if rule.method == '' then
    return false
  end
  if value == 'nan' or value == 'inf' or value == '-inf' then
    return true
  end
  local score = rule.sign * tonumber(value)
  if rule.by_best then
    score = best_so_far(x, n, score)
  end
  if rule.method == 'median' then
    return is_below_median(x, rule, step, score)
  end
  return is_outside_top(x, n, rule, step, score)
end
