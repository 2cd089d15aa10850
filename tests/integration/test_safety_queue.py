"""What ends risk is read before all else."""

from uuid import uuid4

import pytest
from running_desk import RunningDesk, frozen, quiet_desk, run
from sqlalchemy import text
from worker_process import raw_app, wait_until

from fntx_sessions.caller import producer
from fntx_sessions.database.engine import build_engine, transaction
from tasks import routes

__all__ = ["quiet_desk"]
WAITING = 60
# What two processes have in hand, what their worker took ahead for them, and what its waiting read got meanwhile.
HELD = 5
FINISHED = text("SELECT command_id, finished_at FROM commands WHERE session_id = :id AND trigger <> 'create_session'")


def test_whoever_sends_and_whoever_works_agree_on_what_ends_risk():
    """A manager's stop goes where workers look first; every such task is one there is."""
    assert producer.SAFETY_TASKS == routes.SAFETY_TASKS
    from tasks.celery import app  # noqa: PLC0415 -- loads every task

    app.loader.import_default_modules()
    assert set(app.tasks) >= routes.SAFETY_TASKS
    assert {routes.queue_for(name) for name in routes.SAFETY_TASKS} == {routes.SAFETY} == {producer.SAFETY}


@pytest.mark.timeout(120)
def test_a_stop_waits_behind_nothing(quiet_desk: RunningDesk):
    """However many commands were sent before it: it is done next, by a worker that was not told of its queue."""
    stranger = raw_app(quiet_desk.redis_url)

    async def scenario() -> tuple:
        async with quiet_desk.manager() as manager:
            session = await manager.create_session("paper_trading")
            with frozen(worker):
                for _ in range(WAITING):
                    asked = {"session_id": str(session.session_id)}
                    stranger.send_task("fntx.sessions.resume", kwargs=asked, task_id=str(uuid4()), queue="commands")
                stop = uuid4()
                stranger.send_task(
                    "fntx.sessions.stop", kwargs=asked | {"reason": "enough"}, task_id=str(stop), queue="safety"
                )
            return session.session_id, stop

    with quiet_desk.worker("-Q", "commands,queries", "-c", "2") as worker:
        session_id, stop = run(scenario)
        engine = build_engine(quiet_desk.database_url, quiet_desk.settings)
        found = finished(engine, session_id)
    engine.dispose()
    stranger.close()
    before = [one for one, at in found.items() if at < found[stop]]
    assert len(found) == WAITING + 1
    assert len(before) <= HELD


def finished(engine, session_id):
    """Return when each command ended, once all have."""
    rows: dict = {}

    def all_are() -> bool:
        with transaction(engine) as connection:
            rows.update((row.command_id, row.finished_at) for row in connection.execute(FINISHED, {"id": session_id}))
        return len(rows) > WAITING and all(rows.values())

    wait_until(all_are, "every command has ended")
    return rows
