"""What a journal says of orders, children, fills and the market, gathered for transaction cost analysis.

One pass over the entries; nothing is computed here but midpoints. Busts and corrections are applied, so that
what is measured is what stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import msgspec

from qtinfra.core.algo_events import AlgoFinished, AlgoPlanned, SliceSent
from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.events import (
    ChildAcked,
    ChildEnded,
    ChildRejected,
    ChildReplaced,
    DayOpened,
    Entry,
    ExecutionBusted,
    ExecutionCorrected,
    OrderAccepted,
    OrderCancelled,
    OrderDoneForDay,
    OrderExpired,
    OrderFilled,
    OrderRefusedByVenues,
    OrderRejected,
    OrderReplaced,
    OrderRestated,
    OrderRouted,
    ReferenceSet,
    touch_of,
)
from qtinfra.core.legs import limit, units
from qtinfra.core.models import OrderSide, OrderStatus
from qtinfra.core.runs import each
from qtinfra.core.special_events import OrderAdjusted, OrderTriggered

#: Journaled quotes: symbol, UTC nanoseconds, best bid and offer of the live venues.
QuoteRow = tuple[str, int, Decimal | None, Decimal | None]
#: Prints: symbol, UTC nanoseconds, price, units.
PrintRow = tuple[str, int, Decimal, Decimal]

_TWO = Decimal(2)


class OrderFact(msgspec.Struct):
    """A client order as it stands at the journal's end.

    Attributes:
        algo: the strategy that worked it, else the approved algorithm that sent it; empty for a person.
        decision_ns, decision_px: when it could trade first (accepted, or its stop triggered) and the mid
            then; None when no two-sided quote was known.
        routed_ns, arrival_px: its first routing and the mid that the router saw.
        linked: one of an OCO or bracket list, whose orders stand in for each other.
        scaled: a split changed its units while it was open.
        price: the limit that it came with; None for a market order.
        plans: its journaled schedules, oldest first.
    """

    order_id: str
    account: str
    cl_ord_id: str
    trader: str
    algo: str
    symbol: str
    side: OrderSide
    order_type: str
    tif: str
    trade_date: str
    qty: Decimal
    price: Decimal | None
    decision_ns: int
    decision_px: Decimal | None
    linked: bool
    scaled: bool = False
    routed_ns: int | None = None
    arrival_px: Decimal | None = None
    ended_ns: int | None = None
    ended_as: OrderStatus | None = None
    plans: list[AlgoPlanned] = []
    finished: str = ""


class ChildFact(msgspec.Struct):
    """A venue order. `bid` and `ask` are what the router saw; `kind` is its slice's, if an algo sent it."""

    child_id: str
    order_id: str
    venue: str
    order_type: str
    tif: str
    qty: Decimal
    price: Decimal | None
    sent_ns: int
    bid: Decimal | None
    ask: Decimal | None
    kind: str = ""
    ack_ns: int | None = None
    ended_ns: int | None = None
    ended_as: str = ""


class FillFact(msgspec.Struct):
    """An execution that stands. `fees` are the venue's and ours, rebates negative, instrument's currency."""

    key: str
    order_id: str
    child_id: str
    venue: str
    ts_ns: int
    qty: Decimal
    px: Decimal
    liquidity: str
    fee: Decimal
    commission: Decimal


class Facts(msgspec.Struct):
    """Everything that the analysis reads, by id in the order of the journal.

    Attributes:
        instruments: symbol to (currency, value of a price move of 1 per unit).
        days: (UTC nanoseconds, trade date) of each opened day.
        printed: per symbol the trade date, and the volume printed by the last book seen on it.
    """

    orders: dict[str, OrderFact] = {}
    children: dict[str, ChildFact] = {}
    fills: dict[str, FillFact] = {}
    quotes: list[QuoteRow] = []
    prints: list[PrintRow] = []
    instruments: dict[str, tuple[str, Decimal]] = {}
    days: list[tuple[int, str]] = []
    printed: dict[str, tuple[str, Decimal]] = {}
    records: int = 0
    rejected: int = 0
    busted: int = 0
    last_seq: int = 0
    last_ns: int = 0


