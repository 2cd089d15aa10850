"""Every client verifies whom it speaks to: Postgres and Redis behind TLS, the right one and the wrong ones."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg2
import pytest
import redis
from agent_world import PLANNER
from pages_world import pages_running
from pydantic import SecretStr
from running_desk import RunningDesk, quiet_desk, run
from sqlalchemy import make_url, text
from tls_world import Authority, tls_before

from fntx_sessions import AgentClient, SessionStatus
from fntx_sessions.caller.producer import Message, Producer
from fntx_sessions.database.engine import build_engine, transaction
from fntx_sessions.database.logins import connected
from fntx_sessions.exceptions import InvalidArgument, Unavailable
from fntx_sessions.settings import Settings
from fntx_sessions.stack.readiness import answering
from fntx_sessions.stack.redis_status import read_redis
from fntx_sessions.stack.status import read_database
from fntx_sessions.state.redis_client import build_redis, redis_errors
from fntx_sessions.tls import unprotected

__all__ = ["quiet_desk"]


@dataclass(frozen=True)
class Secured:
    """The stores of a desk behind TLS, as `localhost` and as a name the certificate does not have."""

    plain: RunningDesk
    ca: Path
    stranger: Path
    postgres: int
    redis: int

    def settings(self, ca: Path | None = None, host: str = "localhost") -> Settings:
        """Settings of whoever trusts `ca`, the right authority unless another is given, and looks for `host`."""
        url = make_url(self.plain.database_url)
        there = url.set(host=host, port=self.postgres, query={})
        parts = urlsplit(self.plain.redis_url)
        netloc = f":{parts.password}@{host}:{self.redis}"
        return Settings(
            home=self.plain.folder, auth_mode="open", database_ca_file=ca or self.ca, redis_ca_file=ca or self.ca,
            database_url=there.render_as_string(hide_password=False),
            redis_url=parts._replace(scheme="rediss", netloc=netloc).geturl(), command_deadline_s=20.0,
        )  # fmt: skip


@pytest.fixture(scope="module")
def secured(quiet_desk: RunningDesk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    ours, other = Authority.at(folder / "ours"), Authority.at(folder / "other")
    url, parts = make_url(quiet_desk.database_url), urlsplit(quiet_desk.redis_url)
    socket = f"{url.query['host']}/.s.PGSQL.{url.query['port']}" if "host" in url.query else None

    def database() -> Any:
        return asyncio.open_unix_connection(socket) if socket else asyncio.open_connection(url.host, url.port)

    with ExitStack() as ending:
        names = ours.context("localhost")
        postgres = ending.enter_context(tls_before(database, names, postgres=True))
        there = ending.enter_context(tls_before(lambda: asyncio.open_connection(parts.hostname, parts.port), names))
        yield Secured(quiet_desk, ours.file, other.file, postgres, there)


def test_a_desk_does_its_work_over_tls(secured: Secured) -> None:
    """A worker, its broker and its answers, a manager, an agent of another service, Flower, status and doctor."""
    desk = replace(secured.plain, settings=secured.settings())
    told = {"FNTX_DATABASE_CA_FILE": str(secured.ca), "FNTX_REDIS_CA_FILE": str(secured.ca)}

    async def begun(manager: Any) -> UUID:
        async with manager:
            return (await manager.create_session("paper_trading", config={"agents": [PLANNER]})).session_id

    async def started(manager: Any, session_id: UUID) -> None:
        async with manager:
            assert await manager.start_session(session_id)
            assert (await manager.get_session(session_id)).status is SessionStatus.ACTIVE

    with desk.worker(**told), pages_running(desk, **told) as pages:
        session_id = run(begun, desk.manager())
        with AgentClient(session_id, PLANNER, settings=desk.settings) as agent:
            agent.join()
            run(started, desk.manager(), session_id)
            agent.events()
            assert agent.report(state={"internal_state": {"n": 1}}) > 0
        assert pages.somebody("operator").get(f"/sessions/{session_id}").status == 200
    assert read_database(desk.database_url).error is None
    assert read_redis(desk.redis_url).error is None


def engine(settings: Settings) -> None:
    assert settings.database_url
    made = build_engine(settings.database_url.get_secret_value(), settings)
    try:
        with transaction(made) as connection:
            connection.execute(text("SELECT 1"))
    finally:
        made.dispose()


def driver(settings: Settings) -> None:
    assert settings.database_url
    connected(make_url(settings.database_url.get_secret_value())).close()


def client(settings: Settings) -> None:
    assert settings.redis_url
    with build_redis(settings.redis_url.get_secret_value(), settings) as made, redis_errors():
        made.ping()


def looked_at(settings: Settings) -> None:
    assert settings.redis_url
    assert settings.database_url
    problems = [read_redis(settings.redis_url.get_secret_value()).error]
    problems.append(read_database(settings.database_url.get_secret_value()).error)
    if all(problems):
        raise Unavailable("both", str(problems), "")
    assert problems == [None, None]


CLIENTS: list[Callable[[Settings], None]] = [engine, driver, client, looked_at]


@pytest.mark.parametrize("ask", CLIENTS)
def test_the_right_server_is_believed(secured: Secured, ask: Callable[[Settings], None]) -> None:
    """By the file that says whom to trust, and nothing else."""
    ask(secured.settings())


@pytest.mark.parametrize("ask", CLIENTS)
@pytest.mark.parametrize("wrong", ["authority", "name", "system"])
def test_a_wrong_server_is_told_nothing(secured: Secured, ask: Callable[[Settings], None], wrong: str) -> None:
    """Signed by another authority, by none that this machine trusts, or for another name: no password is sent."""
    settings = {
        "authority": lambda: secured.settings(secured.stranger),
        "name": lambda: secured.settings(host="127.0.0.1"),
        "system": lambda: secured.settings(_no_authority(secured)),
    }[wrong]()
    with pytest.raises((Unavailable, psycopg2.OperationalError, redis.ConnectionError)) as caught:
        ask(settings)
    told = str(caught.value).lower()
    assert "certificate" in told or "ssl" in told, told


def _no_authority(secured: Secured) -> Path:
    import certifi  # noqa: PLC0415 - what a machine trusts usually

    return Path(certifi.where())


def test_a_server_without_tls_is_told_nothing(secured: Secured) -> None:
    """Who was told to speak TLS does not go on without it: the server never sees a password."""
    settings = secured.settings()
    plain = urlsplit(secured.plain.redis_url)
    url = f"rediss://:{plain.password}@127.0.0.1:{plain.port}/0"
    with pytest.raises(Unavailable):
        client(settings.model_copy(update={"redis_url": SecretStr(url), "redis_connect_timeout_s": 0.5}))


def test_a_worker_is_found_over_tls(secured: Secured) -> None:
    """`fntx up` waits for its workers by a Celery of its own."""
    url = secured.settings().redis_url
    assert url
    assert answering(url.get_secret_value(), {"worker": f"nobody-{uuid4().hex}@test"}) == set()


@pytest.mark.parametrize("wrong", ["authority", "name", "no certificate"])
def test_a_sender_says_what_is_wrong_with_a_certificate(secured: Secured, wrong: str, tmp_path: Path) -> None:
    """Nothing was sent, for sure, so that nobody waits for an answer; which settings to look at is told."""
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    settings = {
        "authority": lambda: secured.settings(secured.stranger),
        "name": lambda: secured.settings(host="127.0.0.1"),
        "no certificate": lambda: secured.settings(junk),
    }[wrong]()
    assert settings.redis_url
    producer = Producer(settings, settings.redis_url.get_secret_value(), "token")
    found = producer.send(Message("fntx.sessions.list", {}, uuid4(), "queries"))
    producer.close()
    assert found
    assert found.certain
    assert "FNTX_REDIS_CA_FILE" in str(found.problem)


@pytest.mark.parametrize("off", ["ssl_cert_reqs=none", "ssl_check_hostname=false", "ssl_check_hostname=0"])
def test_a_ca_file_beside_an_address_that_checks_nothing_is_refused(off: str) -> None:
    """Whoever set the file wants the server verified; without one, the address is told to be unprotected."""
    url = f"rediss://:p@redis.desk/0?{off}"
    with pytest.raises(InvalidArgument, match="verifies nobody"):
        Settings(redis_ca_file=Path("ca.pem"), redis_url=url)
    assert "not verified" in unprotected(url)
    assert Settings(redis_ca_file=Path("ca.pem"), redis_url=url.replace("redis.desk", "localhost")).redis_url
