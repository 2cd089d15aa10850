"""Attacks on a real worker through Redis, each with what becomes of it: docs/security.md has them as a table."""

# ruff: noqa: ARG005 - attacks that need nothing of the victim take it all the same

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
from celery import Celery
from conftest import DatabaseServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from running_desk import REDIS_DATABASE
from sqlalchemy import Engine, text
from worker_process import raw_app, wait_until, worker

from fntx_sessions.database.engine import build_engine
from fntx_sessions.lifecycle import execute, granting
from fntx_sessions.lifecycle.arguments import CreateArguments
from fntx_sessions.schemas import SessionType
from fntx_sessions.security import key_files, keys, roles
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.binding import binding
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.security.tokens import issue, verify
from fntx_sessions.settings import Settings
from fntx_sessions.state.redis_client import build_redis
from tasks import needed, second
from tasks.celery import app

HOUR = 3600
DENIALS = 4


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@dataclass(frozen=True)
class Victim:
    """A desk with keys, a worker, and a session of its own."""

    settings: Settings
    engine: Engine
    stranger: Celery
    session_id: str

    def token(self, *roles: str, name: str = "ann", **scope: Any) -> str:
        return issue(self.settings, name, roles or ("operator",), 600, **scope)

    def ask(self, task: str, token: object = None, *, task_id: str | None = None, **kwargs: Any) -> Any:
        """Send one message as a stranger with Celery does, and return its answer."""
        told = {"fntx_token": token} if token is not None else {}
        sent = self.stranger.send_task(
            task, kwargs=kwargs, task_id=task_id or str(uuid4()), headers=told, queue="commands"
        )
        return sent.get(timeout=30)

    def pause(self, token: object = None, **more: Any) -> Any:
        return self.ask("fntx.sessions.pause", token, **{"session_id": self.session_id, "reason": "attack"} | more)

    def rows(self, query: str, **bound: Any) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(query), bound).mappings()]

    def version(self) -> int:
        return self.rows("SELECT version FROM sessions WHERE session_id = :id", id=self.session_id)[0]["version"]

    def touched(self) -> list[dict[str, Any]]:
        """What a message that is taken seriously leaves behind."""
        return self.rows("SELECT (SELECT count(*) FROM commands) AS commands, (SELECT count(*) FROM audit) AS audit")

    @property
    def private(self) -> Ed25519PrivateKey:
        return key_files.load_private_key(keys.signing_pair(self.settings).private)

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        good = {"iss": "fntx-sessions", "aud": "fntx-sessions", "sub": "eve", "roles": ["admin"], "jti": uuid4().hex}
        return good | {"iat": now, "nbf": now, "exp": now + 60} | changes

    def signed(self, key: Any = None, kid: str | None = None, algorithm: str = "EdDSA", **changes: Any) -> str:
        """A token with the true key unless another is given, as a mistaken or turned issuer would make it."""
        named = kid if kid is not None else key_files.key_id(self.private.public_key())
        return jwt.encode(self.claims(**changes), key or self.private, algorithm=algorithm, headers={"kid": named})

    def unsigned(self, algorithm: str) -> str:
        kid = key_files.key_id(self.private.public_key())
        return f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': kid})}.{part(self.claims())}."

    def keyed_with_the_public_key(self) -> str:
        kid = key_files.key_id(self.private.public_key())
        head = f"{part({'alg': 'HS256', 'kid': kid})}.{part(self.claims())}"
        digest = hmac.new(keys.signing_pair(self.settings).public.read_bytes(), head.encode(), hashlib.sha256).digest()
        return f"{head}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    def changed(self) -> str:
        head, _, signature = self.signed(roles=["viewer"]).split(".")
        return f"{head}.{part(self.claims())}.{signature}"


