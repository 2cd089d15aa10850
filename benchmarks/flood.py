"""Commands and stops beside floods: 10,000 forged messages a minute, and as many of a viewer who may not.

Each into the queue of commands, and into the one of stops itself: a forger chooses. Run by itself:
``python -m benchmarks.flood [ROUNDS]``. The rates without a flood are of the same run, before and after.
"""

import multiprocessing
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jwt
from celery import Celery
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis import Redis

from benchmarks.commands import Sender
from benchmarks.desk import Desk, own_desk, wait
from benchmarks.report import Result, middle, show, store
from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.arguments import CreateArguments, StartArguments
from fntx_sessions.schemas import SessionType, Trigger
from fntx_sessions.security import key_files, keys
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.tokens import issue
from tasks.routes import COMMANDS, SAFETY

PER_MINUTE = 10_000
SESSIONS = 24
ROUNDS = 5
STOPS = 20
_BATCH_S = 0.05
_SETTLES_S = 3.0
RESULTS = Path("build/flood.json")
KINDS = ("forged", "denied", "forged into safety", "denied into safety")
_EVE = Ed25519PrivateKey.generate()
_ANN = Actor("bench", frozenset({"operator", "risk_manager"}))


def flood(desk: Desk, rounds: int = ROUNDS) -> list[Result]:
    """Return commands a second and how long a stop takes, beside each flood, against without, in turns."""
    sessions = desk.active_sessions(SESSIONS)
    rates: dict[str, list[float]] = {kind: [] for kind in ("none", *KINDS)}
    stops: dict[str, list[float]] = {kind: [] for kind in rates}
    sender = Sender(desk.redis_url, desk.token)
    _rate(sender, sessions)  # warms up
    for number in range(rounds):
        for kind, found in rates.items():
            with _flooded(desk, kind, sessions[0]):
                found.append(_rate(sender, sessions))
                stops[kind] += _stops(desk, sender, STOPS // ROUNDS)
        print(f"round {number + 1} of {rounds}", flush=True)
    return [row for kind in KINDS for row in _rows(kind, rates, stops)]


def _rows(kind: str, rates: dict[str, list[float]], stops: dict[str, list[float]]) -> Iterator[Result]:
    beside = "without"
    # Others wait while what floods the stops' own queue is worked off: it is read first.
    least = None if kind.endswith(SAFETY) else 0.5
    yield Result(
        f"commands beside {PER_MINUTE:,} {kind} a minute", "/s", middle(rates[kind]), beside, middle(rates["none"]),
        least, rounds=len(rates[kind]),
    )  # fmt: skip
    yield Result(
        f"  a stop, enqueue to outcome, p50, {kind}", "ms", middle(stops[kind]), beside, middle(stops["none"]), 3.0,
        fewer=True, rounds=len(stops[kind]),
    )  # fmt: skip
    yield Result(
        f"  a stop, the slowest, {kind}", "ms", max(stops[kind]), beside, max(stops["none"]), fewer=True,
        rounds=len(stops[kind]),
    )  # fmt: skip


def _rate(sender: Sender, sessions: list[UUID]) -> float:
    jobs = [(verb, str(one)) for verb in ("pause", "resume") for one in sessions]
    began = time.perf_counter()
    for verb in ("pause", "resume"):
        sender.await_all([sender.command(job) for job in jobs if job[0] == verb], 0.005)
    return len(jobs) / (time.perf_counter() - began)


def _stops(desk: Desk, sender: Sender, count: int) -> list[float]:
    """Return the milliseconds from sending a stop to reading what became of it, each of a session of its own."""
    took = []
    for _ in range(count):
        asked = CreateArguments(session_type=SessionType.PAPER_TRADING)
        made = execute.create(desk.tools, _ANN, asked, uuid4()).raise_for_refusal().session_id
        started = StartArguments(session_id=made, reason="bench")
        execute.command(desk.tools, Trigger.START, _ANN, started, uuid4()).raise_for_refusal()
        began = time.perf_counter()
        answer = f"celery-task-meta-{sender.command(('stop', str(made)))}"
        wait(lambda answer=answer: desk.redis.exists(answer), "a stop is answered")  # type: ignore[misc]
        took.append((time.perf_counter() - began) * 1000)
    return took


@contextmanager
def _flooded(desk: Desk, kind: str, session_id: UUID) -> Iterator[None]:
    """Run a block beside a flood that has begun; what it left in the queue is worked off afterwards."""
    if kind == "none":
        yield
        return
    token = "" if kind.startswith("forged") else issue(desk.settings, "vic", ["viewer"], 3600)
    queue = SAFETY if kind.endswith(SAFETY) else COMMANDS
    end = multiprocessing.get_context("spawn").Event()
    kid = key_files.key_id(key_files.load_private_key(keys.signing_pair(desk.settings).private).public_key())
    work = multiprocessing.get_context("spawn").Process(
        target=_send, args=(desk.redis_url, token, kid, str(session_id), queue, end), daemon=True
    )
    work.start()
    time.sleep(_SETTLES_S)
    try:
        yield
    finally:
        end.set()
        work.join()
        with Redis.from_url(desk.redis_url) as redis:
            wait(lambda: not redis.llen(queue), "the flood is worked off")


def forged(number: int, kid: str) -> str:
    """Return a token of a key of one's own, each another: none is remembered as forged, and each costs its check."""
    claims = {"iss": "fntx-sessions", "aud": "fntx-sessions", "sub": "eve", "roles": ["admin"], "jti": str(number)}
    now = int(time.time())
    return jwt.encode(claims | {"iat": now, "nbf": now, "exp": now + 60}, _EVE, "EdDSA", {"kid": kid})


def _send(redis_url: str, token: str, kid: str, session_id: str, queue: str, end: Any) -> None:
    """Send messages at the rate until told to end: what is late is sent at once. Forged ones each differ."""
    app = Celery("flood", broker=redis_url, set_as_current=False)
    began, sent = time.monotonic(), 0
    with app.producer_pool.acquire(block=True) as producer:
        while not end.wait(_BATCH_S):
            due = int((time.monotonic() - began) * PER_MINUTE / 60)
            for number in range(sent, due):
                headers = {"fntx_token": token or forged(number, kid)}
                app.send_task(
                    "fntx.sessions.stop", kwargs={"session_id": session_id, "reason": "flood"}, task_id=str(uuid4()),
                    queue=queue, headers=headers, producer=producer,
                )  # fmt: skip
            sent = due


def main() -> None:
    """Run it alone on a desk of its own."""
    with own_desk() as desk, desk.worker("commands", "-Q", "commands,queries,celery", "-c", "2"):
        results = flood(desk, int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
    show(results)
    store(results, RESULTS)


if __name__ == "__main__":
    main()
