"""Corporate actions: on open orders at once, on positions at the open of the ex-date; and calendars.

FINRA Rule 5330: on the ex-date open buy limits and sell stops are reduced by a cash dividend, rounded down
to the minimum variation; a split reduces the price and increases the quantity; a reverse split cancels.
Exempt are sell limits and buy stops, dividends under a cent, do-not-reduce orders when the dividend is cash,
and the quantity (not the price) of do-not-increase orders when it is stock. Only orders that outlive their
day (GTC, GTD) are open orders in this sense.

A venue that holds a child adjusts it by the same rule. An order with a request in flight, or in doubt, cannot
be adjusted safely: its cancel is asked for.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.commands import ActionKind, CorporateAction, SetCalendar
from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.decisions import Refusal
from qtinfra.core.events import BreakRaised, CommandRefused
from qtinfra.core.extended_models import Instrument
from qtinfra.core.market import MarketView
from qtinfra.core.models import Order, Origin, TimeInForce, is_buy
from qtinfra.core.special import SpecialTerms
from qtinfra.core.special_events import CalendarSet, CorporateActionTaken, OrderAdjusted
from qtinfra.core.validation.rules import in_range
from qtinfra.core.validation.special import TRIGGERED
from qtinfra.engine.decide.amend import cancel_if_open
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.entitlements import settle_actions
from qtinfra.engine.decide.placing import coarse_floor, terms_of
from qtinfra.engine.scaling import executed_after, scaled
from qtinfra.engine.state import State

#: Smaller cash dividends change nothing.
DE_MINIMIS = Decimal("0.01")

_LASTING = (TimeInForce.GTC, TimeInForce.GTD)


def set_calendar(state: State, command: SetCalendar, now_ns: int, market: MarketView, out: Decision) -> None:
    """The sessions of a venue that we know."""
    del now_ns, market
    mic = command.calendar.mic
    if mic not in state.venues:
        text = f"venue {mic[:24]!r} is not known"
        out.add(CommandRefused("", "", "unknown_venue", "calendar", "", mic[:24], text))
        return
    if state.calendars.get(mic) != command.calendar:
        out.add(CalendarSet(command.calendar))


def corporate_action(
    state: State, command: CorporateAction, now_ns: int, market: MarketView, out: Decision
) -> None:
    """Adjust or cancel the symbol's open orders. The same action again changes nothing."""
    del market
    if command.action_id in state.corporate_actions:
        return
    refusal = _check(state, command)
    if refusal is not None:
        out.add(
            CommandRefused("", "", refusal.code, refusal.field, refusal.limit, refusal.observed, refusal.text)
        )
        return
    out.add(
        CorporateActionTaken(
            command.action_id,
            command.symbol,
            command.kind,
            command.ex_date,
            command.amount,
            command.ratio_num,
            command.ratio_den,
        )
    )
    if command.ex_date <= state.trade_date:
        out.then(settle_actions)
    if command.kind is ActionKind.CASH_DIVIDEND and command.amount < DE_MINIMIS:
        return
    for order_id in state.open_orders:
        order = state.orders[order_id]
        if order.symbol == command.symbol and order.open and order.tif in _LASTING:
            _apply(state, order, command, now_ns, out)


def _check(state: State, command: CorporateAction) -> Refusal | None:
    if command.symbol not in state.instruments:
        text = f"symbol {command.symbol[:24]!r} is not known"
        return Refusal("unknown_symbol", text, "symbol", "", command.symbol[:24])
    if command.ex_date < state.trade_date:
        text = f"the ex-date {command.ex_date[:24]} has passed"
        return Refusal("ex_date_past", text, "ex_date", state.trade_date, command.ex_date[:24])
    num, den = command.ratio_num, command.ratio_den
    if command.kind is ActionKind.CASH_DIVIDEND:
        if in_range(command.amount) and command.amount > ZERO:
            return None
        text = "a dividend must be positive"
        return Refusal("must_be_positive", text, "amount", "0", str(command.amount)[:60])
    usable = in_range(num) and in_range(den) and num > ZERO and den > ZERO
    grows = command.kind is ActionKind.SPLIT
    if usable and (num > den if grows else num < den):
        return None
    text = f"a {command.kind} gives {'more' if grows else 'fewer'} new units than old ones"
    return Refusal("bad_ratio", text, "ratio_num", str(den)[:30], str(num)[:30])


