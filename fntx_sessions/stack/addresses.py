"""Where a stack is reached, as children are told it and as people may see it."""

import os
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fntx_sessions.settings import Settings
from fntx_sessions.stack.control import Supervisor
from fntx_sessions.stack.folder import Folder

DATABASE, REDIS, FLOWER = "FNTX_DATABASE_URL", "FNTX_REDIS_URL", "FNTX_FLOWER_PORT"
MAINTENANCE = "FNTX_MAINTENANCE_DATABASE_URL"
COLD, EMULATOR = "FNTX_COLD_URL", "STORAGE_EMULATOR_HOST"


@dataclass(frozen=True)
class Addresses:
    """What `fntx up` prints: passwords are masked. `flower` is None when the Procfile has none."""

    home: str
    database: str
    redis: str
    flower: str | None
    logs: str
    started: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def masked(url: str) -> str:
    """Return a URL without its password."""
    from sqlalchemy import make_url  # noqa: PLC0415 -- half a second that `fntx ls` has no use for

    return make_url(url).render_as_string(hide_password=True)


def adopt_local_stack(environ: MutableMapping[str, str] = os.environ) -> bool:
    """Let this process use the stack that runs in FNTX_HOME, for every address the environment does not give.

    Call it before settings are read. Returns whether a stack of our own was found; False changes nothing.
    """
    folder = Folder(Path(environ.get("FNTX_HOME") or Settings().home).expanduser().resolve())
    if not folder.state_file.exists() or not Supervisor(folder).answers():
        return False
    told: dict[str, str] = dict(folder.read_state().get("environment", {}))
    if COLD in environ:
        told.pop(EMULATOR, None)  # it belongs to the cold store that is not ours then
    for name, value in told.items():
        environ.setdefault(name, value)
    return True


def adopt_last_known(environ: MutableMapping[str, str] = os.environ) -> bool:
    """Let this process try the addresses that the stack in FNTX_HOME had, although nobody supervises it any more.

    For what must work when everything else is down. Returns whether there were any; nobody says that they answer.
    """
    folder = Folder(Path(environ.get("FNTX_HOME") or Settings().home).expanduser().resolve())
    told: dict[str, str] = dict(folder.read_state().get("environment", {}))
    for name in (DATABASE, REDIS):
        if name in told:
            environ.setdefault(name, told[name])
    return DATABASE in told
