"""What each task takes by the table of roles, by its name alone: who may do none of it is refused whatever they send.

What it takes besides, by its arguments or by the session it is about, is judged where it is done.
"""

from fntx_sessions.schemas import Trigger
from fntx_sessions.security.roles import (
    ALLOWED,
    BACKTEST,
    EDIT_RULES,
    EDIT_TEMPLATE,
    FORK_LIVE,
    HALT,
    PUBLISH_MARKET,
    RELEASE_HALT,
    REMEMBER,
    REPORT,
    SWEEP,
    TOKENS,
    VIEW,
)

# Of what many actions may be asked for: anything but to look.
_SOMETHING = frozenset(map(str, ALLOWED)) - {VIEW}
_OF_MANY = frozenset({Trigger.PAUSE, Trigger.RESUME, Trigger.STOP})

# The end of a command's name -> the actions of which it takes at least one.
COMMANDS: dict[str, frozenset[str]] = {
    "agents.join": frozenset({REPORT}),
    "agents.ready": frozenset({REPORT}),
    "agents.leave": frozenset({REPORT}),
    "agents.credentials": frozenset({REPORT}),
    "approvals.approve": frozenset({Trigger.DECIDE}),
    "approvals.reject": frozenset({Trigger.DECIDE}),
    "approvals.request": frozenset({Trigger.ASK}),
    "approvals.answer": frozenset({Trigger.ANSWER}),
    "backtests.create": frozenset({BACKTEST}),
    "backtests.stop": frozenset({BACKTEST}),
    "backtests.resume": frozenset({BACKTEST}),
    "bulk.preview": _OF_MANY,
    "bulk.begin": _OF_MANY,
    "bulk.cancel": _OF_MANY,
    "bulk.resume": _OF_MANY,
    "bulk.report": frozenset({VIEW}),
    "bulk.list": frozenset({VIEW}),
    "confirmations.confirm": _SOMETHING,
    "confirmations.decline": frozenset({VIEW}),  # one's own may be taken back by whoever one is now
    "events.acknowledge": frozenset({Trigger.ACKNOWLEDGE}),
    "halts.place": frozenset({HALT}),
    "halts.release": frozenset({RELEASE_HALT}),
    "market.publish": frozenset({PUBLISH_MARKET}),
    "memory.store": frozenset({REMEMBER}),
    "memory.share": frozenset({REMEMBER}),
    "orders.place": frozenset({Trigger.ORDER}),
    "orders.change": frozenset({Trigger.ORDER}),
    "orders.cancel": frozenset({Trigger.ORDER}),
    "orders.answer": frozenset({Trigger.ANSWER}),
    "rules.set_template": frozenset({EDIT_RULES}),
    "sessions.create": frozenset({Trigger.CREATE}),
    "sessions.create_from_template": frozenset({Trigger.CREATE}),
    "sessions.fork": frozenset({Trigger.CREATE, FORK_LIVE}),
    "sessions.start": frozenset({Trigger.START}),
    "sessions.pause": frozenset({Trigger.PAUSE}),
    "sessions.resume": frozenset({Trigger.RESUME}),
    "sessions.suspend": frozenset({Trigger.SUSPEND}),
    "sessions.stop": frozenset({Trigger.STOP}),
    "sessions.recover": frozenset({Trigger.RECOVER}),
    "sessions.accept": frozenset({Trigger.ACCEPT}),
    "sessions.shred": frozenset({Trigger.SHRED}),
    "sessions.fail": frozenset({Trigger.FAIL}),
    "sessions.update": frozenset({Trigger.UPDATE}),
    "sessions.checkpoint": frozenset({Trigger.CHECKPOINT}),
    "sessions.pin": frozenset({Trigger.PIN}),
    "sessions.prune": frozenset({Trigger.PRUNE}),
    "templates.add": frozenset({EDIT_TEMPLATE}),
    "templates.edit": frozenset({EDIT_TEMPLATE}),
    "templates.import": frozenset({EDIT_TEMPLATE}),
    "templates.retire": frozenset({EDIT_TEMPLATE}),
    "tokens.revoke": frozenset({TOKENS}),
}


def needed(name: str) -> frozenset[str]:
    """Return the actions of which a task takes at least one; what is no command and no sweep takes a look."""
    if name.startswith("fntx.sweeps."):
        return frozenset({SWEEP})
    return COMMANDS.get(name.removeprefix("fntx."), frozenset({VIEW}))
