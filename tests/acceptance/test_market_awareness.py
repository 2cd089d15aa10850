"""The spec's market awareness through a real worker: a storm is published and pauses, calm resumes."""

from datetime import UTC, datetime

from hosting import S, make_hosting
from running_desk import RunningDesk, quiet_desk, wait_until

from fntx_sessions.trading.market_store import publish_market

__all__ = ["quiet_desk"]
RULES = {
    "feed": {"kind": "published"},
    "auto_pause_conditions": [{"condition": "market_regime", "value": "high_volatility"}],
    "auto_resume_conditions": [{"condition": "market_regime", "value": "normal"}],
}


def test_high_volatility_pauses_and_calm_resumes(quiet_desk: RunningDesk):
    """Each change takes one sweep, as beat sends it, and says why; the person's commands would be just the same."""
    with make_hosting(quiet_desk.settings) as hosting, quiet_desk.worker("-Q", "sweeps", "-c", "1"):
        stores = (hosting.desk.redis, hosting.desk.engine, hosting.desk.settings)

        def publish(regime: str) -> None:
            state = {"timestamp": datetime.now(UTC).isoformat(), "spy_price": 270.0, "market_regime": regime}
            assert publish_market(*stores, "spy", state, "a quote service").became == "latest"

        def becomes(status: S) -> None:
            quiet_desk.sweep("rules")
            wait_until(lambda: hosting.row(session_id)["status"] == status, f"the session is {status}")

        publish("normal")
        session_id = hosting.started("regular", config=RULES)
        publish("high_volatility")
        becomes(S.PAUSED)
        assert hosting.row(session_id)["holds"] == ["rule"]
        publish("normal")
        becomes(S.ACTIVE)
        told = hosting.rows("SELECT trigger, actor, reason FROM transitions ORDER BY version")[-2:]
    assert [one["trigger"] for one in told] == ["pause_session", "resume_session"]
    assert "high_volatility" in told[0]["reason"]
    assert "normal" in told[1]["reason"]
    assert all(one["actor"].startswith("system") for one in told)
