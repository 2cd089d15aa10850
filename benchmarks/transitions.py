"""The machine from two processes, beside pgbench sending the very same statements from two clients."""

import multiprocessing
import re
import subprocess
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from psycopg2.extensions import adapt
from sqlalchemy import Connection, Engine, event

from benchmarks.desk import ANN, SESSION_ID, Desk
from benchmarks.report import Result, middle
from fntx_sessions.database.engine import build_engine
from fntx_sessions.lifecycle import commands, machine
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.lifecycle.machine_sql import LOCK, WRITE_COMMIT
from fntx_sessions.schemas import Trigger
from fntx_sessions.settings import Settings

CLIENTS = 2
ROUNDS = 4
SECONDS = 4
MOVES = (Trigger.PAUSE, Trigger.RESUME)
_BIND = re.compile(r"(?<![:\w]):([a-z_]+)")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SESSIONS = SESSION_ID.split("{")[0]
# Ids of a client are made of its random number: 12 decimal digits are 12 hexadecimal ones.
_NEW_ID = "00000000-0000-4000-8000-:n"
_NUMBERS = {"version": ":v", "audit_seq": ":q", "expected_version": "NULL"}
_JSON_NUMBERS = {"seq": ":q", "version": ":v", "version_after": ":v", "version_before": ":l_version"}
_JSON_NUMBER = re.compile(rf'"({"|".join(_JSON_NUMBERS)})":\d+')


def transitions(desk: Desk, sessions: list[UUID]) -> Result:
    """Return transitions a second of the machine and of pgbench, in turns."""
    script = desk.folder.home / "transition.pgbench"
    script.write_text(_script(desk, sessions))
    script.chmod(0o644)
    ours, peer = [], []
    for _ in range(ROUNDS):
        peer.append(_pgbench(desk, script))
        ours.append(_machine(desk, sessions))
    return Result(
        "transitions, 2 processes", "/s", middle(ours), "pgbench, same statements", middle(peer), 0.60, rounds=ROUNDS
    )


def _machine(desk: Desk, sessions: list[UUID]) -> float:
    spawn = multiprocessing.get_context("spawn")
    go, counted = spawn.Barrier(CLIENTS), spawn.Queue()
    shares = [sessions[number::CLIENTS] for number in range(CLIENTS)]
    movers = [spawn.Process(target=_move, args=(desk.database_url, share, go, counted)) for share in shares]
    for mover in movers:
        mover.start()
    rates = [counted.get(timeout=60) for _ in movers]
    for mover in movers:
        mover.join()
    return float(sum(rates))


def _move(url: str, sessions: list[UUID], go: Any, counted: Any) -> None:
    engine = build_engine(url, Settings())
    for session_id in sessions[:2]:
        for trigger in MOVES:
            _one(engine, trigger, session_id)
    go.wait(60)
    began, count = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < SECONDS:
        for trigger in MOVES:
            _one(engine, trigger, sessions[count // len(MOVES) % len(sessions)])
            count += 1
    counted.put(count / took)


def _one(engine: Engine, trigger: Trigger, session_id: UUID) -> None:
    ask = Ask(trigger, session_id, ANN, "bench", uuid4())
    machine.run(engine, ask, commands.DECISIONS[trigger]).raise_for_refusal()


def _pgbench(desk: Desk, script: Path) -> float:
    command = [
        str(desk.postgres.programs / "pgbench"), "-n", "-M", "simple", "-f", str(script), "-c", str(CLIENTS), "-j",
        str(CLIENTS), "-T", str(SECONDS), "-h", str(desk.postgres.sockets), "-p", "5432", "-U", "fntx", "fntx",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=desk.postgres.environment(), check=False)
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if done.returncode or found is None or "aborted" in done.stderr:
        raise RuntimeError(done.stderr[-2000:])
    return float(found[1]) * len(MOVES)  # of which each of its transactions has all


def _script(desk: Desk, sessions: list[UUID]) -> str:
    """Return a pause and a resume as pgbench sends them: what the machine sends, with numbers in place of ids."""
    half = len(sessions) // CLIENTS
    first = int(str(sessions[0])[-12:])
    lines = [f"\\set s {first} + random(0, {half - 1}) + {half} * :client_id"]
    for trigger in MOVES:
        bound = _captured(desk.engine, trigger, sessions[0])
        lines += ["\\set n random(100000000000, 999999999999)", _sent(LOCK.text, bound) + " \\gset l_"]
        lines += ["\\set v :l_version + 1", "\\set q :l_audit_seq + 1", _sent(WRITE_COMMIT.text, bound) + ";"]
    return "\n".join(lines) + "\n"


def _captured(engine: Engine, trigger: Trigger, session_id: UUID) -> dict[str, Any]:
    """Do one command and return all it bound."""
    bound: dict[str, Any] = {}

    def note(_connection: Connection, _cursor: Any, _statement: str, values: Any, *_rest: Any) -> None:
        bound.update(values)

    event.listen(engine, "before_cursor_execute", note)
    _one(engine, trigger, session_id)
    event.remove(engine, "before_cursor_execute", note)
    return bound


def _sent(statement: str, bound: dict[str, Any]) -> str:
    """Return one round trip: pgbench sends what is joined by backslash and semicolon as one message."""

    def literal(match: re.Match[str]) -> str:
        return _NUMBERS.get(match[1]) or _varied(_quoted(bound[match[1]]))

    return _BIND.sub(literal, statement).strip().rstrip(";").replace(";", "\\;")


def _quoted(value: Any) -> str:
    if isinstance(value, bytes | memoryview):
        return f"'\\x{bytes(value).hex()}'"
    quoted: bytes = adapt(value).getquoted()
    return quoted.decode()


def _varied(value: str) -> str:
    """Return a literal with what differs from command to command, also within its JSON, as pgbench's variables."""
    value = _UUID.sub(lambda found: SESSION_ID.format(":s") if found[0].startswith(_SESSIONS) else _NEW_ID, value)
    return _JSON_NUMBER.sub(lambda found: f'"{found[1]}": {_JSON_NUMBERS[found[1]]}', value)
