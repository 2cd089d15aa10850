-- The newest checkpoints of a session, kept hot in one hash: large parts they share lie there once. KEYS[1]: the hash.
-- Its field `index` lists them as JSON, newest first: id, epoch, revision, size, and the names of their large parts.
-- ARGV: `put`, id, epoch, revision, size, how many to keep, seconds to live, checksum, manifest, number of large parts,
-- their names, then name, bytes of those sent along. Answers -1 when it stays out (it is here, or as many newer ones
-- are), else the names it has not got and was not sent: then nothing readable has changed. An empty list: written.
-- ARGV: `drop`, id, manifest ('' or the one that was read). Answers 1 when one is gone.
local key, what, id = KEYS[1], ARGV[1], ARGV[2]
-- A damaged index is an empty one: what it listed is dropped with it.
local sound, index = pcall(cjson.decode, redis.call('HGET', key, 'index') or '[]')
if not sound or type(index) ~= 'table' then index = {} end

local function write(kept)
  if #kept == 0 then return redis.call('DEL', key) end
  local wanted = {}
  for _, one in ipairs(kept) do
    wanted['manifest:' .. one.id], wanted['checksum:' .. one.id] = true, true
    for name in string.gmatch(one.parts, '%x+') do wanted['part:' .. name] = true end
  end
  redis.call('HSET', key, 'index', cjson.encode(kept))
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if field ~= 'index' and not wanted[field] then redis.call('HDEL', key, field) end
  end
end

if what == 'drop' then
  if ARGV[3] ~= '' and redis.call('HGET', key, 'manifest:' .. id) ~= ARGV[3] then return 0 end
  local kept = {}
  for _, one in ipairs(index) do
    if one.id ~= id then kept[#kept + 1] = one end
  end
  if #kept == #index then return 0 end
  write(kept)
  return 1
end

local epoch, revision, keep = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
local place = 1
for i, one in ipairs(index) do
  if one.id == id then return -1 end
  local e, r = tonumber(one.epoch), tonumber(one.revision)
  if e > epoch or (e == epoch and r > revision) then place = i + 1 end
end
if place > keep then return -1 end

local count, names, missing = tonumber(ARGV[10]), {}, {}
for i = 11 + count, #ARGV, 2 do
  redis.call('HSET', key, 'part:' .. ARGV[i], ARGV[i + 1])
end
for i = 11, 10 + count do
  names[#names + 1] = ARGV[i]
  if redis.call('HEXISTS', key, 'part:' .. ARGV[i]) == 0 then missing[#missing + 1] = ARGV[i] end
end
if #missing > 0 then
  redis.call('EXPIRE', key, ARGV[7])
  return missing
end

-- First of the writes: a full Redis refuses it, and would let a script go on that began with one that takes no memory.
redis.call('HSET', key, 'checksum:' .. id, ARGV[8], 'manifest:' .. id, ARGV[9])
table.insert(index, place, {id = id, epoch = ARGV[3], revision = ARGV[4], size = ARGV[5],
  parts = table.concat(names, ',')})
while #index > keep do table.remove(index) end
write(index)
redis.call('EXPIRE', key, ARGV[7])
return missing
