"""What a new order asks of a matching venue, checked and put into the book's integers."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import EXACT
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import VenueNewOrder
from qtinfra.venues.simulated import reasons
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.grid import Grid
from qtinfra.venues.simulated.selfmatch import SmpMode

# Members by name: looking them up in their class costs more than comparing them.
_PEGGED = OrderType.PEGGED
_BUY = OrderSide.BUY
_FOK = TimeInForce.FOK
_DAY = TimeInForce.DAY
_GTC = TimeInForce.GTC
_IOC = TimeInForce.IOC
_AT_OPEN = TimeInForce.AT_OPEN
_AT_CLOSE = TimeInForce.AT_CLOSE
_LIMIT = OrderType.LIMIT
_ICEBERG = OrderType.ICEBERG

RESTING = (TimeInForce.DAY, TimeInForce.GTC)
ON_AUCTION = (TimeInForce.AT_OPEN, TimeInForce.AT_CLOSE)

_IMMEDIATE = (TimeInForce.IOC, TimeInForce.FOK)
_TIF = (*RESTING, *_IMMEDIATE, *ON_AUCTION)
_STOPS = (OrderType.STOP, OrderType.STOP_LIMIT)
_PRICED = (OrderType.LIMIT, OrderType.ICEBERG, OrderType.STOP_LIMIT)
_TYPES = (*_PRICED, OrderType.MARKET, OrderType.STOP, OrderType.PEGGED)


class Peg(StrEnum):
    """What a pegged order follows: its own side's best price, the other side's, or the middle."""

    PRIMARY = "PRIMARY"
    MARKET = "MARKET"
    MIDPOINT = "MIDPOINT"


class PegTerms(msgspec.Struct, frozen=True, gc=False):
    """A peg in ticks: never beyond `limit`, and `offset` from what it follows."""

    peg: Peg
    offset: int = 0
    limit: int | None = None


class Terms(msgspec.Struct, frozen=True, gc=False):
    """An accepted order: its entry for the book, and what it waits for or follows."""

    entry: BookOrder
    stop: int | None = None
    peg: PegTerms | None = None


def read_terms(message: VenueNewOrder, grid: Grid, number: int, smp_mode: SmpMode) -> Terms | str:
    """The order in ticks and units, or the reason to refuse it.

    Args:
        number: of the order at the venue, from 1.
        smp_mode: the venue's self-match prevention for orders that do not name one.
    """
    if is_plain(message):
        entry = plain_entry(message, grid, number, smp_mode)
        return entry if isinstance(entry, str) else Terms(entry)
    refusal = _refusal(message, grid)
    if refusal:
        return refusal
    units = grid.units(message.qty) or 0
    priced = message.order_type in _PRICED or message.order_type is _PEGGED
    price = grid.ticks(message.price) if priced and message.price is not None else None
    mode = SmpMode(message.smp_mode) if message.smp_mode else smp_mode
    peg = None
    if message.order_type is _PEGGED:
        peg = PegTerms(Peg(message.peg), _offset(message.peg_offset, grid) or 0, price)
    entry = BookOrder(
        -number,
        message.side is _BUY,
        units,
        price,
        rests=priced and message.tif in RESTING,
        minimum=units if message.tif is _FOK else grid.units(message.min_qty) or 0,
        own=True,
        display=grid.units(message.display_qty) or 0,
        hidden=message.hidden or (peg is not None and peg.peg is Peg.MIDPOINT),
        smp=message.smp_id,
        mode=mode,
    )
    stop = grid.ticks(message.stop_px) if message.stop_px is not None else None
    return Terms(entry, stop if message.order_type in _STOPS else None, peg)


def on_auction(tif: TimeInForce) -> bool:
    """Whether orders of this kind wait for the opening or the closing auction."""
    return tif is _AT_OPEN or tif is _AT_CLOSE


def is_plain(message: VenueNewOrder) -> bool:
    """Whether it is a limit order of continuous trading without any instruction beside its terms."""
    tif = message.tif
    if message.order_type is not _LIMIT or not (tif is _DAY or tif is _IOC or tif is _GTC or tif is _FOK):
        return False
    if message.min_qty or message.display_qty or message.hidden or message.smp_mode or message.peg:
        return False
    return message.stop_px is None


def plain_entry(message: VenueNewOrder, grid: Grid, number: int, smp_mode: SmpMode) -> BookOrder | str:
    """The entry of a plain order, or the reason to refuse it, which is its quantity or its price.

    Args:
        message: `is_plain`.
        number, smp_mode: as for `read_terms`.
    """
    units = grid.units(message.qty)
    if units is None:
        return reasons.INVALID_QTY
    price = grid.ticks(message.price) if message.price is not None else None
    if price is None:
        return reasons.INVALID_PRICE
    tif = message.tif
    minimum = units if tif is _FOK else 0
    buy, rests = message.side is _BUY, tif is _DAY or tif is _GTC
    return BookOrder(-number, buy, units, price, rests, minimum, True, 0, False, message.smp_id, smp_mode)


def _refusal(message: VenueNewOrder, grid: Grid) -> str:
    """Why an order cannot be taken; empty when it can."""
    if message.order_type not in _TYPES or message.tif not in _TIF:
        return reasons.UNSUPPORTED
    if grid.units(message.qty) is None:
        return reasons.INVALID_QTY
    if message.smp_mode and message.smp_mode not in tuple(SmpMode):
        return reasons.INVALID_SMP_MODE
    needs_price = message.order_type in _PRICED
    if needs_price and (message.price is None or grid.ticks(message.price) is None):
        return reasons.INVALID_PRICE
    return _special(message, grid) or _display(message, grid) or _minimum(message, grid)


def _special(message: VenueNewOrder, grid: Grid) -> str:
    """Stops and pegs rest until something happens; they carry no other instruction."""
    if message.order_type not in (*_STOPS, _PEGGED):
        return ""
    extras = bool(message.display_qty) or bool(message.min_qty)
    if message.tif not in RESTING or extras:
        return reasons.UNSUPPORTED
    if message.order_type in _STOPS:
        valid = message.stop_px is not None and grid.ticks(message.stop_px) is not None
        return reasons.UNSUPPORTED if message.hidden else "" if valid else reasons.INVALID_STOP
    if message.peg not in tuple(Peg) or _offset(message.peg_offset, grid) is None:
        return reasons.INVALID_PEG
    return reasons.INVALID_PRICE if message.price is not None and grid.ticks(message.price) is None else ""


def _display(message: VenueNewOrder, grid: Grid) -> str:
    iceberg = message.order_type is _ICEBERG or bool(message.display_qty)
    if not iceberg:
        on_auction = message.tif in ON_AUCTION
        return reasons.UNSUPPORTED if on_auction and (message.hidden or message.min_qty) else ""
    if message.order_type not in (_ICEBERG, _LIMIT) or message.tif not in RESTING:
        return reasons.UNSUPPORTED
    if message.hidden:
        return reasons.UNSUPPORTED
    shown, units = grid.units(message.display_qty), grid.units(message.qty)
    return "" if shown and units and shown <= units else reasons.INVALID_DISPLAY


def _minimum(message: VenueNewOrder, grid: Grid) -> str:
    if not message.min_qty or message.tif is _FOK:
        return ""
    if message.order_type in (_LIMIT, _ICEBERG) and message.tif in RESTING:
        return reasons.UNSUPPORTED  # a displayed order cannot promise a minimum to those who trade with it
    minimum, units = grid.units(message.min_qty), grid.units(message.qty)
    return "" if minimum and units and minimum <= units else reasons.INVALID_QTY


def _offset(offset: Decimal, grid: Grid) -> int | None:
    """A signed number of ticks; None when it is not a whole one."""
    if not offset.is_finite():
        return None
    count, rest = EXACT.divmod(offset, grid.tick)
    return None if rest else int(count)


def peg_price(terms: PegTerms, buy: bool, bid: int | None, ask: int | None) -> int | None:
    """Where a pegged order stands, in ticks; None while there is nothing to follow.

    A middle between two ticks goes to the side that is worse for the market: down for a buy, up for a sell.
    """
    own, other = (bid, ask) if buy else (ask, bid)
    base = own if terms.peg is Peg.PRIMARY else other
    if terms.peg is Peg.MIDPOINT:
        if bid is None or ask is None:
            return None
        base = (bid + ask) // 2 if buy else -((bid + ask) // -2)
    if base is None:
        return None
    price = base + terms.offset
    if terms.limit is not None:
        price = min(price, terms.limit) if buy else max(price, terms.limit)
    return price if price > 0 else None
