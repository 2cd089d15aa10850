-- One report of one agent. KEYS[1]: the session's live hash. ARGV: epoch, agent, then name, bytes of each part.
-- Answers {1, epoch, revision}, or {0, epoch} of the fence that refused (-1: there is no fence). The heartbeat is dated by
-- this server's clock: whoever reports has no say in how old its report is.
local key = KEYS[1]
local head = redis.call('HMGET', key, 'epoch', 'revision', 'size')
if not head[1] then return {0, -1} end
if tonumber(head[1]) ~= tonumber(ARGV[1]) then return {0, tonumber(head[1])} end

local revision, size, changed = tonumber(head[2]), tonumber(head[3]), false
local time = redis.call('TIME')
-- No two writes of a part have the same mark, not even where Redis lost some and counts revisions anew.
local mark = string.format('%d/%s.%06d', revision + 1, time[1], time[2])
for i = 3, #ARGV, 2 do
  local field, bytes = 'part:' .. ARGV[i], ARGV[i + 1]
  local old = redis.call('HGET', key, field)
  if old ~= bytes then
    redis.call('HSET', key, field, bytes, 'rev:' .. ARGV[i], revision + 1, 'mark:' .. ARGV[i], mark)
    size = size + #bytes - (old and #old or 0)
    changed = true
  end
end

local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', key, 'beat:' .. ARGV[2], string.format('%d', now))
if changed then
  revision = revision + 1
  redis.call('HSET', key, 'revision', revision, 'size', size)
end
return {1, tonumber(head[1]), revision}
