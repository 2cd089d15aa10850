"""Credentials: sealed for a session or a template, known to agents while they step, told to nobody."""

import base64
import io
import json
import logging
import pickle
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock
from uuid import uuid4

import pytest
from door_world import AGENT, PLANNER, invited, joined, leave
from hosting import ANN, FEED, Hosting, S, T, forget_runtimes, make_hosting, shared
from knowing_agents import NAME, fingerprint, known_with_ours
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox
from sqlalchemy import text

from fntx_sessions.agents import joining, registry, sealing
from fntx_sessions.agents.joining import AgentArguments, JoinArguments
from fntx_sessions.cli.app import run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.database.engine import get_engine
from fntx_sessions.exceptions import (
    Forbidden,
    IntegrityError,
    InvalidArgument,
    NotFound,
    NotJoined,
    Rejected,
    SessionClosed,
    Shredded,
    Unavailable,
)
from fntx_sessions.lifecycle import credentials, execute
from fntx_sessions.lifecycle.arguments import ForkArguments
from fntx_sessions.lifecycle.credentials import Holder
from fntx_sessions.monitoring.logs import configure_logging
from fntx_sessions.security import ring_changes
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.keyring import create_ring, ring_file
from fntx_sessions.security.known_secrets import MOST_KEPT, InUse, forget_all, hide, use_of
from fntx_sessions.settings import get_settings
from fntx_sessions.state.erasing import erase
from fntx_sessions.state.key_rotation import rewrap
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.parts import agent_part

RITA = Actor("rita", frozenset({"risk_manager"}))
OLIVER = Actor("oliver", frozenset({"operator"}))
TABLES = text("""
SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
  AND NOT relispartition
""")
FIRST, SECOND = "first-canary-5a1e", 'second "canary"\nof two lines, quoted'


@pytest.fixture
def desk(tmp_path, module_database_url, redis_url) -> Iterator[Hosting]:
    registry.get_agent.cache_clear()
    with (
        mock.patch.object(registry, "_found", return_value=known_with_ours()),
        make_hosting(shared(tmp_path, module_database_url, redis_url)) as made,
    ):
        yield made
    registry.get_agent.cache_clear()


@pytest.fixture
def line(desk, monkeypatch, capsys):
    """The command line over the same stores: returns exit code, stdout and stderr of a command given some stdin."""
    for name, value in {
        "FNTX_HOME": str(desk.desk.settings.home),
        "FNTX_DATABASE_URL": desk.desk.settings.database_url.get_secret_value(),
        "FNTX_AUTH_MODE": "open",
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    get_engine.cache_clear()

    def ask(*arguments, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode(errors="surrogateescape"))))
        capsys.readouterr()
        return run(["credentials", *arguments]), *capsys.readouterr()

    yield ask
    get_engine().dispose()
    get_engine.cache_clear()
    get_settings.cache_clear()


def keep(desk, holder, value=FIRST, name=NAME, actor=RITA):
    return credentials.set_credential(desk.desk.engine, desk.desk.settings, actor, holder, name, value)


@contextmanager
def kept(desk, holder, value, name=NAME):
    """Keep a credential for a block: a template's is known to every session of the module."""
    keep(desk, holder, value, name)
    try:
        yield
    finally:
        credentials.remove_credential(desk.desk.engine, RITA, holder, name)


def rotate(desk, holder, value=SECOND, actor=RITA):
    return credentials.rotate_credential(desk.desk.engine, desk.desk.settings, actor, holder, NAME, value)


def known(desk, session_id):
    found = credentials.credentials_of(desk.desk.engine, desk.desk.settings, session_id)
    return {name: (one.version, one.value.get_secret_value()) for name, one in found.items()}


def with_agents(desk, *names) -> Holder:
    """Start a session with agents that know; return what holds its credentials."""
    agents = ["EnvironmentWatcherAgent", *names, "EvaluatorAgent"]
    return Holder(desk.started(config={"agents": agents, "feed": FEED | {"step_s": 10}}))


def memory(desk, holder, agent):
    [cut] = LiveState(desk.desk.redis, desk.desk.settings).read([holder.session_id])
    return json.loads(cut.parts[agent_part(agent)])["internal_state"]


