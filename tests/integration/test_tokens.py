"""Who asks is proven, or nothing runs: attacks on the token, and the wire as a stranger's Celery uses it."""

# ruff: noqa: ARG005 - attacks that need nothing of the attacker take him all the same

import base64
import hashlib
import hmac
import json
import time
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from worker_process import raw_app, worker

from fntx_sessions.exceptions import Unauthenticated
from fntx_sessions.security import key_files, keys
from fntx_sessions.security.local import current_token, ensure_local_keys, process_token
from fntx_sessions.security.roles import ROLES
from fntx_sessions.security.tokens import issue, verify
from fntx_sessions.settings import Settings


@pytest.fixture
def home(tmp_path):
    ensure_local_keys(tmp_path)
    return Settings(home=tmp_path)


def claims(**changes):
    now = int(time.time())
    good = {"iss": "fntx-sessions", "aud": "fntx-sessions", "sub": "eve", "roles": ["admin"], "jti": "j"}
    return {
        key: value
        for key, value in (good | {"iat": now, "nbf": now, "exp": now + 60} | changes).items()
        if value is not None
    }


def part(value) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class Attacker:
    """Knows the public key and the formats; holds the private key only where an attack says so."""

    def __init__(self, settings: Settings) -> None:
        self.files = keys.LocalKeys.of(settings.home)
        self._signing = key_files.load_private_key(self.files.signing_file)
        self.kid = key_files.key_id(self._signing.public_key())

    def signed(self, header=None, **changes) -> str:
        """A token with the true key, as a mistaken issuer would make it."""
        return jwt.encode(
            claims(**changes), self._signing, algorithm="EdDSA", headers={"kid": self.kid} | (header or {})
        )

    def unsigned(self, algorithm: str) -> str:
        return f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': self.kid})}.{part(claims())}."

    def keyed_with_the_public_key(self) -> str:
        head = f"{part({'alg': 'HS256', 'kid': self.kid})}.{part(claims())}"
        digest = hmac.new(self.files.public_file.read_bytes(), head.encode(), hashlib.sha256).digest()
        return f"{head}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    def forged(self, key, algorithm="EdDSA", kid=None) -> str:
        return jwt.encode(claims(), key, algorithm=algorithm, headers={"kid": kid or self.kid})

    def changed(self) -> str:
        head, _, signature = self.signed(roles=["viewer"]).split(".")
        return f"{head}.{part(claims())}.{signature}"


HOUR = 3600
ATTACKS = {
    "none": lambda at: None,
    "empty": lambda at: "",
    "not a string": lambda at: {"alg": "none"},
    "garbage": lambda at: "a.b.c",
    "no dots": lambda at: "x" * 100,
    "not ASCII": lambda at: "ключ.ключ.ключ",
    "lone surrogate": lambda at: "\ud800.\ud800.x",
    "1 MB": lambda at: "x" * 1_000_000,
    "1 MB, well signed": lambda at: at.signed(padding="x" * 1_000_000),
    "nested JSON": lambda at: base64.urlsafe_b64encode(b"[" * 2000).decode() + ".e30.x",
    "alg none": lambda at: at.unsigned("none"),
    "alg NONE": lambda at: at.unsigned("NONE"),
    "alg EdDSA, no signature": lambda at: at.unsigned("EdDSA"),
    "HS256 with the public key": lambda at: at.keyed_with_the_public_key(),
    "ES256": lambda at: at.forged(generate_private_key(SECP256R1()), "ES256"),
    "Ed448": lambda at: at.forged(Ed448PrivateKey.generate()),
    "another key, our key id": lambda at: at.forged(Ed25519PrivateKey.generate()),
    "another key, its key id": lambda at: at.forged(Ed25519PrivateKey.generate(), kid="0123456789abcdef"),
    "key id a path": lambda at: at.signed(header={"kid": "../../dev/null"}),
    "claims changed": lambda at: at.changed(),
    "expired": lambda at: at.signed(exp=int(time.time()) - HOUR),
    "not yet valid": lambda at: at.signed(nbf=int(time.time()) + HOUR),
    "issued in the future": lambda at: at.signed(iat=int(time.time()) + HOUR),
    "for another service": lambda at: at.signed(aud="fntx-orders"),
    "by another issuer": lambda at: at.signed(iss="somebody"),
    "roles a string": lambda at: at.signed(roles="admin"),
    "roles empty": lambda at: at.signed(roles=[]),
    "roles unknown": lambda at: at.signed(roles=["admin", "god"]),
    "scope a string": lambda at: at.signed(session="*"),
    "subject a number": lambda at: at.signed(sub=1),
    **{
        f"without {claim}": lambda at, claim=claim: at.signed(**{claim: None})
        for claim in ("iss", "aud", "sub", "roles", "iat", "nbf", "exp", "jti")
    },
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_cannot_be_verified_is_refused(home, attack):
    """Each attack is Unauthenticated with a reason and a fix; the sentence does not repeat the token."""
    token = ATTACKS[attack](Attacker(home))
    with pytest.raises(Unauthenticated) as refused:
        verify(token, home)
    assert all(refused.value.args)
    assert not token or str(token) not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_an_issued_token_says_who_and_what_for(home):
    """Name, roles, scope and id come out as they went in."""
    session = str(uuid4())
    actor = verify(issue(home, "ann", ["operator", "viewer"], 60, sessions=[session]), home)
    assert (actor.name, actor.roles, actor.sessions) == ("ann", {"operator", "viewer"}, {session})
    assert actor.token_id


def test_clocks_may_differ_a_little(home):
    """A few seconds past its end, or before its beginning, a token still counts."""
    attacker, now = Attacker(home), int(time.time())
    for change in ({"exp": now - 1}, {"nbf": now + 2, "iat": now + 2}):
        assert verify(attacker.signed(**change), home).name == "eve"


def test_a_token_that_was_good_ends_with_its_time_and_with_its_key(home, monkeypatch):
    """Being seen before does not keep a token alive: not past its end, and not past a change of the key."""
    token, ends = issue(home, "ann", ["viewer"], 60), time.time() + 60 + home.token_leeway_s + 1
    assert verify(token, home).name == "ann"
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: ends)
        with pytest.raises(Unauthenticated, match="expired"):
            verify(token, home)
    assert verify(token, home).name == "ann"
    made = keys.LocalKeys.of(home.home)
    made.signing_file.unlink()
    made.public_file.unlink()
    ensure_local_keys(home.home)
    with pytest.raises(Unauthenticated, match="does not know"):
        verify(token, home)


