"""What binds a token to one command: the task, the command's id and its arguments, as one hash.

Whoever steals such a token can do nothing with it but what it was made for, and that once: the same id with the same
arguments is the same command.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from fntx_sessions.security.token_claims import canonical

# What names the command itself, wherever the caller puts it.
_ID = "command_id"


def binding(task: str, command_id: str, arguments: Mapping[str, Any]) -> str:
    """Return the sha256, in hex, over a task's name, the command's id and its keyword arguments as canonical JSON.

    Canonical: members in the order of their names, without blanks, UTF-8. Raises ValueError for what is no JSON.
    """
    own = {name: value for name, value in arguments.items() if name != _ID}
    return hashlib.sha256(canonical([task, command_id.lower(), own])).hexdigest()
