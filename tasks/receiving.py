"""Celery's events, as Flower reads them: of the known kinds and shapes, from a bounded number of hosts and tasks.

An event is published by anybody who reaches Redis. One that lacks a field ends Flower's reading for seconds, and each
host and each task that is named in one stays in its memory, and in what Prometheus reads of it.
"""

import math
from typing import Annotated, Any, Literal

import msgspec
from celery.events import EventReceiver
from msgspec import Meta, Struct

from tasks.refused_messages import refuse

MAX_NAMES = 1000
_TEXT_CHARACTERS = 10_000

_Name = Annotated[str, Meta(max_length=255)]
_Id = Annotated[str, Meta(min_length=1, max_length=255)]
_Text = Annotated[str, Meta(max_length=_TEXT_CHARACTERS)]
_Count = Annotated[int, Meta(ge=0, lt=1 << 53)]
_Time = Annotated[float, Meta(ge=0, le=1e11)]


class _Common(Struct, kw_only=True, omit_defaults=True):
    type: str
    hostname: _Id
    timestamp: _Time
    clock: _Count = 0
    utcoffset: Annotated[float, Meta(ge=-24, le=24)] = 0
    pid: _Count | None = None


class TaskEvent(_Common, kw_only=True, omit_defaults=True):
    """What happened to a task."""

    type: Literal[
        "task-sent", "task-received", "task-started", "task-succeeded", "task-failed",
        "task-rejected", "task-revoked", "task-retried",
    ]  # fmt: skip
    uuid: _Id
    name: _Name | None = None
    args: _Text | None = None
    kwargs: _Text | None = None
    result: _Text | None = None
    exception: _Text | None = None
    traceback: _Text | None = None
    root_id: _Id | None = None
    parent_id: _Id | None = None
    retries: _Count | None = None
    eta: _Name | None = None
    expires: _Name | None = None
    runtime: _Time | None = None
    queue: _Name | None = None
    exchange: _Name | None = None
    routing_key: _Name | None = None
    requeue: bool | None = None
    terminated: bool | None = None
    signum: _Count | None = None
    expired: bool | None = None


class WorkerEvent(_Common, kw_only=True, omit_defaults=True):
    """That a worker lives, or no longer does."""

    type: Literal["worker-online", "worker-heartbeat", "worker-offline"]
    freq: _Time | None = None
    active: _Count | None = None
    processed: _Count | None = None
    loadavg: Annotated[list[_Time], Meta(max_length=3)] | None = None
    sw_ident: _Name | None = None
    sw_ver: _Name | None = None
    sw_sys: _Name | None = None


class Receiver(EventReceiver):
    """Hands on what is an event of a worker, and counts the rest."""

    _names: set[str]

    def _receive(self, body: Any, message: Any, **_: Any) -> None:
        for event in body if isinstance(body, list) else [body]:
            known = self._known(event)
            if known is None:
                refuse("no event of a worker")
            else:
                super()._receive(known, message)  # type: ignore[misc]  # not in the stubs

    def _known(self, event: Any) -> dict[str, Any] | None:
        try:
            found = known_event(event)
        except (msgspec.ValidationError, UnicodeError):
            return None
        names = {found["hostname"], found.get("name") or ""}
        if not hasattr(self, "_names"):
            self._names = set()
        if not names <= self._names and len(self._names) + len(names) > MAX_NAMES:
            return None
        self._names |= names
        return found


def known_event(event: Any) -> dict[str, Any]:
    """Return the fields of an event that are known; raises msgspec.ValidationError."""
    task = isinstance(event, dict) and str(event.get("type")).startswith("task-")
    found = msgspec.to_builtins(msgspec.convert(event, TaskEvent if task else WorkerEvent))
    if not all(map(math.isfinite, [found["timestamp"], found.get("runtime") or 0, *(found.get("loadavg") or ())])):
        raise msgspec.ValidationError("not a number")
    return dict(found)


def receive_known_events() -> None:
    """Have the Flower of this process read events so."""
    from flower import events  # noqa: PLC0415 - only Flower's process has it at hand

    events.EventReceiver = Receiver
