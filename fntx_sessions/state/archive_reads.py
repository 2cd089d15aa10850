"""What can be said of archives: from the database, from the cold store's own metadata, from one header."""

from collections.abc import Mapping
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.exceptions import IntegrityError, NotFound
from fntx_sessions.settings import Settings
from fntx_sessions.state import archive_rows
from fntx_sessions.state.archive import NOT_THERE, PREFIX, Archiver, object_name
from fntx_sessions.state.archive_check import check
from fntx_sessions.state.archive_format import TABLE, open_archive
from fntx_sessions.state.archive_key import cold_codec
from fntx_sessions.state.chain_key import ChainKeys
from fntx_sessions.state.objects.base import ObjectInfo, ObjectStore
from fntx_sessions.state.snapshot import Packer

_COUNTED = "rows_"


def of_database(engine: Engine, limit: int) -> list[dict[str, Any]]:
    """Return the newest archives that Postgres knows, newest first; raises Unavailable."""
    return [_row(row) for row in archive_rows.list_rows(engine, limit)]


def of_store(store: ObjectStore, limit: int | None) -> list[dict[str, Any]]:
    """Return the archives of the cold store, the newest first, by their metadata alone; raises Unavailable."""
    found = [_told(info) for info in store.list(PREFIX) if info.metadata.get("session_id")]
    return list(islice(sorted(found, key=lambda row: row["archived_at"], reverse=True), limit))


def describe(store: ObjectStore, session_id: UUID) -> dict[str, Any]:
    """Return what the store knows of an archive without reading it; raises NotFound, IntegrityError and Unavailable."""
    info = store.info(object_name(session_id))
    if info is None:
        raise NotFound("archive", str(session_id), NOT_THERE)
    if info.metadata.get("session_id") != str(session_id):
        raise IntegrityError(info.name, "its metadata is not that of this session's archive")
    told = {name: text for name, text in info.metadata.items() if not name.startswith(_COUNTED)}
    return {**told, "object": info.name, "size_bytes": info.size_bytes, "counts": _counts(info)}


def verify(engine: Engine, settings: Settings, archiver: Archiver, session_id: UUID) -> dict[str, Any]:
    """Read and open all of an archive, note in Postgres whether it is whole, and return what was counted.

    It is opened with the key from the cold store, as where Postgres is lost. Raises NotFound, Shredded, Unavailable and
    IntegrityError that says what is wrong.
    """
    data = archiver.store.read(object_name(session_id))
    if data is None:
        raise NotFound("archive", str(session_id), NOT_THERE)
    try:
        codec = cold_codec(engine, settings, archiver.store, session_id)
        archive = open_archive(data, session_id, codec)
        packer = Packer(codec, settings.inline_part_bytes, settings.max_part_bytes)
        check(archive, codec, packer, ChainKeys(None, settings, archiver.store).rows)
    except IntegrityError:
        archive_rows.mark(engine, session_id, sound=False)
        raise
    archive_rows.mark(engine, session_id, sound=True)
    header = archive.header
    counts = header.counts()
    rows = sum(section.rows for section in header.sections if section.kind == TABLE)
    return {"session_id": str(session_id), "rows": rows, "snapshots": counts["snapshots"], "damaged": header.damaged}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    session = row["contents"]["session"]
    return {
        "session_id": str(row["session_id"]),
        "session_type": session["session_type"],
        "ended_at": session["ended_at"],
        "archived_at": row["archived_at"].isoformat(),
        "object": row["object"],
        "size_bytes": row["size_bytes"],
        "verified_at": row["verified_at"],
        "rows_dropped_at": row["rows_dropped_at"],
        "rows": "no, since " + f"{row['rows_dropped_at']:%Y-%m-%d}" if row["rows_dropped_at"] else "yes",
        "counts": row["contents"]["counts"],
    }


def _told(info: ObjectInfo) -> dict[str, Any]:
    told = info.metadata
    return {
        "session_id": told["session_id"],
        "session_type": told.get("session_type"),
        "ended_at": told.get("ended_at"),
        "archived_at": told.get("archived_at", ""),
        "object": info.name,
        "size_bytes": info.size_bytes,
        "rows": "",
        "counts": _counts(info),
    }


def _counts(info: ObjectInfo) -> dict[str, int]:
    told = info.metadata
    return {name.removeprefix(_COUNTED): int(text) for name, text in told.items() if name.startswith(_COUNTED)}
