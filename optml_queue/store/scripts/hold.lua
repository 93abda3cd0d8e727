-- KEYS: x. ARGV: holder, lease (ms). Takes the claim to archive an experiment, or keeps it; a lease of 0 gives it back.
-- Returns 1, or 0 while another holds it. There is nothing to hold of an experiment that is gone: 1.
local key = KEYS[1] .. ':archivist'
local holder = redis.call('GET', key)
if holder and holder ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' or redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', key)
else
  redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
end
return 1
