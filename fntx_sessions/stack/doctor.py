"""Checks of a stack: each says what it found, what that means, and what to run."""

import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from fntx_sessions.exceptions import StackError, Unavailable
from fntx_sessions.pasting import pasted
from fntx_sessions.security.keyring import load_ring
from fntx_sessions.settings import Settings
from fntx_sessions.stack.addresses import DATABASE
from fntx_sessions.stack.anchor_status import diagnose_anchors
from fntx_sessions.stack.backup_status import diagnose_backups
from fntx_sessions.stack.check import Check, Result
from fntx_sessions.stack.control import GIVEN_UP, Process
from fntx_sessions.stack.doctor_cold import diagnose_cold
from fntx_sessions.stack.doctor_rights import diagnose_rights, diagnose_ways
from fntx_sessions.stack.folder import MINIMUM_FREE_BYTES
from fntx_sessions.stack.four_eyes_status import diagnose_four_eyes
from fntx_sessions.stack.halt_status import diagnose_halts
from fntx_sessions.stack.host_status import diagnose_hosts
from fntx_sessions.stack.lag_status import diagnose_lag
from fntx_sessions.stack.openness import diagnose_openness
from fntx_sessions.stack.orphans import find_orphans
from fntx_sessions.stack.plan import FLOWER_NAME
from fntx_sessions.stack.private_status import diagnose_private
from fntx_sessions.stack.redis_status import STANDS_STILL, RedisStatus
from fntx_sessions.stack.refused_status import diagnose_refused
from fntx_sessions.stack.ring_status import diagnose_wrapped
from fntx_sessions.stack.signing_status import diagnose_signing
from fntx_sessions.stack.stack import PROCESSES_START_S, Stack
from fntx_sessions.stack.status import DatabaseStatus, Status, migration_sentence, read_status
from fntx_sessions.stack.supervision import STORES
from fntx_sessions.stack.tiers import diagnose_tiers
from fntx_sessions.stack.unerased import diagnose_unerased

# Beat sends something every 5 s; six missed in a row are no hiccup.
BEAT_SILENT_S = 30.0
QUEUE_LONG = 1000
JUST_STARTED_S = 60.0
MEMORY_LOW = 0.9
KEY_OLD_DAYS = 365


def diagnose(stack: Stack) -> list[Check]:
    """Return every check of a stack, up or down; leaves everything as it was, but for probes that are gone again."""
    status = read_status(stack)
    return [
        *_folder(stack),
        _ring(stack),
        *diagnose_signing(Settings(home=stack.folder.home)),
        *diagnose_private(stack.folder.home),
        *diagnose_openness(status.processes, Settings(home=stack.folder.home).auth_mode),
        *diagnose_four_eyes(Settings(home=stack.folder.home)),
        *diagnose_cold(stack.folder.home, stack.environment() if status.processes else {}, _newest_anchor(status)),
        *_processes(stack, status),
        *_database(stack, status),
        *_backups(status),
        *_redis(stack, status),
        *diagnose_ways(stack.environment() if status.processes else stack.given()),
        *_interpreter(),
    ]


def _newest_anchor(status: Status) -> str | None:
    anchors = status.database.anchors if status.database else None
    return anchors.newest_name if anchors else None


def _folder(stack: Stack) -> Iterator[Check]:
    home = stack.folder.home
    if not home.exists():
        yield Check("folder", "warn", f"{home} does not exist yet", "fntx up")
        return
    if home.stat().st_mode & 0o022:
        yield Check("folder", "warn", f"other users may write to {home}", pasted("chmod", "go-w", home))
    elif not os.access(home, os.W_OK):
        yield Check("folder", "fail", f"{home} cannot be written", "set FNTX_HOME to a folder of your own")
    else:
        yield Check("folder", "ok", str(home))
    free = shutil.disk_usage(home).free
    room = f"{free // 1_000_000} MB free"
    enough = free >= MINIMUM_FREE_BYTES
    yield Check("disk", "ok" if enough else "fail", room, "" if enough else "free space, or set FNTX_HOME elsewhere")