def _apply(state: State, order: Order, command: CorporateAction, now_ns: int, out: Decision) -> None:
    if command.kind is ActionKind.REVERSE_SPLIT:
        cancel_if_open(state, order, Origin.SYSTEM, "reverse split", now_ns, out)
        return
    if order.pending_cancel is not None or not _is_reduced(order, command):
        return
    adjusted = _adjusted(state, order, command, now_ns)
    if adjusted is not None and order.pending_replace is None and not order.unknown_children:
        out.add(adjusted)
        return
    why = "in doubt" if order.unknown_children else "in flight" if adjusted is not None else "no price left"
    text = f"not adjusted by {command.action_id}: {why}"
    out.add(BreakRaised("corporate_action", order.order_id, command.action_id, text))
    cancel_if_open(state, order, Origin.SYSTEM, "corporate action", now_ns, out)


def _is_reduced(order: Order, command: CorporateAction) -> bool:
    """Buy limits and sell stops follow; sell limits and buy stops do not."""
    terms = terms_of(order)
    if command.kind is ActionKind.CASH_DIVIDEND and terms.do_not_reduce:
        return False
    stop = order.order_type in TRIGGERED
    return not stop if is_buy(order.side) else stop


def _adjusted(state: State, order: Order, command: CorporateAction, now_ns: int) -> OrderAdjusted | None:
    """The order after the action; None when nothing would be left of a price."""
    instrument = state.instruments[order.symbol]
    terms, split = order.special, command.kind is ActionKind.SPLIT
    grows = split and not terms_of(order).do_not_increase
    num, den = (command.ratio_num, command.ratio_den) if grows else (ONE, ONE)
    price = _reduced(order.price, command, instrument)
    watermark = state.watched.get(order.symbol, {}).get(order.order_id)
    prices = [order.price, terms.stop_px if terms is not None else None, watermark]
    after = [_reduced(item, command, instrument) for item in prices]
    if any(item is not None and item <= ZERO for item in after):
        return None
    qty = order.qty
    if grows:
        left = scaled(order.leaves_qty, num, den)
        qty = executed_after(state, order, num, den) + left - left % instrument.lot_size
    if terms is not None:
        terms = _adjusted_terms(terms, command, instrument, num, den)
    return OrderAdjusted(order.order_id, command.action_id, qty, price, terms, after[2], num, den, now_ns)


def _reduced(price: Decimal | None, command: CorporateAction, instrument: Instrument) -> Decimal | None:
    """A price less the dividend or by the ratio, rounded down to the coarsest tick."""
    if price is None:
        return None
    if command.kind is ActionKind.CASH_DIVIDEND:
        return coarse_floor(instrument, price - command.amount)
    return coarse_floor(instrument, scaled(price, command.ratio_den, command.ratio_num))


def _adjusted_terms(
    terms: SpecialTerms, command: CorporateAction, instrument: Instrument, num: Decimal, den: Decimal
) -> SpecialTerms:
    display, trail = terms.display_qty, terms.trail
    if display is not None and num != den:
        display = scaled(display, num, den)
        display = max(instrument.lot_size, display - display % instrument.lot_size)
    if trail is not None and command.kind is ActionKind.SPLIT:
        least = coarse_floor(instrument, scaled(trail, command.ratio_den, command.ratio_num))
        trail = least or max(band.tick for band in instrument.ticks)
    return msgspec.structs.replace(
        terms, stop_px=_reduced(terms.stop_px, command, instrument), display_qty=display, trail=trail
    )
