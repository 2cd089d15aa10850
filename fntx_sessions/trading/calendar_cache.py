"""Years of exchanges as they were worked out, kept on disk for a day: who finds them there starts two seconds sooner.

Beside what else this user's programs keep, in a folder of the library's version and of what is mended here. It is
believed only where nobody else can have written it; nothing depends on it, and where it cannot be kept it is not.
"""

import hashlib
import os
import stat
import time
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import platformdirs

# Rules of daylight saving change with the system's tables, which no version here tells.
BELIEVED_S = 86_400.0
YEAR_MAX_BYTES = 1_000_000
_VERSIONS = ("pandas_market_calendars", "pandas")


def remembered(kind: str, name: str) -> Any:
    """Return what was kept under a name, None where nothing was, or nothing that can be believed."""
    with suppress(OSError, orjson.JSONDecodeError):
        return orjson.loads(_read(_file(kind, name)))
    return None


def remember(kind: str, name: str, facts: Any) -> None:
    """Keep what JSON can say under a name; where there is no room, or no right to it, keep nothing."""
    path = _file(kind, name)
    beside = path.with_name(f"{path.name}.{uuid4().hex}")
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            beside.touch(0o600, exist_ok=False)
            beside.write_bytes(orjson.dumps(facts))
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def _file(kind: str, name: str) -> Path:
    # The name is anybody's text: only its hash becomes a path.
    return _folder() / f"{kind}-{hashlib.sha256(name.encode()).hexdigest()}.json"


@lru_cache(maxsize=1)
def _made_by() -> str:
    """Return what tells one way of working years out from another: the library's version, and our own text."""
    own = (Path(__file__).parent / "calendar_years.py").read_bytes()
    return hashlib.sha256(b"\0".join((*(version(name).encode() for name in _VERSIONS), own))).hexdigest()[:16]


def _folder() -> Path:
    return Path(platformdirs.user_cache_dir("fntx")) / f"calendars-{_made_by()}"


def _read(path: Path) -> bytes:
    """Return a file's bytes; raises OSError where somebody else could have written it, or it is old or too long."""
    _refuse_others(path.parent.stat())
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        _refuse_others(found)
        if found.st_size > YEAR_MAX_BYTES or abs(time.time() - found.st_mtime) > BELIEVED_S:
            raise OSError("too long, or too old")
        return file.read()


def _refuse_others(found: os.stat_result) -> None:
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise PermissionError("others may write here")
