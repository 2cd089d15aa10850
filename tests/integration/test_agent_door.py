"""The desk's side of the agent protocol: joining, reporting, leaving, and everything that is refused."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from door_world import AGENT, EXECUTOR, PLANNER, invited, joined, leave, own, refused, report, started
from hosting import ANN, Hosting, S, T, make_hosting, shared
from pydantic import ValidationError

from fntx_sessions.agents import joining
from fntx_sessions.agents.joining import AgentArguments, JoinArguments
from fntx_sessions.agents.roster import RosterArguments, list_agents
from fntx_sessions.exceptions import Forbidden, InvalidArgument, NotFound, PreconditionFailed, SessionClosed
from fntx_sessions.lifecycle import execute, machine
from fntx_sessions.lifecycle.arguments import ForkArguments
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.agent_doors import AGENT_REPORT, Refusal
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.redis_client import key
from fntx_sessions.state.validation import validate_state

MALLORY = Actor("mallory", frozenset({"agent"}))
ADA = Actor("ada", frozenset({"admin"}))


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


# Joining


def test_who_joins_is_told_the_session_and_how_to_report(hosting):
    """Settings, epoch, limits, keys and script; what is reported with the ticket is what the desk reads."""
    session_id = invited(hosting, PLANNER, agent_configurations={PLANNER: {"horizon": 3}})
    told = joined(hosting, session_id)
    assert (told["status"], told["version"], told["epoch"], told["position"]) == (S.INITIALIZING, 1, 0, "0-0")
    assert (told["configuration"], told["internal_state"], told["missed"]) == ({"horizon": 3}, None, False)
    assert told["limits"]["part_bytes"] == hosting.desk.settings.max_part_bytes
    assert told["report_script"] == AGENT_REPORT.text
    assert report(hosting, told, own(n=1)) == [1, 0, 1, 0]
    [cut] = LiveState(hosting.desk.redis, hosting.desk.settings).read([session_id])
    assert (cut.parts, set(cut.beats)) == (own(n=1), {PLANNER})
    assert joined(hosting, session_id)["internal_state"] == {"n": 1}


def test_only_who_is_invited_and_may_report_joins(hosting):
    """Refused by name: another's roster, a hosted agent, a closed session, no such session, an operator's token."""
    session_id = hosting.create(config={"agents": [PLANNER, "RiskManagerAgent"]})
    with pytest.raises(NotFound, match="Nobody"):
        joined(hosting, session_id, "Nobody")
    with pytest.raises(InvalidArgument, match="hosted by the desk"):
        joined(hosting, session_id, "RiskManagerAgent")
    with pytest.raises(NotFound, match="no session"):
        joined(hosting, uuid4())
    asked = JoinArguments(session_id=session_id, agent=PLANNER)
    with pytest.raises(Forbidden):
        joining.join(hosting.desk, Actor("ann", frozenset({"operator"})), asked)
    with pytest.raises(Forbidden):
        joining.join(hosting.desk, Actor("x", frozenset({"agent"}), sessions=frozenset({str(uuid4())})), asked)
    hosting.do(T.STOP, session_id)
    hosting.finish()
    with pytest.raises(SessionClosed, match="is closed"):
        joined(hosting, session_id)
    assert (
        hosting.rows("SELECT * FROM session_agents WHERE joined_at IS NOT NULL AND session_id = :id", id=session_id)
        == []
    )


def test_a_start_goes_on_as_the_last_agent_joins_and_is_refused_naming_who_does_not(hosting):
    """One of two is not enough; joined but not ready is not either."""
    session_id = invited(hosting)
    command_id = uuid4()
    assert hosting.ask(T.START, session_id, command_id=command_id).extra["waiting_for"] == [EXECUTOR, PLANNER]
    assert joined(hosting, session_id)["status"] == S.INITIALIZING
    assert joined(hosting, session_id, EXECUTOR, ready=False)["status"] == S.INITIALIZING
    told = joining.ready(hosting.desk, AGENT, AgentArguments(session_id=session_id, agent=EXECUTOR))
    assert (told["status"], told["epoch"]) == (S.ACTIVE, 1)
    assert machine.stored_outcome(hosting.desk.engine, command_id).state == "done"
    other = invited(hosting, wait_ready_s=0)
    joined(hosting, other)
    with pytest.raises(PreconditionFailed, match=f"not ready after 0 s: {EXECUTOR}"):
        hosting.ask(T.START, other).raise_for_refusal()


def test_of_two_processes_as_one_agent_the_later_one_speaks(hosting):
    """The earlier ticket is superseded at once, and nothing it sends is written."""
    session_id, told = started(hosting, PLANNER)
    newer = joined(hosting, session_id)
    assert refused(report(hosting, told[PLANNER], own(n=1)))[0] is Refusal.SUPERSEDED
    assert report(hosting, newer, own(n=2))[0] == 1
    assert len(hosting.events(session_id, "agent_joined")) == 3


def test_another_s_token_takes_no_agent_over(hosting):
    """It joins, readies and lets go nobody's agent, nor a silent one: till that leaves, or an admin lets it go."""
    session_id = invited(hosting)
    told, asked = joined(hosting, session_id), AgentArguments(session_id=session_id, agent=PLANNER)
    as_planner = JoinArguments(session_id=session_id, agent=PLANNER)
    hosting.run(
        "UPDATE session_agents SET joined_at = now() - interval '30 days' WHERE session_id = :id", id=session_id
    )
    before = hosting.rows("SELECT * FROM session_agents WHERE session_id = :id ORDER BY agent", id=session_id)
    for attempt in (
        lambda: joining.join(hosting.desk, MALLORY, as_planner),
        lambda: joining.ready(hosting.desk, MALLORY, asked),
        lambda: joining.leave(hosting.desk, MALLORY, asked),
    ):
        with pytest.raises(Forbidden, match=r"report as TheirPlanner: .*joined with, of 'their-service'"):
            attempt()
    after = hosting.rows("SELECT * FROM session_agents WHERE session_id = :id ORDER BY agent", id=session_id)
    assert (after, report(hosting, told, own(n=1))[0]) == (before, 1)
    assert report(hosting, joined(hosting, session_id), own(n=2))[0] == 1  # started again, under its own name
    joining.leave(hosting.desk, ADA, asked)
    taken = joining.join(hosting.desk, MALLORY, as_planner)
    assert report(hosting, taken, own(n=3))[0] == 1
    assert report(hosting, joining.join(hosting.desk, ADA, as_planner), own(n=4))[0] == 1


