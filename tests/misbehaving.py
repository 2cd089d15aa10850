"""A proxy in front of the server of buckets that passes everything on, but for the faults it was told to commit."""

import http.client
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Asked:
    """One request as it came; names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def is_upload(self) -> bool:
        return self.path.startswith("/upload/") and self.method in {"POST", "PUT"}

    @property
    def is_piece(self) -> bool:
        return self.is_upload and "content-range" in self.headers

    @property
    def is_download(self) -> bool:
        return "alt=media" in self.path

    def query(self, name: str) -> str | None:
        return parse_qs(urlsplit(self.path).query).get(name, [None])[0]


@dataclass
class Answer:
    """What the server said to one request."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    length: int | None = None  # what is announced, where that is not what is sent


Pass = Callable[[Asked], Answer]
# Given a request and the way to the server: an answer, or None to hang up.
Fault = Callable[[Asked, Pass], Answer | None]


@dataclass
class Misbehaving:
    """The proxy: its address, what it was asked, and which faults strike which requests, how often (None: always)."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    _rules: list[list] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def on(self, which: Callable[[Asked], bool], fault: Fault, times: int | None = None, every: int = 1) -> None:
        """Commit `fault` on every `every`th request that `which` names, `times` in all."""
        self._rules.append([which, fault, times, every, 0])

    def count(self, which: Callable[[Asked], bool]) -> int:
        """Return how many such requests came."""
        return sum(map(which, self.asked))

    def fault(self, asked: Asked) -> Fault | None:
        """Return what is to be done to a request; None: nothing."""
        with self._lock:
            self.asked.append(asked)
            return next((rule[1] for rule in self._rules if self._strikes(rule, asked)), None)

    def hang(self, _asked: Asked, _on: Pass) -> None:
        """Take the request and never answer."""
        self.closing.wait()

    def answers_too_late(self, asked: Asked, on: Pass) -> None:
        """Pass the request on and never say what came of it, without hanging up."""
        on(asked)
        self.closing.wait()

    @staticmethod
    def _strikes(rule: list, asked: Asked) -> bool:
        which, _, times, every, _ = rule
        if times == 0 or not which(asked):
            return False
        rule[4] += 1
        if rule[4] % every:
            return False
        rule[2] = None if times is None else times - 1
        return True


def anything(asked: Asked) -> bool:
    return True


def says(status: int, message: str = "told to") -> Fault:
    """Answer with an error without asking the server."""
    body = json.dumps({"error": {"code": status, "message": message}}).encode()
    return lambda _asked, _on: Answer(status, [("Content-Type", "application/json")], body)


def loses_the_answer(asked: Asked, on: Pass) -> None:
    """Pass the request on, and hang up instead of answering."""
    on(asked)


def breaks_in_the_middle(asked: Asked, on: Pass) -> None:
    """Hang up on a request before the server saw it."""


def cuts_short(asked: Asked, on: Pass) -> Answer:
    """Announce all of the body and send half of it."""
    answer = on(asked)
    return Answer(answer.status, answer.headers, answer.body[: len(answer.body) // 2], len(answer.body))


def flips_a_bit(asked: Asked, on: Pass) -> Answer:
    """Change one bit of the body."""
    answer = on(asked)
    body = bytearray(answer.body)
    body[len(body) // 2] ^= 1
    return Answer(answer.status, answer.headers, bytes(body))


def changes_what_is_sent(asked: Asked, on: Pass) -> Answer:
    """Pass on a body of which one byte in the middle is another."""
    body = bytearray(asked.body)
    body[-len(body) // 3] ^= 1
    return on(replace(asked, body=bytes(body)))


class Generations:
    """What the server lacks: deleting one generation that is not the live one."""

    def __init__(self) -> None:
        self.deleted: set[str] = set()

    def delete(self, asked: Asked, on: Pass) -> Answer:
        """Delete as asked; a generation the server cannot delete by itself is left out of its lists from now on."""
        self.deleted.add(asked.query("generation"))
        on(asked)
        return Answer(204, [], b"")

    def listed(self, asked: Asked, on: Pass) -> Answer:
        """List what is left."""
        answer = on(asked)
        found = json.loads(answer.body)
        found["items"] = [one for one in found.get("items", []) if one["generation"] not in self.deleted]
        return Answer(answer.status, [("Content-Type", "application/json")], json.dumps(found).encode())


@contextmanager
def misbehaving(server_url: str) -> Iterator[Misbehaving]:
    """Run a proxy to `server_url` for the block."""
    listener = _Listener(("127.0.0.1", 0), BaseHTTPRequestHandler)
    proxy = Misbehaving(f"http://127.0.0.1:{listener.server_port}")
    listener.RequestHandlerClass = type("Handler", (_Handler,), {"proxy": proxy, "behind": server_url})
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        listener.shutdown()
        listener.server_close()
        thread.join()


class _Listener(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hung up: some were made to."""


class _Handler(BaseHTTPRequestHandler):
    proxy: Misbehaving
    behind: str
    protocol_version = "HTTP/1.1"
    timeout = 5  # of a kept connection; the proxy's end waits for its threads

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        fault = self.proxy.fault(asked)
        answer = fault(asked, self._pass) if fault else self._pass(asked)
        if answer is None:
            self.close_connection = True
        else:
            self._answer(answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815

    def _pass(self, asked: Asked) -> Answer:
        behind = http.client.HTTPConnection(urlsplit(self.behind).netloc, timeout=20)
        headers = {name: value for name, value in asked.headers.items() if name not in {"host", "connection"}}
        try:
            behind.request(asked.method, asked.path, asked.body, headers)
            found = behind.getresponse()
            kept = [(name, self._here(value)) for name, value in found.getheaders() if name not in _OURS]
            return Answer(found.status, kept, found.read())
        finally:
            behind.close()

    def _here(self, value: str) -> str:
        return re.sub(r"^http://[^/]+(?=/upload/)", self.proxy.url, value)

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(answer.body)
        self.close_connection = answer.length is not None

    def log_message(self, *facts: object) -> None:
        """Say nothing: what was asked is in `asked`."""


_OURS = {"Content-Length", "Connection", "Transfer-Encoding", "Date", "Server"}
