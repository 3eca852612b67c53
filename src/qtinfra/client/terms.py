"""The fields of an order beyond a plain one, as keywords, and how they go over the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypedDict

from qtinfra.client.errors import RefusedError
from qtinfra.core.special import Peg

#: A number that is exact: a float is refused.
Number = Decimal | int | str


class Terms(TypedDict, total=False):
    """What a replace may change besides quantity and price.

    Attributes:
        stop_price: trigger of a STOP or STOP_LIMIT order, per unit.
        trail_amount: distance of a TRAILING_STOP behind the best price, in price units.
        display_quantity: most that an ICEBERG shows at a time, in lots.
        peg, peg_offset: what a PEGGED order follows, and by how many price units better (above 0) or
            worse.
        expire_at: end of a GTD order; a datetime needs its time zone.
    """

    stop_price: Number
    trail_amount: Number
    display_quantity: Number
    peg: Peg | str
    peg_offset: Number
    expire_at: datetime | str


class SpecialTerms(Terms, total=False):
    """The special terms of a new order.

    Attributes:
        locate_id: where the shares of a short sale come from.
        self_match_id: orders of one id never trade with each other.
        do_not_reduce, do_not_increase: exempt from what dividends and splits do to open orders.
        routing_strategy: SWEEP, PLACEMENT, DARK_FIRST, POST or one that the server has installed; as the
            account's orders are routed when left out.
        urgency: 0 to 1, for strategies that weigh taking against posting; the server's 0.5 when left out.
    """

    locate_id: str
    self_match_id: str
    do_not_reduce: bool
    do_not_increase: bool
    routing_strategy: str
    urgency: Number


_NUMBERS = ("stop_price", "trail_amount", "display_quantity")
#: Members that are objects of a name and a number: each keyword with its name in there.
_OBJECTS = (
    ("peg", ("peg", "type"), ("peg_offset", "offset")),
    ("routing", ("routing_strategy", "strategy"), ("urgency", "urgency")),
)
_AS_THEY_ARE = ("locate_id", "self_match_id", "do_not_reduce", "do_not_increase")


def terms_body(terms: Mapping[str, Any], number: Callable[[str, object], str]) -> dict[str, object]:
    """The members of a message for terms that were given.

    Args:
        number: an exact number by its field as the wire writes it.

    Raises:
        RefusedError: a field that no order has, an offset without a peg, urgency without a strategy, a
            number that is not exact, a time without zone; names the field.
    """
    unknown = terms.keys() - SpecialTerms.__annotations__.keys()
    if unknown:
        raise _refused("unknown_field", min(unknown), f"{min(unknown)} is not a field of an order")
    body: dict[str, object] = {name: number(name, terms[name]) for name in _NUMBERS if name in terms}
    for member, (first, name), (second, value) in _OBJECTS:
        if first in terms:
            body[member] = {name: str(terms[first])}
            if second in terms:
                body[member] = {name: str(terms[first]), value: number(second, terms[second])}
        elif second in terms:
            raise _refused("missing_field", first, f"{second} counts with {first} only")
    if "expire_at" in terms:
        body["expire_at"] = moment("expire_at", terms["expire_at"])
    return body | {name: terms[name] for name in _AS_THEY_ARE if name in terms}


def moment(field: str, value: datetime | str) -> str:
    """A moment as the wire writes it.

    Raises:
        RefusedError: a time without zone; names the field.
    """
    if isinstance(value, str):
        return value
    if value.tzinfo is None:
        raise _refused("date_format", field, f"{field} needs a time zone")
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _refused(code: str, field: str, text: str) -> RefusedError:
    context = {"field": field, "rule": code, "limit": "", "value": ""}
    return RefusedError(text, code=code, context=context)
