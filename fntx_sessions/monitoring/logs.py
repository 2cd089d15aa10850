"""Logs: a constant event name and fields, JSON or for people, secrets left out, every library's lines included."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from fntx_sessions import traces
from fntx_sessions.printable import printable
from fntx_sessions.settings import Settings

_HIDDEN_WORD = r"(?:token|ticket|secret|password|passwd|authorization|api_?key|private_?key|credential)"
_SECRET_KEY = re.compile(_HIDDEN_WORD, re.IGNORECASE)
# Ids of tokens are for the audit: they open nothing.
_PUBLIC_KEYS = frozenset({"token_id"})
# user:password@ in a URL, and anything shaped like a JWT, wherever a library writes it.
_URL_PASSWORD = re.compile(r"(?P<start>[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s/@]+@", re.IGNORECASE)
_PAIR = re.compile(
    rf"""(?P<start>['"]?[\w-]*{_HIDDEN_WORD}[\w-]*['"]?\s*[:=]\s*)(?P<quote>['"]).*?(?P=quote)""",
    re.IGNORECASE,
)
_JWT = re.compile(r"\beyJ[\w-]{10,}\.[\w-]+\.[\w-]*")
HIDDEN = "***"
# Where redaction stops looking: deeper values are hidden whole.
_DEPTH = 6

# They repeat at INFO what our own lines say, for every task.
_QUIET = (
    "celery.app.trace",
    "celery.beat",
    "celery.worker.request",
    "celery.worker.strategy",
    "kombu",
    "alembic.runtime.plugins",
)


def configure_logging(settings: Settings) -> None:
    """Send structlog and stdlib logging to stderr in one form; calling it again replaces the earlier set-up."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _name_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
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


def redact(value: Any, depth: int = _DEPTH) -> Any:
    """Return `value` with what looks secret by its key or its shape replaced by ``***``; the original is untouched."""
    if isinstance(value, str):
        return _JWT.sub(HIDDEN, _URL_PASSWORD.sub(rf"\g<start>{HIDDEN}@", value))
    if depth == 0 and isinstance(value, Mapping | list | tuple):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: HIDDEN if is_secret(key) else redact(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item, depth - 1) for item in value]
    return value


def redact_text(text: str) -> str:
    """Return the repr of arguments, as a stranger's Celery wrote it, without the values of fields that look secret."""
    return str(redact(_PAIR.sub(rf"\g<start>'{HIDDEN}'", text)))


def is_secret(key: object) -> bool:
    """Tell whether a field of this name holds something that must not be seen."""
    return isinstance(key, str) and key not in _PUBLIC_KEYS and _SECRET_KEY.search(key) is not None


def _name_trace(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Say which trace a line belongs to, as the second part of `traceparent` names it."""
    trace = traces.current()
    return event if trace is None else {**event, "trace_id": trace.split("-")[1]}


def _redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    # structlog's own fields carry objects, not facts; the text of a traceback is among the rest by now.
    return {key: value if key.startswith("_") else _field(key, value) for key, value in event.items()}


def _printable_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    # JSON escapes what a terminal would obey; here it would clear the screen that somebody watches.
    return {key: _shown(value) for key, value in event.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    return value if value is None or isinstance(value, bool | int | float) else printable(repr(value))


def _field(key: str, value: Any) -> Any:
    return HIDDEN if is_secret(key) else redact(value)


def _formatter(settings: Settings, shared: list[Processor]) -> logging.Formatter:
    people = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    if people:
        last: list[Processor] = [_printable_event, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    else:
        last = [structlog.processors.JSONRenderer(default=str)]
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
