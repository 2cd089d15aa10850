"""start_session and update_session: beginning to trade, and changing what may be changed."""

from datetime import datetime, timedelta
from typing import Any

from fntx_sessions.automation.rules.compile import as_text, compile_stored
from fntx_sessions.automation.rules.loosening import loosened
from fntx_sessions.exceptions import InvalidArgument, PreconditionFailed
from fntx_sessions.lifecycle import templates
from fntx_sessions.lifecycle.by_itself import own_acts
from fntx_sessions.lifecycle.change import Ask, Change, Row
from fntx_sessions.lifecycle.decisions.limits import CONFIG_CHANGED, changed, edits_event
from fntx_sessions.lifecycle.decisions.moving import S, moved, must_be_legal, not_latched, unattended
from fntx_sessions.lifecycle.halting import not_halted
from fntx_sessions.lifecycle.machine import illegal
from fntx_sessions.schemas import Hold, SessionType, Trigger
from fntx_sessions.security.roles import CLEAR_LATCH, LOOSEN_RULES, RAISE_RISK_LIMIT, authorize
from fntx_sessions.session_config import DEFAULT_FEED
from fntx_sessions.settings import get_settings
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.metrics import INVENTED_NOTICE, PAPER_NOTICE

_CONFIGURATIONS = "agent_configurations"
_FIXED_AFTER_START = ("account", "broker", "agents", "calendar", "feed")


def start(row: Row, ask: Ask) -> list[Change]:
    """Begin trading, or leave the start pending until the required agents are ready."""
    must_be_legal(row, ask)
    not_halted(row, ask)
    not_latched(row, ask)
    _account_free(row, ask)
    # Of a start that waited, they are made: what was changed since, a limit lowered, stays so.
    edits = {} if _has_waited(row, ask) else edited(row, ask)
    missing = row["agents_missing"]
    if missing:
        return _pending_start(row, ask, edits, missing)
    warnings = _start_warnings(row)
    return [
        moved(
            row,
            ask,
            S.ACTIVE,
            new_epoch=True,
            warnings=(*warnings, *unattended(row)),
            fields={"started_at": row["now"], "pending": None, "holds": [], **edits},
            pre={"agents_ready": True, "loss_limit_not_fired": True, "account_free": True, "no_halt_stands": True},
            post={"epoch_raised": True},
            work={"recovery_attempts": 0},
            events=(
                *_edits_told(row, ask, edits),
                *(
                    {"event_type": "warning", "event_category": "lifecycle", "severity": "warning", "description": text}
                    for text in warnings
                ),
            ),
        )
    ]


def _has_waited(row: Row, ask: Ask) -> bool:
    return row["pending"] is not None and row["pending"]["command_id"] == str(ask.command_id)


def _account_free(row: Row, ask: Ask) -> None:
    if row["account_holder"] is not None:
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "account_free",
            f"account {row['account_id']} is held by session {row['account_holder']}",
            "Stop that session first, or use another account.",
        )  # fmt: skip


def _pending_start(row: Row, ask: Ask, edits: dict[str, Any], missing: list[str]) -> list[Change]:
    waiting = row["pending"]
    if waiting is not None and waiting["command_id"] != str(ask.command_id):
        raise PreconditionFailed(
            str(ask.session_id),
            ask.trigger.value,
            "no other start waits",
            f"command {waiting['command_id']} already waits for {', '.join(missing)}",
            "Ask for its outcome instead.",
        )
    wait_s = row["config"]["wait_ready_s"]
    if wait_s == 0 or (waiting is not None and row["now"] >= datetime.fromisoformat(waiting["deadline"])):
        raise PreconditionFailed(
            str(ask.session_id),
            ask.trigger.value,
            "required agents are ready",
            f"agents were not ready after {wait_s:g} s: {', '.join(missing)}",
            "Start those agents, then start the session again.",
        )
    if waiting is not None:
        return []
    deadline = (row["now"] + timedelta(seconds=wait_s)).isoformat()
    pending = {
        "trigger": Trigger.START.value,
        "command_id": str(ask.command_id),
        "reason": ask.reason,
        "deadline": deadline,
    }
    extra = {"waiting_for": missing, "deadline": deadline}
    told = _edits_told(row, ask, edits)
    return [Change(fields={"pending": pending, **edits}, state="pending", events=told, extra=extra)]


