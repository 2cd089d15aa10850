"""Credentials: what agents have to know and nobody may read, kept sealed for a session or a template.

A value is sealed with its session's data key, a template's with the desk's own, bound to its name and version. It is
opened when an agent asks for it in its step, or sealed to the key of an agent elsewhere; no task, event or save has it.
"""

from fntx_sessions.lifecycle.credentials.holders import Holder
from fntx_sessions.lifecycle.credentials.keeping import (
    list_credentials,
    remove_credential,
    rotate_credential,
    set_credential,
)
from fntx_sessions.lifecycle.credentials.opening import Opener, credentials_of
from fntx_sessions.lifecycle.credentials.values import checked_name, checked_value

__all__ = [
    "Holder",
    "Opener",
    "checked_name",
    "checked_value",
    "credentials_of",
    "list_credentials",
    "remove_credential",
    "rotate_credential",
    "set_credential",
]
