"""A new order: known id, rules, risk, route."""

from __future__ import annotations

from qtinfra.core import ids
from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import ZERO
from qtinfra.core.decisions import Refusal, RiskRefused
from qtinfra.core.events import (
    CommandRefused,
    DuplicateAnswered,
    DuplicateRefused,
    OrderAccepted,
    OrderRejected,
)
from qtinfra.core.market import MarketView
from qtinfra.core.models import Order
from qtinfra.core.validation.algo import special_of
from qtinfra.core.validation.rules import check_new, check_round_lot
from qtinfra.core.validation.special import ON_AUCTION, as_asked
from qtinfra.engine.decide.algos import submit_algo
from qtinfra.engine.decide.context import check_in_context
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.held import submit_special
from qtinfra.engine.decide.quick_gate import (
    approval,
    gate_new,
    gate_one_by_one,
    keeps_rules,
    note_fit,
    pass_controls,
    plainly_passes,
)
from qtinfra.engine.decide.risk_gate import stop_algo, use_overrides
from qtinfra.engine.decide.routing import route, route_plain
from qtinfra.engine.risk_state import PlainPass
from qtinfra.engine.state import State
from qtinfra.risk.checks import RiskPassed


def submit_order(state: State, command: SubmitOrder, now_ns: int, market: MarketView, out: Decision) -> None:
    memo = state.risk.memo
    lane = memo.lanes.get(command.account)
    names = lane.of.names if lane is not None else None
    name = command.cl_ord_id
    if names is None or name in names or state.tables.may_know(command.account, name):
        known = state.find_order(command.account, name)
        if known is not None:
            again(state, known, command, out)
            return
    plan = lane.plans.get(command.symbol) if lane is not None else None
    passed: PlainPass | RiskPassed | None = None
    if lane is None or plan is None or not keeps_rules(state, command, lane, plan, now_ns):
        passed = _look_closer(state, command, now_ns, market, out)
    else:
        passed = pass_controls(state, memo, market, command, now_ns, lane, plan)
        if passed is None:
            passed = _told(gate_one_by_one(state, market, command, now_ns), command, now_ns, out)
    if passed is None:
        return
    order_id, child_id = ids.order_and_child(state.shard, state.epoch, state.seq + 1 + len(out.events))
    out.events.append(
        OrderAccepted(
            order_id,
            command,
            now_ns,
            None,
            passed.reference,
        )
    )
    if isinstance(passed, PlainPass):
        if state.routing is None:
            out.passed = passed
            if route_plain(state, memo, command, order_id, child_id, passed, now_ns, market, out):
                return
        passed = approval(command, passed.reference)
    if not route(state, order_id, passed, (), now_ns, market, out):
        out.events.clear()
        out.passed = None
        text = f"no connected venue trades {command.symbol}"
        reject(command, Refusal("no_venue", text, "symbol", "", command.symbol), now_ns, out)


def _look_closer(
    state: State, command: SubmitOrder, now_ns: int, market: MarketView, out: Decision
) -> PlainPass | RiskPassed | None:
    """Take the order by every rule and control that may concern it.

    Returns:
        The approval of a plain order, a PlainPass when nothing about it needs the general way; None when the
        order is refused, or already placed on its special terms.
    """
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
    if not fits:
        return _told(gate_new(state, market, command, now_ns), command, now_ns, out)
    passed = plainly_passes(state, market, command, now_ns)
    return passed or _told(gate_one_by_one(state, market, command, now_ns), command, now_ns, out)


def _told(
    verdict: RiskPassed | RiskRefused, command: SubmitOrder, now_ns: int, out: Decision
) -> RiskPassed | None:
    """The approval, with what it entails; None when the controls refuse the order."""
    if not isinstance(verdict, RiskPassed):
        reject(command, verdict.refusal, now_ns, out)
        return None
    if verdict.overrides:
        use_overrides(verdict, command.account, command.cl_ord_id, out)
    return verdict


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
            special_of(command),
            command.algo,
        )
    )
