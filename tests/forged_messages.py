"""Messages that no client of ours sends: what anybody who reaches Redis can push into a queue or publish."""

import base64
import json
import pickle
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any
from uuid import uuid4

TASK = "fntx.sessions.get"
HUGE = 3_000_000


class Harmful:
    """What runs a command where it is unpickled."""

    def __reduce__(self) -> Any:
        import os  # noqa: PLC0415 - as a forger's would

        return os.system, ("touch /tmp/fntx-was-unpickled",)


def envelope(body: Any = None, **changed: Any) -> dict[str, Any]:
    """Return a message as Celery's Redis transport keeps it; `headers` and `properties` are changed key by key."""
    task_id = str(uuid4())
    packed = body if isinstance(body, bytes) else json.dumps([[], {}, {}] if body is None else body).encode()
    headers = {
        "lang": "py", "task": TASK, "id": task_id, "root_id": task_id, "parent_id": None, "group": None,
        "shadow": None, "eta": None, "expires": None, "retries": 0, "timelimit": [None, None],
        "argsrepr": "()", "kwargsrepr": "{}", "origin": "forger", "ignore_result": False,
    }  # fmt: skip
    properties = {
        "correlation_id": task_id, "reply_to": str(uuid4()), "delivery_mode": 2, "priority": 0,
        "delivery_info": {"exchange": "", "routing_key": "commands"},
        "body_encoding": "base64", "delivery_tag": str(uuid4()),
    }  # fmt: skip
    message = {
        "body": base64.b64encode(packed).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers | changed.pop("headers", {}),
        "properties": properties | changed.pop("properties", {}),
    }
    return message | {name.replace("_", "-"): value for name, value in changed.items()}


def _without(name: str, *, of: str | None = None) -> dict[str, Any]:
    message = envelope()
    (message if of is None else message[of]).pop(name)
    return message


