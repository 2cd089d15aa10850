"""What was told and has not reached Redis yet: the newest of each part, every record, in a bounded space."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from fntx_sessions.agent_client.telling import Parts, Record
from fntx_sessions.exceptions import TooMuch

# One report is one script, which nobody else's waits long for.
_RECORDS_AT_A_TIME = 500
_BYTES_AT_A_TIME = 2_000_000


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes with one report."""

    parts: Parts
    records: list[Record]


class Unsent:
    """Parts and records that wait; safe to use from several threads."""

    def __init__(self, session_id: str, agent: str, max_records: int, max_bytes: int) -> None:
        self._who = (session_id, agent)
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._parts: Parts = {}
        self._records: dict[Record, None] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many parts and records wait."""
        with self._lock:
            return len(self._parts) + len(self._records)

    def put(self, parts: Parts, records: Iterable[Record]) -> None:
        """Take in what is told, the newest of each part; raises TooMuch where there is no room, and takes nothing."""
        with self._lock:
            together, told = self._parts | parts, self._records | dict.fromkeys(records)
            size = sum(map(len, together.values())) + sum(len(one.data) for one in told)
            if len(told) > self._max_records or size > self._max_bytes:
                detail = f"{len(told)} records and {size} bytes would wait here to be sent, and this was not taken"
                raise TooMuch(*self._who, detail)
            self._parts, self._records = together, told

    def batch(self) -> Batch:
        """Return what goes next, oldest records first; it waits on until it is `done`."""
        with self._lock:
            records, size = list[Record](), 0
            for record in self._records:
                size += len(record.data)
                if len(records) == _RECORDS_AT_A_TIME or (records and size > _BYTES_AT_A_TIME):
                    break
                records.append(record)
            return Batch(dict(self._parts), records)

    def done(self, batch: Batch) -> bool:
        """Let go of what was sent, or can never be; returns whether anything is left."""
        with self._lock:
            self._parts = {name: data for name, data in self._parts.items() if batch.parts.get(name) is not data}
            for record in batch.records:
                self._records.pop(record, None)
            return bool(self._parts or self._records)

    def drop_parts(self) -> None:
        """Let go of parts, which are of an epoch that is over; records tell what happened, and stay."""
        with self._lock:
            self._parts = {}
