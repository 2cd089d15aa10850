"""deploy/ keeps to what is there: every expression parses and names figures and labels that the desk shows."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from promql_world import Scrape, evaluate

from fntx_sessions.caller.producer import SAFETY
from fntx_sessions.cli.audit_refused import NOTE
from fntx_sessions.exceptions import Forbidden
from fntx_sessions.figures import FIGURES
from fntx_sessions.lifecycle.denying import outcome_of
from fntx_sessions.monitoring.figures.gauges import GAUGES
from fntx_sessions.schemas import SessionStatus, Severity
from tasks.routes import QUEUES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = [rule for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
# Prometheus makes `up` itself.
LABELS = {gauge.name: set(gauge.labels) for gauge in GAUGES} | {"up": {"job", "instance"}}
for figure in FIGURES:
    names = [f"{figure.name}_{part}" for part in ("bucket", "sum", "count")] if figure.buckets else [figure.exposed]
    LABELS |= {name: {*figure.labels, "worker", *(["le"] if name.endswith("_bucket") else [])} for name in names}
VALUES = {
    ("fntx_sessions", "status"): set(SessionStatus),
    ("fntx_alerts", "severity"): set(Severity),
    ("fntx_hosts", "state"): {"live", "lost"},
    ("fntx_queue_depth", "queue"): set(QUEUES),
    **{(one.exposed, one.labels[0]): {known[0] for known in one.known} for one in FIGURES if len(one.labels) == 1},
}
_PLACE = re.compile(r"\{\{\s*\$?(.*?)\s*\}\}")


def parsed(expression: str) -> promql.Expr:
    return promql.parse(expression.replace("$__rate_interval", "5m"))


def parts(expression: promql.Expr, kind: type) -> Iterator[Any]:
    found: list[Any] = []
    promql.walk(expression, lambda one: found.append(one) if isinstance(one, kind) else None)
    yield from found


def metrics(expression: promql.Expr) -> list[promql.VectorSelector]:
    whole = [one.vector_selector for one in parts(expression, promql.MatrixSelector) if hasattr(one, "vector_selector")]
    return [*whole, *parts(expression, promql.VectorSelector)]


def check(expression: str) -> set[str]:
    """Check one expression, and return the labels its result may have."""
    tree = parsed(expression)
    found = metrics(tree)
    assert found, expression
    for one in found:
        assert one.name in LABELS, f"{expression}: nothing shows {one.name}"
        for matcher in one.matchers.matchers:
            assert matcher.name in LABELS[one.name], f"{expression}: {one.name} has no {matcher.name}"
            known = VALUES.get((one.name, matcher.name))
            assert not known or any(re.fullmatch(matcher.value, value) for value in known), f"{expression}: {matcher}"
    left = set().union(*(LABELS[one.name] for one in found))
    for one in parts(tree, promql.AggregateExpr):
        if one.modifier is not None:
            below = set().union(*(LABELS[inner.name] for inner in metrics(one.expr)))
            assert set(one.modifier.labels) <= below, f"{expression}: {one.modifier} of {below}"
            left &= set(one.modifier.labels) | (left - below)
    return left


def panels() -> list[Any]:
    return [pytest.param(panel, id=panel["title"]) for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_an_alert_names_the_outcome_that_denials_have_in_the_audit():
    """Whoever follows the alert for a stolen token, or the runbook, sees the denials, not an empty list."""
    told = [alert("FntxManyDenials")["annotations"]["description"], (ROOT / "docs/operations.md").read_text(), NOTE]
    named = [one for text in told for one in re.findall(r"fntx audit ls --outcome (\w+)", text)]
    assert len(named) == len(told)
    assert set(named) == {outcome_of(Forbidden("vera", "viewer", "pause_session", "operator"))}


def test_what_ends_risk_and_waits_calls_somebody():
    """A backlog of the queue of stops has an alert of its own, sooner than that of the others."""
    for name, queue in (("FntxSafetyQueue", SAFETY), ("FntxCommandsQueue", "commands")):
        [found] = metrics(parsed(alert(name)["expr"]))
        assert [one.value for one in found.matchers.matchers] == [queue]
        assert alert(name)["labels"]["severity"] == "page"


def alert(name: str) -> dict[str, Any]:
    [found] = [rule for rule in RULES if rule["alert"] == name]
    return found


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_is_one_that_prometheus_takes_and_that_can_fire(rule):
    """Its fields, its expression over what the desk shows, and its words over labels that it has."""
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Fntx[A-Za-z]+", rule["alert"])
    assert rule["labels"]["severity"] in ("page", "ticket")
    if "for" in rule:
        promql.parse_duration(rule["for"])
    labels = check(rule["expr"])
    assert set(rule["annotations"]) == {"summary", "description"}
    for text in rule["annotations"].values():
        for place in _PLACE.findall(text):
            named = re.match(r"labels\.(\w+)", place)
            assert place.split(" ")[0] == "value" or (named and named[1] in labels), place


def hosts(**queues: str) -> Scrape:
    return {"fntx_hosts": [({"queues": name, "state": state}, 1) for name, state in queues.items()]}


def sessions(status: str) -> Scrape:
    return {"fntx_sessions": [({"status": status, "type": "regular"}, 1)]}


def counted(name: str, value: float, **labels: str) -> Scrape:
    return {name: [({**labels, "worker": "sweeps@h"}, value)]}


@pytest.mark.parametrize(
    ("alert", "now", "before", "calls"),
    [
        # The take-over pauses its sessions at the very scrape that shows the worker lost.
        ("FntxNoAgentsWorker", hosts(agents="lost", commands="live") | sessions("paused"), {}, True),
        ("FntxNoAgentsWorker", sessions("closing"), {}, True),
        ("FntxNoAgentsWorker", hosts(commands="live") | sessions("closed"), {}, False),
        ("FntxNoAgentsWorker", hosts(**{"agents,sweeps": "live"}) | sessions("active"), {}, False),
        ("FntxWorkerLost", hosts(agents="lost"), {}, True),
        ("FntxWorkerLost", hosts(agents="live"), {}, False),
        ("FntxPostgresAway", {"fntx_desk_readable": [({}, 0)]}, {}, True),
        ("FntxPostgresAway", {"fntx_desk_readable": [({}, 1)]}, {}, False),
        *[
            (alert, counted(name, after, outcome=outcome), counted(name, 0, outcome=outcome), after > 0)
            for alert, name, outcome in [
                ("FntxRecoveriesFail", "fntx_recoveries_total", "failed"),
                ("FntxSavesFail", "fntx_saves_total", "failed"),
                ("FntxSavesIntoBackups", "fntx_saves_total", "backed_up"),
            ]
            for after in (0, 1)
        ],
    ],
)  # fmt: skip
def test_an_alert_calls_in_its_situation_and_not_beside_it(alert, now, before, calls):
    """Evaluated over what the desk shows as it happens, not only parsed."""
    (expression,) = [rule["expr"] for rule in RULES if rule["alert"] == alert]
    assert bool(evaluate(expression, now, before)) is calls


def test_what_an_alert_says_to_run_is_there():
    """Whoever is woken is not told `no such command`."""
    from test_docs import _unknown  # noqa: PLC0415 -- it brings the whole command line

    assert not _unknown("\n".join(re.findall(r"`[^`]+`", (DEPLOY / "alerts.yml").read_text())))


def test_no_two_alerts_have_one_name():
    """Whoever is called finds the one rule that did."""
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("panel", panels())
def test_a_panel_shows_what_there_is(panel):
    """Its expressions parse, and its legends name labels that their results have."""
    assert panel["datasource"]["uid"] == "${datasource}"
    for target in panel["targets"]:
        labels = check(target["expr"])
        assert set(_PLACE.findall(target["legendFormat"])) <= labels, target


def test_the_dashboard_is_one_that_grafana_takes():
    """Ids are unique, no panel lies over another, annotations parse, and it names no data source of somebody's."""
    found = DASHBOARD["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    taken = [(x, y) for panel in found for x, y in _cells(panel["gridPos"])]
    assert len(set(taken)) == len(taken)
    for annotation in DASHBOARD["annotations"]["list"]:
        assert set(_PLACE.findall(annotation["titleFormat"])) <= check(annotation["expr"])
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == ["datasource"]


def _cells(place: dict[str, int]) -> list[tuple[int, int]]:
    assert place["x"] + place["w"] <= 24
    return [(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])]


