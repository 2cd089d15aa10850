"""Figures of a desk that runs: real workers count, each at its port and all on Flower's page, for those it lets in."""

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen
from uuid import UUID, uuid4

import psutil
import pytest
from hosting import ANN, FEED, Hosting, make_hosting
from pages_world import Pages, pages_running
from prometheus_client.parser import text_string_to_metric_families
from running_desk import RunningDesk, quiet_desk, run, wait_until

from fntx_sessions import SessionLifecycleManager
from fntx_sessions.automation import alerts, halts
from fntx_sessions.automation.halt_arguments import HaltArguments
from fntx_sessions.exceptions import Rejected
from fntx_sessions.figures import FIGURES
from fntx_sessions.monitoring.figures.folders import FOLDER, WorkerFolder, living
from fntx_sessions.monitoring.figures.gauges import GAUGES
from fntx_sessions.schemas import Severity

__all__ = ["quiet_desk"]
ALL = ("-Q", "commands,queries,celery,agents,sweeps,checkpoints", "-c", "2")
ALWAYS = [{"condition": "all_of", "value": [{"condition": "time_after", "value": "09:00:00"}]}]
CONFIG = {"step_interval_s": 3600, "feed": FEED, "auto_pause_conditions": ALWAYS}
DUE = "next_step_at = now(), next_save_at = now(), next_checkpoint_at = now(), next_health_at = now()"
Samples = dict[str, list[tuple[dict[str, str], float]]]


@dataclass(frozen=True)
class World:
    """A desk with two workers, whose figures are at `ports`, Flower, and one session that lived through all kinds."""

    pages: Pages
    hosting: Hosting
    worker: int
    ports: list[int]
    session_id: UUID
    # What was shown before any test did more.
    first: Samples

    def page(self, **headers: str) -> Samples:
        """Return what Flower shows, by the samples' names."""
        answer = self.pages.nobody().get("/metrics", **headers)
        assert answer.status == 200, answer
        return samples(answer.text)

    def total(self, figure: str, /, **labels: str) -> float:
        return total(self.page(), figure, **labels)


def total(page: Samples, figure: str, /, **labels: str) -> float:
    return sum(value for found, value in page.get(figure, []) if labels.items() <= found.items())


