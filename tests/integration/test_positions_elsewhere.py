"""Positions that agents of another service hold at a broker of theirs: no stop ends over them as flat."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import pytest
from hosting import ANN, S, T, shared
from rules_world import RuledDesk, ruled_desk

from fntx_sessions.automation import flattening, halts
from fntx_sessions.automation.halt_arguments import HaltArguments
from fntx_sessions.cli import details
from fntx_sessions.exceptions import Forbidden, InvalidArgument, PreconditionFailed
from fntx_sessions.lifecycle.arguments import ListArguments
from fntx_sessions.lifecycle.elsewhere import read_elsewhere
from fntx_sessions.lifecycle.reads.metrics import get_metrics
from fntx_sessions.lifecycle.reads.sessions import get_session, list_sessions, with_elsewhere
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.redis_client import build_redis, key

THEIRS = "TheirAgent"


@pytest.fixture
def desk(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[RuledDesk]:
    with ruled_desk(shared(tmp_path, module_database_url, redis_url)) as made:
        made.at("11:00:00")
        yield made


def report(desk: RuledDesk, session_id: UUID, *legs: dict, **more) -> None:
    """Report these positions, and nothing else but what is given, at the moment of the desk's clock."""
    said = orjson.dumps({"open_positions": list(legs), **more})
    epoch = desk.row(session_id)["epoch"]
    LiveState(desk.desk.redis, desk.desk.settings).report(Report(session_id, epoch, THEIRS, {"trading": said}))
    desk.desk.redis.hset(key(session_id, "live"), f"beat:{THEIRS}", int(desk.now().timestamp() * 1000))


def shown(desk: RuledDesk, session_id: UUID):
    return get_session(*desk.desk.parts(), session_id)


def stopping(desk: RuledDesk, **asked) -> UUID:
    """A stop asked for while nine short puts are reported, looked at once."""
    session_id = desk.remote()
    report(desk, session_id, desk.leg(-9))
    desk.do(T.STOP, session_id, **asked)
    return session_id


def test_a_stop_waits_while_its_agents_report_open_positions_and_ends_when_they_report_none(desk):
    """Still CLOSING however often it is looked at; told of once, critically; an empty book ends it by itself."""
    session_id = stopping(desk)
    for _ in range(3):
        assert desk.finish() == {"waiting": 1}
    assert desk.status(session_id) is S.CLOSING
    [told] = desk.events(session_id, "positions_elsewhere")
    assert told["severity"] == "critical"
    assert told["requires_action"]
    assert "9 short puts (-9 SPY 2018-01-09 200 put)" in told["description"]
    assert "not ours to close" in told["description"]
    report(desk, session_id)
    assert desk.finish() == {"stop_done": 1}
    assert desk.status(session_id) is S.CLOSED
    assert desk.why(session_id) == "the book matches the stop's policy"


def test_a_limit_that_stops_is_followed_to_its_end(desk):
    """`on_breach` stop, from the report that breaks the limit to the report that ends the stop."""
    session_id = desk.remote(on_breach="stop")
    desk.publish()
    report(desk, session_id, desk.leg(-9))
    desk.sweep()
    assert desk.status(session_id) is S.CLOSING
    assert desk.finish() == {"waiting": 1}
    report(desk, session_id, desk.leg(-4))
    assert desk.finish() == {"waiting": 1}
    assert "4 short puts" in shown(desk, session_id).waiting_for
    report(desk, session_id)
    assert desk.finish() == {"stop_done": 1}


def test_its_agents_are_told_with_the_policy(desk):
    """session_stopped says whether positions are to be closed, and with whom they are left otherwise."""
    left = {"close_positions": False, "leave_positions_with": "bo"}
    for asked, policy in [({}, (True, None)), (left, (False, "bo"))]:
        session_id = stopping(desk, **asked)
        entries = desk.desk.redis.xrange(key(session_id, "inbox"))
        [told] = [found for _, fields in entries for found in fields.values() if b"session_stopped" in found][-1:]
        said = orjson.loads(told)
        assert (said["close_positions"], said["leave_positions_with"]) == policy
        report(desk, session_id)
        desk.finish()


def test_past_its_deadline_a_person_is_called_with_what_is_open_and_what_to_run(desk):
    """requires_action names the positions, says who has to be called, and the command that ends it knowingly."""
    session_id = stopping(desk, stop_deadline_s=60)
    assert desk.finish() == {"waiting": 1}
    desk.later(61)
    report(desk, session_id, desk.leg(-9))
    assert desk.finish() == {"called_a_person": 1}
    assert desk.finish() == {"waiting": 1}
    what = desk.row(session_id)["requires_action"]
    assert "9 short puts" in what
    assert "or the broker" in what
    assert f"fntx accept {session_id} --reason" in what