@pytest.fixture(scope="module")
def victim(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: DatabaseServer,
    database_template: str,
    valkey_server: str,
) -> Iterator[Victim]:
    folder = tmp_path_factory.mktemp("victim")
    with postgres_server.database(database_template) as name:
        settings = Settings(
            home=folder,
            database_url=postgres_server.url(name),
            redis_url=valkey_server.rsplit("/", 1)[0] + f"/{REDIS_DATABASE}",
            audit_denials_per_minute=DENIALS,
            token_revocations_refresh_s=0.2,
        )
        yield from _victim(settings, folder)


def _victim(settings: Settings, folder: Path) -> Iterator[Victim]:
    ensure_local_keys(folder)
    assert settings.database_url is not None
    assert settings.redis_url is not None
    url, redis_url = settings.database_url.get_secret_value(), settings.redis_url.get_secret_value()
    engine, redis = build_engine(url, settings), build_redis(redis_url, settings)
    redis.flushdb()
    made = execute.create(
        execute.Desk(engine, redis, settings),
        Actor("ann", frozenset({"operator"})),
        CreateArguments(session_type=SessionType.PAPER_TRADING),
        uuid4(),
    )
    environment = {
        "FNTX_HOME": str(folder),
        "FNTX_DATABASE_URL": url,
        "FNTX_REDIS_URL": redis_url,
        "FNTX_AUDIT_DENIALS_PER_MINUTE": str(DENIALS),
        "FNTX_TOKEN_REVOCATIONS_REFRESH_S": "0.2",
        "FNTX_REFUSED_CALLERS_FLUSH_S": "0.1",
    }
    stranger = raw_app(redis_url)
    arguments = ("-Q", "commands,queries,sweeps", "-c", "1", "-n", "victim@test")
    with worker(environment, folder / "worker.log", *arguments, app="tasks"):
        yield Victim(settings, engine, stranger, str(made.raise_for_refusal().session_id))
    stranger.close()
    redis.close()
    engine.dispose()


UNVERIFIABLE: dict[str, tuple[Callable[[Victim], object], str]] = {
    "no token": (lambda at: None, "unsigned"),
    "not a string": (lambda at: ["admin"], "malformed"),
    "garbage": (lambda at: "a.b.c", "malformed"),
    "1 MB": (lambda at: "x" * 900_000, "too long"),
    "alg none": (lambda at: at.unsigned("none"), "forged"),
    "alg EdDSA without a signature": (lambda at: at.unsigned("EdDSA"), "forged"),
    "HS256 with the public key": (lambda at: at.keyed_with_the_public_key(), "forged"),
    "claims changed": (lambda at: at.changed(), "forged"),
    "another key under our key id": (lambda at: at.signed(Ed25519PrivateKey.generate()), "forged"),
    "another key under its own": (lambda at: at.signed(Ed25519PrivateKey.generate(), kid="0" * 16), "unknown key"),
    "a key id that is a path": (lambda at: at.signed(kid="../../../dev/null"), "unknown key"),
    "a key id that is SQL": (lambda at: at.signed(kid="' OR 1=1 --"), "unknown key"),
    "for another service": (lambda at: at.signed(aud="fntx-orders"), "other service"),
    "of another issuer": (lambda at: at.signed(iss="somebody"), "other issuer"),
    "expired": (lambda at: at.signed(exp=int(time.time()) - HOUR), "expired"),
    "from the future": (lambda at: at.signed(iat=int(time.time()) + HOUR), "future"),
    "good for a year": (lambda at: at.signed(exp=int(time.time()) + 8766 * HOUR), "too long lived"),
    "a name in other letters": (lambda at: at.signed(sub="\u0430dmin"), "malformed"),
    "the system's role by a person's key": (lambda at: at.signed(sub="system", roles=["system"]), "wrong key"),
    "a role we do not have": (lambda at: at.signed(roles=["god"]), "malformed"),
}


def refused_kinds(victim: Victim) -> dict[str, int]:
    return {row["kind"]: int(row["number"]) for row in victim.rows(
        "SELECT kind, sum(number) AS number FROM refused_callers GROUP BY kind"
    )}  # fmt: skip


