"""Transitions become memories by themselves, and agents are told, whatever becomes of the memory system meanwhile."""

import asyncio
import threading
import time
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
from hosting import T, make_hosting, shared

from fntx_sessions.agents import memories
from fntx_sessions.agents.registry import get_agent
from fntx_sessions.automation import alerts, remembering
from fntx_sessions.exceptions import CommandConflict, StackError, Unavailable
from fntx_sessions.lifecycle.reads.history import get_transitions
from fntx_sessions.memory import calling, store, systems
from fntx_sessions.memory import remembering as work
from fntx_sessions.memory.arguments import (
    ContextArguments,
    ListArguments,
    SearchArguments,
    ShareArguments,
    StoreArguments,
)
from fntx_sessions.memory.asking import Asked
from fntx_sessions.memory.slices import MemoryImportance, MemorySlice, MemoryType, StoredMemory
from fntx_sessions.memory.systems import OtherMemory, memory_of
from fntx_sessions.security.actor import Actor
from fntx_sessions.stack.lag_status import LagFound, diagnose_lag

ANN_ADMIN = Actor("ada", frozenset({"admin"}))
SENDER = "SessionLifecycleManager"
DOWN = "fntx:memory:down:theirs"


@pytest.fixture
def desk(tmp_path, module_database_url, redis_url):
    """A desk on the module's database, where nothing is due to be remembered."""
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        made.run("DELETE FROM memories; DELETE FROM alerts; UPDATE session_work SET memory_due_at = NULL")
        yield made


class Theirs:
    """A memory system of another package; fails, hangs or blocks for the sessions it is told to."""

    def __init__(self):
        self.stored: list[tuple[str, MemorySlice]] = []
        self.shared: list[tuple[str, list[str], dict]] = []
        self.problems: dict = {}
        self.calls = 0
        self.release = threading.Event()

    async def store_memory(self, agent, memory):
        self.calls += 1
        problem = self.problems.get(memory.session_id, self.problems.get("all"))
        if problem == "hang":
            await asyncio.Event().wait()
        if problem == "block":
            self.release.wait(20)
        if problem is not None:
            raise problem if isinstance(problem, Exception) else RuntimeError(problem)
        self.stored.append((agent, memory))

    async def share_context(self, sender, recipients, context):
        self.shared.append((sender, recipients, context))

    async def search_memories(self, *_, **__):
        self.calls += 1
        if self.problems.get("all") == "hang":
            await asyncio.Event().wait()
        return [_found(agent, memory) for agent, memory in self.stored]

    async def get_agent_memories(self, *_, **__):
        return [_found(agent, memory).model_dump(mode="json") for agent, memory in self.stored]

    def versions(self, session_id: UUID) -> list[int]:
        """Return the versions of a session that were stored, in their order."""
        found = [memory.content["session_transition"] for agent, memory in self.stored if agent == SENDER]
        return [one["version"] for one in found if one["session_id"] == str(session_id)]


def _found(agent: str, memory: MemorySlice) -> StoredMemory:
    named = {name: getattr(memory, name) for name in MemorySlice.model_fields}
    return StoredMemory(**named, memory_id=uuid4(), agent=agent, created_at="2026-01-02T00:00:00Z")


@pytest.fixture
def theirs(desk, monkeypatch):
    """Another package's memory system under the name `theirs`; its threads are ended."""
    made = Theirs()
    monkeypatch.setattr(systems, "load", lambda _: made)
    desk.desk.redis.delete(DOWN)
    yield made
    made.release.set()
    calling.caller.close()
    for thread in calling.caller._lost:
        thread.join(timeout=20)
    calling.caller._lost.clear()


@pytest.fixture
def elsewhere(desk, theirs):
    """The desk with that system, which is given little time."""
    return desk.with_settings(memory="theirs", memory_timeout_s=0.05)


