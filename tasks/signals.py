"""What a process of ours does as it starts, sends, runs a task and ends; Celery logs what a receiver raises.

Modules of the desk are imported inside the receivers: a producer that only sends needs neither database nor agents.
"""

import atexit
import os
import sys
from typing import Any
from uuid import uuid4

import structlog
from billiard import current_process
from celery import signals

from fntx_sessions import traces
from fntx_sessions.exceptions import FntxError, InvalidArgument
from fntx_sessions.monitoring.logs import configure_logging, redact
from fntx_sessions.monitoring.tracing import end_tracing, start_tracing
from fntx_sessions.security.core_dumps import forbid_core_dumps
from fntx_sessions.security.keyring import load_ring
from fntx_sessions.security.local import process_token
from fntx_sessions.security.open_desk import OPEN_TOLD, is_open
from fntx_sessions.security.roles import of_two
from fntx_sessions.settings import get_settings
from tasks import routes
from tasks.configuration import transport_options
from tasks.sent_at import SENT_AT_HEADER, now_as_header

TOKEN_HEADER = "fntx_token"  # noqa: S105 - the header's name
HOST_ID = "FNTX_HOST_ID"
_REPR_CHARACTERS = 1000
log = structlog.get_logger(__name__)


class _Process:
    """What this process is: beat alone speaks for the system.

    Workers send nothing of their own. What Celery has them send, a retry or what a message links to, is its caller's.
    """

    is_beat = False


def host_id() -> str:
    """Return the identity that a worker and its children share; empty in any other process."""
    return os.environ.get(HOST_ID, "")


@signals.setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    configure_logging(get_settings())
    from tasks.refused_messages import hide_refused_messages  # noqa: PLC0415 -- only workers have a consumer

    hide_refused_messages()


@signals.worker_init.connect
def _name_host(sender: Any, **_: Any) -> None:
    # Before the pool forks, so that all children are one host; new at every start, so that a dead one stays dead.
    os.environ[HOST_ID] = f"{sender.hostname}:{uuid4().hex[:8]}"
    _must_have_a_ring()
    _must_know_what_takes_two()
    from fntx_sessions.monitoring.figures import counting  # noqa: PLC0415

    counting.open_folder(get_settings().home, sender.hostname, host_id())


def _must_have_a_ring() -> None:
    # Without one it would take sessions and could keep nothing of them.
    try:
        load_ring(get_settings())
    except FntxError as error:
        log.critical("worker_without_key_ring", problem=str(error))
        sys.exit(f"this worker does not start: {error}")


def _must_know_what_takes_two() -> None:
    # With a name that is none, a slip of the pen, nothing would wait that was meant to.
    try:
        of_two(get_settings())
    except InvalidArgument as error:
        log.critical("worker_without_four_eyes", problem=str(error))
        sys.exit(f"this worker does not start: {error}")


@signals.worker_init.connect
@signals.beat_init.connect
def _leave_no_core(**_: Any) -> None:
    forbid_core_dumps()


@signals.worker_ready.connect
@signals.beat_init.connect
def _say_that_it_is_open(**_: Any) -> None:
    if is_open(get_settings()):
        log.error("auth_open", detail=OPEN_TOLD)


@signals.beat_init.connect
def _beat_speaks_for_system(**_: Any) -> None:
    _Process.is_beat = True


@signals.celeryd_after_setup.connect
def _print_into_log(**_: Any) -> None:
    # Before agents are imported: what they hold of stdout is this one.
    from tasks.printed import print_into_log  # noqa: PLC0415 -- only workers run what others wrote

    print_into_log()


@signals.celeryd_after_setup.connect
def _fit_broker_options(instance: Any, conf: Any, **_: Any) -> None:
    """Choose broker options by the queues this worker reads.

    Command workers read what ends risk before all else, and after all else what names no queue.
    """
    queues = instance.app.amqp.queues
    if routes.COMMANDS in queues.consume_from:
        others = [name for name in queues.consume_from if name not in (routes.SAFETY, routes.UNNAMED)]
        queues.select([routes.SAFETY, *others, routes.UNNAMED])
    conf.broker_transport_options = transport_options(get_settings(), queues.consume_from)
    if routes.AGENTS in queues.consume_from:
        from fntx_sessions.agents.registry import warm_up  # noqa: PLC0415

        warm_up()
    if not routes.CALENDARLESS.issuperset(queues.consume_from):
        from fntx_sessions.trading.calendars import load_calendars  # noqa: PLC0415

        # Before the pool forks: no time limit runs yet, and the children share it.
        load_calendars()


