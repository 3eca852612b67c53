"""Strict parser for what clients send as JSON: bytes in, command or a list of errors out.

A message is one flat JSON object in UTF-8 without byte order mark, at most 64 KiB, nested at most 16 deep,
each field at most once and none unknown. Enumerations are their exact upper-case names. Quantities and prices
are JSON strings or JSON numbers, read from their text by `NUMBER_GRAMMAR`, never through a float, and become
canonical decimals. A field that does not apply is left out; null is a type error. `errors` states the order
in which errors count.

New orders have two readers. The fast one takes what is plainly right (pure ASCII, no escapes, no key twice)
through a compiled decoder and gives up on anything else; the thorough one decides that and words the errors.
Whatever the fast one takes, the thorough one takes with the same result: a test compares them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from json import JSONDecodeError, JSONDecoder
from typing import Annotated, Any, NoReturn, cast

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import astuple

from qtinfra.core.algo import AlgoTerms
from qtinfra.core.commands import ReplaceOrder, SetLimit, SubmitOrder
from qtinfra.core.decimals import EXACT, ZERO, plain
from qtinfra.core.extended_models import ANY, LimitRule, Liquidity
from qtinfra.core.models import Capacity, Currency, OrderSide, OrderType, TimeInForce
from qtinfra.core.validation.errors import FieldError, MessageRefused, Stage, in_order, shown
from qtinfra.core.validation.fields import (
    ID_LENGTH,
    SYMBOL_PATTERN,
    Field,
    JsonNumber,
    date_field,
    enum_field,
    id_field,
    mic_field,
    number_field,
    symbol_field,
    text_field,
)
from qtinfra.core.validation.wire_algo import algo_field
from qtinfra.core.validation.wire_special import AMENDABLE, SPECIAL, new_terms, terms_of

# Members by name: looking them up in their class costs more than comparing them.
_DAY = TimeInForce.DAY
_GTD = TimeInForce.GTD
_LIMIT = OrderType.LIMIT
_MARKET = OrderType.MARKET
_AGENCY = Capacity.AGENCY

#: A longer body is refused with 413; the gateway stops reading there.
MAX_BODY_BYTES = 64 * 1024
#: Arrays and objects inside each other, the message itself included.
MAX_DEPTH = 16
#: Quantity times price stays below: 20 + 18 digits, a 38-digit column with the places of both factors.
MAX_NOTIONAL = Decimal(10) ** 20

_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_BOM = b"\xef\xbb\xbf"

NEW_ORDER = (
    Field("symbol", symbol_field, required=True),
    Field("side", enum_field(OrderSide), required=True),
    Field("quantity", number_field(), required=True),
    Field("price", number_field()),
    Field("order_type", enum_field(OrderType), required=True),
    Field("time_in_force", enum_field(TimeInForce)),
    Field("client_order_id", id_field, required=True),
    Field("account_id", id_field, required=True),
    Field("min_quantity", number_field(zero=True)),
    Field("capacity", enum_field(Capacity)),
    Field("trader", id_field),
    Field("text", text_field),
    Field("algo", algo_field),
    *SPECIAL,
)
REPLACE = (
    Field("client_order_id", id_field, required=True),
    Field("quantity", number_field()),
    Field("price", number_field()),
    Field("text", text_field),
    *AMENDABLE,
)
#: The fields of a replace of which it needs one.
REPLACE_ONE_OF = ("quantity", "price", *(field.name for field in AMENDABLE))
#: What a replace may not change (BI-030).
IMMUTABLE = frozenset(field.name for field in NEW_ORDER) - {field.name for field in REPLACE}
EXECUTION = (
    Field("order_id", id_field, required=True),
    Field("venue", mic_field, required=True),
    Field("exec_id", id_field, required=True),
    Field("quantity", number_field(), required=True),
    Field("price", number_field(), required=True),
    Field("trade_date", date_field, required=True),
    Field("settlement_date", date_field, required=True),
    Field("settlement_currency", enum_field(Currency), required=True),
    Field("liquidity", enum_field(Liquidity)),
    Field("fee", number_field(zero=True)),
)
RISK = (
    Field("account_id", id_field),
    Field("symbol", symbol_field),
    Field("max_order_qty", number_field()),
    Field("max_order_value", number_field()),
    Field("price_collar", number_field(highest=Decimal(1))),
    Field("position_limit", number_field(zero=True)),
)
#: The fields of `RISK` that are limits.
RISK_RULES = (
    LimitRule.MAX_ORDER_QTY,
    LimitRule.MAX_ORDER_VALUE,
    LimitRule.PRICE_COLLAR,
    LimitRule.POSITION_LIMIT,
)


class NewExecution(msgspec.Struct, frozen=True, gc=False):
    """A trade that somebody reports by hand, with its settlement terms.

    Attributes:
        order_id: the public id of the order that traded.
        venue: MIC; with `trade_date` and `exec_id` it makes the execution unique.
        trade_date, settlement_date: ISO 8601; settlement is never before the trade.
        fee: what the venue charged, in the settlement currency.
    """

    order_id: str
    venue: str
    exec_id: str
    qty: Decimal
    px: Decimal
    trade_date: str
    settlement_date: str
    settlement_currency: Currency
    liquidity: Liquidity = Liquidity.UNKNOWN
    fee: Decimal = ZERO


# --- bytes to fields --------------------------------------------------------------------------------------


def refuse(code: str, stage: Stage, limit: str, value: str, message: str) -> NoReturn:
    raise MessageRefused((FieldError("", code, limit, value, message, stage),))


def check_envelope(data: bytes) -> str:
    """The text of a body that keeps the limits of size, encoding and depth.

    A gateway may pass the first 64 KiB + 1 bytes of a longer body: the answer is the same. Whichever limit is
    passed first in reading order is named, so that 200 KB of brackets are a matter of depth.

    Raises:
        MessageRefused: body_too_large (413), invalid_encoding or nesting_depth (400).
    """
    if len(data) > MAX_BODY_BYTES:
        check_depth(data[:MAX_BODY_BYTES])
        message = f"the body must not be longer than {MAX_BODY_BYTES} bytes"
        refuse("body_too_large", Stage.SIZE, str(MAX_BODY_BYTES), f"over {MAX_BODY_BYTES}", message)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as fault:
        refuse("invalid_encoding", Stage.ENCODING, "UTF-8", f"byte {fault.start}", "the body must be UTF-8")
    if data.startswith(_BOM) or b"\0" in data[:4]:
        message = "the body must be UTF-8 without byte order mark"
        refuse("invalid_encoding", Stage.ENCODING, "UTF-8", data[:4].hex(), message)
    check_depth(data)
    return text


def check_depth(data: bytes) -> None:
    """Count brackets outside strings, without parsing and in linear time.

    Raises:
        MessageRefused: nesting_depth.
    """
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for found in _BRACKET.finditer(data):
        token = found[0]
        if token in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                message = f"arrays and objects must not be nested more than {MAX_DEPTH} deep"
                refuse("nesting_depth", Stage.JSON, str(MAX_DEPTH), f"over {MAX_DEPTH}", message)
        elif token in (b"]", b"}"):
            depth -= 1


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def decode_object(data: bytes) -> tuple[dict[str, object], list[FieldError]]:
    """The one JSON object in a body, numbers as `JsonNumber`, and an error for each key that came twice.

    Raises:
        MessageRefused: the form is wrong (see `errors`), or the JSON is not an object (type).
    """
    text = check_envelope(data)
    twice: dict[str, FieldError] = {}

    def collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: dict[str, object] = {}
            for key, value in pairs:
                if key in seen:
                    name = shown(key)
                    message = f"{name} must stand once"
                    twice[key] = FieldError(name, "duplicate_key", "1", "2 or more", message, Stage.DUPLICATE)
                seen[key] = value
        return found

    decoder = JSONDecoder(
        object_pairs_hook=collect,
        parse_float=JsonNumber,
        parse_int=JsonNumber,
        parse_constant=_no_constant,
    )
    try:
        message = decoder.decode(text)
    except JSONDecodeError as fault:
        refuse("invalid_json", Stage.JSON, "RFC 8259", f"character {fault.pos}", f"not JSON: {fault.msg}")
    except ValueError as fault:
        refuse("invalid_json", Stage.JSON, "RFC 8259", str(fault), f"not JSON: {fault}")
    if not isinstance(message, dict):
        refuse("type", Stage.TYPE, "an object", shown(repr(message)), "the body must be a JSON object")
    return message, list(twice.values())


def unknown_field(name: str, immutable: frozenset[str]) -> FieldError:
    """The refusal of a field that the message does not have."""
    if name in immutable:
        message = f"{name} of an order cannot change: cancel it and send a new one"
        return FieldError(name, "immutable_field", "", "", message, Stage.UNKNOWN)
    name = shown(name)
    return FieldError(name, "unknown_field", "", "", f"{name} is not a field of this message", Stage.UNKNOWN)


def missing_field(name: str) -> FieldError:
    return FieldError(name, "missing_field", "", "", f"{name} is required", Stage.MISSING)


def notional_errors(values: Mapping[str, object]) -> list[FieldError]:
    """Quantity times price must fit, computed exactly; says nothing when one is missing or wrong."""
    qty, price = values.get("quantity"), values.get("price")
    if not isinstance(qty, Decimal) or not isinstance(price, Decimal):
        return []
    notional = EXACT.multiply(qty, price)
    if notional < MAX_NOTIONAL:
        return []
    message = f"quantity times price must be below {plain(MAX_NOTIONAL)}"
    found = plain(notional)
    return [FieldError("quantity", "notional_out_of_range", plain(MAX_NOTIONAL), found, message, Stage.RANGE)]


def date_errors(values: Mapping[str, object]) -> list[FieldError]:
    """Settlement is on the trade date or after it."""
    traded, settles = values.get("trade_date"), values.get("settlement_date")
    if not isinstance(traded, str) or not isinstance(settles, str) or settles >= traded:
        return []
    message = "settlement_date must not be before trade_date"
    return [FieldError("settlement_date", "date_order", traded, settles, message, Stage.RANGE)]


def read_fields(
    data: bytes,
    fields: tuple[Field, ...],
    *,
    given: Mapping[str, str | None] | None = None,
    immutable: frozenset[str] = frozenset(),
    one_of: tuple[str, ...] = (),
) -> dict[str, object]:
    """The values of a message by its field table, or every error in it.

    Args:
        given: values that stand in for fields the message leaves out; None gives nothing.
        immutable: fields that are refused as immutable instead of unknown.
        one_of: fields of which the message needs at least one.

    Raises:
        MessageRefused: with everything found, in order.
    """
    message, twice = decode_object(data)
    values, errors = field_values(message, fields, given=given, immutable=immutable, one_of=one_of)
    if errors or twice:
        raise MessageRefused(in_order(twice + errors, tuple(field.name for field in fields)))
    return values


def field_values(
    message: Mapping[str, object],
    fields: tuple[Field, ...],
    *,
    given: Mapping[str, str | None] | None = None,
    immutable: frozenset[str] = frozenset(),
    one_of: tuple[str, ...] = (),
) -> tuple[dict[str, object], list[FieldError]]:
    """The values of a decoded message and its errors, in no order yet; arguments as for `read_fields`."""
    values: dict[str, object] = {}
    errors: list[FieldError] = []
    unknown: list[FieldError] = []
    known = {field.name: field for field in fields}
    for name, raw in message.items():
        field = known.get(name)
        if field is None:
            unknown.append(unknown_field(name, immutable))
            continue
        value = field.read(name, raw)
        if isinstance(value, FieldError):
            errors.append(value)
        else:
            values[name] = value
    for name, stand_in in (given or {}).items():
        if name not in message and stand_in is not None:
            values[name] = stand_in
    errors += [
        missing_field(f.name) for f in fields if f.required and f.name not in message and f.name not in values
    ]
    errors += unknown
    if not errors:
        errors += notional_errors(values) + date_errors(values)
    if one_of and not any(name in message for name in one_of):
        errors.append(missing_field(one_of[0]))
    return values, errors


# --- new orders -------------------------------------------------------------------------------------------

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LENGTH)]
_Text = Annotated[str, msgspec.Meta(max_length=256)]


class _PlainOrder(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """A new order as it is said. A text that is left out is empty; none that is said to be is read fast."""

    client_order_id: _Id = ""
    account_id: _Id = ""
    symbol: str
    side: OrderSide
    order_type: OrderType
    time_in_force: TimeInForce | UnsetType = UNSET
    quantity: Any
    price: Any = ""
    min_quantity: Any = UNSET
    capacity: Capacity | UnsetType = UNSET
    trader: _Id = ""
    text: _Text = ""


#: A number with a fraction that is not quoted becomes its text in bytes, so that `str` means quoted.
_decode_plain = msgspec.json.Decoder(_PlainOrder, float_hook=str.encode).decode
_plain_symbol = re.compile(SYMBOL_PATTERN).fullmatch
#: Below 10**10, so that the product of two is below `MAX_NOTIONAL`.
_plain_number = re.compile(r"(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,9})?", re.ASCII).fullmatch

#: Texts that each of the two below keeps: the same few stand in new orders again and again.
_MAX_REMEMBERED = 4096
_numbers: dict[str, Decimal] = {}
_symbols: dict[str, bool] = {}

#: As numbers: bytes are sought in bytes by way of an exception.
_BACKSLASH, _DELETE, _COLON = b"\\\x7f:"

#: Bytes that a new order needs beside its values when it says what most do; less without one of the five.
_USUAL = len(
    '{"client_order_id":"","account_id":"","symbol":"","side":"","order_type":"","time_in_force":"",'
    '"quantity":"","trader":"","price":""}'
)
_FOR_ID = len('"client_order_id":"",')
_FOR_ACCOUNT = len('"account_id":"",')
_FOR_TIF = len('"time_in_force":"",')
_FOR_TRADER = len('"trader":"",')
_FOR_PRICE = len('"price":"",')


def _number_of(said: object) -> Decimal | None:
    """A number from its text, or from bytes or an int where it was not quoted.

    None leaves it to the thorough reader.
    """
    if type(said) is bytes:
        said = said.decode()
    elif type(said) is int and said:  # 0 may have been -0
        said = str(said)
    if type(said) is not str:
        return None
    known = _numbers.get(said)
    if known is not None:
        return known
    if _plain_number(said) is None:
        return None
    number = Decimal(said.rstrip("0").rstrip(".") if "." in said else said)
    if len(_numbers) >= _MAX_REMEMBERED:
        _numbers.clear()
    _numbers[said] = number
    return number


def _is_symbol(text: str) -> bool:
    if _plain_symbol(text) is None:
        return False
    if len(_symbols) >= _MAX_REMEMBERED:
        _symbols.clear()
    return _symbols.setdefault(text, True)


def _each_once(data: bytes, order: _PlainOrder) -> bool:
    """Whether a body is pure ASCII without escapes and has no key twice, however it is spaced.

    A key that stands twice shows in the count of colons: every key has one, so there are more of them than
    fields that are set and colons in the texts; no other value can have one.
    """
    if not data.isascii() or _BACKSLASH in data:
        return False
    said = [value for value in astuple(order) if value is not UNSET and value != ""]
    colons = data.count(_COLON)
    return colons == len(said) or colons == len(said) + sum(
        value.count(":") for value in said if type(value) is str
    )


def fast_new_order(
    data: bytes, account: str | None = None, cl_ord_id: str | None = None
) -> tuple[SubmitOrder, str] | None:
    """A new order and its text if the body is plainly right; None leaves it to `thorough_new_order`.

    A body as short as what it says can be written has no room for anything else: no space, no key twice, no
    escape, no character that takes two bytes. A longer one, and one that says what few do, is looked through.
    """
    if len(data) > MAX_BODY_BYTES or _DELETE in data:
        return None
    try:
        order = _decode_plain(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    own_id, own_account, symbol, side, kind, tif, said_qty, said_price, said_min, capacity, trader, text = (
        astuple(order)
    )
    qty: Decimal | None
    try:
        qty, price = _numbers[said_qty], _numbers[said_price] if said_price else None
        texts = own_id, own_account, symbol, side, kind, tif or "", said_qty, trader, said_price
        needed = _USUAL + len("".join(texts))
        if not (own_id and own_account and tif and trader and said_price):
            needed -= (
                (not own_id) * _FOR_ID
                + (not own_account) * _FOR_ACCOUNT
                + (not tif) * _FOR_TIF
                + (not trader) * _FOR_TRADER
                + (not said_price) * _FOR_PRICE
            )
    except (KeyError, TypeError):  # not met before, or not quoted
        qty, price, needed = _number_of(said_qty), _number_of(said_price), 0
    least = None if said_min is UNSET else _number_of(said_min)
    if len(data) != needed and not _each_once(data, order):
        return None
    account, cl_ord_id = own_account or account, own_id or cl_ord_id
    if not qty or account is None or cl_ord_id is None:
        return None
    if (not price and said_price != "") or (least is None and said_min is not UNSET):
        return None
    if not (symbol in _symbols or _is_symbol(symbol)):
        return None
    if tif is _GTD or (kind is not _LIMIT and kind is not _MARKET):
        return None
    command = SubmitOrder(
        account, cl_ord_id, symbol, side, kind, tif or _DAY, qty, price, least or None, capacity or _AGENCY,
        trader,
    )  # fmt: skip
    return command, text


def thorough_new_order(
    data: bytes, account: str | None = None, cl_ord_id: str | None = None
) -> tuple[SubmitOrder, str]:
    """A new order and its text, field by field; the reader that words the errors.

    Raises:
        MessageRefused: with everything found, in order.
    """
    values = read_fields(data, NEW_ORDER, given={"account_id": account, "client_order_id": cl_ord_id})
    return order_of(values), cast(str, values.get("text", ""))


def order_of(values: Mapping[str, object]) -> SubmitOrder:
    """The command of a new order's values, as `NEW_ORDER` has read them."""
    kind = cast(OrderType, values["order_type"])
    tif = cast(TimeInForce, values.get("time_in_force", TimeInForce.DAY))
    return SubmitOrder(
        account=cast(str, values["account_id"]),
        cl_ord_id=cast(str, values["client_order_id"]),
        symbol=cast(str, values["symbol"]),
        side=cast(OrderSide, values["side"]),
        order_type=kind,
        tif=tif,
        qty=cast(Decimal, values["quantity"]),
        price=cast(Decimal | None, values.get("price")),
        min_qty=cast(Decimal | None, values.get("min_quantity")) or None,
        capacity=cast(Capacity, values.get("capacity", Capacity.AGENCY)),
        trader=cast(str, values.get("trader", "")),
        special=new_terms(values, kind, tif),
        algo=cast(AlgoTerms | None, values.get("algo")),
    )


