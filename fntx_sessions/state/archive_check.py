"""Whether an archive is whole: every chunk opens, every count holds, the audit chain holds, every snapshot opens."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
from sqlalchemy import Table

from fntx_sessions.database import models as m
from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.security.chain_check import KeyOf, verify_chain
from fntx_sessions.state import archive_states as states
from fntx_sessions.state import archive_text
from fntx_sessions.state.archive_format import TABLE, Archive, Section
from fntx_sessions.state.archive_states import StoredSnapshot
from fntx_sessions.state.codec import Codec, Label
from fntx_sessions.state.snapshot import PART, Packer

AUDIT, PARTS, SNAPSHOTS, WEEKS, METRICS = "audit", "parts", "snapshots", "weeks", "metrics"


def inspect(archive: Archive, codec: Codec, packer: Packer, key_of: KeyOf) -> list[str]:
    """Open all of an archive; return the snapshots in it that are damaged, by id, `save` for the latest save.

    Raises IntegrityError for anything else that is not as its header says, and Shredded.
    """
    for section in archive.header.sections:
        if section.name not in (PARTS, SNAPSHOTS, AUDIT):
            _count(archive, codec, section)
    _check_audit(archive, codec, key_of)
    return _damaged(archive, codec, packer)


def check(archive: Archive, codec: Codec, packer: Packer, key_of: KeyOf) -> None:
    """Return when an archive is whole; raises IntegrityError that says what is wrong, and Shredded."""
    damaged = inspect(archive, codec, packer, key_of)
    new = sorted(set(damaged) - set(archive.header.damaged))
    if new:
        raise IntegrityError(_told(archive), f"snapshots that opened when it was made do not now: {', '.join(new)}")


def rows_of(archive: Archive, codec: Codec, table: Table) -> Iterator[dict[str, Any]]:
    """Yield the rows an archive holds of a table, as values."""
    columns = archive.header.section(table.name).columns
    for chunk in archive.chunks(codec, table.name):
        yield from archive_text.rows(table, columns, chunk)


def metrics_of(archive: Archive, codec: Codec) -> dict[str, Any] | None:
    """Return what an archive tells of the run; None: nothing."""
    if METRICS not in archive.header.counts():
        return None
    found: dict[str, Any] = orjson.loads(b"".join(archive.chunks(codec, METRICS)))
    return found


def _count(archive: Archive, codec: Codec, section: Section) -> None:
    found = sum(chunk.count(b"\n") if section.kind == TABLE else 0 for chunk in archive.chunks(codec, section.name))
    if section.kind == TABLE and found != section.rows:
        raise IntegrityError(_told(archive), f"{found} of {section.rows} rows of {section.name}")


def _check_audit(archive: Archive, codec: Codec, key_of: KeyOf) -> None:
    [session] = rows_of(archive, codec, m.sessions)
    problems = problems_of_chain(rows_of(archive, codec, m.audit), session, key_of)
    if problems:
        raise IntegrityError(_told(archive), f"audit chain: {problems[0]}")


def problems_of_chain(found: Iterable[dict[str, Any]], session: Mapping[str, Any], key_of: KeyOf) -> list[str]:
    """Return what is wrong with a session's audit rows, seen from its row."""
    return verify_chain(found, key_of, head=session["audit_head"])


def _damaged(archive: Archive, codec: Codec, packer: Packer) -> list[str]:
    session_id, sound, parts = archive.header.session_id, set[bytes](), 0
    for part in states.read_parts(archive.chunks(codec, PARTS)):
        parts += 1
        if _part_opens(codec, part, Label(session_id, PART, part.part_hash.hex())):
            sound.add(part.part_hash)
    snapshots = list(states.read_snapshots(archive.chunks(codec, SNAPSHOTS)))
    for name, found in ((PARTS, parts), (SNAPSHOTS, len(snapshots))):
        if found != archive.header.section(name).rows:
            raise IntegrityError(_told(archive), f"{found} of {archive.header.section(name).rows} {name}")
    return [
        str(snapshot.checkpoint_id or "save") for snapshot in snapshots if not _opens(archive, packer, snapshot, sound)
    ]


def _part_opens(codec: Codec, part: states.StoredPart, label: Label) -> bool:
    try:
        return codec.is_named(label.session_id, codec.decode(part.data, label), part.part_hash)
    except IntegrityError:
        return False


def _opens(archive: Archive, packer: Packer, snapshot: StoredSnapshot, sound: set[bytes]) -> bool:
    try:
        manifest = packer.manifest(snapshot.packed(archive.header.session_id))
    except IntegrityError:
        return False
    return all(bytes.fromhex(entry.hash) in sound for entry in manifest.parts.values() if entry.hash)


def _told(archive: Archive) -> str:
    return f"the archive of session {archive.header.session_id}"
