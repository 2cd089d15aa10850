"""Acting on the pages: what will happen is shown first, the command goes out in the person's own name, once."""

import base64
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid4

import pytest
from hosting import ANN, Hosting, S, T, make_hosting
from pages_world import PASSWORD, Answer, Pages, Person, pages_running
from running_desk import RunningDesk, frozen, quiet_desk
from sqlalchemy import text
from worker_process import wait_until

from fntx_sessions.database.engine import transaction
from fntx_sessions.lifecycle.people_arguments import ApprovalsQuery
from fntx_sessions.lifecycle.reads.approvals import list_approvals

__all__ = ["quiet_desk"]
SCRIPT = "<script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def hosting(quiet_desk: RunningDesk) -> Iterator[Hosting]:
    with make_hosting(quiet_desk.settings) as made:
        yield made


@pytest.fixture(scope="module")
def worker(quiet_desk: RunningDesk) -> Iterator[object]:
    with quiet_desk.worker() as process:
        yield process


@pytest.fixture(scope="module")
def pages(quiet_desk: RunningDesk, worker: object) -> Iterator[Pages]:
    short = {"FNTX_COMMAND_DEADLINE_S": "2", "FNTX_COMMAND_RESEND_S": "0.5", "FNTX_PAGES_ACT_WAIT_S": "5"}
    short["FNTX_DB_LOCK_TIMEOUT_MS"] = "30000"  # so that a table that is locked is a Postgres that does not answer
    with pages_running(quiet_desk, **short) as found:
        yield found


@pytest.fixture(scope="module")
def ann(pages: Pages) -> Person:
    return pages.somebody("operator", "risk_manager", name="ann")


def fields(answer: Answer) -> dict[str, str]:
    """Return what the hidden fields of a page's form hold."""
    assert answer.status in (200, 400), answer
    found = re.findall(r'<input type="hidden"[^>]* name="(\w+)" value="([^"]*)"', answer.text)
    return {name: unescape(value) for name, value in found if name != "_xsrf"}


def act(person: Person, path: str, **given: str) -> Answer:
    """Open the page of an action, fill in its form, send it, and return the page it leads to."""
    address = urlsplit(path)._replace(query="").geturl()
    return sent(person, address, fields(person.get(path)) | {"reason": "the day is odd"} | given)


def sent(person: Person, path: str, form: dict[str, str]) -> Answer:
    """Send a form and return the page of what became of it, once it is known: a busy machine may take its time."""
    pages: list[Answer] = []

    def known() -> bool:
        if not pages or "You may ask again" in told(pages[-1]):
            answer = person.post(path, form)
            assert answer.status == 303, answer
            address.append(answer.headers["Location"])
        pages.append(person.get(address[-1]))
        waits = ("Under way.", "Not known: nobody answered.", "You may ask again")
        return not any(words in told(pages[-1]) for words in waits)

    address: list[str] = []

    wait_until(known, "the outcome is known")
    return pages[-1]


def told(answer: Answer) -> str:
    """Return a page's words."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def path_of(session_id: UUID, action: str) -> str:
    return f"/sessions/{session_id}/act/{action}"


def test_a_pause_says_what_it_will_do_and_is_done_in_the_persons_own_name(ann, pages, hosting):
    """Status, orders, positions in dollars; then the outcome, and the audit names who logged in, with their reason."""
    session_id = hosting.holding(hosting.started())
    hosting.save(session_id)

    before = told(ann.get(path_of(session_id, "pause")))
    assert "becomes paused, which is reduce-only" in before
    assert "1 open position" in before
    assert "$" in before
    assert "No order is in flight" in before
    assert hosting.row(session_id)["status"] == "active"

    after = told(act(ann, path_of(session_id, "pause"), reason=f"headlines {SCRIPT}"))
    assert "Done." in after
    assert "The session is paused" in after
    [entry] = hosting.rows("SELECT * FROM audit WHERE session_id = :id AND action = 'pause_session'", id=session_id)
    assert (entry["actor"], entry["reason"]) == ("ann", f"headlines {SCRIPT}")


def test_what_somebody_wrote_is_shown_and_never_run(ann, hosting):
    """A reason that is a script is text on every page of actions."""
    session_id = hosting.started()
    act(ann, path_of(session_id, "pause"), reason=SCRIPT)
    for action in ("resume", "stop"):
        answer = ann.get(path_of(session_id, action))
        assert SCRIPT not in answer.text
        assert "&lt;script&gt;document.title" in answer.text


def test_a_form_that_is_sent_twice_acts_once(ann, hosting):
    """Its command's id is made when it is drawn."""
    session_id = hosting.started()
    hosting.step()
    form = fields(ann.get(path_of(session_id, "checkpoint"))) | {"reason": "before lunch", "note": "lunch"}

    first, second = (sent(ann, path_of(session_id, "checkpoint"), form) for _ in range(2))
    assert "Done." in told(first)
    assert "Done." in told(second)
    statement = "SELECT * FROM checkpoints WHERE session_id = :id AND checkpoint_type = 'manual'"
    [made] = hosting.rows(statement, id=session_id)
    assert (made["note"], made["created_by"]) == ("lunch", "ann")
    assert fields(ann.get(path_of(session_id, "checkpoint")))["command_id"] != form["command_id"]


