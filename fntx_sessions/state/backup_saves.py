"""Saving while Postgres is away: the sessions this process claimed last, from Redis into the local backup folder."""

from dataclasses import dataclass
from uuid import UUID

import redis
import structlog
from sqlalchemy import Engine

from fntx_sessions.exceptions import Unavailable
from fntx_sessions.settings import Settings
from fntx_sessions.state.backups import BackupWriter
from fntx_sessions.state.changes import Changes
from fntx_sessions.state.data_keys import DataKeys
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.remembered import get_remembered
from fntx_sessions.state.save_report import SaveReport
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import get_memory

_NO_KEY = "its data key is not at hand, and Postgres, which has it, is away"
_NAMED = 20  # of the sessions that could not be saved, in a line of the log
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class BackupReport(SaveReport):
    """As a SaveReport: `saved` are on the disk in the backup folder. problem: why the folder took no more, or empty."""

    problem: str = ""


def save_to_backup(engine: Engine, client: redis.Redis, settings: Settings, *, now: bool = False) -> BackupReport:
    """Back up every session this process claimed last that has changed since it was last kept anywhere.

    A session's turn comes every `save_interval_s`; now: all have theirs, as before a shutdown. A folder that takes no
    more is told in the report, and its sessions are not saved. Raises Unavailable when Redis is out of reach too.
    """
    report = BackupReport()
    works = get_remembered().due(0.0 if now else settings.save_interval_s)
    keys = DataKeys(engine, settings)
    at_hand = keys.at_hand([work.session_id for work in works])
    for work in works:
        if work.session_id not in at_hand:
            report.failed[work.session_id] = keys.refusal(work.session_id) or _NO_KEY
    works = [work for work in works if work.session_id in at_hand]
    changes = Changes(engine, LiveState(client, settings), settings)
    seen = zip(works, changes.marks(works), strict=True)
    chunks = list(changes.chunks(seen, report))
    if chunks:
        _back_up(settings, changes, chunks, report)
        _log.warning("backup.saved", problem=report.problem, **report.counts())
    report.count("backed_up")
    if report.failed:
        _log.error("backup.sessions_not_saved", count=len(report.failed), sessions=_named(report.failed))
    return report


def _named(failed: dict[UUID, str]) -> dict[str, str]:
    return {str(one): failed[one] for one in sorted(failed)[:_NAMED]}


def _back_up(settings: Settings, changes: Changes, chunks: list[list[UUID]], report: BackupReport) -> None:
    try:
        writer = BackupWriter(settings)
    except Unavailable as error:
        _refuse([one for ids in chunks for one in ids], error, report)
        return
    memory = get_memory()
    for ids in chunks:
        before = {one: memory.get(Ref(one)) for one in ids}
        for packed in changes.pack(ids, before, report):
            _put(writer, packed, report)


def _put(writer: BackupWriter, packed: Packed, report: BackupReport) -> None:
    try:
        writer.put(packed)
    except Unavailable as error:
        _refuse([packed.session_id], error, report)
        return
    report.saved.append(packed.session_id)
    get_memory().put(packed)
    get_remembered().keep([packed])


def _refuse(ids: list[UUID], error: Unavailable, report: BackupReport) -> None:
    report.problem = str(error)
    report.failed |= dict.fromkeys(ids, str(error))
    _log.error("backup.not_written", problem=str(error), sessions=len(ids))
