"""Does this container's node answer? `python -m fntx_sessions.stack.alive` is its health check and needs no shell."""

import os
import socket
import subprocess
import sys

PING_S = 5
_INSPECT = [sys.executable, "-m", "celery", "-A", "tasks", "-q", "inspect"]


def main() -> int:
    """Ask the node that FNTX_NODE names on this host, a commands worker by default; return 0 where it answers, else 1.

    Celery's own command asks, so that it reaches the broker as the node itself does.
    """
    node = f"{os.environ.get('FNTX_NODE', 'commands')}@{socket.gethostname()}"
    asked = [*_INSPECT, "ping", "--timeout", str(PING_S), "-d", node]
    found = subprocess.run(asked, check=False, stdout=subprocess.DEVNULL)  # noqa: S603 -- this Python, Celery's command
    return int(found.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
