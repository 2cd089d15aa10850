"""Pages under docs/ that are made from code: written, or checked against what stands there."""

import sys
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def write_or_check(page: Path, text: str, source: str, command: str, arguments: Sequence[str]) -> int:
    """Write `text` to `page`, or to the path among `arguments`, and return 0; with --check only compare.

    A page that differs from `text` returns 1 and says on stderr that it is not what `source` says, and that
    `command` renews it.
    """
    paths = [Path(argument) for argument in arguments if argument != "--check"]
    page = paths[0] if paths else page
    if "--check" not in arguments:
        page.write_text(text, encoding="utf-8")
        return 0
    if page.exists() and page.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{page} is not what {source} says. Run: {command}\n")
    return 1