def test_without_a_reason_nothing_is_sent(ann, hosting):
    """400; what was typed is still there."""
    session_id = hosting.started()
    address = path_of(session_id, "stop")
    form = fields(ann.get(address)) | {"reason": " .. ", "policy": "leave", "leave_positions_with": "the night desk"}
    answer = ann.post(address, form)
    assert answer.status == 400
    assert "Nothing was sent." in told(answer)
    assert 'value="the night desk"' in answer.text
    assert hosting.row(session_id)["status"] == "active"

    answer = ann.post(address, form | {"reason": "late", "leave_positions_with": " "})
    assert answer.status == 400
    assert "The field 'leave positions with' is missing" in told(answer)
    answer = ann.post(address, form | {"reason": "late", "command_id": "mine"})
    assert answer.status == 400
    assert hosting.row(session_id)["status"] == "active"


def test_a_stop_leaves_what_it_is_told_to_leave(ann, hosting):
    """The policy chosen goes with the command, and the page says what closing would cost."""
    session_id = hosting.holding(hosting.started())
    hosting.save(session_id)
    page = told(ann.get(path_of(session_id, "stop")))
    assert "Closing them" in page
    assert "last marks" in page

    after = told(act(ann, path_of(session_id, "stop"), policy="leave", leave_positions_with="the night desk"))
    assert "The session is closing" in after
    pending = hosting.row(session_id)["pending"]
    assert (pending["close_positions"], pending["leave_positions_with"]) == (False, "the night desk")


def test_what_would_be_refused_is_said_before(ann, hosting):
    """With the machine's own words; its button waits."""
    session_id = hosting.started()
    hosting.do(T.PAUSE, session_id, reason="headlines")
    page = ann.get(path_of(session_id, "pause"))
    assert "This would be refused now." in told(page)
    assert "set by ann (headlines)" in told(page)
    assert re.search(r'<button type="submit" form="act-form"[^>]* disabled>', page.text)
    # Sent all the same, it is the worker that refuses.
    after = told(act(ann, path_of(session_id, "pause")))
    assert "Refused: nothing was changed by it." in after


def test_of_two_who_act_at_once_the_second_learns_who_won_when_and_why(ann, pages, hosting):
    """What begins risk holds for what was shown alone; what ends it is done whatever came between."""
    session_id = hosting.started()
    hosting.do(T.PAUSE, session_id)
    bob = pages.somebody("operator", name="bob")
    form = fields(ann.get(path_of(session_id, "resume"))) | {"reason": "it is quiet again"}
    stopping = fields(ann.get(path_of(session_id, "stop"))) | {"reason": "enough", "policy": "close"}
    hosting.do(T.UPDATE, session_id, actor=ANN, add_hold="rule", reason="not yet")
    assert "Done." in told(act(bob, path_of(session_id, "resume"), reason="bob was quicker"))

    after = told(sent(ann, path_of(session_id, "resume"), form))
    assert "Refused" in after
    assert "last changed by bob" in after
    assert "What was done since you looked" in after
    assert "bob resume bob was quicker" in after
    assert "The session now active" in after
    after = told(sent(ann, path_of(session_id, "stop"), stopping))
    assert "The session is closing" in after
    assert "bob resume bob was quicker" in after


