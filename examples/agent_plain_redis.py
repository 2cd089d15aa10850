"""The same agent with nothing but a Redis client: `agent_plain_redis.py SESSION_ID AGENT [TICK_S]`.

It imports redis and the standard library. What goes over the wire is written down in docs/integration.md, so that it
can be written in any language that has a Redis client. FNTX_REDIS_URL and FNTX_TOKEN say where the desk is, and who
asks.
"""

import base64
import hashlib
import json
import os
import secrets
import sys
import time
import uuid
from typing import Any

import redis

ANSWER_S, ASK_AGAIN_S = 30.0, 2.0


class Refused(Exception):
    """The desk, or the script that takes reports, said no."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Desk:
    """Asks the desk by messages written by hand."""

    def __init__(self, client: redis.Redis, token: str) -> None:
        self._redis = client
        self._token = token

    def ask(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Ask, again and again under one id, until there is an answer; raises Refused, or TimeoutError."""
        task_id = str(uuid.uuid4())
        ends = time.monotonic() + ANSWER_S
        while time.monotonic() < ends:
            self._redis.lpush("commands", json.dumps(message(task, task_id, arguments, self._token)))
            answer = self._answer(task_id, min(ends, time.monotonic() + ASK_AGAIN_S))
            if answer is None:
                continue
            if answer["error"] is None:
                return answer
            if answer["error"]["family"] != "retryable":
                raise Refused(answer["error"]["error"], answer["error"]["message"])
            time.sleep(ASK_AGAIN_S)
        raise TimeoutError(task)

    def _answer(self, task_id: str, until: float) -> dict[str, Any] | None:
        key = f"celery-task-meta-{task_id}"
        while time.monotonic() < until:
            stored = self._redis.get(key)
            if stored is not None:
                self._redis.delete(key)
                kept = json.loads(stored)
                return {"error": None, **kept["result"]} if kept["status"] == "SUCCESS" else None
            time.sleep(0.02)
        return None


def message(task: str, task_id: str, arguments: dict[str, Any], token: str) -> dict[str, Any]:
    """Return what Celery's own client would put on the list."""
    signed = {"fntx_token": token} if token else {}
    body = json.dumps([[], arguments, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": task, "id": task_id, "root_id": task_id} | signed,
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "commands"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }


class Agent:
    """One agent in one session."""

    def __init__(self, client: redis.Redis, desk: Desk, session_id: str, name: str) -> None:
        self.redis = client
        self.desk = desk
        self.session_id = session_id
        self.name = name
        self.status = ""
        self.join()

    def join(self) -> None:
        """Join, and begin where the session and this agent's own memory stand."""
        ticket = secrets.token_hex(24)
        told = self.desk.ask("fntx.agents.join", session_id=self.session_id, agent=self.name, ticket=ticket)
        self.ticket, self.keys, self.script = ticket, told["keys"], told["report_script"]
        self.digest = hashlib.sha1(self.script.encode(), usedforsecurity=False).hexdigest()
        self.status, self.epoch, self.position = told["status"], told["epoch"], told["position"]
        self.heartbeat_s = told["heartbeat_s"]
        self.decided = (told["internal_state"] or {}).get("decided", 0)
        self.unsent: tuple[dict[str, Any], tuple[str, str, dict[str, Any]]] | None = None
        say("joined", self.status, "epoch", self.epoch, "decided", self.decided)

    def report(self, parts: dict[str, Any], *records: tuple[str, str, dict[str, Any]]) -> int:
        """Report parts and records and acknowledge; return the revision. Without both it is a heartbeat."""
        values: list[Any] = [self.epoch, self.name, self.ticket, self.position, len(parts)]
        for part, content in parts.items():
            values += [part, json.dumps(content, allow_nan=False)]
        for kind, record_id, content in records:
            values += [kind, record_id, json.dumps(content, allow_nan=False)]
        keys = (self.keys["live"], self.keys["records"])
        try:
            answer = self.redis.evalsha(self.digest, 2, *keys, *values)
        except redis.exceptions.NoScriptError:
            answer = self.redis.eval(self.script, 2, *keys, *values)
        if not answer[0]:
            raise Refused(answer[1].decode(), answer[2].decode())
        return int(answer[2])

    def read(self) -> None:
        """Handle what happened since the event acknowledged last; raises Refused where events were let go of unread."""
        oldest = self.redis.xrange(self.keys["inbox"], count=1)
        entries = self.redis.xrange(self.keys["inbox"], min=f"({self.position}", count=100)
        if self.position != "0-0" and oldest and place(oldest[0][0]) > place(self.position.encode()):
            raise Refused("fell_behind", self.position)
        for entry_id, fields in entries:
            self.told(json.loads(fields[b"event"]))
            self.position = entry_id.decode()
            say("told", json.loads(fields[b"event"])["event"], self.position)

    def told(self, event: dict[str, Any]) -> None:
        """Follow the session: its status, and the epoch that reports are made under."""
        self.status = event.get("to_status", self.status)
        self.epoch = max(self.epoch, event.get("epoch", 0))

    def decide(self) -> None:
        """Decide, and report the decision together with the memory of it; what may not have arrived is sent again."""
        self.unsent = self.unsent or self.decision(self.decided + 1)
        self.report(*self.unsent)
        self.unsent, self.decided = None, self.decided + 1
        say("decided", self.decided)

    def decision(self, number: int) -> tuple[dict[str, Any], tuple[str, str, dict[str, Any]]]:
        """Return a report of one decision: this agent's part, and the record."""
        at, name = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()), f"{self.name}-{number}"
        memory = {"agent_id": self.name, "last_update": at, "internal_state": {"decided": number}}
        decision = {"decision_id": name, "timestamp": at, "what": "hold", "latency_ms": 0.1}
        return {f"agent/{self.name}": memory}, ("decision", name, decision)

    def run(self, tick_s: float) -> None:
        """Take part until the session is closed."""
        beaten = time.monotonic()
        while self.status != "closed":
            try:
                self.read()
                if self.status == "active":
                    self.decide()
                elif time.monotonic() - beaten > self.heartbeat_s:
                    self.report({})
                    beaten = time.monotonic()
            except Refused as refused:
                if refused.reason in ("superseded", "InvalidArgument", "Forbidden", "NotFound"):
                    raise
                if refused.reason not in ("too_many", "backlog"):
                    self.join()
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
                say("redis is away:", error)
            time.sleep(tick_s)


def place(entry_id: bytes) -> tuple[int, ...]:
    """Return what puts ids of entries in order."""
    return tuple(int(number) for number in entry_id.split(b"-"))


def say(*words: object) -> None:
    """Print a line at once."""
    print(*words, flush=True)


if __name__ == "__main__":
    own = redis.Redis.from_url(os.environ["FNTX_REDIS_URL"], socket_timeout=5, socket_connect_timeout=2)
    session, name, tick = [*sys.argv[1:], "1"][:3]
    Agent(own, Desk(own, os.environ.get("FNTX_TOKEN", "")), session, name).run(float(tick))
    say("ended")
