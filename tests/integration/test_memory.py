"""The shipped memory: slices that are sealed, found by their words, and gone with their session; context in order."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from hosting import T, make_hosting, shared
from pydantic import ValidationError

from fntx_sessions.automation import remembering
from fntx_sessions.exceptions import CommandConflict, InvalidArgument, NotFound, Shredded
from fntx_sessions.memory import context, reading, store
from fntx_sessions.memory.arguments import ContextArguments, ListArguments, SearchArguments, StoreArguments
from fntx_sessions.memory.context import Told
from fntx_sessions.memory.slices import MemoryImportance, MemorySlice, MemoryType
from fntx_sessions.memory.systems import OwnMemory
from fntx_sessions.parsing import parse
from fntx_sessions.security.actor import Actor
from fntx_sessions.state import erasing

ADMIN = Actor("ada", frozenset({"admin"}))
CANARY = "canary4711"


@pytest.fixture
def desk(tmp_path, module_database_url, redis_url):
    """A desk on the module's database; the slices of other tests are none of its business."""
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        made.run("DELETE FROM memories; UPDATE session_work SET memory_due_at = NULL")
        yield made


def memory(desk) -> OwnMemory:
    return OwnMemory(*desk.desk.parts())


def keep(desk, agent="Planner", kind=MemoryType.LEARNING, importance=MemoryImportance.MEDIUM, **content):
    """Store a slice and return its id."""
    return memory(desk).store(agent, MemorySlice(kind, content, importance), uuid4())


def found(desk, query, **filters):
    """Return what a search finds, as the values under `what`."""
    return [one.content["what"] for one in memory(desk).search(parse(SearchArguments, {"query": query, **filters}))]


def listed(desk, **filters):
    return memory(desk).listed(parse(ListArguments, filters))


def test_a_slice_comes_back_as_it_was_given(desk):
    """Content, kind, importance, tags and session come back; times, ids and money as JSON has them."""
    session_id = desk.create()
    at, trade = datetime(2026, 1, 2, 15, 30, tzinfo=UTC), uuid4()
    content = {"at": at, "trade": trade, "credit": Decimal("1.25"), "legs": [1, None, {"right": "put"}]}
    given = MemorySlice(
        MemoryType.STRATEGY, content, MemoryImportance.HIGH, session_id=session_id, tags=["credit", "put spread"]
    )
    memory_id = memory(desk).store("Planner", given, uuid4())
    [one] = listed(desk, agent="Planner", session_id=str(session_id))
    assert (one.memory_id, one.agent, one.session_id, one.tags) == (memory_id, "Planner", session_id, given.tags)
    assert (one.memory_type, one.importance) == (MemoryType.STRATEGY, MemoryImportance.HIGH)
    plain = {"at": "2026-01-02T15:30:00Z", "trade": str(trade), "credit": 1.25, "legs": [1, None, {"right": "put"}]}
    assert one.content == plain
    assert one.content == given.content
    assert one.model_dump(mode="json")["importance"] == "high"


def test_content_is_sealed_and_words_are_not(desk):
    """The row holds no plain content; a word of it can be searched for, which is what the words column is."""
    session_id = desk.create()
    for mine in (session_id, None):
        memory(desk).store("Planner", MemorySlice("risk", {"what": CANARY}, session_id=mine), uuid4())
    rows = desk.rows("SELECT content, words::text AS words FROM memories")
    assert len(rows) == 2
    assert all(CANARY.encode() not in bytes(row["content"]) and CANARY in row["words"] for row in rows)
    assert found(desk, CANARY) == [CANARY, CANARY]


