-- ARGV: most. Ends the attempts whose lease ran out. Returns id, number, … in one flat list.
local reply = {}
for _, lease in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now_ms(), 'LIMIT', 0, tonumber(ARGV[1]))) do
  local id, n = string.match(lease, '^(.*)|(%d+)$')
  local x = ROOT .. ':x:' .. id
  if redis.call('HGET', x .. ':t:' .. n, 's') == 'running' then
    lose(x, n)
    reply[#reply + 1] = id
    reply[#reply + 1] = n
  end
  redis.call('ZREM', LEASES, lease)
end
return reply
