"""Celery alone, under the very settings of the desk: `celery -A benchmarks.noop_app`."""

import json
import os
from pathlib import Path

from celery import Celery

QUEUE = "noop"
SETTINGS = "BENCH_CELERY_SETTINGS"

app = Celery("noop")
app.conf.update(json.loads(Path(os.environ[SETTINGS]).read_text()) if SETTINGS in os.environ else {})
app.conf.task_default_queue = QUEUE


@app.task(name="bench.noop", ignore_result=False)
def noop(**_kwargs: str) -> dict[str, str]:
    """Do nothing with the arguments of a command, and answer."""
    return {"state": "done"}
