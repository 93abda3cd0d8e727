-- KEYS: x. ARGV: number, token, reason, failed (0 or 1), error (JSON), traceback (JSON), delay (ms; "": as the
-- experiment's policy has it), output (JSON).
-- Returns the trial's state now, or 'refused'.
local x, n = KEYS[1], ARGV[1]
local t = redis.call('HMGET', x .. ':t:' .. n, 's', 'tok')
if t[1] ~= 'running' or t[2] ~= ARGV[2] then
  return 'refused'
end
return end_attempt(x, n, ARGV[3], ARGV[4] == '1', ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8])
