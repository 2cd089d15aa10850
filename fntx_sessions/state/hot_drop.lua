-- Delete the hot copy of a save, if it is still the one that was read. KEYS[1]: the session's hot hash.
-- ARGV: the manifest that was read. Answers 1 when it is gone.
if redis.call('HGET', KEYS[1], 'manifest') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
