"""A terminal to type at, for commands that ask before they act."""

import io


class Terminal(io.StringIO):
    """Standard input of a person: what is typed at it."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True
