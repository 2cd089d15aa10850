"""The live state: fenced, one moment, one round trip."""

import multiprocessing
import threading
from uuid import uuid4

import pytest
import redis
from state_world import agent_bytes, make_world, report

from fntx_sessions.exceptions import InvalidArgument, StaleEpoch, Unavailable
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.redis_client import build_redis, get_redis, key


@pytest.fixture
def live(settings):
    """A live state over an empty Redis."""
    with make_world(settings) as world:
        yield world.live


@pytest.fixture
def session_id(live):
    """A session whose fence stands at epoch 3."""
    made = uuid4()
    live.raise_fence(made, 3)
    return made


def test_a_report_is_read_back_as_sent(live, session_id):
    """Parts, the revision they changed at, and the heartbeat come back as reported."""
    parts = {"agent/RiskManagerAgent": agent_bytes(limit=3), "trading": b'{"daily_pnl":1.5}'}
    assert live.report(Report(session_id, 3, "RiskManagerAgent", parts)) == 1
    cut = live.read([session_id])[0]
    assert (cut.epoch, cut.revision, cut.parts) == (3, 1, parts)
    assert cut.part_revisions == dict.fromkeys(parts, 1)
    assert set(cut.beats) == {"RiskManagerAgent"}


def test_only_what_changed_raises_the_revision(live, session_id):
    """The same bytes again beat the heart and nothing else; one changed part moves its own revision alone."""
    parts = {"agent/A": agent_bytes("A"), "trading": b"{}"}
    live.report(Report(session_id, 3, "A", parts))
    assert live.report(Report(session_id, 3, "A", parts)) == 1
    assert live.report(Report(session_id, 3, "A", {**parts, "trading": b'{"a":1}'})) == 2
    cut = live.read([session_id])[0]
    assert cut.part_revisions == {"agent/A": 1, "trading": 2}
    assert set(cut.beats) == {"A"}


def test_a_heartbeat_needs_no_parts_and_is_dated_by_redis(live, session_id, redis_url):
    """An empty report beats by Redis's own clock and changes no revision: an agent cannot date its own."""
    client = build_redis(redis_url, live._settings)

    def at_ms() -> int:
        seconds, micros = client.time()
        return seconds * 1000 + micros // 1000

    before = at_ms()
    assert live.report(Report(session_id, 3, "A", {})) == 0
    assert before <= live.read([session_id])[0].beats["A"] <= at_ms()
    client.close()


@pytest.mark.parametrize("epoch", [2, 4])
def test_another_epoch_writes_nothing(live, session_id, epoch):
    """A report of an older or a newer epoch is refused with the epoch that stands."""
    with pytest.raises(StaleEpoch) as refused:
        live.report(report(session_id, epoch))
    assert refused.value.named()["current_epoch"] == 3
    assert live.read([session_id])[0].parts == {}


def test_without_a_fence_nothing_is_written(live):
    """A session Redis does not know is refused as missing; the report does not bring it to life."""
    stranger = uuid4()
    with pytest.raises(StaleEpoch, match="missing"):
        live.report(report(stranger, 1))
    assert live.read([stranger]) == [None]
    assert live.marks([stranger]) == [None]


def test_the_fence_only_moves_forward(live, session_id):
    """A lower epoch moves nothing, a higher one keeps the parts and shuts out the old epoch."""
    live.report(report(session_id, 3))
    assert live.raise_fence(session_id, 2) == 3
    assert live.raise_fence(session_id, 5) == 5
    mark = live.marks([session_id])[0]
    assert (mark.epoch, mark.revision) == (5, 1)
    with pytest.raises(StaleEpoch):
        live.report(report(session_id, 3, changed=True))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("agent/A", b'{"agent_id":"A","last_update":"2024-01-02T14:30:00Z","memory_usage_mb":NaN}'),
        ("agent/A", b'{"agent_id":"A","last_update":"2024-01-02T14:30:00Z","memory_usage_mb":1e999}'),
        ("agent/A", b'{"agent_id":"A","last_update":"2024-01-02T14:30:00"}'),
        ("agent/A", b'{"agent_id":"\xff","last_update":"2024-01-02T14:30:00Z"}'),
        ("agent/A", b'{"agent_id":"A"'),
        ("market", b'{"timestamp":"2024-01-02T14:30:00Z","spy_price":0}'),
        ("trading", b'{"deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        ("events", b"{}"),
        ("agent/../x", b"{}"),
        ("wallet", b"{}"),
    ],
)
def test_what_must_not_be_kept_is_refused_by_name(live, session_id, name, data):
    """NaN, infinity, bad UTF-8, broken or ill-shaped JSON, unknown parts: refused whole, with the field."""
    with pytest.raises(InvalidArgument):
        live.report(Report(session_id, 3, "A", {"trading": b"{}", name: data}))
    assert live.read([session_id])[0].parts == {}


def test_a_part_larger_than_the_limit_is_refused(settings):
    """The size limit names the part and the limit."""
    with make_world(settings.model_copy(update={"max_part_bytes": 2000})) as world:
        made = uuid4()
        world.live.raise_fence(made, 1)
        with pytest.raises(InvalidArgument, match="within 2000 bytes"):
            world.live.report(report(made, notes="x" * 3000))


def test_in_a_batch_each_report_has_its_own_answer(live, session_id):
    """A refused report stops no other, whatever refused it."""
    reports = [
        report(session_id, 3, "A"),
        report(session_id, 2, "B"),
        Report(session_id, 3, "C", {"market": b"{}"}),
        report(session_id, 3, "D"),
    ]
    answers = live.report_many(reports)
    assert answers[0] == 1
    assert isinstance(answers[1], StaleEpoch)
    assert isinstance(answers[2], InvalidArgument)
    assert answers[3] == 2
    assert set(live.read([session_id])[0].parts) == {"agent/A", "agent/D"}


