"""What `fntx rules` prints for people; the same facts as `--json`."""

from typing import Any

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import Answer
from fntx_sessions.cli.output import moment, plain, status

SETS = ("start", "stop", "pause", "resume")
_OPTIONS = ("for_s", "clear_value", "cooldown_s", "max_age_s")
_TRUTH = {"true": "[green]true[/green]", "false": "false", "unknown": "[yellow]unknown[/yellow]"}
_NEEDS = {"all": "all must hold", "any": "any is enough"}
_INDENT = "  "


def _print(text: str) -> None:
    output.console().print(text, soft_wrap=True)


def show_explained(found: Answer) -> None:
    """Print a session's rules as they are now: what is next, each set, the last decisions."""
    held = f", held by {', '.join(found['holds'])}" if found["holds"] else ""
    _print(f"[bold]{found['session_id']}[/bold]  {status(found['status'])}{plain(held) if held else ''}")
    _print(f"  {plain(found['status_why'])} [dim]({plain(found['status_by'])})[/dim]")
    _print(f"  its clock: {found['now']['exchange_time'][:10]} {found['now']['clock']} ({found['calendar']})")
    _print(f"  next: {_next(found['next'])}")
    if found["feed"]["kind"] == "published":
        _print(f"  its market: {_market(found['feed'])}")
    for warning in found["warnings"]:
        _print(f"  [yellow]warning[/yellow]: {plain(warning)}")
    if found["missing"]:
        since = f" since {moment(found['missing_since'])} UTC" if found["missing_since"] else ""
        _print(f"  [yellow]stop rules without data[/yellow]{since}: {', '.join(found['missing'])}")
    for one in found["sets"]:
        _show_set(one)
    _show_decisions(found["decisions"])


def _market(feed: Answer) -> str:
    """Return what is published to a session's feed, how old that is and by whom."""
    market = feed["market"]
    if market is None:
        return f"[red]{plain(feed['problem'])}[/red]"
    derived = " (derived)" if "market_regime" in market["derived"] else ""
    age = f"{market['age_s']:.0f} s old" + ("" if market["fresh"] else ", [yellow]stale[/yellow]")
    by = f" by {plain(market['publisher'])}" if market["publisher"] else ""
    return f"feed {plain(feed['name'])}{by}, {age}, {plain(market['state']['market_regime'])}{derived}"


def _next(found: Answer) -> str:
    if found["action"] is None:
        return plain(found["why"])
    when = f" at {moment(found['at'])} UTC" if found["at"] else ""
    return f"[bold]{found['action']}[/bold]{when}: {plain(found['why'])}"


def _show_set(one: Answer) -> None:
    looked = "" if one["looked_at"] else f" [dim]- not looked at now, only {one['when']}[/dim]"
    _print(f"\n[bold]{one['name']}[/bold] ({_NEEDS[one['needs']]}){looked}")
    if one["conditions"]:
        listed = [row | {"looked_at": one["looked_at"]} for row in _flat(one["conditions"], 0)]
        output.table(listed, TRUTH_COLUMNS, "")
    else:
        _print("  no rules")


def _flat(truths: list[Answer], depth: int) -> list[Answer]:
    """Return conditions with those inside them, each as deep as it stands."""
    return [row for one in truths for row in ({**one, "depth": depth}, *_flat(one["children"], depth + 1))]


def _is(row: Answer) -> str:
    if not row["looked_at"]:
        return f"[dim]({row['is']}, acts on nothing now)[/dim]"
    waits = " [dim](not yet met)[/dim]" if row["is"] == "true" and not row["met"] else ""
    return _TRUTH[row["is"]] + waits