def deeds(desk, holder):
    rows = desk.rows("SELECT actor, action, outcome, version_after FROM audit WHERE target = :target ORDER BY seq",
                     target=f"credential {NAME} of {holder}")  # fmt: skip
    return [tuple(row.values()) for row in rows]


def everything(desk) -> bytes:
    """Return all that Postgres and Redis hold, as bytes."""
    with desk.desk.engine.begin() as connection:
        tables = connection.execute(TABLES).scalars().all()
        found = [str(connection.execute(text(f"SELECT * FROM {table}")).all()).encode() for table in tables]
    client = desk.desk.redis
    return b"".join(found + [client.dump(key) or b"" for key in client.scan_iter(count=1000)])


def test_a_credential_is_set_rotated_and_removed(desk):
    """Each change is one version on, seen at once, and written with its outcome into the desk's chain; no value is."""
    holder = Holder(desk.create())
    assert keep(desk, holder)["version"] == 1
    assert known(desk, holder.session_id) == {NAME: (1, FIRST)}
    assert rotate(desk, holder)["version"] == 2
    assert known(desk, holder.session_id) == {NAME: (2, SECOND)}
    credentials.remove_credential(desk.desk.engine, RITA, holder, NAME)
    assert known(desk, holder.session_id) == {}
    assert keep(desk, holder)["version"] == 3, "a version never comes twice"
    assert deeds(desk, holder) == [
        ("rita", "set_credential", "done", 1),
        ("rita", "rotate_credential", "done", 2),
        ("rita", "remove_credential", "done", 2),
        ("rita", "set_credential", "done", 3),
    ]
    hashes = desk.rows("SELECT args_hash FROM audit WHERE target = :of", of=f"credential {NAME} of {holder}")
    assert len({bytes(row["args_hash"]) for row in hashes}) == 3, "of what was asked but the value: set, rotate, remove"
    assert FIRST.encode() not in everything(desk)


def test_a_template_s_credential_is_every_session_s_unless_it_has_its_own(desk):
    """Of two of one name the session's counts; another template's are nobody's here."""
    one, other = desk.create(), desk.create()
    template = Holder(template_name=desk.row(one)["template_name"])
    names = [row["template_name"] for row in desk.rows("SELECT template_name FROM templates ORDER BY 1")]
    another = Holder(template_name=next(name for name in names if name != template.template_name))
    keep(desk, Holder(one), "its own value")
    with kept(desk, template, "the template's"), kept(desk, another, "of another template", "elsewhere"):
        # The template's name had others before, in other tests: its version goes on.
        assert {name: value for name, (_, value) in known(desk, one).items()} == {NAME: "its own value"}
        assert {name: value for name, (_, value) in known(desk, other).items()} == {NAME: "the template's"}


def test_who_may_not_is_refused_and_written_down(desk):
    """An operator sees that it is there and changes nothing; the refusal is in the desk's chain."""
    holder = Holder(desk.create())
    with pytest.raises(Forbidden):
        keep(desk, holder, actor=OLIVER)
    keep(desk, holder)
    for refused in (lambda: rotate(desk, holder, actor=OLIVER),
                    lambda: credentials.remove_credential(desk.desk.engine, OLIVER, holder, NAME)):  # fmt: skip
        with pytest.raises(Forbidden):
            refused()
    assert known(desk, holder.session_id) == {NAME: (1, FIRST)}
    [row] = credentials.list_credentials(desk.desk.engine, OLIVER, holder)
    assert (row["name"], row["version"], row["set_by"]) == (NAME, 1, "rita")
    assert [deed[:3] for deed in deeds(desk, holder)] == [
        ("oliver", "set_credential", "denied"),
        ("rita", "set_credential", "done"),
        ("oliver", "rotate_credential", "denied"),
        ("oliver", "remove_credential", "denied"),
    ]


