"""The lock files: which packages, and that each is nailed to the bytes it was chosen with."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-bench.lock")
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")


@dataclass(frozen=True, order=True)
class Package:
    """One package at one version, by the name that indexes compare by."""

    name: str
    version: str


def packages(lock: Path) -> Iterator[tuple[Package, bool]]:
    """Yield each package of a lock file, and whether it is nailed to a sha256.

    Raises ValueError for a line that pins no version: an address, a folder, an option.
    """
    for entry in lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        line = entry.partition("#")[0].strip()
        if line:
            yield _package(line), bool(_HASH.search(line))


def locked(locks: tuple[Path, ...] = LOCKS) -> set[Package]:
    """Return every package that any of the lock files names."""
    return {package for lock in locks for package, _ in packages(lock)}


def unhashed(locks: tuple[Path, ...] = LOCKS) -> list[Package]:
    """Return the packages that could be installed from other bytes than those they were chosen with."""
    return sorted(package for lock in locks for package, nailed in packages(lock) if not nailed)


def normal(name: str) -> str:
    """Return a package's name as indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _package(line: str) -> Package:
    found = _PINNED.match(line)
    if found is None:
        raise ValueError(f"not a pinned package: {line[:100]}")
    return Package(normal(found["name"]), found["version"])