def samples(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            found.setdefault(one.name, []).append((one.labels, one.value))
    return found


def at(port: int) -> Samples:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return samples(answer.read().decode())


def free_ports() -> int:
    """Return a port that is free, and the one after it too."""
    while True:
        with socket.socket() as one, socket.socket() as next_one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                next_one.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@pytest.fixture(scope="module")
def world(quiet_desk: RunningDesk) -> Iterator[World]:
    port = free_ports()
    with ExitStack() as stack:
        hosting = stack.enter_context(make_hosting(quiet_desk.settings))
        told = {"FNTX_METRICS_PORT": str(port), "FNTX_STEP_STAY_S": "0"}
        flower = {"FNTX_METRICS_SESSION_LABELS": "true", "FNTX_FLOWER_METRICS_FROM": "10.0.0.0/8,::1/128"}
        begin = [
            quiet_desk.worker(*ALL, **told),
            quiet_desk.worker("-Q", "maintenance", "-P", "solo", **told),
            pages_running(quiet_desk, "--xheaders", **flower),
        ]
        with ThreadPoolExecutor() as threads:
            first, _, pages = threads.map(stack.enter_context, begin)
        session_id = live(quiet_desk, hosting)
        shown = samples(pages.nobody().get("/metrics").text)
        yield World(pages, hosting, first.pid, [port, port + 1], session_id, shown)


def live(desk: RunningDesk, hosting: Hosting) -> UUID:
    """Have one session do all that is counted, by way of the workers."""

    async def commands() -> UUID:
        async with desk.manager() as manager:
            created = await manager.create_session("paper_trading", config=CONFIG)
            await manager.start_session(created.session_id)
            with pytest.raises(Rejected):
                await manager.start_session(created.session_id)
            await manager.get_session(created.session_id)
            return created.session_id

    session_id = run(commands)
    hosting.run(f"UPDATE session_work SET {DUE}")
    _swept(desk, hosting, "step", "SELECT 1 FROM session_work WHERE next_step_at > now()")
    _swept(desk, hosting, "save", "SELECT 1 FROM saves")
    _swept(desk, hosting, "checkpoint", "SELECT 1 FROM checkpoints WHERE verified")
    _swept(desk, hosting, "health", "SELECT 1 FROM session_health")
    hosting.run("UPDATE session_work SET next_step_at = now()")
    _swept(desk, hosting, "step", "SELECT 1 FROM sessions WHERE status = 'paused'")
    run(recover, desk, session_id)
    halts.place(hosting.desk, ANN, HaltArguments(scope=f"session:{session_id}", reason="a look"), uuid4())
    alerts.raise_alert(hosting.desk.engine, "disk", "node", Severity.WARNING, "full")
    hosting.run("UPDATE sweep_runs SET sent_at = now(), took_s = 0.1")
    hosting.run("INSERT INTO tier_states (host, tier, up, since, seen_at) VALUES ('h', 'cold', false, now(), now())")
    return session_id


async def recover(desk: RunningDesk, session_id: UUID) -> None:
    async with desk.manager() as manager:
        await manager.recover_session(session_id, reason="to see how long it takes")


def _swept(desk: RunningDesk, hosting: Hosting, sweep: str, until: str) -> None:
    desk.sweep(sweep)
    wait_until(lambda: hosting.rows(until), f"the sweep {sweep} did its work")


def test_every_figure_there_is_is_shown_with_its_labels(world):
    """By a desk whose session was stepped, saved, checkpointed, looked at, paused by a rule and recovered."""
    shown = world.page()
    for figure in FIGURES:
        names = [f"{figure.name}_{part}" for part in ("bucket", "sum", "count")] if figure.buckets else [figure.exposed]
        for name in names:
            more = {"worker", "le"} if name.endswith("_bucket") else {"worker"}
            assert all(set(labels) == {*figure.labels, *more} for labels, _ in shown[name]), shown[name]
    for gauge in GAUGES:
        assert all(set(labels) == set(gauge.labels) for labels, _ in shown[gauge.name]), shown[gauge.name]


def test_what_happened_once_is_counted_once(world):
    """Whichever process did it; a histogram counts what its counter does."""
    task = {"task": "fntx.sessions.start"}
    assert total(world.first, "fntx_commands_total", outcome="done", **task) == 1
    assert total(world.first, "fntx_commands_total", outcome="refused", **task) == 1
    assert total(world.first, "fntx_command_seconds_count", **task) == 2
    assert total(world.first, "fntx_refusals_total", error="IllegalTransition") == 1
    assert total(world.first, "fntx_transitions_total", trigger="create_session", to_status="initializing") == 1
    assert total(world.first, "fntx_transitions_total", trigger="start_session", from_status="initializing") == 1
    assert total(world.first, "fntx_transitions_total", trigger="pause_session", to_status="paused") == 1
    assert total(world.first, "fntx_rules_fired_total", action="pause", result="done") == 1
    assert total(world.first, "fntx_recoveries_total", outcome="done") == 1
    assert (
        total(world.first, "fntx_recovery_rto_seconds_count")
        == total(world.first, "fntx_recovery_rpo_seconds_count")
        == 1
    )
    assert total(world.first, "fntx_saves_total", outcome="saved") >= 1
    assert total(world.first, "fntx_save_bytes_total") > 0
    assert total(world.first, "fntx_checkpoint_bytes_total") > 0
    assert total(world.first, "fntx_agent_steps_total", outcome="failed") == 0
    assert total(world.first, "fntx_sweeps_total", sweep="health", outcome="done") == 1


def test_failures_are_shown_before_the_first_of_them(world):
    """At 0: from nothing to 1 is no rise to Prometheus, and no alert would come of it."""
    shown = world.page()
    for figure in FIGURES:
        for known in figure.known:
            labels = dict(zip(figure.labels, known, strict=True))
            assert any(labels.items() <= found.items() for found, _ in shown[figure.exposed]), (figure.name, labels)


def test_the_desk_is_told_as_it_stands(world):
    """Sessions by status and type, halts, alerts, hosts, queues."""
    assert world.total("fntx_sessions", status="paused", type="paper_trading") == 1
    assert world.total("fntx_halts", scope="session") == 1
    assert world.total("fntx_alerts", name="disk", severity="warning") == 1
    assert world.total("fntx_hosts", state="live") == 2
    assert world.total("fntx_tier_up", tier="cold") == 0
    assert world.total("fntx_desk_readable") == world.total("fntx_redis_readable") == 1
    assert {labels["queue"] for labels, _ in world.page()["fntx_queue_depth"]} >= {"commands", "sweeps"}


def test_sessions_are_labels_only_where_that_is_wished_for(world):
    """Where it is, each session not closed is one series; workers never count by session."""
    shown = world.page()
    assert [labels["session_id"] for labels, _ in shown["fntx_session_status"]] == [str(world.session_id)]
    desk_wide = {name: found for name, found in shown.items() if not name.startswith("fntx_session_")}
    assert not any("session_id" in labels for found in desk_wide.values() for labels, _ in found)
    assert not any(str(world.session_id) in str(labels) for found in desk_wide.values() for labels, _ in found)


def test_each_worker_shows_its_own_at_a_port_of_its_own(world):
    """The second takes the port after the first's; what they show is what Flower does of them."""
    shown = [at(port) for port in world.ports]
    first, second = ({labels["worker"] for labels, _ in one["fntx_save_bytes_total"]} for one in shown)
    assert len(first) == len(second) == 1
    assert first != second
    assert {labels["worker"] for labels, _ in world.page()["fntx_save_bytes_total"]} == first | second
    assert not {gauge.name for gauge in GAUGES} & (shown[0].keys() | shown[1].keys())
    apart = [sample for one in shown for sample in one.get("fntx_commands_total", [])]
    assert apart == world.page()["fntx_commands_total"]


def test_a_process_that_is_replaced_goes_on_counting(world):
    """Nothing is lost of what it had counted, and the folder does not grow with each that dies."""
    before = world.total("fntx_commands_total")
    folder = [path for path in (world.hosting.desk.settings.home / FOLDER).iterdir() if path.is_dir()]
    files = {str(path): len(list(path.glob("*.db"))) for path in folder}
    children = psutil.Process(world.worker).children()
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
    gone = {child.pid for child in children}
    wait_until(
        lambda: len({child.pid for child in psutil.Process(world.worker).children()} - gone) == len(children),
        "the pool has others",
    )
    arguments = {"session_id": world.session_id, "reason": "again"}
    world.pages.ask(lambda manager: refused(manager, arguments))
    assert world.total("fntx_commands_total") == before + 1
    assert {str(path): len(list(path.glob("*.db"))) for path in folder} == files


async def refused(manager: SessionLifecycleManager, arguments: dict[str, object]) -> None:
    with pytest.raises(Rejected):
        await manager.start_session(**arguments)


@pytest.mark.parametrize(
    ("address", "status"),
    [("127.0.0.1", 200), ("::1", 200), ("10.1.2.3", 200), ("192.0.2.1", 403), ("2001:db8::1", 403)],
)
def test_figures_are_for_this_machine_and_the_networks_of_the_setting(world, address, status):
    """Whoever a proxy names; everybody else is refused, logged in or not."""
    for person in (world.pages.nobody(), world.pages.somebody("admin")):
        assert person.get("/metrics", **{"X-Real-Ip": address}).status == status


def test_a_worker_that_ends_takes_its_figures_along(tmp_path: Path):
    """A dead one's are not shown, and the next to begin takes them away; those of one that lives stay."""
    lives, dies = WorkerFolder(tmp_path, "a@h", "a@h:1"), WorkerFolder(tmp_path, "b@h", "b@h:1")
    for one in (lives, dies):
        one.set_aside("pool0")
    assert living(tmp_path).keys() == {"a@h", "b@h"}
    dies._lock.close()
    assert living(tmp_path).keys() == {"a@h"}
    again = WorkerFolder(tmp_path, "b@h", "b@h:2")
    assert not dies.path.exists()
    assert lives.path.exists()
    assert living(tmp_path)["b@h"] == []
    for one in (lives, again):
        one.remove()
    assert not living(tmp_path)


def test_two_workers_of_one_name_are_shown_as_one(tmp_path: Path):
    """Prometheus would refuse a page that says the same twice."""
    both = [WorkerFolder(tmp_path, "a@h", f"a@h:{number}") for number in (1, 2)]
    for one in both:
        one.set_aside("pool0")
    assert len(living(tmp_path)["a@h"]) == 4
    for one in both:
        one.remove()


def test_without_room_on_the_disk_a_worker_works_uncounted(tmp_path: Path, monkeypatch):
    """It is found out before the first figure, which would kill the process; it goes to the log."""
    from fntx_sessions import figures  # noqa: PLC0415
    from fntx_sessions.monitoring.figures import counting  # noqa: PLC0415

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(counting, "_Worker", type("_Worker", (), {"folder": None, "counting_pid": None}))
    counting.open_folder(tmp_path, "a@h", "a@h:1")
    counting.begin("pool0")
    assert figures._Counting.by is None
    figures.COMMANDS.note(1, "task", "done")
    counting.close_folder()
