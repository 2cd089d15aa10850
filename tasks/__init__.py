"""The Celery edge: ``celery -A tasks worker|beat|flower``."""

from tasks import signals  # noqa: F401 - importing it connects its receivers
from tasks.celery import app

__all__ = ["app"]
