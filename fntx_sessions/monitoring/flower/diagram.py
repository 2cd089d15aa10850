"""The state table as a picture: where a session is, and which ways it took. The table alone says what may follow."""

from collections import Counter
from collections.abc import Iterable, Mapping
from math import hypot
from typing import Any

from tornado.escape import xhtml_escape

from fntx_sessions.lifecycle.transitions import TABLE
from fntx_sessions.schemas import SessionStatus as S

Way = tuple[S | None, S]
Point = tuple[float, float]

# Where each status stands in the picture: trading in the middle, faults above, the end below.
PLACES: dict[S | None, Point] = {
    None: (10, 175),
    S.INITIALIZING: (95, 175),
    S.ACTIVE: (270, 175),
    S.PAUSED: (470, 175),
    S.SUSPENDED: (670, 175),
    S.ERROR: (350, 50),
    S.CLOSING: (350, 300),
    S.CLOSED: (600, 300),
}
_WIDTH, _HEIGHT, _HALF_W, _HALF_H = 750, 330, 56, 18
# How far a way swings out of the straight line: ways back and forth part, and one goes around what is between.
_PARTED = 24.0
_AROUND: dict[Way, float] = {(S.ACTIVE, S.SUSPENDED): 90.0}


def ways() -> dict[Way, list[str]]:
    """Return every way of the table with the triggers that lead along it, as people call them."""
    found: dict[Way, list[str]] = {}
    for trigger, (sources, to_status) in TABLE.items():
        for source in sorted(sources, key=str):
            found.setdefault((source, to_status), []).append(verb(trigger))
    return found


def verb(trigger: str) -> str:
    """Return a trigger as people call it."""
    return trigger.removesuffix("_session").replace("_", " ")


def taken(transitions: Iterable[Mapping[str, Any]]) -> Counter[Way]:
    """Return how often each way was taken."""
    return Counter((S(row["from_status"]) if row["from_status"] else None, S(row["to_status"])) for row in transitions)


def diagram(status: S, path: Counter[Way], told: str) -> str:
    """Return the picture as SVG. told: the same in words, for who does not see it."""
    lines = sorted(ways().items(), key=lambda way: way[0] in path)
    drawn = "".join(_way(way, verbs, path[way]) for way, verbs in lines)
    been = {end for way in path for end in way} | {status}
    nodes = "".join(_node(one, here=one is status, been=one in been) for one in S)
    return (
        f'<svg class="diagram" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="diagram-told">'
        f'<title id="diagram-told">{xhtml_escape(told)}</title><defs>{_arrow("way")}{_arrow("taken")}</defs>'
        f'<circle class="birth" cx="10" cy="175" r="6"></circle>{drawn}{nodes}</svg>'
    )


def _arrow(kind: str) -> str:
    return (
        f'<marker id="arrow-{kind}" class="arrow-{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0 L8,4 L0,8 z"></path></marker>'
    )


def _node(status: S, *, here: bool, been: bool) -> str:
    x, y = PLACES[status]
    kind = f"node node-{status}{' node-here' if here else ''}{' node-been' if been else ''}"
    return (
        f'<g class="{kind}"><rect x="{x - _HALF_W:g}" y="{y - _HALF_H}" width="{2 * _HALF_W}" height="{2 * _HALF_H}" '
        f'rx="8"></rect><text x="{x:g}" y="{y + 5:g}" text-anchor="middle">{status}</text></g>'
    )


def _way(way: Way, verbs: list[str], times: int) -> str:
    kind = "taken" if times else "way"
    path, (x, y) = _loop(PLACES[way[1]]) if way[0] is way[1] else _curve(way)
    name = xhtml_escape(", ".join(verbs))
    label = f"{name} \u00d7{times}" if times > 1 else name
    shown = f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle">{label}</text>' if times and way[0] else ""
    return f'<g class="{kind}"><title>{name}</title><path d="{path}" marker-end="url(#arrow-{kind})"></path>{shown}</g>'


def _loop(at: Point) -> tuple[str, Point]:
    x, y = at[0] + _HALF_W - 16, at[1] - _HALF_H
    return f"M{x - 10:g},{y:g} C{x - 14:g},{y - 26:g} {x + 22:g},{y - 26:g} {x + 10:g},{y:g}", (x + 2, y - 22)


def _curve(way: Way) -> tuple[str, Point]:
    start, end = PLACES[way[0]], PLACES[way[1]]
    bend = _AROUND.get(way, _PARTED if (way[1], way[0]) in ways() else 0.0)
    along = end[0] - start[0], end[1] - start[1]
    length = hypot(*along)
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    turn = middle[0] + bend * along[1] / length, middle[1] - bend * along[0] / length
    first, last = _edge(start, turn if bend else end), _edge(end, turn if bend else start)
    if not bend:
        return f"M{_pair(first)} L{_pair(last)}", _between(first, middle, last, 0.5)
    # A way that crosses the middle of the picture is named above what it crosses.
    label = _between(first, turn, last, 0.5 if along[0] else 0.25)
    return f"M{_pair(first)} Q{_pair(turn)} {_pair(last)}", label


def _pair(at: Point) -> str:
    return f"{at[0]:.1f},{at[1]:.1f}"


def _between(first: Point, turn: Point, last: Point, share: float) -> Point:
    """Return the point of a curve so far along it, a little above."""
    before, after = (1 - share) ** 2, share**2
    swing = 1 - before - after
    x, y = (before * a + swing * b + after * c for a, b, c in zip(first, turn, last, strict=True))
    return x, y - 5


def _edge(node: Point, toward: Point) -> Point:
    """Return where the line from a node's middle to a point leaves the node."""
    dx, dy = toward[0] - node[0], toward[1] - node[1]
    if node == PLACES[None]:
        return node[0] + 6, node[1]
    share = min(_HALF_W / abs(dx) if dx else 9.0, _HALF_H / abs(dy) if dy else 9.0)
    return node[0] + dx * share, node[1] + dy * share
