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


def first_line(error: BaseException) -> str:
    """Return an error's first line without the SQLAlchemy prefix, which names a Python class."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line.split(") ", 1)[1] if line.startswith("(") and ") " in line else line
