"""The dependency audit: what it finds, and that what it could not ask about never passes for looked at."""

import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tools import advisories
from tools.locks import LOCKS, Package, locked, packages, unhashed

HASH = "--hash=sha256:" + "a" * 64
Answer = Callable[[dict[str, Any]], bytes]


@contextmanager
def osv(answer: Answer, status: int = 200) -> Iterator[str]:
    """A server of advisories that answers each question with `answer`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told = answer(asked)
            self.send_response(status)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def knows(**known: str) -> Answer:
    """An OSV that knows one advisory about each package given."""

    def told(asked: dict[str, Any]) -> bytes:
        names = [query["package"]["name"] for query in asked["queries"]]
        return json.dumps({"results": [{"vulns": [{"id": known[n]}]} if n in known else {} for n in names]}).encode()

    return told


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    found = tmp_path / "some.lock"
    found.write_text(
        f"# made by hand\nCelery[redis]==5.7.0 ; python_version > '3' \\\n    {HASH}\nzope.x==1.0 {HASH}\n"
    )
    return found


def audit(lock: Path, *arguments: str) -> int:
    return advisories.main(["--lock", str(lock), *arguments])


def test_every_package_of_the_lock_files_is_nailed_to_its_bytes():
    """Nothing is installed from other bytes than those it was chosen with."""
    assert unhashed() == []
    assert len(locked()) > 100


def test_all_that_is_locked_is_asked_about(capsys):
    """Not one is left out, in as many questions as it takes."""
    asked: list[str] = []

    def remembers(question: dict[str, Any]) -> bytes:
        asked.extend(f"{one['package']['name']}=={one['version']}" for one in question["queries"])
        assert {one["package"]["ecosystem"] for one in question["queries"]} == {"PyPI"}
        return knows()(question)

    with osv(remembers) as service:
        assert advisories.main(["--service", service]) == 0
    wanted = {f"{one.name}=={one.version}" for lock in LOCKS for one, _ in packages(lock)}
    assert (set(asked), len(asked)) == (wanted, len(wanted))
    assert f"about {len(wanted)} locked packages" in capsys.readouterr().err


def test_an_advisory_fails_the_audit_and_is_named(lock, capsys):
    """Package, version, its id, and what to run."""
    with osv(knows(celery="PYSEC-2099-1")) as service:
        assert audit(lock, "--service", service, "--unless-away") == 1
    said = capsys.readouterr().err
    assert "celery 5.7.0: PYSEC-2099-1" in said
    assert "make lock" in said


def test_what_is_answered_for_does_not_fail_it_and_is_counted(lock, capsys, monkeypatch):
    """An advisory that does not concern us has its reason in the code, and the number of them is said."""
    monkeypatch.setattr(advisories, "ANSWERED_FOR", {"PYSEC-2099-1": "we do not call it"})
    with osv(knows(celery="PYSEC-2099-1")) as service:
        assert audit(lock, "--service", service) == 0
    assert "1 answered for" in capsys.readouterr().err


def half(question: dict[str, Any]) -> bytes:
    return json.dumps({"results": [{}] * (len(question["queries"]) - 1)}).encode()


AWAY: dict[str, tuple[Answer, int]] = {
    "half an answer": (half, 200),
    "more to come": (lambda _: b'{"results": [{"next_page_token": "x"}, {}]}', 200),
    "not JSON": (lambda _: b"<html>", 200),
    "another JSON": (lambda _: b'{"results": null}', 200),
    "a list": (lambda _: b"[]", 200),
    "refused": (knows(), 403),
    "broken": (knows(), 500),
}


@pytest.mark.parametrize(("answer", "status"), AWAY.values(), ids=AWAY)
def test_an_answer_that_is_none_is_not_done_and_says_so(lock, capsys, answer, status):
    """A proxy's page, half an answer, an error: code 3, or 0 where that was asked for, and never a quiet one."""
    with osv(answer, status) as service:
        assert audit(lock, "--service", service) == 3
        assert audit(lock, "--service", service, "--unless-away") == 0
    said = capsys.readouterr().err
    assert said.count("NOT DONE: no advisory was asked for about 2 locked packages") == 2
    assert "no open advisory" not in said


