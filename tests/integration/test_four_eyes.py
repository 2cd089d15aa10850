"""Two people: what four_eyes names waits for somebody else, is done once in the first one's name, and names both."""

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from celery.backends.base import DisabledBackend
from hosting import Hosting
from owning import do

from fntx_sessions.automation import bulk, halts
from fntx_sessions.automation.halt_arguments import HaltArguments
from fntx_sessions.database.engine import get_engine
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.lifecycle.granting import RevokeArguments, revoke
from fntx_sessions.lifecycle.reads.history import get_events
from fntx_sessions.lifecycle.rehearsing import rehearse
from fntx_sessions.schemas import Trigger
from fntx_sessions.security import signing_keys
from fntx_sessions.security.actor import Actor, system_actor
from fntx_sessions.security.chain_check import verify_chain
from fntx_sessions.security.keys import signing_pair
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.security.tokens import issue
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.state.chain_key import ChainKeys
from fntx_sessions.state.redis_client import get_redis
from fntx_sessions.testing import FailpointReached, failpoints_armed
from tasks import second
from tasks.celery import app
from tasks.desk import desk
from tasks.signals import TOKEN_HEADER

app.loader.import_default_modules()
FOUR = "raise_risk_limit,recover_from_error,shred_session,release_halt,resume_session,edit_template"
T = Trigger
RISK, ADMIN, OPERATOR = ("risk_manager",), ("admin",), ("operator",)
LIMIT = 500
CY = Actor("cy", frozenset(OPERATOR))
RAISE = {"risk_parameters": {"position_limit": LIMIT}}
DESK = UUID(int=0)


