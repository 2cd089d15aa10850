-- Let a closed session's live state expire; no agent reports to it any more. KEYS[1]: the live hash. ARGV: seconds.
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'closed', 1)
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return 1
