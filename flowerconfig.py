"""Flower's settings, run by ``celery -A tasks flower``: on loopback, behind a login, to look and not to touch."""

from typing import Any

from fntx_sessions.monitoring.logs import redact_text
from fntx_sessions.monitoring.prometheus import show_desk
from fntx_sessions.security.pages import flower_login
from fntx_sessions.settings import get_settings

port = get_settings().flower_port
address = "127.0.0.1"
basic_auth = flower_login(get_settings())
# A login has no role in Flower: whoever is in could end workers and send tasks. Commands go through `fntx` instead.
read_only = True
# Nothing here is a record: sessions are in Postgres. So Flower keeps little and stores nothing.
max_tasks = 10_000
persistent = False
purge_offline_workers = 3600
# Beside Flower's own figures on /metrics.
show_desk(get_settings())


def format_task(task: Any) -> Any:
    """Hide what looks secret in arguments that a caller's own Celery described, and in answers."""
    task.args, task.kwargs = redact_text(str(task.args or "")), redact_text(str(task.kwargs or ""))
    task.result = redact_text(str(task.result)) if task.result else task.result
    return task
