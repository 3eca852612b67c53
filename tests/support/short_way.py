"""The short way of a plain new order, as `engine.decide.submit` takes it."""

from qtinfra.core.commands import SubmitOrder
from qtinfra.core.market import MarketView
from qtinfra.engine.decide.quick_gate import keeps_rules, pass_controls
from qtinfra.engine.risk_state import PlainPass
from qtinfra.engine.state import State


def pass_plain(state: State, market: MarketView, order: SubmitOrder, now_ns: int) -> PlainPass | None:
    """What the short way says of an order; None when the rules or the controls have to look closer."""
    memo = state.risk.memo
    lane = memo.lanes.get(order.account)
    plan = lane.plans.get(order.symbol) if lane is not None else None
    if lane is None or plan is None or not keeps_rules(state, order, lane, plan, now_ns):
        return None
    return pass_controls(state, memo, market, order, now_ns, lane, plan)
