-- How a session's agents do, without the parts they do not need. KEYS[1]: the live hash. ARGV: bytes up to which an
-- agent's part is answered, then the agents. Answers {now in ms, epoch (-1: not live)}, then for each agent its last beat
-- (ms, '': none), when its part last changed (ms, '': never), the part's bytes, and the part itself or ''.
local key, most = KEYS[1], tonumber(ARGV[1])
local time = redis.call('TIME')
local answer = {time[1] * 1000 + math.floor(time[2] / 1000), tonumber(redis.call('HGET', key, 'epoch') or -1) or -1}
for i = 2, #ARGV do
  local part = 'part:agent/' .. ARGV[i]
  local found = redis.call('HMGET', key, 'beat:' .. ARGV[i], 'mark:agent/' .. ARGV[i])
  local seconds, micros = string.match(found[2] or '', '/(%d+)%.(%d+)$')
  local size = redis.call('HSTRLEN', key, part)
  answer[#answer + 1] = found[1] or ''
  answer[#answer + 1] = seconds and string.format('%d', seconds * 1000 + math.floor(micros / 1000)) or ''
  answer[#answer + 1] = size
  answer[#answer + 1] = size > 0 and size <= most and redis.call('HGET', key, part) or ''
end
return answer