def due(desk) -> None:
    """Make due what waits for a later attempt."""
    again = "UPDATE session_work SET memory_due_at = now(), memory_claimed_until = NULL WHERE memory_due_at IS NOT NULL"
    desk.run(again)


def standing(desk, session_id: UUID) -> tuple[int, int, bool]:
    """Return up to which version a session is remembered, how often that failed, and whether it is due."""
    row = desk.row(session_id)
    return row["remembered_version"], row["memory_failures"], row["memory_due_at"] is not None


def slices(desk, session_id: UUID) -> list[StoredMemory]:
    """Return what the shipped system remembers of a session, oldest first."""
    return memory_of(*desk.desk.parts()).listed(ListArguments(session_id=session_id))[::-1]


def told(desk, agent: str, session_id: UUID) -> list[dict]:
    asked = ContextArguments(agent=agent, session_id=session_id)
    return [one.context for one in memory_of(*desk.desk.parts()).context(asked)]


def test_every_transition_is_a_slice_and_every_agent_is_told(desk):
    """Creation, start, pause, resume: each is stored as the spec's example has it, and the roster is told of it so."""
    session_id = desk.started()
    desk.do(T.PAUSE, session_id, reason="lunch")
    desk.do(T.UPDATE, session_id, config={"tags": ["x"]})
    desk.do(T.RESUME, session_id)
    assert remembering.remember(desk.desk) == 1
    transitions = get_transitions(desk.desk.engine, session_id, 100)
    kept = slices(desk, session_id)
    assert [one.content for one in kept] == [
        MemorySlice(MemoryType.EXECUTION, {"session_transition": one.dict()}).content for one in transitions
    ]
    assert [one.memory_id for one in kept] == [one.transition_id for one in transitions]
    assert {(one.agent, one.memory_type, one.importance) for one in kept} == {
        (SENDER, MemoryType.EXECUTION, MemoryImportance.MEDIUM)
    }
    for agent in desk.row(session_id)["roster"]:
        assert told(desk, agent, session_id) == [
            {
                "session_event": "status_changed",
                "session_id": str(session_id),
                "from_status": one.from_status,
                "to_status": one.to_status,
            }
            for one in transitions
        ]
    assert standing(desk, session_id) == (transitions[-1].version, 0, False)
    assert remembering.remember(desk.desk) == 0
    [found] = memory_of(*desk.desk.parts()).search(SearchArguments(query="lunch paused", session_id=session_id))
    assert found.content["session_transition"]["reason"] == "lunch"


def test_a_change_without_a_transition_makes_nothing_due(desk):
    """What leaves the status as it was is no transition, and costs memory nothing."""
    session_id = desk.create()
    remembering.remember(desk.desk)
    desk.do(T.UPDATE, session_id, config={"tags": ["y"]})
    assert standing(desk, session_id) == (1, 0, False)


def test_a_long_backlog_is_remembered_in_order_a_part_at_a_time(desk, monkeypatch):
    """A session that was not remembered for long catches up in one sweep, in its order, and each version once."""
    monkeypatch.setattr(work, "_MOVED", work.text(work._MOVED.text.replace("LIMIT 50", "LIMIT 3")))
    monkeypatch.setattr(work, "_AT_ONCE", 3)
    few = desk.with_settings(memory_batch=1)
    session_id = desk.started()
    for _ in range(3):
        desk.do(T.PAUSE, session_id)
        desk.do(T.RESUME, session_id)
    assert remembering.remember(few.desk) == 3
    versions = [one.content["session_transition"]["version"] for one in slices(desk, session_id)]
    assert versions == [one.version for one in get_transitions(desk.desk.engine, session_id, 100)]
    assert len(told(desk, "RiskManagerAgent", session_id)) == len(versions) == 8
    assert standing(desk, session_id)[2] is False