def test_nobody_makes_up_roles(home):
    """A role the service does not know cannot be issued."""
    with pytest.raises(ValueError, match="god"):
        issue(home, "eve", ["god"], 60)


def test_an_open_service_names_nobody_and_still_refuses_forgeries(home):
    """auth_mode=open: without a token one is anonymous with all roles; a token that is sent must be true."""
    open_settings = home.model_copy(update={"auth_mode": "open"})
    assert (verify(None, open_settings).name, verify(None, open_settings).roles) == ("anonymous", ROLES)
    with pytest.raises(Unauthenticated):
        verify(Attacker(home).changed(), open_settings)


def test_a_worker_without_keys_says_so(tmp_path):
    """Where no public key is configured nothing verifies, and the refusal says what to set."""
    with pytest.raises(Unauthenticated, match="FNTX_TOKEN_PUBLIC_KEY_FILE"):
        verify("a.b.c", Settings(home=tmp_path))


def test_strangers_with_only_celery_are_served_by_name(home, redis_url, tmp_path):
    """By name, in JSON, with a header, even without naming a queue; refusals come back typed.

    The first task of a pool's process finds the calendar loaded where none is kept: no time limit is spent on it.
    """
    environment = {"FNTX_HOME": str(home.home), "FNTX_REDIS_URL": redis_url}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "nothing-kept")}
    stranger = raw_app(redis_url)

    def ask(name, token, queue=None, **kwargs):
        options = {"queue": queue} if queue else {}
        sent = stranger.send_task(
            name, kwargs=kwargs, task_id=str(uuid4()), headers={"fntx_token": token} if token else {}, **options
        )
        return sent.get(timeout=30), sent.id

    session_id = str(uuid4())
    with worker(environment, tmp_path / "worker.log", "-Q", "commands,queries", "-c", "1", "-n", "t@%h"):
        token = current_token(home)
        first = ask("fntx.tests.loaded", token, "queries", session_id=session_id, reason="pandas_market_calendars")
        assert first[0]["result"]["reason"] == "loaded"
        answer, task_id = ask("fntx.tests.echo", token, session_id=session_id)
        assert answer == {"state": "done", "error": None, "actor": "admin", "command_id": task_id}
        assert ask("fntx.tests.echo", process_token(home), "commands", session_id=session_id)[0]["actor"] == "system"
        assert ask("fntx.tests.look", token, "queries", session_id=session_id)[0]["result"]["session_id"] == session_id
        for bad in (None, Attacker(home).keyed_with_the_public_key(), "x" * 1_000_000):
            refused = ask("fntx.tests.echo", bad, session_id=session_id)[0]
            assert (refused["state"], refused["error"]["error"]) == ("refused", "Unauthenticated")
        refused = ask("fntx.tests.echo", token, session_id=session_id, reason="refused")[0]
        assert refused["error"]["facts"]["condition"] == "calm"
        busy = ask("fntx.tests.echo", token, session_id=session_id, reason="busy")[0]
        assert (busy["state"], busy["error"]["family"]) == ("unavailable", "retryable")
    stranger.close()
    assert token not in (tmp_path / "worker.log").read_text()
