"""A new order: known id, rules, risk, route."""

from __future__ import annotations

from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import ZERO
from qtinfra.core.decisions import Refusal, RiskRefused
from qtinfra.core.events import (
    CommandRefused,
    DuplicateAnswered,
    DuplicateRefused,
    OrderAccepted,
    OrderRejected,
    OrderRouted,
)
from qtinfra.core.ids import HEX_PAIRS, PAIRS
from qtinfra.core.legs import TakingOrder
from qtinfra.core.market import MarketView
from qtinfra.core.models import Order, OrderSide, TimeInForce
from qtinfra.core.routing_events import BreakerProbed
from qtinfra.core.validation.algo import special_of
from qtinfra.core.validation.rules import check_new, check_round_lot
from qtinfra.core.validation.special import ON_AUCTION, as_asked
from qtinfra.engine.decide.algos import submit_algo
from qtinfra.engine.decide.context import check_in_context
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.held import submit_special
from qtinfra.engine.decide.quick_gate import (
    Verdict,
    approval,
    gate_kept,
    gate_new,
    gate_plain,
    note_fit,
)
from qtinfra.engine.decide.risk_gate import stop_algo, use_overrides
from qtinfra.engine.decide.routing import route, sweep
from qtinfra.engine.decide.smart_routing import route_plain
from qtinfra.engine.risk_state import REFERENCE, TOP, PlainPass
from qtinfra.engine.state import State
from qtinfra.risk.checks import RiskPassed

# Members by name: looking them up in their class costs more than comparing them.
_BUY = OrderSide.BUY
_FOK = TimeInForce.FOK


def submit_order(state: State, command: SubmitOrder, now_ns: int, market: MarketView, out: Decision) -> None:
    memo, name, account = state.risk.memo, command.cl_ord_id, command.account
    of = memo.of_accounts.get(account)
    names = of.names if of is not None else None
    if of is None or names is None or name in names or state.tables.may_know(account, name, of.salt):
        known = state.find_order(account, name)
        if known is not None:
            again(state, known, command, out)
            return
    plan = of.plans.get(command.symbol) if of is not None and of.plans is not None else None
    verdict: Verdict | None = None
    if of is not None and plan is not None:
        verdict = gate_plain(state, market, command, now_ns, of, plan, False)
    if not isinstance(verdict, tuple):
        verdict = _look_closer(state, command, verdict, now_ns, market, out)
        if verdict is None:
            return
    top, qty, price = verdict[TOP], command.qty, command.price
    offer = top.offer if top is not None and command.tif is not _FOK and state.routing is None else None
    heads, seq = memo.ids, state.seq + 1
    if heads.first <= seq < heads.end and heads.epoch == state.epoch:
        order_id, child_id = heads.order + HEX_PAIRS[seq & 255], heads.child + PAIRS[seq - heads.begin]
    else:
        order_id, child_id = heads.order_and_child(state.shard, state.epoch, seq)
    if top is None or offer is None:
        _place_plain(state, order_id, command, verdict, now_ns, market, out)
        return
    if qty <= offer[3]:
        at = None if price is top.limit or top.is_at(price) else offer[2]
        routed = OrderRouted(order_id, (TakingOrder(child_id, offer[4], at),), "sweep 1", now_ns)
    else:
        children = sweep(top, command, child_id)
        if not children:
            _place_plain(state, order_id, command, verdict, now_ns, market, out)
            return
        routed = OrderRouted(order_id, children, f"sweep {len(children)}", now_ns)
    out.events = (OrderAccepted(order_id, command, now_ns, None, verdict[REFERENCE]), routed)
    out.passed = verdict


def _place_plain(
    state: State,
    order_id: str,
    command: SubmitOrder,
    passed: PlainPass,
    now_ns: int,
    market: MarketView,
    out: Decision,
) -> None:
    """Route a plain order that takes the general way to a venue, or scored routing. It passes the short way
    unless a venue is tried again.
    """
    routing = state.routing
    if routing is not None:
        child_id = state.risk.memo.ids.third(state.shard, state.epoch, state.seq + 1)
        routed = route_plain(state, routing, order_id, child_id, command, now_ns, market)
        if routed is not None:
            out.events = (OrderAccepted(order_id, command, now_ns, None, passed[REFERENCE]), *routed)
            out.passed = passed
            return
    if _place(state, order_id, command, approval(command, passed[REFERENCE]), now_ns, market, out):
        out.passed = passed if type(out.events[-2]) is not BreakerProbed else None


def _place(
    state: State,
    order_id: str,
    command: SubmitOrder,
    passed: RiskPassed,
    now_ns: int,
    market: MarketView,
    out: Decision,
) -> bool:
    """Accept the order and route it; refuse it when no venue can take it."""
    out.events += (OrderAccepted(order_id, command, now_ns, None, passed.reference),)
    if route(state, order_id, passed, (), now_ns, market, out, None, command):
        return True
    out.events = ()
    text = f"no connected venue trades {command.symbol}"
    reject(command, Refusal("no_venue", text, "symbol", "", command.symbol), now_ns, out)
    return False


