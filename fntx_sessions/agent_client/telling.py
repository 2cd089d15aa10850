"""What an agent tells, made into bytes and checked here as the desk checks it: what is wrong never leaves the agent."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from fntx_sessions.agents.told import MODELS
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.state.parts import MARKET, TRADING, agent_part, checked_report

Part = BaseModel | Mapping[str, Any] | bytes
Parts = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Record:
    """One trade, decision or error; told twice with the same bytes, it counts once."""

    kind: str
    record_id: str
    data: bytes


def parts_of(agent: str, max_bytes: int, state: Part | None, market: Part | None, trading: Part | None) -> Parts:
    """Return the bytes of what is told, by part; raises InvalidArgument naming the part and what is wrong with it.

    state: as a mapping, `agent_id` and `last_update` are filled in where they are left out.
    """
    if isinstance(state, Mapping):
        state = {"agent_id": agent, "last_update": datetime.now(UTC)} | dict(state)
    told = {agent_part(agent): state, MARKET: market, TRADING: trading}
    return {
        name: checked_report(name, _bytes(name, part), max_bytes) for name, part in told.items() if part is not None
    }


def records_of(kind: str, told: Iterable[BaseModel | Mapping[str, Any]], max_bytes: int) -> Iterator[Record]:
    """Yield records of one kind (`trade`, `decision`, `error`); raises InvalidArgument naming what is wrong."""
    model, id_field = MODELS[kind]
    for number, one in enumerate(told):
        try:
            record = one if isinstance(one, model) else model.model_validate(one)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(step) for step in (f"{kind} {number}", *first["loc"]))
            raise InvalidArgument(where, first["msg"], f"Tell it as {model.__name__}.") from None
        data = _bytes(f"{kind} {number}", record)
        if len(data) > max_bytes:
            raise InvalidArgument(f"{kind} {number}", f"{len(data)} bytes", f"Keep it within {max_bytes} bytes.")
        yield Record(kind, str(getattr(record, id_field)), data)


def _bytes(name: str, told: Part) -> bytes:
    """Return JSON; numbers that are not finite are refused here, where other writers would make them null."""
    if isinstance(told, bytes):
        return told
    try:
        return json.dumps(to_jsonable_python(told, inf_nan_mode="constants"), allow_nan=False).encode()
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise InvalidArgument(
            name, f"cannot be sent as JSON: {error}", "Use plain values and finite numbers."
        ) from None
