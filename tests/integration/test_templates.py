"""Templates as a desk keeps them: added, edited, imported, retired, each change a version that happens once."""

import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hosting import ANN, Hosting, T, make_hosting, shared

from fntx_sessions.database import seeds
from fntx_sessions.exceptions import CommandConflict, Forbidden, InvalidArgument, NotFound, TemplateConflict
from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.arguments import CreateArguments, CreateFromTemplateArguments
from fntx_sessions.lifecycle.templates import comparing, edits, files, importing, reading
from fntx_sessions.lifecycle.templates.comparing import DiffArguments
from fntx_sessions.lifecycle.templates.edits import AddArguments, EditArguments, RetireArguments
from fntx_sessions.lifecycle.templates.importing import ImportArguments
from fntx_sessions.lifecycle.templates.reading import TemplateQuery, TemplatesQuery, VersionsQuery
from fntx_sessions.lifecycle.templates.writing import Written
from fntx_sessions.schemas import SessionTemplate
from fntx_sessions.security.actor import Actor

OPERATOR = Actor("operator", frozenset({"operator"}))
VIX = {"condition": "vix_above", "value": 40}


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


@pytest.fixture
def fresh(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Hosting]:
    """A desk whose shipped templates nobody has touched."""
    with make_hosting(shared(tmp_path, database_url, redis_url)) as made:
        yield made


@pytest.fixture
def name(hosting: Hosting) -> str:
    """The name of a template of the desk's own, a copy of Paper Trading."""
    found = f"Desk {uuid4().hex[:8]}"
    arguments = AddArguments(template_name=found, copy_of="Paper Trading", reason="to begin with")
    edits.add(*parts(hosting), OPERATOR, arguments, uuid4())
    return found


def parts(hosting: Hosting):
    return hosting.desk.engine, hosting.desk.settings


def edit(hosting: Hosting, name: str, *, actor=OPERATOR, command_id: UUID | None = None, **asked) -> Written:
    arguments = EditArguments.model_validate({"template_name": name, "reason": "calmer"} | asked)
    return edits.edit(*parts(hosting), actor, arguments, command_id or uuid4())


def retire(hosting: Hosting, name: str, *, retired: bool = True, **asked) -> Written:
    arguments = RetireArguments(template_name=name, retired=retired, **asked)
    return edits.retire(hosting.desk.engine, OPERATOR, arguments, uuid4())


def get(hosting: Hosting, name: str, version: int | None = None) -> SessionTemplate:
    return reading.get(hosting.desk.engine, TemplateQuery(template_name=name, version=version))


def versions(hosting: Hosting, name: str) -> list[reading.TemplateVersion]:
    return reading.versions(hosting.desk.engine, VersionsQuery(template_name=name))


def made_of(hosting: Hosting, name: str, command_id: UUID | None = None, **overrides):
    arguments = CreateFromTemplateArguments(template_name=name, overrides=overrides)
    return execute.create_from_template(hosting.desk, ANN, arguments, command_id or uuid4())


def take_in(hosting: Hosting, file: dict, command_id: UUID | None = None, actor=OPERATOR, **asked) -> dict:
    arguments = ImportArguments.model_validate({"file": file} | asked)
    return importing.take_in(*parts(hosting), actor, arguments, command_id or uuid4())


def exported(hosting: Hosting, name: str, **changes) -> dict:
    """Return a template's file, with changes laid over its contents."""
    file = files.to_file(get(hosting, name))
    return file | {"template": file["template"] | changes}


# --- what ships ------------------------------------------------------------------------------------------------------


def test_the_five_shipped_templates_are_whole_and_sound(fresh):
    """Each can make sessions here, says all of its risk, and stands as shipped at version 1."""
    found = {one.template_name: one for one in reading.list_templates(fresh.desk.engine, TemplatesQuery())}
    assert {one.template_name for one in seeds.BUILT_IN} <= set(found)
    for one in seeds.BUILT_IN:
        template = found[one.template_name]
        edits.checked(template.body(), fresh.desk.settings)
        assert (template.version, template.shipped) == (1, "as_shipped")
        assert set(template.default_risk_parameters) == {
            "max_daily_risk", "position_limit", "stop_loss_multiplier", "take_profit_multiplier",
        }  # fmt: skip
        assert template.enabled_strategies
        assert set(template.strategy_parameters) == set(template.enabled_strategies)
        assert template.description
        assert [kept.action for kept in versions(fresh, one.template_name)] == ["shipped"]


