"""Where the run's servers keep their data: in memory, where there is room for it."""

import shutil
import tempfile
from pathlib import Path

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 -- only where, mkdtemp makes the name
_ROOM_BYTES = 6 << 30


def scratch_home() -> Path:
    """Make a folder with a name short enough for sockets; whoever asks removes it.

    Thousands of databases are made and dropped in a run, each with a checkpoint, and a slow disk makes all else wait.
    """
    roomy = _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _ROOM_BYTES
    return Path(tempfile.mkdtemp(prefix="fntx-", dir=_IN_MEMORY if roomy else "/tmp"))  # noqa: S108 -- as above