def test_of_two_tokens_that_join_at_once_one_has_the_agent(hosting):
    """The other is refused, and the ticket that Postgres and Redis hold is the first one's."""
    session_id = invited(hosting)
    names = [f"service-{number}" for number in range(4)]

    def attempt(name: str) -> str | None:
        actor = Actor(name, frozenset({"agent"}))
        try:
            joining.join(hosting.desk, actor, JoinArguments(session_id=session_id, agent=PLANNER))
        except Forbidden:
            return None
        return name

    with ThreadPoolExecutor(4) as pool:
        [winner] = [name for name in pool.map(attempt, names) if name]
    sought = "SELECT joined_by FROM session_agents WHERE session_id = :id AND agent = :agent"
    assert hosting.rows(sought, id=session_id, agent=PLANNER) == [{"joined_by": winner}]


def test_who_left_reports_no_more_and_holds_the_next_start(hosting):
    """Its ticket is gone, a start waits for it again; back, it reads on where it was."""
    session_id = invited(hosting, PLANNER)
    told = joined(hosting, session_id)
    assert report(hosting, told, ack="1-0")[0] == 1
    leave(hosting, session_id)
    assert refused(report(hosting, told))[0] is Refusal.NOT_JOINED
    assert hosting.ask(T.START, session_id).state == "pending"
    back = joined(hosting, session_id)
    assert (back["status"], back["position"]) == (S.ACTIVE, "1-0")


def test_a_joining_that_is_run_twice_is_one(hosting):
    """The same ticket, chosen by who joins: told once, and good afterwards; one that is easily guessed is refused."""
    session_id = invited(hosting, PLANNER)
    for _ in range(2):
        said = joined(hosting, session_id, ticket="ab" * 16)
    assert report(hosting, said)[0] == 1
    assert len(hosting.events(session_id, "agent_joined")) == 1
    with pytest.raises(ValidationError, match="ticket"):
        joined(hosting, session_id, ticket="ab" * 15)


# Reporting