def _shipping(monkeypatch: pytest.MonkeyPatch, name: str, **changed) -> None:
    newer = tuple(
        seeds.Shipped(one.template_name, one.contents.model_copy(update=changed)) if one.template_name == name else one
        for one in seeds.BUILT_IN
    )
    monkeypatch.setattr(seeds, "BUILT_IN", newer)


def _seed(hosting: Hosting) -> None:
    with hosting.desk.engine.begin() as connection:
        seeds.seed(connection)


def test_a_newer_shipped_template_reaches_a_desk_that_edited_nothing(fresh, monkeypatch):
    """It becomes a version of its own, once; who never edited is never asked."""
    _shipping(monkeypatch, "Extended Hours", description="newer")
    for _ in range(2):
        _seed(fresh)
    now = get(fresh, "Extended Hours")
    assert (now.description, now.version, now.shipped) == ("newer", 2, "as_shipped")
    assert [one.action for one in versions(fresh, "Extended Hours")] == ["shipped", "shipped"]


def test_a_newer_shipped_template_leaves_what_the_desk_edited_and_is_offered(fresh, monkeypatch):
    """The desk's stays; the list says another one ships; the diff shows it; taking it follows releases again."""
    name = "Manual Override"
    mine = edit(fresh, name, changes={"default_risk_parameters": {"position_limit": 2}})
    assert get(fresh, name).shipped == "edited"
    _shipping(monkeypatch, name, description="newer")
    _seed(fresh)
    kept = get(fresh, name)
    assert (kept.version, kept.shipped) == (mine.version, "newer_shipped")
    asked = {"left": {"template_name": name}, "right": {"template_name": name, "shipped": True}}
    found = comparing.compare(*parts(fresh), DiffArguments.model_validate(asked))
    assert {one["path"] for one in found["changes"]} == {"description", "default_risk_parameters.position_limit"}
    edit(fresh, name, to_shipped=True)
    assert get(fresh, name).shipped == "as_shipped"
    _shipping(monkeypatch, name, description="newest")
    _seed(fresh)
    assert get(fresh, name).description == "newest"


def test_a_release_that_ships_a_name_the_desk_uses_leaves_the_desks(hosting, name, monkeypatch):
    """A template of the desk's own is nobody else's, whatever ships later by that name."""
    more = seeds.Shipped(name, seeds.BUILT_IN[0].contents)
    monkeypatch.setattr(seeds, "BUILT_IN", (*seeds.BUILT_IN, more))
    before = get(hosting, name)
    _seed(hosting)
    assert get(hosting, name) == before
    assert before.shipped is None


# --- edits -----------------------------------------------------------------------------------------------------------


def test_an_edit_is_a_version_with_who_and_why_and_sessions_keep_theirs(hosting, name):
    """What was there is still readable by its version; new sessions have the new one and say so."""
    earlier = made_of(hosting, name).raise_for_refusal().session_id
    written = edit(hosting, name, changes={"default_risk_parameters": {"position_limit": 7}})
    assert written.changes == [{"path": "default_risk_parameters.position_limit", "before": 3, "after": 7}]
    assert [(one.version, one.action, one.actor, one.reason) for one in versions(hosting, name)] == [
        (2, "edited", "operator", "calmer"),
        (1, "added", "operator", "to begin with"),
    ]
    assert get(hosting, name, 1).default_risk_parameters["position_limit"] == 3
    later = made_of(hosting, name).raise_for_refusal().session_id
    assert [hosting.row(one)["template_version"] for one in (earlier, later)] == [1, 2]
    assert [hosting.row(one)["risk_parameters"]["position_limit"] for one in (earlier, later)] == [3, 7]
    assert get(hosting, name).usage_count == 2