def test_what_nobody_can_verify_is_refused_counted_by_kind_and_touches_nothing(victim):
    """Each attack on the token is answered Unauthenticated; no command row, no audit row, no lock; a count by kind."""
    # What was counted before this is written down before it, or with it.
    first = refused_kinds(victim).get("expired", 0)
    victim.pause(UNVERIFIABLE["expired"][0](victim))
    wait_until(lambda: refused_kinds(victim).get("expired", 0) > first, "what was counted before is written down")
    before, expected = victim.touched(), refused_kinds(victim)
    for forge, kind in UNVERIFIABLE.values():
        answer = victim.pause(forge(victim))
        assert (answer["state"], answer["error"]["error"]) == ("refused", "Unauthenticated"), answer
        expected[kind] = expected.get(kind, 0) + 1
    wait_until(lambda: sum(refused_kinds(victim).values()) >= sum(expected.values()), "all are written down")
    assert refused_kinds(victim) == expected
    assert victim.touched() == before


def test_what_beat_sent_and_nobody_took_is_no_forgery(victim):
    """After a night without workers its messages are thrown away uncounted; a person's expired token is counted."""
    key = key_files.load_private_key(keys.system_pair(victim.settings).private)
    long_ago, kid = int(time.time()) - HOUR, key_files.key_id(key.public_key())
    late = victim.signed(key, kid, sub="system", roles=["system"], iat=long_ago, nbf=long_ago, exp=long_ago + 300)
    person = victim.signed(iat=long_ago, nbf=long_ago, exp=long_ago + 300)
    expired = lambda: refused_kinds(victim).get("expired", 0)  # noqa: E731
    first = expired()
    victim.pause(person)
    wait_until(lambda: expired() > first, "what was counted before is written down")
    before = refused_kinds(victim)
    for token in (late, late, late, person):
        victim.stranger.send_task("fntx.sweeps.pending", headers={"fntx_token": token}, queue="commands")
    victim.pause(person)
    wait_until(lambda: expired() >= before["expired"] + 2, "what was counted is written down")
    assert refused_kinds(victim) == before | {"expired": before["expired"] + 2}


def test_a_token_among_the_arguments_is_none(victim):
    """Only the header speaks: in the keywords one proves nothing; beside a true one it is an argument unknown to us."""
    token = victim.token()
    assert victim.pause(fntx_token=token)["error"]["error"] == "Unauthenticated"
    answer = victim.pause(token, fntx_token=token)
    assert (answer["error"]["error"], answer["error"]["facts"]["field"]) == ("InvalidArgument", "fntx_token")


def test_an_answer_to_nobody_goes_soon_and_takes_no_ones_place(victim):
    """A forged message under a real command's id changes nothing its caller reads, and answers do not pile up."""
    command_id, token = str(uuid4()), victim.token("viewer", name="vera")
    first = victim.pause(token, task_id=command_id)
    key = f"celery-task-meta-{command_id}"
    redis = victim.stranger.backend.client
    stored = redis.get(key)
    victim.stranger.send_task("fntx.sessions.pause", kwargs={"reason": "forged"}, task_id=command_id, queue="commands")
    forged = str(uuid4())
    victim.pause(task_id=forged)
    assert redis.get(key) == stored
    assert first["error"]["error"] == "Forbidden"
    assert redis.ttl(key) > victim.settings.refused_answer_expires_s
    assert 0 < redis.ttl(f"celery-task-meta-{forged}") <= victim.settings.refused_answer_expires_s


def test_a_number_that_takes_seconds_to_read_is_never_made(victim):
    """Celery's mark for a Decimal, from somebody who may ask: their field is wrong, and no process is held by it."""
    token = victim.token("viewer", name="vera")
    huge = {"__type__": "decimal", "__value__": "1e50000000"}
    answer = victim.ask("fntx.sessions.get", token, session_id=victim.session_id, limit=huge)
    assert (answer["error"]["error"], answer["error"]["facts"]["field"]) == ("InvalidArgument", "limit")
    large = {"__type__": "decimal", "__value__": "1e5000"}
    changed = victim.ask("fntx.sessions.update", victim.token(), session_id=victim.session_id, expected_version=large)
    assert (changed["error"]["error"], changed["error"]["facts"]["field"]) == ("InvalidArgument", "expected_version")
    assert victim.ask("fntx.sessions.get", session_id=huge)["error"]["error"] == "Unauthenticated"


