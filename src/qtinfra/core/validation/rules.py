"""Business rules for new orders and replaces: pure functions, each naming field, rule, limit and value.

Rules run in the documented order (range, reference, state, business rule); the first refusal counts.
"""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import NUMBER_GRAMMAR, ONE, ZERO, is_multiple, plain
from qtinfra.core.decisions import Refusal
from qtinfra.core.extended_models import Account, Instrument
from qtinfra.core.models import OrderType, TimeInForce
from qtinfra.core.reports import REJ_UNKNOWN_SYMBOL

# Members by name: looking them up in their class costs more than comparing them.
_LIMIT = OrderType.LIMIT
_MARKET = OrderType.MARKET

#: What an order may be without special terms; `validation.special` has the rules for the rest.
WORKED_TYPES = (OrderType.LIMIT, OrderType.MARKET)
WORKED_TIF = (TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)

_MAX = Decimal(10) ** 18
_MIN = -_MAX
_CENT = Decimal("0.01")
_MAX_NOTIONAL = Decimal(10) ** 20
_MIN_STEP = Decimal("0.000000001")
_MIN_EXPONENT = -9
_MAX_DIGITS = 60  # of a number written with more places than it needs
#: The longest client order id.
ID_LIMIT = 64


def in_range(value: Decimal) -> bool:
    """Whether a number is finite, with at most 18 digits before the point and 9 after; its sign is free."""
    if not value:
        return True
    if value.same_quantum(ONE) or value.same_quantum(_CENT):
        return _MIN < value < _MAX
    if not value.is_finite() or value >= _MAX or value <= _MIN:
        return False
    digits, exponent = value.as_tuple()[1:]
    if isinstance(exponent, int) and exponent >= _MIN_EXPONENT:
        return True
    return len(digits) <= _MAX_DIGITS and is_multiple(value, _MIN_STEP)


def check_number(field: str, value: Decimal) -> Refusal | None:
    """A quantity or price: finite, positive, at most 18 digits before the point and 9 after."""
    if in_range(value) and value > ZERO:
        return None
    if not value.is_finite():
        return Refusal("number_out_of_range", f"{field} must be a finite number", field, "finite", str(value))
    if value <= ZERO:
        return Refusal("must_be_positive", f"{field} must be greater than 0", field, "0", str(value))
    if not in_range(value):
        limit = NUMBER_GRAMMAR.pattern
        return Refusal("number_out_of_range", f"{field} has too many digits", field, limit, str(value)[:60])
    return None


def check_client_id(value: str) -> Refusal | None:
    """A client order id: 1 to 64 printable ASCII characters."""
    if 0 < len(value) <= ID_LIMIT and value.isascii() and value.isprintable():
        return None
    if not value or len(value) > ID_LIMIT:
        text = f"client_order_id must have 1 to {ID_LIMIT} characters"
        return Refusal("max_length", text, "client_order_id", str(ID_LIMIT), str(len(value)))
    if not (value.isascii() and value.isprintable()):
        text = "client_order_id must be printable ASCII"
        return Refusal("control_char", text, "client_order_id", "ASCII 32..126", ascii(value))
    return None


def check_terms(qty: Decimal, price: Decimal | None, order_type: OrderType) -> Refusal | None:
    """Numbers in range, and a price exactly where the type wants one."""
    refusal = None if qty.same_quantum(ONE) and ZERO < qty < _MAX else check_number("quantity", qty)
    if refusal is not None:
        return refusal
    if price is None:
        if order_type is _LIMIT:
            return Refusal("price_required", "a LIMIT order needs a price", "price", "LIMIT", "none")
        return None
    if order_type is _MARKET:
        return Refusal("price_not_allowed", "a MARKET order has no price", "price", "MARKET", plain(price))
    refusal = None if price.same_quantum(_CENT) and ZERO < price < _MAX else check_number("price", price)
    if refusal is None and qty * price >= _MAX_NOTIONAL:
        return Refusal(
            "notional_out_of_range",
            "quantity times price is too large",
            "quantity",
            plain(_MAX_NOTIONAL),
            plain(qty * price),
        )
    return refusal


def check_instrument(instrument: Instrument, qty: Decimal, price: Decimal | None) -> Refusal | None:
    """Whole lots, and a price on the tick. Never rounded for the client: the nearest prices are named."""
    if qty % instrument.lot_size:
        text = f"quantity must be a multiple of {plain(instrument.lot_size)}"
        return Refusal("lot_size", text, "quantity", plain(instrument.lot_size), plain(qty))
    if price is not None and price % instrument.tick_at(price):
        below, above = instrument.nearest_prices(price)
        tick = plain(instrument.tick_at(price))
        text = f"price must be a multiple of {tick}; nearest are {plain(below)} and {plain(above)}"
        return Refusal("tick_size", text, "price", tick, plain(price))
    return None


def check_round_lot(instrument: Instrument, qty: Decimal, reference: Decimal | None) -> Refusal | None:
    """Whole round lots, where the instrument takes nothing else.

    Args:
        reference: price that decides the size of a round lot; None is taken as the lowest tier.
    """
    if instrument.odd_lots:
        return None
    lot = instrument.round_lot_at(reference if reference is not None else ZERO)
    if is_multiple(qty, lot):
        return None
    text = f"quantity must be a multiple of the round lot of {plain(lot)}: odd lots are not taken"
    return Refusal("round_lot", text, "quantity", plain(lot), plain(qty))


def check_new(
    order: SubmitOrder, account: Account, instrument: Instrument | None, halted: bool
) -> Refusal | None:
    """All rules for a new order; None when it may go on to risk."""
    refusal = check_client_id(order.cl_ord_id) or check_terms(order.qty, order.price, order.order_type)
    if refusal is not None:
        return refusal
    if instrument is None:
        text = f"symbol {order.symbol[:24]!r} is not known"
        return Refusal("unknown_symbol", text, "symbol", "", order.symbol[:24], REJ_UNKNOWN_SYMBOL)
    if not account.enabled:
        return Refusal("account_disabled", "the account may not trade", "account", "", account.account)
    if halted:
        return Refusal("instrument_halted", f"{order.symbol} is halted", "symbol", "", order.symbol)
    return _check_kind(order) or check_instrument(instrument, order.qty, order.price)


def _check_kind(order: SubmitOrder) -> Refusal | None:
    if order.order_type not in WORKED_TYPES:
        allowed = ", ".join(WORKED_TYPES)
        text = f"a {order.order_type} order needs special terms"
        return Refusal("unsupported_order_type", text, "order_type", allowed, order.order_type)
    if order.tif not in WORKED_TIF:
        allowed = ", ".join(WORKED_TIF)
        text = f"time in force {order.tif} needs special terms"
        return Refusal("unsupported_time_in_force", text, "time_in_force", allowed, order.tif)
    min_qty = order.min_qty
    if min_qty and (not in_range(min_qty) or min_qty < ZERO or min_qty > order.qty):
        text = "min_quantity must lie between 0 and quantity"
        return Refusal("min_qty", text, "min_quantity", plain(order.qty), str(min_qty)[:60])
    return None
