-- Write the hot copy of a save. KEYS[1]: the session's hot hash. ARGV: epoch, revision, seconds to live, checksum,
-- manifest, stored bytes, number of large parts the manifest names, their names, then name, bytes of those sent along.
-- Answers -1 when what is held is as new, and stays; else the names it has not got and was not sent: then nothing
-- readable has changed. An empty list: written.
local key = KEYS[1]
local held = redis.call('HMGET', key, 'epoch', 'revision')
local epoch, revision = tonumber(ARGV[1]), tonumber(ARGV[2])
if held[1] then
  local e, r = tonumber(held[1]) or -1, tonumber(held[2]) or -1
  if e > epoch or (e == epoch and r >= revision) then return -1 end
end

local count, wanted, missing = tonumber(ARGV[7]), {}, {}
for i = 8 + count, #ARGV, 2 do
  redis.call('HSET', key, 'part:' .. ARGV[i], ARGV[i + 1])
end
for i = 8, 7 + count do
  wanted['part:' .. ARGV[i]] = true
  if redis.call('HEXISTS', key, 'part:' .. ARGV[i]) == 0 then missing[#missing + 1] = ARGV[i] end
end
if #missing > 0 then
  redis.call('EXPIRE', key, ARGV[3])
  return missing
end

-- First of the writes: a full Redis refuses it, and would let a script go on that began with one that takes no memory.
redis.call('HSET', key, 'epoch', ARGV[1], 'revision', ARGV[2], 'checksum', ARGV[4], 'manifest', ARGV[5],
  'size', ARGV[6])
redis.call('EXPIRE', key, ARGV[3])
-- Parts that only the former save named are rare, and to list the fields is not cheap.
if redis.call('HLEN', key) > 5 + count then
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.find(field, '^part:') and not wanted[field] then redis.call('HDEL', key, field) end
  end
end
return missing
