"""Deeds: sent with the person's own token, kept apart by login, and honest where nobody answers."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest
from celery import Celery
from kombu import pools

from fntx_sessions.exceptions import InvalidArgument, Unavailable
from fntx_sessions.monitoring.flower.act_ended import ended_deed
from fntx_sessions.monitoring.flower.acting import Acting, Deed
from fntx_sessions.monitoring.flower.logins import Logins
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.security.tokens import issue
from fntx_sessions.settings import Settings

Scenario = Callable[[Acting, Viewer, Viewer], Awaitable[None]]


def play(home: Path, scenario: Scenario, **changed: int) -> None:
    """Run a scenario with two people who are logged in where Redis is away; what it leaves running fails."""
    ensure_local_keys(home)
    settings = Settings(home=home, redis_url="redis://127.0.0.1:1/0", command_deadline_s=1.0, **changed)

    async def played() -> None:
        logins = Logins(settings)
        acting = Acting(settings, logins)
        people = [logins.viewer(logins.begin(issue(settings, name, ["operator"], 60))) for name in ("ann", "bob")]
        assert all(people)
        await scenario(acting, *people)
        for one in people:
            acting.end(one.login)
        await asyncio.gather(*acting._closing)

    asyncio.run(played())


def pausing() -> Deed:
    return Deed(uuid4(), "fntx.sessions.pause", {"session_id": str(uuid4()), "reason": "headlines"})


def test_where_redis_is_away_it_is_said_at_once_that_nothing_was_done(tmp_path):
    """And it may be asked again under the same id."""

    async def scenario(acting: Acting, ann: Viewer, _bob: Viewer) -> None:
        deed = acting.begin(ann, pausing())
        assert ended_deed(deed).grade == "under way"
        await deed.within(10)
        assert isinstance(deed.problem, Unavailable)
        found = ended_deed(deed)
        assert (found.grade, found.again) == ("not done", True)
        first = deed.running
        assert acting.again(ann, deed.command_id) is deed
        assert deed.running is not first
        await deed.within(10)

    play(tmp_path, scenario)


def test_what_flower_itself_fails_at_is_asked_again_and_never_called_refused(tmp_path, monkeypatch):
    """Whether it was sent is not known then; the same form again is the same deed."""

    def broken(*_: object) -> None:
        raise RuntimeError

    async def scenario(acting: Acting, ann: Viewer, _bob: Viewer) -> None:
        monkeypatch.setattr("fntx_sessions.monitoring.flower.acting.Caller", broken)
        deed = acting.begin(ann, pausing())
        await deed.within(10)
        found = ended_deed(deed)
        assert (found.grade, found.again, deed.may_be_asked_again) == ("unknown", True, True)
        monkeypatch.undo()
        assert acting.begin(ann, deed) is deed
        await deed.within(10)
        assert ended_deed(deed).grade == "not done"

    play(tmp_path, scenario)


def test_a_deed_that_nothing_is_known_of_may_be_asked_again(tmp_path):
    """What was cut short has neither outcome nor problem: it was not refused."""

    async def scenario(acting: Acting, ann: Viewer, _bob: Viewer) -> None:
        deed = acting.begin(ann, pausing())
        assert deed.running
        deed.running.cancel()
        await deed.within(10)
        found = ended_deed(deed)
        assert (found.grade, found.again, deed.may_be_asked_again) == ("unknown", True, True)

    play(tmp_path, scenario)


def test_a_first_command_is_sent_while_the_process_uses_its_own_pool(tmp_path):
    """Flower's own connections, and how many it may have, are its own."""

    async def scenario(acting: Acting, ann: Viewer, _bob: Viewer) -> None:
        before = pools.get_limit()
        with Celery("flowers", set_as_current=False, broker="redis://127.0.0.1:1/0").pool.acquire():
            deed = acting.begin(ann, pausing())
            await deed.within(10)
            assert ended_deed(deed).grade == "not done"
        assert pools.get_limit() == before

    play(tmp_path, scenario)


def test_the_same_form_is_the_same_deed(tmp_path):
    """Sent twice, it runs once."""

    async def scenario(acting: Acting, ann: Viewer, _bob: Viewer) -> None:
        one = pausing()
        deed = acting.begin(ann, one)
        again = acting.begin(ann, Deed(one.command_id, one.task, one.arguments))
        assert again is deed
        await deed.within(10)

    play(tmp_path, scenario)


def test_an_id_that_was_sent_is_no_other_commands(tmp_path):
    """Another task, target or reason under it is refused, and nothing is sent."""

    async def scenario(acting: Acting, ann: Viewer, _bob: Viewer) -> None:
        one = pausing()
        deed = acting.begin(ann, one)
        for task, arguments in (("fntx.sessions.stop", one.arguments), (one.task, one.arguments | {"reason": "else"})):
            with pytest.raises(InvalidArgument, match="sent before"):
                acting.begin(ann, Deed(one.command_id, task, arguments))
        assert acting.find(ann, one.command_id) is deed
        await deed.within(10)

    play(tmp_path, scenario)


def test_what_one_person_sent_is_nobody_elses_to_ask_again(tmp_path):
    """Nor theirs once they logged out."""

    async def scenario(acting: Acting, ann: Viewer, bob: Viewer) -> None:
        deed = acting.begin(ann, pausing())
        await deed.within(10)
        assert acting.find(bob, deed.command_id) is None
        assert acting.again(bob, deed.command_id) is None
        acting.end(ann.login)
        assert acting.find(ann, deed.command_id) is None
        assert not acting._callers

    play(tmp_path, scenario)


def test_the_oldest_make_room(tmp_path):
    """What is under way never does."""

    async def scenario(acting: Acting, ann: Viewer, _bob: Viewer) -> None:
        deeds = []
        for _ in range(4):
            deeds.append(acting.begin(ann, pausing()))
            await deeds[-1].within(10)
        kept = [acting.find(ann, deed.command_id) is not None for deed in deeds]
        assert kept == [False, False, True, True]

    play(tmp_path, scenario, pages_deeds_kept=2)


@pytest.mark.parametrize("shown", [repr, str])
def test_nothing_secret_is_in_what_is_printed(tmp_path, shown):
    """Not the token, not what was written."""

    async def scenario(acting: Acting, ann: Viewer, _bob: Viewer) -> None:
        deed = acting.begin(ann, pausing())
        await deed.within(10)
        assert "headlines" not in shown(deed)
        assert ann.token
        assert ann.token not in shown(ann) + shown(deed) + shown(acting)

    play(tmp_path, scenario)
