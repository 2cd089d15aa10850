"""Writing anchors: the ends of the chains that grew since the last, and now and then those of all.

Each is created under the next number and never overwritten: of two writers at once one finds the number taken, and
lets the other go on. One that was killed between writing and noting leaves an anchor that the next run takes in. A full
run first holds what earlier anchors said against the rows, so that nobody need look further back than that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Literal
from uuid import UUID

import structlog
from sqlalchemy import Engine

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.lifecycle.auditing import sql
from fntx_sessions.lifecycle.auditing.anchor import Anchor, End, decoded, digest, encoded, name_of
from fntx_sessions.lifecycle.auditing.stream import Reader, survey
from fntx_sessions.settings import Settings
from fntx_sessions.state.chain_key import ChainKeys, chain_key, owner_of
from fntx_sessions.state.cold_keys import read_cold_key, write_cold_key
from fntx_sessions.state.key_rows import read_keys
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.testing import failpoint

CHAINS_MAX = 20_000  # in one anchor: about 2 MB
_HIGHEST = UUID(int=2**128 - 1)
_LOWEST = UUID(int=0)
# Longer than any command's transaction lasts: its rows bear a time from before they can be seen.
_UNSEEN = timedelta(minutes=10)
_BROKEN_MAX = 1000
_COMPARED = 2000
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """Up to where there are anchors that can be believed. now: by Postgres' clock; newest_at: None without any."""

    now: datetime
    newest: int = 0
    newest_at: datetime | None = None
    previous: str | None = None


def anchor_due(engine: Engine, settings: Settings, store: ObjectStore) -> int:
    """Write the anchors that are due; return how many. Raises Unavailable: the next run makes up for it."""
    writer = Writer(engine, settings, store)
    if _recent(writer.standing.newest_at, writer.standing.now, settings.audit_anchor_interval_s):
        return 0
    return writer.run()


def _recent(made_at: datetime | None, now: datetime, every_s: float) -> bool:
    """Tell whether nothing is due yet. A moment to come is none that anything may wait for."""
    return made_at is not None and timedelta() <= now - made_at < timedelta(seconds=every_s)


