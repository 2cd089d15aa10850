"""Commands through Celery beside a task that does nothing: same worker, same sender, same waiting."""

import json
import multiprocessing
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from celery import Celery
from redis import Redis

from benchmarks.desk import Desk, wait
from benchmarks.report import Result, middle
from tasks.routes import queue_for

CLIENTS = 2
SESSIONS = 100
ROUNDS = 12
_LONGEST_S = 90.0
SAMPLES = 80
VERBS = ("pause", "resume")
Job = tuple[str, str]  # verb, session id


class Sender:
    """A stranger's Celery that sends what it is told and reads answers where they are stored."""

    def __init__(self, redis_url: str, token: str) -> None:
        self._app = Celery("bench", broker=redis_url, set_as_current=False)
        self._redis = Redis.from_url(redis_url)
        self._headers = {"fntx_token": token}

    def command(self, job: Job) -> str:
        """Send a lifecycle command; its id is its task's."""
        return self._send(f"fntx.sessions.{job[0]}", job)

    def noop(self, job: Job) -> str:
        """Send a task that does nothing, the same arguments with it."""
        return self._send("bench.noop", job)

    def _send(self, task: str, job: Job) -> str:
        task_id = str(uuid4())
        kwargs = {"session_id": job[1], "reason": job[0]}
        self._app.send_task(task, kwargs=kwargs, task_id=task_id, queue=queue_for(task), headers=self._headers)
        return task_id

    def await_all(self, ids: Sequence[str], pause_s: float) -> None:
        """Return once all are answered; raises RuntimeError for an answer that is no success."""
        waiting = list(ids)
        while waiting:
            answers: Any = self._redis.mget([f"celery-task-meta-{task_id}" for task_id in waiting])
            for answer in filter(None, answers):
                _check(answer)
            waiting = [task_id for task_id, answer in zip(waiting, answers, strict=True) if answer is None]
            time.sleep(pause_s)


def _check(answer: bytes) -> None:
    found = json.loads(answer)
    if found["status"] != "SUCCESS" or found["result"]["state"] != "done":
        raise RuntimeError(answer.decode())


def throughput(desk: Desk, sessions: list[UUID]) -> list[Result]:
    """Return commands a second beside no-ops a second, in turns; the worker runs already."""
    spawn = multiprocessing.get_context("spawn")
    gate = spawn.Barrier(CLIENTS + 1)
    place = desk.redis_url, desk.token
    shares = [[(verb, str(one)) for verb in VERBS for one in sessions[number::CLIENTS]] for number in range(CLIENTS)]
    clients = [spawn.Process(target=_client, args=(place, share, gate), daemon=True) for share in shares]
    for client in clients:
        client.start()
    _round(desk, len(sessions), gate)  # warms up
    rounds = [_round(desk, len(sessions), gate) for _ in range(ROUNDS)]
    for client in clients:
        client.join()
    noops, answered, drained = (middle(list(rates)) for rates in zip(*rounds, strict=True))
    return [
        Result("commands through Celery", "/s", answered, "Celery no-op", noops, 0.45, rounds=ROUNDS),
        Result("  with follow-ups drained", "/s", drained, "Celery no-op", noops, 0.30, rounds=ROUNDS),
    ]


def _client(place: tuple[str, str], jobs: list[Job], gate: Any) -> None:
    sender = Sender(*place)
    for _ in range(ROUNDS + 1):
        for send in (sender.noop, sender.command):
            gate.wait(_LONGEST_S)
            sender.await_all([send(job) for job in jobs], 0.02)
            gate.wait(_LONGEST_S)


def _round(desk: Desk, sessions: int, gate: Any) -> tuple[float, float, float]:
    """Return no-ops a second, commands a second, and those until nothing was left to follow either."""
    count = sessions * len(VERBS)
    took = []
    for _ in ("noop", "command"):
        gate.wait(_LONGEST_S)
        began = time.perf_counter()
        gate.wait(_LONGEST_S)
        took.append(time.perf_counter() - began)
    wait(lambda: desk.waiting_follow_ups() == 0, "the outbox is empty")
    took.append(time.perf_counter() - began)
    return count / took[0], count / took[1], count / took[2]


def latency(desk: Desk, session_id: UUID) -> Result:
    """Return the median time from enqueueing a command to its outcome on an idle desk."""
    sender = Sender(desk.redis_url, desk.token)
    took: dict[str, list[float]] = {"noop": [], "command": []}
    for number in range(SAMPLES):
        for kind, times in took.items():
            began = time.perf_counter()
            sender.await_all([getattr(sender, kind)((VERBS[number % 2], str(session_id)))], 0.0002)
            times.append((time.perf_counter() - began) * 1000)
            time.sleep(0.01)
    return Result(
        "enqueue to outcome, idle, p50", "ms", middle(took["command"]), "Celery no-op", middle(took["noop"]), 2.5,
        fewer=True, rounds=SAMPLES,
    )  # fmt: skip
