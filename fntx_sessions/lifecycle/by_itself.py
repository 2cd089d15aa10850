"""What lets the desk start or resume a session by itself: whoever writes it does as much as start or resume it."""

from collections.abc import Iterator, Mapping
from typing import Any

from fntx_sessions.schemas import SessionType, Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import must_be_two

_KEYS = {
    Trigger.START: ("auto_start_conditions",),
    Trigger.RESUME: ("auto_resume_conditions", "auto_resume_after_recovery"),
}


def own_acts(config: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a session may do by itself under a config, by its name in the table of roles, where `before` differs.

    What is taken away lets it do nothing.
    """
    for trigger, keys in _KEYS.items():
        if any(config.get(key) and config.get(key) != before.get(key) for key in keys):
            yield trigger.value


def must_be_two_to_make(actor: Actor, session_type: SessionType, config: Mapping[str, Any]) -> None:
    """Raise NeedsSecond where a new session would start or resume by itself, and that takes two people.

    A backtest moves nobody's money, and waits for nobody.
    """
    if session_type is SessionType.BACKTEST:
        return
    for action in own_acts(config, {}):
        must_be_two(actor, action)
