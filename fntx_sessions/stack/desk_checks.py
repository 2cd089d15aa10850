"""The checks of the desk as a whole, worst first for `fntx health`. Pure: what was found in, checks out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fntx_sessions.automation.health.model import Check, Grade
from fntx_sessions.automation.lag import WaitingSession
from fntx_sessions.schemas import Severity
from fntx_sessions.settings import Settings
from fntx_sessions.stack.backup_status import BackupStatus
from fntx_sessions.stack.doctor import MEMORY_LOW, QUEUE_LONG
from fntx_sessions.stack.folder import MINIMUM_FREE_BYTES
from fntx_sessions.stack.redis_status import STANDS_STILL, RedisStatus
from fntx_sessions.stack.refused_status import FIX, MANY, refused_sentence, worrying
from fntx_sessions.stack.status import DatabaseStatus

OK, DEGRADED, FAILED = Grade.OK, Grade.DEGRADED, Grade.FAILED
_START = "`fntx up`; `fntx doctor` says more"


@dataclass(frozen=True)
class SessionsFound:
    """Sessions that are looked at, by the grade of their last look, and the worst of them. oldest_s: of the looks."""

    grades: dict[str, int] = field(default_factory=dict)
    worst: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class DeskFacts:
    """The desk as it was found; None: no address is known of that store. database.error: nothing of it was seen.

    workers: host_id, queues, node, pid, started_at and measures of each living one. halts: the standing ones, in a
    sentence each. overdue: the sessions that wait longest for each kind of work, where some do. ring: what is wrong
    with the key ring, empty where nothing is. free_bytes None: there is no data folder.
    """

    database: DatabaseStatus | None
    redis: RedisStatus | None
    backups: BackupStatus
    free_bytes: int | None
    ring: str = ""
    workers: list[dict[str, Any]] = field(default_factory=list)
    halts: list[str] = field(default_factory=list)
    sessions: SessionsFound = field(default_factory=SessionsFound)
    overdue: list[WaitingSession] = field(default_factory=list)

    @property
    def postgres_seen(self) -> bool:
        """Tell whether Postgres answered, and holds our tables."""
        return self.database is not None and not self.database.error and self.database.revision is not None


def postgres(facts: DeskFacts, _settings: Settings) -> Check:
    """Failed: no command is taken, no hosted agent steps; saves go into the backup folder."""
    found = facts.database
    if found is None:
        return Check("postgres", FAILED, "no address is known, and no stack runs here", _START)
    if found.error:
        why = f"{found.error}. No command is taken and no hosted agent steps; what was acknowledged is safe"
        return Check("postgres", FAILED, why, "`fntx doctor`: what to do about its server")
    if found.revision != found.newest:
        return Check(
            "postgres", FAILED, f"it is at {found.revision or 'nothing'}, not at {found.newest}", "`fntx migrate`"
        )
    return Check("postgres", OK, f"version {found.version}")


def redis(facts: DeskFacts, _settings: Settings) -> Check:
    """Failed: out of reach, or it takes nothing new. Degraded: almost full."""
    found = facts.redis
    if found is None:
        return Check("redis", FAILED, "no address is known, and no stack runs here", _START)
    if found.error:
        return Check("redis", FAILED, f"{found.error}; {STANDS_STILL}", "`fntx doctor`: what to do about its server")
    if found.refuses:
        return Check("redis", FAILED, f"it takes nothing new: {found.refuses}; {STANDS_STILL}", found.fix)
    full = bool(found.max_bytes and found.used_bytes > MEMORY_LOW * found.max_bytes)
    fix = "raise maxmemory, or free some" if full else ""
    return Check("redis", DEGRADED if full else OK, found.memory, fix, found.used_bytes, found.max_bytes or None)


def cold(facts: DeskFacts, _settings: Settings) -> Check:
    """Degraded: whoever asked the cold store last found it out of reach; nothing moves there, nothing is deleted."""
    down = [one for one in _database(facts).tiers if one.tier == "cold" and not one.up]
    if not facts.postgres_seen:
        return Check("cold", DEGRADED, _unseen(facts))
    fix = "check FNTX_COLD_URL and its rights; `fntx doctor` tries it"
    return Check("cold", DEGRADED, str(down[0]), fix) if down else Check("cold", OK, "nobody found it out of reach")


def backups(facts: DeskFacts, _settings: Settings) -> Check:
    """Degraded: saves lie in the backup folder and have not come in."""
    found = facts.backups
    if not found.files:
        return Check("backups", OK, "none waits", "", 0)
    fix = "nothing: they come in by themselves once Postgres answers; do not flush Redis meanwhile"
    return Check("backups", DEGRADED, f"saves wait to come in: {found}", fix, found.files)


def queues(facts: DeskFacts, _settings: Settings) -> Check:
    """Degraded: more than a thousand messages wait in one queue."""
    depths = facts.redis.queues if facts.redis else {}
    long = {name: depth for name, depth in depths.items() if depth > QUEUE_LONG}
    if facts.redis is None or facts.redis.error:
        return Check("queues", DEGRADED, "not seen: Redis is out of reach")
    most = max(depths.values(), default=0)
    if long:
        why = f"long: {', '.join(f'{name} {depth}' for name, depth in long.items())}"
        return Check("queues", DEGRADED, why, "start more workers for them", most, QUEUE_LONG)
    return Check("queues", OK, f"{sum(depths.values())} waiting, {facts.redis.unacked} under way", "", most, QUEUE_LONG)


def beat(facts: DeskFacts, settings: Settings) -> Check:
    """Failed: beat sends nothing, or nothing of it arrives. Degraded: a sweep is late, or sessions wait."""
    behind = _database(facts).behind
    if behind is None:
        return Check("beat", DEGRADED, _unseen(facts))
    lag = behind.lag
    value = None if lag.beat_lag_s is None else round(lag.beat_lag_s, 1)
    if lag.beat_late or lag.beat_lag_s is None:
        why = str(lag) if lag.beat_late else "beat has sent nothing yet"
        return Check("beat", FAILED, why, "read beat.log; `fntx doctor`", value, settings.beat_late_s)
    late = bool(lag.late or lag.waiting)
    fix = "start more workers; read their logs" if late else ""
    return Check("beat", DEGRADED if late else OK, str(lag), fix, value, settings.beat_late_s)


def saves(facts: DeskFacts, _settings: Settings) -> Check:
    """Degraded: sessions wait for their save."""
    found = _database(facts)
    if not facts.postgres_seen:
        return Check("saves", DEGRADED, "into the backup folder, as far as can be seen")
    late = found.latest_save_s is not None
    fix = "read the log of the sweeps' worker" if late else ""
    return Check("saves", DEGRADED if late else OK, found.saves, fix, found.late_saves, 0)


def disk(facts: DeskFacts, _settings: Settings) -> Check:
    """Failed: less room in the data folder than a stack needs."""
    free = facts.free_bytes
    if free is None:
        return Check("disk", OK, "no data folder here")
    grade = FAILED if free < MINIMUM_FREE_BYTES else OK
    fix = "free space, or set FNTX_HOME elsewhere" if grade is FAILED else ""
    return Check("disk", grade, f"{free / 1e6:.0f} MB free", fix, free, MINIMUM_FREE_BYTES)


def workers(facts: DeskFacts, _settings: Settings) -> Check:
    """Failed: no agents worker lives while sessions wait. Degraded: a worker was lost within the hour."""
    found = _database(facts).hosts
    if found is None:
        return Check("workers", DEGRADED, _unseen(facts))
    if not found.lives:
        return Check("workers", FAILED if found.waiting else DEGRADED, str(found), _START, 0, 1)
    fix = "where that pid still runs it hangs: kill -9 it, another is started" if found.lost else ""
    return Check("workers", DEGRADED if found.lost else OK, str(found), fix, len(facts.workers))


def worker_load(facts: DeskFacts, settings: Settings) -> Check:
    """Degraded: a worker takes more memory or processor time than it may, or a step of it does not end."""
    told = [line for worker in facts.workers for line in _load(worker, settings)]
    most = max((one["measures"].get("memory_bytes") or 0 for one in facts.workers), default=0)
    limit = settings.worker_memory_max_bytes
    if told:
        fix = "start more workers; restart one whose memory grows; a step that hangs is killed by itself"
        return Check("worker_load", DEGRADED, "; ".join(told), fix, most, limit)
    return Check("worker_load", OK, f"{len(facts.workers)} workers, the largest {most / 1e6:.0f} MB", "", most, limit)


def _load(worker: dict[str, Any], settings: Settings) -> Iterator[str]:
    measures = worker["measures"]
    memory, cpu = measures.get("memory_bytes") or 0, measures.get("cpu_fraction") or 0.0
    if memory > settings.worker_memory_max_bytes or cpu > settings.worker_cpu_max_fraction:
        yield f"{worker['host_id']}: {memory / 1e6:.0f} MB, {cpu:.0%} of its machine"
    for step in measures.get("stepping") or []:
        if step["for_s"] >= settings.hosted_hung_s:
            yield f"{step['agent']} of {step['session_id']} hangs for {step['for_s']:.0f} s in pid {step['pid']}"


def key_ring(facts: DeskFacts, _settings: Settings) -> Check:
    """Failed: nothing can be sealed or opened."""
    return Check("key_ring", FAILED, facts.ring, "`fntx doctor`") if facts.ring else Check("key_ring", OK, "readable")


def alerts(facts: DeskFacts, _settings: Settings) -> Check:
    """Failed: a critical alert or one of an error stands. Degraded: any other."""
    behind = _database(facts).behind
    if behind is None:
        return Check("alerts", DEGRADED, _unseen(facts))
    if not behind.alerts:
        return Check("alerts", OK, "none stands", "", 0)
    heavy = any(one.severity in (Severity.CRITICAL, Severity.ERROR) for one in behind.alerts)
    told = "; ".join(f"{one.name}: {one}" for one in behind.alerts)
    return Check("alerts", FAILED if heavy else DEGRADED, told, "as each says", len(behind.alerts))


def halts(facts: DeskFacts, _settings: Settings) -> Check:
    """Degraded: a halt stands, and nothing it names begins to trade."""
    if not facts.postgres_seen:
        return Check("halts", DEGRADED, _unseen(facts))
    if not facts.halts:
        return Check("halts", OK, "none stands", "", 0)
    return Check("halts", DEGRADED, "; ".join(facts.halts), "`fntx halt ls`", len(facts.halts))


def refused_callers(facts: DeskFacts, _settings: Settings) -> Check:
    """Degraded: somebody forges calls, or sends a flood of what nobody can verify; none of it is done."""
    if not facts.postgres_seen:
        return Check("refused_callers", DEGRADED, _unseen(facts))
    found = _database(facts).refused
    number = sum(one.number for one in found)
    if worrying(found):
        return Check("refused_callers", DEGRADED, refused_sentence(found), FIX, number, MANY)
    return Check("refused_callers", OK, refused_sentence(found), "", number, MANY)


def sessions(facts: DeskFacts, _settings: Settings) -> Check:
    """Failed: the health of a session failed. Degraded: of one is degraded."""
    if not facts.postgres_seen:
        return Check("sessions", DEGRADED, _unseen(facts))
    grades = facts.sessions.grades
    grade = FAILED if grades.get("failed") else DEGRADED if grades.get("degraded") else OK
    told = ", ".join(f"{grades.get(name, 0)} {name}" for name in ("failed", "degraded", "ok"))
    return Check("sessions", grade, told, "`fntx health ID`" if grade is not OK else "", grades.get("failed", 0), 0)


def _unseen(facts: DeskFacts) -> str:
    found = facts.database
    moved = found is not None and not found.error and found.revision != found.newest
    return "not seen: Postgres is not migrated" if moved else "not seen: Postgres is out of reach"


def _database(facts: DeskFacts) -> DatabaseStatus:
    return facts.database or DatabaseStatus(error="no address is known")


# docs/operations.md has them, tested against this.
DESK_CHECKS: tuple[Callable[[DeskFacts, Settings], Check], ...] = (
    postgres, redis, cold, backups, queues, beat, saves, disk, workers, worker_load, key_ring, alerts, halts,
    refused_callers, sessions,
)  # fmt: skip
