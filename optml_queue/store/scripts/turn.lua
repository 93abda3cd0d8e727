-- KEYS: x. ARGV: token, worker, lease (ms), how many results, then number, state, metrics (JSON), reason (JSON) and how long ago (ms, with
-- fractions) it began and finished of each result, then number and generation of each trial to begin.
--
-- What `finish` and `begin` do, for several trials that one message carried: takes the results of those that ran, and begins the next
-- ones. The same token asking again gets the same answer. Early stopping's median rule is not served.
-- Returns { { 'accepted', 'duplicate' or 'refused' for each result }, { number, attempt, params, seed, checkpoint of each that began } }.
local x, token, worker, lease_ms = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = now_ms()
local first = 5 + 6 * tonumber(ARGV[4])
local answers, accepted = {}, {}

for i = 5, first - 1, 6 do
  local n = ARGV[i]
  local t = live(x, n)
  local refusal = refusal_of(x, n, t, token)
  add(answers, refusal or 'accepted')
  if not refusal then
    add(accepted, {
      n = n, t = t, state = ARGV[i + 1], metrics = ARGV[i + 2], reason = ARGV[i + 3], error = '""',
      begun = now - tonumber(ARGV[i + 4]), finished = now - tonumber(ARGV[i + 5])
    })
  end
end
if #accepted > 0 then
  conclude_all(x, accepted)
end

local facts = redis.call('HMGET', x, 'state', 'ending', 'class')
local runs = facts[1] == 'running' and not facts[2]
local begun, running, leases, waiting, latest = {}, {}, {}, {}, 0
local now_text = int(now)

local function begin(n, t)
  local attempt = tonumber(t[3]) + 1
  if attempt > 1 then
    note_another_attempt(x, x .. ':t:' .. n, now)
  end
  redis.call('HSET', x .. ':t:' .. n, 's', 'running', 'a', int(attempt), 'tok', token, 'w', worker, 'b', now_text, 'm', 1)
  add(running, now_text, n)
  add(leases, now + lease_ms, lease_of(x, n))
  add(waiting, n)
  latest = math.max(latest, tonumber(t[6]))
  return attempt
end

for i = first, #ARGV, 2 do
  local n = ARGV[i]
  local t = redis.call('HMGET', x .. ':t:' .. n, 's', 'tok', 'a', 'p', 'seed', 'g', 'c')
  local attempt = nil
  if t[1] == 'running' and t[2] == token then
    attempt = tonumber(t[3])
  elseif t[1] ~= 'queued' then
    note(x, t[1] and 'declined:running elsewhere' or 'declined:already finished')
  elseif t[6] ~= ARGV[i + 1] then
    note(x, 'declined:stale message')
  elseif runs then
    attempt = begin(n, t)
  else
    unpublish(x, n, now)
    note(x, 'declined:' .. (facts[2] or facts[1]))
  end
  if attempt then
    add(begun, n, attempt)
    add(begun, t[4], t[5])
    add(begun, t[7] or '')
  end
end
if #waiting > 0 then
  send('ZADD', x .. ':running', running)
  send('ZADD', LEASES, leases)
  send('ZREM', x .. ':published', waiting)
  send('ZREM', x .. ':due', waiting)
  count(x, 'queued', -#waiting)
  count(x, 'running', #waiting)
  note_begun(facts[3], latest)
  want_if_low(x)
end
return { answers, begun }
