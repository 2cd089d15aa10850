"""What a message may be: bounded before it is parsed, and of one shape, or it is not read.

Whoever reaches Redis can push anything into a queue. So much is checked before Celery sees it: how long and how deep it
is, that it is JSON with the envelope that Celery's Redis transport writes, that nothing in it is compressed, and, of a
task, that its headers are the few we know. Everything else about a task's headers is dropped: Celery takes callbacks,
chords, time limits and names to log from them, and a worker would sign the tasks of such callbacks with its own key.
docs/decisions/0106-messages.md.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
import orjson
from kombu.utils import json as kombu_json
from msgspec import Meta, Struct

from fntx_sessions.monitoring.logs import redact_text
from fntx_sessions.settings import Settings, get_settings

PLAIN, SIGNED = "application/json", "application/data"

# What giving a message back adds to it: that it was redelivered, from where.
_SLACK_BYTES = 10_000
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_OTHERS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_KEPT = frozenset(
    {"lang", "task", "id", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result"}
    | {"retries", "eta", "expires", "redelivered", "traceparent"}
)
_OURS = "fntx_"
_SHOWN = ("argsrepr", "kwargsrepr")
SHOWN_CHARACTERS = 1000
_MAX_YEARS = timedelta(days=3650)

_Name = Annotated[str, Meta(max_length=255)]
_Id = Annotated[str, Meta(min_length=1, max_length=255)]
_Moment = Annotated[str, Meta(max_length=40)] | None


class RefusedMessage(ValueError):
    """A message that is not read; it says which of a few things is wrong, and nothing of what is in it."""


class _Where(Struct):
    exchange: _Name
    routing_key: _Name


class _Properties(Struct):
    delivery_tag: _Id
    delivery_info: _Where
    body_encoding: Literal["base64"]
    correlation_id: _Name | None = None
    reply_to: _Name | None = None
    priority: Annotated[int, Meta(ge=0, le=255)] | None = None


class _Envelope(Struct, rename={"content_type": "content-type", "content_encoding": "content-encoding"}):
    body: str
    content_type: str
    content_encoding: Literal["utf-8"]
    headers: dict[str, Any]
    properties: _Properties


class _ControlHeaders(Struct):
    """Of what is no task. clock: Celery's logical one, which takes whatever it is told."""

    clock: Annotated[int, Meta(ge=0, lt=1 << 53)] = 0
    expires: float | int | None = None
    ticket: _Name | None = None


class _TaskHeaders(Struct):
    task: _Id
    id: _Id
    lang: _Name | None = None
    root_id: _Name | None = None
    parent_id: _Name | None = None
    origin: _Name | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    traceparent: _Name | None = None
    ignore_result: bool | None = None
    redelivered: bool | None = None
    retries: Annotated[int, Meta(ge=0, le=100)] | None = None
    eta: _Moment = None
    expires: _Moment = None


def loads(text: str | bytes | bytearray | memoryview, *_: Any, **__: Any) -> Any:
    """Return what Celery's JSON says, one message at most as large and as deep as the settings allow.

    It is JSON and nothing more: what Celery marks with `__type__` stays the object that it is. Raises RefusedMessage.
    """
    settings = get_settings()
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
    check_bounds(data, settings.message_max_bytes + _SLACK_BYTES, settings.json_max_depth)
    try:
        # Kombu's hook makes of 60 bytes a Decimal that takes seconds to become a number, or a text.
        return kombu_json.loads(data, object_hook=None)
    except (ValueError, RecursionError) as error:
        raise RefusedMessage("no JSON") from error


def check_bounds(data: bytes, max_bytes: int, max_depth: int) -> None:
    """Raise RefusedMessage where JSON is longer or deeper than allowed; takes time in proportion to its length."""
    if len(data) > max_bytes:
        raise RefusedMessage("too large")
    if data.count(b"[") + data.count(b"{") > max_depth and _deeper(data, max_depth):
        raise RefusedMessage("nested too deep")


def _deeper(data: bytes, depth: int) -> bool:
    brackets = _STRINGS.sub(b"", data).translate(_ONE_KIND, _OTHERS)
    for _ in range(depth):
        inner = brackets.replace(b"[]", b"")
        if len(inner) == len(brackets):
            break
        brackets = inner
    return bool(brackets)


def checked(message: Any, *, of_task: bool) -> dict[str, Any]:
    """Return a message with nothing in its headers but what is known; raises RefusedMessage."""
    settings = get_settings()
    try:
        envelope = msgspec.convert(message, _Envelope)
        orjson.dumps([message["headers"], message["properties"]])  # halves of characters, which no store takes
    except (msgspec.ValidationError, UnicodeError, orjson.JSONEncodeError):
        raise RefusedMessage("no message of Celery") from None
    if envelope.content_type != (SIGNED if settings.message_key_file else PLAIN):
        raise RefusedMessage("another content type")
    if "compression" in envelope.headers:
        raise RefusedMessage("compressed")
    message["headers"] = (_of_task if of_task else _of_control)(envelope.headers, settings)
    return dict(message)


def _of_control(headers: dict[str, Any], _: Settings) -> dict[str, Any]:
    try:
        msgspec.convert(headers, _ControlHeaders)
    except msgspec.ValidationError:
        raise RefusedMessage("no headers of Celery") from None
    return {name: headers[name] for name in _ControlHeaders.__struct_fields__ if name in headers}


def _of_task(headers: dict[str, Any], settings: Settings) -> dict[str, Any]:
    try:
        known = msgspec.convert(headers, _TaskHeaders)
    except msgspec.ValidationError:
        raise RefusedMessage("no headers of a task") from None
    # A message that is held for longer is given to another worker meanwhile, and runs more than once.
    _check_moment(known.eta, timedelta(seconds=settings.broker_visibility_timeout_s))
    _check_moment(known.expires, _MAX_YEARS)
    kept = {name: value for name, value in headers.items() if name in _KEPT or name.startswith(_OURS)}
    # Workers tell all who listen what its sender made of the arguments: by whatever client, in whatever words.
    return kept | {name: redact_text(kept[name][:SHOWN_CHARACTERS]) for name in _SHOWN if kept.get(name)}


def _check_moment(said: str | None, at_most: timedelta) -> None:
    if said is None:
        return
    try:
        moment = datetime.fromisoformat(said)
        ahead = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.now(UTC)
    except (ValueError, OverflowError):
        raise RefusedMessage("no time") from None
    if not -_MAX_YEARS < ahead <= at_most:
        raise RefusedMessage("a time too far away")