def test_a_batch_survives_a_server_that_forgot_its_scripts(settings, live, session_id):
    """After a restart of Redis the scripts are sent again, once."""
    with make_world(settings) as world:
        world.client.script_flush()
    assert live.report_many([report(session_id, 3, "A"), report(session_id, 3, "B")]) == [1, 2]


def test_a_cut_is_one_moment_under_concurrent_reports(live, session_id, settings):
    """Two parts reported together are never seen apart, and the revision says which report it was."""
    stop = threading.Event()

    def write() -> None:
        with make_world(settings) as world:
            count = 0
            while not stop.is_set():
                count += 1
                both = {"trading": b'{"n":%d}' % count, "metrics": b'{"n":%d}' % count}
                world.live.report(Report(session_id, 3, "A", both))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = []
        while len({cut.revision for cut in seen}) < 50:
            seen += [cut for cut in live.read([session_id]) if cut.parts]
    finally:
        stop.set()
        writer.join()
    assert all(cut.parts["trading"] == cut.parts["metrics"] == b'{"n":%d}' % cut.revision for cut in seen)


def test_concurrent_reporters_lose_nothing(live, session_id, settings):
    """Every changed report of every agent has a revision of its own."""
    revisions: list[int] = []

    def work(agent: str) -> None:
        with make_world(settings) as world:
            revisions.extend(world.live.report(report(session_id, 3, agent, n=n)) for n in range(50))

    threads = [threading.Thread(target=work, args=(agent,)) for agent in "ABC"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(revisions) == list(range(1, 151))


def test_restore_puts_back_agents_and_market_but_no_money(live, session_id):
    """Agents become exactly the snapshot's, heartbeats begin anew, trading and metrics stay what they are."""
    live.report(Report(session_id, 3, "Late", {"agent/Late": agent_bytes("Late"), "trading": b'{"daily_pnl":7}'}))
    live.raise_fence(session_id, 4)
    old = {"agent/A": agent_bytes("A"), "trading": b'{"daily_pnl":-1}', "metrics": b"{}"}
    assert live.restore(session_id, 4, old) == 2
    cut = live.read([session_id])[0]
    assert cut.parts == {"agent/A": old["agent/A"], "trading": b'{"daily_pnl":7}'}
    assert cut.beats == {}
    assert live.marks([session_id])[0].size == sum(map(len, cut.parts.values()))


def test_a_restore_under_an_old_epoch_writes_nothing(live, session_id):
    """A recoverer that was superseded is refused."""
    with pytest.raises(StaleEpoch):
        live.restore(session_id, 2, {"agent/A": agent_bytes("A")})
    assert live.read([session_id])[0].parts == {}


def test_a_dropped_session_expires_and_a_new_fence_keeps_it(live, session_id, settings):
    """A closed session's live state is let go after its time; raising the fence takes that back."""
    with make_world(settings) as world:
        live.drop(session_id)
        assert 0 < world.client.ttl(key(session_id, "live")) <= settings.hot_ttl_s
        live.raise_fence(session_id, 9)
        assert world.client.ttl(key(session_id, "live")) == -1


def test_redis_out_of_reach_is_unavailable(tmp_path):
    """Nobody at the address: Unavailable, with the fix, from the single call and from the batch."""
    settings = Settings(redis_connect_timeout_s=0.2)
    with build_redis(f"unix://{tmp_path}/nobody.sock", settings) as client:
        live = LiveState(client, settings)
        for call in (lambda: live.report(report(uuid4())), lambda: live.report_many([report(uuid4())])):
            with pytest.raises(Unavailable, match="Redis is out of reach"):
                call()


def test_a_full_redis_is_unavailable(live, session_id, settings):
    """A Redis that takes no more says so as Unavailable; the state it holds stays readable."""
    with make_world(settings) as world:
        world.client.config_set("maxmemory", 1)
        try:
            with pytest.raises(Unavailable, match="memory is full"):
                live.report(report(session_id, 3))
            assert live.read([session_id])[0].epoch == 3
        finally:
            world.client.config_set("maxmemory", 0)


def test_a_wrong_type_stays_the_bug_it_is(live, settings):
    """An error that is ours is not dressed up as an outage."""
    made = uuid4()
    with make_world(settings) as world:
        world.client.set(key(made, "live"), "not a hash")
        with pytest.raises(redis.ResponseError):
            live.report(report(made))


def test_a_forked_child_speaks_on_its_own_connection(settings, monkeypatch):
    """A child process builds its own client; the parent's connection goes on working."""
    monkeypatch.setenv("FNTX_REDIS_URL", settings.redis_url.get_secret_value())
    get_settings.cache_clear()
    get_redis.cache_clear()
    try:
        mine = get_redis()
        mine.set("who", "parent")
        child = multiprocessing.get_context("fork").Process(target=_as_child)
        child.start()
        child.join()
        assert child.exitcode == 0
        assert mine.get("who") == b"child"
        mine.close()
    finally:
        get_settings.cache_clear()
        get_redis.cache_clear()


def test_without_an_address_the_fix_is_named(monkeypatch):
    """No Redis configured is Unavailable and says how to get one."""
    monkeypatch.delenv("FNTX_REDIS_URL", raising=False)
    get_settings.cache_clear()
    try:
        with pytest.raises(Unavailable, match="fntx up"):
            get_redis.__wrapped__()
    finally:
        get_settings.cache_clear()


def _as_child() -> None:
    assert get_redis.cache_info().currsize == 0
    get_redis().set("who", "child")
