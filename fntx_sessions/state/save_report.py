"""What became of the sessions of a batch."""

from dataclasses import dataclass, field
from uuid import UUID

from fntx_sessions import figures

_NUMBERS = ("saved", "unchanged", "skipped", "failed")


@dataclass(slots=True)
class SaveReport:
    """What became of each session of a batch. skipped and failed say why; their last good save stands.

    hot_problem: why the hot copies could not be written, empty when they were; the saves themselves are safe.
    """

    saved: list[UUID] = field(default_factory=list)
    unchanged: list[UUID] = field(default_factory=list)
    skipped: dict[UUID, str] = field(default_factory=dict)
    failed: dict[UUID, str] = field(default_factory=dict)
    seconds: float = 0.0
    hot_problem: str = ""

    @property
    def claimed(self) -> int:
        """How many sessions the batch held."""
        return len(self.saved) + len(self.unchanged) + len(self.skipped) + len(self.failed)

    def counts(self) -> dict[str, int | float]:
        """Return the numbers, for logs and metrics."""
        return {**self._numbers(), "seconds": round(self.seconds, 4)}

    def count(self, saved: str = "saved") -> None:
        """Count this batch among the figures; saved: what has become of those that were saved."""
        for name, number in self._numbers().items():
            if number:
                figures.SAVES.note(number, saved if name == "saved" else name)
        if self.saved:
            figures.SAVE_SECONDS.note(self.seconds)

    def _numbers(self) -> dict[str, int]:
        return {name: len(getattr(self, name)) for name in _NUMBERS}

    def add(self, other: "SaveReport") -> None:
        """Take in the report of another batch."""
        self.saved += other.saved
        self.unchanged += other.unchanged
        self.skipped |= other.skipped
        self.failed |= other.failed
        self.seconds += other.seconds
        self.hot_problem = self.hot_problem or other.hot_problem
