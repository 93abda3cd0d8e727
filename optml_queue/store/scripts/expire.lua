-- ARGV: most. Ends the attempts whose lease ran out. Returns id, number, … in one flat list.
local reply = {}
for _, lease in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now_ms(), 'LIMIT', 0, tonumber(ARGV[1]))) do
  local id, n = string.match(lease, '^(.*)|(%d+)$')
  -- No id: no lease of ours, and it must not keep the others from ending.
  if id and redis.call('HGET', ROOT .. ':x:' .. id .. ':t:' .. n, 's') == 'running' then
    lose(ROOT .. ':x:' .. id, n)
    reply[#reply + 1] = id
    reply[#reply + 1] = n
  end
  redis.call('ZREM', LEASES, lease)
end
return reply
