"""The anchors of one chain key as they lie in the cold store: which of them matter, and what they say of whom."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.lifecycle.auditing.anchor import PREFIX, Anchor, decoded, digest, folder_of
from fntx_sessions.state.objects.base import ObjectInfo, ObjectStore

_NAME = re.compile(r"anchors/[0-9a-f]{16}/\d{12}")
_KEPT_ENDS = 100_000  # about 20 MB of anchors are not read twice
_LOWEST, _HIGHEST = UUID(int=0), UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Part:
    """An anchor, by what its name and metadata say. low, high: between which ids its chains are; None: it has none."""

    name: str
    number: int
    full: bool
    first: int
    last: bool
    low: UUID | None
    high: UUID | None


@dataclass(frozen=True, slots=True)
class Claim:
    """What an anchor says: that the row of this number had this hash. anchor: which, in words."""

    seq: int
    head: str
    anchor: str


@dataclass(slots=True)
class Stream:
    """Which anchors there are. first: up to and with the first full run; since: from the last full run on.

    problems: anchors that are missing between others.
    """

    first: list[Part] = field(default_factory=list)
    since: list[Part] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    newest: int = 0

    @property
    def begun(self) -> bool:
        """Tell whether a full run was ever completed."""
        return bool(self.first)

    def see(self, info: ObjectInfo) -> None:
        """Take in the next object by name: an anchor, or what should not lie there."""
        if _NAME.fullmatch(info.name):
            self._take(part_of(info.name, info.metadata))
        else:
            self.problems.append(f"{info.name} lies among the anchors and is none")

    def _take(self, part: Part) -> None:
        if part.number != self.newest + 1:
            self.problems.append(f"anchor {self.newest + 1} is missing from the cold store before {part.name}")
        self.newest = part.number
        self.since.append(part)
        if part.full and part.last:
            self.first = self.first or list(self.since)
            self.since = [one for one in self.since if one.number >= part.first]


def survey(store: ObjectStore, key_id: str) -> Stream:
    """List a key's anchors, in bounded memory however many there are; raises Unavailable."""
    found = Stream()
    for info in store.list(folder_of(key_id)):
        found.see(info)
    return found


def survey_all(store: ObjectStore) -> dict[str, Stream]:
    """List the anchors of every key there is; what is no anchor is told with the key under whose name it lies."""
    found: dict[str, Stream] = {}
    for info in store.list(PREFIX):
        found.setdefault(info.name.split("/")[1], Stream()).see(info)
    return found


class Reader:
    """Reads anchors, and keeps what was wrong with any; `noted` is what Postgres has of them, by number."""

    def __init__(self, store: ObjectStore, key_of: Callable[[str], bytes], noted: Mapping[int, Any]) -> None:
        self._store = store
        self._key_of = key_of
        self._noted = noted
        self._digests: dict[int, str] = {}
        self._spans: dict[int, tuple[UUID, UUID]] = {}
        self._kept: dict[Part, Anchor] = {}
        self._room = _KEPT_ENDS
        self.problems: dict[str, None] = {}

    def prove(self, parts: Iterable[Part]) -> None:
        """Read each of them, in the order of their numbers: what names and metadata say is believed of none.

        Raises Unavailable.
        """
        for part in sorted(set(parts), key=lambda one: one.number):
            anchor = self.read(part)
            if anchor and anchor.chains:
                ids = [end.session_id for end in anchor.chains]
                self._spans[part.number] = (min(ids), max(ids))
            if anchor and len(anchor.chains) <= self._room:
                self._room -= len(anchor.chains)
                self._kept[part] = anchor

    def claims(self, parts: list[Part], low: UUID, high: UUID, of: str = "") -> dict[UUID, list[Claim]]:
        """Return what proven anchors say of the chains between two ids, `of` whose key; raises Unavailable."""
        found: dict[UUID, list[Claim]] = {}
        for part in parts:
            first, last = self._spans.get(part.number, (_HIGHEST, _LOWEST))
            if first <= high and low <= last and (anchor := self.read(part)):
                for end in anchor.chains:
                    if low <= end.session_id <= high:
                        claim = Claim(end.seq, end.head, f"anchor {part.number}{of}")
                        found.setdefault(end.session_id, []).append(claim)
        return found

    def anchors(self, parts: list[Part]) -> Iterator[Anchor]:
        """Yield those of the anchors that can be believed."""
        yield from (anchor for part in parts if (anchor := self.read(part)))

    def read(self, part: Part) -> Anchor | None:
        """Return an anchor; None: it cannot be believed, and `problems` says why. Raises Unavailable."""
        if part in self._kept:
            return self._kept[part]
        try:
            return self._read(part)
        except IntegrityError as error:
            self.problems[str(error)] = None
            return None

    def _read(self, part: Part) -> Anchor:
        data = self._store.read(part.name)
        if data is None:
            raise IntegrityError(part.name, "is gone")
        anchor = decoded(part.name, data, self._key_of)
        if part_of(part.name, anchor.metadata()) != part:
            raise IntegrityError(part.name, "its metadata was changed")
        found, note = digest(data), self._noted.get(part.number)
        if note is not None and _told(note) != _tells(anchor, found):
            raise IntegrityError(part.name, "is not the one that Postgres noted")
        before = self._digests.get(part.number - 1)
        if before is not None and anchor.previous != before:
            raise IntegrityError(part.name, "does not follow the anchor before it")
        self._digests[part.number] = found.hex()
        return anchor


def _told(note: Any) -> tuple[Any, ...]:
    return (note.made_at, note.chains, bytes(note.hash), note.ends_full_run, note.broken)


def _tells(anchor: Anchor, found: bytes) -> tuple[Any, ...]:
    ends = anchor.run == "full" and anchor.last
    return (anchor.made_at, len(anchor.chains), found, ends, len(anchor.broken))


def part_of(name: str, told: Mapping[str, str]) -> Part:
    """Return what an anchor's name and metadata say; metadata that is none of ours says little, and is found out."""
    number = int(name.rpartition("/")[2])
    try:
        low, high = (UUID(told[end]) if end in told else None for end in ("from", "to"))
        first = int(told.get("first", number))
    except ValueError:
        low, high, first = None, None, number
    return Part(name, number, told.get("run") == "full", first, told.get("last") == "1", low, high)