def _elements() -> Iterator[tuple[str, bytes]]:
    whole = json.dumps(envelope()).encode()
    yield from {
        "a byte": b"\x00", "words": b"stop everything", "not utf-8": b"\xff\xfe\x80", "a list": b"[]",
        "nothing": b"null", "a number": b"7", "a text": b'"stop"', "an empty object": b"{}",
        "truncated": whole[: len(whole) // 2], "twice": whole + whole, "nan": b'{"body": NaN}',
        "a long number": b'{"body": ' + b"9" * 10_000 + b"}",
        "nested lists": b"[" * 200_000, "nested objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        "huge": b"x" * HUGE, "huge body": json.dumps(envelope([[], {"x": "y" * HUGE}, {}])).encode(),
        "many quotes": b'{"a": "' + b'\\"' * 400_000,
        "an unknown type": b'{"__type__": "gadget", "__value__": 1}',
        "a type that fails": b'{"__type__": "uuid", "__value__": {"int": []}}',
    }.items()  # fmt: skip


def _envelopes() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in ("body", "headers", "properties", "content-type", "content-encoding"):
        yield f"without {name}", _without(name)
        for value in (None, 7, "x", [], [["a"]], {"a": 1}, True):
            yield f"{name} is {value!r}", envelope() | {name: value}
    yield from _properties()
    yield from _headers()
    yield from _bodies()


def _properties() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in ("delivery_tag", "delivery_info", "body_encoding", "correlation_id", "reply_to", "priority"):
        yield f"without property {name}", _without(name, of="properties")
        for value in (None, 7, "x", [], {"a": []}, 10**30):
            yield f"property {name} is {value!r}", envelope(properties={name: value})


def _headers() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in ("task", "id"):
        yield f"without header {name}", _without(name, of="headers")
    for name in envelope()["headers"]:
        for value in (None, 7, -1, 1e300, "x", [], ["x", []], {"a": 1}, True, "9999-12-31T23:59:59+00:00"):
            yield f"header {name} is {value!r}", envelope(headers={name: value})
    for name in (
        "stamps", "stamped_headers", "replaced_task_nesting", "delivery_info", "hostname", "fntx_token", "fntx_sent_at",
        "traceparent", "ticket", "clock", "compression", "meth", "loglevel", "chord",
    ):  # fmt: skip
        for value in (7, "x", ["x"], {"a": {"b": 1}}):
            yield f"header {name} is {value!r}", envelope(headers={name: value})


def _bodies() -> Iterator[tuple[str, dict[str, Any]]]:
    for value in (["a", {}, {}], [[], [], {}], [[], {}, []], [[], {}], {}, [], 7, None, "x", [[], {}, {}, {}]):
        yield f"body {value!r}", envelope(value)
    for known in ("args", "kwargs", "task"):
        yield f"a body that is an object with {known}", envelope({known: 1})
    yield "first protocol", envelope({"task": TASK, "id": "x", "args": [], "kwargs": {}}, headers={"task": None})
    yield "deep arguments", envelope([[], {"x": json.loads("[" * 500 + "]" * 500)}, {}])
    yield "body nested", envelope(b"[[], " + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b", {}]")
    yield "body no json", envelope(b"\x80\x04stop")
    yield "decimal", envelope([[], {"limit": {"__type__": "decimal", "__value__": "1e999999999"}}, {}])
    yield "an unknown task", envelope(headers={"task": "os.system"})
    yield "celery's own task", envelope(headers={"task": "celery.backend_cleanup"})


def _other_contents() -> Iterator[tuple[str, dict[str, Any]]]:
    unpickled = pickle.dumps([[], {"a": Harmful()}, {}])
    for name, kind, body in (
        ("pickle", "application/x-python-serialize", unpickled),
        ("yaml", "application/x-yaml", b"!!python/object/apply:os.system ['touch /tmp/fntx-was-unpickled']"),
        ("msgpack", "application/x-msgpack", b"\x93\x90\x80\x80"),
        ("plain text", "text/plain", b"stop"),
        ("raw", "application/data", b"stop"),
        ("an unknown content", "application/x-gadget", b"stop"),
    ):
        for encoding in ("binary", "utf-8", "rot13", "zlib_codec", "no-such-codec", None):
            yield f"{name} in {encoding}", envelope(body, content_type=kind, content_encoding=encoding)
    yield "pickle said to be json", envelope(unpickled)
    for method in ("zlib", "gzip", "bzip2", "lzma", "zstd", "application/x-gzip", "gadget"):
        bomb = zlib.compress(b"[" + b" " * 100_000_000 + b"]") if method == "zlib" else b"x"
        yield f"compressed with {method}", envelope(bomb, headers={"compression": method})


@cache
def queue_elements() -> dict[str, bytes]:
    """Return what to push into a queue, by what is wrong with it."""
    found = dict(_elements())
    for name, message in (*_envelopes(), *_other_contents()):
        found[name] = json.dumps(message).encode()
    return found


def _control_bodies() -> Iterator[Any]:
    yield from (None, 7, "shutdown", [], [[]], {}, {"method": []}, {"method": {"a": 1}}, {"method": None})
    for method in ("shutdown", "revoke", "rate_limit", "time_limit", "pool_shrink", "pool_restart", "autoscale",
                   "cancel_consumer", "add_consumer", "disable_events", "election", "hello", "no_such", "__init__",
                   "revoke_by_stamped_headers", "objgraph", "memdump", "report", "terminate"):  # fmt: skip
        for arguments in (None, {}, {"task_id": "x", "task_name": TASK, "queue": "commands", "n": 99, "max": 0}):
            yield {"method": method, "arguments": arguments, "destination": None}
    known = {"method": "ping", "arguments": {}, "destination": None}
    for name in ("arguments", "destination", "pattern", "matcher", "ticket", "reply_to"):
        for value in (7, "(a+)+$", ["x", []], [7], {"a": []}, {"exchange": "", "routing_key": "commands"}):
            yield known | {name: value}
    yield {"method": "stats", "arguments": {"self": 1}, "reply_to": {"exchange": "x", "routing_key": []}, "ticket": "t"}


def _events() -> Iterator[Any]:
    known = {"type": "task-received", "uuid": "u", "hostname": "w@h", "timestamp": 1.0, "clock": 1, "utcoffset": 0,
             "pid": 1, "name": TASK, "args": "()", "kwargs": "{}", "retries": 0}  # fmt: skip
    yield from (None, 7, "x", [], [None], [[]], {}, {"type": []}, {"type": "task-received"}, {"type": "worker-gadget"})
    for name in known:
        yield {key: value for key, value in known.items() if key != name}
        for value in (None, [], {"a": 1}, "x" * 20_000, 10**300, -1, 1e308, float("nan")):
            yield known | {name: value}
    yield known | {"type": "task-sent", "clock": 10**300}
    yield from ({"type": "worker-heartbeat", "hostname": f"w{i}@h", "timestamp": 1.0} for i in range(2000))


def broadcasts(bodies: Iterator[Any]) -> list[bytes]:
    """Return bodies as what is published on a channel."""
    headers = dict.fromkeys(envelope()["headers"])
    return [json.dumps(envelope(json.dumps(body).encode(), headers=headers | {"clock": 1})).encode() for body in bodies]


def control_messages() -> list[bytes]:
    """Return what to publish to a worker's or beat's remote control."""
    return [*queue_elements().values(), *broadcasts(_control_bodies())]


def event_messages() -> list[bytes]:
    """Return what to publish where Flower listens."""
    return [*queue_elements().values(), *broadcasts(_events()), *broadcasts(iter([list(_events())]))]
