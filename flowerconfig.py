"""Flower's settings, run by ``celery -A tasks flower``: the Sessions pages in it, behind a login, on loopback."""

from typing import Any

from fntx_sessions.monitoring.logs import configure_logging, redact_text
from fntx_sessions.settings import get_settings

# As everywhere: nothing secret in a line, not in a traceback either. Before imports that log.
configure_logging(get_settings())

from fntx_sessions.monitoring.figures.showing import show_desk  # noqa: E402
from fntx_sessions.monitoring.flower.install import AUTH, install  # noqa: E402
from fntx_sessions.security.pages import flower_login  # noqa: E402
from fntx_sessions.stack import adopt_local_stack  # noqa: E402
from fntx_sessions.stack.flower_port import own_port  # noqa: E402
from tasks.receiving import receive_known_events  # noqa: E402

# Started by hand beside `fntx up`, it is of that desk.
adopt_local_stack()
get_settings.cache_clear()

address = "127.0.0.1"
# Passwords are for those who only look; whoever acts logs in with a token of the desk.
basic_auth = flower_login(get_settings())
auth = AUTH
install(get_settings())
receive_known_events()
# Flower's own controls stay shut: commands go through the Sessions pages and `fntx`, in the name of who asks.
read_only = True
# Nothing here is a record: sessions are in Postgres. So Flower keeps little and stores nothing.
max_tasks = 10_000
persistent = False
purge_offline_workers = 3600
# Beside Flower's own figures on /metrics.
show_desk(get_settings())
# The last, so that little time is left in which another could take it.
port = own_port(get_settings())


def format_task(task: Any) -> Any:
    """Hide what looks secret in arguments that a caller's own Celery described, and in answers."""
    task.args, task.kwargs = redact_text(str(task.args or "")), redact_text(str(task.kwargs or ""))
    task.result = redact_text(str(task.result)) if task.result else task.result
    return task
