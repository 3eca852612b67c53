"""Rules that need context: market hours, order type and time in force at the venues, currency, settlement.

What happens to an order outside trading hours, by what it asks for:

    IOC, FOK, MARKET      refused, market_closed: they want a market that is not there (auctions excepted)
    DAY, GTC, GTD         queued for the next session, or refused where the policy says so; a DAY order
                          belongs to the session it is queued for and expires at that session's close
    AT_OPEN               taken until the venue's cut-off before the open and again after the close;
                          refused (auction_cutoff) between the two
    AT_CLOSE              taken until the cut-off before the close of the running or else the next session

A time for which the calendar has no session ahead refuses (calendar_unknown): nobody guesses opening hours.

`collect_errors` finds everything wrong with an order in the documented order of stages: range, reference,
then state and business rules. A stage whose answers later rules build on (range, reference) ends the search
when it finds something; all its errors are reported.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from qtinfra.core.calendar import AuctionCutoffs, TradingSession, VenueCalendar
from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import ZERO, plain
from qtinfra.core.decisions import Refusal
from qtinfra.core.extended_models import Account, Instrument, Venue
from qtinfra.core.models import Currency, OrderType, TimeInForce
from qtinfra.core.reports import REJ_BROKER_OPTION, REJ_EXCHANGE_CLOSED, REJ_UNKNOWN_SYMBOL
from qtinfra.core.validation.rules import check_client_id, check_instrument, check_terms

_RESTING = (TimeInForce.DAY, TimeInForce.GTC, TimeInForce.GTD)
_AUCTIONS = (TimeInForce.AT_OPEN, TimeInForce.AT_CLOSE)
_AT_ONCE = (TimeInForce.IOC, TimeInForce.FOK)

#: Which times in force make sense for a type, at any venue. What waits for a trigger or shows a part cannot
#: be immediate, and a market order never rests beyond its day.
TYPE_TIF: dict[OrderType, tuple[TimeInForce, ...]] = {
    OrderType.MARKET: (TimeInForce.DAY, *_AT_ONCE, *_AUCTIONS),
    OrderType.LIMIT: tuple(TimeInForce),
    OrderType.STOP: _RESTING,
    OrderType.STOP_LIMIT: _RESTING,
    OrderType.TRAILING_STOP: _RESTING,
    OrderType.ICEBERG: _RESTING,
    OrderType.PEGGED: _RESTING,
}
#: Whether a type has a price: True needed, False not allowed, None may have one (a pegged order's cap).
TYPE_PRICE: dict[OrderType, bool | None] = {
    OrderType.MARKET: False,
    OrderType.LIMIT: True,
    OrderType.STOP: False,
    OrderType.STOP_LIMIT: True,
    OrderType.TRAILING_STOP: False,
    OrderType.ICEBERG: True,
    OrderType.PEGGED: None,
}


class ClosedMarket(StrEnum):
    """What a venue's policy does with a resting order that comes outside its session."""

    QUEUE = "queue"
    REJECT = "reject"


class OrderContext(msgspec.Struct, frozen=True, gc=False):
    """What the rules may know besides the order.

    Attributes:
        now_ns: the time of the decision, UTC nanoseconds.
        venues: where the instrument may trade now, in the order of its listings.
        calendar: of the primary listing; None leaves market hours unchecked (a market without hours).
        convertible: currencies with a journaled rate into the account's base currency.
        held_types, held_tif: what the engine works itself when no venue can.
    """

    now_ns: int
    account: Account | None
    instrument: Instrument | None
    venues: tuple[Venue, ...] = ()
    calendar: VenueCalendar | None = None
    halted: bool = False
    closed_market: ClosedMarket = ClosedMarket.QUEUE
    convertible: tuple[Currency, ...] = ()
    held_types: tuple[OrderType, ...] = ()
    held_tif: tuple[TimeInForce, ...] = ()


# --- market hours -----------------------------------------------------------------------------------------


def check_hours(
    order_type: OrderType,
    tif: TimeInForce,
    calendar: VenueCalendar,
    now_ns: int,
    policy: ClosedMarket = ClosedMarket.QUEUE,
) -> Refusal | None:
    """Whether an order may come in at this moment; the table above."""
    if tif in _AUCTIONS:
        return _check_auction(order_type, tif, calendar, now_ns)
    if calendar.is_open(now_ns):
        return None
    if tif in _AT_ONCE or order_type is OrderType.MARKET or policy is ClosedMarket.REJECT:
        return _closed(calendar, now_ns, f"{calendar.mic} is closed to {order_type} {tif} orders")
    return None if target_session(tif, calendar, now_ns) is not None else _unknown(calendar)


def target_session(tif: TimeInForce, calendar: VenueCalendar, now_ns: int) -> TradingSession | None:
    """The session that an order entered now belongs to: the running one (not for AT_OPEN), or the next."""
    running = None if tif is TimeInForce.AT_OPEN else calendar.session_at(now_ns)
    return running or calendar.next_session(now_ns)


