"""What a command would come to now: the machine's own decision, made of the same facts, and nothing written.

Nobody waits for it and it promises nothing: who asks in earnest is judged anew, under the lock.
"""

from dataclasses import dataclass, replace

from sqlalchemy import Engine, TextClause

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import NeedsSecond, Rejected
from fntx_sessions.lifecycle import commands, machine
from fntx_sessions.lifecycle.change import Ask, Change, Decision, Row
from fntx_sessions.lifecycle.halting import ORDERED
from fntx_sessions.lifecycle.machine_sql import LOOK, LOOK_ASKED, LOOK_EVENT
from fntx_sessions.lifecycle.withdrawing import ABOUT_PEOPLE, with_withdrawals
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.roles import authorize, if_confirmed

# Of what is done in several steps, the decision that begins it. Whatever else such a command looks at, a checkpoint
# that is to be read or a market that is to be asked, is not rehearsed.
_BEGINNINGS: dict[Trigger, Decision] = {
    Trigger.RECOVER: commands.begin_recovery,
    Trigger.ACCEPT: commands.accept([]),
}
DECISIONS = commands.DECISIONS | _BEGINNINGS


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a command would find and do. refused: why it would not be done; changes: what it would write otherwise.

    second: that it takes two people, where it does: then it would wait, and do this once somebody has confirmed.
    row: the session's row and the facts a decision sees, and `held`, how many positions its ledger has open.
    """

    row: Row
    changes: tuple[Change, ...] = ()
    refused: Rejected | None = None
    second: NeedsSecond | None = None

    @property
    def last(self) -> Change:
        """The change that would be written last; one without anything where it would be refused."""
        return self.changes[-1] if self.changes else Change()


def rehearse(engine: Engine, ask: Ask) -> Rehearsal:
    """Return what a command would come to if it were asked now; raises NotFound for an unknown session."""
    row = look(engine, ask)
    machine.check(row, ask)
    try:
        return Rehearsal(row, _decided(dict(row), ask))
    except Rejected as error:
        return Rehearsal(row, refused=error)
    except NeedsSecond as error:
        second = error
    try:
        return Rehearsal(row, _decided(dict(row), replace(ask, actor=if_confirmed(ask.actor))), second=second)
    except Rejected as error:
        return Rehearsal(row, refused=error)


def _decided(row: Row, ask: Ask) -> tuple[Change, ...]:
    authorize(ask.actor, ask.trigger.value, ask.session_id)
    changes = with_withdrawals(row, ask, DECISIONS[ask.trigger](row, ask))
    for change in changes:
        machine.check_table(row, ask, change.trigger or ask.trigger, change)
    return tuple(changes)


def look(engine: Engine, ask: Ask) -> Row:
    """Return the row and the facts that a decision would see now; session_id None: there is no such session."""
    bound = {
        "session_id": ask.session_id,
        "trigger": ask.trigger.value,
        "expected_version": ask.expected_version,
        "begins": ask.trigger in ORDERED,
        "event_id": ask.arguments.get("event_id"),
    }
    with transaction(engine) as connection:
        row = dict(connection.execute(_look_for(ask.trigger), bound).mappings().one())
    asked = row.pop("asked") or ()
    row["approvals"] = [one for one in asked if one["kind"] == "approval"]
    row["hand_orders"] = [one for one in asked if one["kind"] == "order"]
    row["event"] = next((one for one in asked if one["kind"] == "event"), None)
    return row


def _look_for(trigger: Trigger) -> TextClause:
    if trigger is Trigger.ACKNOWLEDGE:
        return LOOK_EVENT
    return LOOK_ASKED if trigger in ABOUT_PEOPLE else LOOK
