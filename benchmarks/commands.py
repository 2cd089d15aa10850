"""Commands through Celery beside a Celery task that does nothing: same settings, same sender, same waiting."""

import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

from celery import Celery
from redis import Redis

from benchmarks.desk import Desk, wait
from benchmarks.noop_app import QUEUE
from benchmarks.report import Result, middle

CLIENTS = 2
SESSIONS = 200
ROUNDS = 5
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
        return self._send(f"fntx.sessions.{job[0]}", job, "commands")

    def noop(self, job: Job) -> str:
        """Send a task that does nothing, the same arguments with it."""
        return self._send("bench.noop", job, QUEUE)

    def _send(self, task: str, job: Job, queue: str) -> str:
        task_id = str(uuid4())
        kwargs = {"session_id": job[1], "reason": job[0]}
        self._app.send_task(task, kwargs=kwargs, task_id=task_id, queue=queue, headers=self._headers)
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


def _client(place: tuple[str, str], kind: str, jobs: list[Job], go: Any, done: Any) -> None:
    sender = Sender(*place)
    send = getattr(sender, kind)
    go.wait()
    sender.await_all([send(job) for job in jobs], 0.02)
    done.wait()


def _rate(desk: Desk, kind: str, sessions: list[UUID], drained: Callable[[], bool]) -> tuple[float, float]:
    """Return tasks a second until all are answered, and until nothing is left to follow either."""
    shares = [sessions[number::CLIENTS] for number in range(CLIENTS)]
    spawn = multiprocessing.get_context("spawn")
    go, done = spawn.Barrier(CLIENTS + 1), spawn.Barrier(CLIENTS + 1)
    place = desk.redis_url, desk.token
    clients = [
        spawn.Process(
            target=_client, args=(place, kind, [(verb, str(one)) for verb in VERBS for one in share], go, done)
        )
        for share in shares
    ]
    for client in clients:
        client.start()
    go.wait(60)
    began = time.perf_counter()
    done.wait(120)
    answered = time.perf_counter() - began
    wait(drained, "the outbox is empty")
    all_done = time.perf_counter() - began
    for client in clients:
        client.join()
    count = len(sessions) * len(VERBS)
    return count / answered, count / all_done


def throughput(desk: Desk, sessions: list[UUID]) -> list[Result]:
    """Return commands a second beside no-ops a second; workers of both kinds run already."""
    ours, drained, peer = [], [], []
    for number in range(ROUNDS + 1):
        plain, _ = _rate(desk, "noop", sessions, lambda: True)
        answered, all_done = _rate(desk, "command", sessions, lambda: desk.waiting_follow_ups() == 0)
        if number:  # the first one warms up
            peer.append(plain)
            ours.append(answered)
            drained.append(all_done)
    noops = middle(peer)
    return [
        Result("commands through Celery", "/s", middle(ours), "Celery no-op", noops, 0.45, rounds=ROUNDS),
        Result("  with follow-ups drained", "/s", middle(drained), "Celery no-op", noops, 0.30, rounds=ROUNDS),
    ]


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
