"""The Celery app: named tasks over Redis, its settings read from the environment when first used, not at import."""

from typing import Any

from celery import Celery

from fntx_sessions.exceptions import Unavailable
from fntx_sessions.settings import get_settings
from tasks import kombu_patch, result_text, transport  # noqa: F401 - before the app is made
from tasks.configuration import celery_settings


class Desk(Celery):
    """A Celery app that says what is missing when no Redis is configured, instead of trying an AMQP server."""

    control_cls = "tasks.control:Control"

    def _connection(self, url: str | None, *args: Any, **kwargs: Any) -> Any:
        if not url:
            raise _no_redis()
        return super()._connection(url, *args, **kwargs)  # type: ignore[misc]

    def _get_backend(self) -> Any:
        if not self.conf.result_backend:
            raise _no_redis()
        return super()._get_backend()  # type: ignore[misc]


def _no_redis() -> Unavailable:
    fix = "Start the stack with `fntx up`, or set FNTX_REDIS_URL to a server that runs."
    return Unavailable("Redis", "no address is configured", fix)


app = Desk(
    "fntx",
    include=[
        "tasks.agents",
        "tasks.approvals",
        "tasks.orders",
        "tasks.rules",
        "tasks.templates",
        "tasks.commands",
        "tasks.confirmations",
        "tasks.foreseen",
        "tasks.events",
        "tasks.queries",
        "tasks.sweeps",
        "tasks.backtests",
        "tasks.bulk",
        "tasks.halts",
        "tasks.health",
        "tasks.market",
        "tasks.memory",
        "tasks.state",
        "tasks.tokens",
    ],
    set_as_current=True,
)
app.add_defaults(lambda: celery_settings(get_settings()))


@app.on_after_finalize.connect
def _leave_out_celerys_own(**_: Any) -> None:
    # They run whatever tasks their arguments name, in the worker's name.
    for name in [name for name in app.tasks if name.startswith("celery.")]:
        app.tasks.unregister(name)