def read_new_order(
    data: bytes, *, account: str | None = None, cl_ord_id: str | None = None
) -> tuple[SubmitOrder, str]:
    """A new order and its free text, which is no part of the command: it is sealed before it is kept.

    Args:
        account: stands in when the message names none (the caller's only account). Whether the caller may act
            for the account that results is the gateway's question.
        cl_ord_id: stands in when the message has none (an id that the gateway gives).

    Raises:
        MessageRefused: an `OrderValidationError` with `errors` and `http_status`.
    """
    return fast_new_order(data, account, cl_ord_id) or thorough_new_order(data, account, cl_ord_id)


def parse_new_order(data: bytes, account: str | None = None, cl_ord_id: str | None = None) -> SubmitOrder:
    """The command in the body of POST /orders; arguments and errors as for `read_new_order`."""
    return (fast_new_order(data, account, cl_ord_id) or thorough_new_order(data, account, cl_ord_id))[0]


# --- the other messages -----------------------------------------------------------------------------------


def parse_replace(
    data: bytes, *, account: str, orig_cl_ord_id: str, cl_ord_id: str | None = None
) -> ReplaceOrder:
    """The command in the body of PUT /orders/{id}: a new quantity, price or special terms.

    Args:
        account: whose order the path names.
        orig_cl_ord_id: the client id of that order as last accepted.
        cl_ord_id: stands in when the message has no client_order_id.

    Raises:
        MessageRefused: as for a new order; immutable_field for what a replace may not change.
    """
    values = read_fields(
        data,
        REPLACE,
        given={"client_order_id": cl_ord_id},
        immutable=IMMUTABLE,
        one_of=REPLACE_ONE_OF,
    )
    return ReplaceOrder(
        account,
        cast(str, values["client_order_id"]),
        orig_cl_ord_id,
        cast(Decimal | None, values.get("quantity")),
        cast(Decimal | None, values.get("price")),
        special=terms_of(values),
    )


