"""The tasks, as a worker's app whose hosted agents know credentials. `celery -A canary_app`."""

from unittest import mock

from knowing_agents import known_with_ours

from fntx_sessions.agents import registry
from tasks.celery import app

__all__ = ["app"]
mock.patch.object(registry, "_found", return_value=known_with_ours()).start()
