"""The pages keep to what is there: commands, settings, files and numbers they name exist."""

import re
from pathlib import Path

import pytest
import typer

from fntx_sessions import settings_doc
from fntx_sessions.cli.app import app
from fntx_sessions.settings import Settings
from tasks import app as celery_app

ROOT = Path(__file__).parents[2]
DECISIONS = ROOT / "docs" / "decisions"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = typer.main.get_command(app).commands
MAKE_TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
celery_app.loader.import_default_modules()
TASKS = {name for name in celery_app.tasks if name.startswith("fntx.")}

_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_FNTX = re.compile(r"(?<![\w./-])(?:\.venv/bin/)?fntx +([a-z][a-z_-]*)((?:[^\n`|;]*))")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _code(page: Path) -> str:
    return "\n".join(_CODE.findall(page.read_text(encoding="utf-8")))


every_page = pytest.mark.parametrize("page", PAGES, ids=_named)


def _unknown(text: str) -> list[str]:
    """Return the `fntx` command lines in `text` that name a command or an option there is not."""
    return [f"fntx {verb}{rest}" for verb, rest in _FNTX.findall(text) if not _is_known(verb, rest.split("#")[0])]


def _is_known(verb: str, rest: str) -> bool:
    if verb not in COMMANDS:
        return False
    below = getattr(COMMANDS[verb], "commands", {}).values()
    params = [one for command in (COMMANDS[verb], *below) for one in command.params]
    known = {option for one in params for option in (*one.opts, *one.secondary_opts)}
    return set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= known | {"--help", "-h"}


@every_page
def test_every_command_and_option_a_page_names_is_one_that_fntx_has(page):
    """Whoever copies a command line from a page is not told `no such command` or `no such option`."""
    assert not _unknown(_code(page))


def test_every_command_an_alert_names_is_one_that_fntx_has():
    """Whoever is called out of bed pastes what the alert says."""
    assert not _unknown(_code(ROOT / "deploy" / "alerts.yml"))


@every_page
def test_every_variable_a_page_names_is_read_by_something(page):
    """A page names no FNTX_ variable that would be set in vain."""
    known = {f"FNTX_{name.upper()}" for name in Settings.model_fields} | settings_doc.ENVIRONMENT.keys()
    assert set(re.findall(r"\bFNTX_[A-Z0-9_]*[A-Z0-9]", page.read_text(encoding="utf-8"))) <= known


@every_page
def test_every_link_of_a_page_leads_somewhere(page):
    """Links inside the project name files that are there, and headings that are in them."""
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{_named(page)}: {link}"
        assert not heading or heading in _headings(target), f"{_named(page)}: {link}"


def _headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@every_page
def test_every_task_and_make_target_a_page_names_exists(page):
    """Tasks and targets are spelled on the pages as they are registered."""
    code = _code(page)
    tasks = set(re.findall(r"\bfntx\.(?:sessions|sweeps|backtests|bulk|templates)\.[a-z_]+", code))
    assert tasks <= TASKS, f"{_named(page)}: {tasks - TASKS}"
    assert set(re.findall(r"\bmake ([a-z]+)\b", code)) <= MAKE_TARGETS


def test_every_file_of_the_project_that_is_named_is_there():
    """A path under one of our own folders, in a page or in a docstring, names a file or a folder."""
    path = re.compile(r"\b(?:docs|tests|tasks|fntx_sessions|examples|benchmarks)/[\w./-]*[\w]")
    texts = [*PAGES, *(ROOT / "fntx_sessions").rglob("*.py"), *(ROOT / "tasks").glob("*.py")]
    missing = {
        (_named(text), found)
        for text in texts
        for found in path.findall(text.read_text(encoding="utf-8"))
        if "/site-packages/" not in found and not (ROOT / found).exists()
    }
    assert not missing


def test_every_test_that_a_page_names_is_there():
    """What is said to be proven is: `path::name` is a test of that file."""
    named = {found for page in PAGES for found in re.findall(r"`(tests/[\w/.]+)::(\w+)`", page.read_text())}
    assert len(named) > 80
    assert not {one for one in named if f"\ndef {one[1]}(" not in (ROOT / one[0]).read_text()}


def test_every_command_that_code_tells_people_to_run_exists():
    """A sentence of ours that says what to run names a command and options there are."""
    sources = [*(ROOT / "fntx_sessions").rglob("*.py"), *(ROOT / "tasks").glob("*.py")]
    told = {
        _named(source): _unknown("\n".join(re.findall(r"`(fntx [^`\n]+)`", source.read_text()))) for source in sources
    }
    assert not {source: unknown for source, unknown in told.items() if unknown}


def test_decisions_have_a_number_each_and_are_listed():
    """No two decisions share a number, the title repeats it, and the index names them all."""
    pages = sorted(page for page in DECISIONS.glob("*.md") if page.name != "README.md")
    numbers = [page.name[:4] for page in pages]
    assert len(numbers) == len(set(numbers))
    for page in pages:
        title = page.read_text(encoding="utf-8").splitlines()[0]
        assert title.startswith(f"# {int(page.name[:4])}. "), page.name
    listed = _LINK.findall((DECISIONS / "README.md").read_text(encoding="utf-8"))
    assert listed == [page.name for page in pages]


@every_page
def test_no_table_of_a_page_is_cut_by_an_empty_line(page):
    """Rows after an empty line are no part of the table, and are not drawn."""
    lines = page.read_text(encoding="utf-8").splitlines()
    cut = [
        number
        for number, (before, gap, row, under) in enumerate(zip(lines, lines[1:], lines[2:], lines[3:], strict=False))
        if before.startswith("|") and not gap and row.startswith("|") and not under.startswith("|--")
    ]
    assert not cut


def test_a_rate_is_not_a_time():
    """The end of a setting's name is its unit; of two that fit, the longer one."""
    assert "| `FNTX_RETENTION_BYTES_PER_S` | `20000000` | bytes a second |" in settings_doc.render()
    assert "| `FNTX_RETENTION_SWEEP_S` | `20` | seconds |" in settings_doc.render()


def test_the_page_of_settings_is_what_settings_say(capsys):
    """docs/settings.md names every setting with its default; the check that CI runs says so."""
    assert settings_doc.main(["--check"]) == 0, capsys.readouterr().err


def test_a_page_of_settings_that_differs_is_told_how_to_renew_it(tmp_path, capsys):
    """The check fails on a stale page and names the command that renews it, which then satisfies it."""
    page = tmp_path / "settings.md"
    page.write_text("stale")
    assert settings_doc.main(["--check", str(page)]) == 1
    assert "python -m fntx_sessions.settings_doc" in capsys.readouterr().err
    assert settings_doc.main([str(page)]) == 0
    assert settings_doc.main(["--check", str(page)]) == 0


def test_a_setting_without_a_meaning_is_named(monkeypatch):
    """Whoever adds a setting is told where its meaning is missing."""
    monkeypatch.delitem(settings_doc.GROUPS["Backtests"], "backtest_in_flight")
    with pytest.raises(LookupError, match="backtest_in_flight"):
        settings_doc.render()