@pytest.mark.parametrize("action", ["pause", "stop", "checkpoint"])
def test_who_may_not_act_gets_no_form_and_no_command_through(pages, hosting, action):
    """A viewer, a password, an agent, a token of another session, another site, and nobody at all."""
    session_id = hosting.started()
    address = path_of(session_id, action)
    form = {"command_id": str(uuid4()), "reason": "mine now", "policy": "close"}
    looker = Person(pages.url, Authorization="Basic " + base64.b64encode(PASSWORD.encode()).decode())
    others = pages.somebody("operator", name="mallory", sessions=(str(uuid4()),))
    for person in (pages.somebody("viewer"), pages.somebody("agent"), looker, others):
        answer = person.get(address)
        assert answer.status == 403
        assert "act-form" not in answer.text
        assert person.post(address, form).status == 403
    operator = pages.somebody("operator", name="oscar")
    assert operator.post(address, form, forged=True).status == 403
    assert operator.post(address, form, Origin="https://evil.example").status == 403
    assert operator.post(address, form, **{"Sec-Fetch-Site": "cross-site"}).status == 403
    assert pages.nobody().post(address, form).status == 403
    assert hosting.row(session_id)["status"] == "active"
    assert not hosting.rows("SELECT 1 FROM commands WHERE command_id = :id", id=form["command_id"])


def test_what_a_page_denies_is_audited_as_a_workers_denial_is(pages, hosting):
    """Once a form, for lack of a role and of scope, in the session's chain or the desk's; a look is logged."""
    session_id = hosting.started()
    vera, mallory = (
        pages.somebody("viewer", name="vera"),
        pages.somebody("operator", name="mallory", sessions=(str(uuid4()),)),
    )
    form = {"command_id": str(uuid4()), "reason": "mine now"}
    assert vera.get(path_of(session_id, "pause")).status == 403
    assert [vera.post(path_of(session_id, "pause"), form).status for _ in range(2)] == [403, 403]
    assert mallory.post(path_of(session_id, "pause"), form).status == 403
    assert vera.post("/sessions/halts/place", form | {"scope": "all"}).status == 403
    denied = (
        "SELECT session_id, actor, action, target, reason FROM audit WHERE outcome = 'denied' AND command_id = :id"
        " ORDER BY actor DESC, action DESC"
    )
    found = hosting.rows(denied, id=form["command_id"])
    assert [(row["actor"], row["action"], row["target"]) for row in found] == [
        ("vera", "pause_session", f"session {session_id}"), ("vera", "halt", "scope all"),
        ("mallory", "pause_session", f"session {session_id}"),
    ]  # fmt: skip
    assert [row["session_id"] == session_id for row in found] == [True, False, True]
    assert "vera (roles viewer) may not pause_session: that needs" in found[0]["reason"]
    lines = [line for line in pages.log.read_text().splitlines() if "page_denied" in line and "vera" in line]
    assert len(lines) == 4
    assert str(session_id) in lines[0]
    assert "pause_session" in lines[0]


def test_the_short_id_that_every_page_shows_leads_to_its_session(pages, hosting):
    """As in a terminal; of none, or of one out of scope, it is said that there is no such session."""
    session_id, other = str(hosting.started()), str(uuid4())
    person, scoped = pages.somebody("viewer"), pages.somebody("viewer", sessions=(other,))
    assert person.get(f"/sessions/{session_id[:13]}").headers["Location"] == f"/sessions/{session_id}"
    for who, asked in ((person, other), (scoped, session_id)):
        answer = who.get(f"/sessions/{asked[:13]}")
        assert (answer.status, "there is no session" in answer.text) == (404, True)