class Writer:
    """Writes one run of anchors."""

    def __init__(self, engine: Engine, settings: Settings, store: ObjectStore) -> None:
        self._engine = engine
        self._settings = settings
        self._store = store
        self._key = chain_key(engine)
        self.standing = self._standing()
        self._number = self.standing.newest + 1
        self._previous = self.standing.previous

    def run(self, *, full: bool = False) -> int:
        """Write a run, a full one where one is due or asked for; return how many anchors. Raises Unavailable."""
        self._keep_key()
        self._catch_up()
        run: Literal["full", "changed"] = "full" if full or self._full_is_due() else "changed"
        broken = self._broken() if run == "full" else []
        first, written, ends = self._number, 0, self._ends(run)
        chains = list(islice(ends, CHAINS_MAX))
        while chains or not written:
            after = list(islice(ends, CHAINS_MAX))
            if not self._write(run, first, chains, broken if not written else [], last=not after):
                break
            written, chains = written + 1, after
        return written

    def _standing(self) -> Standing:
        """Return where the anchors end. A note in Postgres says where to look; only the anchor itself is believed."""
        with transaction(self._engine) as connection:
            now, noted = connection.execute(sql.STANDING, {"key_id": self._key.key_id}).one()
        found = self._believed(noted) if noted else None
        if noted and found is None:
            there = reversed(survey(self._store, self._key.key_id).since)
            found = next((one for part in there if (one := self._believed(part.number))), None)
        if found is None:
            return Standing(now)
        anchor, data = found
        return Standing(now, anchor.number, anchor.made_at, digest(data).hex())

    def _believed(self, number: int) -> tuple[Anchor, bytes] | None:
        data = self._store.read(name := name_of(self._key.key_id, number))
        try:
            return None if data is None else (decoded(name, data, lambda _: self._key.anchors), data)
        except IntegrityError:
            return None

    def _full_is_due(self) -> bool:
        bound = {"key_id": self._key.key_id, "newest": self.standing.newest}
        with transaction(self._engine) as connection:
            noted = connection.execute(sql.LAST_FULL, bound).scalar_one()
        found = self._believed(noted) if noted else None
        if found is None or found[0].run != "full" or not found[0].last:
            return True
        return not _recent(found[0].made_at, self.standing.now, self._settings.audit_full_anchor_interval_s)

    def _keep_key(self) -> None:
        """See to it that whoever takes the key from Postgres does not take it from the anchors."""
        owner = owner_of(self._key.key_id)
        if read_cold_key(self._store, owner) is None and (row := read_keys(self._engine, [owner]).get(owner)):
            write_cold_key(self._engine, self._store, row)

    def _catch_up(self) -> None:
        """Take in anchors that were written and not noted, or whose note is gone."""
        while data := self._store.read(name := name_of(self._key.key_id, self._number)):
            try:
                anchor = decoded(name, data, lambda _: self._key.anchors)
            except IntegrityError as error:
                # It stays as evidence; the next goes on after it.
                _log.error("audit.anchor_forged", problem=str(error))
                anchor = None
            if anchor is not None:
                self._note(anchor, data)
            self._previous = digest(data).hex()
            self._number += 1

    def _ends(self, run: str) -> Iterator[End]:
        """Yield where chains end, the desk's own first."""
        since = (self.standing.newest_at or self.standing.now) - _UNSEEN
        statement = sql.HEADS if run == "full" else sql.CHANGED
        with transaction(self._engine) as connection:
            desk = rows(connection.execute(sql.DESK_HEAD))
        yield from map(_end, (one for one in desk if one["head"] is not None))
        after, more = _LOWEST, True
        while more:
            bound = {"after": after, "upto": _HIGHEST, "limit": CHAINS_MAX, "since": since}
            with transaction(self._engine) as connection:
                page = rows(connection.execute(statement, bound))
            yield from map(_end, page)
            more = len(page) == CHAINS_MAX
            after = page[-1]["session_id"] if page else after

    def _write(
        self, run: Literal["full", "changed"], first: int, chains: list[End], broken: list[str], *, last: bool
    ) -> bool:
        anchor = Anchor(
            number=self._number, made_at=self.standing.now, key_id=self._key.key_id, previous=self._previous,
            run=run, first=first, last=last, chains=chains, broken=broken,
        )  # fmt: skip
        data = encoded(anchor, self._key.anchors)
        if not self._store.create(name_of(self._key.key_id, self._number), data, anchor.metadata()):
            return False
        failpoint("audit.anchor_written")
        self._note(anchor, data)
        self._number, self._previous = self._number + 1, digest(data).hex()
        return True

    def _note(self, anchor: Anchor, data: bytes) -> None:
        bound = {
            "object_name": name_of(anchor.key_id, anchor.number),
            "made_at": anchor.made_at,
            "chains": len(anchor.chains),
            "hash": digest(data),
            "key_id": anchor.key_id,
            "number": anchor.number,
            "ends_full_run": anchor.run == "full" and anchor.last,
            "broken": len(anchor.broken),
        }
        with transaction(self._engine) as connection:
            connection.execute(sql.NOTE, bound)

    def _broken(self) -> list[str]:
        """Return what anchors since the last full run said that is true no more, and what that run had found."""
        stream = survey(self._store, self._key.key_id)
        reader = Reader(self._store, ChainKeys(self._engine, self._settings, self._store).anchors, {})
        found = dict.fromkeys(stream.problems)
        for anchor in reader.anchors(stream.since):
            found |= dict.fromkeys([*anchor.broken, *self._untrue(anchor)])
        found |= reader.problems
        for problem in found:
            _log.error("audit.broken", problem=problem)
        return list(found)[:_BROKEN_MAX]

    def _untrue(self, anchor: Anchor) -> Iterator[str]:
        for at in range(0, len(anchor.chains), _COMPARED):
            ends = anchor.chains[at : at + _COMPARED]
            bound: dict[str, Any] = {
                "ids": [str(end.session_id) for end in ends],
                "seqs": [end.seq for end in ends],
                "heads": [end.head for end in ends],
            }
            with transaction(self._engine) as connection:
                found = connection.execute(sql.UNTRUE, bound).all()
            for row in found:
                what = "is gone" if row.gone else "is another now"
                yield f"{row.session_id}: row {row.seq}, which anchor {anchor.number} names, {what}"


def _end(row: dict[str, Any]) -> End:
    return End(row["session_id"], row["seq"], bytes(row["head"]).hex())
