"""Special terms of an order on the wire: triggers, display, peg, expiry, locate, self-match id, routing.

Their fields stand beside the others of an order. What a type needs, and what it may not have, is the business
rules' question (`validation.special`); here each field is read by itself. `NAMES` says which field of the
wire a term of `SpecialTerms` is, for answers that name what a rule refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple, cast

from msgspec.structs import replace

from qtinfra.core.decimals import NUMBER_GRAMMAR, ONE, ZERO
from qtinfra.core.models import OrderType, TimeInForce
from qtinfra.core.routing import RouteStyle
from qtinfra.core.special import Peg, SpecialTerms
from qtinfra.core.validation.errors import FieldError
from qtinfra.core.validation.fields import (
    Field,
    JsonNumber,
    decimal_of,
    enum_field,
    id_field,
    number_error,
    number_field,
    type_error,
)
from qtinfra.core.validation.wire_algo import flag_field, read_object, time_field

NO_TERMS = SpecialTerms()

_PLAIN = (OrderType.MARKET, OrderType.LIMIT)


class PegTerms(NamedTuple):
    """The `peg` object: what is followed, and by how much better (above 0) or worse the price is."""

    type: Peg
    offset: Decimal = ZERO


def signed_field(field: str, raw: object) -> object:
    """A number that may be below 0, otherwise by the grammar of all numbers."""
    text = raw.text if isinstance(raw, JsonNumber) else raw
    if not isinstance(text, str):
        return type_error(field, "a number or a string", raw)
    if text.startswith("-") and NUMBER_GRAMMAR.fullmatch(text, 1) is not None:
        return ZERO - decimal_of(text[1:])
    return number_error(field, text) or decimal_of(text)


PEG = (Field("type", enum_field(Peg), required=True), Field("offset", signed_field))


def peg_field(field: str, raw: object) -> object:
    """The object as `PegTerms`, or its first error."""
    values = read_object(field, raw, PEG)
    if isinstance(values, FieldError):
        return values
    return PegTerms(cast(Peg, values["type"]), cast(Decimal, values.get("offset", ZERO)))


#: How an order asks to be routed. Which strategies there are is the engine's question: users have own ones.
ROUTING = (
    Field("strategy", id_field, required=True),
    Field("urgency", number_field(zero=True, highest=ONE)),
)


def routing_field(field: str, raw: object) -> object:
    """The object as `RouteStyle`, or its first error."""
    values = read_object(field, raw, ROUTING)
    if isinstance(values, FieldError):
        return values
    style = RouteStyle(cast(str, values["strategy"]))
    return replace(style, urgency=cast(Decimal, values.get("urgency", style.urgency)))


#: What a replace may change as well.
AMENDABLE = (
    Field("stop_price", number_field()),
    Field("trail_amount", number_field()),
    Field("display_quantity", number_field()),
    Field("peg", peg_field),
    Field("expire_at", time_field),
)
SPECIAL = (
    *AMENDABLE,
    Field("locate_id", id_field),
    Field("self_match_id", id_field),
    Field("do_not_reduce", flag_field),
    Field("do_not_increase", flag_field),
    Field("routing", routing_field),
)
_SPECIAL = frozenset(field.name for field in SPECIAL)

#: The field of the wire that each field of a refusal by the engine is.
NAMES = {
    "stop_px": "stop_price",
    "trail": "trail_amount",
    "display_qty": "display_quantity",
    "peg_offset": "peg.offset",
    "expire_time": "expire_at",
    "qty": "quantity",
    "account": "account_id",
    "avg_cost": "average_cost",
    "px": "price",
    "observed_ns": "observed_at",
    "bought": "bought_currency",
    "schedule": "lines",
    "algo.start_ns": "algo.start_time",
    "algo.end_ns": "algo.end_time",
}


def terms_of(values: Mapping[str, object]) -> SpecialTerms | None:
    """The special terms among the values of a message; None when it has none."""
    if _SPECIAL.isdisjoint(values):
        return None
    peg = cast(PegTerms | None, values.get("peg"))
    terms = SpecialTerms(
        stop_px=cast(Decimal | None, values.get("stop_price")),
        trail=cast(Decimal | None, values.get("trail_amount")),
        display_qty=cast(Decimal | None, values.get("display_quantity")),
        peg=peg.type if peg is not None else None,
        peg_offset=peg.offset if peg is not None else ZERO,
        expire_ns=cast(int, values.get("expire_at", 0)),
        do_not_reduce=cast(bool, values.get("do_not_reduce", False)),
        do_not_increase=cast(bool, values.get("do_not_increase", False)),
        locate_id=cast(str, values.get("locate_id", "")),
        smp_id=cast(str, values.get("self_match_id", "")),
        routing=cast(RouteStyle | None, values.get("routing")),
    )
    return None if terms == NO_TERMS else terms


def new_terms(values: Mapping[str, object], order_type: OrderType, tif: TimeInForce) -> SpecialTerms | None:
    """The special terms of a new order.

    A type or time in force that needs some has empty ones if none were sent, so that the rules name what is
    missing.
    """
    plain = order_type in _PLAIN and tif is not TimeInForce.GTD
    return terms_of(values) or (None if plain else NO_TERMS)
