"""What a token may say, who may sign it, and what it is good for."""

import json
import time
from base64 import urlsafe_b64encode

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fntx_sessions.exceptions import Unauthenticated
from fntx_sessions.security import key_files, keys, names, tokens
from fntx_sessions.security.binding import binding
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.security.tokens import issue, read, verify
from fntx_sessions.settings import Settings


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    ensure_local_keys(folder)
    return Settings(home=folder)


def claims(**changes):
    now = int(time.time())
    good = {"iss": "fntx-sessions", "aud": "fntx-sessions", "sub": "ann", "roles": ["operator"], "jti": "j"}
    return good | {"iat": now, "nbf": now, "exp": now + 60} | changes


def signed(home, pair="signing", header=None, **changes):
    key = key_files.load_private_key(getattr(keys.LocalKeys.of(home.home), pair).private)
    kid = key_files.key_id(key.public_key())
    return jwt.encode(claims(**changes), key, algorithm="EdDSA", headers={"kid": kid} | (header or {}))


def raw(home, header: str, body: str, pair="signing") -> str:
    """A token over the very bytes of its header and claims, truly signed."""
    key = key_files.load_private_key(getattr(keys.LocalKeys.of(home.home), pair).private)
    encoded = ".".join(urlsafe_b64encode(text.encode()).rstrip(b"=").decode() for text in (header, body))
    return f"{encoded}.{urlsafe_b64encode(key.sign(encoded.encode())).rstrip(b'=').decode()}"


def kid(home) -> str:
    return key_files.key_id(key_files.load_private_key(keys.LocalKeys.of(home.home).signing_file).public_key())


def refusal(home, token) -> str:
    with pytest.raises(Unauthenticated) as refused:
        verify(token, home)
    return str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [{"roles": ["system"]}, {"roles": ["admin", "system"]}, {"roles": ["system"], "sub": "system"}],
    ids=["role", "role beside another", "role and name"],
)
def test_nobody_but_the_systems_key_speaks_for_the_system(home, changes):
    """A token of people's key that says it is the system's is refused, whatever else it says."""
    assert "only a key of the system's signs for it" in refusal(home, signed(home, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"roles": ["admin"]},
        {"roles": ["admin"], "sub": "system"},
        {"roles": ["system"]},
        {"roles": ["system", "admin"], "sub": "system"},
    ],
)
def test_the_systems_key_signs_nothing_else(home, changes):
    """Who takes it from a worker's host cannot make themselves an administrator with it."""
    assert "signs for the system alone" in refusal(home, signed(home, "system", **changes))


def test_a_key_that_stands_for_both_verifies_nothing(home, tmp_path):
    """A key in both files would let either speak for the other: neither is believed, and the files are named."""
    both = home.model_copy(update={"system_public_key_file": keys.LocalKeys.of(home.home).public_file})
    assert "stands for people and for the system" in refusal(both, signed(home))


@pytest.mark.parametrize(
    "token",
    [
        lambda home: raw(
            home, json.dumps({"alg": "EdDSA", "kid": kid(home)}), json.dumps(claims())[:-1] + ', "roles": ["admin"]}'
        ),
        lambda home: raw(
            home, json.dumps({"alg": "EdDSA", "kid": "x"})[:-1] + f', "kid": "{kid(home)}"' + "}", json.dumps(claims())
        ),
    ],
    ids=["claim", "header"],
)
def test_what_is_said_twice_is_refused(home, token):
    """Of two claims of a name each reader takes another one: a token that has them is none of ours."""
    assert "says a thing twice" in refusal(home, token(home))


@pytest.mark.parametrize("header", [{"crit": ["b64"]}, {"jku": "https://example.org"}, {"jwk": {}}, {"x5c": []}])
def test_a_header_that_asks_for_more_is_refused(home, header):
    """Nothing in a token names a key or a rule of its own."""
    assert refusal(home, signed(home, header=header))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"exp": int(time.time()) + 32 * 86_400}, "good for longer"),
        ({"iat": 0, "nbf": 0}, "good for longer"),
        ({"iat": True}, "no moment"),
        ({"nbf": "soon"}, "no moment"),
        ({"exp": 1e400}, "no moment"),
        ({"templates": "iron"}, "scope"),
        ({"tags": [1]}, "scope"),
        ({"tags": ["x"] * 101}, "scope"),
        ({"session": [""]}, "scope"),
        *(({claim: empty}, "scope") for claim in ("session", "templates", "tags") for empty in ([], None)),
        ({"jti": 7}, ""),
        ({"jti": ""}, "jti"),
        ({"args": ["x"]}, "args"),
        *(({"args": empty}, "args") for empty in ("", None, [], 0, False)),
        ({"god": True}, "does not know: 'god'"),
    ],
)
def test_claims_are_of_one_form_and_bounded(home, changes, told):
    """No life longer than the longest, no moment that is none, no scope of another shape, nothing unknown.

    Each has an id to be revoked by. What narrows it and is said empty is not taken for what was left out.
    """
    assert told in refusal(home, signed(home, **changes))


def test_a_moment_of_the_future_is_refused_beyond_the_leeway(home):
    """Clocks may differ by token_leeway_s; a token from further ahead is refused now and good later."""
    now = int(time.time())
    token = signed(home, iat=now + 100, nbf=now + 100, exp=now + 200)
    assert "not valid yet" in refusal(home, token)
    assert verify(token, home.model_copy(update={"token_leeway_s": 101})).name == "ann"


