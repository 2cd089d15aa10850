"""What pages keep, share and send: views, and the difference of two."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fntx_sessions.exceptions import NotFound, Unavailable, Unseen
from fntx_sessions.monitoring.flower import views as kept_views
from fntx_sessions.monitoring.flower.views import Part, Parts, View, Views, difference
from fntx_sessions.settings import Settings

AWAY = Unavailable("Postgres", "it is away", "Start it.")


@pytest.fixture
def views() -> Iterator[Views]:
    with ThreadPoolExecutor(4) as threads:
        yield Views(Settings(pages_refresh_s=1e-6, pages_patience_s=0.1, pages_views_kept=2), threads)


def board(*rows: str, opening: str = "<table id=board>") -> Parts:
    return {"board": Part(opening, {name: f"<tr id={name}>" for name in rows}, "</table>")}


def drawing(text: str) -> Callable[[], Parts]:
    return lambda: {"a": Part(text)}


def failing(error: Exception) -> Callable[[], Parts]:
    def draw() -> Parts:
        raise error

    return draw


def get(views: Views, key: str, draw: Callable[[], Parts], *, live: bool = False) -> View:
    return asyncio.run(views.get(key, draw, live=live))


def test_a_row_that_changed_is_sent_alone() -> None:
    """The table around it, and its other rows, are not."""
    after = board("a", "b")
    after["board"].children["b"] = "<tr id=b>new"
    assert difference(board("a", "b"), after) == {"b": "<tr id=b>new"}


@pytest.mark.parametrize(
    "after", [board("b", "a"), board("a"), board("a", "b", "c"), board("a", "b", opening="<table>")]
)
def test_rows_that_came_went_or_moved_are_sent_as_a_whole(after: Parts) -> None:
    """So is a part whose own HTML changed, and one that was not there."""
    assert difference(board("a", "b"), after) == {"board": after["board"].html}
    assert difference({}, after) == {"board": after["board"].html}


def test_nothing_is_sent_of_what_stayed() -> None:
    """However much it is."""
    assert difference(board("a", "b"), board("a", "b")) == {}


def test_a_store_that_is_away_leaves_the_last_view(views: Views) -> None:
    """With the time it was true and the problem, in words that claim nothing of what was sent; until it is back."""
    first = get(views, "k", drawing("1"))
    kept = get(views, "k", failing(AWAY))
    assert (kept.parts, kept.at, kept.problem) == (first.parts, first.at, str(Unseen(*AWAY.args)))
    again = get(views, "k", drawing("2"))
    assert (again.parts["a"].html, again.problem) == ("2", None)


def test_without_an_earlier_view_the_problem_is_raised(views: Views) -> None:
    """As is what was wrong with the question, whatever was known."""
    with pytest.raises(Unavailable):
        get(views, "k", failing(AWAY))
    get(views, "k", drawing("1"))
    with pytest.raises(NotFound):
        get(views, "k", failing(NotFound("session", "x", "")))


def test_a_look_that_hangs_is_not_waited_for_and_not_begun_twice(views: Views) -> None:
    """The last view is shown with the problem; what comes in at last is shown then."""
    gate, begun = threading.Event(), []

    def hang() -> Parts:
        begun.append(1)
        gate.wait(10)
        return {"a": Part("late")}

    async def scenario() -> None:
        await views.get("k", drawing("1"))
        for _ in range(2):
            shown = await views.get("k", hang)
            assert shown.parts["a"].html == "1"
            assert "no answer within" in (shown.problem or "")
        gate.set()
        assert (await views.get("k", hang)).parts["a"].html == "late"

    asyncio.run(scenario())
    assert len(begun) == 1


def test_what_a_form_asks_for_is_bounded_and_kept(views: Views) -> None:
    """One that hangs is given up, and begun once; where a store is known to be away, the last answer is not waited for.

    What is exported is of now, or not at all.
    """
    gate, begun = threading.Event(), []
    bounded = Views(Settings(pages_patience_s=0.05, db_statement_timeout_ms=50), views._threads)

    def hang() -> str:
        begun.append(1)
        gate.wait(10)
        return "late"

    async def scenario() -> None:
        assert await bounded.last("k", lambda: "1", away=False) == "1"
        for _ in range(5):
            with pytest.raises(Unseen):
                await bounded.last("k", hang, away=False)
            with pytest.raises(Unseen):
                await bounded.once("csv", hang)
        assert await bounded.last("k", hang, away=True) == "1"
        with pytest.raises(Unseen):
            await bounded.last("another", hang, away=True)
        gate.set()
        assert await bounded.last("k", hang, away=False) == "late"
        assert await bounded.last("k", hang, away=True) == "late"

    asyncio.run(scenario())
    assert len(begun) == 3


def test_many_who_ask_at_once_share_a_look(views: Views) -> None:
    """One drawing for all of them; one who leaves does not end it."""
    drawn = []

    def draw() -> Parts:
        drawn.append(1)
        return {"a": Part("1")}

    async def scenario() -> None:
        asked = [asyncio.ensure_future(views.get("k", draw)) for _ in range(20)]
        await asyncio.sleep(0)
        asked[0].cancel()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [one.parts["a"].html for one in found[1:] if isinstance(one, View)] == ["1"] * 19

    asyncio.run(scenario())
    assert len(drawn) == 1


def test_the_longest_unseen_view_makes_room(views: Views) -> None:
    """So that questions nobody asks any more take no memory."""
    for key in "abc":
        get(views, key, drawing(key))
    with pytest.raises(Unavailable):
        get(views, "a", failing(AWAY))
    assert get(views, "c", failing(AWAY)).problem


def test_what_takes_long_to_draw_is_drawn_seldom(views: Views, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live pages with a costly question leave the threads to others; whoever loads a page sees what is."""
    monkeypatch.setattr(kept_views, "_REST", 1e6)
    assert get(views, "k", drawing("1")).parts["a"].html == "1"
    assert get(views, "k", drawing("2"), live=True).parts["a"].html == "1"
    assert get(views, "k", drawing("3")).parts["a"].html == "3"


def test_a_page_apart_is_drawn_while_all_other_threads_hang(views: Views) -> None:
    """Health stands whatever the others wait for."""
    gate = threading.Event()

    async def scenario(threads: ThreadPoolExecutor) -> None:
        hanging = [asyncio.ensure_future(views.get(key, lambda: {"a": Part(str(gate.wait(30)))})) for key in "abcd"]
        await asyncio.sleep(0)
        assert (await views.get("health", drawing("up"), threads=threads)).parts["a"].html == "up"
        gate.set()
        await asyncio.gather(*hanging, return_exceptions=True)

    with ThreadPoolExecutor(1) as threads:
        asyncio.run(scenario(threads))
