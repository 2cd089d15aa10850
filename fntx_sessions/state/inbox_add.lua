-- Add events to a session's inbox, in order. KEYS[1]: the stream. ARGV: most entries kept, seconds to live, then id and
-- event by turns. An id that is there already is passed over; any other error ends it, so that what follows is not let
-- in before what failed. Each is dated by this server's clock. Answers how many were added and the error, empty when there
-- was none.
local added, time = 0, redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
for i = 3, #ARGV, 2 do
  local answer = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], ARGV[i], 'event', ARGV[i + 1], 'at', now)
  if type(answer) == 'table' and answer.err then
    if not string.find(answer.err, 'equal or smaller', 1, true) then return {added, answer.err} end
  else
    added = added + 1
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {added, ''}
