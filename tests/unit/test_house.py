"""The house itself: the lint finds what it is for, every exception has a reason, the image holds what it promises."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from deploy.bare_image import strip

ROOT = Path(__file__).parents[2]
SHIPPED = [*(ROOT / "fntx_sessions").rglob("*.py"), *(ROOT / "tasks").glob("*.py"), *ROOT.glob("*.py")]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "fntx-sessions"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# A line each that must not come into the tree, and the rule that keeps it out.
PLANTED = {
    "S102": "exec(text)",
    "S103": "os.chmod(text, 0o777)",
    "S104": 'address = "0.0.0.0"',
    "S105": 'password = "hunter2"',
    "S108": 'path = "/tmp/x"',
    "S110": "try:\n    print(text)\nexcept Exception:\n    pass",
    "S113": "requests.get(text)",
    "S202": "tarfile.open(text).extractall()",
    "S301": "pickle.loads(text)",
    "S302": "marshal.loads(text)",
    "S306": "tempfile.mktemp()",
    "S307": "eval(text)",
    "S310": "urllib.request.urlopen(text)",
    "S311": "token = random.random()",
    "S314": "xml.etree.ElementTree.fromstring(text)",
    "S323": "ssl._create_unverified_context()",
    "S324": "hashlib.md5(text)",
    "S501": "requests.get(text, verify=False, timeout=1)",
    "S502": "ssl.wrap_socket(ssl_version=ssl.PROTOCOL_SSLv3)",
    "S506": "yaml.load(text)",
    "S602": "subprocess.run(text, shell=True)",
    "S603": "subprocess.run([text])",
    "S604": "start(text, shell=True)",
    "S605": "os.system(text)",
    "S701": "jinja2.Environment(autoescape=False)",
    "S403": "import pickle",
    "S405": "import xml.etree.ElementTree",
    "S401": "import telnetlib",
}
IMPORTED = "import os, random, ssl, subprocess, tarfile, tempfile, urllib.request, hashlib, marshal, pickle\n"
IMPORTED += "import xml.etree.ElementTree, jinja2, requests, yaml\n"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What `make check`'s two runs of ruff find in files with one planted line each."""
    folder = tmp_path_factory.mktemp("planted")
    for rule, line in PLANTED.items():
        (folder / f"{rule}.py").write_text(line if line.startswith("import") else IMPORTED + line + "\n")
    imports = re.search(r"^IMPORTS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert imports
    runs = (["--config", str(ROOT / "pyproject.toml")], ["--isolated", "--preview", "--select", imports[1]])
    seen: dict[str, set[str]] = {}
    for run in runs:
        command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "json", *run, str(folder)]
        for one in json.loads(subprocess.run(command, check=False, capture_output=True, text=True).stdout):
            seen.setdefault(Path(one["filename"]).stem, set()).add(one["code"])
    return seen


@pytest.mark.parametrize("rule", PLANTED)
def test_the_lint_finds_what_is_planted(found, rule):
    """Each kind of hole that a security lint is for fails `make check`, as it is set up here."""
    assert rule in found[rule]


def test_every_exception_to_the_security_lint_has_its_reason():
    """`noqa: S...` in what is shipped says why, on its own line or on the one before with the same."""
    bare = []
    for path in SHIPPED:
        reasoned = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            noted = re.search(r"# noqa: [^-]*\bS\d+[A-Z0-9, ]*(?P<why>.*)", line)
            if noted and not (re.match(r"\s*--? \w", noted["why"]) or reasoned):
                bare.append(f"{path.relative_to(ROOT)}:{number}")
            reasoned = bool(noted)
    assert not bare


def test_every_rule_that_is_off_everywhere_has_its_reason():
    """In pyproject.toml, behind it."""
    text = (ROOT / "pyproject.toml").read_text()
    listed = text.partition("\nignore = [\n")[2].partition("\n]\n")[0]
    assert listed
    assert not [line for line in listed.splitlines() if not re.search(r'",\s*# \w', line)]
    assert set(re.findall(r'"(S\d+)"', listed)) == {"S608"}


def test_what_is_asked_for_is_locked():
    """No dependency is installed past the lock files' hashes."""
    asked = [*PROJECT["dependencies"], *(one for some in PROJECT["optional-dependencies"].values() for one in some)]
    names = {re.split(r"[\[<>=!~;]", one)[0].strip().lower() for one in asked}
    locks = "".join((ROOT / lock).read_text() for lock in ("requirements.lock", "requirements-bench.lock"))
    assert names <= set(re.findall(r"^([a-z0-9-]+)==", locks, re.MULTILINE))


