"""The statements of anchoring and verifying, built once."""

from sqlalchemy import text

# One moment for heads and rows: a command may commit between two questions.
MOMENT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

DESK_HEAD = text("SELECT CAST('00000000-0000-0000-0000-000000000000' AS uuid) AS session_id, seq, head FROM desk_chain")
HEADS = text("""
SELECT session_id, audit_seq AS seq, audit_head AS head FROM sessions
WHERE session_id > :after AND session_id <= :upto ORDER BY session_id LIMIT :limit
""")
# Whose chains grew since: a row's time is taken before it commits, which `since` allows for.
CHANGED = text("""
SELECT session_id, audit_seq AS seq, audit_head AS head FROM sessions
WHERE session_id IN (SELECT session_id FROM audit WHERE timestamp >= :since) AND session_id > :after
  AND session_id <= :upto ORDER BY session_id LIMIT :limit
""")
# Where a page of sessions ends; no row: there are fewer.
PAGE_END = text("SELECT session_id FROM sessions WHERE session_id > :after ORDER BY session_id OFFSET :many LIMIT 1")

ROWS = text("""
SELECT * FROM audit WHERE (session_id, seq) > (CAST(:session_id AS uuid), :seq) AND session_id <= :upto
ORDER BY session_id, seq LIMIT :limit
""")

# What anchors said of rows that is true no more; a row that is gone has no hash.
UNTRUE = text("""
SELECT n.session_id, n.seq, a.hash IS NULL AS gone
FROM unnest(CAST(:ids AS uuid[]), CAST(:seqs AS bigint[]), CAST(:heads AS text[])) AS n(session_id, seq, head)
LEFT JOIN audit a ON a.session_id = n.session_id AND a.seq = n.seq
WHERE a.hash IS DISTINCT FROM decode(n.head, 'hex')
""")

# Numbers only: of when an anchor is, the anchor itself is asked.
STANDING = text("""
SELECT clock_timestamp() AS now,
  coalesce((SELECT max(number) FROM audit_anchors WHERE key_id = :key_id), 0) AS newest
""")
LAST_FULL = text("""
SELECT coalesce(max(number), 0) FROM audit_anchors WHERE key_id = :key_id AND ends_full_run AND number <= :newest
""")
NOTE = text("""
INSERT INTO audit_anchors (object_name, made_at, chains, hash, key_id, number, ends_full_run, broken)
VALUES (:object_name, :made_at, :chains, :hash, :key_id, :number, :ends_full_run, :broken)
ON CONFLICT (object_name) DO NOTHING
""")
NOTED = text("""
SELECT number, made_at, chains, hash, ends_full_run, broken FROM audit_anchors
WHERE key_id = :key_id AND number >= :since ORDER BY number
""")
# Notes that can be of no anchor, whatever lies in the cold store.
ODD_NOTES = text("""
SELECT object_name FROM audit_anchors
WHERE number < 1 OR object_name <> 'anchors/' || key_id || '/' || lpad(CAST(number AS text), 12, '0')
ORDER BY anchor LIMIT 20
""")

KEYS = text("SELECT DISTINCT key_id FROM audit WHERE session_id = :session_id AND key_id IS NOT NULL")
