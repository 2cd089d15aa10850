"""What a browser loads beside the pages: our own scripts and styles, and the libraries that lie with them."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from tornado.web import StaticFileHandler

STATIC = Path(__file__).parent / "static"


@cache
def asset(name: str) -> str:
    """Return the address of a file of ours, without Flower's prefix; it changes with the file."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/sessions/static/{name}?v={digest}"


class Assets(StaticFileHandler):
    """Sends them; to anybody, for the login page needs them too."""

    def set_extra_headers(self, path: str) -> None:
        """Send what keeps a browser from taking a file for something else."""
        _ = path
        self.set_header("X-Content-Type-Options", "nosniff")


def arguments() -> dict[str, Any]:
    """Return what the handler's rule takes."""
    return {"path": str(STATIC)}
