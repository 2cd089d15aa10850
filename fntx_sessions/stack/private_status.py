"""Whether the secrets of this home that are taken however they lie are their owner's alone."""

from collections.abc import Iterator
from pathlib import Path

from fntx_sessions.pasting import pasted
from fntx_sessions.security.keys import LocalKeys
from fntx_sessions.security.pages import password_file
from fntx_sessions.security.private_files import open_to_others
from fntx_sessions.stack.check import Check


def diagnose_private(home: Path) -> Iterator[Check]:
    """Yield a check for each secret beside the keys that others may read or change; a stop by it goes on."""
    for name, path in (("admin token", LocalKeys.of(home).admin_token_file), ("Flower's login", password_file(home))):
        problem = open_to_others(path)
        if problem:
            mend = f"{pasted('rm', path)}; fntx up" if path.is_symlink() else pasted("chmod", "600", path)
            yield Check(name, "fail", f"{path} {problem}; who may have read it may do what it allows", mend)
