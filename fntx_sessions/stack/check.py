"""One finding of the doctor's."""

from dataclasses import asdict, dataclass
from typing import Literal

Result = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One finding. `fail` means something is down; `fix` is empty where nothing has to be done."""

    name: str
    result: Result
    meaning: str
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the JSON form."""
        return asdict(self)
