"""The desk's own app with one more task, which does nothing: `celery -A benchmarks.noop_app`."""

from tasks.celery import app


@app.task(name="bench.noop", ignore_result=False)
def noop(**_kwargs: str) -> dict[str, str]:
    """Do nothing with the arguments of a command, and answer: what Celery costs, on the very same worker."""
    return {"state": "done"}
