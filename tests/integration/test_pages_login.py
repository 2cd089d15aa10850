"""Who sees Flower and the Sessions pages, and what keeps others out."""

import base64
from collections.abc import Iterator
from uuid import uuid4

import pytest
from pages_world import PASSWORD, Answer, Pages, Person, pages_running
from running_desk import RunningDesk, quiet_desk
from worker_process import wait_until

from fntx_sessions.exceptions import StackError
from fntx_sessions.monitoring.flower.loading import _with_menu

__all__ = ["quiet_desk"]
FLOWERS_OWN = ("/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks", "/tasks/datatable")
# Nothing here is away: a busy machine may take its time.
PATIENT = {"FNTX_PAGES_PATIENCE_S": "20"}
OURS = ("/sessions", "/sessions/186d8101-4bf0-43d2-b12c-a7d80fdbae31")


@pytest.fixture(scope="module")
def pages(quiet_desk: RunningDesk) -> Iterator[Pages]:
    with pages_running(quiet_desk, **PATIENT) as found:
        yield found


@pytest.fixture(scope="module")
def opened(quiet_desk: RunningDesk) -> Iterator[Pages]:
    """A Flower that was opened by name, its controls too, under the path of a proxy with TLS."""
    set_so = {"FNTX_FLOWER_AUTH": "open", "FNTX_FLOWER_BEHIND_TLS": "true"} | PATIENT
    with pages_running(quiet_desk, "--read_only=False", prefix="flower", **set_so) as found:
        yield found


def looker(pages: Pages, login: str = PASSWORD) -> Person:
    return Person(pages.url, Authorization="Basic " + base64.b64encode(login.encode()).decode())


def bearer(pages: Pages, token: str) -> Person:
    return Person(pages.url, Authorization=f"Bearer {token}")


def cookie_of(answer: Answer) -> set[str]:
    """Return what is said of the cookie of a login that has begun."""
    [found] = [one for one in answer.headers.get_all("Set-Cookie", []) if one.startswith("fntx_login=")]
    return set(found.split("; ")[1:])


def xsrf_cookies(person: Person) -> list[str]:
    return [cookie.name for cookie in person.cookies]


@pytest.mark.parametrize("path", [*FLOWERS_OWN, *OURS])
def test_without_a_login_there_is_only_the_login(pages, path):
    """Flower's own pages and ours send everybody there; what a page shows is not in the answer."""
    answer = pages.nobody().get(path)
    assert answer.status == 302
    assert "/login?next=" in answer.headers["Location"]
    assert "worker" not in answer.text


def test_what_needs_no_login_says_nothing_of_sessions(pages):
    """The login page, its styles, whether Flower lives; figures for this machine."""
    nobody = pages.nobody()
    for path in ("/login", "/healthcheck", "/sessions/static/fntx.css", "/metrics"):
        assert nobody.get(path).status == 200, path


def test_a_token_opens_flower_and_the_board(pages):
    """Of any role; Flower's menu names the board."""
    viewer = pages.somebody("viewer")
    for path in ("/", "/workers", "/sessions"):
        answer = viewer.get(path)
        assert answer.status == 200
        assert 'href="/sessions"' in answer.text


def test_a_token_that_does_not_verify_is_told_why(pages):
    """403, the reason, no login."""
    person = pages.nobody()
    answer = person.post("/login", {"token": pages.token("viewer") + "x"})
    assert answer.status == 403
    assert "signature" in answer.text or "verified" in answer.text
    assert xsrf_cookies(person) == ["_xsrf"]
    assert person.get("/sessions").status == 302


def test_after_the_login_they_are_where_they_wanted_to_be_on_this_site_alone(pages):
    """A foreign `next` leads nowhere."""
    for given, led in (
        ("/sessions?text=a%26b'&sort=pnl", "/sessions?text=a%26b'&sort=pnl"),
        ("", "/sessions"),
        ("//evil.example/x", "/"),
        ("https://evil.example", "/"),
        ("/x\r\nSet-Cookie: z=1", "/sessions"),
        ("/\x0b/evil", "/sessions"),
        ("/\x01/evil", "/sessions"),
    ):
        answer = pages.nobody().post("/login", {"token": pages.token("viewer"), "next": given})
        assert (answer.status, answer.headers["Location"]) == (302, led)


def test_a_login_ends_with_its_token(pages):
    """However long its cookie would be good."""
    person = pages.nobody()
    assert (
        person.post("/login", {"token": pages.token("viewer", ttl_s=1 - pages.desk.settings.token_leeway_s + 1)}).status
        == 302
    )
    wait_until(lambda: person.get("/sessions").status == 302, "the login ended")


def test_a_logout_ends_the_login_not_the_cookie_alone(pages):
    """Whoever kept the cookie gets nothing with it."""
    person, thief = pages.somebody("viewer"), pages.nobody()
    for cookie in person.cookies:
        thief.cookies.set_cookie(cookie)
    assert thief.get("/sessions").status == 200
    assert person.get("/logout").status == 302
    assert thief.get("/sessions").status == 302


def test_cookies_are_for_this_site_and_not_for_scripts(pages):
    """HttpOnly and SameSite; the token is in none of them."""
    token = pages.token("viewer")
    person = pages.nobody()
    answer = person.post("/login", {"token": token})
    assert cookie_of(answer) == {"HttpOnly", "Path=/", "SameSite=Lax"}
    assert not any(token[-20:] in (cookie.value or "") for cookie in person.cookies)


