"""A service's trading day: a session from a template, followed as it goes, a storm that pauses it, an orderly end.

    FNTX_REDIS_URL=redis://... FNTX_TOKEN=... python examples/trading_day.py

Without the variables it asks the stack that `fntx up` runs in your FNTX_HOME.
"""

import asyncio
from datetime import UTC, datetime

from fntx_sessions import SessionLifecycleManager, SessionStateManager, TradingSession
from fntx_sessions.exceptions import IllegalTransition


async def follow(manager: SessionLifecycleManager, session: TradingSession) -> None:
    """Print what happens, until the session begins to close."""
    async for event in manager.subscribe(session.session_id):
        print(f"{event.timestamp:%H:%M:%S} {event.event_type}: {event.description}")
        if event.event_type == "session_stopped":
            return


async def watch_the_market(manager: SessionLifecycleManager, session: TradingSession) -> None:
    """Publish what another service would, and react to it."""
    for vix, regime in ((14.0, "normal"), (38.0, "high_volatility")):
        state = {"timestamp": datetime.now(UTC), "spy_price": 540.0, "vix_level": vix, "market_regime": regime}
        market = (await manager.publish_market(state)).market.state
        if market.market_regime == "high_volatility":
            await manager.pause_session(session.session_id, "market_conditions")


async def main() -> None:
    """Run the day."""
    async with SessionStateManager() as states, SessionLifecycleManager(state_manager=states) as manager:
        session = await manager.create_session_from_template("Paper Trading", {"position_limit": 2})
        following = asyncio.create_task(follow(manager, session))
        await manager.start_session(session.session_id)
        await watch_the_market(manager, session)
        try:
            await manager.pause_session(session.session_id)
        except IllegalTransition as refused:
            print(f"refused: {refused}")
        await manager.resume_session(session.session_id)
        metrics = await manager.get_session_metrics(session.session_id)
        print(f"{metrics.total_trades} trades, net ${metrics.net_pnl}")
        await manager.stop_session(session.session_id, "the day is over", close_positions=True)
        await asyncio.wait_for(following, timeout=60)


if __name__ == "__main__":
    asyncio.run(main())
