"""No agents worker lives: whoever looks, asks for more, or holds positions is told; no session trades unseen."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hosting import Hosting, S, T, make_hosting, shared

from fntx_sessions.automation import hosts
from fntx_sessions.cli import details, output
from fntx_sessions.lifecycle.arguments import ListArguments
from fntx_sessions.lifecycle.reads.sessions import get_session, list_sessions
from fntx_sessions.stack.host_status import diagnose_hosts, read_hosts

NOBODY = "no agents worker lives"


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def gone(hosting: Hosting, seconds: float = 40.0) -> None:
    """Let every host have been lost for so long; two leases are 30 s."""
    hosting.run("UPDATE hosts SET lease_until = now() - make_interval(secs => :s)", s=seconds)


def alive(hosting: Hosting, queues: str = "agents") -> None:
    hosts.renew(hosting.desk.engine, hosting.desk.settings, f"other-{queues}", queues)


def shown(hosting: Hosting, session_id) -> dict:
    return get_session(*hosting.desk.parts(), session_id).model_dump(mode="json")


def test_resume_and_start_warn_where_nobody_would_step(hosting):
    """The command is done, and its outcome says that nothing steps; with a worker there it says nothing."""
    session_id = hosting.holding(hosting.started())
    hosting.do(T.PAUSE, session_id)
    gone(hosting)
    alive(hosting, "commands,queries")
    assert NOBODY in hosting.do(T.RESUME, session_id).warnings[0]
    assert NOBODY in hosting.do(T.START, hosting.create()).warnings[-1]
    alive(hosting)
    hosting.do(T.PAUSE, session_id)
    assert hosting.do(T.RESUME, session_id).warnings == ()
    assert hosting.do(T.START, hosting.create()).warnings == ()


def test_show_and_ls_say_that_nobody_steps_it(hosting, capsys):
    """How many positions, since when, what to run; nothing of it while a worker lives or where nothing is to step."""
    session_id, new = hosting.holding(hosting.started()), hosting.create()
    assert shown(hosting, session_id)["unattended"] is None
    gone(hosting)
    found = {row.session_id: row.model_dump(mode="json") for row in list_sessions(hosting.desk.engine, ListArguments())}
    assert found[session_id]["unattended"]["positions"] == 1
    assert "fntx up" in output.to_do(found[session_id])
    assert found[new]["unattended"] is None
    details.show(shown(hosting, session_id))
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 open position; no agents worker lives since" in printed


def test_what_holds_positions_is_told_once_an_outage(hosting):
    """Longer than two leases: critical, for a person; not before, not twice, not to what is flat; anew next time."""
    session_id, flat = hosting.holding(hosting.started()), hosting.started()
    gone(hosting, 20)
    hosting.watch()
    assert hosting.events(session_id, "no_host") == []
    gone(hosting, 40)
    hosting.watch()
    hosting.watch()
    [told] = hosting.events(session_id, "no_host")
    assert (told["severity"], told["requires_action"]) == ("critical", True)
    assert "1 open position" in told["description"]
    assert hosting.events(flat, "no_host") == []
    alive(hosting)
    hosting.watch()
    hosting.run("UPDATE hosts SET lease_until = now() + interval '1 s'")
    hosting.run("UPDATE sweep_runs SET last_run = now() - interval '1 hour' WHERE name = 'no_host'")
    gone(hosting, 50)
    hosting.watch()
    assert len(hosting.events(session_id, "no_host")) == 2


def test_doctor_judges_workers_by_their_leases(hosting):
    """A process that runs and does not renew is found; what it leaves is counted."""
    session_id = hosting.holding(hosting.started())
    with hosting.desk.engine.connect() as connection:
        assert [check.result for check in diagnose_hosts(read_hosts(connection))] == ["ok"]
    gone(hosting)
    with hosting.desk.engine.connect() as connection:
        [check] = diagnose_hosts(read_hosts(connection))
    assert check.result == "fail"
    assert "1 session waits to be stepped, 1 of them holding positions" in check.meaning
    assert hosting.row(session_id)["status"] == S.ACTIVE
