"""Who acts on files of this machine, where no token is asked: its user, with no role of the desk."""

import getpass
import os
import socket

from fntx_sessions.security.actor import Actor


def machine_user() -> Actor:
    """Return this process's user, named so that it is no name a token could have: ``user@machine``, without roles."""
    host = socket.gethostname()
    return Actor(f"{_user()}@{host}", frozenset(), host=host)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's, which has a number alone
        return str(os.getuid())
