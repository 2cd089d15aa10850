"""What an act would come to now, as the desk rehearses it, in words for its screen."""

from typing import Any
from uuid import UUID

from rich.text import Text

from fntx_sessions.cli.watching.acts import Act
from fntx_sessions.cli.watching.desk import Desk
from fntx_sessions.printable import printable

Row = dict[str, Any]
# A plan reads what it would restore from.
_PLAN_S = 30.0


async def foresee(desk: Desk, act: Act, session_id: UUID, more: Row) -> tuple[Row, Text]:
    """Return what the desk foresees of an act, and that in words; raises as `Desk.query`. more: subject, policy."""
    asked = {"session_id": str(session_id), "action": act.name, **more}
    found: Row = await desk.query("sessions.foresee", asked)
    if found["refused"]:
        return found, Text(f"It would be refused now: {printable(found['refused'])}", style="bold yellow")
    told = list(found["happens"])
    told += await _plan(desk, session_id) if act.name == "recover" else []
    return found, Text("\n".join(map(printable, told)))


async def _plan(desk: Desk, session_id: UUID) -> list[str]:
    """Return what a recovery would restore from."""
    found = await desk.query("sessions.plan", {"session_id": str(session_id)}, _PLAN_S)
    first = found["candidates"][0] if found["candidates"] else None
    best = f"{first['name']} of {first['tier']}" if first else "nothing: agents would begin anew"
    why = "; ".join(found["confidence_reasons"])
    return [
        f"It would restore from {best}; loses: {found['data_loss_risk']}.",
        f"Confidence {found['recovery_confidence']}: {why}. `fntx plan` shows all.",
    ]
