"""The statements of the warm tier. Each reads or writes a snapshot in one go: none can be met half replaced."""

from sqlalchemy import text

# A manifest with large parts is small, so repeating it beside each of them costs little.
READ_SAVES = text("""
SELECT s.session_id, s.epoch, s.revision, s.manifest, s.checksum, p.part_hash, p.data
FROM saves s
LEFT JOIN snapshot_parts sp ON sp.session_id = s.session_id AND sp.snapshot_id = s.session_id
LEFT JOIN parts p ON p.session_id = sp.session_id AND p.part_hash = sp.part_hash
WHERE s.session_id = ANY(CAST(:ids AS uuid[]))
""")

READ_CHECKPOINT = text("""
SELECT c.session_id, c.epoch, c.revision, c.manifest, c.checksum, p.part_hash, p.data
FROM checkpoints c
LEFT JOIN snapshot_parts sp ON sp.session_id = c.session_id AND sp.snapshot_id = c.checkpoint_id
LEFT JOIN parts p ON p.session_id = sp.session_id AND p.part_hash = sp.part_hash
WHERE c.checkpoint_id = :checkpoint_id AND c.session_id = :session_id AND c.tier = 'postgres'
""")

SAVE_HEAD = text("SELECT epoch, revision, manifest, checksum FROM saves WHERE session_id = :session_id")
CHECKPOINT_HEAD = text("""
SELECT epoch, revision, manifest, checksum FROM checkpoints
WHERE checkpoint_id = :checkpoint_id AND session_id = :session_id AND tier = 'postgres'
""")
PARTS = text("""
SELECT part_hash, data FROM parts WHERE session_id = :session_id AND part_hash = ANY(CAST(:hashes AS bytea[]))
""")

# The digest tells a reader of another copy whether this one still holds the same bytes, at no transfer. The work row
# notes each save in the same transaction: a save behind it was put there past us.
MARK = text("""
SELECT s.epoch, s.revision, sha256(s.manifest || s.checksum) AS digest, coalesce(w.saved_epoch, 0) AS saved_epoch,
  coalesce(w.saved_revision, 0) AS saved_revision
FROM saves s LEFT JOIN session_work w USING (session_id) WHERE s.session_id = :session_id
""")

# The work row is locked until the commit: an epoch cannot move past a save. Where there is none (a session that came
# out of an archive), the save alone says what is newer.
PUT_SAVE = text("""
WITH held AS (
  SELECT session_id, epoch, saved_epoch, saved_revision FROM session_work WHERE session_id = :session_id
  FOR NO KEY UPDATE
), written AS (
  INSERT INTO saves AS s (session_id, epoch, revision, manifest, checksum)
  SELECT :session_id, :epoch, :revision, :manifest, :checksum
  WHERE NOT EXISTS (
    SELECT FROM held WHERE epoch > :epoch OR (saved_epoch, saved_revision) >= (:epoch, :revision)
  )
  ON CONFLICT (session_id) DO UPDATE SET epoch = excluded.epoch, revision = excluded.revision, saved_at = now(),
    manifest = excluded.manifest, checksum = excluded.checksum
  WHERE (s.epoch, s.revision) < (excluded.epoch, excluded.revision)
  RETURNING s.session_id
), marked AS (
  UPDATE session_work w SET saved_epoch = :epoch, saved_revision = :revision, last_saved_at = now()
  FROM written WHERE w.session_id = written.session_id
)
SELECT session_id FROM written
""")

# In place of the very bytes that were found damaged, and by nothing older than what was saved: whoever saved
# meanwhile, or raised the epoch past what is written here, is not undone.
REPLACE_SAVE = text("""
WITH held AS (
  SELECT session_id, epoch, saved_epoch, saved_revision FROM session_work WHERE session_id = :session_id
  FOR NO KEY UPDATE
), written AS (
  UPDATE saves s SET epoch = :epoch, revision = :revision, manifest = :manifest, checksum = :checksum
  WHERE s.session_id = :session_id AND s.manifest = :former_manifest AND s.checksum = :former_checksum
    AND NOT EXISTS (
      SELECT FROM held WHERE epoch < :epoch OR (saved_epoch, saved_revision) > (:epoch, :revision)
    )
    AND (EXISTS (SELECT FROM held) OR (s.epoch, s.revision) <= (:epoch, :revision))
  RETURNING s.session_id
), marked AS (
  UPDATE session_work w SET saved_epoch = :epoch, saved_revision = :revision
  FROM written WHERE w.session_id = written.session_id
)
SELECT session_id FROM written
""")
REPLACE_CHECKPOINT = text("""
UPDATE checkpoints SET epoch = :epoch, revision = :revision, manifest = :manifest, checksum = :checksum,
  verified = true, damage = NULL
WHERE checkpoint_id = :checkpoint_id AND session_id = :session_id AND tier = 'postgres'
  AND manifest = :former_manifest AND checksum = :former_checksum
RETURNING session_id
""")
RENEW_PARTS = text("""
UPDATE parts p SET data = n.data
FROM unnest(CAST(:hashes AS bytea[]), CAST(:data AS bytea[])) AS n(part_hash, data)
WHERE p.session_id = :session_id AND p.part_hash = n.part_hash AND p.data <> n.data
""")

PUT_CHECKPOINT = text("""
INSERT INTO checkpoints (checkpoint_id, session_id, epoch, revision, checkpoint_type, identity, note, manifest,
  checksum, size_bytes)
VALUES (:checkpoint_id, :session_id, :epoch, :revision, :checkpoint_type, :identity, :note, :manifest, :checksum,
  :size_bytes)
ON CONFLICT (checkpoint_id) DO NOTHING RETURNING session_id
""")

# Without its save a session is unsaved: the next sweep writes it again.
DELETE_SAVE = text("""
WITH held AS (
  UPDATE session_work SET saved_epoch = 0, saved_revision = 0 WHERE session_id = :session_id
)
DELETE FROM saves WHERE session_id = :session_id
""")
DELETE_CHECKPOINT = text("DELETE FROM checkpoints WHERE checkpoint_id = :snapshot_id AND session_id = :session_id")
UNNAME = text("""
DELETE FROM snapshot_parts WHERE session_id = :session_id AND snapshot_id = :snapshot_id RETURNING part_hash
""")

HELD_SAVE = text("""
SELECT s.epoch, s.revision, length(s.manifest) + coalesce((
  SELECT sum(length(p.data)) FROM snapshot_parts sp JOIN parts p USING (session_id, part_hash)
  WHERE sp.session_id = s.session_id AND sp.snapshot_id = s.session_id), 0) AS size_bytes
FROM saves s WHERE s.session_id = :session_id
""")
HELD_CHECKPOINTS = text("""
SELECT checkpoint_id, epoch, revision, size_bytes FROM checkpoints
WHERE session_id = :session_id AND tier = 'postgres' ORDER BY epoch DESC, revision DESC, timestamp DESC, checkpoint_id
""")