def test_a_token_for_a_tag_sees_and_does_what_is_so_tagged(pages, hosting):
    """On the board, on a session's pages, in its curve and its forms; another session is a 403, as is Flower itself."""
    mine, other, tag = hosting.started(), hosting.started(), f"t-{uuid4().hex}"
    with transaction(hosting.desk.engine) as connection:
        sql = "UPDATE sessions SET tags = ARRAY[CAST(:tag AS text)] WHERE session_id = :id"
        connection.execute(text(sql), {"tag": tag, "id": mine})
    scoped = pages.somebody("operator", name="tess", tags=(tag,))
    board = scoped.get("/sessions")
    assert board.status == 200
    assert str(mine) in board.text
    assert str(other) not in board.text
    assert scoped.get("/sessions/events").status == 200
    for path in ("", "/rules", "/curve.json", "/act/pause"):
        assert scoped.get(f"/sessions/{mine}{path}").status == 200, path
        assert scoped.get(f"/sessions/{other}{path}").status == 403, path
    assert scoped.get("/tasks").status == 403
    act(scoped, path_of(mine, "pause"), reason="tagged")
    wait_until(lambda: hosting.row(mine)["status"] == "paused", "it is paused")
    assert hosting.row(other)["status"] == "active"


def test_a_token_for_some_sessions_learns_nothing_of_other_halts(ann, pages, hosting):
    """Neither what is in scope, nor that there is such a scope, nor who halted it and why; of their own, all of it."""
    mine, other = hosting.started(), hosting.started()
    reason = "a reason that is not theirs"
    for session_id in (mine, other):
        act(ann, f"/sessions/halts/place?scope=session:{session_id}", reason=reason)
    scoped = pages.somebody("operator", name="sid", sessions=(str(mine),))
    for scope in ("all", "account:DU1", "account:nobody", "template:Manual Override", f"session:{other}"):
        answer = scoped.get(f"/sessions/halts/place?scope={quote(scope)}")
        assert answer.status == 200
        page = told(answer)
        assert "may not halt" in page
        assert "Unfinished sessions" not in page
        assert reason not in page
    assert reason in told(scoped.get(f"/sessions/halts/place?scope=session:{mine}"))
    assert "may not halt" not in told(scoped.get(f"/sessions/halts/place?scope=session:{str(mine)[:18]}"))

    halts = hosting.rows("SELECT scope_name, halt_id FROM halts WHERE released_at IS NULL AND reason = :r", r=reason)
    ended = {row["scope_name"]: f"/sessions/halts/place?command={row['halt_id']}" for row in halts}
    assert reason in told(scoped.get(ended[str(mine)]))
    assert reason not in told(scoped.get(ended[str(other)]))
    assert reason in told(ann.get(ended[str(other)]))


def test_only_a_risk_manager_accepts_and_releases(pages, hosting):
    """Roles are asked action by action."""
    operator = pages.somebody("operator")
    assert operator.get(path_of(hosting.started(), "accept")).status == 403
    assert operator.get(f"/sessions/halts/{uuid4()}/release").status == 403
    assert operator.get(path_of(hosting.started(), "nothing")).status == 404
    assert operator.get(path_of(uuid4(), "pause")).status == 404


def test_a_recovery_shows_its_plan_and_takes_a_checkpoint_by_name(ann, hosting):
    """What would be lost and how sure that is; an ERROR is left for a named checkpoint alone."""
    session_id = hosting.holding(hosting.started())
    hosting.save(session_id)
    made = hosting.do(T.CHECKPOINT, session_id).extra["checkpoint_id"]
    hosting.do(T.SUSPEND, session_id, reason="its agents are dead")
    page = ann.get(path_of(session_id, "recover"))
    assert "Memory that would be lost" in told(page)
    assert "never put back: the broker and the ledger hold them" in told(page)

    after = told(act(ann, path_of(session_id, "recover"), checkpoint_id=made))
    assert "Done." in after
    assert "memory lost (RPO)" in after
    assert hosting.row(session_id)["status"] == "paused"
    asked = f"{path_of(session_id, 'recover')}?checkpoint_id={made}"
    assert re.search(rf'value="{made}" selected', ann.get(asked).text)


