"""Memory by itself: transitions are remembered as they come, what has expired is forgotten, an outage is told."""

from sqlalchemy import text

from fntx_sessions.automation.alerts import Found, settle
from fntx_sessions.automation.sweeps import until_done
from fntx_sessions.database.engine import statements
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.memory.remembering import remember_due
from fntx_sessions.memory.store import forget_expired
from fntx_sessions.schemas import Severity

ALERT = "memory_down"
# How many sessions wait because memory failed them, and whether that has been told.
_STANDS = text(f"""
SELECT (SELECT count(*) FROM session_work WHERE memory_due_at IS NOT NULL AND memory_failures > 0) AS behind,
  EXISTS (SELECT FROM alerts WHERE name = '{ALERT}' AND cleared_at IS NULL) AS told
""")


def remember(desk: Desk) -> int:
    """Remember what is due for up to `memory_sweep_s`; return how many sessions were taken up. Raises Unavailable."""
    problems: list[str] = []

    def batch() -> int:
        report = remember_due(*desk.parts())
        problems.extend(report.problems.values())
        return report.claimed

    done = until_done(batch, desk.settings.memory_batch, desk.settings.memory_sweep_s / 2)
    if done:
        _tell(desk, problems[0] if problems else "")
    return done


def forget(desk: Desk) -> int:
    """Forget the slices whose time is over; return how many. Raises Unavailable."""
    return forget_expired(desk.engine)


def _tell(desk: Desk, problem: str) -> None:
    """Raise the alert while sessions wait for a memory system that failed, clear it once none does."""
    with statements(desk.engine) as connection:
        stands = connection.execute(_STANDS).one()
    if stands.behind and problem:
        waits = "1 session waits" if stands.behind == 1 else f"{stands.behind} sessions wait"
        told = (
            f"{waits} to be remembered: {problem}. Nothing is lost and no command waits for it; "
            "it is tried again by itself, ever later."
        )
        settle(desk.engine, (), [Found(ALERT, "", Severity.WARNING, told)])
    elif not stands.behind and stands.told:
        settle(desk.engine, (ALERT,), [])
