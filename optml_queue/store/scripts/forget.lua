-- KEYS: x. ARGV: most (entries of the log to pass), then how many stay of the last that ended, of the best complete ones
-- and of the first ones of each other state. Gives up records of finished trials that lie in the archive's parts, where the
-- experiment's spec says `retain: summary`. Each leaves one bit behind, by which it is known for finished. Trials that may
-- run again (failed, cancelled), or have been run again, stay in any case. Returns how many entries of the log were passed.
local x = KEYS[1]
local MOST, RECENT, BEST, FIRST = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local LASTING = { complete = true, diverged = true, stopped_early = true }

-- Whether a ranking or a list of a state would miss a trial at its head.
local function is_at_a_head(n)
  local rank = redis.call('ZRANK', x .. ':rank', n)
  if rank then
    return rank < BEST
  end
  for _, state in ipairs({ 'diverged', 'stopped_early' }) do
    local place = redis.call('ZRANK', x .. ':in:' .. state, n)
    if place then
      return place < FIRST
    end
  end
  return false -- a complete one without a rank
end

local function give_up(n)
  redis.call('SETBIT', forgotten_key(x, n), tonumber(n) % FORGOTTEN_TOGETHER, 1)
  redis.call('HDEL', bucket_of(x, n), n)
  if redis.call('EXISTS', bucket_of(x, n)) == 0 then
    redis.call('ZREM', x .. ':buckets', bucket_number(n))
  end
  redis.call('ZREM', x .. ':rank', n)
  redis.call('ZREM', x .. ':in:diverged', n)
  redis.call('ZREM', x .. ':in:stopped_early', n)
  redis.call('SREM', x .. ':heads', n)
end

-- A trial at the head of a list, when it was passed, may have been overtaken since.
local function look_at_heads_again()
  if redis.call('SCARD', x .. ':heads') < 2 * (BEST + 2 * FIRST) then
    return
  end
  for _, n in ipairs(redis.call('SMEMBERS', x .. ':heads')) do
    if not is_at_a_head(n) then
      give_up(n)
    end
  end
end

local facts = redis.call('HMGET', x, 'retain', 'forgotten', 'archived', 'restoring')
local from, archived = tonumber(facts[2] or '0'), tonumber(facts[3] or '0')
local stop = math.min(from + MOST, archived - RECENT)
if facts[1] ~= 'summary' or facts[4] or stop <= from then
  return 0
end
for _, n in ipairs(redis.call('LRANGE', x .. ':log', from, stop - 1)) do
  local record = redis.call('HGET', bucket_of(x, n), n)
  local state = record and string.match(record, '^%["([a-z_]+)"')
  -- One that was run again may have ended anew since its part was written.
  if state and LASTING[state] and redis.call('SISMEMBER', x .. ':reopened', n) == 0 then
    if is_at_a_head(n) then
      redis.call('SADD', x .. ':heads', n)
    else
      give_up(n)
    end
  end
end
redis.call('HSET', x, 'forgotten', stop)
look_at_heads_again()
return stop - from
