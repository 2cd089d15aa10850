"""Are there advisories about what the lock files install? `python -m tools.advisories` asks OSV for them.

Or reads the archive of all about PyPI, which somebody brought here (`--file all.zip`). Exit codes:

    0  asked about all; nothing is known that is not answered for below
    1  there is an advisory, or a package is not nailed to its bytes
    3  NOT DONE, nobody could be asked; `--unless-away` says so as loudly, and exits with 0
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tools.advisory_file import read_advisories
from tools.locks import LOCKS, Package, locked, unhashed

SERVICE = os.environ.get("OSV_SERVICE", "https://api.osv.dev")
ASK_S = 20.0
AT_ONCE = 500
FOUND, AWAY = 1, 3
# Advisory -> why it does not concern us, and until when that is to be believed. Empty is how it should be.
ANSWERED_FOR: Mapping[str, str] = {}

Known = Mapping[Package, Iterable[str]]


def main(arguments: list[str] | None = None) -> int:
    """Say what is known about the locked packages; return the exit code."""
    asked = _parser().parse_args(arguments)
    locks = tuple(asked.lock or LOCKS)
    loose, wanted = unhashed(locks), sorted(locked(locks))
    if loose:
        return _said(FOUND, f"not nailed to a sha256: {', '.join(one.name for one in loose)}")
    try:
        known = read_advisories(asked.file, wanted) if asked.file else ask(wanted, asked.service)
    except (OSError, ValueError, KeyError, TypeError) as error:
        told = f"NOT DONE: no advisory was asked for about {len(wanted)} locked packages: {_short(error)}"
        return _said(0 if asked.unless_away else AWAY, told, frame="!")
    return _judged(wanted, known)


def ask(wanted: list[Package], service: str = SERVICE) -> Known:
    """Return the ids of what OSV knows about each package; raises OSError or ValueError where it cannot be asked."""
    found: dict[Package, Iterable[str]] = {}
    for start in range(0, len(wanted), AT_ONCE):
        part = wanted[start : start + AT_ONCE]
        answers = _answer(f"{service}/v1/querybatch", {"queries": [_query(one) for one in part]})["results"]
        # Half an answer must not pass for one that knows of nothing.
        found |= {one: _ids(told) for one, told in zip(part, answers, strict=True)}
    return found


def _judged(wanted: list[Package], known: Known) -> int:
    open_ones = {one: sorted(set(ids) - ANSWERED_FOR.keys()) for one, ids in known.items()}
    told = [f"{one.name} {one.version}: {', '.join(ids)}" for one, ids in sorted(open_ones.items()) if ids]
    if told:
        return _said(FOUND, "\n".join(["advisories about what is locked; renew with `make lock`:", *told]))
    return _said(0, f"no open advisory about {len(wanted)} locked packages; {len(ANSWERED_FOR)} answered for")


def _query(package: Package) -> dict[str, Any]:
    return {"package": {"name": package.name, "ecosystem": "PyPI"}, "version": package.version}


def _ids(told: Mapping[str, Any]) -> list[str]:
    if told.get("next_page_token"):
        raise ValueError("more advisories than one answer holds")
    return [str(one["id"]) for one in told.get("vulns", ())]


def _answer(address: str, question: Mapping[str, Any]) -> Any:
    if not address.startswith(("https://", "http://127.0.0.1:")):
        raise ValueError(f"{address} is not asked: advisories come over https")
    request = urllib.request.Request(  # noqa: S310 -- the scheme was looked at above
        address, json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=ASK_S) as answer:  # noqa: S310 -- as above
        return json.load(answer)


def _short(error: Exception) -> str:
    told = error.reason if isinstance(error, urllib.error.URLError) else error
    return f"{type(error).__name__}: {told}"[:200]


def _said(code: int, told: str, frame: str = "") -> int:
    edge = f"{frame * 100}\n" if frame else ""
    sys.stderr.write(f"{edge}dependency audit: {told}\n{edge}")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.advisories", description=__doc__)
    parser.add_argument("--file", type=Path, help="OSV's archive of advisories about PyPI, instead of asking")
    parser.add_argument("--service", default=SERVICE, help="where OSV answers")
    parser.add_argument("--lock", type=Path, action="append", help="a lock file, instead of ours")
    parser.add_argument("--unless-away", action="store_true", help="exit with 0 where nobody could be asked")
    return parser


if __name__ == "__main__":
    sys.exit(main())
