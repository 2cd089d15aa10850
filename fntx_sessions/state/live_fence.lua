-- Raise the fence of a session. KEYS[1]: its live hash. ARGV: epoch. Only moves forward; a hash that was to expire
-- stays. Answers the epoch that stands now.
local key = KEYS[1]
local current = tonumber(redis.call('HGET', key, 'epoch') or -1)
local asked = tonumber(ARGV[1])
if asked <= current then return current end
redis.call('HSETNX', key, 'revision', 0)
redis.call('HSETNX', key, 'size', 0)
redis.call('HSET', key, 'epoch', asked)
redis.call('HDEL', key, 'closed')
redis.call('PERSIST', key)
return asked
