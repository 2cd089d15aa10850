"""A desk on which all kinds of things are going on: what pages are looked at with, for tests and pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

from hosting import ANN, Hosting, T, make_hosting
from running_desk import RunningDesk

from fntx_sessions.automation import alerts, halts
from fntx_sessions.automation.halt_arguments import HaltArguments
from fntx_sessions.schemas import Severity
from fntx_sessions.security.actor import Actor

ROOT = Actor("root", frozenset({"admin"}))
# What somebody might write to see whether it runs, or turns a line around.
SCRIPT = "<script>document.title='owned'</script>\u202e<img src=x onerror=document.title='owned'>"


@contextmanager
def busy_desk(desk: RunningDesk) -> Iterator[dict[str, UUID]]:
    """Yield sessions by what they are, on the stores of `desk`; nobody steps them any more."""
    with make_hosting(desk.settings) as hosting:
        found = _sessions(hosting)
        halts.place(hosting.desk, ANN, HaltArguments(scope=f"session:{found['halted']}", reason=SCRIPT), uuid4())
        alerts.raise_alert(hosting.desk.engine, "disk", "node", Severity.WARNING, f"nearly full {SCRIPT}")
        yield found


def _sessions(hosting: Hosting) -> dict[str, UUID]:
    trading = hosting.started()
    hosting.holding(trading)
    hosting.save(trading)
    hosting.do(T.CHECKPOINT, trading, reason="before the afternoon")
    asking = hosting.started("manual_override")
    hosting.walk(asking, lambda _: hosting.rows("SELECT 1 FROM approvals WHERE session_id = :id", id=asking))
    found = {"trading": trading, "asking": asking, "new": hosting.create()}
    found["paused"] = hosting.started()
    hosting.do(T.PAUSE, found["paused"], reason=SCRIPT)
    found["suspended"] = hosting.started()
    hosting.do(T.SUSPEND, found["suspended"], reason="its agents are dead")
    found["error"] = hosting.started()
    hosting.do(T.FAIL, found["error"], actor=ROOT, reason="it failed")
    found["closed"] = hosting.started()
    hosting.do(T.STOP, found["closed"], reason="the day is over")
    hosting.finish()
    found["halted"] = hosting.create()
    return found