def test_a_command_during_the_sweep_stays_due(desk, monkeypatch):
    """A transition that comes while its session is claimed is remembered by the next sweep, not forgotten."""
    session_id = desk.started()
    finish = work._finish

    def late(*given):
        desk.do(T.PAUSE, session_id)
        monkeypatch.setattr(work, "_finish", finish)
        finish(*given)

    monkeypatch.setattr(work, "_finish", late)
    remembering.remember(desk.desk)
    assert standing(desk, session_id) == (2, 0, True)
    assert remembering.remember(desk.desk) == 1
    assert [one.content["session_transition"]["to_status"] for one in slices(desk, session_id)][-1] == "paused"


def test_two_sweeps_at_once_share_the_work(desk):
    """What one has claimed the other leaves alone."""
    sessions = [desk.create() for _ in range(4)]
    few = desk.with_settings(memory_batch=2).desk
    assert [len(work._claim(few.engine, 2)) for _ in range(3)] == [2, 2, 0]
    due(desk)
    remembering.remember(few)
    assert all(len(slices(desk, one)) == 1 for one in sessions)


def test_while_redis_is_away_sessions_wait_and_an_alert_says_so(desk, monkeypatch):
    """Slices are stored; telling is tried again, ever later; the alert stands until it went well."""
    session_id = desk.started()

    def away(*_):
        raise Unavailable("Redis", "connection refused", "Start it.")

    with monkeypatch.context() as broken:
        broken.setattr(work.context, "share", away)
        for failures in (1, 2, 3):
            remembering.remember(desk.desk)
            assert standing(desk, session_id) == (0, failures, True)
            row = desk.rows(
                "SELECT extract(epoch FROM memory_due_at - now()) AS s FROM session_work WHERE session_id = :id",
                id=session_id,
            )[0]
            assert 5 * 2 ** (failures - 1) - 5 < row["s"] <= 5 * 2 ** (failures - 1)
            due(desk)
    [alert] = alerts.standing(desk.desk.engine)
    assert alert.name == remembering.ALERT
    assert "1 session waits to be remembered: Redis" in alert.description
    assert [check.name for check in diagnose_lag(LagFound(_no_lag(), [alert]))][-1] == "alert memory_down"
    remembering.remember(desk.desk)
    assert standing(desk, session_id) == (2, 0, False)
    assert alerts.standing(desk.desk.engine) == []
    assert len(slices(desk, session_id)) == 2
    assert len(told(desk, "RiskManagerAgent", session_id)) == 2


def _no_lag():
    from fntx_sessions.automation.lag import Lag  # noqa: PLC0415

    return Lag(0.0, beat_late=False, sweeps={}, overdue={})


def test_commands_go_on_while_a_session_waits_and_do_not_hurry_it(desk, monkeypatch):
    """A transition during an outage neither fails nor makes memory be tried before its time."""
    session_id = desk.started()
    monkeypatch.setattr(work.context, "share", lambda *_: (_ for _ in ()).throw(Unavailable("Redis", "away", "Wait.")))
    remembering.remember(desk.desk)
    before = desk.row(session_id)["memory_due_at"]
    desk.do(T.PAUSE, session_id)
    assert desk.row(session_id)["memory_due_at"] == before


def test_one_session_that_cannot_be_stored_stops_no_other(desk, monkeypatch):
    """Slices of the others are stored in the same sweep; its own wait, and the alert has the reason."""
    poisoned, sound = desk.create(), desk.create()
    honest = store.keep

    def keep(engine, kept):
        if any(one.memory.session_id == poisoned for one in kept):
            raise ValueError("poison")
        honest(engine, kept)

    monkeypatch.setattr(store, "keep", keep)
    remembering.remember(desk.desk)
    assert standing(desk, poisoned) == (0, 1, True)
    assert standing(desk, sound) == (1, 0, False)
    assert "poison" in alerts.standing(desk.desk.engine)[0].description


