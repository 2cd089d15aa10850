"""One command on many sessions: foreseen, done in waves, each session once, in the asker's name."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from bulk_world import DUE, LAPSE, asked, begin, check_run, finish, states
from hosting import ANN, SYSTEM, Hosting, S, T, make_hosting, shared
from sqlalchemy import event

from fntx_sessions.automation import bulk
from fntx_sessions.automation.bulk import Selector, matching
from fntx_sessions.exceptions import Busy, CommandConflict, Forbidden, InvalidArgument, NotFound
from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.desk_audit import DESK
from fntx_sessions.parsing import parse
from fntx_sessions.security.actor import Actor

VIEWER = Actor("vi", frozenset({"viewer"}))


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        made.run("DELETE FROM bulk_runs")
        yield made


def tagged(hosting: Hosting, *statuses: S):
    """Return a tag, and sessions with it in these statuses."""
    tag, made = f"t-{uuid4().hex[:8]}", []
    for status in statuses:
        made.append(hosting.create(config={"tags": [tag]}))
        routes = {S.ACTIVE: [T.START], S.PAUSED: [T.START, T.PAUSE], S.CLOSING: [T.START, T.STOP]}
        for trigger in routes.get(status, []):
            hosting.do(trigger, made[-1])
    return tag, made


# --- foreseeing ------------------------------------------------------------------------------------------------


def test_a_preview_says_what_a_run_then_does_and_changes_nothing(hosting):
    """Who would be done and who refused, and why, is what becomes of them; no row is written for it."""
    for action, done in (("pause", [S.ACTIVE]), ("resume", [S.PAUSED]), ("stop", [S.INITIALIZING, S.ACTIVE, S.PAUSED])):
        tag, made = tagged(hosting, S.INITIALIZING, S.ACTIVE, S.PAUSED, S.CLOSING)
        before = hosting.rows("SELECT * FROM sessions WHERE tags @> ARRAY[:tag] ORDER BY session_id", tag=tag)
        written = hosting.rows("SELECT count(*) FROM commands")
        seen = {item.session_id: item for item in bulk.preview(hosting.desk, ANN, asked(action, tag=tag))}
        assert hosting.rows("SELECT * FROM sessions WHERE tags @> ARRAY[:tag] ORDER BY session_id", tag=tag) == before
        assert hosting.rows("SELECT count(*) FROM commands") == written
        assert hosting.rows("SELECT 1 FROM bulk_runs WHERE selector ->> 'tag' = :tag", tag=tag) == []
        came = {item.session_id: item for item in finish(hosting, asked(action, tag=tag)).items}
        assert list(seen) == made
        for session_id, item in seen.items():
            would = "done" if item.status_before in done else "refused"
            assert came[session_id].state == would == ("done" if item.state == "waiting" else item.state)
            assert bool(item.problem) == (would == "refused")
            assert item.status_after == (came[session_id].status_after if would == "done" else None)


def test_a_preview_names_what_is_open_and_why_not(hosting):
    """`already paused` in so many words; positions counted; a resume that another hold forbids is foreseen."""
    tag, [active, paused] = tagged(hosting, S.ACTIVE, S.PAUSED)
    hosting.holding(active)
    hosting.do(T.UPDATE, paused, add_hold="recovery")
    [first, second] = bulk.preview(hosting.desk, ANN, asked("pause", tag=tag))
    assert (first.positions, first.problem) == (len(hosting.broker.positions(active)), None)
    assert (second.positions, second.problem) == (0, "already paused")
    by_rule = asked("resume", tag=tag, arguments={"hold": "rule"})
    [_, held] = bulk.preview(hosting.desk, ANN, by_rule)
    assert (held.state, "still held by" in (held.problem or "")) == ("refused", True)


@pytest.mark.parametrize(
    ("selector", "field", "fix"),
    [
        ({}, "selector", "--all"),
        ({"status": []}, "selector", "--all"),
        ({"status": ["asleep"]}, "status.0", "'active'"),
        ({"session_type": "spare"}, "session_type", "'regular'"),
        ({"colour": "red"}, "colour", "template_name"),
    ],
)
def test_a_selector_that_cannot_be_meant_is_refused_by_field(selector, field, fix):
    """Nothing at all, an unknown status, type or filter: named, with what there is."""
    with pytest.raises(InvalidArgument) as told:
        parse(Selector, selector, "selector")
    assert field in str(told.value)
    assert fix in str(told.value)


def test_an_unknown_template_or_id_is_named(hosting):
    """A template there is not is a slip of the pen; what matches nobody leaves no run behind."""
    with pytest.raises(InvalidArgument, match=r"no template 'Regular Tradin'.*Known: .*Regular Trading"):
        begin(hosting, asked(template_name="Regular Tradin"))
    with pytest.raises(NotFound, match="there is no session"):
        begin(hosting, asked(ids=[uuid4()]))
    with pytest.raises(NotFound, match="no session for 'template_name Extended Hours; tag nobody'"):
        finish(hosting, asked(template_name="Extended Hours", tag="nobody"))
    assert bulk.recent(hosting.desk.engine, 1) == []


def test_more_sessions_than_a_run_may_mean_are_refused(hosting, monkeypatch):
    """A selector that is too wide is refused before anything is stored; a halt's is never too wide."""
    tag, _ = tagged(hosting, S.ACTIVE, S.ACTIVE)
    monkeypatch.setattr(
        matching, "get_settings", lambda: hosting.desk.settings.model_copy(update={"bulk_sessions_max": 1})
    )
    with pytest.raises(InvalidArgument, match=r"more than 1 sessions.*FNTX_BULK_SESSIONS_MAX"):
        begin(hosting, asked(tag=tag))