def test_an_edit_asked_twice_happens_once_and_its_id_stands_for_it_alone(hosting, name):
    """The same answer to the same id, though the template moved on; anything else under it is a conflict."""
    command_id = uuid4()
    first = edit(hosting, name, command_id=command_id, changes={"description": "one"})
    edit(hosting, name, changes={"description": "two"})
    assert edit(hosting, name, command_id=command_id, changes={"description": "one"}).to_dict() == first.to_dict()
    assert get(hosting, name).description == "two"
    with pytest.raises(CommandConflict):
        edit(hosting, name, command_id=command_id, changes={"description": "three"})
    with pytest.raises(CommandConflict):
        edits.add(*parts(hosting), OPERATOR, AddArguments(template_name="Other", copy_of=name), command_id)


def test_an_edit_may_be_conditional(hosting, name):
    """Somebody was quicker: refused, naming who, and nothing changed."""
    edit(hosting, name, changes={"description": "one"})
    with pytest.raises(TemplateConflict) as caught:
        edit(hosting, name, changes={"description": "two"}, expected_version=1)
    assert caught.value.args == (name, 1, 2, "operator")
    with pytest.raises(TemplateConflict):
        retire(hosting, name, expected_version=1)
    assert edit(hosting, name, changes={"description": "two"}, expected_version=2).version == 3


def test_edits_at_once_all_count(hosting, name):
    """Each is worked out anew from what the others left: as many versions as edits, no change lost."""
    keys = ("wait_ready_s", "stop_deadline_s", "save_interval_s", "approval_expires_s")
    asked = [{"default_config": {key: 60 + place}} for place, key in enumerate(keys)]
    threads = [threading.Thread(target=edit, args=(hosting, name), kwargs={"changes": one}) for one in asked]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    now = get(hosting, name)
    assert now.version == 5
    assert {key: now.default_config.get(key) for key in keys} == {key: 60 + place for place, key in enumerate(keys)}


def test_one_delivered_twice_at_once_is_one_version(hosting, name):
    """Two workers with the same message: one writes, the other finds it written."""
    command_id = uuid4()
    found: list[int] = []

    def ask() -> None:
        found.append(edit(hosting, name, command_id=command_id, changes={"description": "once"}).version)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [2, 2, 2, 2]
    assert len(versions(hosting, name)) == 2


def test_a_template_is_set_back_to_what_it_was(hosting, name):
    """To one of its versions, as a new version; to what ships only where something does."""
    edit(hosting, name, changes={"description": "worse", "default_config": {"wait_ready_s": 1}})
    assert edit(hosting, name, to_version=1).version == 3
    assert get(hosting, name).body() == get(hosting, name, 1).body()
    with pytest.raises(NotFound):
        edit(hosting, name, to_version=9)
    with pytest.raises(NotFound):
        edit(hosting, name, to_shipped=True)
    with pytest.raises(InvalidArgument, match="nothing"):
        edit(hosting, name, changes={})


