"""Logs: a constant event name and fields, JSON or for people, secrets left out, every library's lines included."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any

import structlog
from structlog.typing import Processor

from fntx_sessions import traces
from fntx_sessions.printable import printable
from fntx_sessions.security.known_secrets import hide
from fntx_sessions.settings import Settings

# Short words only where they are words: `auth` hides, `author` does not. Ids of tokens are for the audit.
_HIDDEN_WORD = (
    r"(?:token(?!_id\b)|ticket|secret|password|passwd|passphrase|authorization|api_?key|private_?key|access_?key"
    r"|credential|(?<![a-z])(?:pass|pwd|dsn|auth|jwt|bearer|cookie)(?![a-z]))"
)
_SECRET_KEY = re.compile(_HIDDEN_WORD, re.IGNORECASE)
# user:password@ in a URL (a password may hold @ and /), a pair of name and value, and anything shaped like a JWT,
# wherever a library writes it. All that repeats here ends somewhere: texts are as long as a forger likes.
_URL_PASSWORD = re.compile(r"(?P<start>://[^\s:/@]{0,200}+:)[^\s'\"]{1,500}@")
_PAIR = re.compile(
    rf"""(?P<start>{_HIDDEN_WORD}[\w-]{{0,40}}+[\\'"]{{0,4}}+\s{{0,4}}+[:=]\s{{0,4}}+(?:(?:bearer|basic)\s{{1,4}})?)"""
    r"""(?!\*\*\*)(?P<value>'(?:[^'\\]|\\.)*+'?|"(?:[^"\\]|\\.)*+"?|\\+['"][^'"\\]*+|[\[({][^\])}]*+[\])}]?|[^\s'",;&)}\]]++)""",
    re.IGNORECASE | re.DOTALL,
)
_JWT = re.compile(r"\beyJ[\w-]{10,}\.[\w-]+\.[\w-]*")
# As HTTP has them, wherever they stand; `basic` is a word, so that after it only what looks like base64 is hidden.
_BEARER = re.compile(
    r"\b(?P<start>(?:[Bb]earer|BEARER)\s{1,4}|(?:[Bb]asic|BASIC)\s{1,4}(?=[\w+/]{0,200}(?:[\d=]|[a-z][A-Z])))"
    r"[^\s'\",;&)}\]\\]{6,}"
)
HIDDEN = "***"
# Where redaction stops looking: deeper values are hidden whole.
_DEPTH = 6
# Longer texts lose their middle: a traceback says most at its end, a message of anybody's is of any length.
_HEAD, _TAIL = 4000, 8000
_REMEMBERED_CHARACTERS = 64

# They repeat at INFO what our own lines say, for every task.
_QUIET = (
    "celery.app.trace",
    "celery.beat",
    "celery.worker.request",
    "celery.worker.strategy",
    "kombu",
    "alembic",
)


def configure_logging(settings: Settings) -> None:
    """Send structlog and stdlib logging to stderr in one form; calling it again replaces the earlier set-up."""
    shared = _shared()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    _replace_root_handler(_formatter(settings, shared), settings.log_level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _shared() -> list[Processor]:
    """Return what every line goes through, ours and the libraries'."""
    return [
        structlog.contextvars.merge_contextvars,
        _name_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def redact(value: Any, depth: int = _DEPTH) -> Any:
    """Return `value` with what looks secret by its key or its shape replaced by ``***``; the original is untouched."""
    if isinstance(value, str):
        return _redacted(hide(value))
    if isinstance(value, bytes | bytearray):
        return redact(value.decode(errors="backslashreplace"))
    if depth == 0 and isinstance(value, Mapping | list | tuple | set | frozenset):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: HIDDEN if is_secret(key) else redact(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, depth - 1) for item in value]
    return value


def _redacted(text: str) -> str:
    # Most of what every command logs, ids and names, lacks what each of these cannot be without: a search saved each.
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\g<start>{HIDDEN}@", text)
    if ":" in text or "=" in text:
        text = _PAIR.sub(_hidden_pair, text)
    if len(text.split(maxsplit=1)) > 1:
        text = _BEARER.sub(rf"\g<start>{HIDDEN}", text)
    return _JWT.sub(HIDDEN, text) if "eyJ" in text else text


def redact_text(text: str) -> str:
    """Return the repr of arguments, as a stranger's Celery wrote it, without the values of fields that look secret."""
    return str(redact(text))


def _hidden_pair(found: re.Match[str]) -> str:
    quote = found["value"][0] if found["value"][0] in "'\"" else ""
    return f"{found['start']}{quote}{HIDDEN}{quote}"


def is_secret(key: object) -> bool:
    """Tell whether a field of this name holds something that must not be seen."""
    if not isinstance(key, str):
        return False
    # Names of fields are few and short; long ones are strangers', and are not kept.
    return _names_secret(key) if len(key) <= _REMEMBERED_CHARACTERS else _SECRET_KEY.search(key) is not None


@lru_cache(maxsize=1024)
def _names_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def _name_trace(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Say which trace a line belongs to, as the second part of `traceparent` names it."""
    trace = traces.current()
    return event if trace is None else {**event, "trace_id": trace.split("-")[1]}


def _redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    # structlog's own fields carry objects, not facts; the text of a traceback is among the rest by now.
    return {key: value if key.startswith("_") else _field(key, value) for key, value in event.items()}


def _printable_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    # JSON escapes what a terminal would obey; here it would clear the screen that somebody watches.
    return {printable(key): _shown(value) for key, value in event.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    return value if value is None or isinstance(value, bool | int | float) else printable(redact(repr(value)))


def _field(key: str, value: Any) -> Any:
    return HIDDEN if is_secret(key) else redact(_cut(hide(value)) if isinstance(value, str) else value)


def _cut(text: str) -> str:
    """Return a text without its middle, where it is long; what follows begins with a line, so that no pair is torn."""
    if len(text) <= _HEAD + _TAIL:
        return text
    head, tail = text[:_HEAD], text[-_TAIL:].partition("\n")[2]
    return f"{head} ... {len(text) - len(head) - len(tail)} characters left out ...\n{tail}"


def _formatter(settings: Settings, shared: list[Processor]) -> logging.Formatter:
    people = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    if people:
        last: list[Processor] = [_printable_event, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    else:
        last = [structlog.processors.JSONRenderer(default=lambda value: redact(str(value)))]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _redact_event,
            *last,
        ],
    )


def _replace_root_handler(formatter: logging.Formatter, level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