def test_what_is_refused_is_written_down_once(desk):
    """Set twice, empty, not there, of a session that is over: a row each, that says why and nothing of the value."""
    holder = Holder(session_id := desk.create())
    keep(desk, holder)
    for refused in (lambda: keep(desk, holder), lambda: rotate(desk, holder, " ")):
        with pytest.raises(InvalidArgument):
            refused()
    credentials.remove_credential(desk.desk.engine, RITA, holder, NAME)
    for refused in (lambda: rotate(desk, holder),
                    lambda: credentials.remove_credential(desk.desk.engine, RITA, holder, NAME)):  # fmt: skip
        with pytest.raises(NotFound):
            refused()
    desk.do(T.STOP, session_id)
    desk.finish()
    with pytest.raises(SessionClosed, match="no credentials"):
        keep(desk, holder)
    assert [deed[1:3] for deed in deeds(desk, holder)] == [
        ("set_credential", "done"),
        ("set_credential", "refused"),
        ("rotate_credential", "refused"),
        ("remove_credential", "done"),
        ("rotate_credential", "refused"),
        ("remove_credential", "refused"),
        ("set_credential", "refused"),
    ]


def test_a_list_shows_what_is_in_scope(desk):
    """Of one session or template, or of all; what its scope does not hold a token is denied, with a row."""
    mine, other = Holder(desk.create()), Holder(desk.create())
    template = Holder(template_name=desk.row(mine.session_id)["template_name"])
    keep(desk, mine)
    keep(desk, other)
    scoped = Actor("vic", frozenset({"viewer"}), sessions=frozenset({str(mine.session_id)}))
    of_template = Actor("tim", frozenset({"viewer"}), templates=frozenset({template.template_name}))
    nobody = Actor("nora", frozenset())

    def listed(actor, holder=None):
        found = credentials.list_credentials(desk.desk.engine, actor, holder)
        return {row["session_id"] or row["template_name"] for row in found}

    with kept(desk, template, "the template's"):
        assert listed(scoped) == listed(scoped, mine) == {mine.session_id}
        assert listed(of_template, template) == {template.template_name}
        assert {mine.session_id, other.session_id, template.template_name} <= listed(of_template) & listed(OLIVER)
        for actor, holder in ((scoped, other), (scoped, template), (nobody, None)):
            with pytest.raises(Forbidden):
                listed(actor, holder)
    found = desk.rows("SELECT actor, outcome, target FROM audit WHERE action = 'list_credentials' ORDER BY seq")
    assert [tuple(row.values()) for row in found] == [
        ("vic", "denied", f"credentials of {other}"),
        ("vic", "denied", f"credentials of {template}"),
        ("nora", "denied", "credentials of all"),
    ]


def test_what_makes_no_sense_is_refused(desk):
    """No holder or two, a bad name, no value or too much, twice the same, none to rotate, a session that is over."""
    session_id = desk.create()
    holder = Holder(session_id)
    for given in ({}, {"session_id": session_id, "template_name": "t"}):
        with pytest.raises(InvalidArgument):
            Holder(**given)
    for name in ("", "1st", "a/b", "a\x00b", "n\u00e4me", "x" * 101, "key\n"):
        with pytest.raises(InvalidArgument, match="name"):
            keep(desk, holder, name=name)
    for value in ("", " \n", "nul\x00", "x" * 16_385, "half\ud800"):
        with pytest.raises(InvalidArgument, match="value"):
            keep(desk, holder, value)
    with pytest.raises(NotFound):
        rotate(desk, holder)
    keep(desk, holder)
    with pytest.raises(InvalidArgument, match="rotate"):
        keep(desk, holder)
    with pytest.raises(NotFound):
        keep(desk, Holder(template_name="no such template"))
    desk.do(T.STOP, session_id)
    desk.finish()
    with pytest.raises(SessionClosed):
        rotate(desk, holder)
    credentials.remove_credential(desk.desk.engine, RITA, holder, NAME)


def test_of_two_who_rotate_at_once_one_is_told(desk):
    """The second writes nothing over what the first set."""
    holder = Holder(desk.create())
    keep(desk, holder)

    def meanwhile(_name):
        failing.stop()
        rotate(desk, holder, "the quicker one")

    failing = mock.patch("fntx_sessions.lifecycle.credentials.keeping.check_open", side_effect=lambda *_: meanwhile(""))
    failing.start()
    with pytest.raises(Rejected, match="just now"):
        rotate(desk, holder)
    assert known(desk, holder.session_id) == {NAME: (2, "the quicker one")}


