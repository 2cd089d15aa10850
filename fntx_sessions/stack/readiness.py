"""Whether a process takes work yet: sooner than its supervisor, which only sees that it has not died."""

import re
import socket

import psutil
from celery import Celery
from kombu.exceptions import OperationalError

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


def listens(pid: int, port: int) -> bool:
    """Tell whether a process of ours, or one that it began, takes connections on that port; another's do not count."""
    try:
        process = psutil.Process(pid)
        return any(_has_port(one, port) for one in (process, *process.children(recursive=True)))
    except psutil.Error:
        return False  # it is gone


def _has_port(process: psutil.Process, port: int) -> bool:
    found = process.net_connections(kind="tcp")
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in found)
