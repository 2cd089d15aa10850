"""What `fntx status` and `fntx doctor` say of the tiers: what the hosts found, since when, and how fresh that is."""

import platform
from time import monotonic

import pytest
from state_world import make_world

from fntx_sessions.exceptions import Unavailable
from fntx_sessions.stack.status import DatabaseStatus, Status, read_database
from fntx_sessions.stack.tiers import SILENT_S, diagnose_tiers
from fntx_sessions.state.tier_health import COLD, POSTGRES, REDIS, TierHealth


@pytest.fixture
def world(settings):
    """A database and a Redis of this test's own."""
    with make_world(settings) as made:
        yield made


@pytest.fixture
def health():
    """What a process knows that tries again at once."""
    return TierHealth(0.0)


def found(world) -> DatabaseStatus:
    return read_database(world.settings.database_url.get_secret_value())


def tiers_line(world) -> str:
    return Status(
        home="", running=True, sentence="", processes=[], database=found(world), redis=None, versions={}
    ).facts()["tiers"]


def test_tiers_that_are_up_are_named(world, health):
    """One nobody had to ask so far is not down, and is called that."""
    assert tiers_line(world) == "nothing was asked of them yet"
    health.note(REDIS)
    health.note(POSTGRES)
    health.tell(world.engine)
    assert tiers_line(world) == "up: postgres, redis; not asked yet: cold"
    assert [check.result for check in diagnose_tiers(found(world).tiers)] == ["ok"]
    health.note(COLD)
    health.tell(world.engine)
    assert tiers_line(world) == "up: cold, postgres, redis"


def test_a_tier_that_is_down_is_named_with_host_time_and_problem(world, health):
    """Its `since` stays while it is down, and what to do is said; up again, so is that."""
    health.note(COLD, "bucket is gone")
    health.tell(world.engine)
    first = found(world).tiers[0]
    health.note(COLD, "bucket is still gone")
    health.tell(world.engine)
    [again] = found(world).tiers
    assert (again.up, again.problem, again.since, again.host) == (
        False, "bucket is still gone", first.since, platform.node()
    )  # fmt: skip
    assert "cold DOWN on " in tiers_line(world)
    [check] = diagnose_tiers(found(world).tiers)
    assert (check.result, check.name) == ("warn", "tier cold")
    assert "FNTX_COLD_URL" in check.fix
    health.note(COLD)
    health.tell(world.engine)
    [now] = found(world).tiers
    assert (now.up, now.problem) == (True, "")
    assert now.since > first.since


def test_a_finding_nobody_renews_is_called_old(world, health):
    """Whoever found it has ended: that is no reason to look for a fault."""
    health.note(REDIS, "gone")
    health.tell(world.engine)
    world.run("UPDATE tier_states SET seen_at = now() - :s * interval '1 second'", s=SILENT_S + 1)
    assert "has ended" in next(diagnose_tiers(found(world).tiers)).fix


def test_a_tier_that_stays_up_is_told_again(world, health, monkeypatch):
    """Every ten minutes, where it is asked; not at each answer."""
    health.note(REDIS)
    health.tell(world.engine)
    age = "UPDATE tier_states SET seen_at = now() - interval '1 day'"
    world.run(age)
    health.note(REDIS)
    health.tell(world.engine)
    assert found(world).tiers[0].seen_s > SILENT_S
    monkeypatch.setattr("fntx_sessions.state.tier_health.monotonic", lambda: monotonic() + 601)
    health.note(REDIS)
    health.tell(world.engine)
    assert found(world).tiers[0].seen_s < SILENT_S


def test_a_process_that_starts_puts_an_old_finding_right(world, health):
    """The first answer it gets replaces what an ended process of its host left behind."""
    health.note(REDIS, "gone")
    health.tell(world.engine)
    fresh = TierHealth(0.0)
    with fresh.calling(REDIS):
        pass
    fresh.tell(world.engine)
    assert found(world).tiers[0].up


def test_one_caller_tries_while_the_others_are_told_at_once():
    """A tier that hangs costs one caller its wait, not all of them; and other errors are no outage."""
    health = TierHealth(3600.0)
    with pytest.raises(Unavailable), health.calling(REDIS):
        raise Unavailable("Redis", "gone", "")
    with pytest.raises(Unavailable, match="left alone"), health.calling(REDIS):
        pytest.fail("it was asked")
    with pytest.raises(ValueError, match="a bug"), health.calling(POSTGRES):
        raise ValueError("a bug")
    assert [(state.tier, state.up) for state in health.states()] == [(REDIS, False)]


def test_postgres_is_always_asked():
    """It is the record: what it holds may be newer than any copy from the moment it is back."""
    health = TierHealth(3600.0)
    health.note(POSTGRES, "gone")
    with health.calling(POSTGRES):
        pass
    assert [state.up for state in health.states()] == [True]
