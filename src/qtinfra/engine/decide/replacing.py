"""A replace of an order with special terms: what may change, and how it reaches the children."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.commands import ReplaceOrder
from qtinfra.core.decisions import Refusal
from qtinfra.core.models import Child, Order, OrderSide, OrderType
from qtinfra.core.reports import CXL_ALREADY_PENDING, CXL_OTHER
from qtinfra.core.special import SpecialTerms
from qtinfra.core.special_events import TermsReplaced
from qtinfra.core.validation.special import NO_TERMS, TRIGGERED, check_replaced, merged, too_late
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.placing import is_mapped, is_waiting
from qtinfra.engine.state import State


def check_special_replace(
    state: State, order: Order, command: ReplaceOrder, qty: Decimal, price: Decimal | None
) -> Refusal | None:
    """Whether the special terms allow the replace; CxlRejReason stands in the refusal."""
    terms = merged(order.special, command.special)
    refusal = check_replaced(order, qty, price, terms, state.instruments[order.symbol])
    if refusal is not None:
        return refusal
    changed = terms != order.special
    if changed and is_mapped(state, order):
        return held_by_venue(order)
    triggered = order.order_type in TRIGGERED and order.children and not is_waiting(state, order)
    if triggered and moves_trigger(order, terms):
        return too_late("stop_px", order.status, "the order has been triggered")
    if any(child.replace_id for child in state.working_children(order)) and order.pending_replace is None:
        text = "the order is following the market at this moment"
        return Refusal("replace_pending", text, "", "", order.status, CXL_ALREADY_PENDING)
    return None


def held_by_venue(order: Order) -> Refusal:
    """Special terms cannot change with what a venue must agree to: ask for the one, then for the other."""
    text = "a venue holds what would change: replace quantity and price alone, or cancel the order"
    return Refusal("held_by_venue", text, "special", "", order.order_type, CXL_OTHER)


def terms_change(order: Order, command: ReplaceOrder) -> bool:
    """Whether the replace asks for other special terms than the order has."""
    return command.special is not None and merged(order.special, command.special) != order.special


def moves_trigger(order: Order, terms: SpecialTerms | None) -> bool:
    """Whether other terms than the order has move its stop price or its trailing distance."""
    old = order.special or NO_TERMS
    new = terms or NO_TERMS
    return (old.stop_px, old.trail) != (new.stop_px, new.trail)


def announce_terms(order: Order, command: ReplaceOrder, now_ns: int, out: Decision) -> None:
    """The special terms count at once: no venue knows of them."""
    terms = merged(order.special, command.special)
    if terms is not None and terms_change(order, command):
        out.add(TermsReplaced(order.order_id, terms, now_ns))


def keeps_to_itself(state: State, order: Order) -> bool:
    """Whether an increase stays with the engine instead of growing the only child: the hidden rest does, and
    what must not be live yet."""
    if order.special is None or is_mapped(state, order):
        return False
    return order.order_type is OrderType.ICEBERG or order.special.link is not None


def child_change(
    state: State, order: Order, children: list[Child], price: Decimal | None, every: bool
) -> tuple[Decimal | None, bool]:
    """What a new price of the order means for children that the engine works: their price, and whether all
    of them are asked. A pegged child keeps following the market, no worse than the order's new price.
    """
    if is_mapped(state, order):
        return price, every
    if order.order_type is not OrderType.PEGGED:
        return price, price != order.price
    now = children[-1].price
    if now is None or price is None:
        return now, False
    bounded = min(now, price) if order.side is OrderSide.BUY else max(now, price)
    return bounded, bounded != now
