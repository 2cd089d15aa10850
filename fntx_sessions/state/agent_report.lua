-- One report of one agent of another service. KEYS: the session's live hash, its stream of records. ARGV: epoch, agent,
-- ticket, the inbox entry it acknowledges or '', how many parts, name and bytes of each part, then kind, id and bytes of
-- each record. Answers {1, epoch, revision, records taken}, or {0, reason, detail}; a refusal writes nothing but its count.
local live, stream = KEYS[1], KEYS[2]
local epoch, agent, ticket, acked, parts = tonumber(ARGV[1]), ARGV[2] or '', ARGV[3], ARGV[4], tonumber(ARGV[5])
local found = redis.call('HMGET', live, 'epoch', 'revision', 'size', 'closed', 'ticket:' .. agent, 'ack:' .. agent,
  'rate:' .. agent, 'cap:part_bytes', 'cap:record_bytes', 'cap:reports_per_s', 'cap:records', 'cap:records_bytes')
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

-- An id of an entry as two numbers; nothing for what no stream can hold.
local function entry_id(text)
  local major, minor = string.match(text, '^(%d+)%-(%d+)$')
  if not major or #major > 19 or #minor > 19 then return nil end
  return tonumber(major), tonumber(minor)
end

-- How many bytes of records wait, and how many were written since the stream was empty last.
local function backlog(records)
  local function of(entry)
    local said = {}
    for i = 1, entry and #entry[2] or 0, 2 do said[entry[2][i]] = entry[2][i + 1] end
    return tonumber(said.written) or 0, #(said.id or '') + #(said.data or '')
  end
  local oldest = redis.call('XRANGE', records, '-', '+', 'COUNT', 1)[1]
  local before, size = of(oldest)
  local all = of(redis.call('XREVRANGE', records, '+', '-', 'COUNT', 1)[1])
  return math.max(0, all - before + size), all
end

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
  elseif not string.match(name, '^agent/') then
    return refuse('malformed', 'a part is agent/' .. agent .. ', market, trading, metrics or events')
  elseif name ~= 'agent/' .. agent then
    return refuse('not_yours', name)
  end
  if #bytes > tonumber(found[8]) then return refuse('too_large', name .. ': ' .. #bytes .. ' bytes, at most ' .. found[8]) end
end
local kinds, brought = {trade = true, decision = true, error = true}, 0
for i = first, #ARGV, 3 do
  if not kinds[ARGV[i]] or #ARGV[i + 1] < 1 or #ARGV[i + 1] > 200 then
    return refuse('malformed', 'a record is a trade, a decision or an error, with an id of up to 200 bytes')
  end
  if #ARGV[i + 2] > tonumber(found[9]) then
    return refuse('too_large', ARGV[i] .. ': ' .. #ARGV[i + 2] .. ' bytes, at most ' .. found[9])
  end
  brought = brought + #ARGV[i + 1] + #ARGV[i + 2]
end
local most_bytes = tonumber(found[12] or found[9])
if brought > most_bytes then
  return refuse('too_large', 'records: ' .. brought .. ' bytes, at most ' .. most_bytes .. ' together')
end
local new_major, new_minor = entry_id(acked or '')
if acked ~= '' and not new_major then return refuse('malformed', 'what is acknowledged is no id of an entry') end

local second, count = string.match(found[7] or '', '^(%d+)/(%d+)$')
count = second == time[1] and tonumber(count) or 0
if count >= tonumber(found[10]) then return refuse('too_many', found[10]) end
local taken, written = (#ARGV - first + 1) / 3, 0
if taken > 0 then
  local waiting
  waiting, written = backlog(stream)
  if redis.call('XLEN', stream) + taken > tonumber(found[11]) then return refuse('backlog', found[11]) end
  if waiting + brought > most_bytes then return refuse('backlog', most_bytes .. ' bytes of') end
end

local revision = write_parts(live, found, agent, ARGV, 6, first - 1)
if #owned > 0 then redis.call('HSET', live, unpack(owned)) end
for i = first, #ARGV, 3 do
  written = written + #ARGV[i + 1] + #ARGV[i + 2]
  redis.call('XADD', stream, '*', 'agent', agent, 'epoch', found[1], 'kind', ARGV[i], 'id', ARGV[i + 1], 'data', ARGV[i + 2],
    'written', string.format('%d', written))
end
redis.call('HSET', live, 'rate:' .. agent, time[1] .. '/' .. (count + 1))
if new_major then
  -- Nobody has read what was never written.
  local newest = redis.call('XREVRANGE', (string.gsub(live, ':live$', ':inbox')), '+', '-', 'COUNT', 1)[1]
  local major, minor = entry_id(newest and newest[1] or '0-0')
  if newest and (new_major > major or (new_major == major and new_minor > minor)) then
    new_major, new_minor, acked = major, minor, newest[1]
  end
  major, minor = entry_id(found[6] or '0-0')
  if newest and (not major or new_major > major or (new_major == major and new_minor > minor)) then
    redis.call('HSET', live, 'ack:' .. agent, acked)
  end
end
return {1, epoch, revision, taken}