def gather(entries: Iterable[Entry]) -> Facts:
    """Read a journal from its first record on."""
    facts = Facts()
    for record in entries:
        facts.records += 1
        for entry in each(record):
            _take(facts, entry)
    return facts


def _take(facts: Facts, entry: Entry) -> None:
    facts.last_seq, facts.last_ns = entry.last_seq, entry.ts_ns
    if entry.market:
        _see_market(facts, entry)
    for event in entry.events:
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(facts, event, entry)


def midpoint(bid: Decimal | None, ask: Decimal | None) -> Decimal | None:
    """The mid of a two-sided quote that is not crossed; else None."""
    if bid is None or ask is None or bid > ask:
        return None
    return (bid + ask) / _TWO


def _see_market(facts: Facts, entry: Entry) -> None:
    today = facts.days[-1][1] if facts.days else ""
    for book in entry.market:
        bid, ask = book.touch()
        facts.quotes.append((book.symbol, entry.ts_ns, bid, ask))
        if book.last_px is None:
            continue  # the view did not know the volume then: no part of it is a print of now
        date, before = facts.printed.get(book.symbol, ("", book.traded))
        if date == today and book.traded > before:
            facts.prints.append((book.symbol, entry.ts_ns, book.last_px, book.traded - before))
        facts.printed[book.symbol] = (today, book.traded)


def _mid_seen(entry: Entry, symbol: str) -> Decimal | None:
    for book in entry.market:
        if book.symbol == symbol:
            return midpoint(*book.touch())
    return None


# --- reference data and days ---


def _reference(facts: Facts, event: ReferenceSet, entry: Entry) -> None:
    del entry
    for item in event.instruments:
        facts.instruments[item.symbol] = (item.currency.value, item.multiplier)


def _day(facts: Facts, event: DayOpened, entry: Entry) -> None:
    facts.days.append((entry.ts_ns, event.trade_date))


# --- orders ---


def _accepted(facts: Facts, event: OrderAccepted, entry: Entry) -> None:
    special = event.special
    sender = special.algo if special is not None else ""
    facts.orders[event.order_id] = OrderFact(
        order_id=event.order_id,
        account=event.account,
        cl_ord_id=event.cl_ord_id,
        trader=event.trader,
        algo=event.algo.algo if event.algo is not None else sender,
        symbol=event.symbol,
        side=event.side,
        order_type=event.order_type.value,
        tif=event.tif.value,
        trade_date=facts.days[-1][1] if facts.days else "",
        qty=event.qty,
        price=event.price,
        decision_ns=event.ts_ns,
        decision_px=_mid_seen(entry, event.symbol),
        linked=special is not None and special.link is not None,
    )


def _rejected(facts: Facts, event: OrderRejected, entry: Entry) -> None:
    del event, entry
    facts.rejected += 1


def _triggered(facts: Facts, event: OrderTriggered, entry: Entry) -> None:
    order = facts.orders[event.order_id]
    order.decision_ns = event.ts_ns
    order.decision_px = _mid_seen(entry, order.symbol)


def _routed(facts: Facts, event: OrderRouted, entry: Entry) -> None:
    order = facts.orders[event.order_id]
    bid, ask = touch_of(event, entry, order.symbol)
    if order.routed_ns is None and event.children:
        order.routed_ns = event.ts_ns
        order.arrival_px = midpoint(bid, ask) or _mid_seen(entry, order.symbol)
    for child in event.children:
        facts.children[child.child_id] = ChildFact(
            child_id=child.child_id,
            order_id=event.order_id,
            venue=child.venue,
            order_type=child.order_type._value_,
            tif=child.tif._value_,
            qty=units(child, order.qty),
            price=limit(child, order.price),
            sent_ns=event.ts_ns,
            bid=bid,
            ask=ask,
        )


def _replaced(facts: Facts, event: OrderReplaced, entry: Entry) -> None:
    del entry
    facts.orders[event.order_id].qty = event.qty


