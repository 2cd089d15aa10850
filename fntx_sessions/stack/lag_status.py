"""How far beat, sweeps and sessions are behind, and which alerts stand, for `fntx status` and `fntx doctor`."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from fntx_sessions.automation.alerts import Alert, read_standing
from fntx_sessions.automation.lag import DUE, Lag, read_lag
from fntx_sessions.schemas import Severity
from fntx_sessions.settings import get_settings
from fntx_sessions.stack.check import Check


@dataclass(frozen=True)
class LagFound:
    """What Postgres says of the clock's work."""

    lag: Lag
    alerts: list[Alert]

    @property
    def beat(self) -> str:
        """Say when beat sent what ran last."""
        lag_s = self.lag.beat_lag_s
        return "it has sent nothing yet" if lag_s is None else f"it sent something {lag_s:.0f} s ago"

    @property
    def told(self) -> str:
        """Say which alerts stand."""
        return "; ".join(map(str, self.alerts)) or "none"


def read_lag_status(connection: Connection) -> LagFound:
    """Look once."""
    return LagFound(read_lag(connection, get_settings()), read_standing(connection))


def diagnose_lag(found: LagFound) -> Iterator[Check]:
    """Yield a finding a late sweep, a kind of overdue work and a standing alert; one where there is none of each."""
    lag = found.lag
    for name, sweep in ({} if lag.beat_late else lag.late).items():
        yield Check(f"sweep {name}", "warn", str(sweep), "start more workers for its queue, or read their logs")
    if not lag.late:
        yield Check("sweeps", "ok", "all run in time")
    for kind, overdue in lag.waiting.items():
        yield Check(f"overdue {kind}", "warn", str(overdue), f"read the log of whoever runs the sweep {DUE[kind][1]}")
    if not lag.waiting:
        yield Check("overdue", "ok", "no session is overdue")
    for alert in found.alerts:
        critical = alert.severity in (Severity.CRITICAL, Severity.ERROR)
        yield Check(f"alert {alert.name}", "fail" if critical else "warn", str(alert))
    if not found.alerts:
        yield Check("alerts", "ok", "none")