def test_closed_sessions_and_the_days_of_backtests_are_not_meant_by_all(hosting):
    """`--all` means what runs or may run; who means a closed one, or a backtest's day, names status, tag or id."""
    tag, [active, closed, day] = tagged(hosting, S.ACTIVE, S.INITIALIZING, S.ACTIVE)
    hosting.do(T.STOP, closed)
    hosting.finish()
    run_id = uuid4()
    hosting.run("INSERT INTO backtests (run_id, spec, actor) VALUES (:id, '{}', 'ann')", id=run_id)
    unit = "INSERT INTO backtest_units (run_id, trade_date, seed, session_id) VALUES (:id, '2018-01-09', 1, :session)"
    hosting.run(unit, id=run_id, session=day)

    def meant(**selector):
        return {item.session_id for item in bulk.preview(hosting.desk, ANN, asked(**selector))}

    everything = meant(everything=True)
    assert active in everything
    assert not everything & {closed, day}
    assert meant(tag=tag) == {active, day}
    assert meant(tag=tag, status=[S.CLOSED]) == {closed}
    assert meant(ids=[closed, day]) == {closed, day}


# --- doing -----------------------------------------------------------------------------------------------------


def test_each_outcome_is_its_own_and_one_refusal_stops_nobody(hosting):
    """Paused, refused with the sentence of the single command, and one command row each."""
    tag, [active, paused, fresh] = tagged(hosting, S.ACTIVE, S.PAUSED, S.INITIALIZING)
    report = finish(hosting, asked(tag=tag))
    assert states(report) == {active: "done", paused: "refused", fresh: "refused"}
    problems = {item.session_id: item.problem for item in report.items}
    assert problems[active] is None
    assert "cannot pause: session" in (problems[paused] or "")
    assert (report.state, report.finished_at is not None) == ("finished", True)
    assert hosting.row(active)["status_reason"] == "a test"
    check_run(hosting, report, T.PAUSE)


