"""What of an order with special terms may go to a venue now, and as what.

The engine holds what no venue takes: a stop until it is triggered, an iceberg's hidden rest, a peg's price. A
child is a plain market or limit order then. A venue that takes the type gets the order whole, with its terms.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ZERO, canonical
from qtinfra.core.decisions import RiskApproved
from qtinfra.core.events import OrderRouted
from qtinfra.core.extended_models import ExecutionState, Instrument
from qtinfra.core.legs import ChildOrder
from qtinfra.core.market import ConsolidatedBook, MarketView
from qtinfra.core.models import Order, OrderSide, OrderType, TimeInForce
from qtinfra.core.special import Link, Peg, SpecialTerms
from qtinfra.core.validation.special import NO_TERMS, ON_AUCTION, TRIGGERED, largest_tick
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.state import OrderList, State

#: Types that a venue may take with their terms; nobody's protocol here has a trailing distance.
MAPPED = (OrderType.STOP, OrderType.STOP_LIMIT, OrderType.ICEBERG, OrderType.PEGGED)

_PLAIN = (OrderType.MARKET, OrderType.LIMIT)
_IMMEDIATE = (TimeInForce.IOC, TimeInForce.FOK)


def terms_of(order: Order) -> SpecialTerms:
    """The order's special terms; those of a plain order are all empty."""
    return order.special if order.special is not None else NO_TERMS


def is_mapped(state: State, order: Order) -> bool:
    """Whether a venue has the order whole, with its special terms."""
    if order.order_type in _PLAIN or not order.children:
        return False
    return state.children[order.children[-1]].order_type is order.order_type


def is_waiting(state: State, order: Order) -> bool:
    """Whether the order waits for its trigger in the engine."""
    if order.order_type not in TRIGGERED:
        return False
    return not order.children or order.order_id in state.watched.get(order.symbol, _NONE)


def is_trading(state: State, order: Order, now_ns: int) -> bool:
    """Whether anything may be triggered, priced or placed for the order by itself now."""
    if order.symbol in state.halted or order.suspended or order.done_for_day:
        return False
    return not order.unknown_children and in_session(state, order.symbol, now_ns)


def in_session(state: State, symbol: str, now_ns: int) -> bool:
    """Whether the primary listing trades now, as far as a journaled calendar says."""
    calendar = state.calendars.get(state.instruments[symbol].listings[0])
    return calendar is None or calendar.is_open(now_ns)


def child_tif(
    state: State, symbol: str, kind: OrderType, tif: TimeInForce, expire_ns: int, now_ns: int
) -> TimeInForce:
    """Time in force of a child: a market order stands for the day, a GTD order until the engine ends it, or
    for the day when it ends before the close."""
    if tif in _IMMEDIATE or tif in ON_AUCTION:
        return tif
    if kind in (OrderType.MARKET, OrderType.STOP):
        return TimeInForce.DAY if kind is OrderType.MARKET or tif is TimeInForce.DAY else TimeInForce.GTC
    if tif is not TimeInForce.GTD:
        return tif
    calendar = state.calendars.get(state.instruments[symbol].listings[0])
    close_ns = calendar.next_close(now_ns) if calendar is not None else None
    return TimeInForce.DAY if close_ns is not None and expire_ns <= close_ns else TimeInForce.GTC


# --- how much ---------------------------------------------------------------------------------------------


def rivals(found: OrderList) -> list[str]:
    """The orders of a list that share one quantity: all of an OCO, the exits of a bracket."""
    return found.orders[1:] if found.link is Link.BRACKET else found.orders


def list_executed(state: State, found: OrderList) -> Decimal:
    return sum((state.orders[order_id].cum_qty for order_id in rivals(found)), ZERO)


def list_live(state: State, found: OrderList) -> Decimal:
    """What may execute now in all: an OCO's quantity, or what a bracket's entry has executed."""
    return state.orders[found.orders[0]].cum_qty if found.link is Link.BRACKET else found.qty


def is_exit(state: State, order: Order) -> bool:
    """Whether the order is an exit of a bracket."""
    terms = terms_of(order)
    return terms.link is Link.BRACKET and state.lists[terms.link_id].orders[0] != order.order_id