def _ring(stack: Stack) -> Check:
    """Return whether there is a key ring that its owner alone can read, and how old its current key is."""
    settings = Settings(home=stack.folder.home)
    try:
        ring = load_ring(settings)
    except Unavailable as error:
        return Check("key ring", "fail", f"nothing can be sealed or opened: {error.args[1]}", error.args[2])
    except StackError as error:
        return Check("key ring", "fail", *error.args)
    days = (datetime.now(UTC) - ring.keys[ring.current].created_at).days
    told = f"{ring.where}: {len(ring.keys)} keys, the current one {days} days old"
    return Check("key ring", "warn", told, "fntx keys rotate") if days > KEY_OLD_DAYS else Check("key ring", "ok", told)


def _processes(stack: Stack, status: Status) -> Iterator[Check]:
    if not status.running:
        left = find_orphans(stack.folder.home)
        meaning = f"{len(left)} processes run without their supervisor" if left else status.sentence
        yield Check("stack", "fail", meaning, "fntx up")
        return
    yield Check("stack", "ok", f"{len(status.processes)} processes are supervised")
    for process in status.processes:
        if process.state in {"RUNNING", "STARTING"}:  # the supervisor calls the first seconds of every process so
            problem = _problem(stack, status, process)
            fix = pasted("tail", stack.folder.logs / f"{process.name}.log") if problem else ""
            yield Check(process.name, "warn" if problem else "ok", problem or process.detail or "starting", fix)
        else:
            log = stack.folder.logs / f"{process.name}.log"
            result: Result = "warn" if process.state == "BACKOFF" else "fail"
            fix = _stopped_store(stack, process) if process.group == STORES else f"{pasted('tail', log)}; fntx up"
            yield Check(process.name, result, f"{process.state}: {process.detail}", fix)


def _problem(stack: Stack, status: Status, process: Process) -> str | None:
    """Return what is wrong with a process that its supervisor has running; None where nothing is."""
    if process.state == "STARTING" and _later_s(status, process) > PROCESSES_START_S:
        return "starting anew: it ended a moment ago, while the others went on"
    if process.state == "RUNNING" and process.name == FLOWER_NAME and not stack.flower_listens(process):
        return f"it runs and does not listen at {stack.addresses().flower}: whoever answers there is another"
    return None


def _later_s(status: Status, process: Process) -> float:
    """Return how much later than the stack a process was begun."""
    began = [one.started_at for one in status.processes if one.started_at]
    return (process.started_at - min(began)).total_seconds() if process.started_at else 0.0


def _stopped_store(stack: Stack, process: Process) -> str:
    """Return what to do about a store that a living supervisor does not have running: `fntx up` alone cannot help."""
    log = stack.folder.logs / f"{process.name}.log"
    first = "" if process.state in GIVEN_UP else "it is started again by itself; if it stays down: "
    return f"{first}{pasted('tail', log)}; then fntx down, then fntx up"


def _store_fix(stack: Stack, status: Status, name: str, variable: str) -> str:
    """Return what to do about a store that does not answer."""
    process = status.supervised(name)
    if process is not None:
        return _stopped_store(stack, process)
    if any(process.name == name for process in status.processes):
        return f"{pasted('tail', stack.folder.logs / f'{name}.log')}; if it stays so: fntx down, then fntx up"
    return f"start that server, or check {variable}"


def _backups(status: Status) -> Iterator[Check]:
    away = bool(status.database and status.database.error)
    if status.backups:
        yield from diagnose_backups(status.backups, away=away)