def test_waves_come_one_after_the_other_with_their_pause(hosting):
    """An advance does one wave; the next is not due before its pause is over."""
    tag, made = tagged(hosting, *[S.ACTIVE] * 5)
    run = begin(hosting, asked(tag=tag, wave_size=2, wave_pause_s=600))
    for wave, left in enumerate([3, 1]):
        report = bulk.advance(hosting.desk, run)
        assert (report.counts.get("waiting", 0), report.state, report.waves) == (left, "running", 3)
        assert {item.session_id for item in report.items if item.wave <= wave} == set(made[: 2 * wave + 2])
        assert bulk.advance(hosting.desk, run).counts == report.counts
        hosting.run(DUE)
    report = bulk.advance(hosting.desk, run)
    assert (report.counts, report.state) == ({"done": 5}, "finished")
    check_run(hosting, report, T.PAUSE)


def test_ending_risk_takes_no_pause_that_nobody_asked_for(hosting):
    """A pause and a stop go on at once; a resume leaves its sessions time to settle."""
    tag, _ = tagged(hosting, S.PAUSED)
    pauses = {
        action: bulk.report(hosting.desk.engine, begin(hosting, asked(action, tag=tag))).wave_pause_s
        for action in ("pause", "stop", "resume")
    }
    assert pauses == {"pause": 0, "stop": 0, "resume": hosting.desk.settings.bulk_wave_pause_s}


def test_the_sweep_goes_on_where_an_asker_went_away(hosting):
    """What is begun is finished by the sweep, all runs of it; what is nobody's turn is left alone."""
    tag, _ = tagged(hosting, *[S.ACTIVE] * 3)
    runs = [begin(hosting, asked(action, tag=tag, wave_size=2, wave_pause_s=0)) for action in ("pause", "resume")]
    assert bulk.advance_due(hosting.desk, 30) == 4
    reports = [bulk.report(hosting.desk.engine, run) for run in runs]
    assert {report.state for report in reports} == {"finished"}
    assert bulk.advance_due(hosting.desk, 30) == 0


def test_asked_twice_under_one_id_it_is_there_once(hosting):
    """The second time only answers; with other arguments it is refused."""
    tag, [session_id] = tagged(hosting, S.ACTIVE)
    request = asked("stop", tag=tag, arguments={"close_positions": False, "leave_positions_with": "ann"})
    finish(hosting, request)
    report = finish(hosting, request)
    check_run(hosting, report, T.STOP)
    assert hosting.row(session_id)["pending"]["leave_positions_with"] == "ann"
    with pytest.raises(CommandConflict):
        begin(hosting, request.model_copy(update={"arguments": {}}))
    [stored] = hosting.rows("SELECT arguments FROM bulk_runs WHERE bulk_id = :id", id=request.bulk_id)
    assert b"ann" not in bytes(stored["arguments"])


def test_bad_arguments_are_refused_before_anything_is_stored(hosting):
    """What the single command would refuse for its arguments, the run refuses whole."""
    with pytest.raises(InvalidArgument, match="hold"):
        begin(hosting, asked(everything=True, arguments={"hold": "mine"}))
    assert hosting.rows("SELECT 1 FROM bulk_runs") == []


# --- who may ---------------------------------------------------------------------------------------------------


def test_who_may_not_ask_one_may_not_ask_many(hosting):
    """Roles are the single command's; a risk manager may pause all and resume none."""
    risk = Actor("rita", frozenset({"risk_manager"}))
    tag, _ = tagged(hosting, S.ACTIVE)
    for actor, action in ((VIEWER, "pause"), (risk, "resume")):
        with pytest.raises(Forbidden):
            bulk.begin(hosting.desk.engine, actor, asked(action, tag=tag))
        with pytest.raises(Forbidden):
            bulk.preview(hosting.desk, actor, asked(action, tag=tag))
    run = begin(hosting, asked(tag=tag), risk)
    for change in (bulk.cancel, bulk.resume):
        with pytest.raises(Forbidden):
            change(hosting.desk.engine, VIEWER, run)


