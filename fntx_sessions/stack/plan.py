"""What a stack consists of: which stores are its own, at which addresses, and what its children are told."""

import importlib.util
import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from fntx_sessions.settings import Settings
from fntx_sessions.stack.addresses import COLD, DATABASE, EMULATOR, FLOWER, MAINTENANCE, REDIS, Addresses, masked
from fntx_sessions.stack.control import Process
from fntx_sessions.stack.folder import Folder
from fntx_sessions.stack.orphans import MARK
from fntx_sessions.stack.postgres import DESK, Postgres
from fntx_sessions.stack.procfile import read_procfile
from fntx_sessions.stack.readiness import answering, celery_nodes, listens
from fntx_sessions.stack.supervision import Program, service_programs, stores_programs
from fntx_sessions.stack.valkey import HOST, Valkey, free_port
from fntx_sessions.state.objects.cold import cold_address
from fntx_sessions.tls import secured

# Its process type in a Procfile.
FLOWER_NAME = "flower"


class Plan:
    """One folder's servers and processes, as its environment and its Procfile say; starts nothing."""

    def __init__(self, home: Path | None, env: Mapping[str, str | None], procfile: Path) -> None:
        self._environ = _laid_over(env)
        self._procfile = procfile
        chosen = home or Path(self._environ.get("FNTX_HOME") or Settings().home)
        self.folder = Folder(chosen.expanduser().resolve())

    @cached_property
    def types(self) -> dict[str, str]:
        """The Procfile's process types; raises StackError when it cannot be read."""
        return read_procfile(self._procfile)

    @cached_property
    def postgres(self) -> Postgres | None:
        """Our Postgres, None where FNTX_DATABASE_URL names another."""
        return None if self._environ.get(DATABASE) else Postgres(self.folder)

    @cached_property
    def valkey(self) -> Valkey | None:
        """Our Valkey, None where FNTX_REDIS_URL names another."""
        return None if self._environ.get(REDIS) else Valkey.of(self.folder)

    def stores(self) -> dict[str, Postgres | Valkey]:
        """Return the stores that are ours, by name."""
        found = {"postgres": self.postgres, "valkey": self.valkey}
        return {name: store for name, store in found.items() if store}

    def prepare(self) -> list[Program]:
        """Make clusters and configurations, choose free ports, and return the programs to supervise."""
        if self.postgres:
            self.postgres.prepare()
        if self.valkey:
            self.valkey = self.valkey.prepare()
        self.folder.write_state(environment=self._choose_addresses())
        identity = self.postgres.identity if self.postgres else None
        commands = {name: store.command() for name, store in self.stores().items()}
        return [
            *stores_programs(commands, identity.name if identity else None),
            *service_programs(self.types, _service_directory(), self.owners()),
        ]

    def given(self) -> dict[str, str]:
        """Return the FNTX_* variables this plan was made with."""
        return {name: value for name, value in self._environ.items() if name.startswith("FNTX_")}

    def environment(self) -> dict[str, str]:
        """Return what a client of the stack needs in its environment; holds secrets."""
        chosen: dict[str, str] = self.folder.read_state().get("environment", {})
        return {**self.given(), **chosen, "FNTX_HOME": str(self.folder.home)}

    def owners(self) -> dict[str, str]:
        """Return what only the process that makes and drops partitions is told: how to act as the tables' owner."""
        url = self.environment().get(MAINTENANCE)
        return {MAINTENANCE: url} if url else {}

    def children_environment(self) -> dict[str, str]:
        """Return the environment of the supervisor and its children; what one child alone is told is not in it."""
        programs = str(Path(sys.executable).parent)
        told = {**self._environ, **self.environment()}
        told.pop(MAINTENANCE, None)
        return {
            **told,
            MARK: str(self.folder.home),
            "PATH": os.pathsep.join([programs, self._environ.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
            # Celery's soft shutdown: work that does not end in time goes back to its queue.
            "REMAP_SIGTERM": "SIGQUIT",
        }

    def ready(self, names: set[str], processes: Mapping[str, Process]) -> set[str]:
        """Return those of `names` that take work: workers and beat answer a ping, Flower listens, others run."""
        nodes = {name: node for name, node in celery_nodes(self.types).items() if name in names}
        found = {name for name in names if name in processes and processes[name].state == "RUNNING"}
        found -= {*nodes, FLOWER_NAME}
        if FLOWER_NAME in names & set(processes) and self.flower_listens(processes[FLOWER_NAME]):
            found.add(FLOWER_NAME)
        return found | answering(self.environment()[REDIS], nodes)

    def flower_listens(self, process: Process) -> bool:
        """Tell whether our Flower, and nobody else, listens where the stack says that it does."""
        port = self.environment().get(FLOWER)
        return bool(port and process.pid and listens(process.pid, int(port)))

    def addresses(self, *, started: bool) -> Addresses:
        """Return where the stack is reached, passwords masked."""
        environment = self.environment()
        return Addresses(
            home=str(self.folder.home),
            database=masked(environment[DATABASE]),
            redis=masked(environment[REDIS]),
            flower=f"http://{HOST}:{environment[FLOWER]}/" if FLOWER in environment else None,
            logs=str(self.folder.logs),
            started=started,
        )

    def _choose_addresses(self) -> dict[str, str]:
        """Return the addresses of what is ours; those given from outside may hold passwords and stay out of files.

        The cold store's holds none, and whoever works beside the stack must not take another for it.
        """
        chosen = {COLD: cold_address(self._environ.get(COLD), self.folder.home)}
        if self._environ.get(EMULATOR):
            chosen[EMULATOR] = self._environ[EMULATOR]
        if self.postgres:
            chosen[DATABASE] = self.postgres.url(user=DESK)
            chosen[MAINTENANCE] = self.postgres.url()
        if self.valkey:
            chosen[REDIS] = self.valkey.desk_url()
        if FLOWER_NAME in self.types:
            last = self.folder.read_state().get("environment", {}).get(FLOWER)
            wanted = self._environ.get(FLOWER) or last or Settings().flower_port
            chosen[FLOWER] = str(free_port(int(wanted)))
        return chosen


def _laid_over(changes: Mapping[str, str | None]) -> dict[str, str]:
    merged = {**os.environ, **changes}
    merged.pop(MARK, None)
    return secured({name: value for name, value in merged.items() if value is not None})


def _service_directory() -> Path:
    """Return where `tasks` and flowerconfig.py are: the repository, or site-packages."""
    spec = importlib.util.find_spec("flowerconfig")
    return Path(spec.origin).parent if spec and spec.origin else Path(__file__).parents[2]