def parse_execution_create(data: bytes) -> NewExecution:
    """A trade reported by hand, with its settlement terms.

    Raises:
        MessageRefused: as for a new order; date_order when it settles before it trades.
    """
    values = read_fields(data, EXECUTION)
    return NewExecution(
        order_id=cast(str, values["order_id"]),
        venue=cast(str, values["venue"]),
        exec_id=cast(str, values["exec_id"]),
        qty=cast(Decimal, values["quantity"]),
        px=cast(Decimal, values["price"]),
        trade_date=cast(str, values["trade_date"]),
        settlement_date=cast(str, values["settlement_date"]),
        settlement_currency=cast(Currency, values["settlement_currency"]),
        liquidity=cast(Liquidity, values.get("liquidity", Liquidity.UNKNOWN)),
        fee=cast(Decimal, values.get("fee", ZERO)),
    )


def parse_risk_parameters(data: bytes) -> tuple[SetLimit, ...]:
    """Limits for an account, a symbol, both, or (both left out) everybody: one command per limit named.

    Raises:
        MessageRefused: as for a new order; number_out_of_range for a collar above 1 (100 %).
    """
    values = read_fields(data, RISK, one_of=tuple(rule.value for rule in RISK_RULES))
    account, symbol = cast(str, values.get("account_id", ANY)), cast(str, values.get("symbol", ANY))
    return tuple(
        SetLimit(rule, cast(Decimal, values[rule.value]), account, symbol)
        for rule in RISK_RULES
        if rule.value in values
    )
