-- KEYS: x. ARGV: number, token, state, metrics (JSON), reason (JSON).
-- Returns 'accepted', 'duplicate' or 'refused'.
local x, n = KEYS[1], ARGV[1]

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

local t = live(x, n)
local refusal = refusal_of(x, n, t, ARGV[2])
if refusal then
  return refusal
end
conclude_all(x, { { n = n, t = t, state = ARGV[3], metrics = ARGV[4], reason = ARGV[5], error = '""' } })
if ARGV[3] == 'complete' and redis.call('HGET', x, 'stop') == 'median' then
  keep_averages()
end
return 'accepted'
