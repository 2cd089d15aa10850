-- The latest market of one feed. KEYS[1]: its key. ARGV: its moment and the latest moment that can be true, both in
-- microseconds since 1970; its bytes, which begin with that moment; milliseconds until it is forgotten.
-- Answers 1 where it is the latest now, 0 where a later one, or this very one, stands. One that was written past this
-- script, or is dated in the future, gives way: it must not keep out what is true.
local stands = redis.call('GET', KEYS[1])
local at = stands and tonumber(string.match(stands, '^{"at_us":(%d+),'))
if at and at >= tonumber(ARGV[1]) and at <= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 1
