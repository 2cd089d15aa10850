-- One report of one agent that is stepped here. KEYS[1]: the session's live hash. ARGV: epoch, agent, then name, bytes of
-- each part. Answers {1, epoch, revision}, or {0, epoch} of the fence that refused (-1: there is no fence).
local head = redis.call('HMGET', KEYS[1], 'epoch', 'revision', 'size')
if not head[1] then return {0, -1} end
if tonumber(head[1]) ~= tonumber(ARGV[1]) then return {0, tonumber(head[1])} end
return {1, tonumber(head[1]), write_parts(KEYS[1], head, ARGV[2], ARGV, 3, #ARGV)}
