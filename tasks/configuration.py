"""Celery's settings, each with its reason. Measured for Celery 5.7 on Redis: docs/decisions/0040-celery-settings.md."""

from collections.abc import Iterable
from typing import Any

from kombu import Exchange, Queue

import beat_schedule
from fntx_sessions.security.message_signing import serializer
from fntx_sessions.settings import Settings
from tasks import routes


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Return the app's configuration for `settings`; without an address of Redis it has no broker."""
    return {**_addresses(settings), **_messages(settings), **_tasks(), **_worker(), **_beat(settings)}


def transport_options(settings: Settings, queues: Iterable[str] = ()) -> dict[str, Any]:
    """Return the broker's options for a producer, or for a worker of these `queues`.

    visibility_timeout: after how many seconds a message that a dead worker held is given to another. It must be more
    than twice the longest task. Of workers that share the `unacked` keys the shortest wins, so that workers of slow
    queues, which wait long, keep keys of their own.
    """
    queues = list(queues)
    slow = not routes.SLOW_QUEUES.isdisjoint(queues)
    timeout_s = settings.broker_slow_visibility_timeout_s if slow else settings.broker_visibility_timeout_s
    options: dict[str, Any] = {
        "visibility_timeout": timeout_s,
        # With the defaults a killed worker's messages wait up to 100 s longer than the visibility timeout.
        "unacked_restore_interval": 2,
        "unacked_restore_throttle": 1,
        # Without them a frozen or half-open broker holds a caller for ever.
        "socket_timeout": settings.redis_socket_timeout_s,
        "socket_connect_timeout": settings.redis_connect_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": settings.redis_health_check_interval_s,
    }
    if slow:
        options |= {f"{key}_key": f"{key}_slow" for key in ("unacked", "unacked_index", "unacked_mutex")}
    if routes.COMMANDS in queues:
        # Queues are read in the order of -Q: a command never waits behind a query.
        options["queue_order_strategy"] = "priority"
    return options


def _addresses(settings: Settings) -> dict[str, Any]:
    url = None if settings.redis_url is None else _kombu_url(settings.redis_url.get_secret_value())
    retry = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
    return {
        "broker_url": url,
        "broker_transport_options": transport_options(settings),
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # the default gives up after 100 and ends the worker
        "broker_pool_acquire_timeout": 2,
        "task_publish_retry_policy": retry,
        "result_backend": url,
        "result_backend_transport_options": {"retry_policy": retry},
        "redis_socket_timeout": settings.redis_socket_timeout_s,
        "redis_socket_connect_timeout": settings.redis_connect_timeout_s,
        "redis_socket_keepalive": True,
        "redis_backend_health_check_interval": settings.redis_health_check_interval_s,
    }


def _kombu_url(url: str) -> str:
    return url.replace("unix:", "redis+socket:", 1) if url.startswith("unix:") else url


def _messages(settings: Settings) -> dict[str, Any]:
    signed = serializer(settings)
    return {
        "accept_content": [signed],
        "task_serializer": signed,
        "result_serializer": "json",
        "result_accept_content": ["json"],
        "event_serializer": signed,
        "result_expires": settings.result_expires_s,
        "task_ignore_result": True,  # commands and queries opt in
        "task_queues": [Queue(name, Exchange(name, type="direct"), routing_key=name) for name in routes.QUEUES],
        "task_default_queue": routes.COMMANDS,
        "task_create_missing_queues": False,  # a mistyped queue raises instead of filling a list nobody reads
        "task_routes": (routes.route_task,),
        "timezone": "UTC",
        "enable_utc": True,
    }


def _tasks() -> dict[str, Any]:
    return {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,  # else a killed child loses its command
        "task_retry_on_worker_lost": True,  # else a task that kills its child is run for ever
        "task_acks_on_failure": True,  # the caller sends again under the same command id, with a cap of its own
        "task_acks_on_timeout": True,
        "task_send_sent_event": False,
        "worker_send_task_events": True,
    }


def _worker() -> dict[str, Any]:
    return {
        "worker_pool": "prefork",  # threads know no time limits
        "worker_concurrency": 2,
        "worker_prefetch_multiplier": 1,  # a stop is never parked behind another task
        "worker_cancel_long_running_tasks_on_connection_loss": True,  # its message is restored: it would run twice
        "worker_soft_shutdown_timeout": 10.0,
        "worker_enable_remote_control": True,  # Flower
        "worker_proc_alive_timeout": 30.0,  # a child slow to report on a busy machine is killed otherwise
        "worker_max_tasks_per_child": 10_000,
        "worker_max_memory_per_child": 400_000,  # kB
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,  # tasks/printed.py does
    }


def _beat(settings: Settings) -> dict[str, Any]:
    return {
        "beat_scheduler": "tasks.beat:Scheduler",  # in memory: nothing to lose, nothing to lock
        "beat_max_loop_interval": 1,
        "beat_enable_remote_control": True,  # `celery inspect ping -d celerybeat@host` tells whether it lives
        "beat_remote_control_max_tick_age": 20.0,
        "beat_schedule": {entry.task: _scheduled(entry, settings) for entry in beat_schedule.ENTRIES},
    }


def _scheduled(entry: beat_schedule.Entry, settings: Settings) -> dict[str, Any]:
    options = {"expires": entry.expires_s(settings), "ignore_result": True}
    return {"task": entry.task, "schedule": entry.interval_s(settings), "options": options}