@signals.worker_process_init.connect
def _forget_inherited_connections(**_: Any) -> None:
    from fntx_sessions.database.engine import forget_engine_after_fork  # noqa: PLC0415
    from fntx_sessions.state.redis_client import get_redis  # noqa: PLC0415

    forget_engine_after_fork()
    get_redis.cache_clear()


@signals.worker_process_init.connect
def _count(**_: Any) -> None:
    from fntx_sessions.monitoring.figures import counting  # noqa: PLC0415

    # Places of the pool are numbered, and taken by another process only when the one before it has ended.
    counting.begin(f"pool{getattr(current_process(), 'index', None) or 0}")


@signals.worker_process_init.connect
def _trace(**_: Any) -> None:
    # In each child, never before the pool forks: what sends spans is a thread.
    start_tracing(get_settings())


@signals.worker_process_shutdown.connect
def _trace_no_more(**_: Any) -> None:
    end_tracing()


@signals.worker_process_shutdown.connect
def _back_up(**_: Any) -> None:
    # What this child remembers of sessions ends with it; where Postgres has all of it this costs a question.
    from fntx_sessions.automation.saving import last_backup  # noqa: PLC0415
    from fntx_sessions.state.remembered import get_remembered  # noqa: PLC0415

    if get_remembered.cache_info().currsize:
        from tasks.desk import desk  # noqa: PLC0415

        last_backup(desk())


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _write_refusals_down(**_: Any) -> None:
    from tasks.refusing import end_writing  # noqa: PLC0415

    end_writing()


@signals.worker_ready.connect
def _start_lease(sender: Any, **_: Any) -> None:
    from fntx_sessions.automation.hosts import start_lease_renewal  # noqa: PLC0415

    queues = sender.app.amqp.queues.consume_from
    start_lease_renewal(host_id(), ",".join(sorted(queues)))
    if routes.SWEEPS in queues:
        _stand_in()
    # A cold shutdown, which REMAP_SIGTERM=SIGQUIT makes of SIGTERM, sends no worker_shutdown; its pool has ended too.
    atexit.register(_leave)


def _stand_in() -> None:
    from fntx_sessions.automation.standing_in import StandIn  # noqa: PLC0415

    saver = StandIn(get_settings())
    saver.start()
    signals.worker_shutdown.connect(lambda **_: saver.end(), weak=False)


@signals.worker_ready.connect
def _show_figures(sender: Any, **_: Any) -> None:
    from fntx_sessions.monitoring.figures import counting, serving  # noqa: PLC0415

    counting.begin("worker")
    folder = counting.folder()
    if folder is not None:
        serving.show_worker(get_settings(), folder, sender.hostname)


@signals.worker_shutdown.connect
def _leave(**_: Any) -> None:
    # Not earlier: until the pool has ended, its tasks still step the host's sessions.
    from fntx_sessions.automation.hosts import end_lease  # noqa: PLC0415
    from fntx_sessions.monitoring.figures import counting  # noqa: PLC0415

    end_lease(host_id())
    counting.close_folder()


@signals.before_task_publish.connect
def _sign_and_hide(headers: dict[str, Any], body: Any, **_: Any) -> None:
    """Sign what beat sends, and keep secrets out of what events and Flower show of arguments."""
    if _Process.is_beat:
        headers[SENT_AT_HEADER] = now_as_header()
        token = process_token(host=host_id())
        if token is not None:
            headers[TOKEN_HEADER] = token
    if (trace := traces.current()) is not None:
        headers.setdefault(traces.HEADER, trace)
    args, kwargs = body[0], body[1]
    headers["argsrepr"] = repr(redact(args))[:_REPR_CHARACTERS]
    headers["kwargsrepr"] = repr(redact(kwargs))[:_REPR_CHARACTERS]


@signals.task_prerun.connect
def _bind_context(task_id: str, task: Any, kwargs: dict[str, Any], **_: Any) -> None:
    structlog.contextvars.clear_contextvars()
    ids = {name: str(kwargs[name])[:100] for name in ("command_id", "session_id") if kwargs.get(name)}
    structlog.contextvars.bind_contextvars(**{"task": task.name, "task_id": task_id, **ids})


@signals.task_postrun.connect
def _clear_context(**_: Any) -> None:
    structlog.contextvars.clear_contextvars()