def test_the_best_answer_comes_first(desk):
    """A tag weighs more than a value, a value more than a key, and what matters more goes before its equal."""
    keep(desk, what="value", text="gamma exposure")
    keep(desk, what="key", gamma=1)
    keep(desk, what="neither", text="theta")
    tagged = MemorySlice(MemoryType.LEARNING, {"what": "tag"}, tags=["gamma"])
    memory(desk).store("Planner", tagged, uuid4())
    assert found(desk, "gamma") == ["tag", "value", "key"]
    keep(desk, importance=MemoryImportance.CRITICAL, what="critical", text="gamma exposure")
    assert found(desk, "gamma exposure") == ["critical", "value"]


def test_a_search_reads_as_on_the_web(desk):
    """All words must be there, in any of their forms; phrases, OR and -not do as one expects."""
    keep(desk, what=1, text="paused after losing trades")
    keep(desk, what=2, text="pausing a paper session")
    assert sorted(found(desk, "pause")) == [1, 2]
    assert found(desk, "pause loses") == [1]
    assert found(desk, "pause -paper") == [1]
    assert sorted(found(desk, "losing OR paper")) == [1, 2]
    assert found(desk, '"paper session"') == [2]
    assert found(desk, '"session paper"') == []
    assert found(desk, "session_transition") == []


def test_filters_hold_together_and_the_limit_bounds(desk):
    """Agent, kind, importance, session, tag and time each narrow; no more than the limit comes back."""
    session_id = desk.create()
    keep(desk, "A", MemoryType.RISK, MemoryImportance.LOW, what="a1", text="vix")
    keep(desk, "A", MemoryType.MARKET, MemoryImportance.CRITICAL, what="a2", text="vix")
    of_session = MemorySlice(MemoryType.RISK, {"what": "b1", "text": "vix"}, session_id=session_id, tags=["x"])
    memory(desk).store("B", of_session, uuid4())
    assert sorted(found(desk, "vix", agent="A")) == ["a1", "a2"]
    assert sorted(found(desk, "vix", memory_type="risk")) == ["a1", "b1"]
    assert sorted(found(desk, "vix", importance="medium")) == ["a2", "b1"]
    assert found(desk, "vix", importance="CRITICAL") == ["a2"]
    assert found(desk, "vix", session_id=str(session_id), tag="x", agent="B") == ["b1"]
    assert found(desk, "vix", agent="A", tag="x") == []
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert found(desk, "vix", since=tomorrow) == []
    assert len(found(desk, "vix", until=tomorrow)) == 3
    assert len(found(desk, "vix", limit=2)) == 2
    assert [one.content["what"] for one in listed(desk)] == ["b1", "a2", "a1"]
    assert [one.content["what"] for one in listed(desk, limit=1)] == ["b1"]


@pytest.mark.parametrize(
    ("asked", "field", "says"),
    [
        ({"query": ""}, "query", "at least 1"),
        ({"query": "   "}, "query", "no word"),
        ({"query": "the of and"}, "query", "no word"),
        ({"query": "!!! ???"}, "query", "no word"),
        ({"query": "(((' :* \\"}, "query", "no word"),
        ({"query": "-paper"}, "query", "must not be there"),
        ({"query": "a\x00b"}, "query", "no text"),
        ({"query": "x" * 501}, "query", "at most 500"),
        ({"query": "vix", "limit": 0}, "limit", "greater than or equal to 1"),
        ({"query": "vix", "limit": 10_000}, "limit", "less than or equal to 200"),
        ({"query": "vix", "memory_type": "gossip"}, "memory_type", "'execution'"),
        ({"query": "vix", "importance": "enormous"}, "importance", "1, 2, 3 or 4"),
        ({"query": "vix", "session_id": "abc"}, "session_id", "UUID"),
        ({"query": "vix", "since": "yesterday"}, "since", "datetime"),
        ({"query": "vix", "who": "A"}, "who", "not a known key"),
    ],
)
def test_a_bad_question_says_what_is_wrong_with_it(desk, asked, field, says):
    """Each is refused by the name of its field; nothing is guessed."""
    with pytest.raises(InvalidArgument) as refused:
        found(desk, **{"query": "vix", **asked})
    assert refused.value.args[0] == field
    assert says in str(refused.value)