def test_a_token_for_some_sessions_reaches_no_others(hosting):
    """By filters it sees its own alone; others that it names are refused, each as the single command would be."""
    tag, [mine, other] = tagged(hosting, S.ACTIVE, S.ACTIVE)
    scoped = replace(ANN, sessions=frozenset({str(mine)}))
    assert [item.session_id for item in bulk.preview(hosting.desk, scoped, asked(tag=tag))] == [mine]
    named = asked(ids=[mine, other])
    foreseen = {item.session_id: item.state for item in bulk.preview(hosting.desk, scoped, named)}
    report = finish(hosting, named, scoped)
    assert states(report) == {mine: "done", other: "refused"}
    assert foreseen == {mine: "waiting", other: "refused"}
    assert hosting.row(other)["status"] == S.ACTIVE
    others = begin(hosting, asked(tag=tag))
    with pytest.raises(NotFound):
        bulk.report(hosting.desk.engine, others, actor=scoped)
    assert [one.bulk_id for one in bulk.recent(hosting.desk.engine, 10, scoped)] == [report.bulk_id]


@pytest.mark.parametrize("narrowed", ["by filters too", "by ids alone"])
@pytest.mark.parametrize("by", ["id", "tag"])
def test_of_a_session_out_of_scope_a_run_and_a_preview_tell_nothing(hosting, by, narrowed):
    """A foreign id and one that there is not are told alike, by themselves alone; a denied preview stands in the audit.

    Neither status, account and positions nor whether a filter fits can be read off, whatever else is asked.
    """
    tag, [mine] = tagged(hosting, S.ACTIVE)
    _, [active, paused] = tagged(hosting, S.ACTIVE, S.PAUSED)
    scoped = replace(ANN, name=f"so-{tag}", **{by + "s" if by == "tag" else "sessions": frozenset({tag, str(mine)})})
    filters = {"status": [S.ACTIVE]} if narrowed == "by filters too" else {}
    foreign = [active, paused, uuid4()]
    named = asked(ids=[mine, *foreign], **filters)
    foreseen = [item for item in bulk.preview(hosting.desk, scoped, named) if item.session_id != mine]
    came = [item for item in finish(hosting, named, scoped).items if item.session_id != mine]
    for found in (foreseen, came):
        assert {item.session_id for item in found} == set(foreign)
        told = {item.problem.replace(str(item.session_id), "ID") for item in found}
        assert len(told) == 1
        assert "pause_session session ID" in told.pop()
        left = {"session_id", "problem", "command_id", "finished_at", "wave"}
        assert {item.model_dump_json(exclude=left, exclude_none=True) for item in found} == {'{"state":"refused"}'}
    [row] = hosting.rows("SELECT * FROM audit WHERE actor = :name AND target LIKE 'bulk preview%'", name=scoped.name)
    assert (row["action"], row["outcome"]) == ("pause_session", "denied")
    assert all(str(one) in row["reason"] for one in foreign)


def test_a_run_of_sessions_out_of_scope_alone_is_denied_like_the_single_command(hosting):
    """Whether they are there or not, and whatever they are: Forbidden, and nothing is stored."""
    _, [mine, active] = tagged(hosting, S.ACTIVE, S.ACTIVE)
    scoped = replace(ANN, sessions=frozenset({str(mine)}))
    for ids in ([active], [uuid4()]):
        with pytest.raises(Forbidden, match=f"pause_session session {ids[0]}"):
            begin(hosting, asked(ids=ids), scoped)
    with pytest.raises(Forbidden):
        begin(hosting, asked(ids=[mine, active], status=[S.PAUSED]), scoped)
    assert bulk.recent(hosting.desk.engine, 1) == []


def test_what_a_run_does_stands_under_the_token_it_was_asked_with(hosting):
    """Each session's row names the token, as the row of the run does: who takes it back finds all it did."""
    tag, [mine] = tagged(hosting, S.ACTIVE)
    finish(hosting, asked(tag=tag), replace(ANN, token_id="tok-1"))
    written = hosting.rows("SELECT session_id FROM audit WHERE token_id = 'tok-1' ORDER BY session_id")
    assert [row["session_id"] for row in written] == [DESK, mine]


