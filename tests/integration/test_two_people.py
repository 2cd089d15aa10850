"""Two people on a running desk: managers, terminal and pages say that it waits, and a kill loses nothing."""

import json
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hosting import Hosting, S, T, make_hosting
from pages_world import Pages, pages_running
from running_desk import RunningDesk, quiet_desk, run
from test_page_actions import act

from fntx_sessions import SessionLifecycleManager
from fntx_sessions.cli.app import run as fntx
from fntx_sessions.cli.asking import hang_up
from fntx_sessions.cli.exits import Exit
from fntx_sessions.exceptions import Forbidden, NeedsSecond, NotConfirmed
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.security.tokens import issue
from fntx_sessions.settings import get_settings

__all__ = ["quiet_desk"]
POINTS = ("confirmation.before_keep", "confirmation.before_settled", "confirmation.confirmed")
ENVIRONMENT = {"FNTX_AUTH_MODE": "required", "FNTX_FOUR_EYES": "resume_session"}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each failpoint at which a worker's child was killed leaves its name."""
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def desk(quiet_desk: RunningDesk, killed: Path) -> Iterator[RunningDesk]:
    """A desk that asks for tokens; its worker's child is killed once at each point."""
    ensure_local_keys(quiet_desk.folder)
    points = ",".join(f"{name}:kill@{killed / name}" for name in POINTS)
    with quiet_desk.worker(**ENVIRONMENT, FNTX_FAILPOINTS=points):
        yield quiet_desk


@pytest.fixture(scope="module")
def hosting(desk: RunningDesk) -> Iterator[Hosting]:
    with make_hosting(desk.settings) as made:
        yield made


@pytest.fixture
def paused(hosting: Hosting) -> UUID:
    session_id = hosting.started()
    hosting.do(T.PAUSE, session_id)
    return session_id


def token(desk: RunningDesk, name: str, *roles: str) -> str:
    return issue(desk.settings, name, roles or ("operator",), 600)


def manager(desk: RunningDesk, name: str) -> SessionLifecycleManager:
    return SessionLifecycleManager(settings=desk.settings, token=token(desk, name))


def test_killed_at_every_point_it_is_done_once_all_the_same(desk, hosting, paused, killed):
    """A manager's caller is told that it waits; the second's word does it once, however often a worker dies over it."""

    async def scenario(command_id: UUID) -> dict:
        async with manager(desk, "ann") as ann, manager(desk, "bob") as bob:
            with pytest.raises(NeedsSecond) as told:
                await ann.resume_session(paused, reason="calm again", command_id=command_id)
            assert told.value.named()["command_id"] == str(command_id)
            (waiting,) = await bob.list_confirmations(paused)
            assert (waiting.command_id, waiting.asked_by) == (command_id, "ann")
            assert waiting.needed == "admin or operator"
            with pytest.raises(Forbidden, match="somebody else"):
                await ann.confirm(command_id)
            answer = await bob.confirm(command_id, "agreed")
            outcome = await ann.resume_session(paused, reason="calm again", command_id=command_id)
            assert outcome.version == answer["version"]
            return answer

    command_id = uuid4()
    answer = run(scenario, command_id)
    assert (answer["state"], answer["status"]) == ("done", "active")
    assert sorted(one.name for one in killed.iterdir()) == sorted(POINTS)
    rows = hosting.rows("SELECT * FROM audit WHERE command_id = :id ORDER BY timestamp", id=command_id)
    assert [(row["action"], row["actor"], row["confirmed_by"]) for row in rows] == [
        ("resume_session", "ann", None), ("confirm", "bob", None), ("resume_session", "ann", "bob"),
    ]  # fmt: skip
    assert all(row["host"] for row in rows)


def test_a_manager_declines_and_the_asker_is_told(desk, paused):
    """No is an answer; it is raised for who asks again."""

    async def scenario() -> None:
        command_id = uuid4()
        async with manager(desk, "ann") as ann, manager(desk, "bob") as bob:
            for error in (NeedsSecond, NotConfirmed):
                with pytest.raises(error):
                    await ann.resume_session(paused, reason="calm again", command_id=command_id)
                await bob.decline(command_id, "not yet")
            assert (await ann.get_session(paused)).status is S.PAUSED

    run(scenario)