def _look_closer(
    state: State,
    command: SubmitOrder,
    verdict: Verdict | None,
    now_ns: int,
    market: MarketView,
    out: Decision,
) -> PlainPass | None:
    """Take the order by every rule and control that may concern it.

    Args:
        verdict: what the controls say, if no rule has to look.

    Returns:
        The approval of a plain order, if nothing about it needs the general way; None when it is refused, or
        placed already.
    """
    if verdict is not None:
        return _told(state, command, verdict, now_ns, market, out)
    account = state.accounts.get(command.account)
    if account is None:
        _unknown_account(command, out)
        return None
    if not (command.qty.is_finite() and (command.price is None or command.price.is_finite())):
        _not_finite(command, out)
        return None
    instrument = state.instruments.get(command.symbol)
    if command.algo is not None or command.special is not None or command.tif in ON_AUCTION:
        take = submit_special if command.algo is None else submit_algo
        refusal = take(state, command, account, instrument, now_ns, market, out)
        if refusal is not None:
            reject(command, refusal, now_ns, out)
        return None
    refusal = check_new(command, account, instrument, command.symbol in state.halted)
    fits = False
    if refusal is None and instrument is not None:
        fits = note_fit(state, command, instrument) and not command.min_qty
        if not instrument.odd_lots:
            reference = state.reference_prices.get(command.symbol, command.price)
            refusal = check_round_lot(instrument, command.qty, reference)
    if state.calendars and instrument is not None:
        refusal = check_in_context(state, command, account, instrument, now_ns, refusal)
    if refusal is not None:
        reject(command, refusal, now_ns, out)
        return None
    verdict = (gate_kept if fits else gate_new)(state, market, command, now_ns)
    return _told(state, command, verdict, now_ns, market, out)


def _told(
    state: State, command: SubmitOrder, verdict: Verdict, now_ns: int, market: MarketView, out: Decision
) -> PlainPass | None:
    """Do what the controls say, unless there is nothing to do beyond placing the order in the short way."""
    if isinstance(verdict, tuple):
        return verdict
    if isinstance(verdict, RiskRefused):
        reject(command, verdict.refusal, now_ns, out)
        return None
    if verdict.overrides:
        use_overrides(verdict, command.account, command.cl_ord_id, out)
    _place(state, out.order_id(), command, verdict, now_ns, market, out)
    return None


def _unknown_account(command: SubmitOrder, out: Decision) -> None:
    text = f"account {command.account[:40]!r} is not known"
    out.add(
        CommandRefused(
            command.account, command.cl_ord_id, "unknown_account", "account", "", command.account, text
        )
    )


def _not_finite(command: SubmitOrder, out: Decision) -> None:
    text = "quantity and price must be finite numbers"
    observed = f"{command.qty} {command.price}"
    out.add(
        CommandRefused(
            command.account, command.cl_ord_id, "number_out_of_range", "quantity", "", observed, text
        )
    )


def again(state: State, known: Order, command: SubmitOrder, out: Decision) -> None:
    """The client id was used before: the same content gets the first answer, other content is refused."""
    if same_content(state, known, command):
        out.answer(DuplicateAnswered(command.account, command.cl_ord_id, known.order_id))
        return
    text = f"client order id {command.cl_ord_id!r} belongs to order {known.order_id} with other content"
    out.add(DuplicateRefused(command.account, command.cl_ord_id, known.order_id, text))


def same_content(state: State, order: Order, command: SubmitOrder) -> bool:
    """Whether the command is the one that the order came from."""
    if any(amend.cl_ord_id == command.cl_ord_id for amend in order.amends):
        return False
    special = special_of(command)
    return (
        order.symbol == command.symbol
        and order.side is command.side
        and order.order_type is command.order_type
        and order.tif is command.tif
        and order.submitted_qty == command.qty
        and order.submitted_price == command.price
        and order.min_qty == (command.min_qty or ZERO)
        and order.capacity is command.capacity
        and order.trader == command.trader
        and (
            (order.special is None and special is None)
            or as_asked(state.submitted_terms.get(order.order_id, order.special)) == as_asked(special)
        )
        and (
            (order.algo is None and command.algo is None)
            or state.algos.submitted.get(order.order_id, order.algo) == command.algo
        )
    )


def reject(command: SubmitOrder, refusal: Refusal, now_ns: int, out: Decision) -> None:
    """Refuse a new order: it exists as REJECTED and keeps its client id."""
    if refusal.code == "algo_executions":
        stop_algo(command, refusal, now_ns, out)
    out.add(
        OrderRejected(
            out.order_id(),
            command.account,
            command.cl_ord_id,
            command.symbol,
            command.side,
            command.order_type,
            command.tif,
            command.qty,
            command.price,
            command.min_qty,
            command.capacity,
            command.trader,
            command.origin,
            now_ns,
            refusal.code,
            refusal.field,
            refusal.limit,
            refusal.observed,
            refusal.text,
            refusal.fix_reason,
            command.special if command.algo is None else special_of(command),
            command.algo,
        )
    )
