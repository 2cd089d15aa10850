"""`fntx create|start|pause|resume|suspend|stop|update`: one lifecycle command each; some of many sessions at once."""

import time
from typing import Annotated, Any
from uuid import UUID

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import Answer, line
from fntx_sessions.cli.bulk import ask_many
from fntx_sessions.cli.choosing import Chosen, choosing
from fntx_sessions.cli.halt_hint import or_halt
from fntx_sessions.cli.ids import AsJson, Ids, over
from fntx_sessions.cli.values import pairs
from fntx_sessions.exceptions import InvalidArgument, OutcomeUnknown
from fntx_sessions.schemas import Hold, SessionStatus, SessionType

Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it is kept with the transition.")]
Version = Annotated[int | None, typer.Option("--expected-version", help="Refuse if the session moved on since.")]
CommandId = Annotated[
    UUID | None, typer.Option("--command-id", help="Ask again for the outcome of this command; asking twice acts once.")
]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Return when it is finished, not only accepted.")]
Config = Annotated[list[str] | None, typer.Option("--config", "--set", help="key=value of the config; dots go deeper.")]
Risk = Annotated[list[str] | None, typer.Option("--risk", help="key=value of the risk parameters.")]
Strategies = Annotated[list[str] | None, typer.Option("--strategy", help="A strategy to enable; may be repeated.")]
Parameters = Annotated[
    list[str] | None, typer.Option("--strategy-set", help="strategy.key=value, such as sell_put.delta=0.1.")
]
HoldOption = Annotated[Hold, typer.Option("--hold", help="Whose hold is set, or lifted.")]
_IDS_ALONE = Chosen()
_POLL_S = 0.2
_DONE = "done"


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    for command in (create, start, pause, resume, suspend, stop, update):
        app.command()(command)


