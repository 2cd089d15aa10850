"""What tests of history need: a database whose first week lies back, and rows of every relation at any time."""

from datetime import UTC, datetime, time, timedelta
from uuid import UUID

from owning import owner_engine
from state_world import World, make_world

from fntx_sessions.database.history import RELATIONS
from fntx_sessions.database.partitions import make_ahead, run
from fntx_sessions.database.weeks import WEEK, Week, layouts, moment, monday, week_of
from fntx_sessions.state.dropping import drop_due

__all__ = ["World", "make_world"]
_ADD = {
    "events": """INSERT INTO events (event_id, session_id, timestamp, event_type, event_category, severity, description)
VALUES (gen_random_uuid(), :id, :at, 'noted', 'system', 'info', 'row of ' || :at)""",
    "transitions": """INSERT INTO transitions (transition_id, session_id, timestamp, from_status, to_status, trigger,
  actor, version, epoch) SELECT gen_random_uuid(), :id, :at, 'paused', 'active', 'resume_session', 'test',
  1 + count(*), 1 FROM transitions WHERE session_id = :id""",
    "fills": """INSERT INTO fills (fill_id, session_id, account_id, epoch, client_order_id, trade_id, trade_date,
  symbol, "right", side, quantity, price, fee, opening, timestamp)
VALUES (gen_random_uuid()::text, :id, 'paper:' || :id, 1,
  'order', 'trade', '2026-01-02', 'SPY', 'put', 'sell', 1, 1234.5678, 0.68, true, :at)""",
    "samples": """INSERT INTO samples (session_id, timestamp, epoch, net_pnl, spot)
VALUES (:id, :at, 1, 98765432109876.5432, 0.1) ON CONFLICT DO NOTHING""",
}


def weeks_back(count: int) -> datetime:
    """Return a moment in the middle of the week `count` weeks ago, UTC."""
    return datetime.combine(monday(datetime.now(UTC).date()), time(12), UTC) + timedelta(days=2) - count * WEEK


def week_at(relation: str, at: datetime) -> Week:
    """Return the week of a moment."""
    return week_of(relation, at.date())


def begin(world: World, weeks: int) -> None:
    """Let the first week lie `weeks` back, as where the house has stood that long."""
    first = monday(datetime.now(UTC).date()) - weeks * WEEK
    for name in RELATIONS:
        with owner_engine(world.engine) as owner, owner.begin() as connection:
            run(
                connection,
                f"ALTER TABLE {name} DETACH PARTITION {name}_past",
                f"ALTER TABLE {name} ATTACH PARTITION {name}_past FOR VALUES FROM (MINVALUE) TO ({moment(first)})",
            )
    make(world, 1)


def make(world: World, weeks: int) -> list[str]:
    """Make the coming weeks as their owner; return the names made."""
    with owner_engine(world.engine) as owner:
        return make_ahead(owner, weeks)


def drop(world: World, **changed: float) -> list[str]:
    """Drop the weeks that are due as their owner, settings changed; return their names."""
    with owner_engine(world.engine) as owner:
        return drop_due(owner, world.settings.model_copy(update=changed))


def forget_to_make(world: World) -> None:
    """Take this week's and all later partitions away, as where nobody made them."""
    this = monday(datetime.now(UTC).date())
    for name, week in weeks_of(world):
        if week.since >= this:
            world.run(f"DROP TABLE {week.name}")
            assert name in RELATIONS


def weeks_of(world: World) -> list[tuple[str, Week]]:
    """Return every week there is, with its relation."""
    with world.engine.begin() as connection:
        return [(name, week) for name, layout in layouts(connection).items() for week in layout.weeks]


def add(world: World, session_id: UUID, at: datetime, *relations: str) -> None:
    """Add a row to each of the relations, to all where none is named."""
    for name in relations or RELATIONS:
        world.run(_ADD[name], id=str(session_id), at=at.isoformat())


def count(world: World, table: str, session_id: UUID | None = None) -> int:
    """Return how many rows a table holds, of one session or of all."""
    where = "" if session_id is None else f" WHERE session_id = '{session_id}'"
    return int(str(world.rows(f"SELECT count(*) AS n FROM {table}{where}")[0]["n"]))


def history(world: World, session_id: UUID) -> dict[str, list[dict[str, object]]]:
    """Return all that is kept of a session, by relation."""
    return {
        name: world.rows(f"SELECT * FROM {name} WHERE session_id = :id ORDER BY {', '.join(one.key)}", id=session_id)
        for name, one in RELATIONS.items()
    }
