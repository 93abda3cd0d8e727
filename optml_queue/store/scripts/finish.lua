-- KEYS: x. ARGV: number, token, state, metrics (JSON), reason (JSON).
-- Returns 'accepted', 'duplicate' or 'refused'.
local x, n = KEYS[1], ARGV[1]

local t = live(x, n)
local refusal = refusal_of(x, n, t, ARGV[2])
if refusal then
  return refusal
end
conclude_all(x, { { n = n, t = t, state = ARGV[3], metrics = ARGV[4], reason = ARGV[5], error = '""' } })
if ARGV[3] == 'complete' and redis.call('HGET', x, 'stop') == 'median' then
  keep_averages(x, n)
end
return 'accepted'