def _database(stack: Stack, status: Status) -> Iterator[Check]:
    found = status.database
    if found is None:
        return
    if found.error:
        store = status.supervised("postgres")
        told = f"{found.error}{f'; {store}' if store else ''}. {_WITHOUT_POSTGRES}"
        yield Check("Postgres", "fail", told, _store_fix(stack, status, "postgres", "FNTX_DATABASE_URL"))
        return
    yield Check("Postgres", "ok", f"version {found.version}")
    migrated = found.revision == found.newest
    yield Check("migrations", "ok" if migrated else "fail", migration_sentence(found), _migrate(found))
    if migrated:
        yield from diagnose_tiers(found.tiers)
        yield from diagnose_unerased(found.unerased)
        yield from diagnose_refused(found.refused)
        yield from diagnose_wrapped(Settings(home=stack.folder.home), found.wrapped)
        yield from diagnose_halts(found.halts)
    # What anybody did to the audit is told before a migration, too.
    yield from diagnose_anchors(found.anchors) if found.anchors else ()
    if found.revision:
        yield from diagnose_rights(stack.environment()[DATABASE], behind=not migrated, newer=found.newer)
    if status.running:
        yield _beat(found, status)
        yield from diagnose_hosts(found.hosts) if found.hosts else ()
        yield from diagnose_lag(found.behind) if found.behind else ()
    late = found.latest_save_s is not None
    yield Check("saves", "warn" if late else "ok", found.saves, "read worker_sweeps.log" if late else "")


_WITHOUT_POSTGRES = "No command is taken and no hosted agent steps; what was acknowledged is safe"


def _migrate(found: DatabaseStatus) -> str:
    if found.revision == found.newest:
        return ""
    return "run the fntx that migrated it, or a newer one" if found.newer else "fntx down; fntx up"


def _beat(found: DatabaseStatus, status: Status) -> Check:
    takes = not (status.redis and status.redis.refuses)
    if takes and found.last_sweep_age_s is not None and found.last_sweep_age_s <= BEAT_SILENT_S:
        return Check("beat", "ok", f"a sweep ran {max(found.last_sweep_age_s, 0.0):.0f} s ago")
    if status.redis and status.redis.refuses:
        return Check(
            "beat", "fail", f"it cannot hand out sweeps, Redis takes nothing: {STANDS_STILL}", status.redis.fix
        )
    never = "no sweep has run yet" if found.last_sweep_age_s is None else f"no sweep for {found.last_sweep_age_s:.0f} s"
    if _age_s(status) < JUST_STARTED_S:
        return Check("beat", "warn", f"{never}; the stack has just started", "fntx doctor, in a minute")
    return Check(
        "beat", "fail", f"{never}: beat or the sweeps' worker stands still", "read beat.log, worker_sweeps.log"
    )


def _age_s(status: Status) -> float:
    started = [process.started_at for process in status.processes if process.started_at]
    return (datetime.now(UTC) - max(started)).total_seconds() if started else 0.0


def _redis(stack: Stack, status: Status) -> Iterator[Check]:
    found = status.redis
    if found is None:
        return
    if found.error:
        store = status.supervised("valkey")
        told = f"{found.error}{f'; {store}' if store else ''}"
        yield Check("Valkey", "fail", told, _store_fix(stack, status, "valkey", "FNTX_REDIS_URL"))
        return
    yield Check("Valkey", "ok", f"version {found.version}, {found.memory}")
    if found.refuses:
        told = f"it takes nothing new: {found.refuses}; {found.memory}; {STANDS_STILL}"
        yield Check("Valkey writes", "fail", told, found.fix)
    elif found.max_bytes and found.used_bytes > MEMORY_LOW * found.max_bytes:
        yield Check("Valkey writes", "warn", f"almost full: {found.memory}", "raise maxmemory, or free some")
    yield from _redis_settings(found)
    long = {name: depth for name, depth in found.queues.items() if depth > QUEUE_LONG}
    if long:
        yield Check("queues", "warn", f"long queues: {long}", "start more workers for them")
    else:
        yield Check("queues", "ok", f"{sum(found.queues.values())} waiting, {found.unacked} being worked on")


def _redis_settings(found: RedisStatus) -> Iterator[Check]:
    if found.policy not in {None, "noeviction"}:
        meaning = f"maxmemory-policy is {found.policy}: Redis may drop queues and state"
        yield Check("eviction", "warn", meaning, "CONFIG SET maxmemory-policy noeviction")
    if not found.append_only:
        meaning = "no append-only file: a restart of Redis loses queues and the newest state"
        yield Check("durability", "warn", meaning, "CONFIG SET appendonly yes")


def _interpreter() -> Iterator[Check]:
    yield Check("Python", "ok", sys.version.split()[0])
