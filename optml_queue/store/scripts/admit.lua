-- KEYS: a bucket. ARGV: requests per minute. Takes one request out of a bucket that holds 10 s' worth of them (at
-- least ten). Returns the seconds to wait, as text; "0" when the request may pass.
local rate = tonumber(ARGV[1]) / 60000
local size = math.max(10, rate * 10000)
local now = now_ms()
local bucket = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = math.min(size, tonumber(bucket[1] or size) + (now - tonumber(bucket[2] or now)) * rate)
local wait = '0'
if left >= 1 then
  left = left - 1
else
  wait = tostring((1 - left) / rate / 1000)
end
redis.call('HSET', KEYS[1], 'left', tostring(left), 'at', int(now))
redis.call('PEXPIRE', KEYS[1], math.ceil(size / rate) + 1000)
return wait
