"""Which role may do what: one table, looked up nowhere else."""

from dataclasses import replace
from uuid import UUID

from fntx_sessions.exceptions import Forbidden, NeedsSecond
from fntx_sessions.schemas import Trigger
from fntx_sessions.security import four_eyes
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import Settings, get_settings

VIEWER, AGENT, OPERATOR, RISK_MANAGER, ADMIN, SYSTEM = "viewer", "agent", "operator", "risk_manager", "admin", "system"
SERVICE = "service"  # another service of FNTX, which runs sessions and answers for nothing a person must answer for
ROLES = frozenset({VIEWER, AGENT, SERVICE, OPERATOR, RISK_MANAGER, ADMIN, SYSTEM})

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
TOKENS = "tokens"
CREDENTIALS = "credentials"

_DESK = frozenset({OPERATOR, ADMIN})
_SAFETY = _DESK | {RISK_MANAGER}
_RUNNERS = _DESK | {SERVICE}

ALLOWED: dict[str, frozenset[str]] = {
    VIEW: ROLES,
    REPORT: frozenset({AGENT, ADMIN, SYSTEM}),
    Trigger.CREATE: _RUNNERS,
    Trigger.START: _RUNNERS | {SYSTEM},
    # Whoever may end risk may do so from every desk: a pause, a suspension and a stop are never a question of rank.
    Trigger.PAUSE: _SAFETY | {SERVICE, SYSTEM},
    Trigger.SUSPEND: _SAFETY | {SERVICE, SYSTEM},
    Trigger.STOP: _SAFETY | {SERVICE, SYSTEM},
    Trigger.RESUME: _RUNNERS | {SYSTEM},
    Trigger.RECOVER: _SAFETY | {SYSTEM},
    Trigger.FINALIZE: frozenset({ADMIN, SYSTEM}),
    Trigger.FAIL: frozenset({ADMIN, SYSTEM}),
    Trigger.UPDATE: _SAFETY,
    Trigger.CHECKPOINT: _SAFETY | {SERVICE, SYSTEM},
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
    # Only people, and of them those who answer for risk.
    RECOVER_FROM_ERROR: frozenset({RISK_MANAGER, ADMIN}),
    RAISE_RISK_LIMIT: frozenset({RISK_MANAGER, ADMIN}),
    CLEAR_LATCH: frozenset({RISK_MANAGER, ADMIN}),
    BACKTEST: _RUNNERS,
    SWEEP: frozenset({ADMIN, SYSTEM}),
    # A fork that may trade live money; a fork for Paper is a creation like any other.
    FORK_LIVE: frozenset({RISK_MANAGER, ADMIN}),
    ARCHIVE: frozenset({ADMIN}),
    KEYS: frozenset({ADMIN}),
    # Who is refused from now on, and who was given what.
    TOKENS: frozenset({ADMIN}),
    HALT: _SAFETY,
    RELEASE_HALT: frozenset({RISK_MANAGER, ADMIN}),
    # Rules of a template; of a started session, taking a stop rule away or making it wider.
    EDIT_RULES: _SAFETY,
    LOOSEN_RULES: frozenset({RISK_MANAGER, ADMIN}),
    EDIT_TEMPLATE: _SAFETY,
    PUBLISH_MARKET: _RUNNERS | {AGENT, SYSTEM},
    REMEMBER: _RUNNERS | {AGENT, SYSTEM},
    # Whose name is not their own: people's for any agent; the desk's is its own, and this machine's administrator's.
    SPEAK_FOR_AGENTS: _DESK | {SYSTEM},
    SPEAK_AS_DESK: frozenset({ADMIN, SYSTEM}),
    # What agents trade with: whoever puts another in its place moves the orders to another account.
    CREDENTIALS: frozenset({RISK_MANAGER, ADMIN}),
}


def authorize(actor: Actor, action: str, session_id: UUID | str | None = None) -> None:
    """Return when `actor` may do `action` on `session_id` now; raises Forbidden otherwise.

    Raises NeedsSecond where they may, but it takes two people and nobody has confirmed. What the system does by itself
    waits for nobody.
    """
    permit(actor, action, session_id)
    must_be_two(actor, action)


def must_be_two(actor: Actor, action: str) -> None:
    """Raise NeedsSecond where `action` takes two people and nobody has confirmed; Forbidden where who has may not.

    Whether the first may do it is not looked at: for what comes to `action`, and is theirs to do by another one.
    """
    if not takes_two(action) or SYSTEM in actor.roles or actor.simulated:
        return
    needed = " or ".join(sorted(seconds(action)))
    if not actor.confirmed_by:
        raise NeedsSecond(str(action), actor.name, needed, None, None)
    if actor.confirmed_roles.isdisjoint(seconds(action)):
        confirmers = ",".join(sorted(actor.confirmed_roles))
        raise Forbidden(actor.confirmed_by, confirmers, f"confirm {action}", needed)


def seconds(action: str) -> frozenset[str]:
    """Return the roles of which a second person has one: those that may do it themselves, and are people's."""
    return ALLOWED.get(action, frozenset()) - {SYSTEM, SERVICE, AGENT}


def if_confirmed(actor: Actor) -> Actor:
    """Return a caller as they would be if somebody who may do everything had agreed: to look ahead with, not to act."""
    return replace(actor, confirmed_by="somebody", confirmed_roles=ROLES)


def takes_two(action: str) -> bool:
    """Tell whether `four_eyes` names this action; raises InvalidArgument where it names what it may not."""
    settings = get_settings()
    return bool(settings.four_eyes) and action in of_two(settings)


def of_two(settings: Settings) -> frozenset[str]:
    """Return the actions that take two people; raises InvalidArgument where `four_eyes` names what it may not."""
    return four_eyes.checked(settings.four_eyes, frozenset(map(str, ALLOWED)))


def permit(actor: Actor, action: str, session_id: UUID | str | None = None) -> None:
    """Return when `actor` may do `action` on `session_id`, alone or as one of two; raises Forbidden otherwise.

    An action that the table does not name is allowed to nobody. A token with a scope may do nothing where no session is
    named; one scoped by template or tag, nothing on a session that was not looked up first: `scope.admitted`.
    """
    needed = ALLOWED.get(action, frozenset())
    if not may(actor, action):
        raise Forbidden(actor.name, actor.role_list(), str(action), " or ".join(sorted(needed)) or "nothing we give")
    if not actor.reaches(session_id):
        asked = f"{action} session {session_id}" if session_id else f"{action} without naming a session"
        raise outside(actor, asked)


def outside(actor: Actor, asked: str) -> Forbidden:
    """Return the refusal of what is about a session that a token's scope does not hold."""
    return Forbidden(actor.name, actor.role_list(), asked, "a token whose scope holds that session")


def authorize_template(actor: Actor, action: str, template_name: str) -> None:
    """Return when `actor` may do `action`, which is about a template's sessions; raises as `authorize`.

    A token scoped to templates is good for those; one scoped otherwise for none.
    """
    if may(actor, action) and actor.scoped and template_name not in actor.templates:
        asked = f"{action} of template {template_name}"
        raise Forbidden(actor.name, actor.role_list(), asked, "a token whose scope holds that template")
    authorize(actor.everywhere(), action)


def may(actor: Actor, action: str) -> bool:
    """Tell whether one of an actor's roles may do `action` at all."""
    return not actor.roles.isdisjoint(ALLOWED.get(action, frozenset()))
