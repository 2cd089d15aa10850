"""The `fntx` program: its command groups, and the one place where an error becomes a sentence and an exit code."""

import os
import sys
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from fntx_sessions.cli import (
    agents,
    approvals,
    archive,
    audit,
    backtest,
    bulk,
    calendars,
    checkpoints,
    confirmations,
    credentials,
    demo,
    events,
    flower,
    halts,
    health,
    keys,
    market,
    memory,
    orders,
    output,
    past,
    queries,
    recovery,
    roles,
    rules,
    sessions,
    shred,
    signing_keys,
    stack,
    templates,
    token,
    watching,
    whoami,
)
from fntx_sessions.cli.asking import hang_up
from fntx_sessions.cli.exits import Exit, code_of, sentence
from fntx_sessions.exceptions import FntxError
from fntx_sessions.security.origin import beside_the_desk
from fntx_sessions.settings import Settings

HELP = """Trading sessions: start, watch, stop and recover them.

Exit codes: 0 done, 1 unexpected, 2 usage or an invalid argument, 3 refused, 4 not found, 5 unavailable or outcome
unknown, 6 looked at and not healthy, 7 waits for a second person. With several ids, the worst of them.
"""

app = typer.Typer(
    name="fntx",
    help=HELP,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    stack,
    sessions,
    checkpoints,
    recovery,
    queries,
    past,
    events,
    watching,
    flower,
    templates,
    agents,
    approvals,
    confirmations,
    orders,
    rules,
    backtest,
    bulk,
    halts,
    calendars,
    health,
    market,
    demo,
    memory,
    archive,
    keys,
    audit,
    credentials,
    token,
    whoami,
    roles,
    signing_keys,
    shred,
):
    group.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `fntx` and exit with its code; an error is one sentence on stderr, never a traceback."""
    _log_to_stderr()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _log_to_stderr() -> None:
    """Keep stdout to results: what is done in this process logs as everywhere, warnings only unless asked for more."""
    from fntx_sessions.monitoring.logs import configure_logging  # noqa: PLC0415 -- an own process's alone

    try:
        settings = Settings()
    except FntxError:  # whoever needs them says so
        return
    asked = {} if "log_level" in settings.model_fields_set else {"log_level": "WARNING"}
    configure_logging(settings.model_copy(update=asked))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        # What a command returns is its exit code, if it is not nothing.
        with beside_the_desk():
            return app(args=list(arguments) or ["--help"], prog_name="fntx", standalone_mode=False) or Exit.DONE
    except TyperException as error:
        return _usage(error)
    except FntxError as error:
        if "--json" in arguments:
            output.emit(error.to_dict())
        output.complain(sentence(error))
        return code_of(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:  # noqa: BLE001 -- the last place that can turn it into a sentence
        return _unexpected(error)
    finally:
        hang_up()


def _usage(error: TyperException) -> int:
    """Say what is wrong with the command line itself."""
    name = getattr(getattr(error, "ctx", None), "command_path", "fntx")
    told = str(getattr(error, "format_message", error.__str__)()).replace("Value error, ", "")
    output.complain(f"{' '.join(told.split()).rstrip('.')}. See `{name} --help`.")
    return Exit.USAGE


def _reader_left() -> int:
    """Whoever read our output has enough; what is still buffered goes nowhere instead of raising at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.DONE


def _unexpected(error: Exception) -> int:
    if os.environ.get("FNTX_TRACEBACK"):
        raise error
    text = " ".join(str(error).split())[:500]
    output.complain(f"unexpected {type(error).__name__}: {text}. FNTX_TRACEBACK=1 shows where; please report it.")
    return Exit.UNEXPECTED