@pytest.mark.parametrize("change", ["SET name = 'another'", "SET version = 7", "SET session_id = :other"])
def test_a_sealed_value_opens_as_what_it_was_sealed_as(desk, change):
    """Whoever moves it to another name, version or session in Postgres gets nothing."""
    holder, other = Holder(desk.create()), desk.create()
    keep(desk, holder)
    desk.run(f"UPDATE credentials {change} WHERE session_id = :id", id=holder.session_id,
             **({"other": other} if ":other" in change else {}))  # fmt: skip
    with pytest.raises(IntegrityError):
        known(desk, other if ":other" in change else holder.session_id)


def test_an_agent_knows_them_while_it_steps(desk):
    """Rotated, the next step has the new value; nothing it is shown by accident holds one."""
    holder = with_agents(desk, "Knows", "NeverLooks")
    keep(desk, holder)
    desk.step()
    rotate(desk, holder)
    desk.step()
    credentials.remove_credential(desk.desk.engine, RITA, holder, NAME)
    desk.step()
    state = memory(desk, holder, "Knows")
    assert state["known"] == [{NAME: fingerprint(FIRST)}, {NAME: fingerprint(SECOND)}, {}]
    assert memory(desk, holder, "NeverLooks") == {"steps": 3}
    assert FIRST not in json.dumps(state)
    assert state["shown"][0] == f"<credentials of session {holder.session_id}, values hidden>"


def test_they_are_read_by_those_who_ask_alone(desk):
    """A session whose agents never look costs no question, and opens nothing."""
    holder = with_agents(desk, "NeverLooks")
    keep(desk, holder)
    with mock.patch("fntx_sessions.lifecycle.credentials.opening.credentials_of") as opened:
        desk.step()
    opened.assert_not_called()


@pytest.mark.parametrize("agent", ["Keeps", "Raises", "Emits", "Remembers"])
def test_an_agent_that_tells_one_by_mistake_tells_nobody(desk, agent):
    """Kept in state or memory it is refused, in errors, events and reasons hidden: no store has it."""
    holder = with_agents(desk, agent)
    value = f"told-by-mistake-{agent}-77"
    keep(desk, holder, value)
    desk.step()
    desk.save(holder.session_id)
    row = desk.row(holder.session_id)
    if agent == "Emits":
        [event] = desk.events(holder.session_id, "connected")
        assert event["description"] == "connected with ***"
        assert event["data"]["headers"] == ["***"]
        assert (row["status"], row["status_reason"]) == (S.PAUSED, "the broker refuses ***")
    else:
        [event] = desk.events(holder.session_id, "agent_failed")
        told = {"Keeps": f"credential {NAME}", "Raises": "for key ***", "Remembers": "holds a credential"}
        assert told[agent] in event["description"]
        assert row["agent_failures"] == {agent: 1}
        assert memory(desk, holder, agent) == {}
    assert value.encode() not in everything(desk)


def test_what_an_agent_keeps_is_known_as_long_as_its_session_is_stepped(desk):
    """Looked at once, rotated, told in a later step: refused in state, hidden elsewhere; a new process forgets."""
    holder = with_agents(desk, "Hoards", "Knows")
    value = "kept-since-the-first-step-31"
    keep(desk, holder, value)
    desk.step()
    rotate(desk, holder)
    desk.step()
    desk.step()
    assert [event["description"] for event in desk.events(holder.session_id, "connected")] == [
        "still connected with ***"
    ]
    [event] = desk.events(holder.session_id, "agent_failed")
    assert f"credential {NAME}" in event["description"]
    assert memory(desk, holder, "Hoards") == {"steps": 2}
    assert value.encode() not in everything(desk)
    assert hide(value + FIRST) == "***" + FIRST
    forget_runtimes()
    assert hide(value) == value


