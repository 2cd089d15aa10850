"""Evidence: what an agent reported and no save could take, kept aside sealed; the last good save stays current."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from psycopg2 import Binary
from sqlalchemy import Connection, Engine, bindparam, delete, select, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.database.models import invalid_states
from fntx_sessions.exceptions import FntxError, InvalidArgument
from fntx_sessions.schemas import Severity
from fntx_sessions.settings import Settings
from fntx_sessions.state.codec import Codec, Label
from fntx_sessions.state.data_keys import seal_of
from fntx_sessions.state.event_rows import StateEvent, add_events
from fntx_sessions.state.live import LiveCut

KIND = "invalid"

# Once a revision, however often it is looked at, and whoever looks.
_KEEP = text("""
INSERT INTO invalid_states (session_id, timestamp, epoch, revision, problem, blob)
SELECT :session_id, clock_timestamp(), :epoch, :revision, :problem, :blob
WHERE EXISTS (SELECT FROM sessions WHERE session_id = :session_id) AND NOT EXISTS (
  SELECT FROM invalid_states WHERE session_id = :session_id AND epoch = :epoch AND revision = :revision)
""")
_THIN = text("""
DELETE FROM invalid_states WHERE session_id = :session_id AND timestamp < (
  SELECT min(timestamp) FROM (
    SELECT timestamp FROM invalid_states WHERE session_id = :session_id ORDER BY timestamp DESC LIMIT :most) newest)
""")
_NONE_KEPT = delete(invalid_states).where(invalid_states.c.session_id == bindparam("session_id"))
_READ = (
    select(invalid_states)
    .where(invalid_states.c.session_id == bindparam("session_id"))
    .order_by(invalid_states.c.timestamp.desc())
)


@dataclass(frozen=True, slots=True)
class Invalid:
    """A cut that could not be kept, and why: the problem names the part."""

    cut: LiveCut
    problem: InvalidArgument

    @property
    def once(self) -> str:
        """What it is told once for."""
        return f"{self.cut.epoch}/{self.cut.revision}"


def keep_invalid(engine: Engine, settings: Settings, found: Sequence[Invalid]) -> None:
    """Keep evidence of invalid states and say so in an event each, once a revision; raises Unavailable.

    The newest `invalid_states_max` of a session stay. A part larger than `max_part_bytes` is cut off there.
    """
    if not found:
        return
    codec = Codec(seal_of(settings, engine))
    with transaction(engine) as connection:
        for invalid in found:
            _keep(connection, codec, settings, invalid)
        add_events(connection, [_event(invalid) for invalid in found])


def read_invalid(engine: Engine, settings: Settings, session_id: UUID) -> list[dict[str, Any]]:
    """Return the evidence, newest first: timestamp, epoch, revision, problem, and parts as raw bytes by name."""
    codec = Codec(seal_of(settings, engine))
    with transaction(engine) as connection:
        rows = connection.execute(_READ, {"session_id": session_id}).mappings().all()
    return [
        {**{name: row[name] for name in ("timestamp", "epoch", "revision", "problem")}, "parts": _opened(codec, row)}
        for row in rows
    ]


def _keep(connection: Connection, codec: Codec, settings: Settings, invalid: Invalid) -> None:
    cut, most = invalid.cut, settings.invalid_states_max
    if not most:
        connection.execute(_NONE_KEPT, {"session_id": cut.session_id})
        return
    try:
        blob = codec.encode(
            _evidence(invalid, settings.max_part_bytes), _label(cut.session_id, cut.epoch, cut.revision)
        )
    except FntxError:
        return  # a session without a usable key: the event says what was wrong all the same
    values = {"session_id": cut.session_id, "epoch": cut.epoch, "revision": cut.revision}
    connection.execute(_KEEP, {**values, "problem": str(invalid.problem), "blob": Binary(blob)})
    connection.execute(_THIN, {"session_id": cut.session_id, "most": most})


def _evidence(invalid: Invalid, max_bytes: int) -> bytes:
    """Return the part that is wrong, and as many of the others as fit with it."""
    parts, first = invalid.cut.parts, str(invalid.problem.named()["field"])
    kept: dict[str, bytes] = {}
    for name in sorted(parts, key=lambda name: name != first):
        if not kept or sum(map(len, kept.values())) + len(parts[name]) <= max_bytes:
            kept[name] = parts[name][:max_bytes]
    return msgspec.msgpack.encode(kept)


def _opened(codec: Codec, row: Any) -> dict[str, bytes]:
    plain = codec.decode(bytes(row["blob"]), _label(row["session_id"], row["epoch"], row["revision"]))
    return msgspec.msgpack.decode(plain, type=dict[str, bytes])


def _label(session_id: UUID, epoch: int, revision: int) -> Label:
    return Label(session_id, KIND, f"{epoch}/{revision}")


def _event(invalid: Invalid) -> StateEvent:
    part = str(invalid.problem.named()["field"])
    description = (
        f"state of revision {invalid.cut.revision} cannot be saved: {invalid.problem} The last good save stays "
        "current, what was reported is kept as evidence; correct the agent that reports it."
    )
    data = {"epoch": invalid.cut.epoch, "revision": invalid.cut.revision, "part": part[:200]}
    return StateEvent(
        invalid.cut.session_id, "invalid_state", invalid.once, description[:2000], Severity.ERROR, data,
        requires_action=True,
    )  # fmt: skip
