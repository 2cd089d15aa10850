"""What is remembered: slices of memory, what kind they are of, how much they matter, and context that is shared."""

import json
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Annotated, Any
from uuid import UUID

import orjson
from pydantic import BeforeValidator, Field, PlainSerializer
from pydantic_core import to_jsonable_python

from fntx_sessions.parsing import refuse_unstorable
from fntx_sessions.values import Model, Time

_TOO_DEEP = "is nested too deep"
AgentName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f{}]+$")]
Tag = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]


class MemoryType(StrEnum):
    """What a slice is about."""

    EXECUTION = "execution"
    MARKET = "market"
    STRATEGY = "strategy"
    RISK = "risk"
    LEARNING = "learning"
    CONTEXT = "context"


class MemoryImportance(IntEnum):
    """How much a slice matters; JSON has the name in small letters."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


def _importance(value: Any) -> Any:
    """Return the importance of a name, in whatever letters; anything else as it is."""
    return MemoryImportance.__members__.get(value.upper(), value) if isinstance(value, str) else value


def plain_object(value: Any) -> Any:
    """Return an object of JSON types alone: times as ISO text, ids as text, money as a number, models as objects.

    Raises ValueError for what JSON cannot say, InvalidArgument for what cannot be stored: NaN, NUL, half characters.
    """
    try:
        plain = json.loads(json.dumps(value, default=_plain))
        refuse_unstorable(plain, "content")
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot be said in JSON: {error}") from None
    try:
        orjson.dumps(plain)
    except orjson.JSONEncodeError:
        raise ValueError(_TOO_DEEP) from None
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("bytes are no JSON")
    return float(value) if isinstance(value, Decimal) else to_jsonable_python(value)


Importance = Annotated[
    MemoryImportance,
    BeforeValidator(_importance),
    PlainSerializer(lambda value: value.name.lower(), return_type=str, when_used="json"),
]
PlainObject = Annotated[dict[str, Any], BeforeValidator(plain_object)]
_IN_ORDER = ("memory_type", "content", "importance")


class MemorySlice(Model):
    """One thing to remember. content: plain JSON once it is here, whatever models and times it was made of.

    session_id: whose it is; it goes with that session when that is shredded. tags: found by search before all else.
    expires_at: when to forget it; None: after `memory_keep_s`. Type, content and importance may be given by position.
    """

    memory_type: MemoryType
    content: PlainObject
    importance: Importance = MemoryImportance.MEDIUM
    session_id: UUID | None = None
    tags: list[Tag] = Field(default=[], max_length=20)
    expires_at: Time | None = None

    def __init__(self, /, *given: Any, **named: Any) -> None:
        """Take type, content and importance by position or by name, all else by name; raises ValidationError."""
        if len(given) > len(_IN_ORDER) or set(named) & set(_IN_ORDER[: len(given)]):
            msg = f"MemorySlice takes {', '.join(_IN_ORDER)} by position, each once, and all else by name"
            raise TypeError(msg)
        super().__init__(**dict(zip(_IN_ORDER, given, strict=False)), **named)


class StoredMemory(MemorySlice):
    """A slice as a memory system holds it. rank: how well it answers a search, None where nothing was searched for."""

    memory_id: UUID
    agent: str
    created_at: Time
    rank: float | None = None

    def slice(self) -> MemorySlice:
        """Return what was given to be kept."""
        return MemorySlice(**{name: getattr(self, name) for name in MemorySlice.model_fields})


class SharedContext(Model):
    """What an agent was told. entry_id: its place in the agent's stream; about: what it repeats if it comes again."""

    entry_id: str
    sender: str
    at: Time
    context: dict[str, Any]
    about: str = ""