def _restated(facts: Facts, event: OrderRestated | OrderAdjusted, entry: Entry) -> None:
    del entry
    order = facts.orders[event.order_id]
    order.qty = event.qty
    order.scaled = order.scaled or event.ratio_num != event.ratio_den


def _ends(status: OrderStatus) -> Callable[[Facts, Any, Entry], None]:
    def end(facts: Facts, event: Any, entry: Entry) -> None:
        del entry
        order = facts.orders[event.order_id]
        order.ended_as, order.ended_ns = status, event.ts_ns

    return end


def _done_for_day(facts: Facts, event: OrderDoneForDay, entry: Entry) -> None:
    if event.closes:
        _ends(OrderStatus.DONE_FOR_DAY)(facts, event, entry)


# --- algos ---


def _planned(facts: Facts, event: AlgoPlanned, entry: Entry) -> None:
    del entry
    order = facts.orders[event.order_id]
    order.plans.append(event)
    order.algo = event.terms.algo
    if order.decision_px is None and len(order.plans) == 1:
        order.decision_px = event.arrival_mid


def _sliced(facts: Facts, event: SliceSent, entry: Entry) -> None:
    del entry
    for child_id in event.children:
        facts.children[child_id].kind = event.reason.kind.value


def _finished(facts: Facts, event: AlgoFinished, entry: Entry) -> None:
    del entry
    facts.orders[event.order_id].finished = event.reason.value


# --- children and executions ---


def _acked(facts: Facts, event: ChildAcked, entry: Entry) -> None:
    del entry
    child = facts.children[event.child_id]
    if child.ack_ns is None:
        child.ack_ns = event.ts_ns


def _child_replaced(facts: Facts, event: ChildReplaced, entry: Entry) -> None:
    del entry
    child = facts.children[event.child_id]
    child.qty, child.price = event.qty, event.price


def _child_ended(facts: Facts, event: ChildEnded | ChildRejected, entry: Entry) -> None:
    del entry
    child = facts.children[event.child_id]
    child.ended_ns = event.ts_ns
    child.ended_as = event.status if isinstance(event, ChildEnded) else OrderStatus.REJECTED.value


def _filled(facts: Facts, event: OrderFilled, entry: Entry) -> None:
    del entry
    facts.fills[event.key] = FillFact(
        key=event.key,
        order_id=event.order_id,
        child_id=event.child_id,
        venue=event.venue,
        ts_ns=event.ts_ns,
        qty=event.qty,
        px=event.px,
        liquidity=event.liquidity._value_,
        fee=event.fee,
        commission=event.commission or ZERO,
    )


def _busted(facts: Facts, event: ExecutionBusted, entry: Entry) -> None:
    del entry
    if facts.fills.pop(event.key, None) is not None:
        facts.busted += 1


def _corrected(facts: Facts, event: ExecutionCorrected, entry: Entry) -> None:
    del entry
    fill = facts.fills.get(event.key)
    if fill is not None:
        fill.qty, fill.px = event.qty, event.px
        fill.fee = event.fee if event.fee is not None else fill.fee


_HANDLERS: dict[type, Callable[[Facts, Any, Entry], None]] = {
    ReferenceSet: _reference,
    DayOpened: _day,
    OrderAccepted: _accepted,
    OrderRejected: _rejected,
    OrderTriggered: _triggered,
    OrderRouted: _routed,
    OrderReplaced: _replaced,
    OrderRestated: _restated,
    OrderAdjusted: _restated,
    OrderCancelled: _ends(OrderStatus.CANCELLED),
    OrderExpired: _ends(OrderStatus.EXPIRED),
    OrderRefusedByVenues: _ends(OrderStatus.REJECTED),
    OrderDoneForDay: _done_for_day,
    AlgoPlanned: _planned,
    SliceSent: _sliced,
    AlgoFinished: _finished,
    ChildAcked: _acked,
    ChildReplaced: _child_replaced,
    ChildEnded: _child_ended,
    ChildRejected: _child_ended,
    OrderFilled: _filled,
    ExecutionBusted: _busted,
    ExecutionCorrected: _corrected,
}

#: What a symbol is worth that no journaled reference describes.
UNKNOWN_INSTRUMENT = ("", ONE)
