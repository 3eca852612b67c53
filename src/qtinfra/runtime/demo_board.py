"""How the demonstration's algo orders stand: done, target, the market's volume and our part of it.

The board reads the journal's records as they become durable, and the state. It asks for nothing and decides
nothing; whoever shows it decides how.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec

from qtinfra.core.algo import FinishReason
from qtinfra.core.algo_events import AlgoFinished, AlgoPaused, AlgoPlanned, AlgoResumed, SliceSent
from qtinfra.core.decimals import ZERO, canonical
from qtinfra.core.events import AnyEvent, Entry, OrderAccepted, OrderCancelled
from qtinfra.core.market import MarketView
from qtinfra.core.models import Order, OrderSide
from qtinfra.engine.lookup import strategies_of
from qtinfra.engine.state import State

#: The account whose orders are worked by algorithms.
ALGO_ACCOUNT = "delta"


class AlgoLine(msgspec.Struct, frozen=True):
    """One algo order. Quantities are units, times UTC nanoseconds.

    Attributes:
        cl_ord_id: the first one, whatever replaces have named it since.
        filled: units executed. target: units that the schedule wants executed or at venues by now.
        market_volume: units printed in the symbol while it worked, its own included.
        participation: what it executed meanwhile / `market_volume`, 0 to 1; None before the first print.
        arrival_mid: midpoint when it was accepted. avg_px: of what it executed, 0 for nothing.
        slippage_bps: average price against the arrival midpoint, a cost positive; None before the first fill.
        slices: how often it sent something to venues.
        state: "working", "halted", "paused: why", or how it ended.
        working: whether the algo still works it.
    """

    cl_ord_id: str
    algo: str
    side: OrderSide
    symbol: str
    qty: Decimal
    filled: Decimal
    target: Decimal
    market_volume: Decimal
    participation: Decimal | None
    avg_px: Decimal
    arrival_mid: Decimal | None
    slippage_bps: Decimal | None
    slices: int
    started_ns: int
    end_ns: int
    state: str
    working: bool


#: Called now and then with the time of the market and the board.
Watch = Callable[[int, tuple[AlgoLine, ...]], None]


class _Seen(msgspec.Struct):
    """What the records have told about one parent so far."""

    cl_ord_id: str
    symbol: str
    started_ns: int = 0
    base_traded: Decimal = ZERO
    arrival_mid: Decimal | None = None
    slices: int = 0
    paused: str = ""
    ended: str = ""
    ended_filled: Decimal = ZERO
    ended_traded: Decimal = ZERO
    cancelled: str = ""


class AlgoBoard:
    """Follows every algo order of a session."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._traded: dict[str, Decimal] = {}

    def entry(self, entry: Entry) -> None:
        """Take note of a record; they come in order."""
        for book in entry.market:
            self._traded[book.symbol] = max(book.traded, self._traded.get(book.symbol, ZERO))
        for event in entry.events:
            self._note(event)

    def _note(self, event: AnyEvent) -> None:
        if isinstance(event, OrderAccepted):
            if event.algo is not None:
                self._seen[event.order_id] = _Seen(event.cl_ord_id, event.symbol)
            return
        seen = self._seen.get(getattr(event, "order_id", ""))
        if seen is None:
            return
        if isinstance(event, AlgoPlanned):
            if not seen.started_ns:
                seen.started_ns, seen.arrival_mid = event.ts_ns, event.arrival_mid
                seen.base_traded = event.traded or self._traded.get(seen.symbol, ZERO)
        elif isinstance(event, SliceSent):
            seen.slices += 1
        elif isinstance(event, AlgoPaused):
            seen.paused = event.reason
        elif isinstance(event, AlgoResumed):
            seen.paused = ""
        elif isinstance(event, OrderCancelled):
            seen.cancelled = f"cancelled: {event.reason}" if event.reason else "cancelled by client"
        elif isinstance(event, AlgoFinished):
            seen.ended, seen.ended_filled = event.reason.value, event.filled
            seen.ended_traded = self._traded.get(seen.symbol, ZERO)

    def lines(self, state: State, market: MarketView, now_ns: int) -> tuple[AlgoLine, ...]:
        """The board as it is now, in the order in which the parents were accepted."""
        return tuple(
            self._line(state, state.orders[order_id], seen, market, now_ns)
            for order_id, seen in self._seen.items()
        )

    def _line(self, state: State, order: Order, seen: _Seen, market: MarketView, now_ns: int) -> AlgoLine:
        terms = order.algo
        traded = seen.ended_traded
        if not seen.ended:
            book = market.book(order.symbol)
            traded = book.traded if book is not None else self._traded.get(order.symbol, ZERO)
        volume = max(ZERO, traded - seen.base_traded)
        own = seen.ended_filled if seen.ended else order.cum_qty
        return AlgoLine(
            seen.cl_ord_id,
            terms.algo if terms is not None else "",
            order.side,
            order.symbol,
            canonical(order.qty),
            canonical(order.cum_qty),
            canonical(_target(state, order, traded, now_ns)),
            canonical(volume),
            min(own / volume, Decimal(1)) if volume else None,
            order.avg_px,
            seen.arrival_mid,
            _slippage(order, seen.arrival_mid),
            seen.slices,
            seen.started_ns,
            terms.end_ns if terms is not None else 0,
            _state(seen, order.symbol in state.halted),
            not seen.ended,
        )


def _target(state: State, order: Order, traded: Decimal, now_ns: int) -> Decimal:
    """What the schedule wants by now; what was executed, once nothing works the order."""
    parent, terms = state.algos.parents.get(order.order_id), order.algo
    strategy = strategies_of(state).get(terms.algo) if terms is not None else None
    if parent is None or strategy is None:
        return order.cum_qty
    others = ZERO
    if parent.base_traded is not None:
        others = max(ZERO, traded - parent.base_traded - (order.cum_qty - parent.base_cum))
    return min(order.qty, strategy.target(parent.schedule, now_ns, others))


def _slippage(order: Order, arrival: Decimal | None) -> Decimal | None:
    if arrival is None or not order.cum_qty:
        return None
    move = order.avg_px - arrival if order.side is OrderSide.BUY else arrival - order.avg_px
    return move / arrival * 10_000


def _state(seen: _Seen, halted: bool) -> str:
    if seen.ended:
        return seen.cancelled if seen.cancelled and seen.ended == FinishReason.ORDER_ENDED else seen.ended
    if halted:
        return "halted"
    return f"paused: {seen.paused}" if seen.paused else "working"