@pytest.mark.parametrize("task", ["os.system", "fntx.sessions.nope", "celery.backend_cleanup"])
def test_a_task_nobody_knows_is_answered_for_a_while(victim, task):
    """To anybody, in the form of all answers, for as long as those of callers nobody can verify."""
    task_id = str(uuid4())
    answer = victim.ask(task, task_id=task_id)
    assert (answer["state"], answer["error"]["error"]) == ("refused", "NotFound")
    redis = victim.stranger.backend.client
    assert 0 < redis.ttl(f"celery-task-meta-{task_id}") <= victim.settings.refused_answer_expires_s


def test_a_task_is_not_named_among_its_keywords(victim):
    """`self` would be answered by a traceback of Celery's: such a message is refused."""
    task_id = str(uuid4())
    command = {"self": 1, "session_id": victim.session_id, "reason": "attack"}
    token = {"fntx_token": victim.token()}
    victim.stranger.send_task("fntx.sessions.pause", kwargs=command, task_id=task_id, headers=token, queue="commands")
    victim.pause()
    assert not victim.stranger.backend.client.exists(f"celery-task-meta-{task_id}")


def test_a_message_cannot_have_the_worker_send_another(victim):
    """A callback in a message would be sent by the worker: the message is refused whole, and workers sign nothing."""
    before = victim.touched()
    follow = {"task": "fntx.sessions.fail", "args": [], "kwargs": {"session_id": victim.session_id, "reason": "x"},
              "options": {"queue": "commands"}, "subtask_type": None, "immutable": True}  # fmt: skip
    for options in ({"link": [follow]}, {"link_error": [follow]}):
        victim.stranger.send_task(
            "fntx.sessions.pause", kwargs={}, task_id=str(uuid4()), queue="commands",
            **{key: [victim.stranger.signature(one) for one in value] for key, value in options.items()},
        )  # fmt: skip
    victim.pause()
    assert victim.touched() == before
    assert victim.rows("SELECT status FROM sessions WHERE session_id = :id", id=victim.session_id) == [
        {"status": "initializing"}
    ]


def test_a_replay_with_other_arguments_is_a_conflict(victim):
    """The same id and the same arguments get the first answer; with other arguments nothing is done, and a row says so.

    Whoever may not do it is denied, with a row, and told nothing of what it came to.
    """
    token = victim.token("operator", "risk_manager", name="rita")
    asked = {"command_id": str(uuid4()), "session_id": victim.session_id}
    first = victim.ask("fntx.sessions.update", token, **asked, config={"tags": ["one"]})
    again = victim.ask("fntx.sessions.update", token, **asked, config={"tags": ["one"]})
    assert (first["state"], again["version"]) == ("done", first["version"])
    other = victim.ask("fntx.sessions.update", token, **asked, config={"tags": ["two"]})
    assert other["error"]["error"] == "CommandConflict"
    assert victim.version() == first["version"]
    by = "SELECT actor, outcome FROM audit WHERE session_id = :id AND command_id = :command ORDER BY seq"
    written = victim.rows(by, id=victim.session_id, command=asked["command_id"])
    assert [(row["actor"], row["outcome"]) for row in written] == [("rita", "done"), ("rita", "refused")]
    stranger = victim.token("viewer", name="vito", sessions=[str(uuid4())])
    denied = victim.ask("fntx.sessions.update", stranger, **asked, config={"tags": ["one"]})
    assert (denied["error"]["error"], denied["version"]) == ("Forbidden", None)
    assert victim.rows(by, id=victim.session_id, command=asked["command_id"])[2:] == [
        {"actor": "vito", "outcome": "denied"}
    ]


