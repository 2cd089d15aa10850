"""The supervisor's configuration: which processes, in which order, stopped how."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fntx_sessions.exceptions import StackError
from fntx_sessions.stack.folder import Folder

STORES, WORK, CLOCK = "stores", "work", "clock"
# Groups stop one after the other, highest priority first: the clock, then who works, then what they save to.
PRIORITIES = {STORES: 10, WORK: 500, CLOCK: 900}
# A worker's soft shutdown takes 10 s, its last saves a few more; a crash-safe Postgres stop writes a checkpoint.
STOP_WAIT_S = 60
# Supervisord waits one second longer before every try: this many of them take half an hour, then `fntx doctor` says so.
START_TRIES = 60
# The queue of sweeps that change tables.
_HOUSEKEEPING = "maintenance"
# Celery and its tasks import for seconds, longer on a busy machine.
# Who dies earlier than this has failed to start, and is tried again ever more slowly.
CELERY_START_S = 20


@dataclass(frozen=True)
class Program:
    """One supervised process: its command, its group and how it is asked to stop."""

    name: str
    command: str
    group: str
    directory: Path
    user: str | None = None
    stop_signal: str = "TERM"
    start_s: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)

    def section(self, folder: Folder) -> str:
        """Return its section of the configuration."""
        settings = {
            "command": self.command,
            "directory": str(self.directory),
            "user": self.user,
            "environment": ",".join(f'{name}="{_quotable(value)}"' for name, value in self.environment.items()) or None,
            # Workers start once the database is migrated: `fntx up` asks for that.
            "autostart": str(self.group == STORES).lower(),
            "autorestart": "true",
            "startsecs": self.start_s,
            "startretries": START_TRIES,
            "stopsignal": self.stop_signal,
            "stopwaitsecs": STOP_WAIT_S,
            "killasgroup": "true",
            "stdout_logfile": str(folder.logs / f"{self.name}.log"),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": 3,
            "redirect_stderr": "true",
        }
        return _section(f"program:{self.name}", settings)


def stores_programs(commands: dict[str, list[str]], postgres_user: str | None) -> list[Program]:
    """Return the programs of the stores that are ours; `commands` holds them by name."""
    return [
        Program(
            name=name,
            command=shlex.join(command),
            group=STORES,
            directory=Path("/"),
            user=postgres_user if name == "postgres" else None,
            # INT is Postgres' fast shutdown; TERM would wait for its clients.
            stop_signal="INT" if name == "postgres" else "TERM",
        )
        for name, command in commands.items()
    ]


def service_programs(types: dict[str, str], directory: Path, owners: Mapping[str, str]) -> list[Program]:
    """Return the programs of a Procfile's process types; `owners` is told to those alone that keep house."""
    return [
        Program(
            name=name,
            command=command,
            group=CLOCK if name == "beat" else WORK,
            directory=directory,
            start_s=CELERY_START_S if "celery" in command.split() else 1,
            environment=owners if _HOUSEKEEPING in command else {},
        )
        for name, command in types.items()
    ]


def configuration(folder: Folder, programs: list[Program], *, root: bool) -> str:
    """Return supervisord.conf. Raises StackError when a path in it cannot be written in that format."""
    main = {
        "nodaemon": "true",
        "silent": "true",
        "user": "root" if root else None,
        "logfile": str(folder.logs / "supervisord.log"),
        "logfile_maxbytes": "10MB",
        "logfile_backups": 3,
        "pidfile": str(folder.run / "supervisord.pid"),
        "childlogdir": str(folder.logs),
        "identifier": "fntx",
    }
    factory = {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"}
    sections = [
        _section("supervisord", main),
        _section("unix_http_server", {"file": str(folder.supervisor_socket), "chmod": "0700"}),
        _section("rpcinterface:supervisor", factory),
        *(_group(name, programs) for name in PRIORITIES if any(p.group == name for p in programs)),
        *(program.section(folder) for program in programs),
    ]
    return "\n".join(sections)


def _group(name: str, programs: list[Program]) -> str:
    members = ",".join(program.name for program in programs if program.group == name)
    return _section(f"group:{name}", {"programs": members, "priority": PRIORITIES[name]})


def _section(name: str, settings: Mapping[str, object]) -> str:
    lines = [f"{key}={_value(str(value))}" for key, value in settings.items() if value is not None]
    return "\n".join([f"[{name}]", *lines, ""])


def _quotable(text: str) -> str:
    if '"' in text:
        raise StackError("the supervisor cannot be told an address with a quotation mark in it", "Encode it as %22.")
    return text


def _value(text: str) -> str:
    if any(mark in text for mark in ("\n", " ;", " #", "\t;", "\t#")):
        raise StackError(
            f"the supervisor cannot be told {text!r}: line ends and comment marks have a meaning to it",
            "Use paths and commands without them.",
        )
    return text.replace("%", "%%")