BAD = [
    ("default_config.nonsense", {"default_config": {"nonsense": 1}}),
    ("default_config.feed.kind", {"default_config": {"feed": {"kind": "crystal ball"}}}),
    ("default_config.feed.nonsense", {"default_config": {"feed": {"nonsense": 1}}}),
    ("default_config.wait_ready_s", {"default_config": {"wait_ready_s": -1}}),
    ("default_config.calendar", {"default_config": {"calendar": "MOON"}}),
    ("default_config.agents", {"default_config": {"agents": ["RiskManagerAgent"]}}),
    ("default_risk_parameters.position_limit", {"default_risk_parameters": {"position_limit": 0}}),
    ("default_risk_parameters.nonsense", {"default_risk_parameters": {"nonsense": 1}}),
    ("enabled_strategies", {"enabled_strategies": ["sell_everything"]}),
    ("strategy_parameters.sell_put.delta", {"strategy_parameters": {"sell_put": {"delta": 2}}}),
    ("strategy_parameters.buy_call", {"strategy_parameters": {"buy_call": {}}}),
    ("auto_stop_conditions.0", {"auto_stop_conditions": [{"condition": "full_moon"}]}),
    ("auto_stop_conditions.0.value", {"auto_stop_conditions": [{"condition": "vix_above", "value": "high"}]}),
    ("auto_stop_conditions.0", {"default_config": {"auto_stop_conditions": [{"condition": "full_moon"}]}}),
    ("required_agents.5", {"required_agents": [*seeds.ROSTER, "StrategicPlanerAgent"]}),
    ("required_agents", {"required_agents": []}),
    ("optional_agents", {"optional_agents": ["RiskManagerAgent"]}),
    ("optional_agents.0", {"optional_agents": ["SomebodysAgent"]}),
    ("default_risk_parameters.position_limit", {"default_risk_parameters": {"position_limit": "5"}}),
    ("default_config.require_confirmation", {"default_config": {"require_confirmation": "true"}}),
    ("strategy_parameters.sell_put.delta", {"strategy_parameters": {"sell_put": {"delta": "0.2"}}}),
    ("default_config.feed.day", {"default_config": {"feed": {"kind": "replayed", "day": {"date": "x"}}}}),
    ("remote_agents.0", {"remote_agents": ["SomebodysAgent"]}),
    ("agent_configurations.Nobody", {"agent_configurations": {"Nobody": {}}}),
    (
        "agent_configurations.StrategicPlannerAgent.vix_max",
        {"agent_configurations": {"StrategicPlannerAgent": {"vix_max": "high"}}},
    ),
    (
        "agent_configurations.StrategicPlannerAgent.nonsense",
        {"agent_configurations": {"StrategicPlannerAgent": {"nonsense": 1}}},
    ),
    ("agent_configurations.EvaluatorAgent.x", {"agent_configurations": {"EvaluatorAgent": {"x": 1}}}),
    ("session_type", {"session_type": "regular"}),
    ("template_id", {"template_id": str(uuid4())}),
]


@pytest.mark.parametrize(("field", "changes"), BAD, ids=[f"{number}-{one[0]}" for number, one in enumerate(BAD)])
def test_a_bad_edit_is_refused_by_its_path(hosting, name, field, changes):
    """Unknown keys, conditions, agents and strategies, impossible values; the template stays as it was."""
    before = get(hosting, name)
    with pytest.raises(InvalidArgument) as caught:
        edit(hosting, name, changes=changes)
    assert caught.value.args[0] == field or caught.value.args[0].startswith(f"{field}.")
    assert get(hosting, name) == before


def test_an_edit_that_nests_without_end_is_refused(hosting, name):
    """As deep as JSON goes, and just too deep: a sentence, whichever way it comes."""
    for levels in (15, 300, 900):
        deep: dict = {}
        for _ in range(levels):
            deep = {"more": deep}
        with pytest.raises(InvalidArgument, match="nested too deep"):
            edit(hosting, name, changes={"agent_configurations": {"A": deep}})
        with pytest.raises(InvalidArgument, match="nested too deep"):
            take_in(hosting, exported(hosting, name, agent_configurations={"A": deep}), preview=True)


def test_an_unknown_key_below_names_those_there_are(hosting, name):
    """However deep it stands: the keys of that very place."""
    with pytest.raises(InvalidArgument, match="Known here: beta, day, kind"):
        edit(hosting, name, changes={"default_config": {"feed": {"sead": 1}}})


@pytest.mark.parametrize("asked", [{}, {"changes": {}, "to_version": 1}, {"to_version": 1, "to_shipped": True}])
def test_an_edit_says_one_thing(asked):
    """Neither none of the three nor two of them."""
    with pytest.raises(InvalidArgument):
        EditArguments.model_validate({"template_name": "x"} | asked)


def test_names_are_one_templates_alone(hosting, name):
    """One that is there, or spelled almost alike, is refused; an unknown one names those there are."""
    for taken in (name, name.upper()):
        with pytest.raises(InvalidArgument):
            edits.add(*parts(hosting), OPERATOR, AddArguments(template_name=taken, copy_of=name), uuid4())
    with pytest.raises(NotFound, match="Paper Trading"):
        edit(hosting, "Nope", changes={"description": "x"})
    with pytest.raises(NotFound):
        edits.add(*parts(hosting), OPERATOR, AddArguments(template_name="New", copy_of="Nope"), uuid4())


