-- Write the parts of one agent's report, name and bytes by turns among `values`, and beat its heart. head: epoch, revision
-- and size of the live hash. Answers the revision then. The heartbeat is dated by this server's clock: whoever reports has
-- no say in how old its report is. Both reports begin with this text, so that agents here and elsewhere write alike.
local function write_parts(key, head, agent, values, first, last)
  local revision, size, changed = tonumber(head[2]), tonumber(head[3]), false
  local time = redis.call('TIME')
  -- No two writes of a part have the same mark, not even where Redis lost some and counts revisions anew.
  local mark = string.format('%d/%s.%06d', revision + 1, time[1], time[2])
  for i = first, last, 2 do
    local field, bytes = 'part:' .. values[i], values[i + 1]
    local old = redis.call('HGET', key, field)
    if old ~= bytes then
      redis.call('HSET', key, field, bytes, 'rev:' .. values[i], revision + 1, 'mark:' .. values[i], mark)
      size = size + #bytes - (old and #old or 0)
      changed = true
    end
  end

  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', key, 'beat:' .. agent, string.format('%d', now))
  if changed then
    revision = revision + 1
    redis.call('HSET', key, 'revision', revision, 'size', size)
  end
  return revision
end

