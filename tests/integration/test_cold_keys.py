"""Cold key objects: every running session's key has one soon, and Postgres knows which store holds it."""

from uuid import uuid4

import pytest
from archiving import make_desk
from lifecycle_harness import S

from fntx_sessions.database.engine import build_engine
from fntx_sessions.exceptions import Unavailable
from fntx_sessions.state import cold_key_sweep
from fntx_sessions.state.chain_key import chain_key, owner_of
from fntx_sessions.state.cold_key_sweep import write_due
from fntx_sessions.state.data_keys import DataKeys, ensure_cold_key
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.payloads import DESK

DUE_NOW = "UPDATE session_keys SET cold_due_at = now() WHERE cold_due_at IS NOT NULL"
DUE = "SELECT session_id FROM session_keys WHERE cold_due_at IS NOT NULL"
NOWHERE = "postgresql+psycopg2://nobody@127.0.0.1:1/none"


@pytest.fixture
def desk(settings):
    with make_desk(settings) as made:
        yield made


def sweep(desk, store=None):
    """Write what is due, all of it due now; return how many were dealt with."""
    desk.run(DUE_NOW)
    return write_due(desk.engine, desk.settings, store or desk.cold)


def objects(desk):
    return {info.name.removeprefix("keys/") for info in desk.cold.list("keys/")}


def with_keys(desk, count):
    ids = [uuid4() for _ in range(count)]
    DataKeys(desk.engine, desk.settings).ensure(ids)
    return ids


def test_a_running_sessions_key_is_in_the_cold_store_soon(desk):
    """Unasked, with the desk's own; a process that never met the session opens it while Postgres is away."""
    session_id = desk.lifecycle.in_status(S.ACTIVE)
    DataKeys(desk.engine, desk.settings).of(DESK)
    [key] = desk.rows(
        "SELECT cold_due_at - created_at AS after FROM session_keys WHERE session_id = :id", id=session_id
    )
    assert key["after"].total_seconds() < 60
    sweep(desk)
    chain = str(owner_of(chain_key(desk.engine).key_id))
    assert objects(desk) == {str(session_id), str(DESK), chain}
    assert desk.rows(DUE) == []
    away = build_engine(NOWHERE, desk.settings)
    stranger = DataKeys(away, desk.settings)
    unknown = uuid4()
    assert stranger.at_hand([session_id, unknown]) == {session_id}
    assert stranger.opening(session_id).key_id == DataKeys(desk.engine, desk.settings).of(session_id).key_id
    away.dispose()


def test_backtests_are_passed_over_once_and_for_all(desk):
    """Thousands of short sessions cost no object, and are looked at once."""
    session_id = desk.lifecycle.create()
    desk.run("UPDATE sessions SET session_type = 'backtest' WHERE session_id = :id", id=session_id)
    sweep(desk)
    assert str(session_id) not in objects(desk)
    assert desk.rows(DUE) == []


def test_one_go_is_bounded(desk, monkeypatch):
    """At most a batch, and nothing is begun after its time; what is left is due at once."""
    monkeypatch.setattr(cold_key_sweep, "BATCH", 3)
    with_keys(desk, 5)
    assert sweep(desk) == 3
    desk.run(DUE_NOW)
    assert write_due(desk.engine, desk.settings, desk.cold, until=0.0) == 0
    assert write_due(desk.engine, desk.settings, desk.cold) == 2
    assert len(objects(desk)) == 5


def test_while_the_store_is_away_they_stay_due(desk):
    """Nothing is noted; the claim is the pause before it is tried again."""

    class Away:
        name, address = "away", "gs://away"

        def replace(self, *_args):
            raise Unavailable("the cold store", "the bucket is away", "Wait.")

    with_keys(desk, 2)
    with pytest.raises(Unavailable):
        sweep(desk, Away())
    assert len(desk.rows(DUE + " AND cold_due_at > now() AND cold_at IS NULL")) == 2
    assert sweep(desk) == 2


def test_postgres_knows_which_stores_hold_an_object(desk, tmp_path):
    """A store that is new to the session gets an object too; each is noted with the ring key it hangs on."""
    [session_id] = with_keys(desk, 1)
    (tmp_path / "other").mkdir()
    other = open_cold(desk.settings.model_copy(update={"cold_url": (tmp_path / "other").as_uri()}))
    for store in (desk.cold, other):
        ensure_cold_key(desk.engine, desk.settings, store, session_id)
        assert store.info(f"keys/{session_id}") is not None
    [row] = desk.rows("SELECT cold_stores, ring_key_id AS ring FROM session_keys")
    assert row["cold_stores"] == {desk.cold.address: row["ring"], other.address: row["ring"]}
    assert open_cold(desk.settings.model_copy(update={"cold_url": desk.cold.address})).info(f"keys/{session_id}")