class People:
    """Everybody who asks this desk, each message with a token of their own."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home)
        self.hosting = Hosting(desk())

    def ask(self, name: str, roles: tuple[str, ...], task: str, *, id: UUID | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Send a task as `name`, and return its answer as the caller gets it."""
        within = kwargs.pop("within", ())
        scope = {"sessions": within} if within else {}
        token = issue(self.settings, name, roles, kwargs.pop("ttl_s", 60), **scope)
        done = app.tasks[f"fntx.{task}"].apply(
            kwargs=kwargs, task_id=str(id or uuid4()), headers={TOKEN_HEADER: token}, throw=False
        )
        assert done.successful(), done.traceback
        return json.loads(json.dumps(done.result))

    def raise_limit(self, session_id: UUID, command_id: UUID, name: str = "ann", **more: Any) -> Any:
        return self.ask(
            name,
            RISK,
            "sessions.update",
            id=command_id,
            session_id=str(session_id),
            reason="the desk grows",
            **RAISE,
            **more,
        )

    def confirm(self, command_id: UUID, name: str = "bob", roles: tuple[str, ...] = RISK, **more: Any) -> Any:
        return self.ask(name, roles, "confirmations.confirm", confirmation=str(command_id), **more)

    def decline(self, command_id: UUID, name: str = "bob", roles: tuple[str, ...] = RISK, **more: Any) -> Any:
        return self.ask(name, roles, "confirmations.decline", confirmation=str(command_id), **more)

    def listed(self, **asked: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("eve", ("viewer",), "confirmations.list", **asked)["result"]
        return found

    def limit(self, session_id: UUID) -> int:
        found: int = self.hosting.row(session_id)["risk_parameters"]["position_limit"]
        return found

    def audit(self, session_id: UUID = DESK, command_id: UUID | None = None) -> list[dict[str, Any]]:
        found = self.hosting.rows("SELECT * FROM audit WHERE session_id = :id ORDER BY seq", id=session_id)
        return [row for row in found if command_id in (None, row["command_id"])]

    def run(self, statement: str, **values: Any) -> None:
        do(self.hosting.desk.engine, statement, values)


@pytest.fixture(scope="module")
def at(module_database_url: str, valkey_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """A desk of this process, on which all that FOUR names takes two people."""
    home = tmp_path_factory.mktemp("home")
    told = {
        "HOME": str(home), "DATABASE_URL": module_database_url, "REDIS_URL": valkey_server, "FOUR_EYES": FOUR,
        "AUTH_MODE": "required",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(f"FNTX_{name}", value)
        patch.setattr(app, "_backend_cache", DisabledBackend(app))
        for cached in (get_settings, get_engine, get_redis):
            cached.cache_clear()
        ensure_local_keys(home)
        yield People(home)
        get_engine().dispose()
        get_redis().close()
    for cached in (get_settings, get_engine, get_redis):
        cached.cache_clear()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def running(at: People) -> UUID:
    """A session that runs; asked for by one person, as nothing of that takes two."""
    return at.hosting.started()


def error(answer: dict[str, Any]) -> tuple[str, str]:
    return answer["state"], answer["error"]["error"]


def test_what_takes_two_people_waits_and_is_done_once_by_the_second(at, running):
    """Nothing is done before; then it is, in the first one's name, and the audit of the session names both."""
    command_id, before = uuid4(), at.limit(running)
    answer = at.raise_limit(running, command_id)
    assert error(answer) == ("pending", "NeedsSecond")
    assert answer["command_id"] == str(command_id)
    assert f"fntx confirmations confirm {command_id}" in answer["error"]["message"]
    assert (at.limit(running), at.audit(running, command_id)) == (before, [])

    settled = at.confirm(command_id, reason="seen")["result"]
    assert (settled["state"], settled["settled_by"], settled["answer"]["state"]) == ("confirmed", "bob", "done")
    assert at.limit(running) == LIMIT
    (row,) = at.audit(running, command_id)
    assert (row["actor"], row["confirmed_by"], row["outcome"]) == ("ann", "bob", "done")
    assert (row["task"], row["reason"]) == ("fntx.sessions.update", "the desk grows")

    version = at.hosting.row(running)["version"]
    again = at.confirm(command_id)["result"]
    assert (again["settled_by"], again["answer"]["version"]) == ("bob", settled["answer"]["version"])
    assert at.raise_limit(running, command_id)["version"] == settled["answer"]["version"]
    assert at.hosting.row(running)["version"] == version


def test_the_desks_chain_has_who_asked_and_who_agreed_and_holds(at, running):
    """Asking and agreeing are rows of the desk's own chain, with one hash of the arguments."""
    command_id = uuid4()
    at.raise_limit(running, command_id)
    at.confirm(command_id, reason="seen")
    asked, agreed = at.audit(command_id=command_id)
    assert (asked["actor"], asked["action"], asked["outcome"]) == ("ann", "raise_risk_limit", "pending")
    assert (agreed["actor"], agreed["action"], agreed["outcome"], agreed["reason"]) == (
        "bob",
        "confirm",
        "done",
        "seen",
    )
    assert all(str(running) in row["target"] for row in (asked, agreed))
    assert bytes(asked["args_hash"]) == bytes(agreed["args_hash"])
    assert not verify_chain(at.audit(), ChainKeys(at.hosting.desk.engine, at.hosting.desk.settings).rows)


def test_the_second_is_somebody_else_who_may_do_it_too(at, running):
    """Not who asked, under whichever token and however written; not who may not do it; not by a narrower scope."""
    command_id, before = uuid4(), at.limit(running)
    at.raise_limit(running, command_id)
    for name, roles, scope in (
        ("ann", RISK, ()), ("Ann", ADMIN, ()), ("cy", OPERATOR, ()), ("dee", RISK, (str(uuid4()),)),
        ("eve", ("viewer",), ()),
    ):  # fmt: skip
        assert error(at.confirm(command_id, name, roles, within=scope)) == ("refused", "Forbidden"), name
    assert at.limit(running) == before
    assert at.confirm(command_id, "dee", RISK, within=(str(running),))["result"]["answer"]["state"] == "done"


def test_the_second_is_a_person(at, running):
    """What a service may ask for, another service cannot agree to."""
    at.hosting.do(T.PAUSE, running)
    command_id = uuid4()
    answer = at.ask("planner", ("service",), "sessions.resume", id=command_id, session_id=str(running))
    assert error(answer) == ("pending", "NeedsSecond")
    assert error(at.confirm(command_id, "other", ("service",))) == ("refused", "Forbidden")
    assert at.confirm(command_id, "cy", OPERATOR)["result"]["answer"]["status"] == "active"


def test_who_may_not_do_it_alone_may_not_ask_for_it_either(at, running):
    """A second person lifts nobody's role: it is refused, and nothing waits."""
    answer = at.ask("cy", OPERATOR, "sessions.update", session_id=str(running), **RAISE)
    assert error(answer) == ("refused", "Forbidden")
    assert at.listed(session_id=str(running)) == []


def test_what_lowers_risk_waits_for_nobody(at, running):
    """Lowering a limit, pausing and stopping are done at once, beside an action of theirs that takes two."""
    lower = at.ask("ann", RISK, "sessions.update", session_id=str(running), risk_parameters={"position_limit": 1})
    assert lower["state"] == "done"
    assert at.ask("cy", OPERATOR, "sessions.pause", session_id=str(running))["status"] == "paused"
    assert at.ask("cy", OPERATOR, "sessions.stop", session_id=str(running), close_positions=True)["error"] is None


def test_a_no_is_kept_and_told_to_who_asks_again(at, running):
    """Declined, it is not done, not confirmed any more, and asking again says who said no and why."""
    command_id, before = uuid4(), at.limit(running)
    at.raise_limit(running, command_id)
    assert at.decline(command_id, reason="too much")["result"]["state"] == "rejected"
    assert at.decline(command_id)["result"]["settled_reason"] == "too much"
    answer = at.raise_limit(running, command_id)
    assert error(answer) == ("refused", "NotConfirmed")
    assert "bob said no: too much" in answer["error"]["message"]
    assert error(at.confirm(command_id, "cyd")) == ("refused", "NotConfirmed")
    assert at.limit(running) == before
    outcome = at.ask("eve", ("viewer",), "sessions.outcome", command_id=str(command_id))
    assert error(outcome) == ("refused", "NotConfirmed")


def test_who_asked_may_take_it_back_and_nobody_declines_what_is_confirmed(at, running):
    """Taking back needs nobody else; a word that came is not unsaid."""
    mine, done = uuid4(), uuid4()
    at.raise_limit(running, mine)
    assert at.decline(mine, "ann", RISK)["result"]["settled_by"] == "ann"
    at.raise_limit(running, done)
    at.confirm(done)
    assert error(at.decline(done)) == ("refused", "PreconditionFailed")


def test_its_time_ends_it_whether_or_not_a_sweep_has_come(at, running):
    """Past its time nobody confirms it; the sweep writes that down, once, as the system's."""
    command_id = uuid4()
    at.raise_limit(running, command_id)
    at.run("UPDATE confirmations SET expires_at = now() - interval '1 s' WHERE command_id = :id", id=command_id)
    assert error(at.confirm(command_id)) == ("refused", "NotConfirmed")
    assert at.listed(session_id=str(running)) == []
    assert "nobody confirmed until" in at.raise_limit(running, command_id)["error"]["message"]
    for _ in range(2):
        second.bring_up_to_now(system_actor("h1"))
    (_, expired) = at.audit(command_id=command_id)
    assert (expired["actor"], expired["action"]) == ("system", "expire")
    (kept,) = at.listed(session_id=str(running), everything=True)
    assert kept["state"] == "expired"


def test_a_command_that_waits_is_shown_with_what_it_would_do(at, running):
    """Whoever may look sees the arguments, who asked and why, what is left of its time, and who may confirm."""
    command_id = uuid4()
    at.raise_limit(running, command_id)
    (shown,) = at.listed(session_id=str(running))
    assert shown["arguments"]["risk_parameters"] == RAISE["risk_parameters"]
    assert "position_limit" in shown["told"]
    assert (shown["asked_by"], shown["reason"], shown["needed"]) == ("ann", "the desk grows", "admin or risk_manager")
    assert 0 < shown["expires_in_s"] <= get_settings().four_eyes_ttl_s
    answer = at.ask("eve", ("viewer",), "sessions.outcome", command_id=str(command_id))
    assert error(answer) == ("pending", "NeedsSecond")
    told = [one.event_type for one in get_events(at.hosting.desk.engine, running, 50)]
    assert told.count("second_person_needed") == 1
    at.decline(command_id)
    assert get_events(at.hosting.desk.engine, running, 1)[0].event_type == "second_person_said"


def test_nothing_of_it_lies_readable_in_postgres(at, running):
    """Arguments and who asked with which scope are sealed."""
    command_id = uuid4()
    at.ask(
        "ann", RISK, "sessions.update", id=command_id, session_id=str(running), within=(str(running),),
        strategy_parameters={"sell_put": {"delta": 0.0471147}}, **RAISE,
    )  # fmt: skip
    (row,) = at.hosting.rows("SELECT * FROM confirmations WHERE command_id = :id", id=command_id)
    assert b"0471147" not in bytes(row["arguments"])
    assert str(running).encode() not in bytes(row["actor"])


def test_the_same_id_for_something_else_or_by_somebody_else_is_refused(at, running):
    """What waits under an id is what was asked under it, by whom it was."""
    command_id = uuid4()
    at.raise_limit(running, command_id)
    assert error(at.raise_limit(running, command_id)) == ("pending", "NeedsSecond")
    assert error(at.raise_limit(running, command_id, expected_version=1)) == ("refused", "CommandConflict")
    assert error(at.raise_limit(running, command_id, "bob")) == ("refused", "CommandConflict")
    other = at.ask("cy", OPERATOR, "sessions.pause", id=command_id, session_id=str(running))
    assert error(other) == ("refused", "CommandConflict")
    assert len(at.audit(command_id=command_id)) == 1


def test_what_became_impossible_meanwhile_is_refused_as_it_is_done(at, running):
    """A confirmation is no promise: the session decides as it stands then, and its audit has the refusal."""
    command_id = uuid4()
    version = at.hosting.row(running)["version"]
    at.raise_limit(running, command_id, expected_version=version)
    at.hosting.do(T.PAUSE, running)
    answer = at.confirm(command_id)["result"]["answer"]
    assert error(answer) == ("refused", "VersionConflict")
    assert [row["outcome"] for row in at.audit(running, command_id)] == ["refused"]


def test_a_revoked_asker_gets_nothing_confirmed(at, running):
    """Whose tokens were revoked while it waited, has asked for nothing any more."""
    command_id = uuid4()
    at.raise_limit(running, command_id, "mallory")
    at.run(
        "INSERT INTO revoked_tokens (revocation_id, subject, issued_until, forget_at, revoked_by) "
        "VALUES (gen_random_uuid(), 'mallory', now(), now() + interval '1 d', 'ada')"
    )
    from fntx_sessions.security.revocations import revocations_of  # noqa: PLC0415

    found = revocations_of(get_settings())
    assert found is not None
    found.look()
    answer = at.confirm(command_id)
    assert error(answer) == ("refused", "NotConfirmed")
    assert "mallory, who asked, may ask for nothing by now: the token was revoked by ada" in answer["error"]["message"]
    assert at.limit(running) != LIMIT


def test_what_waits_ends_with_the_token_it_was_asked_by(at, running):
    """Its time is the token's where that is over sooner; what is revoked stays so for longer than anything waits."""
    command_id, settings = uuid4(), get_settings()
    at.raise_limit(running, command_id, ttl_s=30)
    (shown,) = at.listed(session_id=str(running))
    assert 0 < shown["expires_in_s"] <= 30 + settings.token_leeway_s < settings.four_eyes_ttl_s
    brief = settings.model_copy(update={"token_max_ttl_s": 1, "four_eyes_ttl_s": 600.0})
    ada = Actor("ada", frozenset(ADMIN))
    revoked = revoke(at.hosting.desk.engine, brief, ada, RevokeArguments(name="nobody-else"), uuid4())
    assert (revoked.forget_at - revoked.revoked_at).total_seconds() >= brief.four_eyes_ttl_s


def test_a_retired_key_ends_what_was_asked_with_it(at, running):
    """A key that was given up, as one that leaked is, gets nothing confirmed that its tokens asked for."""
    command_id, pair = uuid4(), signing_pair(at.settings)
    (key,) = signing_keys.list_keys(pair)
    at.raise_limit(running, command_id)
    signing_keys.rotate(pair)
    signing_keys.retire(pair, key.key_id, 60, at_once=True)
    answer = at.confirm(command_id)
    assert error(answer) == ("refused", "NotConfirmed")
    assert "the token's key was retired" in answer["error"]["message"]
    assert at.limit(running) != LIMIT


RULES = [{"condition": "time_after", "value": "00:00:00"}]


@contextlib.contextmanager
def two_for(names: str) -> Iterator[None]:
    """Let other actions take two people inside the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FNTX_FOUR_EYES", names)
        get_settings.cache_clear()
        try:
            yield
        finally:
            patch.undo()
            get_settings.cache_clear()


@pytest.mark.parametrize("config", [{"auto_resume_conditions": RULES}, {"auto_resume_after_recovery": True}])
def test_letting_the_desk_do_it_by_itself_takes_two_like_doing_it(at, running, config):
    """Who may not resume alone writes nothing that does, into a session or a new one; taking it away waits for none."""
    write = uuid4()
    answer = at.ask("cy", OPERATOR, "sessions.update", id=write, session_id=str(running), config=config)
    assert error(answer) == ("pending", "NeedsSecond")
    assert answer["error"]["facts"]["action"] == "resume_session"
    assert at.confirm(write, roles=ADMIN)["result"]["answer"]["state"] == "done"
    assert at.ask("cy", OPERATOR, "sessions.update", session_id=str(running), config={"tags": ["x"]})["state"] == "done"
    nothing = {key: type(value)() for key, value in config.items()}
    assert at.ask("cy", OPERATOR, "sessions.update", session_id=str(running), config=nothing)["state"] == "done"

    made, new = uuid4(), uuid4()
    asked = {"session_type": "paper_trading", "session_id": str(new), "config": config}
    assert error(at.ask("cy", OPERATOR, "sessions.create", id=made, **asked)) == ("pending", "NeedsSecond")
    assert at.hosting.rows("SELECT 1 FROM sessions WHERE session_id = :id", id=new) == []
    assert at.confirm(made, roles=ADMIN)["result"]["answer"]["state"] == "done"
    assert at.hosting.row(new)["created_at"] is not None


def test_a_template_that_starts_by_itself_takes_two_where_a_start_does(at):
    """Made of one whose rules start it, a session waits for the second person; of another it does not."""
    regular = {"template_name": "Regular Trading"}
    with two_for("start_session"):
        made = uuid4()
        answer = at.ask("cy", OPERATOR, "sessions.create_from_template", id=made, **regular)
        assert error(answer) == ("pending", "NeedsSecond")
        assert answer["error"]["facts"]["action"] == "start_session"
        assert at.confirm(made, roles=OPERATOR)["result"]["answer"]["state"] == "done"
        for name in ("Paper Trading", "Backtest"):
            other = at.ask("cy", OPERATOR, "sessions.create_from_template", template_name=name)
            assert (other["error"] or {}).get("error") != "NeedsSecond", name


def test_rules_of_a_template_are_edited_by_two_whichever_way(at):
    """Rules are rules by `templates.edit` too, and a template is edited by `rules.set_template` too."""
    name = f"two {uuid4().hex[:8]}"
    rules = {"auto_stop_conditions": [{"condition": "vix_above", "value": 40}]}
    plain = {"copy_of": "Paper Trading", "changes": {"auto_start_conditions": [], "auto_stop_conditions": []}}
    with two_for("edit_rules"):
        assert at.ask("cy", OPERATOR, "templates.add", template_name=name, **plain)["state"] == "done"
        told = at.ask("cy", OPERATOR, "templates.edit", template_name=name, changes={"description": "ours"})
        assert told["state"] == "done"
        answer = at.ask("cy", OPERATOR, "templates.edit", template_name=name, changes=rules)
        assert error(answer) == ("pending", "NeedsSecond")
        copied = {"template_name": f"{name} too", "copy_of": "Regular Trading"}
        assert error(at.ask("cy", OPERATOR, "templates.add", **copied)) == ("pending", "NeedsSecond")
    with two_for("edit_template"):
        edit = uuid4()
        asked = {"template_name": name, "rules": rules}
        assert error(at.ask("cy", OPERATOR, "rules.set_template", id=edit, **asked)) == ("pending", "NeedsSecond")
        assert at.confirm(edit)["result"]["answer"]["state"] == "done"


def test_two_who_confirm_at_once_do_it_once(at, running):
    """However many confirm, one word stands and one change is made."""
    command_id = uuid4()
    version = at.hosting.row(running)["version"]
    at.raise_limit(running, command_id)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda name: at.confirm(command_id, name), ("bob", "cyd")))
    assert {one["result"]["answer"]["version"] for one in found} == {version + 1}
    assert len({one["result"]["settled_by"] for one in found}) == 1
    assert [row["action"] for row in at.audit(command_id=command_id)] == ["raise_risk_limit", "confirm"]


def test_a_worker_that_dies_as_it_keeps_one_leaves_nothing(at, running):
    """Neither a row nor an audit without one: asked again, it waits."""
    command_id = uuid4()
    with failpoints_armed("confirmation.before_keep:raise"):
        assert at.raise_limit(running, command_id)["state"] == "error"
    assert at.listed(session_id=str(running)) == []
    assert at.audit(command_id=command_id) == []
    assert at.raise_limit(running, command_id)["state"] == "pending"


@pytest.mark.parametrize("place", ["confirmation.before_settled", "confirmation.confirmed"])
def test_a_worker_that_dies_over_a_confirmation_leaves_all_or_nothing(at, running, place):
    """Before the word is kept it still waits; after it, the sweep does what was confirmed, once."""
    command_id, before = uuid4(), at.limit(running)
    at.raise_limit(running, command_id)
    with failpoints_armed(f"{place}:raise"), contextlib.suppress(FailpointReached, AssertionError):
        at.confirm(command_id)
    (row,) = at.hosting.rows("SELECT * FROM confirmations WHERE command_id = :id", id=command_id)
    assert at.limit(running) == before
    if place == "confirmation.before_settled":
        assert row["state"] == "waiting"
        return
    assert (row["state"], row["done_at"]) == ("confirmed", None)
    at.run("UPDATE confirmations SET settled_at = now() - interval '1 h' WHERE command_id = :id", id=command_id)
    for _ in range(2):
        second.bring_up_to_now(system_actor("h1"))
    assert at.limit(running) == LIMIT
    assert [one["confirmed_by"] for one in at.audit(running, command_id)] == ["bob"]


def test_the_desks_own_commands_wait_too(at):
    """A halt is released, and a template edited, by two; placing a halt is not anything that waits."""
    halt_id, release, edit = uuid4(), uuid4(), uuid4()
    assert at.ask("cy", OPERATOR, "halts.place", id=halt_id, scope="all", reason="test")["state"] == "done"
    answer = at.ask("ann", RISK, "halts.release", id=release, halt_id=str(halt_id), reason="over")
    assert error(answer) == ("pending", "NeedsSecond")
    assert [one["halt_id"] for one in at.ask("eve", ("viewer",), "halts.list")["result"]] == [str(halt_id)]
    assert at.confirm(release, roles=ADMIN)["result"]["answer"]["state"] == "done"
    assert at.ask("eve", ("viewer",), "halts.list")["result"] == []
    asked = {"template_name": "none-such", "reason": "x"}
    assert error(at.ask("ann", RISK, "templates.retire", id=edit, **asked)) == ("pending", "NeedsSecond")
    answer = at.confirm(edit)["result"]["answer"]
    assert error(answer) == ("refused", "NotFound")
    assert [row["outcome"] for row in at.audit(command_id=edit)] == ["pending", "done", "refused"]


def test_a_halts_run_is_cancelled_by_two(at, running):
    """It waits under its command id, its task's where it has none; cancelled, it names who asked and who agreed."""
    halt_id, cancel = uuid4(), uuid4()
    found, _ = halts.place(at.hosting.desk, CY, HaltArguments(scope="all", reason="why"), halt_id)
    run = halts._begin(at.hosting.desk.engine, CY, found, [running])
    assert error(at.ask("ann", RISK, "bulk.cancel", id=cancel, bulk_id=str(run))) == ("pending", "NeedsSecond")
    assert bulk.report(at.hosting.desk.engine, run).state == "running"
    answer = at.confirm(cancel)["result"]["answer"]
    assert (answer["result"]["state"], answer["result"]["cancelled_by"]) == ("cancelled", "ann")
    [row] = at.audit(command_id=run)
    assert (row["actor"], row["confirmed_by"]) == ("ann", "bob")
    release = uuid4()
    at.ask("ann", RISK, "halts.release", id=release, halt_id=str(halt_id), reason="over")
    assert at.confirm(release)["result"]["answer"]["state"] == "done"


def test_many_at_once_wait_as_one_and_look_ahead_as_ever(at, running):
    """A bulk resume is one word for all; its preview says what it would come to; each session's audit names both."""
    at.hosting.do(T.PAUSE, running)
    asked = {"action": "resume", "selector": {"session_ids": [str(running)]}, "reason": "morning"}
    (item,) = at.ask("cy", OPERATOR, "bulk.preview", **asked)["result"]
    assert (item["state"], item["status_after"]) == ("waiting", "active")
    bulk_id = uuid4()
    assert error(at.ask("cy", OPERATOR, "bulk.begin", id=bulk_id, **asked)) == ("pending", "NeedsSecond")
    assert at.confirm(bulk_id, roles=OPERATOR)["result"]["answer"]["state"] == "done"
    assert at.hosting.row(running)["status"] == "active"
    last = at.audit(running)[-1]
    assert (last["action"], last["actor"], last["confirmed_by"]) == ("resume_session", "cy", "bob")


def test_a_rehearsal_says_that_it_takes_two_and_what_would_be_done(at, running):
    """Who looks ahead sees the change itself, and that it would wait; the system's own resume takes nobody."""
    at.hosting.do(T.PAUSE, running)
    engine = at.hosting.desk.engine
    ann = Actor("ann", frozenset({"operator"}))
    found = rehearse(engine, Ask(T.RESUME, running, ann, "seen", uuid4(), {}))
    assert found.refused is None
    assert found.second is not None
    assert found.last.to_status == "active"
    assert rehearse(engine, Ask(T.RESUME, running, system_actor("h"), "seen", uuid4(), {})).second is None


def test_a_confirmer_agrees_to_no_more_than_their_own_role_may(at, running):
    """Where one command holds two such actions, the second person must be allowed both."""
    at.hosting.do(T.FAIL, running, actor=Actor("ada", frozenset({"admin"})), error="made for a test")
    actor = Actor("ann", frozenset({"admin"}), confirmed_by="cy", confirmed_roles=frozenset({"viewer"}))
    found = rehearse(
        at.hosting.desk.engine, Ask(T.RECOVER, running, actor, "", uuid4(), {"checkpoint_id": str(uuid4())})
    )
    assert found.refused is not None
    assert "cy" in str(found.refused)


def test_no_name_fills_the_desk_with_what_waits(at, running, monkeypatch):
    """So many of one name wait at once; the next is refused until one is over."""
    monkeypatch.setenv("FNTX_FOUR_EYES_WAITING_MAX", "2")
    get_settings.cache_clear()
    try:
        ids = [uuid4() for _ in range(3)]
        answers = [at.raise_limit(running, one, "zed") for one in ids]
        assert [one["state"] for one in answers] == ["pending", "pending", "refused"]
        at.decline(ids[0])
        assert at.raise_limit(running, ids[2], "zed")["state"] == "pending"
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


def test_an_unknown_session_is_refused_at_once(at):
    """Nobody is asked to agree to what cannot be."""
    answer = at.ask("ada", ADMIN, "sessions.shred", session_id=str(uuid4()))
    assert error(answer) == ("refused", "NotFound")


def test_a_shredded_sessions_confirmations_go_with_it(at):
    """What was asked of it is gone; who agreed to the shredding stays, and answers who asks again."""
    session_id = at.hosting.started()
    before, shred = uuid4(), uuid4()
    at.raise_limit(session_id, before)
    at.hosting.do(T.STOP, session_id, close_positions=True)
    at.hosting.finish()
    assert at.hosting.row(session_id)["status"] == "closed"
    asked = {"session_id": str(session_id)}
    assert error(at.ask("ada", ADMIN, "sessions.shred", id=shred, **asked)) == ("pending", "NeedsSecond")
    assert at.confirm(shred, roles=ADMIN)["result"]["answer"]["state"] == "done"
    from fntx_sessions.state.erasing import erase_due  # noqa: PLC0415

    erase_due(*desk().parts())
    kept = at.hosting.rows("SELECT command_id, settled_by FROM confirmations WHERE session_id = :id", id=session_id)
    assert kept == [{"command_id": shred, "settled_by": "bob"}]
    assert at.ask("ada", ADMIN, "sessions.shred", id=shred, **asked)["state"] == "done"


def test_what_is_over_is_kept_for_a_while_and_no_longer(at, running):
    """Settled ones are forgotten after four_eyes_keep_s; what waits never is."""
    over, waits = uuid4(), uuid4()
    for one in (over, waits):
        at.raise_limit(running, one)
    at.decline(over)
    at.run("UPDATE confirmations SET settled_at = now() - interval '31 d' WHERE command_id = :id", id=over)
    second.bring_up_to_now(system_actor("h1"))
    assert [one["command_id"] for one in at.listed(session_id=str(running), everything=True)] == [str(waits)]