@pytest.mark.parametrize(
    "name",
    [
        "\u0430nn", "ann\u200b", "ann\u202egnp", "ann\n", " ann", "ann ", "an n", "\uff41\uff4e\uff4e", "\u017fystem",
        "", "a" * 65, ".ann", "system", "SYSTEM", "SysteM", "anonymous", "desk", "<b>ann</b>", "ann;drop", "ann%0a",
        "\x1b[31m",
    ],
)  # fmt: skip
def test_a_name_is_what_it_looks_like(home, name):
    """Letters of other alphabets, blanks, marks and what reads like the desk's own are refused, issued or signed."""
    told = refusal(home, signed(home, sub=name))
    assert told.isascii()
    with pytest.raises(ValueError, match=r"name|system"):
        issue(home, name, ["viewer"], 60)


@given(st.text(max_size=80))
def test_no_name_that_is_taken_holds_anything_but_plain_ascii(name):
    """Whatever text is tried: what is taken is short, printable, and every character of it is plain."""
    if names.problem_of(name) is None:
        assert name.isascii()
        assert name.isprintable()
        assert " " not in name
        assert 0 < len(name) <= names.NAME_CHARACTERS


def test_names_that_read_alike_are_known_for_it():
    """Two people who must differ do not differ by a zero for an O, a capital, or rn for m."""
    assert names.alike("B0b") == names.alike("bob")
    assert names.alike("Alice") == names.alike("a1ice") == names.alike("aIice")
    assert names.alike("harmon") == names.alike("harrnon")
    assert names.alike("ann.lee") == names.alike("ann_lee") == names.alike("Ann-Lee") == names.alike("annlee")
    assert names.alike("ann") != names.alike("anna")


def test_a_token_for_one_command_is_good_for_nothing_else(home):
    """With its task, its id and its arguments it is good; with any other of the three, and without being asked, not."""
    asked = ("fntx.sessions.stop", "6f0c2f0e-0000-4000-8000-000000000001", {"session_id": "s", "reason": "x"})
    token = issue(home, "ann", ["operator"], 60, args=binding(*asked))
    assert verify(token, home, asked=lambda: binding(*asked)).name == "ann"
    task, command_id, arguments = asked
    for other in (
        ("fntx.sessions.start", command_id, arguments),
        (task, command_id[:-1] + "2", arguments),
        (task, command_id, arguments | {"close_positions": True}),
    ):
        with pytest.raises(Unauthenticated, match="one other command"):
            verify(token, home, asked=lambda other=other: binding(*other))
    assert "one other command" in refusal(home, token)


@given(st.dictionaries(st.text(max_size=5), st.recursive(st.integers(-(2**53), 2**53) | st.text() | st.none(),
       lambda inner: st.lists(inner, max_size=3), max_leaves=5), max_size=4))  # fmt: skip
def test_a_binding_does_not_depend_on_how_json_is_written(arguments):
    """The same arguments in another order, or by way of the wire, are the same; with the id in them or beside them."""
    arguments.pop("command_id", None)
    turned = dict(reversed(json.loads(json.dumps(arguments)).items()))
    assert binding("t", "ID", arguments) == binding("t", "id", turned | {"command_id": "id"})


def test_a_scope_comes_out_as_it_went_in(home):
    """Sessions, templates and tags each are what was asked for; without any the token is good for all."""
    actor = verify(issue(home, "ann", ["viewer"], 60, sessions=["s"], templates=["iron"], tags=["a", "b"]), home)
    assert (actor.sessions, actor.templates, actor.tags) == ({"s"}, {"iron"}, {"a", "b"})
    assert not verify(issue(home, "ann", ["viewer"], 60), home).scoped
    for kind in ("sessions", "templates", "tags"):
        with pytest.raises(ValueError, match="scope"):
            issue(home, "ann", ["admin"], 60, **{kind: iter(())})
    with pytest.raises(ValueError, match="scope"):
        issue(home, "ann", ["viewer"], 60, tags=[f"{number:0200}" for number in range(60)])


def test_forged_ones_push_no_good_one_out(home, monkeypatch):
    """A flood of forged tokens costs each a look, and leaves what is known of good ones where it is."""
    good = issue(home, "ann", ["viewer"], 60)
    verify(good, home)
    head, body, _ = good.split(".")
    for number in range(tokens._REMEMBERED + 10):
        refusal(home, f"{head}.{body}.{number:086}")
    monkeypatch.setattr(jwt, "decode", lambda *_a, **_k: pytest.fail("its signature was checked again"))
    assert verify(good, home).name == "ann"


def test_a_forged_token_is_looked_at_once(home, monkeypatch):
    """The same bad token again costs no second signature check."""
    head, body, _ = issue(home, "ann", ["viewer"], 60).split(".")
    forged = f"{head}.{body}.{'A' * 86}"
    assert "signature" in refusal(home, forged)
    monkeypatch.setattr(jwt, "decode", lambda *_a, **_k: pytest.fail("it was checked again"))
    assert "signature" in refusal(home, forged)


def test_too_long_a_token_is_not_even_split(home, monkeypatch):
    """A megabyte costs its length and nothing more."""
    monkeypatch.setattr(tokens, "_signed", lambda *_: pytest.fail("it was looked into"))
    assert "more than 4096 characters" in refusal(home, "a." * 500_000)


def test_what_is_read_says_until_when_and_by_which_key(home):
    """Beginning, end and key are told beside who it is."""
    found = read(issue(home, "ann", ["viewer"], 60), home)
    assert found.key_id == kid(home)
    assert 58 <= found.ends_at - found.issued_at <= 60
