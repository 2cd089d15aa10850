"""Memory by itself: transitions are remembered as they come, what has expired is forgotten, an outage is told."""

from sqlalchemy import text

from fntx_sessions.automation.alerts import Found, settle
from fntx_sessions.automation.sweeps import until_done
from fntx_sessions.database.engine import statements
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.memory.loose import hand_over_due
from fntx_sessions.memory.remembering import remember_due
from fntx_sessions.memory.store import forget_expired
from fntx_sessions.memory.systems import OWN
from fntx_sessions.schemas import Severity

ALERT = "memory_down"
# How many sessions wait because memory failed them, and whether that has been told.
_STANDS = text(f"""
SELECT (SELECT count(*) FROM session_work WHERE memory_due_at IS NOT NULL AND memory_failures > 0) AS behind,
  EXISTS (SELECT FROM alerts WHERE name = '{ALERT}' AND cleared_at IS NULL) AS told
""")
# Of what is of no session: not asked where the shipped system serves, whose table may be what is the matter.
_LOOSE = text("SELECT count(*) FROM memories WHERE waits AND session_id IS NULL AND hand_due_at IS NOT NULL")


def remember(desk: Desk) -> int:
    """Remember what is due for up to `memory_sweep_s`; return how many sessions were taken up. Raises Unavailable."""
    problems: list[str] = []

    def batch() -> int:
        report = remember_due(*desk.parts())
        problems.extend(report.problems.values())
        return report.claimed

    done = until_done(batch, desk.settings.memory_batch, desk.settings.memory_sweep_s / 2)
    # Found down a moment ago, it is not asked once more: a sweep has its time.
    loose = "" if problems else hand_over_due(*desk.parts())
    problems += [loose] if loose else []
    _tell(desk, problems[0] if problems else "")
    return done


def forget(desk: Desk) -> int:
    """Forget the slices whose time is over; return how many. Raises Unavailable."""
    return forget_expired(desk.engine)


def _tell(desk: Desk, problem: str) -> None:
    """Raise the alert while sessions wait for a memory system that failed, clear it once none does."""
    with statements(desk.engine) as connection:
        stands = connection.execute(_STANDS).one()
    if problem:
        told = (
            f"{_waiting(stands.behind)} to be remembered: {problem}. Nothing is lost and no command waits for it; "
            "it is tried again by itself, ever later."
        )
        settle(desk.engine, (), [Found(ALERT, "", Severity.WARNING, told)])
    elif stands.told and not stands.behind and not _loose(desk):
        settle(desk.engine, (ALERT,), [])


def _loose(desk: Desk) -> int:
    if desk.settings.memory == OWN:
        return 0
    with statements(desk.engine) as connection:
        return int(connection.execute(_LOOSE).scalar_one())


def _waiting(sessions: int) -> str:
    if not sessions:
        return "What callers left waits"
    return "1 session waits" if sessions == 1 else f"{sessions} sessions wait"