@pytest.mark.parametrize("actor", [
    Actor("v", frozenset({"viewer"})), Actor("a", frozenset({"agent"})),
    Actor("o", frozenset({"operator"}), sessions=frozenset({"x"})),
])  # fmt: skip
def test_who_may_not_edit_templates_is_refused(hosting, name, actor):
    """Viewers, agents, and tokens that are good for some sessions alone: by each door, previews included."""
    with pytest.raises(Forbidden):
        edit(hosting, name, actor=actor, changes={"description": "x"})
    with pytest.raises(Forbidden):
        edits.add(*parts(hosting), actor, AddArguments(template_name="New", copy_of=name), uuid4())
    with pytest.raises(Forbidden):
        edits.retire(hosting.desk.engine, actor, RetireArguments(template_name=name), uuid4())
    with pytest.raises(Forbidden):
        take_in(hosting, exported(hosting, name), actor=actor, preview=True)


# --- retiring --------------------------------------------------------------------------------------------------------


def test_a_retired_template_makes_no_session_stays_readable_and_comes_back(hosting, name):
    """Refused with the way back; sessions there are go on, forks too; kept with who and why."""
    session_id = made_of(hosting, name).raise_for_refusal().session_id
    written = retire(hosting, name, reason="replaced")
    assert (written.action, written.changes) == ("retired", [])
    with pytest.raises(InvalidArgument, match="--undo"):
        made_of(hosting, name)
    listed = {one.template_name for one in reading.list_templates(hosting.desk.engine, TemplatesQuery())}
    everything = {
        one.template_name for one in reading.list_templates(hosting.desk.engine, TemplatesQuery(retired=True))
    }
    assert (name in listed, name in everything) == (False, True)
    assert get(hosting, name).retired_at is not None
    hosting.do(T.START, session_id)
    edited = edit(hosting, name, changes={"description": "edited meanwhile"})
    assert get(hosting, name).retired_at is not None
    with pytest.raises(InvalidArgument, match="already"):
        retire(hosting, name)
    assert retire(hosting, name, retired=False).version == edited.version + 1
    assert made_of(hosting, name).state == "done"


def test_a_creation_delivered_again_is_answered_though_its_template_was_retired_or_edited(hosting, name):
    """What was done was done: the same session, and no refusal for what the template became since."""
    command_id = uuid4()
    first = made_of(hosting, name, command_id)
    retire(hosting, name)
    again = made_of(hosting, name, command_id)
    assert (again.session_id, again.state, again.repeated) == (first.session_id, "done", True)
    assert get(hosting, name).usage_count == 1


def test_a_types_own_template_may_be_retired_too(hosting):
    """Creating by type is creating from that type's template."""
    retire(hosting, "Backtest")
    try:
        with pytest.raises(InvalidArgument, match="retired"):
            execute.create(hosting.desk, ANN, CreateArguments(session_type="backtest"), uuid4())
    finally:
        retire(hosting, "Backtest", retired=False)


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_file_is_taken_in_by_another_name_and_says_what_it_would_change(hosting, name):
    """A preview writes nothing; then it is there, the same but for its name."""
    file, other = exported(hosting, name), f"{name} copy"
    seen = take_in(hosting, file, template_name=other, preview=True)
    assert (seen["would"], seen["version"], seen["problems"]) == ("add", None, [])
    assert "required_agents" in {one["path"] for one in seen["changes"]}
    with pytest.raises(NotFound):
        get(hosting, other)
    assert take_in(hosting, file, template_name=other)["action"] == "imported"
    assert get(hosting, other).body() == get(hosting, name).body()
    assert get(hosting, other).template_id != get(hosting, name).template_id


