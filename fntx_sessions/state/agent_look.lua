-- How agents of other services do at their doors. KEYS: the session's live hash, its inbox. ARGV: how many reasons for which
-- reports are refused, the reasons, the agents. Answers {now in ms, then for each agent {1 where it has a ticket, the entry it
-- acknowledged last, how many follow that, since when the first of them lies there (ms), when and why it was refused last, its
-- last beat (ms), how often it was refused for each reason}}; '' for what is not known.
local live, inbox, reasons = KEYS[1], KEYS[2], tonumber(ARGV[1])
local time = redis.call('TIME')
local answer = {time[1] * 1000 + math.floor(time[2] / 1000)}
local newest = redis.call('XREVRANGE', inbox, '+', '-', 'COUNT', 1)[1]
for i = reasons + 2, #ARGV do
  local agent = ARGV[i]
  local fields = {'ticket:' .. agent, 'ack:' .. agent, 'refused_at:' .. agent, 'beat:' .. agent}
  for n = 2, reasons + 1 do fields[#fields + 1] = 'refused:' .. agent .. ':' .. ARGV[n] end
  local found = redis.call('HMGET', live, unpack(fields))
  local behind, since = 0, ''
  if newest and newest[1] ~= found[2] then
    local after = redis.pcall('XRANGE', inbox, '(' .. (found[2] or '0-0'), '+')
    -- Whoever acknowledged what is no id of an entry has acknowledged nothing.
    if after.err then after = redis.call('XRANGE', inbox, '-', '+') end
    behind = #after
    local entry = after[1] and after[1][2] or {}
    for n = 1, #entry, 2 do if entry[n] == 'at' then since = entry[n + 1] end end
  end
  local said = {found[1] and '1' or '', found[2] or '', tostring(behind), since, found[3] or '', found[4] or ''}
  for n = 5, #found do said[#said + 1] = found[n] or '' end
  answer[#answer + 1] = said
end
return answer