def test_a_value_that_was_replaced_is_known_for_a_while(monkeypatch):
    """Then nothing hides it; one that two hold is known until neither does."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    one, other = InUse(), InUse()
    one.hold({NAME: "value-one"}, 60)
    other.hold({NAME: "value-one"}, 60)
    one.hold({NAME: "value-two"}, 60)
    now = 59.0
    one.hold({NAME: "value-two"}, 60)
    assert one.found_in(b"value-one") == one.found_in(b"value-two") == NAME
    now = 61.0
    one.hold({NAME: "value-two"}, 60)
    assert one.found_in(b"value-one") is None
    assert hide("value-one value-two") == "*** ***"
    other.end()
    assert hide("value-one value-two") == "value-one ***"
    one.end()
    assert hide("value-one value-two") == "value-one value-two"


def test_of_the_sessions_stepped_last_alone_it_is_known():
    """A process that steps very many forgets those that it has not stepped for longest; most open nothing."""
    first, *others = [uuid4() for _ in range(MOST_KEPT + 1)]
    for session_id in (first, *others):
        with use_of(session_id) as use:
            use.hold({NAME: f"value-{session_id}"})
        with use_of(uuid4()):
            pass
    assert hide(f"value-{first} value-{others[0]}") == f"value-{first} ***"
    forget_all()


def test_logs_hide_what_is_in_use(desk, capsys):
    """A library's line and a traceback lose the value, however its lines are broken or quoted."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure_logging(desk.desk.settings)
    try:
        use = InUse()
        use.hold({NAME: SECOND, "short": "abc"})
        logging.getLogger("their.broker").warning("key %r", SECOND)
        try:
            raise LookupError(SECOND)  # noqa: TRY301 -- as an agent does
        except LookupError:
            logging.getLogger("their.broker").exception("abc failed")
        use.end()
    finally:
        root.handlers[:], root.level = before, level
    told = capsys.readouterr().err
    assert "two lines" not in told
    assert "abc failed" in told, "what is too short to be told from words is left alone"
    assert hide(SECOND) == SECOND, "forgotten with its use"


def test_they_cannot_be_stored_by_accident(desk):
    """The mapping is neither pickled nor JSON; one that is not there is named with those that are."""
    session_id = desk.create()
    keep(desk, Holder(session_id))
    opener = credentials.Opener(desk.desk.engine, desk.desk.settings, session_id, use := InUse())
    with pytest.raises(TypeError):
        pickle.dumps(opener)
    with pytest.raises(TypeError):
        json.dumps(opener)
    with pytest.raises(KeyError, match=f"no credential 'other'; there are: {NAME}"):
        opener["other"]
    assert list(opener) == [NAME]
    assert FIRST not in repr(opener) + repr(opener[NAME]) + f"{opener[NAME]}"
    use.end()


def test_on_the_command_line(desk, line):
    """Values come from stdin, versions and holders are shown, no value ever."""
    session_id = str(desk.create())
    for command, stdin in (("set", FIRST + "\n"), ("rotate", SECOND)):
        code, out, err = line(command, NAME, "--session", session_id, stdin=stdin)
        assert code == Exit.DONE, err
        assert FIRST not in out + err
    assert known(desk, Holder(session_id).session_id) == {NAME: (2, SECOND)}
    code, out, err = line("ls", "--session", session_id, "--json")
    [row] = json.loads(out)
    assert (row["name"], row["version"], row["session_id"], row["set_by"]) == (NAME, 2, session_id, "anonymous")
    assert set(row) == {"session_id", "template_name", "name", "version", "set_by", "set_at", "created_at"}
    assert line("rm", NAME, "--session", session_id)[0] == Exit.DONE
    assert line("rm", NAME, "--session", session_id)[0] == Exit.NOT_FOUND
    assert json.loads(line("ls", "--session", session_id, "--json")[1]) == []
    hosts = desk.rows(
        "SELECT DISTINCT host FROM audit WHERE target = :of", of=f"credential {NAME} of session {session_id}"
    )
    assert [row["host"] for row in hosts] == [socket.gethostname()]


def test_whose_credential_agents_get_instead_is_said(desk, line):
    """Where the session's template has one of that name, taking its own away does not mean that there is none."""
    session_id = desk.create()
    template = desk.row(session_id)["template_name"]
    keep(desk, Holder(session_id))
    with kept(desk, Holder(template_name=template), "the template's"):
        code, out, _ = line("rm", NAME, "--session", str(session_id))
        assert (code, f"its agents get that of template {template} from now on" in out) == (Exit.DONE, True)
        assert known(desk, session_id)[NAME][1] == "the template's"


def test_without_a_stdin_there_is_no_value(desk, line, monkeypatch):
    """Under cron, say: it is refused like an empty one."""
    session_id = str(desk.create())
    monkeypatch.setattr(io, "TextIOWrapper", lambda _: None)
    code, _, err = line("set", NAME, "--session", session_id)
    assert (code, "is empty" in err) == (Exit.USAGE, True)


