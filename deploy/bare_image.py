"""Takes out of an image what Python does not need: shells, package managers, the tools of whoever got in.

Run by the Dockerfile. Python and its libraries are in folders that are not named here.
"""

import shutil
import sys
from pathlib import Path

EMPTIED = (
    "usr/bin", "usr/sbin", "var/lib/dpkg", "var/lib/apt", "usr/lib/apt", "usr/share/perl5",
    "usr/local/lib/python3.11/ensurepip", "usr/local/lib/python3.11/site-packages",
)  # fmt: skip


def strip(root: Path) -> int:
    """Empty those folders under `root`; return how many entries went."""
    # In an image of another layout `bin` is a folder of its own: a shell there must not be overlooked.
    apart = [name for name in ("bin", "sbin") if not (root / name).is_symlink()]
    entries = [entry for name in (*EMPTIED, *apart) for entry in (root / name).glob("*")]
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    return len(entries)


if __name__ == "__main__":
    sys.exit(0 if strip(Path(sys.argv[1])) else "there was nothing to take out: is this the image it was?")
