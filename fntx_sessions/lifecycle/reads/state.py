"""The state a session is shown with: live where Redis has it, else what was saved last; and which tier gave it."""

from collections.abc import Container
from datetime import UTC, datetime
from uuid import UUID

import structlog
from redis import Redis
from sqlalchemy import Engine

from fntx_sessions.exceptions import FntxError
from fntx_sessions.schemas import StateSource
from fntx_sessions.settings import Settings
from fntx_sessions.state.live import LiveCut, LiveState
from fntx_sessions.state.loading import load
from fntx_sessions.state.parts import is_memory, restorable
from fntx_sessions.state.tier_health import REDIS, health_of
from fntx_sessions.state.tiers.base import Ref

LIVE = "live"
_log = structlog.get_logger(__name__)


class _Shown(Container[str]):
    """Agents and market. The money of a snapshot is history; it is never shown as what is, and so not even read."""

    def __contains__(self, name: object) -> bool:
        return restorable(str(name))


def read_state(
    engine: Engine, redis: Redis, settings: Settings, session_id: UUID, saved_at: datetime | None, now: datetime
) -> tuple[dict[str, bytes], StateSource | None]:
    """Return the parts to show, and where they come from; None: there is no state yet.

    saved_at: when the session was saved last; None: never. now: Postgres's time. Nothing is raised: a row is worth
    showing without states.
    """
    problems: list[str] = []
    cut = _live(engine, redis, settings, session_id, problems)
    if cut is not None and cut.parts and (saved_at is None or any(map(is_memory, cut.parts))):
        return cut.parts, _of_live(cut, saved_at, now, problems)
    if cut is not None and cut.parts:
        problems.append(f"{LIVE}: it holds no agent's memory; where the save does, Redis lost it")
    if saved_at is None:
        return {}, StateSource(tier=None, problems=problems) if problems else None
    try:
        found = load(engine, redis, settings, Ref(session_id), only=_Shown())
    except FntxError as error:
        _log.warning("save_not_read", session_id=str(session_id), problem=str(error))
        return {}, StateSource(tier=None, saved_at=saved_at, problems=[*problems, str(error)])
    snapshot = found.snapshot
    source = StateSource(
        tier=found.tier,
        epoch=snapshot.epoch,
        revision=snapshot.revision,
        saved_at=snapshot.created_at,
        age_s=_age(snapshot.created_at, now),
        problems=[*problems, *found.problems],
    )
    return dict(snapshot.parts), source


def _live(engine: Engine, redis: Redis, settings: Settings, session_id: UUID, problems: list[str]) -> LiveCut | None:
    health = health_of(engine, settings)
    try:
        with health.calling(REDIS):
            return LiveState(redis, settings).read([session_id])[0]
    except FntxError as error:
        problems.append(f"{LIVE}: {error}")
        return None


def _of_live(cut: LiveCut, saved_at: datetime | None, now: datetime, problems: list[str]) -> StateSource:
    beat = max(cut.beats.values(), default=None)
    age = None if beat is None else _age(datetime.fromtimestamp(beat / 1000, UTC), now)
    return StateSource(
        tier=LIVE, epoch=cut.epoch, revision=cut.revision, saved_at=saved_at, age_s=age, problems=problems
    )


def _age(moment: datetime, now: datetime) -> float:
    return round(max((now - moment).total_seconds(), 0.0), 3)
