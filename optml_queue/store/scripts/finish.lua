-- KEYS: x. ARGV: number, token, state, metrics (JSON), reason (JSON).
-- Returns 'accepted', 'duplicate' or 'refused'.
local x, n = KEYS[1], ARGV[1]

local function end_if_target_reached()
  local facts = redis.call('HMGET', x, 'target', 'goal', 'metric', 'ending', 'finished_at')
  local target = tonumber(facts[1] or '')
  if not target or facts[4] or facts[5] or is_infeasible(ARGV[5]) then
    return
  end
  local sign, rank = facts[2] == 'maximize' and -1 or 1, tonumber(rank_of(x, ARGV[4]) or '')
  if rank and rank <= sign * target then
    end_ahead(x, 'target reached: trial ' .. n .. ' has ' .. facts[3] .. ' ' .. string.format('%.6g', sign * rank))
  end
end

-- What the median rule compares running trials with: the means of a complete one's values, at each of its steps.
local function keep_averages()
  local sign = redis.call('HGET', x, 'goal') == 'maximize' and -1 or 1
  local curve, values, steps = redis.call('HGETALL', x .. ':curve:' .. n), {}, {}
  for i = 1, #curve, 2 do
    local value = tonumber(curve[i + 1])
    if value and value == value and math.abs(value) < math.huge then
      steps[#steps + 1] = tonumber(curve[i])
      values[steps[#steps]] = value
    end
  end
  table.sort(steps)
  local total = 0
  for i, step in ipairs(steps) do
    total = total + values[step]
    redis.call('ZADD', x .. ':averages:' .. int(step), 'NX', string.format('%.17g', sign * total / i), n)
  end
end

local t = redis.call('HMGET', x .. ':t:' .. n, 's', 'tok', 'a')
if not t[1] then
  if is_finished(x, n) then
    note(x, 'duplicate results')
    return 'duplicate'
  end
  return 'refused'
end
if t[1] == 'running' and t[2] ~= ARGV[2] then
  note(x, 'refused results')
  return 'refused'
end
-- A queued trial has no living attempt: a late finisher whose lease ran out still brings the one result there is.
if t[1] == 'queued' then
  note(x, 'late results')
end
if t[3] == '0' then
  redis.call('HSET', x .. ':t:' .. n, 'a', 1) -- its begin was in a last second that the server lost
end
if ARGV[3] == 'complete' then
  end_if_target_reached()
end
conclude(x, n, ARGV[3], ARGV[4], ARGV[5], '""')
if ARGV[3] == 'complete' and redis.call('HGET', x, 'stop') == 'median' then
  keep_averages()
end
return 'accepted'
