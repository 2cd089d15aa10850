"""Flower's port: chosen when the stack starts, and anew by its Flower where somebody else was quicker."""

import os
from pathlib import Path

from fntx_sessions.settings import Settings
from fntx_sessions.stack.addresses import FLOWER
from fntx_sessions.stack.folder import Folder
from fntx_sessions.stack.orphans import MARK
from fntx_sessions.stack.valkey import free_port


def own_port(settings: Settings) -> int:
    """Return where this process's Flower is to listen.

    In a stack that is the port its folder names; another, which is put there in its place, where something listens
    on that one already. Elsewhere it is FNTX_FLOWER_PORT, taken or not.
    """
    home = os.environ.get(MARK)
    if not home:
        return settings.flower_port
    folder = Folder(Path(home))
    chosen = folder.read_state().get("environment", {})
    wanted = int(chosen.get(FLOWER, settings.flower_port))
    port = free_port(wanted)
    if port != wanted:
        folder.write_state(environment={**chosen, FLOWER: str(port)})
    return port
