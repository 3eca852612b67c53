"""Rules for orders that are not plain: what each type needs, and nothing that it does not."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.calendar import VenueCalendar
from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import is_multiple, plain
from qtinfra.core.decisions import Refusal
from qtinfra.core.extended_models import Account, Instrument
from qtinfra.core.models import Order, OrderType, TimeInForce
from qtinfra.core.reports import CXL_OTHER, CXL_TOO_LATE
from qtinfra.core.special import SpecialTerms
from qtinfra.core.validation.rules import check_new, check_number, in_range
from qtinfra.core.validation.sessions import (
    TYPE_PRICE,
    check_combination,
    check_hours,
    check_min_quantity,
    check_price_presence,
)
from qtinfra.core.validation.wire_special import NAMES

ON_AUCTION = (TimeInForce.AT_OPEN, TimeInForce.AT_CLOSE)
#: Types that wait for a trigger.
TRIGGERED = (OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP)

NO_TERMS = SpecialTerms()

_STOPS = (OrderType.STOP, OrderType.STOP_LIMIT)


def check_special(
    order: SubmitOrder,
    account: Account,
    instrument: Instrument | None,
    halted: bool,
    now_ns: int,
) -> Refusal | None:
    """All rules for a new order with special terms; None when it may go on to risk.

    Args:
        now_ns: UTC nanoseconds of the decision.
    """
    kind = OrderType.MARKET if order.price is None else OrderType.LIMIT
    as_plain = msgspec.structs.replace(order, order_type=kind, tif=TimeInForce.DAY)
    refusal = check_new(as_plain, account, instrument, halted)
    if refusal is not None or instrument is None:
        return refusal
    terms = order.special or NO_TERMS
    return (
        check_price_presence(order)
        or check_combination(order.order_type, order.tif)
        or check_min_quantity(order)
        or _check_min(order)
        or check_terms_of(order.order_type, order.qty, terms, instrument)
        or check_expiry(order.tif, terms, now_ns)
    )


def _check_min(order: SubmitOrder) -> Refusal | None:
    if not order.min_qty or order.order_type in (OrderType.LIMIT, OrderType.MARKET):
        return None
    text = f"min_quantity does not apply to {order.order_type} orders"
    return Refusal("min_qty", text, "min_quantity", "0", plain(order.min_qty))


def check_auction(order: SubmitOrder, calendar: VenueCalendar | None, now_ns: int) -> Refusal | None:
    """Whether an order for an auction comes before its cut-off. `calendar`: of the primary listing."""
    if order.tif not in ON_AUCTION:
        return None
    if calendar is None:
        text = f"the calendar of the listing venue of {order.symbol} is not known"
        return Refusal("calendar_unknown", text, "time_in_force", "", order.tif)
    return check_hours(order.order_type, order.tif, calendar, now_ns)


def check_terms_of(
    kind: OrderType, qty: Decimal, terms: SpecialTerms, instrument: Instrument
) -> Refusal | None:
    """The fields that a type needs are there and in range, and no others."""
    return (
        _only("stop_px", terms.stop_px, kind, _STOPS)
        or _only("trail", terms.trail, kind, (OrderType.TRAILING_STOP,))
        or _only("display_qty", terms.display_qty, kind, (OrderType.ICEBERG,))
        or _only("peg", terms.peg, kind, (OrderType.PEGGED,))
        or _price("stop_px", terms.stop_px, instrument)
        or _step("trail", terms.trail, instrument)
        or _display(terms.display_qty, qty, instrument)
        or _offset(terms.peg_offset, kind, instrument)
    )


def _word(field: str) -> str:
    """A term's name in sentences: the client's, not ours."""
    return NAMES.get(field, field)


def _number(field: str, value: Decimal) -> Refusal | None:
    """`check_number` in the client's words."""
    refusal = check_number(field, value)
    if refusal is None:
        return None
    return msgspec.structs.replace(refusal, text=refusal.text.replace(field, _word(field), 1))


def _only(field: str, value: object, kind: OrderType, kinds: tuple[OrderType, ...]) -> Refusal | None:
    if (kind in kinds) == (value is not None):
        return None
    if value is None:
        return Refusal(f"{field}_required", f"a {kind} order needs {_word(field)}", field, kind, "none")
    text = f"a {kind} order has no {_word(field)}"
    return Refusal(f"{field}_not_allowed", text, field, ", ".join(kinds), str(value)[:60])


def _price(field: str, price: Decimal | None, instrument: Instrument) -> Refusal | None:
    if price is None:
        return None
    refusal = _number(field, price)
    if refusal is not None or instrument.on_tick(price):
        return refusal
    below, above = instrument.nearest_prices(price)
    tick = plain(instrument.tick_at(price))
    text = f"{_word(field)} must be a multiple of {tick}; nearest are {plain(below)} and {plain(above)}"
    return Refusal("tick_size", text, field, tick, plain(price))


def largest_tick(instrument: Instrument) -> Decimal:
    """The coarsest step of the tick table: distances in it keep any price of the instrument valid."""
    return max(band.tick for band in instrument.ticks)


