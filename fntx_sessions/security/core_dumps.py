"""No core dumps: a process that holds keys and credentials would leave them in a file for whoever finds it."""

import resource


def forbid_core_dumps() -> None:
    """Let this process and its children leave none; whoever needs one raises the limit of that process again."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