def test_an_opening_that_waits_is_decided_once(ann, pages, hosting):
    """Shown whole, with what it may lose; who comes second is told who decided."""
    session_id = hosting.started("manual_override", config={"approval_drift_max": 10.0})
    asked = ApprovalsQuery(session_id=session_id)
    hosting.walk(session_id, lambda _: list_approvals(hosting.desk.engine, hosting.desk.redis, asked))
    [approval] = list_approvals(hosting.desk.engine, hosting.desk.redis, asked)
    way = f"/sessions/{session_id}/approvals/{approval.approval_id}"
    assert f"${approval.risk_usd:,.2f}" in told(ann.get(f"{way}/approve"))

    assert "Done." in told(act(ann, f"{way}/reject", reason="too near to the close"))
    bob = pages.somebody("operator", name="bob")
    page = told(bob.get(f"{way}/approve"))
    assert "This would be refused now." in page
    assert "decided by ann" in page
    assert "decided by ann" in told(act(bob, f"{way}/approve"))
    assert bob.get(f"/sessions/{session_id}/approvals/{uuid4()}/approve").status == 404


def test_an_event_is_acknowledged_with_what_was_done(ann, pages, hosting):
    """Once; the first word stands."""
    session_id = hosting.started()
    hosting.do(T.SUSPEND, session_id, reason="its agents are dead")
    [event] = hosting.events(session_id, "session_suspended")
    way = f"/sessions/{session_id}/events/{event['event_id']}/ack"
    assert "session_suspended" in told(ann.get(way))

    assert "Done." in told(act(ann, way, reason="restarted the host"))
    [event] = hosting.events(session_id, "session_suspended")
    assert (event["acknowledged_by"], event["action_taken"]) == ("ann", "restarted the host")
    assert "ann did so" in told(pages.somebody("operator", name="bob").get(way))
    assert ann.get(f"/sessions/{session_id}/events/{uuid4()}/ack").status == 404


def test_a_halt_is_seen_before_it_is_placed_and_ends_by_a_release(ann, pages, hosting):
    """How many sessions and positions are in scope; nothing is resumed by its end."""
    session_id = hosting.holding(hosting.started())
    assert 'id="act-form"' not in ann.get("/sessions/halts/place").text
    address = f"/sessions/halts/place?scope=session:{session_id}"
    page = told(ann.get(address))
    assert "1 that run are paused" in page
    assert "1 open position" in page
    assert ann.get("/sessions/halts/place?scope=nonsense").status == 400

    after = told(act(ann, address, reason="fat finger"))
    assert "is halted, by ann" in after
    wait_until(lambda: hosting.row(session_id)["status"] == "paused", "it is paused")
    [halt] = hosting.rows("SELECT halt_id, flatten FROM halts WHERE scope_name = :id", id=str(session_id))
    assert not halt["flatten"]
    assert "is halted by ann" in told(pages.somebody("operator", name="bob").get(path_of(session_id, "resume")))
    after = told(act(ann, f"/sessions/halts/{halt['halt_id']}/release", reason="it was a drill"))
    assert "is over, by ann" in after
    assert "1 sessions stay as they are" in after
    after = told(act(pages.somebody("risk_manager", name="rita"), f"/sessions/halts/{halt['halt_id']}/release"))
    assert "Refused: nothing was changed by it. It was over already" in after
    assert "is over, by ann" in after
    assert hosting.row(session_id)["status"] == "paused"


def test_a_command_that_nobody_answers_is_asked_for_again_under_its_own_id(ann, hosting, worker):
    """Not known, how to ask again, and the halt that needs nobody to answer; asked again it is done, once."""
    session_id = hosting.started()
    before = hosting.row(session_id)["version"]
    form = fields(ann.get(path_of(session_id, "pause"))) | {"reason": "the day is odd"}
    with frozen(worker):
        page = ann.get(ann.post(path_of(session_id, "pause"), form).headers["Location"])
        assert "Not known: nobody answered." in told(page)
        assert f"without Redis and workers: fntx halt --scope session:{session_id} --flatten" in told(page)
        assert 'form="again"' in page.text
        assert hosting.row(session_id)["status"] == "active"
    after = told(sent(ann, path_of(session_id, "pause"), fields(page)))
    assert "Done." in after
    assert hosting.row(session_id)["version"] == before + 1
    assert (
        len(hosting.rows("SELECT 1 FROM transitions WHERE session_id = :id AND to_status = 'paused'", id=session_id))
        == 1
    )