def _value(value: Any) -> str:
    """Return a value as rules write it, numbers with as many digits as they need."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value + 0.0:.6g}"  # no minus before a zero
    return plain(", ".join(map(str, value)) if isinstance(value, list) else value)


def _age(value: Any) -> str:
    return output.NONE if value is None else f"{value:.0f} s"


TRUTH_COLUMNS = {
    "rule": lambda row: (
        _INDENT * row["depth"] + plain(row["path"] if not row["depth"] else row["path"].split(".", 2)[2])
    ),
    "condition": lambda row: plain(row["condition"]),
    "now": lambda row: _value(row["value"]),
    "limit": lambda row: _value(row["limit"]),
    "age": lambda row: _age(row["age_s"]),
    "is": _is,
    "since (UTC)": lambda row: moment(row["since"]),
    "why": lambda row: plain(row["why"]),
}


def _show_decisions(decisions: list[Answer]) -> None:
    if not decisions:
        _print("\nno decisions yet")
        return
    _print("\n[bold]last decisions[/bold]")
    output.table(decisions, DECISION_COLUMNS, "")
    for one in decisions:
        rows = [row for found in one["truths"].values() for row in found]
        inputs = "; ".join(f"{row['path']} {_word(row)}: {row['why']}" for row in rows)
        if inputs:
            _print(f"  [dim]{moment(one['timestamp'])}[/dim] {plain(inputs)}")


def _word(row: Answer) -> str:
    return {True: "true", False: "false", None: "unknown"}[row["holds"]]


DECISION_COLUMNS = {
    "time (UTC)": lambda row: moment(row["timestamp"]),
    "its clock (UTC)": lambda row: moment(row["clock_at"]),
    "status": lambda row: status(row["status"]),
    "action": lambda row: plain(row["action"]),
    "outcome": lambda row: plain(row["outcome"]),
    "why": lambda row: plain(row["why"]),
}


def show_rehearsed(found: Answer) -> None:
    """Print a rehearsal: each firing, a line a day, a line a rule, and what to know of it."""
    hours = "extended hours" if found["extended"] else "regular hours"
    _print(f"over {plain(found['over'])}, {found['calendar']}, {hours}: {len(found['days'])} days")
    fired = [{"day": day["day"], **firing} for day in found["days"] for firing in day["firings"]]
    if fired:
        _print("\n[bold]what would have happened[/bold] (exchange time)")
    output.table(fired, FIRING_COLUMNS, "nothing would have happened")
    for day in found["days"]:
        if day["more_firings"]:
            output.note(f"{day['day']}: {day['more_firings']} more are not listed; these rules flap")
    _print("\n[bold]by day[/bold]")
    output.table(found["days"], DAY_COLUMNS, "no days")
    if found["rules"]:
        _print("\n[bold]by rule[/bold]")
        output.table(found["rules"], RULE_COLUMNS, "")
    else:
        output.note("these rule sets are empty: nothing happens by itself")
    if found.get("recorded"):
        _print("\n[bold]what did happen[/bold]")
        output.table(found["recorded"], RECORDED_COLUMNS, "")
    for note in found["notes"]:
        output.note(f"note: {note}")


def _first(row: Answer, action: str) -> str:
    return next((one["clock"] for one in row["firings"] if one["action"] == action), "")


def _times(row: Answer, action: str) -> str:
    count = row["counts"][action]
    return "" if not count else _first(row, action) if count == 1 else f"{_first(row, action)} +{count - 1}"


def _ended(row: Answer) -> str:
    left = "" if row["status"] in ("initializing", "closed") else " [yellow](not stopped)[/yellow]"
    return status(row["status"]) + left


FIRING_COLUMNS = {
    "day": lambda row: row["day"],
    "time": lambda row: row["clock"],
    "action": lambda row: f"[bold]{row['action']}[/bold]",
    "by": lambda row: plain(", ".join(row["rules"]) or row["by"]),
    "why": lambda row: plain(row["why"]),
}
DAY_COLUMNS = {
    "day": lambda row: row["day"] + (" half" if row["half_day"] else ""),
    "started": lambda row: _times(row, "start"),
    "paused": lambda row: _times(row, "pause"),
    "resumed": lambda row: _times(row, "resume"),
    "stopped": lambda row: _times(row, "stop"),
    "at its end": _ended,
    "why": lambda row: plain(row["idle_why"]) if row["status"] == "initializing" else "",
    "never known": lambda row: ", ".join(row["never_known"]),
}
RULE_COLUMNS = {
    "rule": lambda row: plain(row["path"]),
    "condition": lambda row: plain(row["condition"]),
    "limit": lambda row: _value(row["limit"]),
    "days looked at": lambda row: str(row["days_looked"]),
    "days met": lambda row: str(row["days_met"]),
    "first met": lambda row: f"{row['met'][0]['day']} {row['met'][0]['clock']}" if row["met"] else output.NONE,
    "days unknown": lambda row: str(row["days_never_known"]),
    "why": lambda row: plain(row["met"][0]["why"] if row["met"] else row["unknown_why"]),
}
RECORDED_COLUMNS = {
    "time (UTC)": lambda row: moment(row["at"]),
    "from": lambda row: status(row["from"] or output.NONE),
    "to": lambda row: status(row["to"]),
    "by": lambda row: plain(row["by"]),
    "why": lambda row: plain(row["why"]),
}


def show_changed(found: Answer) -> None:
    """Print what a change of rules came to."""
    if "template_name" in found:
        name = plain(found["template_name"])
        _print(f"template {name} is at version {found['version']} now; sessions there are keep their rules")
        return
    _print(
        f"{found['session_id']}  {status(found['status'])}  version {found['version']}; its next evaluation takes them"
    )
    for warning in found.get("warnings") or []:
        output.note(f"  warning: {warning}")


def show_rules(found: Answer) -> None:
    """Print the rules of a session or a template."""
    name = found.get("session_id") or found.get("template_name")
    _print(f"[bold]{plain(name)}[/bold]  {found['session_type']}, {found['calendar']}, version {found['version']}")
    edit = found["last_edit"]
    if edit:
        _print(f"  last changed {moment(edit['at'])} UTC by {plain(edit['actor'])}: {plain(edit['reason'])}")
    listed = [row for one in SETS for row in _listed(found[one], one, 0)]
    output.table(listed, LIST_COLUMNS, "no rules: nothing happens by itself")


def _listed(conditions: list[Answer], path: str, depth: int) -> list[Answer]:
    found = []
    for number, one in enumerate(conditions):
        own = f"{path}.{number}"
        group = isinstance(one.get("value"), list) and one["condition"] in ("all_of", "any_of", "none_of")
        found.append({**one, "path": own, "depth": depth, "shown": "" if group else one.get("value", True)})
        if group:
            found += _listed(one["value"], f"{own}.{one['condition']}", depth + 1)
    return found


def _options(row: Answer) -> str:
    return ", ".join(f"{name} {_value(row[name])}" for name in _OPTIONS if row.get(name) is not None)


LIST_COLUMNS = {
    "rule": lambda row: plain(row["path"]),
    "condition": lambda row: _INDENT * row["depth"] + plain(row["condition"]),
    "value": lambda row: _value(row["shown"]) if row["shown"] != "" else "",
    "what": _options,
}