def test_an_old_epoch_is_refused_with_the_one_that_stands(hosting):
    """A start raises it; the same ticket reports under the new one."""
    session_id = invited(hosting, PLANNER)
    told = joined(hosting, session_id)
    hosting.do(T.START, session_id)
    assert refused(report(hosting, told, own())) == (Refusal.STALE_EPOCH, "1")
    assert report(hosting, told, own(), epoch=1)[:2] == [1, 1]
    assert refused(report(hosting, told, own(), epoch="x"))[0] is Refusal.STALE_EPOCH


def test_tickets_acknowledgements_and_limits_survive_a_recovery(hosting):
    """Suspended and recovered: the same ticket goes on under the new epoch, from where it had read."""
    session_id, told = started(hosting, PLANNER)
    report(hosting, told[PLANNER], own(n=1), ack="2-0")
    hosting.save(session_id)
    hosting.do(T.SUSPEND, session_id)
    hosting.do(T.RECOVER, session_id)
    epoch = hosting.row(session_id)["epoch"]
    assert refused(report(hosting, told[PLANNER])) == (Refusal.STALE_EPOCH, str(epoch))
    assert report(hosting, told[PLANNER], own(n=2), epoch=epoch)[:2] == [1, epoch]
    back = joined(hosting, session_id)
    assert (back["position"], back["internal_state"]) == ("2-0", {"n": 2})


def test_after_a_flush_of_redis_one_joins_again_and_has_its_memory_from_the_save(hosting):
    """Until then nothing is taken; the inbox begins anew."""
    session_id, told = started(hosting, PLANNER)
    report(hosting, told[PLANNER], own(n=7), ack="2-0")
    hosting.save(session_id)
    hosting.desk.redis.flushdb()
    assert refused(report(hosting, told[PLANNER], own()))[0] is Refusal.NOT_LIVE
    again = joined(hosting, session_id)
    assert (again["internal_state"], again["position"], again["epoch"]) == ({"n": 7}, "0-0", 1)
    assert report(hosting, again, own(n=8))[0] == 1


def test_who_joins_a_fork_inherits_its_memory_and_goes_on_from_there(hosting):
    """What it was in the parent is answered before the start; what it reported since then outlives the start."""
    parent, told = started(hosting, PLANNER)
    report(hosting, told[PLANNER], own(n=1))
    arguments = ForkArguments(session_id=parent, session_type="paper_trading")
    child = execute.fork(hosting.desk, ANN, arguments, uuid4()).raise_for_refusal().session_id
    said = joined(hosting, child)
    assert said["internal_state"] == {"n": 1}
    assert report(hosting, said, own(n=2))[0] == 1
    hosting.do(T.START, child)
    assert joined(hosting, child)["internal_state"] == {"n": 2}


def test_a_closed_session_takes_no_report(hosting):
    """Its live state is kept for a while, and nobody writes it."""
    session_id, told = started(hosting, PLANNER, feed={"kind": "published"})
    hosting.do(T.STOP, session_id, close_positions=False)
    hosting.finish()
    assert hosting.row(session_id)["status"] == S.CLOSED
    assert refused(report(hosting, told[PLANNER], own()))[0] is Refusal.NOT_LIVE
    assert 0 < hosting.desk.redis.ttl(key(session_id, "live")) <= hosting.desk.settings.hot_ttl_s


def test_who_fell_too_far_behind_is_told_so(hosting):
    """The inbox is bounded: where what it never acknowledged is gone, joining says so and answers the state."""
    session_id, told = started(few := hosting.with_settings(agent_inbox_entries=10), PLANNER)
    report(few, told[PLANNER], ack="1-0")
    assert not joined(few, session_id)["missed"]
    for number in range(130):  # streams are cut by whole nodes of 100 entries
        few.desk.redis.xadd(told[PLANNER]["keys"]["inbox"], {"event": "{}"}, id=f"2-{number + 10}")
    few.do(T.PAUSE, session_id)
    behind = joined(few, session_id)
    assert few.desk.redis.xlen(behind["keys"]["inbox"]) <= 110
    assert (behind["missed"], behind["position"], behind["status"]) == (True, "1-0", S.PAUSED)


# Bad input