def test_a_password_looks_and_does_nothing(pages):
    """Right: every page; wrong: 401 and a browser's question; a form: 403."""
    assert looker(pages).get("/sessions").status == 200
    assert looker(pages).get("/workers").status == 200
    for wrong in ("looker:wrong", "lööker:nö", ":", "x"):
        assert looker(pages, wrong).get("/sessions").status == 401, wrong
    assert pages.nobody().get("/look").headers["WWW-Authenticate"].startswith("Basic")
    assert looker(pages).get("/look").status == 302
    assert looker(pages).post("/api/worker/shutdown/x", {}).status == 403


def test_a_token_in_a_header_looks_and_does_nothing(pages):
    """For programs that fetch a page, whatever its roles: no forms. One that does not verify is 401."""
    program = bearer(pages, pages.token("operator", "admin"))
    assert program.get("/sessions").status == 200
    assert program.get("/sessions/halts/place").status == 403
    assert program.post("/sessions/halts/place", {"scope": "all", "reason": "why"}).status == 403
    assert bearer(pages, "eyJ%s").get("/sessions").status == 401


def test_what_is_live_by_a_token_in_a_header_ends_with_the_token(pages):
    """As it does for a login."""
    program = bearer(pages, pages.token("viewer", ttl_s=2 - pages.desk.settings.token_leeway_s))
    answer = program.get("/sessions", Accept="text/event-stream")
    assert answer.status == 200
    assert '"over":true' in answer.text


def test_an_open_page_is_told_that_its_login_has_ended(pages):
    """Where Flower began anew it knows nobody; a stream that is sent to the login's form would look like silence."""
    for path in ("/sessions", "/sessions/halts/place"):
        answer = pages.nobody().get(path, Accept="text/event-stream")
        assert answer.status == 200
        assert '"over":true' in answer.text
        assert pages.nobody().get(path).status == 302


def test_a_token_for_some_sessions_shows_nothing_else(pages):
    """Not Flower's pages, where every session's tasks are, nor another session's."""
    mine, other = str(uuid4()), str(uuid4())
    person = pages.somebody("operator", sessions=(mine,))
    assert person.get("/sessions").status == 200
    assert person.get(f"/sessions/{other}").status == 403
    for path in FLOWERS_OWN:
        assert person.get(path).status == 403, path


def test_forms_from_elsewhere_are_refused(pages):
    """Without what only our pages know, or from another site's page, though the cookie comes along."""
    admin, token = pages.somebody("admin"), pages.token("viewer")
    assert admin.post("/login", {"token": token}, forged=True).status == 403
    assert admin.post("/login", {"token": token}, Origin="https://evil.example").status == 403
    assert admin.post("/login", {"token": token}, **{"Sec-Fetch-Site": "cross-site"}).status == 403
    assert admin.post("/login", {"token": token}, Origin=pages.url).status == 302


def test_flowers_controls_are_shut(pages):
    """To everybody, an administrator included."""
    for path in ("/api/worker/shutdown/x@y", "/api/task/async-apply/fntx.sessions.stop", "/api/task/revoke/x"):
        assert pages.somebody("admin").post(path, {}).status == 403, path


def test_every_page_of_ours_tells_the_browser_what_it_may_load(pages):
    """Nothing inline, nothing from another host, in no frame; and no page is kept by a cache."""
    for path in ("/login", "/sessions"):
        headers = pages.somebody("viewer").get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in pages.somebody("viewer").get("/workers").headers["Content-Security-Policy"]


def test_no_token_is_in_the_log(pages):
    """Nor a part of one."""
    token = pages.token("operator", name="somebody-special")
    person = pages.nobody()
    person.post("/login", {"token": token})
    person.get("/sessions")
    pages.nobody().post("/login", {"token": token[:-4]})
    assert token.split(".")[1][:30] not in pages.log.read_text()


def test_opened_by_name_everybody_looks_and_nobody_acts(opened):
    """Without a login: pages yes, forms and controls no; under a path, every address has it."""
    nobody = opened.nobody()
    answer = nobody.get("/sessions")
    assert answer.status == 200
    assert 'href="/flower/sessions"' in answer.text
    assert "/flower/sessions/static/fntx.css" in answer.text
    assert nobody.post("/api/worker/shutdown/x@y", {}).status == 403


def test_behind_tls_the_login_is_sent_over_tls_and_under_its_path_alone(opened):
    """Nor to what else the host shows."""
    answer = opened.nobody().post("/login", {"token": opened.token("viewer")})
    assert cookie_of(answer) == {"HttpOnly", "Path=/flower", "SameSite=Lax", "Secure"}
    form = opened.nobody().get("/login").headers["Set-Cookie"]
    assert "Secure" in form


def test_opened_controls_are_an_administrators(opened):
    """Who logs in, and is told that there is no such worker; an operator is refused, and a header."""
    assert bearer(opened, opened.token("admin")).post("/api/worker/shutdown/x@y", {}).status == 403
    assert opened.somebody("operator").post("/api/worker/shutdown/x@y", {}).status == 403
    assert opened.somebody("admin").post("/api/worker/shutdown/x@y", {}).status == 404


def test_another_menu_of_flowers_is_noticed():
    """An upgrade that moved it does not lose our entries silently."""
    with pytest.raises(StackError, match="another menu"):
        _with_menu("<ul class='new'>")