def test_a_file_replaces_only_where_that_is_said_and_makes_a_version(hosting, name):
    """Without the flag refused; with it a new version; identical contents change nothing; conditional, repeatable."""
    file = exported(hosting, name, description="from elsewhere")
    seen = take_in(hosting, file, preview=True)
    assert (seen["would"], seen["version"]) == ("replace", 1)
    assert seen["changes"] == [
        {"path": "description", "before": get(hosting, name).description, "after": "from elsewhere"}
    ]
    with pytest.raises(InvalidArgument) as caught:
        take_in(hosting, file)
    assert caught.value.args[0] == "replace"
    with pytest.raises(TemplateConflict):
        take_in(hosting, file, replace=True, expected_version=4)
    command_id = uuid4()
    first = take_in(hosting, file, command_id, replace=True, expected_version=1)
    assert take_in(hosting, file, command_id, replace=True, expected_version=1) == first
    assert (first["version"], get(hosting, name).version) == (2, 2)
    assert take_in(hosting, file, preview=True)["would"] == "nothing"
    with pytest.raises(InvalidArgument, match="already"):
        take_in(hosting, file, replace=True)


def test_a_file_over_a_retired_template_leaves_it_retired(hosting, name):
    """An import is no way around whoever retired it."""
    file = exported(hosting, name, description="from elsewhere")
    retire(hosting, name)
    assert take_in(hosting, file, preview=True)["retired"]
    take_in(hosting, file, replace=True)
    assert get(hosting, name).retired_at is not None


def test_a_files_problems_are_all_told_before_anything_is_done(hosting, name):
    """The first of each section with its path; an import names the first and how many more."""
    file = exported(
        hosting,
        name,
        required_agents=["SomebodysAgent"],
        default_risk_parameters={"position_limit": 0},
        auto_stop_conditions=[{"condition": "full_moon"}],
        session_type="regular",
    )
    seen = take_in(hosting, file, preview=True)
    assert [one["field"].split(".")[0] for one in seen["problems"]] == [
        "session_type", "required_agents", "auto_stop_conditions", "default_risk_parameters",
    ]  # fmt: skip
    with pytest.raises(InvalidArgument, match="2 more sections"):
        take_in(hosting, file | {"template_name": f"{name} new"})


def test_agents_of_elsewhere_are_declared_and_sessions_wait_for_them(hosting, name):
    """A remote agent that is declared is taken; its session names it as not ready."""
    file = exported(
        hosting,
        name,
        required_agents=["RiskManagerAgent", "SomebodysAgent"],
        remote_agents=["SomebodysAgent"],
        agent_configurations={"SomebodysAgent": {"anything": ["goes"]}},
    )
    take_in(hosting, file, replace=True)
    made = made_of(hosting, name, wait_ready_s=0).raise_for_refusal().session_id
    assert hosting.row(made)["config"]["agent_configurations"] == {"SomebodysAgent": {"anything": ["goes"]}}
    refused = hosting.ask(T.START, made)
    assert "SomebodysAgent" in refused.error["message"]


def test_diff_compares_versions_templates_and_files(hosting, name):
    """Any two of them, named as they were asked for."""
    edit(hosting, name, changes={"description": "two"})
    file = exported(hosting, name, description="three")

    def compared(left: dict, right: dict) -> tuple:
        asked = DiffArguments.model_validate({"left": left, "right": right})
        found = comparing.compare(*parts(hosting), asked)
        return found["left"], found["right"], [one["after"] for one in found["changes"] if one["path"] == "description"]

    now = {"template_name": name}
    assert compared(now | {"version": 1}, now) == (f"{name}@1", f"{name}@2", ["two"])
    assert compared(now, {"file": file}) == (f"{name}@2", f"{name} (file)", ["three"])
    assert compared(now, now)[2] == []
    with pytest.raises(NotFound):
        compared(now, now | {"shipped": True})


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_template_whose_agent_is_gone_makes_no_session(hosting, name, monkeypatch):
    """Its package was removed: refused by the agent's name, and not left waiting for somebody who never comes."""
    gone = [one for one in seeds.ROSTER if one != "EvaluatorAgent"]
    monkeypatch.setattr(execute, "known_agents", lambda: gone)
    with pytest.raises(InvalidArgument, match="EvaluatorAgent"):
        made_of(hosting, name)