def held_by_venues(state: State, order: Order) -> Decimal:
    return sum((child.leaves for child in state.working_children(order)), ZERO)


def placeable(state: State, order: Order) -> Decimal:
    """What of the order no venue holds and the engine may place by itself.

    Quantity that a bust opened again is not: it is held for staff.
    """
    held = held_by_venues(state, order)
    taken = ZERO
    for key in order.executions:
        item = state.executions[key]
        taken += item.qty if item.state is ExecutionState.BUSTED else max(item.qty, item.reported_qty)
    part = min(order.unallocated, order.qty - held - taken)
    terms = terms_of(order)
    if terms.link is not None and order.order_id in rivals(state.lists[terms.link_id]):
        found = state.lists[terms.link_id]
        part = min(part, list_live(state, found) - list_executed(state, found) - held)
    if order.order_type is OrderType.ICEBERG and terms.display_qty is not None:
        part = min(part, terms.display_qty - held)
    if part < order.unallocated:
        part -= part % state.instruments[order.symbol].lot_size
    return max(ZERO, part)


# --- at what price and as what ----------------------------------------------------------------------------


def peg_price(
    order_side: OrderSide,
    terms: SpecialTerms,
    cap: Decimal | None,
    book: ConsolidatedBook | None,
    instrument: Instrument,
) -> Decimal | None:
    """Where a pegged order stands now; None while there is nothing live to follow.

    The offset makes it better by so much, towards its own side. A price between two ticks goes to the tick
    on its own side. Never worse than `cap`.
    """
    bid = book.best_bid() if book is not None else None
    ask = book.best_ask() if book is not None else None
    buying = order_side is OrderSide.BUY
    own, other = (bid, ask) if buying else (ask, bid)
    base = own if terms.peg is Peg.PRIMARY else other
    if terms.peg is Peg.MIDPOINT:
        base = book.mid() if book is not None else None
    if base is None:
        return None
    price = base - terms.peg_offset if buying else base + terms.peg_offset
    if price <= ZERO:
        return None
    tick = instrument.tick_at(price)
    beyond = price % tick
    if beyond:
        price = price - beyond if buying else price - beyond + tick
    if cap is not None:
        price = min(price, cap) if buying else max(price, cap)
    return canonical(price) if price > ZERO else None


def child_terms(
    state: State,
    order: Order,
    approved: RiskApproved,
    now_ns: int,
    market: MarketView,
    *,
    triggered: bool = False,
) -> RiskApproved | None:
    """An approved quantity as the plain order that goes to venues; None when none may go now.

    Args:
        triggered: its trigger has come in this very record.
    """
    waiting = not triggered and is_waiting(state, order)
    if waiting or is_mapped(state, order) or order.tif in ON_AUCTION:
        return None
    qty = min(approved.qty, placeable(state, order))
    if not qty:
        return None
    price = order.price
    if order.order_type is OrderType.PEGGED:
        instrument = state.instruments[order.symbol]
        price = peg_price(order.side, terms_of(order), order.price, market.book(order.symbol), instrument)
        if price is None:
            return None
    kind = OrderType.MARKET if price is None else OrderType.LIMIT
    tif = child_tif(state, order.symbol, kind, order.tif, terms_of(order).expire_ns, now_ns)
    return msgspec.structs.replace(approved, order_type=kind, tif=tif, qty=qty, price=price)


def send_whole(
    out: Decision,
    order_id: str,
    mic: str,
    kind: OrderType,
    tif: TimeInForce,
    approved: RiskApproved,
    reason: str,
    now_ns: int,
) -> None:
    """One child with all of an approved quantity, at the venue that must have it."""
    child = ChildOrder(
        out.venue_id(0), mic, kind, tif, approved.qty, approved.price, approved.min_qty or None
    )
    out.add(OrderRouted(order_id, (child,), reason, now_ns, (None, None)))


def coarse_floor(instrument: Instrument, price: Decimal) -> Decimal:
    """The price rounded down to the instrument's coarsest tick."""
    return canonical(price - price % largest_tick(instrument))


_NONE: dict[str, Decimal | None] = {}
