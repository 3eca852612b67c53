"""The short way of a plain new order, as `engine.decide.submit` takes it."""

from qtinfra.core.commands import SubmitOrder
from qtinfra.core.market import MarketView
from qtinfra.engine.decide.quick_gate import Verdict, gate_kept, gate_plain
from qtinfra.engine.risk_state import PlainPass
from qtinfra.engine.state import State


def pass_plain(state: State, market: MarketView, order: SubmitOrder, now_ns: int) -> PlainPass | None:
    """What the short way says of an order; None when the rules or the controls have to look closer."""
    of = state.risk.memo.of_accounts.get(order.account)
    plan = of.plans.get(order.symbol) if of is not None and of.plans is not None else None
    if of is None or plan is None:
        return None
    return _passed(gate_plain(state, market, order, now_ns, of, plan, False))


def plainly_passes(state: State, market: MarketView, order: SubmitOrder, now_ns: int) -> PlainPass | None:
    """What the short way says of an order that keeps the rules; None when the controls look closer."""
    return _passed(gate_kept(state, market, order, now_ns))


def _passed(verdict: Verdict | None) -> PlainPass | None:
    return verdict if isinstance(verdict, tuple) else None
