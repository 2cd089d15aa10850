"""What recovery found to differ, in words."""

from typing import Any


def booked_sentence(one: dict[str, Any]) -> str:
    """Return one booking that nobody traded as people read it."""
    verb = "bought" if one["side"] == "buy" else "sold"
    return f"{one['trade_id']} {verb} {one['quantity']} {one['symbol']} at ${float(one['price']):.2f}"


def sentence(one: dict[str, Any]) -> str:
    """Return a difference as people read it."""
    sides = ", ".join(f"{name} {one[name]}" for name in ("remembered", "ledger", "broker") if one[name] is not None)
    return f"{one['kind']} {' '.join(filter(None, (one['what'], one['symbol'])))}: {sides or 'nowhere'} ({one['why']})"