def test_nobody_reports_for_a_session_it_is_not_in(hosting):
    """A stranger's ticket, a made-up name, a session that is not there: refused, and no name makes a field."""
    session_id, told = started(hosting, PLANNER)
    other = invited(hosting, EXECUTOR)
    stranger = joined(hosting, other, EXECUTOR)
    stranger["keys"] = told[PLANNER]["keys"]
    fields = set(hosting.desk.redis.hkeys(key(session_id, "live")))
    assert refused(report(hosting, stranger, own(EXECUTOR), epoch=1))[0] is Refusal.NOT_JOINED
    assert refused(report(hosting, stranger, own("x"), epoch=1, agent="x"))[0] is Refusal.NOT_JOINED
    added = set(hosting.desk.redis.hkeys(key(session_id, "live"))) - fields
    assert added == {b"refused::not_joined", b"refused_at:"}
    nowhere = {**told[PLANNER], "keys": {"live": key(uuid4(), "live"), "records": "x"}}
    assert refused(report(hosting, nowhere, own()))[0] is Refusal.NOT_LIVE
    assert not hosting.desk.redis.exists(nowhere["keys"]["live"])


def test_a_part_has_one_who_reports_it(hosting):
    """Another's memory, the desk's own market, and a second executor's money view are refused, naming whose it is."""
    session_id, told = started(hosting, PLANNER, EXECUTOR)
    money = {"trading": b'{"daily_pnl":1.0}'}
    assert refused(report(hosting, told[PLANNER], own(EXECUTOR))) == (Refusal.NOT_YOURS, f"agent/{EXECUTOR}")
    assert report(hosting, told[EXECUTOR], money)[0] == 1
    assert refused(report(hosting, told[PLANNER], money)) == (
        Refusal.NOT_YOURS,
        f"trading is reported by {EXECUTOR}",
    )
    leave(hosting, session_id, EXECUTOR)
    assert report(hosting, told[PLANNER], money)[0] == 1
    ours = started_with_hosted(hosting)
    for part, data in (("trading", b"{}"), ("market", b'{"timestamp":"2024-01-02T14:30:00Z","spy_price":1}')):
        assert refused(report(hosting, ours, {part: data})) == (Refusal.NOT_YOURS, f"{part} is reported by desk")


def started_with_hosted(hosting: Hosting) -> dict[str, Any]:
    agents = [PLANNER, "EnvironmentWatcherAgent", "TacticalExecutorAgent"]
    session_id = hosting.create(config={"agents": agents})
    joined(hosting, session_id)
    hosting.do(T.START, session_id)
    return joined(hosting, session_id)


def test_a_flood_is_held_at_its_limit_and_harms_nobody_else(hosting):
    """Reports beyond the limit of a second are refused and counted; the other agent goes on."""
    few = hosting.with_settings(agent_reports_max_per_s=5)
    _, told = started(few, PLANNER, EXECUTOR)
    answers = [report(few, told[PLANNER]) for _ in range(200)]
    assert {refused(answer) for answer in answers if not answer[0]} == {(Refusal.TOO_MANY, "5")}
    assert report(few, told[EXECUTOR])[0] == 1


def test_fifty_megabytes_are_refused_whole(hosting):
    """A part or a record above its limit: nothing of the report is written."""
    session_id, told = started(hosting, PLANNER)
    before = LiveState(hosting.desk.redis, hosting.desk.settings).marks([session_id])
    large = {f"agent/{PLANNER}": b"x" * 50_000_000}
    assert refused(report(hosting, told[PLANNER], large))[0] is Refusal.TOO_LARGE
    record = ("decision", "d1", b"x" * 70_000)
    assert refused(report(hosting, told[PLANNER], own(n=1), (record,)))[0] is Refusal.TOO_LARGE
    assert LiveState(hosting.desk.redis, hosting.desk.settings).marks([session_id]) == before
    assert not hosting.desk.redis.exists(told[PLANNER]["keys"]["records"])


def test_records_wait_up_to_a_limit(hosting):
    """Beyond it a report with records is refused whole; one without goes through."""
    few = hosting.with_settings(agent_records_max=2)
    _, told = started(few, PLANNER)
    records = tuple(("decision", f"d{n}", b"{}") for n in range(2))
    assert report(few, told[PLANNER], None, records) == [1, 1, 0, 2]
    assert refused(report(few, told[PLANNER], own(), records[:1])) == (Refusal.BACKLOG, "2")
    assert report(few, told[PLANNER], own())[0] == 1


