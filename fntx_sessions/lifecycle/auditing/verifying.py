"""Holding the audit's rows against themselves, against the heads kept beside them, and against the anchors."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import NotFound, Retryable
from fntx_sessions.lifecycle.auditing import sql
from fntx_sessions.lifecycle.auditing.stream import Claim
from fntx_sessions.lifecycle.auditing.witnesses import Claims, Witnesses
from fntx_sessions.lifecycle.desk_audit import DESK
from fntx_sessions.security.chain_check import ChainCheck
from fntx_sessions.settings import Settings
from fntx_sessions.state.archive import object_name
from fntx_sessions.state.chain_key import ChainKeys
from fntx_sessions.state.objects.base import ObjectStore

Row = dict[str, Any]
_CHAINS = 5000  # held against the anchors together
_ROWS = 5000  # read together
_HIGHEST = UUID(int=2**128 - 1)
NO_ANCHORS = "there are no anchors yet: that no row was cut off, and no whole chain, rests on Postgres alone"


@dataclass(slots=True)
class Verified:
    """What was looked at and found. problems: by chain, what does not hold; unproven: what nothing speaks for.

    anchors: how many there are; unasked: why they could not be compared, empty where they were. about_anchors: what is
    wrong with them themselves.
    """

    chains: int = 0
    rows: int = 0
    anchors: int = 0
    problems: dict[UUID, list[str]] = field(default_factory=dict)
    unproven: dict[UUID, str] = field(default_factory=dict)
    about_anchors: list[str] = field(default_factory=list)
    unasked: str = ""

    @property
    def broken(self) -> bool:
        """Tell whether anything was found that cannot be."""
        return bool(self.problems or self.about_anchors)

    @property
    def whole(self) -> bool:
        """Tell whether everything was compared and holds."""
        return not self.broken and not self.unproven and not self.unasked


def verify_one(engine: Engine, settings: Settings, store: ObjectStore, session_id: UUID) -> Verified:
    """Check every row of one chain, `DESK` for the desk's own, as it stands now.

    A cold store that is out of reach is said and stops nothing. Raises NotFound (neither rows nor anchors know of such
    a chain), Busy and Unavailable.
    """
    verifier = Verifier(engine, settings, store)
    before = UUID(int=session_id.int - 1) if session_id.int else None
    verifier.check(before, session_id)
    found = verifier.done()
    if found.chains == 0:
        raise NotFound("session", str(session_id), "No row, head or anchor has its id. See `fntx ls`.")
    return found


def verify_all(engine: Engine, settings: Settings, store: ObjectStore) -> Verified:
    """Check every chain, the desk's own too; the more rows, the slower, in bounded memory.

    Raises Busy and Unavailable.
    """
    verifier = Verifier(engine, settings, store)
    verifier.check(None, DESK)
    after = DESK
    while after != _HIGHEST:
        with transaction(engine) as connection:
            end = connection.execute(sql.PAGE_END, {"after": after, "many": _CHAINS - 1}).scalar_one_or_none()
        verifier.check(after, end or _HIGHEST)
        after = end or _HIGHEST
    return verifier.done()


class Verifier:
    """Checks chains, range after range of their ids."""

    def __init__(self, engine: Engine, settings: Settings, store: ObjectStore) -> None:
        self._engine = engine
        self._store = store
        self._keys = ChainKeys(engine, settings, store)
        self._found = Verified()
        self._witnesses = self._called()

    def check(self, after: UUID | None, upto: UUID) -> None:
        """Check the chains of the ids after one and up to another."""
        low = UUID(int=after.int + 1) if after is not None else DESK
        # Before the rows are read: no anchor may know of a row that we do not see.
        claims, first, others = self._claims(low, upto)
        with transaction(self._engine) as connection:
            connection.execute(sql.MOMENT)
            heads = self._heads(connection, low, upto)
            for session_id, chain in groupby(rows_between(connection, low, upto), lambda row: row["session_id"]):
                head = heads.pop(session_id, None)
                told = [one.pop(session_id, []) for one in (claims, first, others)]
                self._chain(session_id, head, chain, *told)
        for session_id, head in heads.items():
            told = [one.pop(session_id, []) for one in (claims, first, others)]
            self._chain(session_id, head, iter(()), *told)
        for session_id, left in claims.items():
            self._chain(session_id, None, iter(()), left, [], [])

    def done(self) -> Verified:
        """Return what was found."""
        return self._found

    def _called(self) -> Witnesses | None:
        try:
            called = Witnesses(self._engine, self._store, self._keys)
        except Retryable as error:
            self._found.unasked = f"the anchors could not be compared: {error}"
            return None
        self._found.about_anchors, self._found.anchors = called.problems, called.anchors
        told = [] if called.begun or called.problems else [NO_ANCHORS]
        self._found.unasked = "; ".join([*told, *called.unread])
        return called

    def _claims(self, low: UUID, high: UUID) -> list[Claims]:
        """Return what own anchors say, what the very first do, and what those of other keys do."""
        if self._witnesses is None:
            return [{}, {}, {}]
        try:
            asked = self._witnesses
            return [ask(low, high) for ask in (asked.claims, asked.first_claims, asked.claims_of_others)]
        except Retryable as error:
            self._found.unasked = f"the anchors could not be compared: {error}"
            return [{}, {}, {}]

    def _heads(self, connection: Connection, low: UUID, high: UUID) -> dict[UUID, Row]:
        bound = {"after": UUID(int=max(low.int - 1, 0)), "upto": high, "limit": _CHAINS + 1}
        found = rows(connection.execute(sql.DESK_HEAD)) if low == DESK else []
        found += rows(connection.execute(sql.HEADS, bound))
        return {row["session_id"]: row for row in found}

    def _chain(
        self,
        session_id: UUID,
        head: Row | None,
        chain: Iterator[Row],
        claims: list[Claim],
        first: list[Claim],
        others: list[Claim],
    ) -> None:
        check, hashes = ChainCheck(self._keys.rows), dict[int, str]()
        asked = {claim.seq for claim in (*claims, *first, *others)}
        for row in chain:
            check.see(row)
            self._found.rows += 1
            if row["seq"] in asked:
                hashes[row["seq"]] = bytes(row["hash"]).hex()
        if head is None:
            check.note(f"the session is gone; {check.seq} rows of it are left")
        else:
            check.see_head(head["head"], head["seq"])
        self._found.chains += 1
        _compare(check, hashes, [*claims, *self._about_here(session_id, check, hashes, others)])
        if problems := check.problems():
            self._found.problems[session_id] = problems
        elif check.keyless_to and not _proven(check.keyless_to, hashes, first):
            told = "was" if check.keyless_to == 1 else f"to {check.keyless_to} were"
            self._found.unproven[session_id] = f"row 1 {told} written without a key, and no first anchor names them"

    def _about_here(
        self, session_id: UUID, check: ChainCheck, hashes: dict[int, str], others: list[Claim]
    ) -> list[Claim]:
        """Return what anchors of other keys say of this database's chain, though it be not so here.

        Every database has a desk. A session may go on in two databases once its archive was brought to another; but
        what was written without a key was written before any.
        """
        untrue = [one for one in others if hashes.get(one.seq) != one.head] if session_id != DESK else []
        if any(one.seq > check.keyless_to for one in untrue) and self._store.info(object_name(session_id)) is not None:
            return [one for one in untrue if one.seq <= check.keyless_to]
        return untrue


def rows_between(connection: Connection, low: UUID, high: UUID) -> Iterator[Row]:
    """Yield the rows of chains in their order, some at a time."""
    session_id, seq = low, -(2**62)
    while True:
        bound = {"session_id": session_id, "seq": seq, "upto": high, "limit": _ROWS}
        found = rows(connection.execute(sql.ROWS, bound))
        yield from found
        if len(found) < _ROWS:
            return
        session_id, seq = found[-1]["session_id"], found[-1]["seq"]


def _compare(check: ChainCheck, hashes: dict[int, str], claims: list[Claim]) -> None:
    """Note the first row that an anchor names otherwise, and the last that is not there any more."""
    for claim in sorted(claims, key=lambda one: one.seq):
        if claim.seq in hashes and hashes[claim.seq] != claim.head:
            check.note(f"row {claim.seq} is not the one that {claim.anchor} names: rows were cut off or replaced")
            break
    last = max(claims, key=lambda one: one.seq, default=None)
    if last is not None and last.seq > check.seq:
        rows_told = f"row {last.seq} is" if last.seq == check.seq + 1 else f"rows {check.seq + 1} to {last.seq} are"
        check.note(f"{rows_told} gone from the end: {last.anchor} names row {last.seq}")


def _proven(keyless_to: int, hashes: dict[int, str], first: list[Claim]) -> bool:
    return any(claim.seq >= keyless_to and hashes.get(claim.seq) == claim.head for claim in first)
