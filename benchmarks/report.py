"""What was measured, as ratios beside the budget of docs/performance.md; absolute figures are only this machine's."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Result:
    """One line. ours, peer: medians over the rounds in `unit`; must None: no budget; fewer True: less is better."""

    what: str
    unit: str
    ours: float
    against: str = ""
    peer: float | None = None
    must: float | None = None
    fewer: bool = False
    rounds: int = 1

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's."""
        return None if self.peer is None else self.ours / self.peer

    @property
    def verdict(self) -> str:
        """`met`, `not met`, or nothing where no budget is set."""
        if self.ratio is None or self.must is None:
            return ""
        return "met" if (self.ratio <= self.must if self.fewer else self.ratio >= self.must) else "not met"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self) | {"ratio": self.ratio, "verdict": self.verdict}


def middle(values: list[float]) -> float:
    """Return the median of the rounds."""
    return median(values)


def show(results: list[Result]) -> None:
    """Print the table."""
    table = Table("what", "ours", "against", "it", "ratio", "must", "", box=None)
    for result in results:
        peer = "" if result.peer is None else _figure(result.peer, result.unit)
        ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
        must = "" if result.must is None else f"{'<=' if result.fewer else '>='} {result.must:g}"
        table.add_row(result.what, _figure(result.ours, result.unit), result.against, peer, ratio, must, result.verdict)
    Console(width=150).print(table)


def store(results: list[Result], path: Path) -> None:
    """Write the JSON form."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([result.to_dict() for result in results], indent=2) + "\n")


def _figure(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