def test_silence_is_not_flat_and_says_what_was_known_last(desk):
    """A report that has become old still counts: what was open, and how long ago it was said."""
    session_id = stopping(desk)
    desk.later(40)
    assert desk.finish() == {"waiting": 1}
    assert (
        "last known: 9 short puts (-9 SPY 2018-01-09 200 put), reported 40 s ago" in shown(desk, session_id).waiting_for
    )


def test_an_empty_book_that_is_told_too_late_to_count_ends_nothing(desk):
    """Reported flat once and never again: what was noted as open stands until they say so again."""
    session_id = stopping(desk)
    assert desk.finish() == {"waiting": 1}
    report(desk, session_id)
    desk.later(120)
    assert desk.finish() == {"waiting": 1}
    assert "9 short puts" in shown(desk, session_id).waiting_for
    report(desk, session_id)
    assert desk.finish() == {"stop_done": 1}


@pytest.mark.parametrize("saved", [True, False])
def test_a_flushed_redis_forgets_no_position(desk, saved):
    """Live state gone: the latest save says what was open, or what the stop noted as it began."""
    session_id = stopping(desk)
    if saved:
        desk.save(session_id)
    else:
        assert desk.finish() == {"waiting": 1}
    desk.desk.redis.delete(key(session_id, "live"))
    assert desk.finish() == {"waiting": 1}
    waits = shown(desk, session_id).waiting_for
    assert waits.startswith("last known: 9 short puts (-9 SPY 2018-01-09 200 put), reported 0 s ago")
    assert "live state is gone" in waits
    assert len(shown(desk, session_id).trading_state.open_positions) == (1 if saved else 0)


@pytest.mark.parametrize("said", [{"daily_pnl": -5}, {"open_positions": [{"quantity": -1}]}])
def test_a_report_that_leaves_positions_out_or_cannot_be_true_is_no_flat_book(desk, said):
    """Agents that report money are believed to trade: what they do not say of positions is not zero."""
    session_id = desk.remote()
    report(desk, session_id)
    desk.desk.redis.hset(key(session_id, "live"), "part:trading", orjson.dumps(said))
    desk.do(T.STOP, session_id)
    assert desk.finish() == {"waiting": 1}
    assert "do not say what they hold" in shown(desk, session_id).waiting_for


def test_orders_that_work_elsewhere_keep_a_stop_open_too(desk):
    """No position yet, but an order that may fill any moment."""
    session_id = desk.remote()
    order = {
        "client_order_id": "o", "symbol": "SPY", "side": "sell", "quantity": 1, "opening": True, "status": "working",
        "created_at": desk.now().isoformat(),
    }  # fmt: skip
    report(desk, session_id, pending_orders=[order])
    desk.do(T.STOP, session_id)
    assert desk.finish() == {"waiting": 1}
    assert "1 working order" in shown(desk, session_id).waiting_for


def test_agents_that_never_reported_money_keep_no_stop_open(desk):
    """A remote agent that only watches: nothing is known to be open anywhere."""
    session_id = desk.remote()
    desk.do(T.STOP, session_id)
    assert desk.finish() == {"stop_done": 1}


def test_the_guard_that_steps_a_stop_does_not_write_over_what_its_agents_report(desk):
    """Our own guard knows an empty book; the report of nine puts stands, and the stop goes on waiting."""
    session_id = stopping(desk)
    desk.publish()
    assert desk.step() == 1
    desk.publish()
    desk.step()
    assert desk.finish() == {"waiting": 1}
    assert "9 short puts" in shown(desk, session_id).held_elsewhere


def test_a_mixed_roster_waits_for_what_its_remote_agents_hold(desk):
    """A hosted watcher, or a hosted risk manager, beside an agent that trades elsewhere: its book hides nothing."""
    for hosted in ("EnvironmentWatcherAgent", "RiskManagerAgent"):
        session_id = desk.remote(agents=[hosted, THEIRS])
        report(desk, session_id, desk.leg(-9))
        desk.publish()
        desk.step()
        desk.do(T.STOP, session_id)
        desk.run("UPDATE session_work SET step_claimed_until = NULL WHERE session_id = :id", id=session_id)
        assert desk.finish() == {"waiting": 1}, hosted
        report(desk, session_id)
        assert desk.finish() == {"stop_done": 1}


def test_where_a_hosted_executor_trades_the_broker_alone_is_asked(desk):
    """Positions go through our own gate: what an adviser reports of them keeps no stop open."""
    session_id = desk.remote(agents=["TacticalExecutorAgent", THEIRS])
    report(desk, session_id, desk.leg(-9))
    assert read_elsewhere(*desk.desk.parts(), [session_id]) == {}
    desk.do(T.STOP, session_id)
    assert desk.finish() == {"stop_done": 1}