# --- what goes wrong -------------------------------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch):
    """Call with sessions that cannot be asked for as long as they are in the set."""
    stuck: set = set()
    honest = execute.command

    def command(desk, trigger, actor, arguments, command_id):
        if arguments.session_id in stuck:
            raise Busy("the session row", 2000)
        return honest(desk, trigger, actor, arguments, command_id)

    monkeypatch.setattr(execute, "command", command)
    return stuck


def test_a_wave_that_fails_stops_the_run_for_a_person(hosting, failing):
    """Too many that could not be asked: nobody of the next wave is; a person goes on, and nobody is asked twice."""
    tag, made = tagged(hosting, *[S.ACTIVE] * 4)
    failing |= set(made[:1])
    report = finish(hosting, asked(tag=tag, wave_size=2))
    assert (report.state, report.counts) == ("stopped", {"done": 1, "failed": 1, "waiting": 2})
    assert "busy" in next(item.problem for item in report.items if item.state == "failed")
    assert bulk.advance_due(hosting.desk, 1) == 0
    failing.clear()
    bulk.resume(hosting.desk.engine, ANN, report.bulk_id)
    report = bulk.advance(hosting.desk, report.bulk_id, all_waves=True)
    assert (report.state, report.counts) == ("finished", {"done": 4})
    check_run(hosting, report, T.PAUSE)


def test_few_failures_are_asked_again_at_the_end_once(hosting, failing):
    """One stuck session keeps nobody from being paused; asked again last, and still stuck, it waits for a person."""
    tag, made = tagged(hosting, *[S.ACTIVE] * 6)
    failing |= {made[0]}
    report = finish(hosting, asked(tag=tag, wave_size=5))
    assert (report.state, report.counts) == ("stopped", {"done": 5, "failed": 1})
    failing.clear()
    bulk.resume(hosting.desk.engine, ANN, report.bulk_id)
    assert bulk.advance(hosting.desk, report.bulk_id, all_waves=True).counts == {"done": 6}


def test_a_halts_run_holds_all_and_never_gives_up(hosting, failing):
    """Who runs is paused, who is paused is held too; what cannot be asked is asked again until it can."""
    tag, [active, paused, stuck] = tagged(hosting, S.ACTIVE, S.PAUSED, S.ACTIVE)
    halt_id = uuid4()
    hosting.run("INSERT INTO halts (halt_id, scope, reason, actor) VALUES (:id, 'all', 'test', 'ann')", id=halt_id)
    hosting.run("UPDATE halts SET released_at = now(), released_by = 'ann' WHERE halt_id = :id", id=halt_id)
    failing |= {stuck}
    run = begin(hosting, asked(tag=tag, halt_id=halt_id, arguments={"hold": "halt"}))
    for _ in range(3):
        report = bulk.advance(hosting.desk, run)
        assert (report.state, report.counts) == ("running", {"done": 2, "failed": 1})
        hosting.run(DUE)
    failing.clear()
    assert bulk.advance(hosting.desk, run).counts == {"done": 3}
    holds = [set(hosting.row(one)["holds"]) for one in (active, paused, stuck)]
    assert holds == [{"halt"}, {"person", "halt"}, {"halt"}]


def test_a_session_in_error_is_told_of_by_what_guards_it(hosting):
    """It takes no hold: a halt's run says what it does and does not do meanwhile, and what closes its positions."""
    tag, [active, broken] = tagged(hosting, S.ACTIVE, S.ACTIVE)
    halt_id = uuid4()
    hosting.run("INSERT INTO halts (halt_id, scope, reason, actor) VALUES (:id, 'all', 'test', 'ann')", id=halt_id)
    hosting.run("UPDATE halts SET released_at = now(), released_by = 'ann' WHERE halt_id = :id", id=halt_id)
    run = begin(hosting, asked(tag=tag, halt_id=halt_id, arguments={"hold": "halt"}))
    hosting.do(T.FAIL, broken, actor=SYSTEM, reason="it broke")
    report = bulk.advance(hosting.desk, run, all_waves=True)
    assert states(report) == {active: "done", broken: "refused"}
    [problem] = [item.problem for item in report.items if item.session_id == broken]
    assert "needs none: it opens nothing, its guard goes on with its exits" in problem
    assert f"fntx halt --scope session:{broken} --flatten --reason ..." in problem


