"""Whether a process takes work yet: sooner than its supervisor, which only sees that it has not died."""

import re
import socket

from celery import Celery
from kombu.exceptions import OperationalError

from fntx_sessions.stack.valkey import HOST

PING_S = 1.0
_NODE = re.compile(r"\bworker\b.*\s-n\s+(?P<name>[^@\s]+)@%h")
# A beat with remote control on answers under this name.
_BEAT = re.compile(r"\bcelery\b.*\sbeat\b")


def celery_nodes(types: dict[str, str]) -> dict[str, str]:
    """Return process type -> the name under which it answers Celery's ping, for those that do."""
    host = socket.gethostname()
    found = {}
    for name, command in types.items():
        match = _NODE.search(command)
        if match:
            found[name] = f"{match['name']}@{host}"
        elif _BEAT.search(command):
            found[name] = f"celerybeat@{host}"
    return found


def answering(redis_url: str, nodes: dict[str, str]) -> set[str]:
    """Return the process types of `nodes` that answered a ping within PING_S; none while Redis is out of reach."""
    if not nodes:
        return set()
    broker = redis_url.replace("unix:", "redis+socket:", 1) if redis_url.startswith("unix:") else redis_url
    limits = {"socket_timeout": 5, "socket_connect_timeout": 2}
    with Celery(broker=broker, set_as_current=False, broker_transport_options=limits) as app:
        try:
            pongs = app.control.ping(destination=list(nodes.values()), timeout=PING_S, limit=len(nodes)) or []
        except (OSError, OperationalError):
            return set()
    alive = {node for pong in pongs for node in pong}
    return {name for name, node in nodes.items() if node in alive}


def listens(port: int) -> bool:
    """Tell whether something takes connections on that port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0