def test_leaving_positions_names_them_and_with_whom(desk):
    """A stop whose policy is to leave them closes at once, and its close says what is left."""
    session_id = stopping(desk, close_positions=False, leave_positions_with="bo")
    assert desk.finish() == {"stop_done": 1}
    assert "leaves positions to bo: its agents report 9 short puts" in desk.why(session_id)


def test_a_risk_manager_may_end_it_knowingly_and_nobody_else(desk):
    """`fntx accept`: with a reason, audited; the close says who accepted what, and does not call the book flat."""
    session_id = stopping(desk)
    with pytest.raises(PreconditionFailed):  # not looked at yet: there is nothing to accept
        desk.do(T.ACCEPT, session_id, reason="by phone")
    assert desk.finish() == {"waiting": 1}
    with pytest.raises(Forbidden):
        desk.do(T.ACCEPT, session_id, actor=Actor("op", frozenset({"operator"})), reason="by phone")
    with pytest.raises(InvalidArgument, match="reason"):
        desk.do(T.ACCEPT, session_id)
    desk.do(T.ACCEPT, session_id, reason="closed by phone")
    assert desk.finish() == {"stop_done": 1}
    assert desk.why(session_id).startswith(
        f"accepted as it is by {ANN.name} (closed by phone): its agents report 9 short"
    )
    [left] = desk.events(session_id, "positions_left_elsewhere")
    assert "closed by phone" in left["description"]
    last = desk.rows("SELECT * FROM transitions WHERE session_id = :id ORDER BY version DESC LIMIT 1", id=session_id)[0]
    assert last["post_conditions_met"]["book_matches_policy"] is False


def test_what_is_shown_of_it_is_what_they_report_and_never_zero_for_unknown(desk):
    """Positions in `show`, in `ls` too; what is left of limits is not known; measures say whose book they are of."""
    session_id = desk.remote()
    report(desk, session_id, desk.leg(-9))
    whole = shown(desk, session_id)
    assert [one.quantity for one in whole.trading_state.open_positions] == [-9]
    assert (whole.trading_state.max_daily_loss_remaining, whole.trading_state.position_limit_remaining) == (None, None)
    told = details.limits(whole.model_dump(mode="json"))
    assert "$0.00" not in told["daily loss limit"]
    assert "what is left is not known" in told["daily loss limit"]
    assert "what is left is not known" in told["position limit"]
    listed = with_elsewhere(*desk.desk.parts(), list_sessions(desk.desk.engine, ListArguments()))
    [held] = [one.held_elsewhere for one in listed if one.session_id == session_id]
    assert held.startswith("its agents report 9 short puts")
    measures = get_metrics(desk.desk.engine, session_id)
    assert measures.notice.startswith("Its agents trade elsewhere")
    assert "elsewhere" in details.measures(measures.model_dump(mode="json"))["note"]


@pytest.mark.parametrize("live", [True, False])
def test_a_halt_that_flattens_says_what_is_open_elsewhere_and_does_not_wait_for_it(desk, live):
    """Not `closed` and not `flat`: open, with how many, who was told and whom to call; asked again, the same."""
    session_id = desk.remote()
    report(desk, session_id, desk.leg(-9))
    desk.save(session_id)
    asked = HaltArguments(scope=f"session:{session_id}", reason="drill", flatten=True)
    for _ in range(2):
        placed = halts.halt(desk.desk, ANN, asked, uuid4(), within_s=30)
        at = desk.desk if live else replace(desk.desk, redis=build_redis("unix:///nonexistent", desk.desk.settings))
        [found] = flattening.flatten(at, ANN, placed.halt.halt_id, live=live, within_s=600)
        assert (found.state, found.positions) == ("open", 9)
        assert "9 short puts" in found.why
        assert "not ours to close" in found.why
    desk.run("UPDATE halts SET released_at = now(), released_by = 'test' WHERE released_at IS NULL")
    if not live:  # this process takes Redis to be away for a while yet
        return
    report(desk, session_id)
    desk.finish()
    [found] = flattening.report(desk.desk, placed.halt.halt_id, {})
    assert (found.state, found.positions, desk.status(session_id)) == ("closed", 0, S.CLOSED)


def test_while_redis_is_away_no_book_elsewhere_is_taken_to_be_flat(desk):
    """What was saved as flat may be otherwise by now: nobody can say, and the stop does not end."""
    session_id = desk.remote()
    report(desk, session_id)
    desk.save(session_id)
    away = replace(desk.desk, redis=build_redis("unix:///nonexistent", desk.desk.settings))
    found = read_elsewhere(*away.parts(), [session_id])[session_id]
    assert (found.flat, found.out_of_reach) == (False, True)
    assert "Redis, where they report, is out of reach" in found.told()