def test_another_system_gets_each_transition_in_its_order(desk, elsewhere, theirs):
    """Stored and told through the port, exactly as the spec calls it; nothing is written into our own tables."""
    session_id = desk.started()
    desk.do(T.PAUSE, session_id)
    assert remembering.remember(elsewhere.desk) == 1
    assert theirs.versions(session_id) == [1, 2, 3]
    assert {agent for agent, _ in theirs.stored} == {SENDER}
    changed = {"session_event": "status_changed", "from_status": "active", "to_status": "paused"}
    assert theirs.shared[-1] == (SENDER, desk.row(session_id)["roster"], changed | {"session_id": str(session_id)})
    assert desk.rows("SELECT count(*) AS n FROM memories")[0]["n"] == 0
    assert standing(desk, session_id) == (3, 0, False)


@pytest.mark.parametrize("problem", [ConnectionError("refused"), "hang", "bug"])
def test_another_system_that_is_down_is_tried_again_later(desk, elsewhere, theirs, problem):
    """Refusing or silent: nothing is lost, few calls are spent on it, and each session keeps its order."""
    sessions = [desk.started() for _ in range(8)]
    theirs.problems["all"] = problem
    remembering.remember(elsewhere.desk)
    assert theirs.calls <= 20
    assert all(standing(desk, one)[0] == 0 and standing(desk, one)[2] for one in sessions)
    assert "theirs" in alerts.standing(desk.desk.engine)[0].description
    desk.do(T.PAUSE, sessions[0])
    theirs.problems.clear()
    due(desk)
    remembering.remember(elsewhere.desk)
    assert theirs.versions(sessions[0]) == [1, 2, 3]
    assert all(theirs.versions(one) == [1, 2] for one in sessions[1:])
    assert alerts.standing(desk.desk.engine) == []


def test_a_failure_of_one_session_holds_up_that_one_alone(desk, elsewhere, theirs):
    """A slice another system refuses waits, and so does what comes after it; other sessions are handed over."""
    first, second = desk.started(), desk.started()
    theirs.problems[first] = ValueError("no such namespace")
    remembering.remember(elsewhere.desk)
    assert standing(desk, first) == (0, 1, True)
    assert standing(desk, second) == (2, 0, False)
    assert "no such namespace" in alerts.standing(desk.desk.engine)[0].description


def test_a_system_that_blocks_its_thread_does_not_block_the_sweep(desk, elsewhere, theirs):
    """Code that never gives the loop back is left behind with its thread; after some of them nobody calls it."""
    patient = elsewhere.with_settings(memory_sweep_s=0.1)
    session_id = desk.started()
    theirs.problems["all"] = "block"
    for failures in range(1, 5):
        remembering.remember(patient.desk)
        assert standing(desk, session_id)[1] == failures
        due(desk)
    assert theirs.calls == 3  # the fourth was not made
    theirs.problems.clear()
    theirs.release.set()
    for thread in list(calling.caller._lost):
        thread.join(timeout=20)
    remembering.remember(patient.desk)
    assert standing(desk, session_id) == (2, 0, False)


def test_the_port_of_another_system_serves_questions_too(desk, elsewhere, theirs):
    """Search and list go there, and what comes back is held to the filters that were asked for."""
    memory = memory_of(*elsewhere.desk.parts())
    assert isinstance(memory, OtherMemory)
    theirs.stored += [("A", MemorySlice("risk", {"what": 1})), ("B", MemorySlice("market", {"what": 2}))]
    assert [one.agent for one in memory.search(SearchArguments(query="what", memory_type="market"))] == ["B"]
    assert [one.agent for one in memory.listed(ListArguments(agent="A"))] == ["A"]
    theirs.search_memories = _nonsense
    with pytest.raises(Unavailable, match="no slice"):
        memory.search(SearchArguments(query="what"))


async def _nonsense(query, **_):
    return [{"what": "is this?"}]