def _edits_told(row: Row, ask: Ask, edits: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return (edits_event(row, ask, edits),) if edits else ()


def _start_warnings(row: Row) -> tuple[str, ...]:
    warnings = []
    if row["feed_known"] is False:
        name = row["config"]["feed"].get("name", DEFAULT_FEED)
        warnings.append(f"nothing was ever published to its feed {name!r}: it trades on no market until somebody does")
    if row["config"]["feed"]["kind"] == "published":
        calendar = get_calendar(row["config"]["calendar"])
        if not calendar.options_open(row["now"]):
            warnings.append("started outside option hours: nothing can trade until they open")
    if row["session_type"] in ("regular", "extended_hours"):
        warnings += [PAPER_NOTICE] if row["broker"] == "paper" else []
        warnings += [INVENTED_NOTICE] if row["config"]["feed"]["kind"] == "synthetic" else []
    return tuple(warnings)


def update(row: Row, ask: Ask) -> list[Change]:
    """Change config, risk parameters or strategies.

    Of a session that was started, or whose start waits for its agents, raising a limit needs a risk manager.
    """
    if S(row["status"]) in (S.CLOSING, S.CLOSED):
        raise illegal(row, ask)
    edits = edited(row, ask) | _held(row, ask)
    clears = bool(ask.arguments.get("clear_latch"))
    if clears:
        authorize(ask.actor, CLEAR_LATCH, ask.session_id)
    if not edits and not clears:
        raise InvalidArgument("update", "changes nothing", "Give config, risk_parameters or strategies to change.")
    what = changed(edits, clears=clears)
    told = {"event": CONFIG_CHANGED, "changed": what, "epoch": row["epoch"]}
    return [
        Change(
            fields=edits,
            follow_ups=(("event", told),),
            events=(edits_event(row, ask, edits, clears=clears),),
            extra={"changed": what},
            clear_latch=clears,
        )
    ]


def _held(row: Row, ask: Ask) -> dict[str, Any]:
    hold = ask.arguments.get("add_hold")
    if hold is None:
        return {}
    if S(row["status"]) not in (S.PAUSED, S.SUSPENDED):
        raise InvalidArgument("add_hold", f"the session is {row['status']}, not held", "Pause it instead.")
    holds = sorted({*row["holds"], Hold(hold).value})
    return {"holds": holds} if holds != sorted(row["holds"]) else {}


def edited(row: Row, ask: Ask) -> dict[str, Any]:
    """Return the columns that the ask's edits set, checked whole; empty where nothing differs."""
    edits: dict[str, Any] = {}
    if ask.arguments.get("config") is not None:
        asked = ask.arguments["config"]
        edits["config"] = templates.checked_config(
            row["config"] | asked, SessionType(row["session_type"]), changed=asked
        )
        if _CONFIGURATIONS in asked:
            templates.check_configurations(edits["config"][_CONFIGURATIONS], row["roster"], f"config.{_CONFIGURATIONS}")
        _check_fixed(row, edits["config"])
        _check_loosened(row, ask, edits["config"])
        for action in own_acts(edits["config"], row["config"]):
            authorize(ask.actor, action, ask.session_id)
    if ask.arguments.get("risk_parameters") is not None:
        edits["risk_parameters"] = templates.checked_risk(row["risk_parameters"] | ask.arguments["risk_parameters"])
        _check_raise(row, ask, edits["risk_parameters"])
    names, parameters = ask.arguments.get("enabled_strategies"), ask.arguments.get("strategy_parameters")
    if names is not None or parameters is not None:
        edits["enabled_strategies"], edits["strategy_parameters"] = templates.checked_strategies(
            row["enabled_strategies"] if names is None else names,
            row["strategy_parameters"] | (parameters or {}),
        )
    return {key: value for key, value in edits.items() if value != row[key]}


def _is_to_trade(row: Row) -> bool:
    """Tell whether a session was started, or will be by a start that was asked and waits for its agents."""
    pending = row["pending"] or {}
    return row["started_at"] is not None or pending.get("trigger") == Trigger.START


def _check_fixed(row: Row, config: dict[str, Any]) -> None:
    for key in _FIXED_AFTER_START:
        if config[key] != row["config"][key]:
            raise InvalidArgument(f"config.{key}", "is fixed once a session is made", "Create a new session instead.")


def _check_loosened(row: Row, ask: Ask, config: dict[str, Any]) -> None:
    """Leave it to risk's own roles to take a stop rule away from what may hold positions, or to make it wider."""
    key = "auto_stop_conditions"
    if not _is_to_trade(row) or config[key] == row["config"][key]:
        return
    old, new = (compile_stored(as_text(one)) for one in (row["config"], config))
    if loosened(old.stop, new.stop, get_settings().rule_data_max_age_s):
        authorize(ask.actor, LOOSEN_RULES, ask.session_id)


def _check_raise(row: Row, ask: Ask, risk: dict[str, Any]) -> None:
    if not _is_to_trade(row):
        return
    for key in ("max_daily_risk", "position_limit", "stop_loss_multiplier"):
        if risk[key] > row["risk_parameters"][key]:
            authorize(ask.actor, RAISE_RISK_LIMIT, ask.session_id)