def test_while_postgres_is_silent_what_flower_knows_of_a_command_is_shown(ann, pages, hosting, worker):
    """Never that nothing was changed: it is not known, how to ask again; once Postgres answers, it is done.

    A form that was open before is still answered, with its own fields.
    """
    session_id = hosting.started()
    pause, stop = path_of(session_id, "pause"), path_of(session_id, "stop")
    form = fields(ann.get(pause)) | {"reason": "headlines"}
    assert ann.get(stop).status == 200
    with ThreadPoolExecutor(3) as threads, frozen(worker), transaction(hosting.desk.engine) as silent:
        silent.execute(text("LOCK TABLE sessions, commands IN ACCESS EXCLUSIVE MODE"))
        address = ann.post(pause, form).headers["Location"]
        looks = [threads.submit(ann.get, path) for path in (address, stop, f"{pause}?command={uuid4()}")]
        outcome, again, unknown = (look.result() for look in looks)
    assert (outcome.status, again.status, unknown.status) == (200, 200, 200)
    assert "Not known: nobody answered." in told(outcome)
    assert "out of reach" in told(outcome)
    assert "Nothing was changed" not in told(outcome)
    assert 'form="again"' in outcome.text
    assert "Flower itself does not know this command" in told(unknown)
    assert 'name="policy"' in again.text
    assert "out of reach" in told(again)
    wait_until(lambda: "Done." in told(ann.get(address)), "the outcome is shown")
    assert hosting.row(session_id)["status"] == "paused"


def test_an_id_of_another_command_is_not_taken_for_done(ann, pages, hosting):
    """Whoever sends another command under it is told that it was not done; so is whoever asks for its outcome."""
    session_id, other = hosting.started(), hosting.started()
    form = fields(ann.get(path_of(session_id, "pause"))) | {"reason": "lunch"}
    assert "Done." in told(sent(ann, path_of(session_id, "pause"), form))

    stopping = form | {"policy": "close"}
    assert ann.post(path_of(session_id, "stop"), stopping).status == 400
    for name, one in (("bob", session_id), ("carl", other)):
        after = told(sent(pages.somebody("operator", name=name), path_of(one, "stop"), stopping))
        assert "Refused: nothing was changed by it." in after
        assert "that of another command" in after
        assert hosting.row(one)["status"] in ("paused", "active")
    assert ann.get(f"{path_of(session_id, 'stop')}?command={form['command_id']}").status == 400


def test_a_version_that_is_no_number_is_said_so(ann, hosting):
    """In an address it is refused by name; in a form nothing but the list of what others did goes without it."""
    session_id = hosting.started()
    address = path_of(session_id, "pause")
    assert ann.get(f"{address}?command={uuid4()}&seen=%C2%B2").status == 400
    form = fields(ann.get(address)) | {"reason": "lunch", "seen": "\u00b2"}
    assert "Done." in told(sent(ann, address, form))


def test_a_command_of_which_nothing_is_known_here_is_not_made_up(ann, hosting):
    """Nor asked again by guesswork."""
    session_id = hosting.started()
    address = path_of(session_id, "pause")
    assert "Not known here." in told(ann.get(f"{address}?command={uuid4()}"))
    assert ann.get(f"{address}?command=x").status == 400
    assert ann.post(address, {"command_id": str(uuid4()), "again": "yes"}).status == 400
    assert hosting.row(session_id)["status"] == S.ACTIVE


def test_no_token_is_in_a_page_an_address_or_the_log(pages, hosting):
    """Commands are sent with it; nothing shows it."""
    token = pages.token("operator", name="olga")
    olga = pages.nobody()
    assert olga.post("/login", {"token": token}).status == 302
    session_id = hosting.started()
    form = fields(olga.get(path_of(session_id, "pause"))) | {"reason": "lunch"}
    answer = olga.post(path_of(session_id, "pause"), form)
    page = olga.get(answer.headers["Location"])
    assert "Done." in told(page)
    assert token not in page.text + answer.headers["Location"] + pages.log.read_text()
    assert token.split(".")[2] not in pages.log.read_text()