class _Point:
    def __init__(self, made):
        self._made = made

    def load(self):
        return self._made


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([], "no memory system of that name is installed"),
        ([_Point(lambda: 1 / 0)], "ZeroDivisionError"),
        ([_Point(object)], "has not the methods"),
    ],
)
def test_a_system_that_cannot_be_had_is_said_and_loses_nothing(desk, monkeypatch, points, says):
    """Not installed, broken as it is made, or no memory system at all: an alert with what to do; sessions wait."""
    monkeypatch.setattr(systems, "entry_points", lambda **_: points)
    missing = desk.with_settings(memory="missing").desk
    with pytest.raises(StackError, match=says):
        memory_of(*missing.parts())
    session_id = desk.started()
    remembering.remember(missing)
    assert standing(desk, session_id) == (0, 1, True)
    assert says in alerts.standing(desk.desk.engine)[0].description


def test_an_entry_point_is_made_once_a_process(monkeypatch):
    """The factory an entry point names is called without arguments, and what it made serves from then on."""
    made = []
    monkeypatch.setattr(systems, "entry_points", lambda **_: [_Point(lambda: made.append(Theirs()) or made[-1])])
    systems.load.cache_clear()
    assert systems.load("once") is systems.load("once") is made[0]
    systems.load.cache_clear()


def test_a_session_shredded_while_it_waits_is_not_remembered(desk):
    """Its transitions are let go of: nothing new of it is sealed, stored or told."""
    session_id = desk.create()
    desk.do(T.STOP, session_id)
    desk.finish()
    desk.do(T.SHRED, session_id, actor=ANN_ADMIN)
    remembering.remember(desk.desk)
    assert standing(desk, session_id)[1:] == (0, False)
    assert slices(desk, session_id) == []
    assert told(desk, "RiskManagerAgent", session_id) == []


def test_waits_are_bounded(desk, monkeypatch):
    """However often it failed, the next attempt is at most 64 times `memory_retry_s` away."""
    session_id = desk.started()
    monkeypatch.setattr(work.context, "share", lambda *_: (_ for _ in ()).throw(Unavailable("Redis", "away", "Wait.")))
    desk.run("UPDATE session_work SET memory_failures = 1000 WHERE session_id = :id", id=session_id)
    began = time.time()
    remembering.remember(desk.desk)
    assert desk.row(session_id)["memory_due_at"].timestamp() < began + 64 * 5 + 60


@contextmanager
def remembering_agent(*given: MemorySlice, agent: str = "EvaluatorAgent"):
    """Let an agent remember these at each of its steps."""
    found = get_agent(agent)
    honest = found.step

    def step(state, context):
        for one in given:
            context.desk.remember(one)
        return honest(state, context)

    found.step = step
    try:
        yield
    finally:
        del found.step


def test_a_hosted_agent_remembers_with_its_step(desk):
    """What it says is kept under its name and its session's, with the end of the step."""
    session_id = desk.started()
    with remembering_agent(MemorySlice("learning", {"what": "puts were cheap"}, "high", tags=["puts"])):
        desk.step()
    [one] = memory_of(*desk.desk.parts()).search(SearchArguments(query="cheap puts"))
    assert (one.agent, one.session_id, one.importance) == ("EvaluatorAgent", session_id, MemoryImportance.HIGH)
    assert one.content == {"what": "puts were cheap"}


@pytest.mark.parametrize(
    "bad",
    [MemorySlice("risk", {"x": "y" * 70_000}), MemorySlice("risk", {}, session_id=UUID(int=1))],
    ids=["large", "other"],
)
def test_what_an_agent_may_not_remember_is_charged_to_it(desk, bad):
    """Too large, or about another session: the agent failed, the others went on, and nothing is kept."""
    session_id = desk.started()
    with remembering_agent(bad):
        desk.step()
    [event] = desk.events(session_id, "agent_failed")
    assert "EvaluatorAgent failed: InvalidArgument" in event["description"]
    assert desk.rows("SELECT count(*) AS n FROM memories")[0]["n"] == 0


