"""docs/roles.md from the table of roles: `python -m fntx_sessions.security.roles_doc [--check] [FILE]`."""

import sys
from collections.abc import Sequence

from fntx_sessions.generated_page import DOCS, write_or_check
from fntx_sessions.schemas import Trigger
from fntx_sessions.security import four_eyes, roles
from fntx_sessions.security.roles import ALLOWED

PAGE = DOCS / "roles.md"
COLUMNS = (
    roles.VIEWER, roles.AGENT, roles.SERVICE, roles.OPERATOR, roles.RISK_MANAGER, roles.ADMIN, roles.SYSTEM,
)  # fmt: skip
_COMMAND = "python -m fntx_sessions.security.roles_doc"
_WHO = {
    roles.VIEWER: "looks",
    roles.AGENT: "an agent of another service: reports, asks for leave, publishes what it sees of the market",
    roles.SERVICE: "another service of FNTX: runs sessions; no orders by hand, no approvals, nothing that raises risk",
    roles.OPERATOR: "runs the desk",
    roles.RISK_MANAGER: "answers for risk: limits, halts, differences, recovery from ERROR",
    roles.ADMIN: "keys, tokens, archives, shredding, and all else",
    roles.SYSTEM: "sweeps and rules; signed by a key of its own, nobody else's token may have it",
}
_MEANINGS: dict[str, str] = {
    roles.VIEW: "look at anything in scope",
    roles.REPORT: "join as an agent and report",
    Trigger.CREATE: "create a session; fork one for Paper",
    Trigger.START: "start it",
    Trigger.PAUSE: "pause it",
    Trigger.SUSPEND: "suspend it for a system's fault",
    Trigger.STOP: "stop it, and flatten what it holds",
    Trigger.RESUME: "resume it",
    Trigger.RECOVER: "recover it",
    Trigger.FINALIZE: "end what was stopped",
    Trigger.FAIL: "put it in ERROR",
    Trigger.UPDATE: "change its settings; of limits, lower them",
    Trigger.CHECKPOINT: "make a checkpoint",
    Trigger.PIN: "keep a checkpoint, or let it go",
    Trigger.PRUNE: "drop old checkpoints",
    Trigger.ACCEPT: "accept what a recovery found to differ",
    Trigger.SHRED: "destroy its key for good",
    Trigger.DECIDE: "approve or reject an agent's order",
    Trigger.ORDER: "order by hand: close, change, cancel",
    Trigger.ACKNOWLEDGE: "say that an event was seen to",
    Trigger.ASK: "ask people for leave",
    Trigger.ANSWER: "tell what became of what people decided",
    roles.OPEN_BY_HAND: "open a position by hand",
    roles.RECOVER_FROM_ERROR: "recover a session that is in ERROR",
    roles.RAISE_RISK_LIMIT: "raise a limit of a started session",
    roles.CLEAR_LATCH: "let an account trade again after its loss limit",
    roles.BACKTEST: "run backtests",
    roles.SWEEP: "what the desk does by itself",
    roles.FORK_LIVE: "fork a session that may trade live",
    roles.ARCHIVE: "archive and restore",
    roles.KEYS: "the key ring",
    roles.TOKENS: "revoke tokens, and see what was issued",
    roles.HALT: "halt a scope",
    roles.RELEASE_HALT: "release a halt",
    roles.EDIT_RULES: "edit the rules of a template",
    roles.LOOSEN_RULES: "take a stop rule of a started session away, or widen it",
    roles.EDIT_TEMPLATE: "edit templates",
    roles.PUBLISH_MARKET: "publish a market for others",
    roles.REMEMBER: "keep memories",
    roles.SPEAK_FOR_AGENTS: "keep memories in an agent's name",
    roles.SPEAK_AS_DESK: "keep memories in the desk's name",
    roles.CREDENTIALS: "set, change and remove what agents log in elsewhere with",
}
_HEAD = f"""# Roles

Generated from `fntx_sessions/security/roles.py` by `{_COMMAND}`;
edit the table, not this page. `fntx roles` prints it.
An action that is not here is nobody's. A token may have several roles, and a scope: sessions, templates or tags; it is
good for sessions that are in any of them. With a scope nothing is done that names no session, but for lists, which then
show what is in scope, and for creating sessions of a template that is in it.
"""


def meaning(action: str) -> str:
    """Return what an action is, in a few words."""
    return _MEANINGS[action]


def render() -> str:
    """Return the page: who the roles are, and the table."""
    who = [f"- **{role}**: {_WHO[role]}" for role in COLUMNS]
    head = f"| action | what | {' | '.join(COLUMNS)} | [two people](operations.md) |"
    lines = [_HEAD, *who, "", head, "|---" * (len(COLUMNS) + 3) + "|", *map(_row, ALLOWED)]
    tail = "\nTwo people: whether `FNTX_FOUR_EYES` may name it, so that somebody else has to agree before it is done."
    return "\n".join([*lines, tail, ""])


def _row(action: str) -> str:
    marks = " | ".join("yes" if role in ALLOWED[action] else "" for role in COLUMNS)
    return f"| `{action}` | {meaning(action)} | {marks} | {'' if action in four_eyes.NEVER else 'may'} |"


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with --check answer 1 when it is not what the table says."""
    return write_or_check(PAGE, render(), "the table of roles", _COMMAND, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
