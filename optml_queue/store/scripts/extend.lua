-- KEYS: x. ARGV: expected next, expected spec, then field, value, … The plan goes on with another search from `next` on;
-- one that was over is open again. Returns 1, or 0 when trials were reserved or the spec changed meanwhile, or it ends.
local x, next, spec = KEYS[1], table.remove(ARGV, 1), table.remove(ARGV, 1)
local facts = redis.call('HMGET', x, 'next', 'spec', 'ending', 'finished_at', 'restoring')
if facts[1] ~= next or facts[2] ~= spec or (facts[3] and not facts[4]) or facts[5] then
  return 0
end
redis.call('HSET', x, unpack(ARGV))
redis.call('HSET', x, 'exhausted', '0')
-- Whoever read the plan before must not reserve by it.
redis.call('HINCRBY', x, 'extensions', 1)
if facts[4] then
  redis.call('HDEL', x, 'ending')
  open_again(x)
end
want(x)
return 1
