-- One report of one agent of another service. KEYS: the session's live hash, its stream of records. ARGV: epoch, agent,
-- ticket, the inbox entry it acknowledges or '', how many parts, name and bytes of each part, then kind, id and bytes of
-- each record. Answers {1, epoch, revision, records taken}, or {0, reason, detail}; a refusal writes nothing but its count.
local live, stream = KEYS[1], KEYS[2]
local epoch, agent, ticket, acked, parts = tonumber(ARGV[1]), ARGV[2] or '', ARGV[3], ARGV[4], tonumber(ARGV[5])
local found = redis.call('HMGET', live, 'epoch', 'revision', 'size', 'closed', 'ticket:' .. agent, 'ack:' .. agent,
  'rate:' .. agent, 'cap:part_bytes', 'cap:record_bytes', 'cap:reports_per_s', 'cap:records')
local time = redis.call('TIME')

local function refuse(reason, detail)
  -- Under no name that has not joined: whoever makes names up makes no fields.
  local name = found[5] and agent or ''
  redis.call('HINCRBY', live, 'refused:' .. name .. ':' .. reason, 1)
  redis.call('HSET', live, 'refused_at:' .. name, string.format('%d/%s', time[1] * 1000 + math.floor(time[2] / 1000), reason))
  return {0, reason, tostring(detail)}
end

if not found[1] or found[4] then return {0, 'not_live', ''} end
if not found[5] then return refuse('not_joined', agent) end
if not ticket or redis.sha1hex(ticket) ~= found[5] then return refuse('superseded', agent) end
if epoch ~= tonumber(found[1]) then return refuse('stale_epoch', found[1]) end

local first = parts and 6 + 2 * parts
if not first or parts < 0 or parts > 8 or parts ~= math.floor(parts) or first - 1 > #ARGV or (#ARGV - first + 1) % 3 ~= 0 then
  return refuse('malformed', 'so many values are no parts and records')
end
-- What is one for the whole session is written by one agent in an epoch: the first that does, or the desk itself.
local shared = {market = true, trading = true, metrics = true, events = true}
local owned = {}
for i = 6, first - 1, 2 do
  local name, bytes = ARGV[i], ARGV[i + 1]
  if shared[name] then
    local owner = redis.call('HGET', live, 'owner:' .. name)
    local mine = found[1] .. '/' .. agent
    if owner and owner ~= mine and (owner == 'desk' or string.match(owner, '^(%d+)/') == found[1]) then
      return refuse('not_yours', name .. ' is reported by ' .. string.gsub(owner, '^%d+/', ''))
    end
    owned[#owned + 1] = 'owner:' .. name
    owned[#owned + 1] = mine
  elseif name ~= 'agent/' .. agent then
    return refuse('not_yours', name)
  end
  if #bytes > tonumber(found[8]) then return refuse('too_large', name .. ': ' .. #bytes .. ' bytes, at most ' .. found[8]) end
end
local kinds = {trade = true, decision = true, error = true}
for i = first, #ARGV, 3 do
  if not kinds[ARGV[i]] or #ARGV[i + 1] < 1 or #ARGV[i + 1] > 200 then
    return refuse('malformed', 'a record is a trade, a decision or an error, with an id of up to 200 bytes')
  end
  if #ARGV[i + 2] > tonumber(found[9]) then
    return refuse('too_large', ARGV[i] .. ': ' .. #ARGV[i + 2] .. ' bytes, at most ' .. found[9])
  end
end
local new_major, new_minor = string.match(acked or '', '^(%d+)%-(%d+)$')
if acked ~= '' and not new_major then return refuse('malformed', 'what is acknowledged is no id of an entry') end

local second, count = string.match(found[7] or '', '^(%d+)/(%d+)$')
count = second == time[1] and tonumber(count) or 0
if count >= tonumber(found[10]) then return refuse('too_many', found[10]) end
local taken = (#ARGV - first + 1) / 3
if taken > 0 and redis.call('XLEN', stream) + taken > tonumber(found[11]) then return refuse('backlog', found[11]) end

local revision = write_parts(live, found, agent, ARGV, 6, first - 1)
if #owned > 0 then redis.call('HSET', live, unpack(owned)) end
for i = first, #ARGV, 3 do
  redis.call('XADD', stream, '*', 'agent', agent, 'epoch', found[1], 'kind', ARGV[i], 'id', ARGV[i + 1], 'data', ARGV[i + 2])
end
redis.call('HSET', live, 'rate:' .. agent, time[1] .. '/' .. (count + 1))
if new_major then
  local major, minor = string.match(found[6] or '0-0', '^(%d+)%-(%d+)$')
  major, minor, new_major, new_minor = tonumber(major), tonumber(minor), tonumber(new_major), tonumber(new_minor)
  if new_major > major or (new_major == major and new_minor > minor) then
    redis.call('HSET', live, 'ack:' .. agent, acked)
  end
end
return {1, epoch, revision, taken}
