"""LangGraph's PostgresSaver as its users hold it: a checkpoint a `put`, each agent's state a channel of its own."""

from functools import lru_cache
from typing import Any

import orjson
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg import Connection
from psycopg.rows import dict_row
from sqlalchemy import make_url

from benchmarks.clients import Place
from benchmarks.desk import Desk
from benchmarks.states import agent_state

_DATABASE = "langgraph"
_prepared: list[tuple[Any, ...]] = []
# thread -> channel -> version: a channel that did not change keeps its version, and its blob.
_versions: dict[str, dict[str, str]] = {}


@lru_cache(maxsize=1)
def saver(place: Place) -> PostgresSaver:
    """Return this process's saver on the bench's own Postgres."""
    url = make_url(place[0]).set(database=_DATABASE, drivername="postgresql").render_as_string(hide_password=False)
    connection: Any = Connection.connect(url, autocommit=True, prepare_threshold=0, row_factory=dict_row)
    return PostgresSaver(connection)


def set_up(desk: Desk, place: Place) -> None:
    """Make its tables, in a database of their own on the same server: two of their names are ours too."""
    desk.postgres.ensure_database(_DATABASE)
    saver(place).setup()


def prepare(_place: Place, share: tuple[list[str], list[str], list[str], int, int]) -> None:
    """Make ready what the next `put_prepared` stores: threads, channels, those that changed, bytes of each, seed."""
    threads, channels, changed, size_bytes, seed = share
    _prepared.clear()
    for number, thread in enumerate(threads):
        values = {name: orjson.loads(agent_state(name, size_bytes, seed + number)) for name in channels}
        held = _versions.setdefault(thread, {})
        held |= dict.fromkeys(changed, f"{seed:032}.{number}")
        checkpoint = empty_checkpoint() | {"channel_values": values, "channel_versions": dict(held)}
        config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
        metadata = {"source": "loop", "step": seed}
        _prepared.append((config, checkpoint, metadata, {name: held[name] for name in changed}))


def put_prepared(place: Place, _share: object) -> None:
    """Store them, one after the other."""
    for arguments in _prepared:
        saver(place).put(*arguments)


def get_all(place: Place, threads: list[str]) -> None:
    """Read the latest state of each."""
    for thread in threads:
        found = saver(place).get_tuple({"configurable": {"thread_id": thread, "checkpoint_ns": ""}})
        if found is None or not found.checkpoint["channel_values"]:
            raise RuntimeError(thread)


def stored_bytes(place: Place, thread: str) -> int:
    """Return the bytes of a thread's blobs."""
    statement = "SELECT coalesce(sum(octet_length(blob)), 0) AS n FROM checkpoint_blobs WHERE thread_id = %s"
    connection: Any = saver(place).conn
    with connection.cursor() as cursor:
        cursor.execute(statement, (thread,))
        return int(cursor.fetchone()["n"])