def test_every_figure_is_on_the_dashboard():
    """What is counted is seen, but for what a ratio or a count repeats."""
    shown = " ".join(target["expr"] for panel in panels() for target in panel.values[0]["targets"])
    assert not [one.name for one in (*FIGURES, *GAUGES) if not re.search(rf"\b{one.name}(_total|_bucket)?\b", shown)]


def test_prometheus_asks_for_what_flower_shows():
    """Its file names the rules beside it, and Flower as compose.yaml runs it."""
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    jobs = {one["job_name"]: one["static_configs"][0]["targets"] for one in config["scrape_configs"]}
    assert jobs == {"fntx": ["flower:5555"]}
    assert "--port=5555" in COMPOSE["services"]["flower"]["command"]


def test_compose_lets_prometheus_in_and_mounts_what_there_is():
    """Flower takes the network that compose makes; files that are mounted exist; nothing listens but on loopback."""
    subnet = COMPOSE["networks"]["default"]["ipam"]["config"][0]["subnet"]
    assert COMPOSE["services"]["flower"]["environment"]["FNTX_FLOWER_METRICS_FROM"] == subnet
    for name in ("prometheus", "grafana"):
        service = COMPOSE["services"][name]
        assert service["profiles"] == ["watch"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        mounts = [mount.split(":")[0] for mount in service["volumes"]]
        assert all((ROOT / one).is_file() for one in mounts if one.startswith("./"))


def test_the_page_about_figures_lists_every_one_as_it_is():
    """Each with its labels and in the words that Prometheus shows; none that there is not."""
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(fntx_[^`]+)` \| (.+?) \|$", page, re.MULTILINE))
    there = {figure.exposed: figure for figure in FIGURES} | {gauge.name: gauge for gauge in GAUGES}
    named = {f"{name}{{{','.join(one.labels)}}}" if one.labels else name: one.help for name, one in there.items()}
    assert listed == named