def stages() -> list[list[tuple[str, str]]]:
    """The Dockerfile's stages, an instruction and what follows it each."""
    joined = DOCKERFILE.replace("\\\n", " ")
    lines = [line.split(" ", 1) for line in joined.splitlines() if line and not line.startswith("#")]
    found: list[list[tuple[str, str]]] = []
    for word, rest in lines:
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest.strip()))
    return found


def test_the_image_is_nobodys_root_and_has_no_shell():
    """The last stage begins empty, takes one copy of a stripped root, runs nothing, and says a user's number."""
    build, root, last = stages()
    assert last[0] == ("FROM", "scratch")
    words = [word for word, _ in last]
    assert words.count("COPY") == 1
    assert ("COPY", "--from=root / /") in last
    assert not {"RUN", "ADD", "SHELL"} & set(words)
    assert [rest for word, rest in last if word == "USER"] == ["10001:10001"]
    assert root[-1] == ("RUN", '["python", "/tmp/bare_image.py", "/"]')
    assert "--require-hashes" in next(rest for word, rest in build if word == "RUN" and "requirements.lock" in rest)


def test_what_the_image_runs_is_started_without_a_shell():
    """Its command and its health check are lists, and so are all of compose.yaml's for our own containers."""
    last = dict(stages()[-1])
    check = last["HEALTHCHECK"].partition("CMD ")[2]
    for command in (json.loads(last["CMD"]), json.loads(check)):
        assert command[0] in {"celery", "python"}
    assert "ENTRYPOINT" not in last
    for name, service in OURS.items():
        command = service["command"]
        words = command if isinstance(command, list) else command.split()
        assert words[0] in {"celery", "fntx"}, name
        assert not set("|&;<>$`") & set("".join(words)), name
        test = service.get("healthcheck", {}).get("test", ["CMD"])
        assert test[0] == "CMD", name


def test_what_only_builds_and_tests_is_not_in_the_image():
    """All of the extra `dev` is taken out again, and pip with it; but for what the build's last steps need."""
    taken = re.search(r"pip uninstall -y -q (.+?)\n\n", DOCKERFILE.replace("\\\n", " "), re.DOTALL)
    assert taken
    dev = {re.split(r"[<>=!~;]", one)[0].strip() for one in PROJECT["optional-dependencies"]["dev"]}
    assert dev - {"setuptools"} <= set(taken[1].split())
    assert "pip" in taken[1].split()


def test_what_makes_the_image_bare_empties_its_folders(tmp_path):
    """Shells and package managers go, links to them too; Python and its libraries stay."""
    gone = ["usr/bin/sh", "usr/bin/apt", "usr/sbin/ldconfig", "var/lib/dpkg/info/x.list"]
    stay = ["usr/local/bin/python", "usr/lib/x.so", "venv/bin/celery", "etc/ssl/certs/x.pem"]
    for name in (*gone, *stay):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "usr/bin/dash").symlink_to("sh")
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin/apk").write_text("x")
    assert strip(tmp_path) == 6
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(stay)


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_may_more_than_it_must(name):
    """Read-only, no rights, none to gain; what listens listens on loopback; no host's folders but files to read."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "ipc", "devices", "userns_mode"} & set(service)
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert not [one for one in service.get("volumes", ()) if one.startswith((".", "/")) and not one.endswith(":ro")]
    assert set(service.get("cap_add", ())) <= {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
    assert name not in OURS or "cap_add" not in service


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "cap_add" in service])
def test_a_store_that_begins_as_root_ends_being_it_in_its_images_own_entrypoint(name):
    """Given no command, or its server's, an entrypoint changes the user; after a shell of ours it has to be called."""
    command = SERVICES[name].get("command", [])
    assert command[:2] in ([], ["sh", "-c"])
    assert not command or "| exec docker-entrypoint.sh valkey-server " in command[2]


def test_no_secret_stands_in_what_is_committed():
    """Passwords come from .env, which git does not take; the image is told none."""
    text = (ROOT / "compose.yaml").read_text()
    assert not re.findall(r"(?i)password: +[\"']?[^$\s\"'{]", text)
    assert ".env" in (ROOT / ".gitignore").read_text().split()
    assert not re.findall(r"(?i)(password|secret|token)\s*=", DOCKERFILE)
