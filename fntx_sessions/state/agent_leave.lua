-- Let an agent of another service go: its ticket is no good any more, and what it alone reported for the whole session is
-- free for others. KEYS[1]: the session's live hash. ARGV: agent. How far it read stays, for when it comes back.
local live, agent = KEYS[1], ARGV[1]
redis.call('HDEL', live, 'ticket:' .. agent, 'rate:' .. agent)
for _, part in ipairs({'market', 'trading', 'metrics', 'events'}) do
  local owner = redis.call('HGET', live, 'owner:' .. part)
  if owner and string.match(owner, '^%d+/(.*)$') == agent then redis.call('HDEL', live, 'owner:' .. part) end
end
return 1
