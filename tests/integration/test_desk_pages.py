"""The pages of the whole desk: its health, with anything down."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from drawing import drawn
from hosting import Hosting, make_hosting, shared
from pydantic import SecretStr

from fntx_sessions.automation import alerts, hosts
from fntx_sessions.monitoring.flower.health import SECTIONS, Health
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.schemas import Severity
from fntx_sessions.security.actor import Actor

RISK = Viewer(Actor("rita", frozenset({"risk_manager"})), "token")
OPERATOR = Viewer(Actor("olaf", frozenset({"operator"})), "token")
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made.with_settings(pages_health_s=1e-6)
        made.run("DELETE FROM alerts; UPDATE halts SET released_at = now(), released_by = 'ann'")


def health(page: Health, hosting: Hosting, viewer: Viewer | None = None) -> dict[str, str]:
    parts = drawn(page, hosting.desk, viewer=viewer)
    assert list(parts) == [f"health-{name}" for name in SECTIONS]
    return {name.removeprefix("health-"): part.html for name, part in parts.items()}


def lost(hosting: Hosting, **urls: str) -> Hosting:
    """The same desk, with stores where nobody answers."""
    return hosting.with_settings(**{name: SecretStr(url) for name, url in urls.items()})


def trouble(hosting: Hosting) -> str:
    """A session nobody saves, a worker, an alert and a halt whose words are script; return the session's id."""
    session_id = hosting.started()
    hosting.run("UPDATE session_work SET next_save_at = now() - interval '1 h' WHERE session_id = :id", id=session_id)
    hosts.renew(hosting.desk.engine, hosting.desk.settings, "h1", "agents,sweeps", {"memory_bytes": 3_000_000_000})
    alerts.raise_alert(hosting.desk.engine, "disk", EVIL, Severity.ERROR, EVIL)
    hosting.run(
        "INSERT INTO halts (halt_id, scope, reason, actor) VALUES (gen_random_uuid(), 'all', :why, 'ann')", why=EVIL
    )
    return str(session_id)


def test_health_tells_what_is_wrong_and_where(hosting: Hosting) -> None:
    """Checks worst first, overdue sessions by name, workers, queues with who reads them, halts, alerts; escaped."""
    session_id = trouble(hosting)
    found = health(Health(), hosting)
    assert found["checks"].index("severity-failed") < found["checks"].index("severity-ok")
    assert f"/sessions/{session_id}" in found["clock"]
    assert "3,000 MB" in found["workers"]
    assert found["queues"].count('<td class="num">1</td>') == 2  # agents and sweeps have one reader each
    assert "&lt;script&gt;" in found["halts"]
    assert "&lt;script&gt;" in found["alerts"]
    assert EVIL not in "".join(found.values())


def test_halts_are_placed_and_released_by_whose_role_it_is(hosting: Hosting) -> None:
    """A risk manager is led to both, an operator to placing one, those who look to neither."""
    trouble(hosting)
    page = Health()
    links = {name: health(page, hosting, who)["halts"] for name, who in (("risk", RISK), ("op", OPERATOR), ("", None))}
    assert ("/release" in links["risk"], "/halts/place" in links["risk"]) == (True, True)
    assert ("/release" in links["op"], "/halts/place" in links["op"]) == (False, True)
    assert "href" not in links[""]


def test_health_without_postgres_keeps_what_it_said_last(hosting: Hosting) -> None:
    """The checks are of now; what only Postgres knows stands with its age; back again, it is of now by itself."""
    session_id = trouble(hosting)
    page = Health()
    health(page, hosting)
    away = health(page, lost(hosting, database_url="postgresql://127.0.0.1:1/nothing"))
    assert "No command is taken" in away["checks"]
    assert f"/sessions/{session_id}" in away["clock"]
    for name in ("sessions", "halts", "alerts", "clock", "workers", "tiers"):
        assert "Postgres is out of reach: as it was" in away[name]
    assert "out of reach" not in away["queues"]
    assert "out of reach" not in health(page, hosting)["clock"]


def test_health_without_redis_keeps_what_it_said_last(hosting: Hosting) -> None:
    """Queues stand with their age; the rest is of now."""
    page = Health()
    health(page, hosting)
    away = health(page, lost(hosting, redis_url="redis://127.0.0.1:1"))
    assert "Redis is out of reach: as it was" in away["queues"]
    assert "commands" in away["queues"]
    assert "out of reach" not in away["clock"]


def test_health_that_never_saw_a_store_says_so(hosting: Hosting) -> None:
    """Nothing is invented: no zeros, no empty lists that look like good news."""
    nowhere = lost(hosting, database_url="postgresql://127.0.0.1:1/nothing", redis_url="redis://127.0.0.1:1")
    found = health(Health(), nowhere)
    for name in ("sessions", "halts", "alerts", "clock", "workers", "tiers", "queues"):
        assert "was not seen since Flower started" in found[name]
        assert "None" not in found[name]
        assert "0 failed" not in found[name]


def test_those_who_look_at_health_share_one_look(hosting: Hosting) -> None:
    """However many watch, and whatever their roles, the desk is looked at once in `pages_health_s`."""
    patient, page = hosting.with_settings(pages_health_s=3600.0), Health()
    first = health(page, patient)
    trouble(hosting)
    assert health(page, patient, RISK)["checks"] == first["checks"]