def test_the_command_line_refuses(desk, line):
    """A value in the arguments, no holder, bytes that are no text, too much: with a sentence that quotes no value."""
    session_id = str(desk.create())
    for arguments, stdin, code in (
        ((NAME, FIRST, "--session", session_id), "", Exit.USAGE),
        ((NAME,), FIRST, Exit.USAGE),
        ((NAME, "--session", session_id), "\udcff\udcfe", Exit.USAGE),
        ((NAME, "--session", session_id), FIRST * 5000, Exit.USAGE),
        ((f"{FIRST}/x", "--session", session_id), FIRST, Exit.USAGE),
        ((NAME, "--template", "no such"), FIRST, Exit.NOT_FOUND),
    ):
        found, out, err = line("set", *arguments, stdin=stdin)
        assert (found, out) == (code, "")
        assert FIRST not in err.replace(f"'{FIRST}'", "") or FIRST in arguments
    assert known(desk, Holder(session_id).session_id) == {}


def joined_elsewhere(desk, **more):
    """Make a session whose planner runs elsewhere; return its credentials' holder, the secret key and the arguments."""
    private = PrivateKey.generate()
    session_id = invited(desk, PLANNER)
    joined(desk, session_id, sealing_key=base64.b64encode(bytes(private.public_key)).decode(), **more)
    return Holder(session_id), private, AgentArguments(session_id=session_id, agent=PLANNER)


def letters(desk, answer, private):
    """Open all that lies in an agent's own inbox."""
    found = desk.desk.redis.hgetall(answer["inbox"])
    return {name.decode(): json.loads(SealedBox(private).decrypt(blob)) for name, blob in found.items() if name}


def test_an_agent_elsewhere_has_them_in_its_own_inbox_sealed_to_its_key(desk):
    """Names and versions are answered, values lie sealed; rotated, asking again brings the new one; each is audited."""
    holder, private, arguments = joined_elsewhere(desk)
    keep(desk, holder)
    first = sealing.hand_out(desk.desk, AGENT, arguments)
    assert first["credentials"] == {NAME: 1}
    named = {"session_id": str(holder.session_id), "agent": PLANNER, "name": NAME}
    assert letters(desk, first, private) == {NAME: {**named, "version": 1, "value": FIRST}}
    assert desk.desk.redis.ttl(first["inbox"]) > 0
    assert sealing.hand_out(desk.desk, AGENT, arguments) == first
    rotate(desk, holder)
    assert letters(desk, sealing.hand_out(desk.desk, AGENT, arguments), private)[NAME]["value"] == SECOND
    credentials.remove_credential(desk.desk.engine, RITA, holder, NAME)
    assert letters(desk, sealing.hand_out(desk.desk, AGENT, arguments), private) == {}
    target = f"{PLANNER} of session {holder.session_id}"
    told = desk.rows("SELECT actor, reason FROM audit WHERE target = :target ORDER BY seq", target=target)
    assert [row["reason"] for row in told] == [f"{NAME} version 1", f"{NAME} version 2", "none"]
    assert told[0]["actor"] == AGENT.name
    assert FIRST.encode() not in everything(desk)


def test_whoever_joins_anew_gets_what_is_sealed_to_its_own_key(desk):
    """What lay there for the one before is taken away; that one can open nothing of it."""
    holder, before, arguments = joined_elsewhere(desk)
    keep(desk, holder)
    sealing.hand_out(desk.desk, AGENT, arguments)
    after = PrivateKey.generate()
    joined(desk, holder.session_id, sealing_key=base64.b64encode(bytes(after.public_key)).decode())
    answer = sealing.hand_out(desk.desk, AGENT, arguments)
    assert letters(desk, answer, after)[NAME]["value"] == FIRST
    with pytest.raises(CryptoError):
        letters(desk, answer, before)