@pytest.mark.parametrize("service", ["http://127.0.0.1:1", "http://example.invalid", "file:///etc/passwd"])
def test_nobody_there_is_not_done(lock, capsys, service):
    """Nobody listens, or it is no address to ask over: the same."""
    assert audit(lock, "--service", service) == 3
    assert "NOT DONE" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["x==1", f"x==1 --hash=md5:{'a' * 32}", f"x==1 # {HASH}", "x==1 --hash=sha256:abc"])
def test_a_package_without_a_sha256_fails_it_before_anybody_is_asked(tmp_path, capsys, line):
    """Whatever stands in the hash's place."""
    found = tmp_path / "loose.lock"
    found.write_text(f"{line}\n")
    assert audit(found, "--unless-away") == 1
    assert "not nailed to a sha256: x" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["x>=1", "-e .", "git+https://example.invalid/x", "./x.whl", "x @ file:///x"])
def test_a_lock_that_pins_nothing_is_refused(tmp_path, line):
    """Addresses, folders, ranges: not in a lock file."""
    found = tmp_path / "loose.lock"
    found.write_text(f"{line} {HASH}\n")
    with pytest.raises(ValueError, match="not a pinned package"):
        locked((found,))


def test_names_are_compared_as_indexes_compare_them(lock):
    """`zope.x`, `zope-x` and `Zope_X` are one package."""
    assert {one for one, _ in packages(lock)} == {Package("celery", "5.7.0"), Package("zope-x", "1.0")}


def archive(folder: Path, *told: dict[str, Any]) -> str:
    with zipfile.ZipFile(folder / "all.zip", "w") as made:
        for number, advisory in enumerate(told):
            made.writestr(f"{number}.json", json.dumps({"id": f"A-{number}"} | advisory))
    return str(folder / "all.zip")


def about(name: str = "celery", **more: Any) -> dict[str, Any]:
    return {"affected": [{"package": {"name": name, "ecosystem": "PyPI"}} | more]}


def span(*events: dict[str, str]) -> list[dict[str, Any]]:
    return [{"type": "ECOSYSTEM", "events": list(events)}]


TOUCHED = {
    "listed": about(versions=["5.7.0"]),
    "in a range": about(ranges=span({"introduced": "5"}, {"fixed": "5.7.1"})),
    "from the first on": about(ranges=span({"introduced": "0"})),
    "up to it": about(ranges=span({"introduced": "0"}, {"last_affected": "5.7.0"})),
    "in the second of two": about(ranges=span({"introduced": "0"}, {"fixed": "4"}, {"introduced": "5.6"})),
    "by another spelling": about("zope_X", versions=["1.0"]),
    "not to be compared": about(ranges=span({"introduced": "0"}, {"fixed": "next year"})),
}
SPARED = {
    "fixed": about(ranges=span({"introduced": "0"}, {"fixed": "5.7.0"})),
    "later": about(ranges=span({"introduced": "5.8"})),
    "before": about(ranges=span({"introduced": "0"}, {"last_affected": "5.6.9"})),
    "another": about("celery-x", versions=["5.7.0"]),
    "withdrawn": about(versions=["5.7.0"]) | {"withdrawn": "2099-01-01T00:00:00Z"},
    "of another language": {"affected": [{"package": {"name": "celery", "ecosystem": "npm"}, "versions": ["5.7.0"]}]},
}


CASES = {name: (told, 1) for name, told in TOUCHED.items()} | {name: (told, 0) for name, told in SPARED.items()}


@pytest.mark.parametrize(("told", "code"), CASES.values(), ids=CASES)
def test_without_a_network_an_archive_is_read(tmp_path, lock, told, code):
    """What somebody brought here says the same: versions listed, ranges, what was fixed or withdrawn."""
    assert audit(lock, "--file", archive(tmp_path, told)) == code


def test_an_archive_without_advisories_is_not_done(tmp_path, lock, capsys):
    """Empty, cut short or missing: nothing was looked at."""
    (tmp_path / "cut.zip").write_bytes(Path(archive(tmp_path, about())).read_bytes()[:-10])
    for name in ("missing.zip", "cut.zip"):
        assert audit(lock, "--file", str(tmp_path / name)) == 3
    assert audit(lock, "--file", archive(tmp_path)) == 3
    assert capsys.readouterr().err.count("NOT DONE") == 3
