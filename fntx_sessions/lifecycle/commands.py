"""Which decision and which arguments belong to which trigger."""

from fntx_sessions.lifecycle.arguments import (
    CheckpointArguments,
    CommandArguments,
    FailArguments,
    FinalizeArguments,
    HoldArguments,
    PinArguments,
    PruneArguments,
    RecoverArguments,
    StartArguments,
    StopArguments,
    SuspendArguments,
    UpdateArguments,
)
from fntx_sessions.lifecycle.change import Decision
from fntx_sessions.lifecycle.decisions.accepting import accept
from fntx_sessions.lifecycle.decisions.acknowledging import acknowledge
from fntx_sessions.lifecycle.decisions.asking import ask_approval, decide
from fntx_sessions.lifecycle.decisions.ending import fail, finalize, mark_waiting, note_elsewhere, refuse, stop, suspend
from fntx_sessions.lifecycle.decisions.holding import pause, quiesce, resume
from fntx_sessions.lifecycle.decisions.keeping import begin_checkpoint, pin
from fntx_sessions.lifecycle.decisions.ordering import answer, order
from fntx_sessions.lifecycle.decisions.recovery import (
    RECOVERY_FORGIVEN_S,
    begin_recovery,
    call_for_recovery,
    finish_recovery,
    give_up,
    leave_as_it_was,
    rehome,
)
from fntx_sessions.lifecycle.decisions.shredding import shred
from fntx_sessions.lifecycle.decisions.starting import edited, start, update
from fntx_sessions.lifecycle.events_arguments import AcknowledgedArguments
from fntx_sessions.lifecycle.people_arguments import AnswerArguments, AskArguments, DecideArguments, OrderArguments
from fntx_sessions.schemas import Trigger

__all__ = [
    "ARGUMENTS",
    "DECISIONS",
    "RECOVERY_FORGIVEN_S",
    "accept",
    "acknowledge",
    "answer",
    "ask_approval",
    "begin_recovery",
    "call_for_recovery",
    "decide",
    "edited",
    "fail",
    "finalize",
    "finish_recovery",
    "give_up",
    "leave_as_it_was",
    "mark_waiting",
    "note_elsewhere",
    "order",
    "pause",
    "quiesce",
    "refuse",
    "rehome",
    "resume",
    "shred",
    "start",
    "stop",
    "suspend",
    "update",
]

DECISIONS: dict[Trigger, Decision] = {
    Trigger.START: start,
    Trigger.PAUSE: pause,
    Trigger.RESUME: resume,
    Trigger.SUSPEND: suspend,
    Trigger.STOP: stop,
    Trigger.FINALIZE: finalize,
    Trigger.FAIL: fail,
    Trigger.UPDATE: update,
    Trigger.CHECKPOINT: begin_checkpoint,
    Trigger.PIN: pin,
    Trigger.SHRED: shred,
    Trigger.ASK: ask_approval,
    Trigger.DECIDE: decide,
    Trigger.ORDER: order,
    Trigger.ANSWER: answer,
    Trigger.ACKNOWLEDGE: acknowledge,
}


ARGUMENTS: dict[Trigger, type[CommandArguments]] = {
    Trigger.START: StartArguments,
    Trigger.PAUSE: HoldArguments,
    Trigger.RESUME: HoldArguments,
    Trigger.SUSPEND: SuspendArguments,
    Trigger.RECOVER: RecoverArguments,
    Trigger.STOP: StopArguments,
    Trigger.FINALIZE: FinalizeArguments,
    Trigger.FAIL: FailArguments,
    Trigger.UPDATE: UpdateArguments,
    Trigger.CHECKPOINT: CheckpointArguments,
    Trigger.PIN: PinArguments,
    Trigger.PRUNE: PruneArguments,
    Trigger.ACCEPT: CommandArguments,
    Trigger.SHRED: CommandArguments,
    Trigger.ASK: AskArguments,
    Trigger.DECIDE: DecideArguments,
    Trigger.ORDER: OrderArguments,
    Trigger.ANSWER: AnswerArguments,
    Trigger.ACKNOWLEDGE: AcknowledgedArguments,
}