def test_a_token_bound_to_a_command_does_no_other(victim):
    """Stolen with its message it does what that said, and nothing else: not another task, not other arguments."""
    command_id = str(uuid4())
    asked = {"session_id": victim.session_id, "config": {"tags": ["bound"]}, "command_id": command_id}
    token = victim.token(name="bea", args=binding("fntx.sessions.update", command_id, asked))
    stop = {"session_id": victim.session_id, "reason": "stolen", "command_id": command_id}
    for task, stolen in (
        ("fntx.sessions.update", asked | {"config": {"tags": ["other"]}}),
        ("fntx.sessions.update", asked | {"command_id": str(uuid4())}),
        ("fntx.sessions.stop", stop),
    ):
        answer = victim.ask(task, token, **stolen)
        assert (answer["state"], answer["error"]["error"]) == ("refused", "Unauthenticated")
    assert victim.ask("fntx.sessions.update", token, **asked)["state"] == "done"


def test_a_revoked_token_and_a_taken_role_stop_working(victim):
    """Within the refresh of revocations; whoever is issued a new one goes on."""
    token = victim.token(name="rex")
    assert victim.ask("fntx.sessions.get", token, session_id=victim.session_id)["state"] == "done"
    asked = granting.RevokeArguments(token_id=verify(token, victim.settings).token_id, reason="lost")
    granting.revoke(victim.engine, victim.settings, Actor("ann", frozenset({"admin"})), asked, uuid4())
    wait_until(
        lambda: victim.ask("fntx.sessions.get", token, session_id=victim.session_id)["state"] == "refused", "revoked"
    )
    fresh = victim.token(name="rex")
    assert victim.ask("fntx.sessions.get", fresh, session_id=victim.session_id)["state"] == "done"


def test_another_sessions_token_is_denied_in_that_sessions_chain(victim):
    """A query and a command for a session out of scope: Forbidden, in the chain of the session it was about."""
    token = victim.token(name="sam", sessions=[str(uuid4())])
    query = victim.ask("fntx.sessions.get", token, session_id=victim.session_id)
    assert query["error"]["error"] == victim.pause(token)["error"]["error"] == "Forbidden"
    found = victim.rows(
        "SELECT action, outcome, task, token_id FROM audit WHERE session_id = :id AND actor = 'sam' ORDER BY seq",
        id=victim.session_id,
    )
    assert [(row["action"], row["outcome"], row["task"]) for row in found] == [
        ("view", "denied", "fntx.sessions.get"),
        ("pause_session", "denied", "fntx.sessions.pause"),
    ]
    assert all(row["token_id"] for row in found)


DESK_DENIALS = {
    "fntx.sessions.create": {"session_type": "paper_trading"},
    "fntx.templates.retire": {"template_name": "Backtest"},
    "fntx.halts.place": {"scope": "all", "reason": "x"},
    "fntx.backtests.stop": {"run_id": str(uuid4())},
    "fntx.market.publish": {"state": {}},
    "fntx.sweeps.pending": {},
}


def test_denials_about_no_session_stand_in_the_desks_chain(victim):
    """Whatever a viewer may not: creations, templates, halts, backtests, sweeps, sessions there are not."""
    for number, (task, kwargs) in enumerate(DESK_DENIALS.items()):
        token = victim.token("viewer", name=f"vic{number}")
        if task.startswith("fntx.sweeps."):
            victim.stranger.send_task(task, headers={"fntx_token": token}, queue="sweeps")
        else:
            assert victim.ask(task, token, **kwargs)["state"] == "refused"
    victim.ask("fntx.sessions.pause", victim.token("viewer", name="vic9"), session_id=str(uuid4()))
    query = "SELECT actor, outcome FROM audit WHERE session_id = :desk AND actor LIKE 'vic_' ORDER BY actor"
    wait_until(lambda: len(victim.rows(query, desk="0" * 32)) > len(DESK_DENIALS), "each has its row")
    found = victim.rows(query, desk="0" * 32)
    expected = {f"vic{number}" for number in range(len(DESK_DENIALS))} | {"vic9"}
    assert {row["actor"] for row in found} == expected
    assert {row["outcome"] for row in found} == {"denied"}


