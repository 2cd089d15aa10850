"""The events that the desk itself tells: what each means, how much it matters, and what it does to a session's money.

One table, from which docs/events.md is made. Agents may tell any other type; what those mean is theirs to say.
"""

from dataclasses import dataclass
from typing import Literal

Action = Literal["no", "yes", "sometimes"]


@dataclass(frozen=True, slots=True)
class EventType:
    """One type. category, severities: those it may have, the usual one first.

    action: whether a person has to do something. impact: what it means for trading and money; empty: nothing.
    """

    name: str
    category: str
    severities: str
    meaning: str
    action: Action = "no"
    impact: str = ""


_GUARDED = "nothing is opened; what is open is guarded, its exits go on"
_REDUCE = "nothing is opened; exits go on"
_LOSS = "nothing starts, resumes or opens on the account on that trade date"
_LATE = "state is safe where it was; what lies between would be lost with Redis and the worker"

_EVERY = (
    EventType("session_created", "lifecycle", "info", "made; nothing trades yet"),
    EventType("session_started", "lifecycle", "info", "trades from now on", impact="it may open positions"),
    EventType("session_paused", "lifecycle", "warning", "a person, a rule or a halt stopped it", impact=_REDUCE),
    EventType("session_resumed", "lifecycle", "info", "trades again", impact="it may open positions"),
    EventType("session_suspended", "lifecycle", "error", "a fault of the system stopped it", "sometimes", _GUARDED),
    EventType("session_recovered", "lifecycle", "warning", "its memory is put back; it waits to be resumed",
              impact=_REDUCE),
    EventType("session_stopped", "lifecycle", "info", "it closes, as its policy says",
              impact="open orders are cancelled, positions flattened or left as the policy says"),
    EventType("session_closed", "lifecycle", "info", "ended, its final checkpoint verified"),
    EventType("session_failed", "lifecycle", "critical", "it met what it cannot handle", "yes", _GUARDED),
    EventType("session_forked", "state", "warning", "another session begins with its memory"),
    EventType("session_restored", "state", "warning", "its archive was put back"),
    EventType("warning", "lifecycle", "warning", "what its settings cannot do, said as it was made or started"),
    EventType("config_changed", "lifecycle", "info warning", "settings or limits were changed, by whom and why",
              impact="the new limits hold from now on"),
    EventType("host_changed", "lifecycle", "warning", "another worker steps it, under a new epoch"),
    EventType("stop_waiting", "lifecycle", "critical", "a stop cannot end without a person", "yes",
              "positions stay open until somebody acts"),
    EventType("positions_elsewhere", "lifecycle", "critical", "a stop waits: agents report open positions elsewhere",
              "yes", "positions are open that the desk cannot close"),
    EventType("positions_left_elsewhere", "lifecycle", "warning", "a person let a stop end with positions elsewhere",
              impact="nobody of the desk looks after those positions"),
    EventType("halt_closes", "state", "warning", "a halt closes its positions from another machine",
              impact="positions are closed at market"),
    EventType("second_person_needed", "state", "warning", "what somebody asked for takes two people, and waits",
              "sometimes", "nothing of it is done before somebody else confirms"),
    EventType("second_person_said", "state", "info warning", "the second person confirmed or declined, or nobody did",
              impact="what was confirmed is done now"),
    EventType("withdrawn", "trading", "warning", "approvals and orders by hand ended with the session's trading",
              impact="what was asked for is not opened"),
    EventType("approval_requested", "trading", "info", "an opening waits for a person",
              impact="nothing is opened until somebody agrees"),
    EventType("approval_approved", "trading", "info", "a person agreed to it", impact="it is opened at the next step"),
    EventType("approval_rejected", "trading", "info", "a person said no"),
    EventType("approval_executed", "trading", "info", "it was carried out"),
    EventType("approval_expired", "trading", "warning", "nobody decided in time", impact="it is not opened"),
    EventType("approval_stale", "trading", "warning", "its price or risk ran away", impact="it is not opened"),
    EventType("approval_refused", "trading", "warning", "its executor or the gate refused it",
              impact="it is not opened"),
    EventType("approval_withdrawn", "trading", "warning", "it ended with trading", impact="it is not opened"),
    EventType("approval_not_asked", "trading", "warning", "an opening could not be put to a person",
              impact="it is not opened"),
    EventType("order_requested", "trading", "info", "a person asked for an order"),
    EventType("order_working", "trading", "info", "an order by hand is at the broker"),
    EventType("order_filled", "trading", "info", "an order by hand filled"),
    EventType("order_cancelled", "trading", "info", "an order by hand is cancelled"),
    EventType("order_done", "trading", "info", "an order by hand is over"),
    EventType("order_expired", "trading", "warning", "an order by hand ran out of time", impact="it was not traded"),
    EventType("order_refused", "trading", "warning", "an order by hand was refused", impact="it was not traded"),
    EventType("entry_skipped", "trading", "info", "a strategy found nothing to open"),
    EventType("entry_refused", "trading risk", "warning", "an opening was refused", impact="it is not opened"),
    EventType("exit_blocked", "trading", "error", "an exit cannot be sent", "yes",
              "a position stays open that should be closed"),
    EventType("market_regime_changed", "market", "info", "volatility is in another regime"),
    EventType("market_data_stale", "market", "error", "quotes are older than they may be", "yes",
              "nothing is opened; stops are judged on old prices"),
    EventType("loss_limit_near", "risk", "warning", "the day's loss nears its limit"),
    EventType("loss_limit_fired", "risk", "critical", "the day's loss reached its limit", "yes", _LOSS),
    EventType("limit_near", "risk", "warning", "a limit of its rules is near"),
    EventType("limit_broken", "risk", "critical", "a limit is broken", "yes", "more is at risk than was agreed"),
    EventType("loss_carried", "state", "warning", "a fork takes over what its parent lost that day",
              impact="it has that much less to lose"),
    EventType("rule_data_missing", "rules", "error", "stop rules cannot be judged for want of data", "yes",
              "these stop rules do not fire until the data is back"),
    EventType("agent_joined", "agents", "info", "an agent of another service joined"),
    EventType("agent_left", "agents", "warning", "an agent of another service left"),
    EventType("agent_shut_out", "agents", "error", "an agent's token was taken back: it has to join with a fresh one",
              "yes", "what it holds elsewhere is looked after by its own service alone"),
    EventType("record_refused", "agents", "warning", "what an agent told was not taken",
              impact="measures lack what it told"),
    EventType("agent_failed", "health", "error", "an agent failed in a step"),
    EventType("agent_quarantined", "health", "critical", "an agent failed too often; its session is suspended", "yes",
              _GUARDED),
    EventType("health_changed", "health", "info warning error", "its health is another now"),
    EventType("recovery_fell_back", "recovery", "warning", "a better copy was damaged; an older one was put back",
              impact="what happened after that copy is known from the ledger alone"),
    EventType("reconciliation_difference", "recovery", "critical", "memory, ledger and broker differ", "yes",
              "it does not trade on before a risk manager answers for the difference"),
    EventType("differences_accepted", "recovery", "warning", "a risk manager answered for the difference",
              impact="the ledger is what the broker holds"),
    EventType("recovery_failed", "recovery", "critical", "nothing could be put back", "yes", _GUARDED),
    EventType("recovery_given_up", "health", "critical", "it is not recovered by itself any more", "yes", _GUARDED),
    EventType("checkpoint_created", "state", "info", "its state is kept and was read back"),
    EventType("checkpoints_pruned", "state", "info", "old checkpoints were deleted"),
    EventType("checkpoint_damaged", "state", "error", "a checkpoint does not read back",
              impact="a recovery takes another one"),
    EventType("pinned", "state", "info", "kept from every retention"),
    EventType("unpinned", "state", "info", "retention may take it again"),
    EventType("invalid_state", "state", "error", "an agent reports what cannot be saved", "yes", _LATE),
    EventType("state_repaired", "state", "warning", "a damaged copy was mended from another"),
    EventType("tier_down", "state", "warning", "a tier is out of reach", impact=_LATE),
    EventType("tier_up", "state", "info", "a tier is back, and has caught up"),
    EventType("saved_to_backup", "state", "warning", "saved into a sealed folder while Postgres was away"),
    EventType("backup_refused", "state", "error", "such a file cannot be brought in", impact=_LATE),
    EventType("archive_failed", "state", "error", "it could not be archived; tried again"),
    EventType("erase_unfinished", "state", "warning", "of a shredded session something is left; tried again"),
    EventType("guard_stands_in", "state", "error", "no agents worker lives; the manager's guard runs its exits",
              impact=_GUARDED),
    EventType("no_host", "state", "critical", "it has positions, and no agents worker lives", "yes",
              "the event says whether its exits run"),
    EventType("beat_late", "state", "critical", "nothing that beat sends has run for too long", "yes",
              "no session is stepped, no exit runs and no rule is judged; what it holds stays open"),
)  # fmt: skip
EVENT_TYPES = {one.name: one for one in _EVERY}


def impact_of(event_type: str) -> str | None:
    """Return what an event of this type means for trading and money; None: nothing, or nobody knows."""
    known = EVENT_TYPES.get(event_type)
    return known.impact or None if known else None


def types_with_impact(words: str) -> list[str]:
    """Return the types whose impact says so, upper and lower case alike."""
    return [one.name for one in _EVERY if words.lower() in one.impact.lower()]
