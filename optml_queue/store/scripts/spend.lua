-- KEYS: x. ARGV: limit of cost as worker time (ms; "": none). Ends an experiment whose budget is spent, what runs now counted.
-- Returns the worker time (ms) spent so far.
local x, now = KEYS[1], now_ms()
if redis.call('EXISTS', x) == 0 then
  return '0'
end
redis.call('HSET', x, 'budget_cost_ms', ARGV[1])
local spent = tonumber(redis.call('HGET', x, 'worker_ms') or '0')
local running = redis.call('ZRANGE', x .. ':running', 0, -1, 'WITHSCORES')
for i = 2, #running, 2 do
  spent = spent + math.max(0, now - tonumber(running[i]))
end
end_if_spent(x, spent)
settle(x)
return int(spent)