def _check_auction(
    order_type: OrderType, tif: TimeInForce, calendar: VenueCalendar, now_ns: int
) -> Refusal | None:
    opening = tif is TimeInForce.AT_OPEN
    running = calendar.session_at(now_ns)
    if opening and running is not None:
        return _too_late(calendar, tif, running.open_ns, now_ns)
    target = target_session(tif, calendar, now_ns)
    if target is None:
        return _unknown(calendar)
    auction = target.open_ns if opening else target.close_ns
    cutoff_ns = auction - _lead_ns(calendar.cutoffs, opening, order_type is OrderType.MARKET)
    if now_ns < cutoff_ns:
        return None
    return _too_late(calendar, tif, cutoff_ns, now_ns)


def _lead_ns(cutoffs: AuctionCutoffs, opening: bool, market: bool) -> int:
    if opening:
        return cutoffs.market_on_open_ns if market else cutoffs.limit_on_open_ns
    return cutoffs.market_on_close_ns if market else cutoffs.limit_on_close_ns


def _too_late(calendar: VenueCalendar, tif: TimeInForce, cutoff_ns: int, now_ns: int) -> Refusal:
    text = f"{tif} orders for {calendar.mic} came in after the cut-off"
    return Refusal("auction_cutoff", text, "time_in_force", str(cutoff_ns), str(now_ns), REJ_EXCHANGE_CLOSED)


def _closed(calendar: VenueCalendar, now_ns: int, text: str) -> Refusal:
    opens = calendar.next_open(now_ns)
    limit = "" if opens is None else str(opens)
    return Refusal("market_closed", text, "time_in_force", limit, str(now_ns), REJ_EXCHANGE_CLOSED)


def _unknown(calendar: VenueCalendar) -> Refusal:
    text = f"the calendar of {calendar.mic} has no session after now"
    limit = calendar.last_date
    return Refusal("calendar_unknown", text, "time_in_force", limit, calendar.mic, REJ_EXCHANGE_CLOSED)


# --- type, time in force and venue ------------------------------------------------------------------------


def check_combination(order_type: OrderType, tif: TimeInForce) -> Refusal | None:
    """Whether the time in force makes sense for the type, at any venue."""
    allowed = TYPE_TIF[order_type]
    if tif in allowed:
        return None
    text = f"a {order_type} order cannot be {tif}"
    return Refusal("type_tif", text, "time_in_force", ", ".join(allowed), tif)


def check_price_presence(order: SubmitOrder) -> Refusal | None:
    """A price exactly where the type wants one."""
    wanted = TYPE_PRICE[order.order_type]
    if wanted and order.price is None:
        text = f"a {order.order_type} order needs a price"
        return Refusal("price_required", text, "price", order.order_type, "none")
    if wanted is False and order.price is not None:
        text = f"a {order.order_type} order has no price"
        return Refusal("price_not_allowed", text, "price", order.order_type, plain(order.price))
    return None


def check_min_quantity(order: SubmitOrder) -> Refusal | None:
    """A minimum quantity lies between 0 and the quantity, and has no meaning in an auction."""
    min_qty = order.min_qty or ZERO
    if not ZERO <= min_qty <= order.qty:
        text = "min_quantity must lie between 0 and quantity"
        return Refusal("min_qty", text, "min_quantity", plain(order.qty), plain(min_qty))
    if min_qty and order.tif in _AUCTIONS:
        text = f"min_quantity does not apply to {order.tif} orders"
        return Refusal("min_qty", text, "min_quantity", "0", plain(min_qty))
    return None


def check_venues(order: SubmitOrder, context: OrderContext, instrument: Instrument) -> Refusal | None:
    """At least one venue takes the type and the time in force together, or the engine holds what none takes.

    Auction orders go to the primary listing only.
    """
    venues = context.venues
    if order.tif in _AUCTIONS:
        venues = tuple(venue for venue in venues if venue.mic in instrument.listings[:1])
    typed = [v for v in venues if order.order_type in v.order_types or order.order_type in context.held_types]
    if not typed:
        takes = ", ".join(dict.fromkeys(kind for venue in venues for kind in venue.order_types))
        text = f"no venue takes {order.order_type} orders in {order.symbol}"
        return Refusal("unsupported_order_type", text, "order_type", takes, order.order_type)
    if order.tif in context.held_tif or any(order.tif in venue.time_in_force for venue in typed):
        return None
    takes = ", ".join(dict.fromkeys(tif for venue in typed for tif in venue.time_in_force))
    text = f"no venue takes {order.order_type} orders with {order.tif} in {order.symbol}"
    return Refusal("unsupported_time_in_force", text, "time_in_force", takes, order.tif)


# --- currency and settlement ------------------------------------------------------------------------------


