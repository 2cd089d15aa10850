-- Put a snapshot's parts back. KEYS[1]: the session's live hash. ARGV: epoch, then name, bytes of each part.
-- Agents and market become exactly those of the snapshot; heartbeats begin anew; the money view is left alone.
-- Answers {1, epoch, revision}, or {0, epoch} of the fence that refused (-1: there is no fence).
local key = KEYS[1]
local head = redis.call('HMGET', key, 'epoch', 'revision')
if not head[1] then return {0, -1} end
if tonumber(head[1]) ~= tonumber(ARGV[1]) then return {0, tonumber(head[1])} end

for _, field in ipairs(redis.call('HKEYS', key)) do
  local name = string.match(field, '^part:(.*)$')
  if name and (name == 'market' or string.find(name, '^agent/')) then
    redis.call('HDEL', key, field, 'rev:' .. name, 'mark:' .. name)
  elseif string.find(field, '^beat:') then
    redis.call('HDEL', key, field)
  end
end

local revision, time = tonumber(head[2]) + 1, redis.call('TIME')
local mark = string.format('%d/%s.%06d', revision, time[1], time[2])
for i = 2, #ARGV, 2 do
  redis.call('HSET', key, 'part:' .. ARGV[i], ARGV[i + 1], 'rev:' .. ARGV[i], revision, 'mark:' .. ARGV[i], mark)
end
local size = 0
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.find(field, '^part:') then size = size + redis.call('HSTRLEN', key, field) end
end
redis.call('HSET', key, 'revision', revision, 'size', size)
return {1, tonumber(head[1]), revision}
