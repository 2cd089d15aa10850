"""Openings that wait for a person: asked for with reasons, watched while they wait, carried out once.

A price that has run away, up or down, ends an approval, decided or not: whoever agreed to $0.50 has not agreed to what
is left of it, nor to what a put costs that the market ran towards.
"""

from decimal import Decimal
from typing import Any

from fntx_sessions.agents.base import Proposal, State, StepContext, first_time
from fntx_sessions.lifecycle.people import Approval, allowance, ran_away
from fntx_sessions.schemas import Severity
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.matching import package_price
from fntx_sessions.trading.opening import at_worst
from fntx_sessions.trading.orders import SHARES_PER_CONTRACT, ZERO, OrderRequest, Placed


def proposals(context: StepContext) -> list[Proposal]:
    """Return what people agreed to and may be opened now, for the risk manager to judge as anything else."""
    if not context.may_enter:
        return []
    approved = [one for one in context.people.approvals.values() if one.state == "approved"]
    return [Proposal(one.request, one.warrant) for one in approved if _holds(one, context)]


def _holds(approval: Approval, context: StepContext) -> bool:
    return _price(approval, context) is not None and _stale(approval, context) is None


def ask(proposal: Proposal, state: State, context: StepContext) -> None:
    """Ask a person for an opening, with what they need to decide; where it can't be asked, that is said once a day."""
    board, request = context.board, proposal.request
    if request.trade_id in context.people.resting:
        return  # a moment ago it went stale: who was asked then is not asked at every step
    if board is None or state.get("said", {}).get(_unasked(request)) == context.book.trade_date.isoformat():
        return
    why = context.desk.request_approval(request, _mid(request), _reasons(proposal, board, context))
    if why is not None and first_time(state, _unasked(request), context):
        text = f"nobody can be asked for {request.trade_id}: {why}"
        context.desk.emit("approval_not_asked", "trading", Severity.WARNING, text, {"trade_id": request.trade_id})


def _unasked(request: OrderRequest) -> str:
    return f"unasked/{request.trade_id}"


def _reasons(proposal: Proposal, board: Board, context: StepContext) -> dict[str, Any]:
    money, request = context.money(), proposal.request
    working = [order.intent.request for order in context.book.working.values() if order.intent.request.opening]
    remaining = money.remaining - money.open_risk - context.account.other_open_risk
    remaining -= sum((one.risk for one in working), ZERO)
    delta = _delta(request, board)
    return {
        **({"why": proposal.why} if proposal.why else {}),
        "credit_usd": str((request.limit or ZERO) * SHARES_PER_CONTRACT * request.packages),
        "delta": round(delta, 4),
        "dollar_delta": round(delta * SHARES_PER_CONTRACT * board.tick.spot, 2),
        "limit_usd": str(money.limit),
        "remaining_usd": str(remaining),
        "remaining_after_usd": str(remaining - request.risk),
        "spot": round(board.tick.spot, 4),
        "vix": board.tick.vix,
        "session_time": context.now.isoformat(),
    }


def _delta(request: OrderRequest, board: Board) -> float:
    return sum(
        board.delta(leg.contract) * (leg.quantity if leg.side == "buy" else -leg.quantity) for leg in request.legs
    )


def _mid(request: OrderRequest) -> Decimal | None:
    """Return the mid of one package as it is proposed, dollars a share; None without a quote."""
    mids = [(leg.reference, leg.side == request.side) for leg in request.legs]
    if any(mid is None for mid, _ in mids):
        return None
    return sum((mid if same else -mid for mid, same in mids if mid is not None), ZERO)


def end_stale(context: StepContext) -> None:
    """End the open approvals whose package's price ran away, or which would risk more than was agreed to."""
    for approval in list(context.people.approvals.values()):
        why = _stale(approval, context)
        if why is not None:
            context.desk.settle(approval, "stale", why)
            context.people.resting.add(approval.trade_id)


def _stale(approval: Approval, context: StepContext) -> str | None:
    """Return why what was agreed to is not what would be opened now; None where it is, or nobody knows."""
    price, request = _price(approval, context), approval.request
    if price is None or request.limit is None or context.board is None:
        return None
    allowed = allowance(request.limit, approval.drift_max, float(context.config.approval_drift_min_usd))
    risk = at_worst(request, context.board, context.risk, context.rules).risk
    return ran_away(request.limit, request.risk, allowed, price, risk)


def noted(state: State, context: StepContext) -> State:
    """Return the state with what each open approval's package would trade at now, for whoever has to decide."""
    waiting: dict[str, Any] = {}
    for approval in context.people.approvals.values():
        waiting[str(approval.approval_id)] = _note(approval, context)
    kept = {name: value for name, value in state.items() if name != "waiting"}
    return {**kept, "waiting": waiting} if waiting else kept


def _note(approval: Approval, context: StepContext) -> dict[str, Any]:
    price, board, request = _price(approval, context), context.board, approval.request
    if price is None or board is None:
        return {"price": None, "at": context.now.isoformat()}
    risk = at_worst(request, board, context.risk, context.rules).risk
    delta = round(_delta(request, board), 4)
    return {"price": str(price), "risk": str(risk), "delta": delta, "at": context.now.isoformat()}


def _price(approval: Approval, context: StepContext) -> Decimal | None:
    return None if context.board is None else package_price(approval.request.legs, context.board, approval.request.side)


def carried_out(request: OrderRequest, placed: Placed, context: StepContext) -> None:
    """Tell that what was approved is sent; the order gate has used the approval up already."""
    approval = context.people.approvals.pop(request.trade_id)
    context.people.spent.add(request.trade_id)
    text = f"{request.trade_id} sent as approved: {placed.client_order_id} is {placed.status}"
    data = {"approval_id": str(approval.approval_id), "client_order_id": placed.client_order_id}
    context.desk.emit("approval_executed", "trading", Severity.INFO, text, data)
