"""Advisories out of an archive: OSV publishes all about PyPI as one zip of a JSON file each."""

import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from tools.locks import Package, normal

# An advisory is some kilobytes; the archive some 20,000 of them.
ADVISORY_MAX_BYTES = 10_000_000


def read_advisories(archive: Path, wanted: Iterable[Package]) -> dict[Package, list[str]]:
    """Return the ids of what the archive knows about each package.

    Raises OSError or ValueError for what is no such archive, one without any advisory included.
    """
    found: dict[Package, list[str]] = {package: [] for package in wanted}
    by_name: dict[str, list[Package]] = {}
    for package in found:
        by_name.setdefault(package.name, []).append(package)
    number = 0
    for advisory in _advisories(archive):
        number += 1
        for affected in () if advisory.get("withdrawn") else advisory.get("affected", ()):
            for package in by_name.get(_name(affected), ()):
                if _touches(affected, package.version) and advisory["id"] not in found[package]:
                    found[package].append(str(advisory["id"]))
    if not number:
        raise ValueError(f"{archive} holds no advisory")
    return found


def _advisories(archive: Path) -> Iterator[dict[str, Any]]:
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if entry.file_size > ADVISORY_MAX_BYTES:
                    raise ValueError(f"{entry.filename} is of {entry.file_size} bytes")
                if entry.filename.endswith(".json"):
                    yield json.loads(opened.read(entry))
    except zipfile.BadZipFile as error:
        raise ValueError(f"{archive} is no archive: {error}") from None


def _name(affected: dict[str, Any]) -> str:
    package = affected.get("package", {})
    return normal(str(package["name"])) if package.get("ecosystem") == "PyPI" else ""


def _touches(affected: dict[str, Any], version: str) -> bool:
    """Tell whether an advisory is about a version: it is listed, or in a range of versions."""
    if version in affected.get("versions", ()):
        return True
    return any(_within(one["events"], version) for one in affected.get("ranges", ()) if one["type"] == "ECOSYSTEM")


def _within(events: list[dict[str, str]], version: str) -> bool:
    """Follow a range's events in the order of versions; what cannot be compared is taken for touched."""
    try:
        at, inside = Version(version), False
        for event in sorted(events, key=_at):
            (kind, bound), here = next(iter(event.items())), _at(event)
            if kind == "introduced" and at >= here:
                inside = True
            elif (kind in {"fixed", "limit"} and bound != "*" and at >= here) or (
                kind == "last_affected" and at > here
            ):
                inside = False
    except InvalidVersion:
        return True
    return inside


def _at(event: dict[str, str]) -> Version:
    bound = next(iter(event.values()))
    return Version("0.dev0" if bound in {"0", "*"} else bound)