def create(
    session_type: Annotated[SessionType | None, typer.Argument(metavar="[TYPE]", help="The session's type.")] = None,
    template: Annotated[str | None, typer.Option("--template", "-t", help="A template's name instead.")] = None,
    config: Config = None,
    risk: Risk = None,
    strategies: Strategies = None,
    parameters: Parameters = None,
    reason: Reason = "",
    command_id: CommandId = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the id alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create a session from a type or a template."""
    edits = _edits(config, risk, strategies, parameters)
    name, arguments = _creation(session_type, template, edits)
    outcome = line().command(name, arguments | {"reason": reason}, command_id)
    if as_json:
        output.emit(outcome)
    elif quiet:
        typer.echo(outcome["session_id"])
    else:
        _show(outcome)


def _creation(session_type: SessionType | None, template: str | None, edits: Answer) -> tuple[str, Answer]:
    if (session_type is None) == (template is None):
        raise InvalidArgument("create", "takes a TYPE or --template NAME", "Give one of the two; see `fntx templates`.")
    if template is not None:
        return "create_from_template", {"template_name": template, "overrides": edits}
    return "create", {"session_type": str(session_type), **edits}


def start(
    ids: Ids = None,
    config: Config = None,
    risk: Risk = None,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Begin trading. Returns once the required agents are ready, or the session's wait_ready_s is over.

    Interrupted meanwhile, the start goes on waiting for them by itself: `fntx show ID`.
    """
    edits = _edits(config, risk, None, None)
    ask_each("start", ids, common(reason, version) | edits, command_id, as_json, SessionStatus.ACTIVE if wait else None)


@choosing
def pause(
    ids: Ids = None,
    reason: Reason = "",
    hold: HoldOption = Hold.PERSON,
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
    chosen: Chosen = _IDS_ALONE,
) -> None:
    """Halt trading: what is open may only be reduced. Says which orders are still in flight."""
    arguments = common(reason, version) | {"hold": hold.value}
    if chosen.many:
        ask_many("pause", chosen, ids, arguments, command_id, as_json=as_json)
    else:
        ask_each("pause", ids, arguments, command_id, as_json)


@choosing
def resume(
    ids: Ids = None,
    reason: Reason = "",
    hold: HoldOption = Hold.PERSON,
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
    chosen: Chosen = _IDS_ALONE,
) -> None:
    """Trade again."""
    arguments = common(reason, version) | {"hold": hold.value}
    if chosen.many:
        ask_many("resume", chosen, ids, arguments, command_id, as_json=as_json)
    else:
        ask_each("resume", ids, arguments, command_id, as_json)


def suspend(
    ids: Ids = None,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Stop a session for a system fault; what protects it from loss goes on. `recover` brings it back."""
    ask_each("suspend", ids, common(reason, version), command_id, as_json)


@choosing
def stop(
    ids: Ids = None,
    close: Annotated[
        bool | None, typer.Option("--close/--leave", help="Close open positions, or leave them; else as configured.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Who takes over the positions that are left.")] = None,
    deadline_s: Annotated[float | None, typer.Option("--deadline", help="Seconds until a person is called.")] = None,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    wait: Wait = False,
    as_json: AsJson = False,
    chosen: Chosen = _IDS_ALONE,
) -> None:
    """Close a session: cancel, flatten or leave, take the final checkpoint, end."""
    if to is not None and close:
        raise InvalidArgument("--to", "names who takes positions over, but --close leaves none", "Use --leave --to.")
    own = {"close_positions": close, "leave_positions_with": to, "stop_deadline_s": deadline_s}
    given = {key: value for key, value in own.items() if value is not None}
    arguments = common(reason, version) | given
    if chosen.many and wait:
        raise InvalidArgument("--wait", "is for ids alone", "Leave it out; `fntx ls --status closing` shows who is.")
    if chosen.many:
        ask_many("stop", chosen, ids, arguments, command_id, as_json=as_json)
    else:
        ask_each("stop", ids, arguments, command_id, as_json, SessionStatus.CLOSED if wait else None)


def update(
    ids: Ids = None,
    config: Config = None,
    risk: Risk = None,
    strategies: Strategies = None,
    parameters: Parameters = None,
    clear_latch: Annotated[
        bool, typer.Option("--clear-latch", help="Lift the account's fired loss limit; a risk manager's alone.")
    ] = False,
    add_hold: Annotated[
        Hold | None, typer.Option("--add-hold", help="Hold a paused session once more, so that no rule resumes it.")
    ] = None,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Change config, risk parameters or strategies, clear a fired loss limit, or hold what a rule paused."""
    edits = _edits(config, risk, strategies, parameters) | ({"clear_latch": True} if clear_latch else {})
    edits |= {"add_hold": add_hold.value} if add_hold else {}
    if not edits:
        fix = "Give --config, --risk, --strategy, --strategy-set, --clear-latch or --add-hold."
        raise InvalidArgument("update", "changes nothing", fix)
    ask_each("update", ids, common(reason, version) | edits, command_id, as_json)


def _edits(
    config: list[str] | None, risk: list[str] | None, strategies: list[str] | None, parameters: list[str] | None
) -> Answer:
    edits: Answer = {
        "config": pairs(config, "--config"),
        "risk_parameters": pairs(risk, "--risk"),
        "enabled_strategies": strategies or [],
        "strategy_parameters": pairs(parameters, "--strategy-set"),
    }
    return {name: value for name, value in edits.items() if value}


def common(reason: str, version: int | None) -> Answer:
    """Return the arguments that every command takes."""
    return {"reason": reason} | ({} if version is None else {"expected_version": version})


def ask_each(
    name: str,
    ids: list[str] | None,
    arguments: Answer,
    command_id: UUID | None,
    as_json: bool,
    goal: SessionStatus | None = None,
) -> None:
    """Ask for one command on each session and show what came of it; goal: wait until it has come there."""
    if command_id is not None and ids is not None and len(ids) > 1:
        raise InvalidArgument("--command-id", "stands for one command on one session", "Give one id with it.")

    def act(given: str) -> Answer:
        with or_halt(name, f"session:{given}"):
            session_id = line().session_id(given)
            outcome = line().command(name, {"session_id": session_id, **arguments}, command_id)
        return outcome if goal is None else _waited(outcome, goal)

    over(ids, act, _show, as_json=as_json)


def _waited(outcome: Answer, goal: SessionStatus) -> Answer:
    """Return the outcome once its session has come to `goal`; raises OutcomeUnknown when that takes too long."""
    deadline_s = line().settings.stop_deadline_s if goal is SessionStatus.CLOSED else line().settings.command_deadline_s
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        session = line().query("sessions.get", session_id=outcome["session_id"])
        if session["status"] == goal or session.get("requires_action"):
            return outcome | {"status": session["status"], "version": session["version"], "epoch": session["epoch"]}
        time.sleep(_POLL_S)
    raise OutcomeUnknown(outcome["command_id"], f"{outcome['trigger']} (waiting for {goal})", deadline_s)


def _show(outcome: Answer) -> None:
    state = "" if outcome["state"] == _DONE else f" [cyan]({outcome['state']})[/cyan]"
    text = f"{outcome['session_id']}  {output.status(outcome['status'])}{state}"
    output.console().print(f"{text}  [dim]version {outcome['version']} epoch {outcome['epoch']}[/dim]", soft_wrap=True)
    for warning in outcome.get("warnings") or []:
        output.note(f"  warning: {warning}")
    extra: dict[str, Any] = outcome.get("extra") or {}
    if extra.get("waiting_for"):
        output.note(f"  waiting for: {', '.join(extra['waiting_for'])}")
    if extra.get("checkpoint_id") and outcome["trigger"] == "create_checkpoint":
        output.console().print(f"  checkpoint {extra['checkpoint_id']}  [dim]{extra['size_bytes']:,} bytes[/dim]")
    if "pruned" in extra:
        output.console().print(f"  {len(extra['pruned'])} checkpoints gone, {extra['freed_bytes']:,} bytes")
    if extra.get("in_flight"):
        output.note(f"  still in flight: {', '.join(extra['in_flight'])}")