def check_currency(
    account: Account, instrument: Instrument, venues: tuple[Venue, ...], convertible: tuple[Currency, ...]
) -> list[Refusal]:
    """The venues trade in the instrument's currency, and the account can be measured in it."""
    errors = []
    currency = instrument.currency
    if venues and all(venue.currency is not currency for venue in venues):
        traded = ", ".join(dict.fromkeys(venue.currency for venue in venues))
        text = f"no venue trades {instrument.symbol} in {currency}"
        errors.append(Refusal("currency_mismatch", text, "symbol", currency, traded))
    if currency is not account.base_currency and currency not in convertible:
        text = f"there is no rate from {currency} into {account.base_currency}"
        errors.append(Refusal("fx_rate_missing", text, "account_id", account.base_currency, currency))
    return errors


def check_settlement(
    instrument: Instrument,
    trade_date: str,
    settlement_date: str,
    settlement_currency: Currency,
    trading: VenueCalendar,
    settlement: VenueCalendar,
    cycle_days: int,
) -> list[Refusal]:
    """Settlement terms of an execution: regular way, on the settlement calendar, in the traded currency.

    Args:
        trade_date, settlement_date: ISO 8601.
        settlement: days on which money and securities move; a bank holiday is none though a venue trades.
        cycle_days: settlement days after the trade date (1 for US equities since 2024-05-28, 17 CFR
            240.15c6-1).
    """
    errors = []
    if trading.session_on(trade_date) is None:
        text = f"{trading.mic} did not trade on {trade_date}"
        errors.append(Refusal("trade_date_closed", text, "trade_date", trading.mic, trade_date))
    due = settlement.sessions_after(trade_date, cycle_days)
    if due is None:
        text = f"the settlement calendar does not reach {cycle_days} days past {trade_date}"
        errors.append(Refusal("calendar_unknown", text, "settlement_date", settlement.last_date, trade_date))
    elif settlement_date != due:
        text = f"a trade of {trade_date} settles on {due} (T+{cycle_days})"
        errors.append(Refusal("settlement_date", text, "settlement_date", due, settlement_date))
    if settlement_currency is not instrument.currency:
        text = f"{instrument.symbol} settles in {instrument.currency}"
        limit = instrument.currency
        errors.append(Refusal("settlement_currency", text, "settlement_currency", limit, settlement_currency))
    return errors


# --- everything -------------------------------------------------------------------------------------------


def collect_errors(order: SubmitOrder, context: OrderContext) -> list[Refusal]:
    """All that is wrong with a new order, first what counts first; empty when it may go on to risk.

    Unlike `rules.check_new`, which stops at the first refusal on the order path, this answers a person who
    wants to see the whole list.
    """
    errors = _present(check_client_id(order.cl_ord_id), check_terms(order.qty, order.price, order.order_type))
    if order.min_qty is not None and not order.min_qty.is_finite():
        text = "min_quantity must be a finite number"
        errors.append(Refusal("number_out_of_range", text, "min_quantity", "finite", str(order.min_qty)))
    if errors:
        return errors
    account, instrument = context.account, context.instrument
    if account is None or instrument is None or not context.venues:
        return _reference_errors(order, context)
    return [
        *_state_errors(order, context, account),
        *_present(
            check_price_presence(order),
            check_min_quantity(order),
            check_combination(order.order_type, order.tif),
            check_venues(order, context, instrument),
            check_instrument(instrument, order.qty, None),
            check_instrument(instrument, ZERO, order.price),
        ),
        *_present(_hours(order, context)),
        *check_currency(account, instrument, context.venues, context.convertible),
    ]


def _present(*found: Refusal | None) -> list[Refusal]:
    return [refusal for refusal in found if refusal is not None]


def _hours(order: SubmitOrder, context: OrderContext) -> Refusal | None:
    if context.calendar is None:
        return None
    return check_hours(order.order_type, order.tif, context.calendar, context.now_ns, context.closed_market)


def _reference_errors(order: SubmitOrder, context: OrderContext) -> list[Refusal]:
    errors = []
    if context.instrument is None:
        text = f"symbol {order.symbol[:24]!r} is not known"
        errors.append(Refusal("unknown_symbol", text, "symbol", "", order.symbol[:24], REJ_UNKNOWN_SYMBOL))
    if context.account is None:
        text = f"account {order.account[:40]!r} is not known"
        errors.append(Refusal("unknown_account", text, "account_id", "", order.account[:40]))
    if context.instrument is not None and not context.venues:
        text = f"no connected venue trades {order.symbol}"
        errors.append(Refusal("no_venue", text, "symbol", "", order.symbol, REJ_BROKER_OPTION))
    return errors


def _state_errors(order: SubmitOrder, context: OrderContext, account: Account) -> list[Refusal]:
    errors = []
    if not account.enabled:
        text = "the account may not trade"
        errors.append(Refusal("account_disabled", text, "account_id", "", account.account))
    if context.halted:
        errors.append(Refusal("instrument_halted", f"{order.symbol} is halted", "symbol", "", order.symbol))
    return errors
