"""Which role may do what: one table, looked up nowhere else."""

from uuid import UUID

from fntx_sessions.exceptions import Forbidden
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor

VIEWER, AGENT, OPERATOR, RISK_MANAGER, ADMIN, SYSTEM = "viewer", "agent", "operator", "risk_manager", "admin", "system"
ROLES = frozenset({VIEWER, AGENT, OPERATOR, RISK_MANAGER, ADMIN, SYSTEM})

VIEW = "view"
REPORT = "report"
RAISE_RISK_LIMIT = "raise_risk_limit"
RECOVER_FROM_ERROR = "recover_from_error"
CLEAR_LATCH = "clear_latch"
BACKTEST = "backtest"
SWEEP = "sweep"
FORK_LIVE = "fork_live"
ARCHIVE = "archive"
KEYS = "keys"
HALT = "halt"
RELEASE_HALT = "release_halt"
EDIT_RULES = "edit_rules"
LOOSEN_RULES = "loosen_rules"
EDIT_TEMPLATE = "edit_template"
OPEN_BY_HAND = "open_by_hand"
PUBLISH_MARKET = "publish_market"
REMEMBER = "remember"
SPEAK_FOR_AGENTS = "speak_for_agents"
SPEAK_AS_DESK = "speak_as_desk"
CREDENTIALS = "credentials"

_DESK = frozenset({OPERATOR, ADMIN})
_SAFETY = _DESK | {RISK_MANAGER}

ALLOWED: dict[str, frozenset[str]] = {
    VIEW: ROLES,
    REPORT: frozenset({AGENT, ADMIN, SYSTEM}),
    Trigger.CREATE: _DESK,
    Trigger.START: _DESK | {SYSTEM},
    # Whoever may end risk may do so from every desk: a pause, a suspension and a stop are never a question of rank.
    Trigger.PAUSE: _SAFETY | {SYSTEM},
    Trigger.SUSPEND: _SAFETY | {SYSTEM},
    Trigger.STOP: _SAFETY | {SYSTEM},
    Trigger.RESUME: _DESK | {SYSTEM},
    Trigger.RECOVER: _DESK | {SYSTEM},
    Trigger.FINALIZE: frozenset({ADMIN, SYSTEM}),
    Trigger.FAIL: frozenset({ADMIN, SYSTEM}),
    Trigger.UPDATE: _SAFETY,
    Trigger.CHECKPOINT: _SAFETY | {SYSTEM},
    Trigger.PIN: _SAFETY,
    Trigger.PRUNE: frozenset({ADMIN, SYSTEM}),
    Trigger.ACCEPT: frozenset({RISK_MANAGER, ADMIN}),
    Trigger.SHRED: frozenset({ADMIN}),
    # Letting an order of an agent's through, or not; and orders of a person's own, of which openings are the desk's.
    Trigger.DECIDE: _SAFETY,
    Trigger.ORDER: _SAFETY,
    Trigger.ACKNOWLEDGE: _SAFETY,
    # What executors ask for, and what they answer to people.
    Trigger.ASK: frozenset({AGENT, ADMIN, SYSTEM}),
    Trigger.ANSWER: frozenset({AGENT, ADMIN, SYSTEM}),
    OPEN_BY_HAND: _DESK,
    # Only people, and the two that only risk may do.
    RECOVER_FROM_ERROR: _SAFETY,
    RAISE_RISK_LIMIT: frozenset({RISK_MANAGER, ADMIN}),
    CLEAR_LATCH: frozenset({RISK_MANAGER, ADMIN}),
    BACKTEST: _DESK,
    SWEEP: frozenset({ADMIN, SYSTEM}),
    # A fork that may trade live money; a fork for Paper is a creation like any other.
    FORK_LIVE: frozenset({RISK_MANAGER, ADMIN}),
    ARCHIVE: frozenset({ADMIN}),
    KEYS: frozenset({ADMIN}),
    HALT: _SAFETY,
    RELEASE_HALT: frozenset({RISK_MANAGER, ADMIN}),
    # Rules of a template; of a started session, taking a stop rule away or making it wider.
    EDIT_RULES: _SAFETY,
    LOOSEN_RULES: frozenset({RISK_MANAGER, ADMIN}),
    EDIT_TEMPLATE: _SAFETY,
    PUBLISH_MARKET: _DESK | {AGENT, SYSTEM},
    REMEMBER: _DESK | {AGENT, SYSTEM},
    # Whose name is not their own: people's for any agent; the desk's is its own, and this machine's administrator's.
    SPEAK_FOR_AGENTS: _DESK | {SYSTEM},
    SPEAK_AS_DESK: frozenset({ADMIN, SYSTEM}),
    # What agents trade with: whoever puts another in its place moves the orders to another account.
    CREDENTIALS: frozenset({RISK_MANAGER, ADMIN}),
}


def authorize(actor: Actor, action: str, session_id: UUID | str | None = None) -> None:
    """Return when `actor` may do `action` on `session_id`; raises Forbidden otherwise.

    An action that the table does not name is allowed to nobody. A token scoped to sessions may do nothing where no
    session is named.
    """
    needed = ALLOWED.get(action, frozenset())
    if not may(actor, action):
        raise Forbidden(actor.name, actor.role_list(), str(action), " or ".join(sorted(needed)) or "nothing we give")
    if actor.sessions and str(session_id) not in actor.sessions:
        asked = f"{action} session {session_id}" if session_id else f"{action} without naming a session"
        raise Forbidden(actor.name, actor.role_list(), asked, "a token whose scope holds that session")


def may(actor: Actor, action: str) -> bool:
    """Tell whether one of an actor's roles may do `action` at all."""
    return not actor.roles.isdisjoint(ALLOWED.get(action, frozenset()))
