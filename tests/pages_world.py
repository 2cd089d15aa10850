"""Flower with the Sessions pages for tests: a real process beside a running desk, and people who log in to it."""

import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, Request, build_opener

from running_desk import RunningDesk, run
from worker_process import end, wait_until

from fntx_sessions import SessionLifecycleManager
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.security.tokens import issue

ROOT = Path(__file__).parents[1]
PASSWORD = "looker:look-only"


@dataclass(frozen=True)
class Answer:
    """What a page answered."""

    status: int
    text: str
    headers: Message


class _Stays(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Person:
    """A browser without a screen: cookies, forms, and redirects that are looked at, not followed."""

    def __init__(self, url: str, **headers: str) -> None:
        self.url, self.headers = url, headers
        # What is sent over TLS alone goes to the proxy that would stand here.
        self.cookies = CookieJar(DefaultCookiePolicy(secure_protocols=("http", "https")))
        self._opener = build_opener(HTTPCookieProcessor(self.cookies), _Stays())

    def get(self, path: str, **headers: str) -> Answer:
        return self._ask(Request(self.url + path, headers=self.headers | headers))  # noqa: S310 -- our own Flower

    def post(self, path: str, fields: dict[str, Any], *, forged: bool = False, **headers: str) -> Answer:
        """Send a form of a page of ours; forged: without what only our pages know."""
        known = {} if forged else {"_xsrf": self.xsrf()}
        data = urlencode(fields | known, doseq=True).encode()
        return self._ask(Request(self.url + path, data=data, headers=self.headers | headers, method="POST"))  # noqa: S310 -- as above

    def xsrf(self) -> str:
        """Return what the forms of our pages carry."""
        found = [cookie.value for cookie in self.cookies if cookie.name == "_xsrf"]
        if not found:
            self.get("/login")
            found = [cookie.value for cookie in self.cookies if cookie.name == "_xsrf"]
        return found[0] or ""

    def _ask(self, request: Request) -> Answer:
        try:
            with self._opener.open(request, timeout=30) as answer:
                return Answer(answer.status, answer.read().decode(), answer.headers)
        except HTTPError as error:
            return Answer(error.code, error.read().decode(), error.headers)


@dataclass(frozen=True)
class Pages:
    """A running Flower. url: without a slash at its end."""

    url: str
    desk: RunningDesk
    process: subprocess.Popen[bytes]
    log: Path

    def token(self, *roles: str, name: str = "", ttl_s: int = 3600, **scope: tuple[str, ...]) -> str:
        """Return a token of this desk; scope: sessions, templates or tags."""
        return issue(self.desk.settings, name or "-".join(roles), roles, ttl_s, **scope)

    def ask(self, scenario: Callable[[SessionLifecycleManager], Awaitable[Any]]) -> Any:
        """Run a scenario with a manager, in a thread: where a browser is, this one has its event loop already."""

        async def asked() -> Any:
            async with self.desk.manager() as manager:
                return await scenario(manager)

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(run, asked).result()

    def somebody(self, *roles: str, name: str = "", **scope: tuple[str, ...]) -> Person:
        """Return somebody who has logged in with a token."""
        person = Person(self.url)
        answer = person.post("/login", {"token": self.token(*roles, name=name, **scope)})
        assert answer.status == 302, answer
        return person

    def nobody(self) -> Person:
        """Return somebody who has not."""
        return Person(self.url)


@contextmanager
def pages_running(desk: RunningDesk, *arguments: str, prefix: str = "", **environment: str) -> Iterator[Pages]:
    """Run Flower as an operator would, until it answers; end it however the test ended."""
    ensure_local_keys(desk.folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = desk.folder / f"flower-{port}.log"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FNTX_", "FLOWER_"))}
    told = {"FNTX_FLOWER_PORT": str(port), "FNTX_FLOWER_BASIC_AUTH": PASSWORD, "FNTX_PAGES_REFRESH_S": "0.5"}
    command = [sys.executable, "-m", "celery", "-A", "tasks", "flower", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *([f"--url_prefix={prefix}"] if prefix else [])],
            env=inherited | desk._environment() | told | environment, cwd=ROOT, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}" + (f"/{prefix}" if prefix else "")
    try:
        wait_until(lambda: process.poll() is not None or _answers(url), "Flower answers")
        assert process.poll() is None, log.read_text()
        yield Pages(url, desk, process, log)
    finally:
        end(process)


def _answers(url: str) -> bool:
    try:
        return Person(url).get("/healthcheck").status == 200
    except OSError:
        return False