@pytest.fixture
def terminal(desk, monkeypatch, capsys):
    """Run `fntx` as somebody; returns the exit code, and what it said."""

    def call(name: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setenv("FNTX_HOME", str(desk.folder))
        monkeypatch.setenv("FNTX_REDIS_URL", desk.redis_url)
        monkeypatch.setenv("FNTX_DATABASE_URL", desk.database_url)
        monkeypatch.setenv("FNTX_TOKEN", token(desk, name))
        get_settings.cache_clear()
        code = fntx(arguments)
        hang_up()
        said = capsys.readouterr()
        return code, said.out + said.err

    yield call
    get_settings.cache_clear()


def test_a_terminal_says_how_the_second_confirms(terminal, hosting, paused):
    """Its own exit code, the command to run, a list of what waits; all of it is shown before it is confirmed."""
    code, said = terminal("ann", "resume", str(paused), "--reason", "calm again")
    assert code == Exit.WAITING
    assert "fntx confirmations confirm" in said
    code, said = terminal("bob", "confirmations", "ls", "--json")
    (waiting,) = [one for one in json.loads(said) if one["session_id"] == str(paused)]
    code, said = terminal("bob", "confirmations", "ls")
    assert code == Exit.DONE
    assert "ann" in said
    code, said = terminal("bob", "confirmations", "show", waiting["command_id"][:8])
    assert (code, f"resume session {paused}, asked for by ann" in said) == (Exit.DONE, True)
    code, said = terminal("bob", "confirmations", "confirm", waiting["command_id"])
    assert (code, "limits as they were" in said, "Give --yes" in said) == (Exit.USAGE, True, True)
    assert terminal("ann", "confirmations", "confirm", waiting["command_id"], "--yes")[0] == Exit.REFUSED
    code, said = terminal("bob", "confirmations", "confirm", waiting["command_id"][:8], "-r", "yes", "--yes")
    assert (code, "resume for ann is confirmed: done" in said) == (Exit.DONE, True)
    assert hosting.row(paused)["status"] == "active"
    assert terminal("bob", "confirmations", "decline", waiting["command_id"])[0] == Exit.REFUSED
    assert terminal("bob", "confirmations", "confirm", "00000000")[0] == Exit.NOT_FOUND


@pytest.fixture(scope="module")
def pages(desk: RunningDesk) -> Iterator[Pages]:
    with pages_running(desk, **ENVIRONMENT, FNTX_PAGES_ACT_WAIT_S="5") as found:
        yield found


def test_the_pages_say_that_it_waits_and_take_the_seconds_word(pages, hosting, paused):
    """Before it is sent, after it was, on the board and on a page of its own, where somebody else confirms."""
    ann, bob = (pages.somebody("operator", name=name) for name in ("ann", "bob"))
    way = f"/sessions/{paused}/act/resume"
    assert "It takes two people" in ann.get(way).text
    assert "waits for the second" in unescape(act(ann, way).text)
    assert "for a second person" in ann.get("/sessions").text
    assert "for a second person" in ann.get("/sessions/health").text
    command_id = hosting.rows(
        "SELECT command_id FROM confirmations WHERE session_id = :id AND state = 'waiting'", id=paused
    )[0]["command_id"]
    eve = pages.somebody("viewer", name="eve")
    others, lookers = (person.get("/sessions/confirmations").text for person in (bob, eve))
    assert f"{command_id}/confirm" in others
    assert str(command_id) in lookers
    assert f"{command_id}/confirm" not in lookers
    confirm = f"/sessions/confirmations/{command_id}/confirm"
    assert "You asked for it yourself" in ann.get(confirm).text
    assert "in the name of ann" in bob.get(confirm).text
    assert "Done." in act(bob, confirm).text
    assert hosting.row(paused)["status"] == "active"
    assert "bob" in bob.get("/sessions/confirmations").text


def test_a_worker_does_not_start_with_a_name_that_is_none(quiet_desk):
    """A slip of the pen in FNTX_FOUR_EYES would let through what was meant to wait: it says what there is."""
    with pytest.raises(AssertionError, match="there is no action"), quiet_desk.worker(FNTX_FOUR_EYES="shred"):
        pass