@pytest.mark.parametrize("odd", ["b & | !", "%s %(x)s word", "drop table memories; --", "é 😀 vix'"])
def test_no_query_breaks_the_search(desk, odd):
    """Whatever people type are words."""
    assert found(desk, odd) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"x": float("nan")}, "finite"),
        ({"x": [float("inf")]}, "finite"),
        ({"x": "a\x00b"}, "no text"),
        ({"x": "\ud800"}, "no text"),
        ({"x": 2**70}, "64 bits"),
        ({"x": object()}, "JSON"),
        ({"x": b"bytes"}, "JSON"),
        ({("a", 1): 2}, "JSON"),
        ("text", "dictionary"),
    ],
)
def test_what_is_no_content_is_refused_as_the_slice_is_made(content, says):
    """NaN, infinity, NUL, half characters, huge numbers, other types: not one of them becomes a slice."""
    with pytest.raises((ValidationError, InvalidArgument), match=says):
        MemorySlice("risk", content)


def test_content_that_nests_without_end_is_refused():
    """Neither recursion nor a circle gets in."""
    deep: dict = {}
    for _ in range(100_000):
        deep = {"x": deep}
    circle: dict = {}
    circle["x"] = circle
    for content in (deep, circle):
        with pytest.raises((ValidationError, InvalidArgument)):
            MemorySlice("risk", content)
    while deep:  # not left to the interpreter, which would free it recursively
        deep = deep["x"]


def test_positions_and_names_are_not_mixed_up():
    """Type, content and importance by position or by name; one thing twice is an error, as in any call."""
    assert MemorySlice("risk", {}, "low") == MemorySlice(memory_type="risk", content={}, importance=1)
    for given, named in ((("risk", {}), {"content": {}}), (("risk", {}, 1, None), {})):
        with pytest.raises(TypeError, match="by position"):
            MemorySlice(*given, **named)
    with pytest.raises(ValidationError, match="memory_type"):
        MemorySlice(content={})
    with pytest.raises(InvalidArgument) as missing:
        parse(StoreArguments, {"agent": "A", "content": {}})
    assert missing.value.args[0] == "memory_type"


def test_a_slice_that_is_too_large_is_refused_with_the_limit(desk):
    """What is above `memory_content_max_bytes` is not stored, and the sentence says how much may be."""
    with pytest.raises(InvalidArgument, match="65536 are allowed"):
        keep(desk, text="x" * 70_000)
    keep(desk, text=" ".join(f"word{number}" for number in range(6000)))
    assert len(listed(desk)) == 1


def test_asked_again_a_slice_is_kept_once_and_another_under_its_id_is_refused(desk):
    """A command that is sent again stores nothing twice; the id of one slice never stands for another."""
    memory_id = uuid4()
    for _ in range(2):
        assert memory(desk).store("A", MemorySlice("risk", {"what": 1}), memory_id) == memory_id
    for agent, content in (("A", {"what": 2}), ("B", {"what": 1})):
        with pytest.raises(CommandConflict):
            memory(desk).store(agent, MemorySlice("risk", content), memory_id)
    assert len(listed(desk)) == 1


def test_a_slice_of_an_unknown_session_is_refused(desk):
    """A session that is not there gets no memories."""
    with pytest.raises(NotFound, match="session"):
        memory(desk).store("A", MemorySlice("risk", {}, session_id=uuid4()), uuid4())


