"""Which actions a desk may let wait for a second person, and which it may not."""

from functools import lru_cache

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.names import alike

_SAFETY = "it ends or lowers risk, or keeps what is there: that waits for nobody"
_PROGRAMS = "programs do it all day, and nobody would ask them twice"
_BESIDE = "it is done beside the desk, by whoever may write the files of a machine: no command of it could wait"

# Action -> why it never takes two people.
NEVER: dict[str, str] = {
    Trigger.PAUSE.value: _SAFETY,
    Trigger.SUSPEND.value: _SAFETY,
    Trigger.STOP.value: _SAFETY,
    Trigger.FINALIZE.value: _SAFETY,
    Trigger.FAIL.value: _SAFETY,
    Trigger.CHECKPOINT.value: _SAFETY,
    Trigger.ACKNOWLEDGE.value: _SAFETY,
    "halt": _SAFETY,
    Trigger.UPDATE.value: (
        "it lowers limits too, and that waits for nobody: name raise_risk_limit, clear_latch and loosen_rules"
    ),
    Trigger.DECIDE.value: "it is a second person's word already, and a no to an opening waits for nobody",
    Trigger.ORDER.value: "it closes positions too, and that waits for nobody: name open_by_hand",
    "view": _PROGRAMS,
    "report": _PROGRAMS,
    "sweep": _PROGRAMS,
    "publish_market": _PROGRAMS,
    "remember": _PROGRAMS,
    "speak_for_agents": _PROGRAMS,
    "speak_as_desk": _PROGRAMS,
    Trigger.ASK.value: _PROGRAMS,
    Trigger.ANSWER.value: _PROGRAMS,
    "keys": _BESIDE,
    "credentials": _BESIDE,
    "tokens": _BESIDE,
    "archive": _BESIDE,
    "backtest": "it moves nobody's money",
    Trigger.PIN.value: _SAFETY,
}


@lru_cache(maxsize=8)
def checked(names: tuple[str, ...], known: frozenset[str]) -> frozenset[str]:
    """Return the actions that take two people; raises InvalidArgument for one there is not, and one that must not."""
    possible = ", ".join(sorted(str(one) for one in known - NEVER.keys()))
    for name in names:
        if name not in known:
            raise InvalidArgument("FNTX_FOUR_EYES", f"there is no action {name!r}", f"It may name {possible}.")
        if name in NEVER:
            raise InvalidArgument("FNTX_FOUR_EYES", f"{name} may not wait: {NEVER[name]}", f"It may name {possible}.")
    return frozenset(names)


def same_person(one: str, other: str) -> bool:
    """Tell whether two names are one person's: whichever token they come by, and however they are written."""
    return alike(one) == alike(other)
