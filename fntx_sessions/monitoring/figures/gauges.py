"""The desk's gauges: what they are called, and what each shows of one look at Postgres and Redis."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import GaugeMetricFamily

from fntx_sessions.automation.lag import Lag


@dataclass(frozen=True, slots=True)
class Gauge:
    """One gauge; its name ends with its unit. per_session: shown only where sessions are labels."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    per_session: bool = False

    def family(self, samples: Iterable[tuple[tuple[str, ...], float]]) -> GaugeMetricFamily:
        """Return it with these samples, each its labels' values and a number."""
        found = GaugeMetricFamily(self.name, self.help, labels=self.labels)
        for labels, value in samples:
            found.add_metric(labels, value)
        return found


READABLE = Gauge("fntx_desk_readable", "1 where Postgres answered within 30 s; else its gauges are left out")
REDIS_READABLE = Gauge("fntx_redis_readable", "1 where Redis answered within 30 s; else its gauges are left out")
SESSIONS = Gauge("fntx_sessions", "Sessions", ("status", "type"))
SESSIONS_HEALTH = Gauge("fntx_sessions_health", "Sessions not closed, by how health found them last", ("grade",))
OVERDUE = Gauge("fntx_sessions_overdue", "Sessions that wait too long, for saves among others", ("kind",))
OVERDUE_OLDEST = Gauge("fntx_sessions_overdue_oldest_seconds", "How long the longest of them waits", ("kind",))
PENDING = Gauge("fntx_commands_pending", "Commands that wait for agents, books or a recovery")
OUTBOX = Gauge("fntx_outbox_depth", "Follow-ups committed and not relayed yet")
OUTBOX_OLDEST = Gauge("fntx_outbox_oldest_seconds", "How long the longest of them waits")
APPROVALS = Gauge("fntx_approvals_waiting", "Openings that wait for a person")
EVENTS = Gauge("fntx_events_unacknowledged", "Events that ask for somebody, and nobody acknowledged")
HALTS = Gauge("fntx_halts", "Halts that stand", ("scope",))
ALERTS = Gauge("fntx_alerts", "Alerts that stand", ("name", "severity"))
AGENTS = Gauge("fntx_agents", "Agents of sessions not closed", ("kind", "state"))
HOSTS = Gauge(
    "fntx_hosts", "Workers by their leases; lost ones for an hour, unless their node lives again", ("queues", "state")
)
TIER_UP = Gauge(
    "fntx_tier_up",
    "1 where a host reached the tier when it last told: within a day where its workers live, else within the half hour",
    ("host", "tier"),
)
BEAT_LAG = Gauge("fntx_beat_lag_seconds", "Since beat sent the newest message that ran")
SWEEP_LAG = Gauge("fntx_sweep_lag_seconds", "How far a sweep is behind its interval", ("sweep",))
SWEEP_TOOK = Gauge("fntx_sweep_took_seconds", "How long a run of late took", ("sweep",))
QUEUE_DEPTH = Gauge("fntx_queue_depth", "Messages that wait in the broker", ("queue",))
QUEUE_UNACKED = Gauge("fntx_queue_unacked", "Messages that workers hold and have not finished")
SESSION_STATUS = Gauge(
    "fntx_session_status", "1 for each session not closed", ("session_id", "status", "type"), per_session=True
)
SESSION_PNL = Gauge(
    "fntx_session_day_pnl_dollars", "Its newest day, realised and not, after fees", ("session_id",), per_session=True
)
SESSION_SAVED = Gauge(
    "fntx_session_save_age_seconds", "Since its state last changed in a save", ("session_id",), per_session=True
)

GAUGES = tuple(found for found in list(globals().values()) if isinstance(found, Gauge))


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look at Postgres found. sessions: a row for each, empty where they are no labels; at: monotonic s."""

    lag: Lag
    alerts: Counter[tuple[str, ...]]
    desk: Mapping[str, Any]
    at: float
    sessions: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Queues:
    """What one look at Redis found. at: monotonic seconds."""

    depths: dict[str, int]
    unacked: int
    at: float


def of_desk(looked: Looked) -> Iterator[GaugeMetricFamily]:
    """Yield what Postgres told."""
    desk = looked.desk
    for gauge, name in _GROUPED.items():
        yield gauge.family((tuple(map(str, labels)), count) for *labels, count in desk[name])
    for gauge, name in _SINGLE.items():
        yield gauge.family([((), desk[name])])
    yield ALERTS.family(looked.alerts.items())
    yield from _of_lag(looked.lag)
    if looked.sessions:
        yield from _of_sessions(looked.sessions)


_GROUPED = {
    SESSIONS: "sessions",
    HOSTS: "hosts",
    AGENTS: "agents",
    SESSIONS_HEALTH: "health",
    HALTS: "halts",
    TIER_UP: "tiers",
}
_SINGLE = {
    OUTBOX: "outbox",
    OUTBOX_OLDEST: "outbox_oldest_s",
    PENDING: "pending",
    APPROVALS: "approvals",
    EVENTS: "events",
}


def of_queues(queues: Queues) -> Iterator[GaugeMetricFamily]:
    """Yield what Redis told."""
    yield QUEUE_DEPTH.family(((name,), depth) for name, depth in queues.depths.items())
    yield QUEUE_UNACKED.family([((), queues.unacked)])


def _of_lag(lag: Lag) -> Iterator[GaugeMetricFamily]:
    if lag.beat_lag_s is not None:
        yield BEAT_LAG.family([((), lag.beat_lag_s)])
    sweeps = lag.sweeps.items()
    yield SWEEP_LAG.family(((name,), sweep.lag_s) for name, sweep in sweeps if sweep.age_s is not None)
    yield SWEEP_TOOK.family(((name,), sweep.took_s) for name, sweep in sweeps if sweep.took_s is not None)
    yield OVERDUE.family(((kind,), overdue.sessions) for kind, overdue in lag.overdue.items())
    yield OVERDUE_OLDEST.family(((kind,), overdue.oldest_s) for kind, overdue in lag.overdue.items())


def _of_sessions(rows: list[Any]) -> Iterator[GaugeMetricFamily]:
    yield SESSION_STATUS.family(((row.session_id, row.status, row.session_type), 1) for row in rows)
    yield SESSION_PNL.family(((row.session_id,), row.pnl) for row in rows if row.pnl is not None)
    yield SESSION_SAVED.family(((row.session_id,), row.saved_s) for row in rows if row.saved_s is not None)