def _step(field: str, value: Decimal | None, instrument: Instrument) -> Refusal | None:
    if value is None:
        return None
    tick = largest_tick(instrument)
    refusal = _number(field, value)
    if refusal is not None or is_multiple(value, tick):
        return refusal
    text = f"{_word(field)} must be a multiple of {plain(tick)}"
    return Refusal("tick_size", text, field, plain(tick), plain(value))


def _display(display: Decimal | None, qty: Decimal, instrument: Instrument) -> Refusal | None:
    if display is None:
        return None
    refusal = _number("display_qty", display)
    if refusal is not None:
        return refusal
    if display > qty:
        text = f"{_word('display_qty')} must not be more than quantity"
        return Refusal("display_qty", text, "display_qty", plain(qty), plain(display))
    if not is_multiple(display, instrument.lot_size):
        lot = plain(instrument.lot_size)
        text = f"{_word('display_qty')} must be a multiple of {lot}"
        return Refusal("lot_size", text, "display_qty", lot, plain(display))
    return None


def _offset(offset: Decimal, kind: OrderType, instrument: Instrument) -> Refusal | None:
    if not in_range(offset):
        text = f"{_word('peg_offset')} has too many digits"
        return Refusal("number_out_of_range", text, "peg_offset", "", str(offset))
    if not offset:
        return None
    if kind is not OrderType.PEGGED:
        text = f"a {kind} order has no {_word('peg_offset')}"
        return Refusal("peg_offset_not_allowed", text, "peg_offset", OrderType.PEGGED, plain(offset))
    return _step("peg_offset", abs(offset), instrument)


def check_expiry(tif: TimeInForce, terms: SpecialTerms, now_ns: int) -> Refusal | None:
    """A GTD order says when it ends, in the future; no other order does."""
    limit, observed = str(now_ns), str(terms.expire_ns)
    if tif is not TimeInForce.GTD:
        if not terms.expire_ns:
            return None
        text = f"a {tif} order has no expiry of its own"
        return Refusal("expire_time_not_allowed", text, "expire_time", TimeInForce.GTD, observed)
    if terms.expire_ns > now_ns:
        return None
    if not terms.expire_ns:
        return Refusal("expire_time_required", "a GTD order needs its expiry", "expire_time", "GTD", "none")
    return Refusal("expire_time_past", "the expiry has passed", "expire_time", limit, observed)


# --- replaces ---------------------------------------------------------------------------------------------


def merged(old: SpecialTerms | None, asked: SpecialTerms | None) -> SpecialTerms | None:
    """The terms after a replace: what is asked for, else what was; marks, locates and links stay."""
    if asked is None:
        return old
    base = old or NO_TERMS
    return msgspec.structs.replace(
        base,
        stop_px=asked.stop_px if asked.stop_px is not None else base.stop_px,
        trail=asked.trail if asked.trail is not None else base.trail,
        display_qty=asked.display_qty if asked.display_qty is not None else base.display_qty,
        peg=asked.peg if asked.peg is not None else base.peg,
        peg_offset=asked.peg_offset if asked.peg is not None else base.peg_offset,
        expire_ns=asked.expire_ns or base.expire_ns,
    )


def check_replaced(
    order: Order, qty: Decimal, price: Decimal | None, terms: SpecialTerms | None, instrument: Instrument
) -> Refusal | None:
    """The order as a replace would make it: price, quantity and special terms fit its type.

    An expiry in the past is not refused: the order ends with the next expiry timer.
    """
    wanted = TYPE_PRICE[order.order_type]
    if wanted is (price is None):
        code = "price_required" if wanted else "price_not_allowed"
        observed = "none" if price is None else plain(price)
        text = f"{code}: a {order.order_type} order"
        return Refusal(code, text, "price", order.order_type, observed, CXL_OTHER)
    terms = terms or NO_TERMS
    if order.special is not None and terms.link is not None and qty > order.qty:
        text = "an order of a list cannot grow beyond the list's quantity"
        return Refusal("list_quantity", text, "quantity", plain(order.qty), plain(qty), CXL_OTHER)
    display = terms.display_qty
    shown = terms if display is None else msgspec.structs.replace(terms, display_qty=min(display, qty))
    return _amended(
        check_terms_of(order.order_type, qty, shown, instrument) or check_expiry(order.tif, terms, 0)
    )


def too_late(field: str, observed: str, text: str) -> Refusal:
    """A special term that can no longer change (CxlRejReason 0)."""
    return Refusal("too_late", text, field, "", observed, CXL_TOO_LATE)


def _amended(refusal: Refusal | None) -> Refusal | None:
    return msgspec.structs.replace(refusal, fix_reason=CXL_OTHER) if refusal is not None else None


def as_asked(terms: SpecialTerms | None) -> SpecialTerms | None:
    """Terms as a client sends them, without the list that the engine put the order in; None if plain then."""
    if terms is None:
        return None
    bare = msgspec.structs.replace(terms, link=None, link_id="")
    return None if bare == NO_TERMS else bare
