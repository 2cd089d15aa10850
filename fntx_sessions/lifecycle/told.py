"""What recovery found to differ, in words."""

from typing import Any


def sentence(one: dict[str, Any]) -> str:
    """Return a difference as people read it."""
    sides = ", ".join(f"{name} {one[name]}" for name in ("remembered", "ledger", "broker") if one[name] is not None)
    return f"{one['kind']} {' '.join(filter(None, (one['what'], one['symbol'])))}: {sides or 'nowhere'} ({one['why']})"