@pytest.mark.parametrize(
    ("field", "overrides"),
    [
        ("config.agents.0", {"agents": ["Guard.RiskManagerAgent"]}),
        ("config.agents.0", {"agents": ["fntx:{x}"]}),
        ("config.agent_configurations.Nobody", {"agent_configurations": {"Nobody": {}}}),
        (
            "config.agent_configurations.StrategicPlannerAgent.vix",
            {"agent_configurations": {"StrategicPlannerAgent": {"vix": 1}}},
        ),
        ("config.feed.nonsense", {"feed": {"nonsense": 1}}),
        ("overrides.position_limit", {"risk_parameters": {"position_limit": 4}, "position_limit": 5}),
        ("overrides.tags", {"tags": ["a"], "config": {"tags": ["b"]}}),
        ("risk_parameters.position_limit", {"position_limit": "5"}),
        ("config.auto_stop_conditions.0", {"auto_stop_conditions": [{"condition": "full_moon"}]}),
    ],
)  # fmt: skip
def test_overrides_are_refused_by_their_path_however_deep(hosting, name, field, overrides):
    """Names no agent may have, configurations nobody takes, keys below keys, unknown conditions."""
    with pytest.raises(InvalidArgument) as caught:
        made_of(hosting, name, **overrides)
    assert caught.value.args[0] == field or caught.value.args[0].startswith(f"{field}.")


def test_a_live_type_on_an_invented_market_says_so(hosting):
    """At creation; the shipped templates of live types have a published feed, and say nothing of it."""
    told = made_of(hosting, "Regular Trading", feed={"kind": "synthetic"}).warnings
    assert any("market is invented" in one for one in told)
    assert not any("invented" in one for one in made_of(hosting, "Regular Trading").warnings)


def test_no_session_is_made_of_an_old_template_without_agents(hosting, name):
    """Stored before such templates were refused: nobody would step its sessions."""
    emptied = "UPDATE templates SET body = body || '{\"required_agents\": []}' WHERE template_name = :name"
    hosting.run(emptied, name=name)
    with pytest.raises(InvalidArgument, match="nobody would step"):
        made_of(hosting, name)
    assert made_of(hosting, name, agents=["RiskManagerAgent"]).state == "done"


def test_a_misspelled_agent_is_pointed_out(hosting, name):
    """It may be somebody's own: the session is made, and says what it waits for."""
    made = made_of(hosting, name, agents=["RiskManagerAgent", "StrategicPlanerAgent"])
    assert any("is StrategicPlannerAgent meant" in one for one in made.warnings)
    assert not any("meant" in one for one in made_of(hosting, name, agents=["TheirPlanner"]).warnings)


def test_what_an_agent_is_told_reaches_it_and_follows_an_update(hosting, name):
    """The planner enters nothing while its configuration keeps it out; what it is told anew counts at the next step."""
    told = {"StrategicPlannerAgent": {"vix_max": 1}}
    edit(hosting, name, changes={"agent_configurations": told})
    session_id = hosting.create(config={"agent_configurations": told})
    hosting.do(T.START, session_id)
    hosting.walk(session_id, lambda _: "kept_out" in planner(hosting, session_id))
    wrong = hosting.ask(T.UPDATE, session_id, config={"agent_configurations": {"Nobody": {}}})
    assert wrong.error["facts"]["field"] == "config.agent_configurations.Nobody"
    hosting.do(T.UPDATE, session_id, config={"agent_configurations": {}})
    hosting.walk(session_id, lambda _: "kept_out" not in planner(hosting, session_id), limit=2)
    hosting.do(T.STOP, session_id)


def planner(hosting: Hosting, session_id: UUID) -> dict:
    """Return the planner's memory as it was reported last."""
    from fntx_sessions.lifecycle.reads.sessions import get_session  # noqa: PLC0415 -- only here

    session = get_session(hosting.desk.engine, hosting.desk.redis, hosting.desk.settings, session_id)
    found = session.agent_states.get("StrategicPlannerAgent")
    return {} if found is None else found.internal_state


def test_a_smaller_roster_leaves_behind_what_was_for_others(hosting, name):
    """A template's configuration for an agent the session has not got is no error of whoever chose the agents."""
    edit(hosting, name, changes={"agent_configurations": {"StrategicPlannerAgent": {"vix_max": 30}}})
    made = made_of(hosting, name, agents=["RiskManagerAgent"]).raise_for_refusal()
    assert hosting.row(made.session_id)["config"]["agent_configurations"] == {}
