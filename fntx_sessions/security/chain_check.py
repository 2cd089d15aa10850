"""Whether a chain of audit rows holds, and which row it is where it does not. In bounded memory, however long it is."""

import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.security.audit import chain_hash

# The secret of a chain key by its id; raises IntegrityError where there is no such key, Unavailable where none can say.
KeyOf = Callable[[str], bytes]
Row = Mapping[str, Any]
# So many problems are told one by one: a chain with more is lost, and its list is no use to anybody.
PROBLEMS_MAX = 50
# How far from where it stands a row is looked for by its number.
_MOVED_MAX = 64
_UNKNOWN = "was changed after it was written, or was not written by this service"


def verify_chain(
    rows: Iterable[Row],
    key_of: KeyOf,
    *,
    head: bytes | None = None,
    head_seq: int | None = None,
    after: Row | None = None,
) -> list[str]:
    """Return one sentence per problem of a chain's rows, ordered by `seq`; empty when it holds.

    `head` is the hash kept beside the rows: with it, rows cut off the end are seen too, and with its
    number `head_seq` it is said which. `after`: the row before the
    first, where these are not all; it is taken at its word.
    """
    check = ChainCheck(key_of, after)
    for row in rows:
        check.see(row)
    if head is not None:
        check.see_head(head, head_seq)
    return check.problems()


class ChainCheck:
    """Sees a chain's rows one by one, in the order of their `seq`.

    keyless_to: the last row that names no key, 0 when all do. Nothing but an anchor speaks for those.
    """

    def __init__(self, key_of: KeyOf, after: Row | None = None) -> None:
        self._key_of = key_of
        self._last = None if after is None else bytes(after["hash"])
        self.seq = 0 if after is None else int(after["seq"])
        self.keyless_to = 0
        self._keyed = after is not None and after.get("key_id") is not None
        self._suspect: str | None = None
        self._before_suspect: bytes | None = None
        self._problems: list[str] = []
        self._more = 0

    def see(self, row: Row) -> None:
        """Compare a row with those before it."""
        seq = int(row["seq"])
        self._see_gap(seq)
        previous = _bytes(row["previous"])
        if self._suspect is not None:
            self._judge_suspect(follows_it=previous == self._last, skips_it=previous == self._before_suspect)
        elif previous != self._last and seq == self.seq + 1:
            self._found(f"row {seq} does not follow the row before it")
        self._see_key(row, seq)
        problem = self._content_problem(row, seq)
        # Whether it was put between two others shows at the next one.
        self._suspect, self._before_suspect = problem, self._last
        self._last, self.seq = bytes(row["hash"]), seq

    def see_head(self, head: bytes | None, seq: int | None = None) -> None:
        """Compare the chain's end with the head that is kept beside it, and the head's number where it is known."""
        found = None if head is None else bytes(head)
        if self._suspect is not None:
            self._judge_suspect(follows_it=found == self._last, skips_it=found == self._before_suspect)
            if found == self._before_suspect:
                return
        if seq is not None and seq > self.seq:
            cut = "row" if seq == self.seq + 1 else f"rows {self.seq + 1} to"
            self._found(f"{cut} {seq} cut off the end: the chain ends at row {self.seq}, its head is of row {seq}")
        elif seq is not None and seq < self.seq:
            more = f"row {self.seq} stands" if seq + 1 == self.seq else f"rows {seq + 1} to {self.seq} stand"
            self._found(f"{more} after the chain's head, which is of row {seq}: inserted")
        elif found != self._last:
            self._found(f"the chain ends at row {self.seq}, but its head is of another row")

    def note(self, problem: str) -> None:
        """Take up a problem that something else than the rows shows."""
        self._found(problem)

    def problems(self) -> list[str]:
        """Return what was found; no row is seen after it."""
        self._settle()
        return [*self._problems, f"and {self._more} more"] if self._more else [*self._problems]

    def _see_gap(self, seq: int) -> None:
        if seq > self.seq + 1:
            lost = f"row {self.seq + 1}" if seq == self.seq + 2 else f"rows {self.seq + 1} to {seq - 1}"
            self._found(f"{lost} missing before row {seq}: rows were removed or reordered")
            self._settle()
        elif seq <= self.seq:
            self._found(f"row {seq} stands after row {self.seq}: rows were inserted or reordered")
            self._settle()

    def _see_key(self, row: Row, seq: int) -> None:
        if row.get("key_id") is not None:
            self._keyed = True
        elif self._keyed:
            self._found(f"row {seq} names no key, though rows before it do: it was inserted or changed")
        else:
            self.keyless_to = seq

    def _content_problem(self, row: Row, seq: int) -> str | None:
        try:
            key = None if row.get("key_id") is None else self._key_of(str(row["key_id"]))
        except IntegrityError as error:
            return f"row {seq} cannot be verified: {error}"
        if _holds(row, key):
            return None
        if self._more or len(self._problems) >= PROBLEMS_MAX:
            return f"row {seq} {_UNKNOWN}"
        was = _moved_from(row, key)
        return f"row {seq} {_UNKNOWN}" if was is None else f"row {seq} was written as row {was}: rows were reordered"

    def _judge_suspect(self, *, follows_it: bool, skips_it: bool) -> None:
        """Say what became of the last row: one that the next does not know of never was in the chain."""
        if skips_it and not follows_it and self._suspect and self._suspect.endswith(_UNKNOWN):
            self._suspect = f"row {self.seq} was inserted: what comes after it follows row {self.seq - 1}"
        self._settle()

    def _settle(self) -> None:
        if self._suspect is not None:
            self._found(self._suspect)
            self._suspect = None

    def _found(self, problem: str) -> None:
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.append(problem)
        else:
            self._more += 1


def _holds(row: Row, key: bytes | None) -> bool:
    return hmac.compare_digest(chain_hash(row["previous"], row, key), bytes(row["hash"]))


def _moved_from(row: Row, key: bytes | None) -> int | None:
    """Return under which number near its own the row holds, None where under none."""
    seq = int(row["seq"])
    near = (number for away in range(1, _MOVED_MAX) for number in (seq - away, seq + away) if number > 0)
    return next((number for number in near if _holds({**row, "seq": number}, key)), None)


def _bytes(stored: bytes | memoryview | None) -> bytes | None:
    return None if stored is None else bytes(stored)