def test_a_verified_callers_flood_has_few_rows_and_a_count(victim):
    """So many denials a minute have a row; the others are counted, and told when the minute is over."""
    token = victim.token("viewer", name="flo")
    asked = 3 * DENIALS
    for _ in range(asked):
        assert victim.pause(token)["error"]["error"] == "Forbidden"
    [found] = victim.rows("SELECT count(*) AS rows FROM audit WHERE actor = 'flo'")
    assert DENIALS <= found["rows"] <= 2 * DENIALS  # two minutes' worth where one ended meanwhile
    [found] = victim.rows("SELECT count(*) AS commands FROM commands WHERE actor = 'flo'")
    assert found["commands"] <= 2 * DENIALS


def test_beyond_the_allowance_no_process_of_the_pool_sees_a_denial(victim):
    """By role or by sessions of the token: refused where the worker takes it, its answer kept for a short while."""
    redis = victim.stranger.backend.client
    for token in (victim.token("viewer", name="fay"), victim.token(name="kim", sessions=[str(uuid4())])):
        lives = []
        for _ in range(3 * DENIALS):
            task_id = str(uuid4())
            assert victim.pause(token, task_id=task_id)["error"]["error"] == "Forbidden"
            lives.append(redis.ttl(f"celery-task-meta-{task_id}"))
        short = [life for life in lives if life <= victim.settings.refused_answer_expires_s]
        assert len(short) >= DENIALS  # two minutes' worth were passed on where one ended meanwhile
        assert lives[0] > victim.settings.refused_answer_expires_s


# What a message has to say to be judged at all, by the name of the field; and of one command alone.
ID = str(uuid4())
SAID = {
    "reason": "x", "scope": "all", "action": "pause", "agent": "ada", "sender": "ada", "recipients": ["bob"],
    "template_name": "Backtest", "session_type": "paper_trading", "selector": {"session_ids": [ID]}, "limit": "1",
    "state": "refused", "strategy": "s", "risk": "1", "days": [{}, {}], "memory_type": "risk", "feed": "spx",
    "legs": [{"side": "sell", "right": "put", "strike": "5000"}], "confirmation": ID,
}  # fmt: skip
SAID_TO = {
    "halts.release": {"scope": "all"}, "sessions.prune": {"keep": 1}, "templates.edit": {"to_shipped": True},
    "tokens.revoke": {"name": "ann"}, "orders.place": {"trade_id": "t"}, "market.publish": {"state": {}},
}  # fmt: skip
# They look first who is meant, and say that there is none.
LOOKED_UP = {"bulk.cancel", "bulk.resume", "confirmations.confirm"}


def test_what_a_worker_refuses_by_role_its_pool_refuses_for_the_same(victim):
    """No command is refused by the table of what each takes that would be done, or refused for something else."""
    app.loader.import_default_modules()
    wrong = {}
    for number, (name, actions) in enumerate(needed.COMMANDS.items()):
        error = victim.ask(f"fntx.{name}", victim.token("viewer", name=f"val{number}"), **said(name))["error"] or {}
        asked = str(error.get("facts", {}).get("action")).split(" ")[0]
        looked_up = name in LOOKED_UP and error["error"] == "NotFound"
        if not (looked_up or asked in set(map(str, actions)) or roles.VIEW in actions):
            wrong[name] = error
    assert wrong == {}


def said(name):
    """Return keywords for a command's required fields."""
    model = second._commands[f"fntx.{name}"].model
    required = [field for field, info in model.model_fields.items() if info.is_required()]
    return {field: SAID.get(field, ID if field.endswith("_id") else {}) for field in required} | SAID_TO.get(name, {})
