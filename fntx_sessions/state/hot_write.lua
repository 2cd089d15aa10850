-- Write the hot copy of a save. KEYS[1]: the session's hot hash. ARGV: epoch, revision, seconds to live, checksum,
-- manifest, number of large parts the manifest names, their names, then name, bytes of those sent along.
-- Answers the names it has not got and was not sent; then nothing readable has changed. A newer copy stays.
local key = KEYS[1]
local held = redis.call('HMGET', key, 'epoch', 'revision')
local epoch, revision = tonumber(ARGV[1]), tonumber(ARGV[2])
if held[1] then
  local e, r = tonumber(held[1]), tonumber(held[2])
  if e > epoch or (e == epoch and r > revision) then return {} end
end

local count, wanted, missing = tonumber(ARGV[6]), {}, {}
for i = 7 + count, #ARGV, 2 do
  redis.call('HSET', key, 'part:' .. ARGV[i], ARGV[i + 1])
end
for i = 7, 6 + count do
  wanted['part:' .. ARGV[i]] = true
  if redis.call('HEXISTS', key, 'part:' .. ARGV[i]) == 0 then missing[#missing + 1] = ARGV[i] end
end
redis.call('EXPIRE', key, ARGV[3])
if #missing > 0 then return missing end

redis.call('HSET', key, 'epoch', epoch, 'revision', revision, 'checksum', ARGV[4], 'manifest', ARGV[5])
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.find(field, '^part:') and not wanted[field] then redis.call('HDEL', key, field) end
end
return missing