def test_what_has_expired_is_neither_found_nor_kept(desk):
    """A slice ends at its own moment, else after `memory_keep_s`; the sweep takes it away."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    memory(desk).store("A", MemorySlice("risk", {"what": "old", "text": "vix"}, expires_at=past), uuid4())
    keep(desk, what="new", text="vix")
    assert found(desk, "vix") == ["new"]
    assert remembering.forget(desk.desk) == 1
    assert desk.rows("SELECT count(*) AS n FROM memories")[0]["n"] == 1
    desk.run("UPDATE memories SET expires_at = expires_at - interval '366 days'")
    assert remembering.forget(desk.desk) == 1


def test_many_expired_slices_are_forgotten_in_batches(desk, monkeypatch):
    """However many there are, all of them go, a bounded number in each transaction."""
    monkeypatch.setattr(store, "_FORGOTTEN_AT_ONCE", 2)
    past = datetime.now(UTC) - timedelta(seconds=1)
    for _ in range(5):
        memory(desk).store("A", MemorySlice("risk", {}, expires_at=past), uuid4())
    assert remembering.forget(desk.desk) == 5


def test_a_damaged_slice_is_said_in_its_place(desk):
    """One row that does not open hides no other."""
    keep(desk, what="sound", text="vix")
    damaged = keep(desk, what="damaged", text="vix")
    turned = "UPDATE memories SET content = set_byte(content, 40, get_byte(content, 40) # 1) WHERE memory_id = :id"
    desk.run(turned, id=damaged)
    contents = {one.memory_id: one.content for one in listed(desk)}
    assert "integrity check" in contents.pop(damaged)["unreadable"]
    assert [one["what"] for one in contents.values()] == ["sound"]


def test_a_shredded_session_takes_its_memories_with_it(desk):
    """Slices, their words and what agents were told of it are gone; it is given no new ones, and others keep theirs."""
    session_id, other = desk.create(), desk.create()
    for one in (session_id, other):
        memory(desk).store("A", MemorySlice("risk", {"what": str(one), "text": CANARY}, session_id=one), uuid4())
        memory(desk).share(Told("B", ["A"], {"session_id": one, "what": CANARY}))
    desk.do(T.STOP, session_id)
    desk.finish()
    desk.do(T.SHRED, session_id, actor=ADMIN)
    assert found(desk, CANARY) == [str(other)]
    with pytest.raises(Shredded):
        memory(desk).store("A", MemorySlice("risk", {}, session_id=session_id), uuid4())
    erasing.erase(*desk.desk.parts(), session_id)
    assert [row["session_id"] for row in desk.rows("SELECT session_id FROM memories")] == [other]
    told = memory(desk).context(ContextArguments(agent="A"))
    assert [one.context["session_id"] for one in told] == [str(other)]


def test_context_is_told_in_order_and_bounded(desk):
    """Each recipient has its own stream, oldest first; who is behind reads on after what it knows; the oldest go."""
    few = desk.with_settings(memory_context_entries=10)
    for number in range(300):
        context.share(few.desk.redis, few.desk.settings, [Told("A", ["B", "C", "B"], {"number": number})])
    told = memory(desk).context(ContextArguments(agent="B", limit=3))
    assert [one.context["number"] for one in told] == [297, 298, 299]
    assert {one.sender for one in told} == {"A"}
    known = memory(desk).context(ContextArguments(agent="C", limit=3))[0].entry_id
    after = memory(desk).context(ContextArguments(agent="C", after=known))
    assert [one.context["number"] for one in after] == [298, 299]
    assert memory(desk).context(ContextArguments(agent="B", after=told[-1].entry_id)) == []
    assert memory(desk).context(ContextArguments(agent="Nobody")) == []
    assert len(desk.desk.redis.xrange("fntx:context:{B}")) < 150
    assert desk.desk.redis.ttl("fntx:context:{B}") > 0


def test_a_search_over_many_sessions_asks_postgres_a_bounded_number_of_times(desk):
    """Keys of sessions come with their slices: how many sessions answer makes no more round trips."""
    from sqlalchemy import event  # noqa: PLC0415

    for _ in range(5):
        one = MemorySlice("risk", {"what": 1, "text": "vix"}, session_id=desk.create())
        memory(desk).store("A", one, uuid4())
    asked: list[str] = []
    event.listen(desk.desk.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    assert len(reading.search(desk.desk.engine, SearchArguments(query="vix"))) == 5
    assert len(asked) == 2