def test_an_agent_that_remembers_without_end_is_stopped(desk):
    """A hundred slices at once are kept; the next is the agent's failure."""
    desk.started()
    with remembering_agent(*[MemorySlice("risk", {})] * 101):
        desk.step()
    assert desk.rows("SELECT count(*) AS n FROM memories")[0]["n"] == memories.MOST


def test_a_superseded_step_remembers_nothing(desk):
    """What a stalled agent says under an older epoch is not stored."""
    session_id = desk.started()
    late = memories.noted(desk.desk.settings, session_id, 0, "A", MemorySlice("risk", {}), ())
    with desk.desk.engine.begin() as connection:
        memories.keep_in(connection, memories.sealed(desk.desk.engine, [late]))
    assert desk.rows("SELECT count(*) AS n FROM memories")[0]["n"] == 0


def test_what_agents_remember_waits_for_another_system(desk, elsewhere, theirs):
    """A step never calls it: the slice waits in Postgres, through its outage, and leaves once it is taken."""
    session_id = desk.started()
    theirs.problems["all"] = ConnectionError("refused")
    with remembering_agent(MemorySlice("learning", {"what": 1}, tags=["x"])):
        elsewhere.step()
    assert theirs.calls == 0
    remembering.remember(elsewhere.desk)
    assert desk.rows("SELECT waits FROM memories") == [{"waits": True}]
    theirs.problems.clear()
    due(desk)
    remembering.remember(elsewhere.desk)
    assert desk.rows("SELECT waits, content, tags FROM memories") == [{"waits": False, "content": b"", "tags": []}]
    agent, memory = theirs.stored[-1]
    assert (agent, memory.content, memory.tags, memory.session_id) == ("EvaluatorAgent", {"what": 1}, ["x"], session_id)
    assert theirs.versions(session_id) == [1, 2]
    assert standing(desk, session_id) == (2, 0, False)


def asked_of(hosting) -> Asked:
    """Return memory as the tasks ask it."""
    return Asked(*hosting.desk.parts())


def kept(agent="A", **more) -> StoreArguments:
    return StoreArguments(agent=agent, memory_type="learning", content={"what": 1}, **more)


def test_what_is_stored_and_shared_in_an_outage_waits_and_calls_nobody(desk, elsewhere, theirs):
    """Acknowledged from Postgres at once, of a session or of none; handed over once that system is well, each once."""
    session_id = desk.started()
    theirs.problems["all"] = "hang"
    memory, ids = asked_of(elsewhere), [uuid4() for _ in range(3)]
    context = {"level": 580, "session_id": str(session_id)}
    shared_once = ShareArguments(sender="A", recipients=["B", "C", "B"], context=context, session_id=session_id)

    def ask():
        memory.store(kept(), ids[0])
        memory.store(kept("B", session_id=session_id), ids[1])
        memory.share(shared_once, ids[2])

    ask()
    ask()
    assert theirs.calls == 0
    with pytest.raises(CommandConflict):
        memory.store(kept("Other"), ids[0])
    assert memory_of(*desk.desk.parts()).search(SearchArguments(query="580 OR what OR context")) == []
    remembering.remember(elsewhere.desk)
    remembering.remember(elsewhere.desk)
    assert "theirs" in alerts.standing(desk.desk.engine)[0].description
    theirs.problems.clear()
    hand_over_everything(desk, elsewhere)
    taken = [(agent, one.session_id, one.content) for agent, one in theirs.stored if agent != SENDER]
    assert sorted(taken, key=str) == [("A", None, {"what": 1}), ("B", session_id, {"what": 1})]
    assert theirs.shared[-1] == ("A", ["B", "C"], context)
    assert alerts.standing(desk.desk.engine) == []
    calls = theirs.calls
    ask()
    hand_over_everything(desk, elsewhere)
    assert (theirs.calls, memory_of(*desk.desk.parts()).listed(ListArguments(session_id=session_id))) == (calls, [])
    desk.run("UPDATE memories SET expires_at = now() WHERE taken_at IS NOT NULL")
    assert remembering.forget(desk.desk) == 3


