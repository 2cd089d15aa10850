"""A session's curve for the browser's plot: P&L and exposure over time, and what is marked on it."""

from itertools import pairwise
from statistics import median_low
from typing import Any
from uuid import UUID

import orjson
import tornado.web

from fntx_sessions.exceptions import FntxError, Forbidden, NotFound, Retryable
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.curve import CurveQuery, SessionCurve, get_curve
from fntx_sessions.lifecycle.reads.marks import get_marks
from fntx_sessions.monitoring.flower.guarded import Guarded
from fntx_sessions.monitoring.flower.views import Part, Parts
from fntx_sessions.monitoring.flower.who import Viewer

_STATUS: dict[type[FntxError], int] = {Forbidden: 403, NotFound: 404}
# Of each stretch of time a thinned curve has up to five points.
_EACH, _STRETCHES_APART, _TIMES_APART = 5, 2.5, 12


class CurveHandler(Guarded):
    """Answers `/sessions/ID/curve.json`; who looks at the same session shares one look at the stores."""

    @tornado.web.authenticated
    async def get(self, session_id: str) -> None:
        """Send the curve, the last one with its age and the problem where Postgres is away."""
        found = UUID(session_id)
        viewer = self.viewer
        if not viewer.may_see(found):
            raise tornado.web.HTTPError(403, "Your token is good for other sessions alone.")
        try:
            view = await self.site.views.get(
                ("curve", found, viewer.scope), lambda: draw(self.site.desk, found, viewer)
            )
        except (Forbidden, NotFound, Retryable) as error:
            self.set_status(_STATUS.get(type(error), 503))
            self.finish({"problem": str(error)})
            return
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        told = orjson.dumps({"at": view.at, "problem": view.problem})
        self.finish(told[:-1] + b',"curve":' + view.parts["curve"].html.encode() + b"}")


def draw(desk: Desk, session_id: UUID, viewer: Viewer) -> Parts:
    """Return the curve as JSON, as the one part of a view; raises NotFound and Forbidden."""
    viewer.looked_up(desk.engine, session_id)
    return {"curve": Part(orjson.dumps(plot(desk, session_id)).decode())}


def plot(desk: Desk, session_id: UUID) -> dict[str, Any]:
    """Return what is plotted: columns `times` (seconds since 1970), `net`, `exposure` and `spot` (dollars), and marks.

    A null in a column parts what was sampled before a long pause from what came after it.
    """
    settings = desk.settings
    curve = get_curve(desk.engine, CurveQuery(session_id=session_id, points=settings.pages_plot_points))
    marks = get_marks(desk.engine, session_id, settings.pages_plot_marks)
    return {
        "samples": curve.samples,
        "shown": len(curve.points),
        **_columns(curve, settings.pages_plot_pause_s),
        "marks": [{"at": one.at.timestamp(), "kind": one.kind, "what": one.what} for one in marks.marks],
        "left_out": marks.left_out,
        "simulated": marks.simulated,
    }


def _columns(curve: SessionCurve, pause_s: float) -> dict[str, list[float | None]]:
    """Return the points as columns; pause_s: from how many seconds on two are not joined, unless it is their way."""
    found: dict[str, list[float | None]] = {"times": [], "net": [], "exposure": [], "spot": []}
    times = [one.timestamp.timestamp() for one in curve.points]
    pause = max(pause_s, _usually_apart(curve, times))
    for index, (at, one) in enumerate(zip(times, curve.points, strict=True)):
        if index and at - times[index - 1] > pause:
            _add(found, (at + times[index - 1]) / 2, None, None, None)
        _add(found, at, float(one.net_pnl), float(one.exposure), one.spot)
    return found


def _usually_apart(curve: SessionCurve, times: list[float]) -> float:
    """Return how many seconds may lie between two points without anything missing."""
    apart = _TIMES_APART * median_low([after - at for at, after in pairwise(times)] or [0.0])
    if curve.samples == len(times):
        return apart
    return max(apart, _STRETCHES_APART * (times[-1] - times[0]) * _EACH / len(times))


def _add(columns: dict[str, list[float | None]], *values: float | None) -> None:
    for column, value in zip(columns.values(), values, strict=True):
        column.append(value)
