"""What recovery found to differ, in words."""

from typing import Any


def measures(measured: dict[str, Any]) -> str:
    """Return what a recovery came to: source, memory lost (RPO), time down, recovery's own part of it, positions."""
    lost, source = measured.get("state_lost_s"), measured.get("source") or "nothing"
    told = "unknown" if lost is None else f"{lost:g} s"
    down, own = measured.get("down_s", 0.0), measured.get("rto_s", 0.0)
    return (
        f"recovered from {source}; memory lost (RPO) {told}; down {down:g} s, of it {own:g} s "
        f"for the recovery (RTO); {positions(measured.get('open_positions', 0))}"
    )


def positions(count: int) -> str:
    """Return how many positions are open, in words."""
    return "no open position" if not count else f"{count} open position{'s' if count > 1 else ''}"


def booked_sentence(one: dict[str, Any]) -> str:
    """Return one booking that nobody traded as people read it."""
    verb = "bought" if one["side"] == "buy" else "sold"
    return f"{one['trade_id']} {verb} {one['quantity']} {one['symbol']} at ${float(one['price']):.2f}"


def sentence(one: dict[str, Any]) -> str:
    """Return a difference as people read it."""
    sides = ", ".join(f"{name} {one[name]}" for name in ("remembered", "ledger", "broker") if one[name] is not None)
    return f"{one['kind']} {' '.join(filter(None, (one['what'], one['symbol'])))}: {sides or 'nowhere'} ({one['why']})"
