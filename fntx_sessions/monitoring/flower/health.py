"""Health: what of the desk as a whole works and what does not; drawn whatever is down."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import beat_schedule
from fntx_sessions.automation.health.model import Check
from fntx_sessions.automation.lag import DUE
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.monitoring.flower.health_looks import Look, Looks
from fntx_sessions.monitoring.flower.offers import halt_offers
from fntx_sessions.monitoring.flower.page import Asked, Draw, Page
from fntx_sessions.monitoring.flower.views import Parts
from fntx_sessions.settings import Settings
from fntx_sessions.stack.backup_status import BackupStatus
from fntx_sessions.stack.desk_checks import DeskFacts
from fntx_sessions.stack.status import DatabaseStatus

Row = dict[str, Any]


class Health(Page):
    """The desk's checks, and what each of them is made of."""

    template = "health.html"
    tab = "health"
    whole_desk = True
    apart = True

    def __init__(self, looks: Looks | None = None) -> None:
        self._looks = looks or Looks()

    def title(self, asked: Asked) -> str:
        """Return the page's title."""
        _ = asked
        return "Health"

    def draw(self, desk: Desk, asked: Asked, draw: Draw) -> Parts:
        """Look at the desk and draw it; nothing is raised for a store that is away."""
        look = self._looks.look(desk.settings)
        facts = _facts(look, desk.settings)
        facts |= {"place": halt_offers(asked.viewer), "offers": partial(halt_offers, asked.viewer)}
        return {f"health-{name}": draw.part(f"health_{name}.html", look=look, **facts) for name in SECTIONS}


# So old a look is no "now" any more: nobody watched, and what is being looked at hangs.
_STALE_S = 60.0
_NOTHING = DeskFacts(None, None, BackupStatus(""), None)
SECTIONS = ("checks", "sessions", "halts", "second", "alerts", "clock", "queues", "workers", "tiers")


def _facts(look: Look, settings: Settings) -> Row:
    seen = look.postgres.found if look.postgres else _NOTHING
    return {
        "grades": _grades(look.checks),
        "stale": (datetime.now(UTC) - look.at).total_seconds() > max(_STALE_S, 2 * settings.pages_health_s),
        "found": seen,
        "database": seen.database or DatabaseStatus(error=""),
        "sweeps": list(_sweeps(seen, settings)),
        "overdue": list(_overdue(seen)),
        "queues": list(_queues(look, seen)),
        "unacked": look.redis.found.unacked if look.redis else None,
    }


def _grades(checks: list[Check]) -> str:
    """Return how many there are of each grade, the worst first."""
    told = [check.grade.value for check in checks]
    return ", ".join(f"{told.count(grade)} {grade}" for grade in ("failed", "degraded", "ok") if grade in told)


def _sweeps(seen: DeskFacts, settings: Settings) -> Iterator[Row]:
    """Yield the sweeps, the late ones first, each with when it ran last and what beat sends it for."""
    database = seen.database
    if database is None or database.behind is None:
        return
    found = database.behind.lag.sweeps
    for entry in sorted(beat_schedule.ENTRIES, key=lambda entry: not found[entry.name].late):
        sweep = found[entry.name]
        yield {
            "name": entry.name, "why": entry.why, "every_s": entry.interval_s(settings), "late": sweep.late,
            "ran": database.sweeps.get(entry.name), "queue_s": sweep.queue_s, "took_s": sweep.took_s,
        }  # fmt: skip


def _overdue(seen: DeskFacts) -> Iterator[Row]:
    """Yield the kinds of work that sessions wait for: how many do, and those that have waited longest."""
    database = seen.database
    if database is None or database.behind is None:
        return
    for kind, overdue in database.behind.lag.waiting.items():
        waiting = [one for one in seen.overdue if one.kind == kind]
        yield {"kind": kind, "sweep": DUE[kind][1], "sessions": overdue.sessions, "waiting": waiting}


def _queues(look: Look, seen: DeskFacts) -> Iterator[Row]:
    """Yield the queues: what waits in each, and how many living workers read it (None: not known)."""
    if look.redis is None:
        return
    read = [queue for worker in seen.workers for queue in worker["queues"].split(",")]
    for name, depth in look.redis.found.queues.items():
        yield {"name": name, "depth": depth, "readers": read.count(name) if look.postgres else None}
