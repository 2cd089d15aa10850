-- One cut of a session's live state without the large parts that the reader has. KEYS[1]: the live hash. ARGV: name,
-- mark, bytes of each part the reader has. Answers {name of each part left out}, then field and value of all others.
local key, left, out = KEYS[1], {}, {}
for i = 1, #ARGV, 3 do
  local field = 'part:' .. ARGV[i]
  -- The size too: whoever writes past the report script leaves no mark.
  if redis.call('HGET', key, 'mark:' .. ARGV[i]) == ARGV[i + 1]
    and redis.call('HSTRLEN', key, field) == tonumber(ARGV[i + 2]) then
    left[#left + 1] = ARGV[i]
    out[field] = true
  end
end
local answer = {left}
for _, field in ipairs(redis.call('HKEYS', key)) do
  if not out[field] then
    answer[#answer + 1] = field
    answer[#answer + 1] = redis.call('HGET', key, field)
  end
end
return answer
