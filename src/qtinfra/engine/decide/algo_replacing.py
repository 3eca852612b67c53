"""A replace of a parent that an algorithm works, and asking venues for its children back."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.algo_events import ChildrenRecalled, RecallLeg
from qtinfra.core.commands import ReplaceOrder
from qtinfra.core.decimals import ZERO
from qtinfra.core.decisions import Refusal
from qtinfra.core.events import ReplaceLeg
from qtinfra.core.models import ChildStatus, Order, OrderSide
from qtinfra.core.reports import CXL_OTHER
from qtinfra.core.validation.algo import check_algo_terms
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.lookup import strategies_of
from qtinfra.engine.state import State


def recall(
    state: State, order: Order, child_ids: tuple[str, ...], reason: str, now_ns: int, out: Decision
) -> None:
    """Ask venues for children; the parent goes on. What cannot be reached stays as it is."""
    asked = [
        child_id
        for child_id in child_ids
        if state.connected(state.children[child_id].venue)
        and state.children[child_id].status is not ChildStatus.UNKNOWN
    ]
    if asked:
        legs = tuple(RecallLeg(child_id, out.venue_id(number)) for number, child_id in enumerate(asked))
        out.add(ChildrenRecalled(order.order_id, legs, reason, now_ns))


def recall_through(state: State, order: Order, price: Decimal | None, now_ns: int, out: Decision) -> None:
    """Ask for the children that a new limit price leaves through the limit."""
    if price is None:
        return
    buying = order.side is OrderSide.BUY
    through = tuple(
        child.child_id
        for child in state.working_children(order)
        if not child.cancel_id
        and child.price is not None
        and (child.price > price if buying else child.price < price)
    )
    recall(state, order, through, "the limit price has changed", now_ns, out)


def parent_legs(state: State, order: Order, qty: Decimal, out: Decision) -> tuple[ReplaceLeg, ...]:
    """What venues must give up so that they hold no more than a parent of `qty` has left: the youngest
    children first, each at its own price."""
    working = state.working_children(order)
    excess = sum((child.leaves for child in working), ZERO) - (qty - order.cum_qty)
    legs: list[ReplaceLeg] = []
    for child in reversed(working):
        if excess <= ZERO:
            break
        cut = min(excess, child.leaves)
        legs.append(ReplaceLeg(child.child_id, out.venue_id(len(legs)), child.qty - cut, child.price))
        excess -= cut
    return tuple(legs)


def check_algo_replace(
    state: State, order: Order, command: ReplaceOrder, qty: Decimal, price: Decimal | None, now_ns: int
) -> Refusal | None:
    """Whether algo terms may change so: those of a parent that is worked, by the same algo."""
    if command.algo is None and order.order_id not in state.algos.parents:
        return None
    terms = command.algo if command.algo is not None else order.algo
    worked = order.order_id in state.algos.parents
    if not worked or order.algo is None or terms is None or terms.algo != order.algo.algo:
        text = "algo terms can be replaced while that algo works the order"
        limit = order.algo.algo if order.algo is not None and worked else "none"
        return Refusal("algo_not_allowed", text, "algo", limit, terms.algo if terms else "", CXL_OTHER)
    known, instrument = strategies_of(state), state.instruments[order.symbol]
    refusal = check_algo_terms(terms, order.side, qty, price, instrument, now_ns, known)
    return msgspec.structs.replace(refusal, fix_reason=CXL_OTHER) if refusal is not None else None