def test_cancelled_it_asks_nobody_more(hosting):
    """Who was done stays done; the others are left alone, also by whoever was at it. Only changes are deeds."""
    tag, made = tagged(hosting, *[S.ACTIVE] * 3)
    run = begin(hosting, asked(tag=tag, wave_size=1, wave_pause_s=600))
    bulk.advance(hosting.desk, run)
    report = bulk.cancel(hosting.desk.engine, ANN, run)
    assert (report.state, report.counts) == ("cancelled", {"done": 1, "cancelled": 2})
    assert (report.cancelled_by, report.resumed_by) == ("ann", None)
    assert bulk.cancel(hosting.desk.engine, ANN, run).counts == report.counts
    bulk.resume(hosting.desk.engine, ANN, run)
    assert bulk.advance(hosting.desk, run, all_waves=True).counts == report.counts
    assert [hosting.row(one)["status"] for one in made] == [S.PAUSED, S.ACTIVE, S.ACTIVE]
    written = hosting.rows("SELECT target, args_hash FROM audit WHERE command_id = :id ORDER BY seq", id=run)
    assert len(bytes(written[0]["args_hash"])) == 32
    assert [row["target"].rpartition(": ")[2] for row in written] == ["begun on 3 sessions", "cancelled"]
    with pytest.raises(NotFound):
        bulk.cancel(hosting.desk.engine, ANN, uuid4())


def test_a_cancellation_in_the_middle_of_a_wave_ends_it(hosting):
    """The item under way is written down as what it came to; the next one is not asked."""
    tag, made = tagged(hosting, *[S.ACTIVE] * 3)
    run = begin(hosting, asked(tag=tag))

    cancelled = []

    def cancel_now(_connection, _cursor, statement, *_more):
        if "UPDATE bulk_items SET state = %(state)s" in statement and not cancelled:
            cancelled.append(run)
            bulk.cancel(hosting.desk.engine, ANN, run)

    event.listen(hosting.desk.engine, "before_cursor_execute", cancel_now)
    report = bulk.advance(hosting.desk, run)
    assert (report.state, report.counts) == ("cancelled", {"done": 1, "cancelled": 2})
    assert cancelled
    assert [hosting.row(one)["status"] for one in made].count(S.PAUSED) == 1


def test_a_run_another_is_at_is_left_to_it(hosting):
    """A claim keeps others off; once it lapses, whoever comes goes on."""
    tag, _ = tagged(hosting, S.ACTIVE)
    run = begin(hosting, asked(tag=tag))
    hosting.run("UPDATE bulk_runs SET claimed_until = now() + interval '1 hour' WHERE bulk_id = :id", id=run)
    assert bulk.advance(hosting.desk, run).counts == {"waiting": 1}
    assert bulk.advance_due(hosting.desk, 1) == 0
    hosting.run(LAPSE)
    assert bulk.advance_due(hosting.desk, 30) == 1


def test_ended_runs_are_forgotten_in_time(hosting):
    """Runs older than `bulk_keep_s` go with their items; younger ones, and those that wait, stay."""
    tag, _ = tagged(hosting, S.ACTIVE)
    old, young = (finish(hosting, asked(tag=tag)).bulk_id for _ in range(2))
    waiting = begin(hosting, asked(tag=tag))
    hosting.run("UPDATE bulk_runs SET finished_at = finished_at - interval '91 days' WHERE bulk_id = :id", id=old)
    assert bulk.forget_old(hosting.desk.engine, hosting.desk.settings) == 1
    assert {one.bulk_id for one in bulk.recent(hosting.desk.engine, 10)} == {young, waiting}
    assert hosting.rows("SELECT 1 FROM bulk_items WHERE bulk_id = :id", id=old) == []
