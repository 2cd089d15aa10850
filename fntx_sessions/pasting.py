"""Commands as people paste them into a shell: what holds a name, a path or a reason is quoted here and nowhere else."""

import shlex

# What only whoever pastes it can say; taken as it stands, it is refused.
UNSAID = "..."


def pasted(*words: object) -> str:
    """Return a command line that a POSIX shell takes apart into just these words."""
    return shlex.join(str(word) for word in words)


def halt_command(scope: str, reason: str = UNSAID, *, flatten: bool = False) -> str:
    """Return what halts a scope, given as ``all``, ``account:NAME``, ``template:NAME`` or ``session:ID``."""
    return pasted("fntx", "halt", "--scope", scope, *(["--flatten"] if flatten else []), "--reason", reason)


def release_command(scope: str) -> str:
    """Return what ends the halt of a scope; why, has to be said."""
    return pasted("fntx", "halt", "release", "--scope", scope, "--reason", UNSAID)
