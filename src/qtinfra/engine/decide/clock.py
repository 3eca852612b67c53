"""Scheduled moments: the close ends DAY orders and rests GTC ones; the open begins a trading date."""

from __future__ import annotations

import re

from qtinfra.core.book_events import TradesFolded
from qtinfra.core.commands import TimerFired, TimerKind
from qtinfra.core.decimals import ZERO
from qtinfra.core.events import CommandRefused, DayClosed, DayOpened, OrderDoneForDay, OrderExpired
from qtinfra.core.market import MarketView
from qtinfra.core.models import Order, TimeInForce
from qtinfra.engine.decide.algos import work_parents
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.entitlements import settle_actions
from qtinfra.engine.decide.expiry import close_days, expire, expires_at, newly_closed, rests_after_close
from qtinfra.engine.decide.outcome import refuse_pending
from qtinfra.engine.evolve_days import latest_days
from qtinfra.engine.state import State

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def timer_fired(state: State, command: TimerFired, now_ns: int, market: MarketView, out: Decision) -> None:
    if command.kind is TimerKind.ALGO:
        work_parents(state, command, now_ns, market, out)
        return
    if command.kind is TimerKind.DAY_OPEN:
        _open_day(state, command, out)
        return
    if command.kind is TimerKind.EXPIRY:
        _expire_due(state, now_ns, out)
        return
    if command.trade_date < state.trade_date:
        text = f"trading date {command.trade_date} has ended before {state.trade_date}"
        _refuse(state, command, text, out)
        return
    out.add(DayClosed(command.trade_date, command.venue))
    for order_id in state.open_orders:
        order = state.orders[order_id]
        if not order.unknown_children and _ends_with(state, order, command.venue):
            _end_day(order, now_ns, out)


def _expire_due(state: State, now_ns: int, out: Decision) -> None:
    """End what is due by now; where nothing is, nothing is journaled."""
    venues = newly_closed(state, now_ns)
    close_days(state, venues, out)
    for order_id in state.open_orders:
        order = state.orders[order_id]
        if order.unknown_children or not order.open:
            continue
        at_ns = expires_at(state, order)
        if at_ns is not None and at_ns <= now_ns:
            if order.tif is TimeInForce.GTD:
                expire(state, order, now_ns, out)
                if not state.working_children(order):
                    refuse_pending(order, now_ns, out)
            else:
                _end_day(order, now_ns, out)
        elif rests_after_close(state, order, venues):
            _end_day(order, now_ns, out)


def _open_day(state: State, command: TimerFired, out: Decision) -> None:
    if command.trade_date <= state.trade_date or _ISO_DATE.fullmatch(command.trade_date) is None:
        text = f"trading date {command.trade_date[:24]!r} does not follow {state.trade_date}"
        _refuse(state, command, text, out)
        return
    out.add(DayOpened(command.trade_date))
    days = latest_days(state, command.trade_date)
    if len(days) > state.books.retention:
        out.add(TradesFolded(days[0]))
    if state.books.actions:
        out.then(settle_actions)


def _refuse(state: State, command: TimerFired, text: str, out: Decision) -> None:
    date = command.trade_date
    out.add(CommandRefused("", "", "trade_date", "trade_date", state.trade_date, date, text))


def _ends_with(state: State, order: Order, venue: str) -> bool:
    """Whether the close of `venue` ends the order's day: it works there alone, or is listed there first."""
    if not venue:
        return True
    working = state.working_children(order)
    if working:
        return all(child.venue == venue for child in working)
    return state.instruments[order.symbol].listings[0] == venue


def _end_day(order: Order, now_ns: int, out: Decision) -> None:
    """A GTC order is done for the day and goes on tomorrow. A DAY order that traded ends done for day, one
    that did not ends expired: either way it is over. An order in doubt waits for its venue's word.
    """
    if order.filled:
        return
    if order.tif in (TimeInForce.GTC, TimeInForce.GTD):
        if not order.done_for_day:
            out.add(OrderDoneForDay("", 0, order.order_id, False, now_ns))
        return
    if order.tif is TimeInForce.DAY and order.cum_qty > ZERO:
        out.add(OrderDoneForDay("", 0, order.order_id, True, now_ns))
    else:
        out.add(OrderExpired("", 0, order.order_id, "end of day", now_ns))
    refuse_pending(order, now_ns, out)
