"""One embedded stack: its stores, its supervisor and its processes, brought up and down as one."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import xmlrpc.client
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from fntx_sessions.exceptions import FntxError, StackError
from fntx_sessions.settings import Settings
from fntx_sessions.stack.addresses import DATABASE, MAINTENANCE, REDIS, Addresses
from fntx_sessions.stack.control import GIVEN_UP, Process, Supervisor
from fntx_sessions.stack.folder import explained, last_line, private, write_private
from fntx_sessions.stack.orphans import find_orphans, stop_orphans
from fntx_sessions.stack.plan import Plan
from fntx_sessions.stack.procfile import SHIPPED
from fntx_sessions.stack.supervision import CLOCK, STOP_WAIT_S, STORES, configuration
from fntx_sessions.stack.waiting import until

SUPERVISOR_ANSWERS_S = 20.0
# Five processes that import for seconds each, on two cores that may be busy.
PROCESSES_START_S = 120.0
# Three groups, each of which may take STOP_WAIT_S before it is killed.
DOWN_S = 3.0 * STOP_WAIT_S + 30.0

Say = Callable[[str], None]


class Stack:
    """The stack of one data folder.

    `env` is laid over this process's environment for everything started, so that a drill can shorten leases; a
    value of None hides a variable, such as FNTX_DATABASE_URL. As a context manager it is up inside the block.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        env: Mapping[str, str | None] | None = None,
        procfile: Path = SHIPPED,
        say: Say = lambda _line: None,
    ) -> None:
        self._plan = Plan(home, env or {}, procfile)
        self.folder = self._plan.folder
        self.supervisor = Supervisor(self.folder)
        self._say = say
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> Addresses:
        """Bring everything up, or the processes that are missing of it, and return where it is.

        Raises StackError when the folder, the stores or the processes cannot be had; a stack that this call had started
        is stopped again then, one that ran before is left as it is.
        """
        _ = self._plan.types  # a bad Procfile is refused before anything is started
        self.folder.prepare()
        with self.folder.lock():
            if self.supervisor.answers():
                self._refuse_without_stores()
                self._finish()
                return self.addresses(started=False)
            self._clear_remains()
            self._check_given()
            try:
                self._launch()
                self._finish()
            except BaseException:
                self._end()
                raise
            return self.addresses(started=True)

    @property
    def launched(self) -> bool:
        """Whether the stack that runs is one that this object started, and so may stop."""
        return self._child is not None

    def prepare_given(self) -> None:
        """Migrate the database FNTX_DATABASE_URL names and make the keys the folder lacks; starts nothing."""
        if self._plan.postgres:
            raise StackError("FNTX_DATABASE_URL is not set", "Set it, or run `fntx up`, which migrates its own.")
        self.folder.prepare()
        self._check_given()
        self._migrate(self.given())
        self._ensure_keys(self.given())

    def down(self) -> bool:
        """Stop the clock, then the work, then the stores; return whether there was anything to stop."""
        if not self.folder.home.is_dir():
            return False
        with self.folder.lock():
            return self._end()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the supervisor is gone, at most `seconds`; return whether it is."""
        with contextlib.suppress(TimeoutError):
            until(lambda: not self._supervisor_lives(), seconds or float("inf"), TimeoutError)
            return True
        return False

    def left_behind(self) -> bool:
        """Tell whether processes run without their supervisor, as after its kill."""
        return not self._supervisor_lives() and bool(find_orphans(self.folder.home))

    def addresses(self, *, started: bool = False) -> Addresses:
        """Return where the stack is reached, passwords masked; `started` says whether this call started it."""
        return self._plan.addresses(started=started)

    def environment(self) -> dict[str, str]:
        """Return what a client of this stack needs in its environment; holds secrets."""
        return self._plan.environment()

    def given(self) -> dict[str, str]:
        """Return the FNTX_* part of the environment this stack was made in; no address of its own is in it."""
        return self._plan.given()

    def processes(self) -> dict[str, Process]:
        """Return name -> process (state, pid); empty when nothing runs."""
        return self.supervisor.processes()

    def flower_listens(self, process: Process) -> bool:
        """Tell whether our Flower, the process given, listens at the address that `addresses` names."""
        return self._plan.flower_listens(process)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Signal a process and its children, as a crash would; return its pid. Raises StackError when not running."""
        process = self.processes().get(name)
        if process is None or process.pid is None:
            raise StackError(f"{name} is not running in {self.folder.home}", "See `fntx status`.")
        os.killpg(process.pid, number)  # supervisord makes every child the leader of its own group
        return process.pid

    def _check_given(self) -> None:
        """Ask the servers that somebody else runs; raises StackError naming the variable of one that is silent."""
        from fntx_sessions.stack.redis_status import read_redis  # noqa: PLC0415 -- Celery's queues
        from fntx_sessions.stack.status import read_database  # noqa: PLC0415 -- Alembic; imports this

        Settings()  # a variable that is wrong is named here, not in the log of a child
        # Of two addresses of one database the owner's is asked: the other's login may be made only now.
        database = MAINTENANCE if self.given().get(MAINTENANCE) else DATABASE
        for variable, read in ((database, read_database), (REDIS, read_redis)):
            url = self.given().get(variable)
            problem = read(url).error if url else None
            if problem:
                raise StackError(f"the server that {variable} names is out of reach: {problem}", "Start or correct it.")

    # --- up ----------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        """Write the configuration and start the supervisor, which starts the stores."""
        self._say("preparing " + (" and ".join(self._plan.stores()) or "the processes"))
        text = configuration(self.folder, self._plan.prepare(), root=os.geteuid() == 0)
        with explained(self.folder.home):
            write_private(self._configuration, text)
            self._spawn_supervisor()

    def _clear_remains(self) -> None:
        """Remove sockets and stop processes that a killed stack left."""
        self._refuse_half_dead()
        self.supervisor.forget()
        stopped = stop_orphans(self.folder.home)
        if stopped:
            self._say(f"stopped {len(stopped)} processes that an earlier, killed stack left")

    def _refuse_without_stores(self) -> None:
        """Raise StackError where the stack runs and the supervisor has given up one of its stores."""
        for process in self.processes().values():
            if process.group == STORES and process.state in GIVEN_UP:
                log = self.folder.logs / f"{process.name}.log"
                raise StackError(
                    f"the stack in {self.folder.home} runs already; {process} ({process.detail})",
                    f"Read {log}. Then `fntx down` and `fntx up` start all of it anew; nothing that is kept is lost.",
                )

    def _refuse_half_dead(self) -> None:
        def error() -> StackError:
            pid = found.pid if found else None
            return StackError(
                f"{self.folder.home} is held by supervisor {pid}, which does not answer",
                f"Wait if it is shutting down; otherwise run `fntx down`, or `kill -9 {pid}` and `fntx up`.",
            )

        found = self.supervisor.process()
        until(lambda: not self._supervisor_lives(), SUPERVISOR_ANSWERS_S, error)

    @property
    def _configuration(self) -> Path:
        return self.folder.home / "supervisord.conf"

    def _spawn_supervisor(self) -> None:
        with open(self.folder.logs / "supervisord.err", "ab", opener=private) as output:
            self._child = subprocess.Popen(  # noqa: S603 -- this Python, a module of ours
                [sys.executable, "-m", "fntx_sessions.stack.supervise", "-c", str(self._configuration)],
                cwd="/",
                env=self._plan.children_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for `fntx up`, which then stops things in order
            )
        self.supervisor.remember(self._child.pid)

    def _finish(self) -> None:
        """Wait for the stores, migrate, make keys, start what does not run yet."""
        until(self.supervisor.answers, SUPERVISOR_ANSWERS_S, self._silent_supervisor)
        self._wait_stores()
        waiting = [
            p for p in self.processes().values() if p.group != STORES and p.state in {"STOPPED", "FATAL", "EXITED"}
        ]
        if waiting:
            self._migrate(self.environment())
        self._ensure_keys(self.environment())
        for process in sorted(waiting, key=lambda process: process.group == CLOCK):
            self._say(f"starting {process.name}")
            self.supervisor.start(process)
        pending = {process.name for process in waiting}
        until(lambda: self._all_take_work(pending), PROCESSES_START_S, lambda: self._stuck(pending))

    def _silent_supervisor(self) -> StackError:
        return StackError("the supervisor did not start", f"Read {self.folder.logs / 'supervisord.err'}.")

    def _wait_stores(self) -> None:
        for name, store in self._plan.stores().items():
            self._say(f"waiting for {name}")
            store.wait_ready(self.folder.logs / f"{name}.log", partial(self._may_come, name))
        if self._plan.postgres:
            self._plan.postgres.ensure_database()

    def _may_come(self, name: str) -> bool:
        process = self.processes().get(name)
        return process is not None and process.state != "FATAL"

    def _migrate(self, addresses: Mapping[str, str]) -> None:
        """Migrate as the owner, and make the login that the processes use where that is another."""
        from fntx_sessions.database.engine import migrate  # noqa: PLC0415 -- Alembic is slow to import
        from fntx_sessions.database.logins import ensure_login, owning  # noqa: PLC0415 -- as above
        from fntx_sessions.database.partitions import make_ahead_at  # noqa: PLC0415 -- as above

        self._say("migrating the database")
        house = addresses[DATABASE]
        owner = addresses.get(MAINTENANCE) or house
        with owning():
            migrate(owner)
        ensure_login(owner, house)
        make_ahead_at(owner, Settings())

    def _ensure_keys(self, addresses: Mapping[str, str]) -> None:
        """Make the keys the folder lacks, and have the administrator's token in the audit; raises StackError.

        A key ring that is gone is not made anew where anything was sealed with it.
        """
        from fntx_sessions.database.engine import build_engine  # noqa: PLC0415 -- as above
        from fntx_sessions.lifecycle.granting import note_local  # noqa: PLC0415
        from fntx_sessions.security.keyring import has_ring  # noqa: PLC0415
        from fntx_sessions.security.local import ensure_local_keys  # noqa: PLC0415
        from fntx_sessions.state.key_rotation import refuse_another_ring  # noqa: PLC0415

        settings = Settings(home=self.folder.home)
        engine = build_engine(addresses[DATABASE], settings)
        try:
            if not has_ring(settings):
                refuse_another_ring(engine)
            ensure_local_keys(self.folder.home)
            try:
                note_local(engine, settings)
            except FntxError as error:  # no reason not to start: it is looked at each time
                self._say(f"the administrator's token stands in no audit yet: {error}")
        finally:
            engine.dispose()

    def _all_take_work(self, pending: set[str]) -> bool:
        """Strike from `pending` what takes work by now; tell whether nothing is left."""
        pending -= self._plan.ready(pending, self.processes())
        return not pending

    def _stuck(self, pending: set[str]) -> StackError:
        names = sorted(pending)
        log = self.folder.logs / f"{names[0]}.log"
        problem = f"these processes do not stay up: {', '.join(names)}; {log.name} ends with: {last_line(log)}"
        return StackError(problem, f"Read the logs in {self.folder.logs}, then run `fntx up` again.")

    # --- down --------------------------------------------------------------------------------------------------

    def _end(self) -> bool:
        found = self._supervisor_lives()
        if found:
            self._say("stopping beat, then the workers, then the stores")
            self._ask_to_end()
            until(self._has_ended, DOWN_S, self._will_not_end)
        self.supervisor.forget()
        return bool(stop_orphans(self.folder.home)) or found

    def _has_ended(self) -> bool:
        self.supervisor.processes()  # its loop sleeps a second between the groups unless it is asked something
        return not self._supervisor_lives()

    def _ask_to_end(self) -> None:
        try:
            self.supervisor.shut_down()
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            # It does not answer, or is on its way down already; the signal means the same.
            process = self.supervisor.process()
            if process:
                process.terminate()

    def _will_not_end(self) -> StackError:
        process = self.supervisor.process()
        pid = process.pid if process else None
        return StackError(
            f"supervisor {pid} of {self.folder.home} did not end within {DOWN_S:g} s",
            f"`kill -9 {pid}`, then run `fntx down` again: it stops what is left.",
        )

    def _supervisor_lives(self) -> bool:
        lives = self.supervisor.process() is not None
        # Asked second: a child that ended between the two questions would never be waited for.
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        return lives
