"""Asking the desk from another process: send, send again, await. Knows Celery and Redis, never the database."""