def test_records_wait_up_to_so_many_bytes(hosting):
    """Together beyond it a report is too large; beyond it with those that wait it is to be sent again."""
    session_id, told = started(hosting, PLANNER)
    hosting.desk.redis.hset(key(session_id, "live"), "cap:records_bytes", 1000)
    large = ("decision", "d1", b"x" * 400)
    assert refused(report(hosting, told[PLANNER], None, (large, large, large)))[0] is Refusal.TOO_LARGE
    assert report(hosting, told[PLANNER], None, (large, large))[3] == 2
    assert refused(report(hosting, told[PLANNER], None, (large,))) == (Refusal.BACKLOG, "1000 bytes of")
    oldest = hosting.desk.redis.xrange(told[PLANNER]["keys"]["records"])[0][0]
    hosting.desk.redis.xdel(told[PLANNER]["keys"]["records"], oldest)
    assert report(hosting, told[PLANNER], None, (large,))[3] == 1
    assert refused(report(hosting, told[PLANNER], None, (large,)))[0] is Refusal.BACKLOG
    hosting.desk.redis.delete(told[PLANNER]["keys"]["records"])
    assert report(hosting, told[PLANNER], None, (large, large))[3] == 2


def test_what_cannot_be_kept_is_seen_before_the_start_and_refuses_it(hosting):
    """A part that is no UTF-8, reported while INITIALIZING: `fntx validate` and the start name it; then mended."""
    session_id = invited(hosting, PLANNER, EXECUTOR)
    told = joined(hosting, session_id)
    assert validate_state(*hosting.desk.parts(), session_id)["valid"]
    assert report(hosting, told, {f"agent/{PLANNER}": b"\xff"})[0] == 1
    [found] = validate_state(*hosting.desk.parts(), session_id)["errors"]
    assert found["path"] == f"agent/{PLANNER}"
    with pytest.raises(PreconditionFailed, match=f"agent/{PLANNER}"):
        hosting.ask(T.START, session_id).raise_for_refusal()
    report(hosting, told, own(n=1))
    waiting = uuid4()
    assert hosting.ask(T.START, session_id, command_id=waiting).state == "pending"
    report(hosting, told, {f"agent/{PLANNER}": b"{}"})
    joined(hosting, session_id, EXECUTOR)
    assert "can be kept" in str(machine.stored_outcome(hosting.desk.engine, waiting).error)
    assert hosting.row(session_id)["pending"] is None
    report(hosting, told, own(n=2))
    assert hosting.do(T.START, session_id).status == S.ACTIVE


@pytest.mark.parametrize(
    "tail",
    [
        ["x"],
        [-1],
        ["1.5"],
        ["nan"],
        [9],
        [1, "agent/TheirPlanner"],
        [1, "foo", "{}"],
        [0, "trade"],
        [0, "order", "1", "{}"],
        [0, "trade", "", "{}"],
    ],
)
def test_what_is_no_report_is_refused(hosting, tail):
    """Counts that do not fit, records of no kind, ids of no length: named, and nothing written."""
    _, told = started(hosting, PLANNER)
    said = told[PLANNER]
    keys = (said["keys"]["live"], said["keys"]["records"])
    answer = AGENT_REPORT.run(hosting.desk.redis, keys, said["epoch"], PLANNER, said["ticket"], "", *tail)
    assert refused(answer)[0] is Refusal.MALFORMED


def test_an_acknowledgement_only_moves_forward(hosting):
    """An older one, or one of nothing that was written, moves nothing that the next join is told."""
    session_id, told = started(hosting, PLANNER)
    for ack in ("2-0", "1-0"):
        report(hosting, told[PLANNER], ack=ack)
    assert joined(hosting, session_id)["position"] == "2-0"
    again = joined(hosting, session_id)
    last = hosting.desk.redis.xrevrange(again["keys"]["inbox"], count=1)[0][0].decode()
    assert report(hosting, again, ack="999-0")[0] == 1
    assert hosting.desk.redis.hget(again["keys"]["live"], f"ack:{PLANNER}") == last.encode()
    hosting.do(T.PAUSE, session_id)
    assert list_agents(hosting.desk, RosterArguments(session_id=session_id))[0].behind == 1
    again = joined(hosting, session_id)
    for wrong in ("x", f"{10**23}-0", f"1-{10**23}", "-1-0", "1-0 "):
        assert refused(report(hosting, again, ack=wrong))[0] is Refusal.MALFORMED
    assert again["position"] == last
    hosting.desk.redis.hset(again["keys"]["live"], f"ack:{PLANNER}", f"1-{10**23}")
    assert joined(hosting, session_id)["position"] != f"1-{10**23}"
    assert orjson.loads(hosting.desk.redis.xrange(again["keys"]["inbox"])[0][1][b"event"])["event"] == "session_created"