def test_nobody_else_is_handed_any(desk):
    """Not one that joined without a key, left, is not of the session, or whose token is another session's."""
    holder, _, arguments = joined_elsewhere(desk)
    keep(desk, holder)
    stranger = Actor("stranger", frozenset({"agent"}), sessions=frozenset({str(desk.create())}))
    for actor, asked, error in (
        (stranger, arguments, Forbidden),
        (OLIVER, arguments, Forbidden),
        (AGENT, AgentArguments(session_id=holder.session_id, agent="Another"), NotFound),
    ):
        with pytest.raises(error):
            sealing.hand_out(desk.desk, actor, asked)
    joined(desk, holder.session_id)
    with pytest.raises(InvalidArgument, match="sealing_key"):
        sealing.hand_out(desk.desk, AGENT, arguments)
    leave(desk, holder.session_id)
    with pytest.raises(NotJoined):
        sealing.hand_out(desk.desk, AGENT, arguments)


def test_another_s_token_reads_nothing_of_an_agent_s(desk):
    """It can't join in its place, with a key of its own, nor ask for it; who joined has its own, and opens it."""
    holder, private, arguments = joined_elsewhere(desk)
    keep(desk, holder)
    mallory, key = Actor("mallory", frozenset({"agent"})), PrivateKey.generate().public_key
    taking = JoinArguments(**arguments.model_dump(), sealing_key=base64.b64encode(bytes(key)).decode())
    for attempt in (
        lambda: joining.join(desk.desk, mallory, taking),
        lambda: sealing.hand_out(desk.desk, mallory, arguments),
    ):
        with pytest.raises(Forbidden, match="joined with"):
            attempt()
    assert letters(desk, sealing.hand_out(desk.desk, AGENT, arguments), private)[NAME]["value"] == FIRST


@pytest.mark.parametrize("key", ["", "not base64", "AAAA", base64.b64encode(bytes(32)).decode(), "A" * 90])
def test_a_key_that_seals_nothing_is_refused(desk, key):
    """No base64, of another length, or one whose seal anybody could open: before anything of the joining is done."""
    session_id = invited(desk, PLANNER)
    with pytest.raises(InvalidArgument, match="sealing_key"):
        joined(desk, session_id, sealing_key=key)


def test_shredding_takes_them_and_a_fork_has_none_of_the_session_s(desk):
    """The fork shares what its template has; of the shredded session no row is left, and nothing opens before that."""
    holder = with_agents(desk, "NeverLooks")
    template = Holder(template_name=desk.row(holder.session_id)["template_name"])
    desk.step()
    desk.save(holder.session_id)
    keep(desk, holder)
    with kept(desk, template, "the template's", "shared"):
        asked = ForkArguments(session_id=holder.session_id)
        fork = execute.fork(desk.desk, ANN, asked, uuid4()).raise_for_refusal().session_id
        assert known(desk, fork) == {"shared": (1, "the template's")}
        desk.do(T.STOP, holder.session_id)
        desk.finish()
        desk.do(T.SHRED, holder.session_id, actor=Actor("ada", frozenset({"admin"})))
        with pytest.raises(Shredded):
            known(desk, holder.session_id)
        assert erase(desk.desk.engine, desk.desk.redis, desk.desk.settings, holder.session_id) == {}
        assert desk.rows("SELECT name FROM credentials WHERE session_id = :id", id=holder.session_id) == []
        assert known(desk, fork) == {"shared": (1, "the template's")}


def test_they_open_after_the_ring_was_rotated(tmp_path, database_url, redis_url, monkeypatch):
    """Data keys are wrapped anew, values stay as they are; without the ring nothing opens."""
    monkeypatch.delenv("FNTX_KEY_RING")
    monkeypatch.setenv("FNTX_HOME", str(tmp_path))
    get_settings.cache_clear()
    settings = shared(tmp_path, database_url, redis_url)
    create_ring(settings)
    with make_hosting(settings) as made:
        holder = Holder(made.create())
        keep(made, holder)
        with ring_changes.changing(settings):
            ring = ring_changes.advance(settings)
        assert rewrap(made.desk.engine, settings, open_cold(settings)).failed == {}
    with ring_changes.changing(settings):
        ring_changes.remove(settings, next(iter(ring.keys.keys() - {ring.current})))
    with make_hosting(settings) as again:
        assert known(again, holder.session_id) == {NAME: (1, FIRST)}
    ring_file(settings).unlink()
    create_ring(settings)
    with make_hosting(settings) as foreign, pytest.raises(Unavailable, match="has no key"):
        known(foreign, holder.session_id)
    get_settings.cache_clear()
