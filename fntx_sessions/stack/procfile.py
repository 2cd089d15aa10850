"""The Procfile: process types and their command lines, stated once for every way of running this."""

import re
from pathlib import Path

from fntx_sessions.exceptions import StackError

# A link to the Procfile at the root of the repository; a wheel holds a copy.
SHIPPED = Path(__file__).parent / "Procfile"
_LINE = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_-]*):\s*(?P<command>\S.*)")


def read_procfile(path: Path = SHIPPED) -> dict[str, str]:
    """Return process type -> command line. Raises StackError naming the line that is neither one nor a comment."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise StackError(f"cannot read {path}: {error.strerror}", "Name a Procfile that exists.") from error
    types: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None or match["name"] in types:
            raise StackError(f"{path}, line {number}: {text!r} is not a new `name: command`", "Correct that line.")
        types[match["name"]] = match["command"]
    return types
