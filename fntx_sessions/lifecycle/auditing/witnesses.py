"""Whose anchors speak about a database's chains: those of every key it ever had, and those of others that know them."""

from collections.abc import Iterator
from math import inf
from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import FntxError
from fntx_sessions.lifecycle.auditing import sql
from fntx_sessions.lifecycle.auditing.anchor import name_of
from fntx_sessions.lifecycle.auditing.stream import Claim, Reader, Stream, survey_all
from fntx_sessions.state.chain_key import ChainKeys
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.state.own_chain_key import ever_used

Claims = dict[UUID, list[Claim]]


class Witnesses:
    """All anchors there are, each read and proven once.

    problems: what is wrong with those of this database; unread: why others could not be asked. Whose they are, the keys
    tell that this database ever wrote with: to take the key away takes none of its anchors away.
    """

    def __init__(self, engine: Engine, store: ObjectStore, keys: ChainKeys) -> None:
        self._engine = engine
        self._store = store
        self._keys = keys
        self.problems: list[str] = []
        self.unread: list[str] = []
        found, used = survey_all(store), ever_used(engine)
        self._own = {key_id: self._proven(key_id, found.pop(key_id, Stream())) for key_id in sorted(used)}
        self._others = {key_id: self._known(key_id, stream) for key_id, stream in found.items()}
        self._odd_notes()

    @property
    def anchors(self) -> int:
        """How many anchors this database wrote."""
        return sum(stream.newest for stream, _ in self._own.values())

    @property
    def begun(self) -> bool:
        """Tell whether all of its chains were ever named."""
        return any(stream.begun for stream, _ in self._own.values())

    def claims(self, low: UUID, high: UUID) -> Claims:
        """Return what this database's own anchors say of the chains between two ids; raises Unavailable."""
        several = len(self._own) > 1
        asked = ((reader, stream, key_id if several else "") for key_id, (stream, reader) in self._own.items())
        return _merged(reader.claims(stream.since, low, high, _of(key_id)) for reader, stream, key_id in asked)

    def first_claims(self, low: UUID, high: UUID) -> Claims:
        """Return what its very first anchors say, up to the first full run; raises Unavailable."""
        begun = [(stream, reader) for stream, reader in self._own.values() if stream.begun]
        if not begun:
            return {}
        stream, reader = min(begun, key=_made_first)
        return reader.claims(stream.first, low, high)

    def claims_of_others(self, low: UUID, high: UUID) -> Claims:
        """Return what anchors of other keys say, be they of databases beside this one; raises Unavailable."""
        found = (
            reader.claims(stream.since, low, high, _of(key_id)) for key_id, (stream, reader) in self._others.items()
        )
        return _merged(found)

    def _proven(self, key_id: str, stream: Stream) -> tuple[Stream, Reader]:
        since = stream.since[0].number if stream.since else 0
        with transaction(self._engine) as connection:
            notes = {row.number: row for row in connection.execute(sql.NOTED, {"key_id": key_id, "since": since})}
        reader = Reader(self._store, self._keys.anchors, notes)
        reader.prove([*stream.first, *stream.since])
        # One that came after the look at the store is there.
        gone = [one for one in notes if one > stream.newest and self._store.info(name_of(key_id, one)) is None]
        told = [f"anchor {number}, which Postgres noted, is gone from the cold store" for number in gone]
        self.problems += [*stream.problems, *told, *self._told_before(stream, reader), *reader.problems]
        return stream, reader

    def _told_before(self, stream: Stream, reader: Reader) -> list[str]:
        """Return what the last full run found of the anchors before it."""
        begins = next((part for part in stream.since if part.full), None)
        anchor = reader.read(begins) if begins else None
        return [problem for problem in (anchor.broken if anchor else []) if problem not in stream.problems]

    def _known(self, key_id: str, stream: Stream) -> tuple[Stream, Reader]:
        reader = Reader(self._store, self._keys.anchors, {})
        try:
            self._keys.anchors(key_id)
        except FntxError as error:
            self.unread.append(f"anchors of another key could not be read: {error}")
            return Stream(), reader
        reader.prove([*stream.first, *stream.since])
        self.unread += [f"anchors of another database: {problem}" for problem in (*stream.problems, *reader.problems)]
        return stream, reader

    def _odd_notes(self) -> None:
        with transaction(self._engine) as connection:
            found = connection.execute(sql.ODD_NOTES).scalars().all()
        self.problems += [f"Postgres has a note of an anchor {name[:80]!r}, which there cannot be" for name in found]


def _made_first(one: tuple[Stream, Reader]) -> float:
    stream, reader = one
    anchor = reader.read(stream.first[0])
    return anchor.made_at.timestamp() if anchor else inf


def _of(key_id: str) -> str:
    return f" of chain key {key_id}" if key_id else ""


def _merged(found: Iterator[Claims]) -> Claims:
    merged: Claims = {}
    for claims in found:
        for session_id, told in claims.items():
            merged.setdefault(session_id, []).extend(told)
    return merged