def hand_over_everything(desk, elsewhere) -> None:
    due(desk)
    desk.run("UPDATE memories SET hand_due_at = now() WHERE hand_due_at IS NOT NULL")
    remembering.remember(elsewhere.desk)


def test_what_another_system_refuses_for_good_holds_up_nothing_of_no_session(desk, elsewhere, theirs):
    """One slice it never takes is tried ever later; the others leave at once."""
    bad, good = uuid4(), uuid4()
    honest = theirs.store_memory

    async def choosy(agent, memory):
        if agent == "Bad":
            raise ValueError("never")
        await honest(agent, memory)

    theirs.store_memory = choosy
    asked_of(elsewhere).store(kept("Bad"), bad)
    asked_of(elsewhere).store(kept("Good"), good)
    desk.run("UPDATE memories SET created_at = now() - interval '1 minute' WHERE memory_id = :id", id=bad)
    remembering.remember(elsewhere.desk)
    assert [agent for agent, _ in theirs.stored] == ["Good"]
    [row] = desk.rows("SELECT memory_id, extract(epoch FROM hand_due_at - now()) AS s FROM memories WHERE waits")
    assert (row["memory_id"], 50 < row["s"] <= 61) == (bad, True)
    assert "What callers left waits" in alerts.standing(desk.desk.engine)[0].description


def test_questions_are_refused_at_once_while_another_system_is_known_to_be_down(desk, elsewhere, theirs):
    """One of them finds out, within a short bound; the others, of every worker, are not kept waiting."""
    theirs.problems["all"] = "hang"
    quick = elsewhere.with_settings(memory_question_s=0.05)
    for told in ("no answer within 0.05 s", "asked again in a moment"):
        with pytest.raises(Unavailable, match=told):
            asked_of(quick).search(SearchArguments(query="what"))
    with pytest.raises(Unavailable, match="asked again in a moment"):
        asked_of(quick).listed(ListArguments(agent="A"))
    assert theirs.calls == 1
    theirs.problems.clear()
    desk.desk.redis.delete(DOWN)
    assert asked_of(quick).search(SearchArguments(query="what")) == []


def test_a_sweep_that_finds_it_down_saves_questions_the_trouble(desk, elsewhere, theirs):
    """What the sweep learned, whoever asks is told."""
    for _ in range(4):
        desk.started()
    theirs.problems["all"] = ConnectionError("refused")
    remembering.remember(elsewhere.desk)
    calls = theirs.calls
    with pytest.raises(Unavailable, match="asked again in a moment"):
        asked_of(elsewhere).search(SearchArguments(query="what"))
    assert theirs.calls == calls


def test_a_locked_table_of_ours_holds_up_nobody_and_is_told(desk):
    """Who asks is told soon, then at once; the sweep raises the alert, names the table, and makes up for it."""
    session_id = desk.started()
    memory = asked_of(desk)
    try:
        with desk.desk.engine.begin() as other:
            other.execute(work.text("LOCK TABLE memories"))
            for told in ("is locked", "asked again in a moment"):
                with pytest.raises(Unavailable, match=told):
                    memory.store(kept(), uuid4())
            remembering.remember(desk.desk)
            [alert] = alerts.standing(desk.desk.engine)
            assert (alert.name, "`memories` is locked" in alert.description) == (remembering.ALERT, True)
            assert standing(desk, session_id) == (0, 1, True)
    finally:
        desk.desk.redis.delete("fntx:memory:down:postgres")
    due(desk)
    remembering.remember(desk.desk)
    assert alerts.standing(desk.desk.engine) == []
    assert standing(desk, session_id)[0] == 2
