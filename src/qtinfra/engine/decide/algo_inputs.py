"""From state and market to what the planners and the algo runtime read."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.algo import AlgoTerms
from qtinfra.core.calendar import TradingSession
from qtinfra.core.decimals import ZERO
from qtinfra.core.market import ConsolidatedBook, MarketView
from qtinfra.core.models import ChildStatus, Order, OrderSide, OrderType, TimeInForce
from qtinfra.core.strategies.inputs import PlanInputs
from qtinfra.core.validation.sessions import check_hours
from qtinfra.engine.algo_state import ParentState
from qtinfra.engine.decide.placing import in_session
from qtinfra.engine.decide.risk_gate import reference_price
from qtinfra.engine.evolve_algos import interval_of
from qtinfra.engine.lookup import open_venues
from qtinfra.engine.state import State
from qtinfra.execution.parent import Inputs, ParentView, Working


def plan_inputs(state: State, order: Order, terms: AlgoTerms, now_ns: int, market: MarketView) -> PlanInputs:
    """The facts for planning what is left of an order now."""
    book = market.book(order.symbol)
    curve, profile = state.algos.curves.get(order.symbol), state.algos.profiles.get(order.symbol)
    session = _session_of(state, order, max(now_ns, terms.start_ns))
    open_ns, close_ns = (session.open_ns, session.close_ns) if session is not None else (0, 0)
    if curve is not None:
        open_ns, close_ns = curve.open_ns, curve.close_ns
    spread = profile.spread if profile is not None else None
    if spread is None and book is not None:
        bid, ask = book.touch()
        spread = ask - bid if bid is not None and ask is not None and ask > bid else None
    return PlanInputs(
        order.side is OrderSide.BUY,
        order.qty,
        order.cum_qty,
        state.instruments[order.symbol].lot_size,
        now_ns,
        open_ns,
        close_ns,
        _cutoff(state, order, session, TimeInForce.AT_CLOSE),
        _cutoff(state, order, session, TimeInForce.AT_OPEN),
        curve.bins if curve is not None else (),
        profile.close_volume if profile is not None else None,
        profile.daily_volume if profile is not None else None,
        profile.daily_volatility if profile is not None else None,
        spread,
        reference_price(state, market, order.symbol, now_ns),
    )


def _session_of(state: State, order: Order, moment_ns: int) -> TradingSession | None:
    calendar = state.calendars.get(state.instruments[order.symbol].listings[0])
    if calendar is None:
        return None
    return calendar.session_at(moment_ns) or calendar.next_session(moment_ns)


def _cutoff(state: State, order: Order, session: TradingSession | None, tif: TimeInForce) -> int:
    """Until when the listing venue takes the order for that auction, UTC nanoseconds; 0 for never."""
    mic = state.instruments[order.symbol].listings[0]
    if session is None or tif not in state.venues[mic].time_in_force:
        return 0
    cutoffs, limit = state.calendars[mic].cutoffs, order.order_type is OrderType.LIMIT
    if tif is TimeInForce.AT_CLOSE:
        return session.close_ns - (cutoffs.limit_on_close_ns if limit else cutoffs.market_on_close_ns)
    return session.open_ns - (cutoffs.limit_on_open_ns if limit else cutoffs.market_on_open_ns)


def auction_open(state: State, order: Order, tif: TimeInForce, now_ns: int) -> bool:
    """Whether the listing venue can still take the order for that auction."""
    mic = state.instruments[order.symbol].listings[0]
    calendar = state.calendars.get(mic)
    if calendar is None or tif not in state.venues[mic].time_in_force or order.symbol in state.halted:
        return False
    if all(venue.mic != mic for venue in open_venues(state, order.symbol)):
        return False
    return check_hours(order.order_type, tif, calendar, now_ns) is None


def parent_view(state: State, order: Order, terms: AlgoTerms, parent: ParentState, now_ns: int) -> ParentView:
    """A parent as the runtime sees it. A child that cannot be asked back counts as asked."""
    working = []
    for child_id, kind in parent.children.items():
        child = state.children[child_id]
        if child.working:
            asked = bool(child.cancel_id) or child.status is ChildStatus.UNKNOWN
            asked = asked or not state.connected(child.venue)
            working.append(Working(child_id, kind, child.price, child.leaves, order.updated_ns, asked))
    return ParentView(
        terms,
        parent.schedule,
        order.side is OrderSide.BUY,
        order.price,
        order.qty,
        order.cum_qty,
        state.instruments[order.symbol].lot_size,
        tuple(working),
        parent.arrival_mid,
        bool(parent.paused) or order.suspended,
        parent.crossed,
        parent.open_sent,
        parent.close_sent,
        terms.dark_first and parent.dark_interval == interval_of(parent, now_ns),
    )


def look_inputs(
    state: State,
    order: Order,
    terms: AlgoTerms,
    parent: ParentState,
    view: ParentView,
    book: ConsolidatedBook | None,
    now_ns: int,
) -> Inputs:
    """The market for one look. What is at venues is not counted as others' volume: it may have traded."""
    schedule = parent.schedule
    auctions = bool(schedule.open_qty or schedule.close_qty) or now_ns >= schedule.end_ns
    found = Inputs(
        trading=order.symbol not in state.halted and in_session(state, order.symbol, now_ns),
        known=book is not None,
        open_auction=auctions and auction_open(state, order, TimeInForce.AT_OPEN, now_ns),
        close_auction=auctions and auction_open(state, order, TimeInForce.AT_CLOSE, now_ns),
    )
    if book is None:
        return found
    _quote(book, found)
    if terms.dark_first:
        shown = displaying(book)
        found.dark = any(venue.mic not in shown for venue in open_venues(state, order.symbol))
    if parent.base_traded is not None:
        found.others = _others(book.traded, parent.base_traded, order.cum_qty - parent.base_cum)
    if parent.base_traded is not None and parent.interval >= 0:
        own = parent.interval_cum - parent.base_cum
        found.seen = _others(parent.interval_traded, parent.base_traded, own)
    if parent.interval >= 0:
        found.interval_own = order.cum_qty - parent.interval_cum
        held = sum((child.leaves for child in view.working), ZERO)
        found.interval_others = _others(book.traded, parent.interval_traded, found.interval_own + held)
    return found


def displaying(book: ConsolidatedBook | None) -> list[str]:
    """The venues that display anything."""
    return [quote.venue for quote in book.quotes if quote.bids or quote.asks] if book is not None else []


def _others(traded: Decimal, before: Decimal, own: Decimal) -> Decimal:
    return max(ZERO, traded - before - own)


def _quote(book: ConsolidatedBook, found: Inputs) -> None:
    """The best displayed quote over the live venues, with the sizes there."""
    for quote in book.quotes:
        if not quote.live:
            continue
        if quote.bids:
            price, size = quote.bids[0]
            if found.bid is None or price > found.bid:
                found.bid, found.bid_size = price, size
            elif price == found.bid:
                found.bid_size += size
        if quote.asks:
            price, size = quote.asks[0]
            if found.ask is None or price < found.ask:
                found.ask, found.ask_size = price, size
            elif price == found.ask:
                found.ask_size += size
