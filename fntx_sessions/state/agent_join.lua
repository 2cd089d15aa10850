-- Let an agent of another service in. KEYS: the session's live hash, its inbox. ARGV: agent, the SHA-1 of its ticket, the
-- caps on bytes of a part, bytes of a record, reports a second, records that wait and their bytes, up to how many bytes its
-- own part is answered, then the parts that the desk itself reports. An older ticket is no good from now on. Answers {epoch, revision,
-- the inbox entry after which it reads, 1 where entries it never acknowledged are gone, its own part or '', its bytes}.
local live, inbox, agent = KEYS[1], KEYS[2], ARGV[1]
redis.call('HSET', live, 'ticket:' .. agent, ARGV[2], 'cap:part_bytes', ARGV[3], 'cap:record_bytes', ARGV[4],
  'cap:reports_per_s', ARGV[5], 'cap:records', ARGV[6], 'cap:records_bytes', ARGV[7])
for i = 9, #ARGV do redis.call('HSET', live, 'owner:' .. ARGV[i], 'desk') end

local function less(a, b)
  local a1, a2 = string.match(a, '^(%d+)%-(%d+)$')
  local b1, b2 = string.match(b, '^(%d+)%-(%d+)$')
  a1, a2, b1, b2 = tonumber(a1), tonumber(a2), tonumber(b1), tonumber(b2)
  return a1 < b1 or (a1 == b1 and a2 < b2)
end

local acked, gone = redis.call('HGET', live, 'ack:' .. agent) or '0-0', 0
local newest = redis.call('XREVRANGE', inbox, '+', '-', 'COUNT', 1)[1]
local last = newest and newest[1] or '0-0'
-- Nobody has read what was never written: an inbox that was lost begins anew. Nor what is no id of an entry.
local major, minor = string.match(acked, '^(%d+)%-(%d+)$')
if not major or #major > 19 or #minor > 19 or less(last, acked) then
  acked = last
  redis.call('HSET', live, 'ack:' .. agent, acked)
end
if newest and less(acked, last) then
  if acked ~= '0-0' then
    gone = #redis.call('XRANGE', inbox, acked, acked) == 0 and 1 or 0
  else
    local info = redis.call('XINFO', 'STREAM', inbox)
    local known = {}
    for i = 1, #info, 2 do known[info[i]] = info[i + 1] end
    gone = (known['entries-added'] or known['length']) > known['length'] and 1 or 0
  end
end

local head = redis.call('HMGET', live, 'epoch', 'revision')
local size = redis.call('HSTRLEN', live, 'part:agent/' .. agent)
local own = size > 0 and size <= tonumber(ARGV[8]) and redis.call('HGET', live, 'part:agent/' .. agent) or ''
return {tonumber(head[1]), tonumber(head[2]), acked, gone, own, size}
