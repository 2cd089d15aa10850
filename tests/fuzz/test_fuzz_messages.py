"""Messages: whatever comes off Redis, and whatever arguments a verified caller sends."""

import inspect
import json
from contextlib import suppress
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from celery.exceptions import InvalidTaskError
from forged_messages import envelope, queue_elements
from fuzzing import MARKED, ODD, changed_document, changed_tree, fuzz, leaves, trees
from hypothesis import given
from hypothesis import strategies as st

from fntx_sessions.exceptions import InvalidArgument, Rejected
from tasks import app, messages, requests
from tasks.messages import RefusedMessage, checked, loads
from tasks.receiving import known_event

KNOWN = ("session_id", "reason", "name", "symbol", "quantity", "config", "changes", "limit", "until", "type", "agents")


def handlers() -> dict[str, Any]:
    """Return what parses a task's arguments, by the task's name."""
    app.loader.import_default_modules()
    found = {
        name: inspect.getclosurevars(task.run.__func__).nonlocals.get("handler") for name, task in app.tasks.items()
    }
    return {name: handler for name, handler in found.items() if handler is not None}


HANDLERS = handlers()
EVENT = {"type": "task-received", "uuid": "u", "hostname": "h", "timestamp": 1.0, "clock": 1, "args": "()"}


@fuzz
@given(changed_document(envelope()))
def test_envelope(data: bytes) -> None:
    """An element of a queue becomes a message whose headers are all known, or is refused."""
    for of_task in (True, False):
        with suppress(RefusedMessage):
            found = checked(loads(data), of_task=of_task)
            assert all(
                name in messages._KEPT or name.startswith(("fntx_", "clock", "ticket")) for name in found["headers"]
            )


@fuzz
@given(changed_document([[], {"a": 1}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]))
def test_body(data: bytes) -> None:
    """A body holds arguments, and asks for nothing else."""
    with suppress(RefusedMessage, InvalidTaskError):
        body = loads(data)
        requests._check(body)
        assert not any(body[2].values())


PLAIN_TYPES = (dict, list, str, int, float, bool, type(None))


def only_json(value: Any) -> bool:
    """Tell whether a value and all in it is of the types that JSON has."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return type(value) in PLAIN_TYPES and all(map(only_json, inner))


@fuzz
@given(changed_document([[], {"limit": MARKED[0], "config": {"a": [*MARKED]}}, {}]))
def test_nothing_but_json_is_made_of_a_message(data: bytes) -> None:
    """Whatever Celery marks as a Decimal, bytes, a moment or an id stays the object it is: no decoder of it runs."""
    with suppress(RefusedMessage):
        assert only_json(loads(data))


@pytest.mark.parametrize("marked", MARKED, ids=str)
def test_no_decoder_runs_beside_a_stop(marked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By any reader of messages, signed ones too: 60 bytes once cost a worker's process eight seconds of a stop."""
    from kombu import serialization  # noqa: PLC0415 - as the app set it up
    from kombu.utils import json as kombu_json  # noqa: PLC0415

    def refuse_to_run(*_: Any) -> None:
        pytest.fail("a decoder ran")

    monkeypatch.setattr(kombu_json, "_decoders", dict.fromkeys(kombu_json._decoders, refuse_to_run))
    data = json.dumps([[], {"limit": marked}, {}])
    assert loads(data)[1] == {"limit": marked}
    assert serialization.loads(data, "application/json", "utf-8")[1] == {"limit": marked}
    with pytest.raises(InvalidArgument, match="limit: is no plain JSON"):
        HANDLERS["fntx.sessions.get"].parse((), {"limit": marked}, str(uuid4()), 100_000)


@fuzz
@given(
    changed_tree({"type": "task-received", "uuid": "u", "hostname": "h", "timestamp": 1.0, "clock": 1, "args": "()"})
    | trees
)
def test_event(event: Any) -> None:
    """An event that Flower would read."""
    with suppress(msgspec.ValidationError, UnicodeError):
        assert {"type", "hostname", "timestamp"} <= known_event(event).keys()


def fields_of(handler: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Return keywords for a task: its own fields and others, their values anything."""
    own = [*handler.model.model_fields, *KNOWN]
    value = leaves | trees | st.sampled_from([*ODD, *MARKED, str(uuid4())])
    return st.dictionaries(st.sampled_from(own), value, max_size=len(own))


def test_all_tasks_are_tried() -> None:
    """Every task of the app is among the fuzzed."""
    others = ("celery.", "fntx.tests.", "fntx.unit.")  # the last two: other tests' own
    assert {name for name in app.tasks if not name.startswith(others)} <= set(HANDLERS)
    assert len(HANDLERS) > 80


@fuzz
@given(data=st.data())
@pytest.mark.parametrize("group", sorted({name.rpartition(".")[0] for name in HANDLERS}))
def test_arguments(group: str, data: st.DataObject) -> None:
    """Arguments of any task are taken or refused as what they are; nothing else is raised, and no memory taken."""
    name = data.draw(st.sampled_from(sorted(one for one in HANDLERS if one.rpartition(".")[0] == group)))
    keywords = data.draw(fields_of(HANDLERS[name]))
    with suppress(Rejected):
        call = HANDLERS[name].parse((), keywords, str(uuid4()), 100_000)
        assert call.session_id is None or str(call.session_id)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_moment_that_has_no_utc_is_refused(moment: str) -> None:
    """Its year would be 0, or 10000."""
    with pytest.raises(Rejected, match="year"):
        HANDLERS["fntx.market.history"].parse((), {"last": moment}, str(uuid4()), 1000)


def test_the_forged_ones() -> None:
    """Each of the messages that a real worker is sent is refused, or cut down to what a task may say."""
    for data in queue_elements().values():
        with suppress(RefusedMessage):
            found = checked(loads(data), of_task=True)
            assert not {"callbacks", "chord", "timelimit", "shadow", "stamps", "compression"} & found["headers"].keys()


@pytest.mark.parametrize(
    ("data", "max_bytes", "told"),
    [
        (b"[" * 65 + b"]" * 65, 10**6, "nested too deep"),
        (b"[]" * 65, 10**6, None),
        (b'"' + b"[" * 1000 + b'"', 10**6, None),
        (b'"\\"' + b"[" * 1000 + b'"', 10**6, None),
        (b'{"a":' * 65 + b"1" + b"}" * 65, 10**6, "nested too deep"),
        (b"x" * 11, 10, "too large"),
    ],
)
def test_bounds(data: bytes, max_bytes: int, told: str | None) -> None:
    """Depth is counted outside of texts, length before anything else."""
    if told is None:
        messages.check_bounds(data, max_bytes, 64)
    else:
        with pytest.raises(RefusedMessage, match=told):
            messages.check_bounds(data, max_bytes, 64)


def test_pickle_yaml_and_msgpack_are_not_known() -> None:
    """There is no decoder for them in a process of ours, so that no setting and no signature brings one back."""
    from kombu.serialization import registry  # noqa: PLC0415

    assert not {"pickle", "yaml", "msgpack"} & registry.name_to_type.keys()
    assert (
        not {"application/x-python-serialize", "application/x-yaml", "application/x-msgpack"}
        & registry._decoders.keys()
    )
