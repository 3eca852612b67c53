"""The frames of the stream: one JSON object each, told apart by `op`, read as strictly as a request's body.

auth session subscribe unsubscribe resync ping   small: every field is checked, everything wrong is named
orders lists cancel replace                      a list of items, each read by itself like one request
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Raw

from qtinfra.api.errors import Problem, refusal
from qtinfra.core.security.permissions import Permission
from qtinfra.core.validation.errors import FieldError, MessageRefused, Stage
from qtinfra.core.validation.fields import (
    Field,
    JsonNumber,
    Reader,
    enum_field,
    error,
    id_error,
    id_field,
    length_error,
    string_field,
    symbol_error,
    type_error,
)
from qtinfra.core.validation.wire import (
    IMMUTABLE,
    MAX_BODY_BYTES,
    REPLACE,
    REPLACE_ONE_OF,
    check_depth,
    decode_object,
    missing_field,
    read_fields,
)
from qtinfra.core.validation.wire_algo import flag_field
from qtinfra.infra.security.tokens import MAX_TOKEN_BYTES

#: The WebSocket subprotocol; a client that offers any must offer this one.
SUBPROTOCOL = "qtinfra.v1"
#: A longer frame ends the connection with 1009.
MAX_FRAME_BYTES = 1024 * 1024
#: Orders, replaces or cancels in one frame.
MAX_ITEMS = 100
MAX_SUBSCRIPTIONS = 32
#: Accounts or symbols that one subscription names.
MAX_NAMES = 100
#: Longest time for which the orders of a session outlive its connection, seconds.
MAX_GRACE_S = 300

# --- close codes (RFC 6455, section 7.4; 4000 to 4999 are ours) -------------------------------------------
POLICY = 1008
TOO_BIG = 1009
FAULT = 1011
TRY_LATER = 1013
NOT_AUTHENTICATED = 4401


class Topic(StrEnum):
    """What can be subscribed to."""

    ORDERS = "orders"
    EXECUTIONS = "executions"
    POSITIONS = "positions"
    BOOK = "book"
    ALGO = "algo"
    ALERTS = "alerts"


#: Topics whose items are journaled: their sequence is the journal's, and they can be resumed.
JOURNALED = (Topic.ORDERS, Topic.EXECUTIONS, Topic.POSITIONS, Topic.ALGO)
#: Topics of which only the latest item of a key counts: a slow client skips what was in between.
CONFLATED = (Topic.POSITIONS, Topic.BOOK)

#: What a topic takes; items of the first four are scoped by account as well.
NEEDS: Mapping[Topic, Permission] = {
    Topic.ORDERS: Permission.ORDERS_READ,
    Topic.EXECUTIONS: Permission.ORDERS_READ,
    Topic.POSITIONS: Permission.POSITIONS_READ,
    Topic.ALGO: Permission.ORDERS_READ,
    Topic.BOOK: Permission.REFERENCE_READ,
    Topic.ALERTS: Permission.OPERATIONS_READ,
}


class Op(StrEnum):
    """What a client's frame asks for."""

    AUTH = "auth"
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    RESYNC = "resync"
    PING = "ping"
    SESSION = "session"
    ORDERS = "orders"
    LISTS = "lists"
    CANCEL = "cancel"
    REPLACE = "replace"


ENTRY = (Op.ORDERS, Op.LISTS, Op.CANCEL, Op.REPLACE)


class Frame(msgspec.Struct, frozen=True):
    """A frame that was read: its operation, the client's id for it, and its fields or items."""

    op: Op
    id: str
    fields: Mapping[str, Any] = {}
    items: tuple[bytes, ...] = ()


# --- fields -----------------------------------------------------------------------------------------------


def whole_field(highest: int) -> Reader:
    """A whole number from 0, as a JSON number."""
    digits = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)

    def read(field: str, raw: object) -> object:
        if not isinstance(raw, JsonNumber):
            return type_error(field, "a whole number", raw)
        if digits.fullmatch(raw.text) is None or int(raw.text) > highest:
            text = f"{field} must be a whole number from 0 to {highest}"
            return error(field, "number_out_of_range", Stage.RANGE, str(highest), raw.text, text)
        return int(raw.text)

    return read


def names_field(item: Reader) -> Reader:
    """An array of 1 to `MAX_NAMES` strings, each read by `item`."""

    def read(field: str, raw: object) -> object:
        if not isinstance(raw, list):
            return type_error(field, "an array of strings", raw)
        if not 1 <= len(raw) <= MAX_NAMES:
            text = f"{field} must have 1 to {MAX_NAMES} items"
            return error(field, "max_length", Stage.GRAMMAR, str(MAX_NAMES), str(len(raw)), text)
        values = [item(field, part) for part in raw]
        return next((value for value in values if isinstance(value, FieldError)), tuple(values))

    return read


def _token_error(field: str, value: str) -> FieldError | None:
    wrong = length_error(field, value, MAX_TOKEN_BYTES, 1)
    if wrong is not None or value.isascii():
        return wrong
    return error(field, "control_char", Stage.GRAMMAR, "ASCII", "", f"{field} must be ASCII")


_MAX_SEQ = 2**63 - 1
_OP = Field("op", enum_field(Op), required=True)
_ID = Field("id", id_field, required=True)
_CONTROL: Mapping[Op, tuple[Field, ...]] = {
    Op.AUTH: (_OP, Field("id", id_field), Field("token", string_field(_token_error), required=True)),
    Op.SUBSCRIBE: (
        _OP,
        _ID,
        Field("topic", enum_field(Topic), required=True),
        Field("accounts", names_field(string_field(id_error))),
        Field("symbols", names_field(string_field(symbol_error))),
        Field("resume", whole_field(_MAX_SEQ)),
    ),
    Op.UNSUBSCRIBE: (_OP, _ID),
    Op.RESYNC: (_OP, _ID),
    Op.PING: (_OP, Field("id", id_field)),
    Op.SESSION: (
        _OP,
        _ID,
        Field("cancel_on_disconnect", flag_field, required=True),
        Field("grace_s", whole_field(MAX_GRACE_S)),
    ),
}
_ENTRY = (_OP, _ID, Field("items", lambda field, raw: raw, required=True))

_VERSION = Field("version", whole_field(10**9))
_ORDER_ID = Field("order_id", id_field, required=True)
CANCEL_ITEM = (_ORDER_ID, _VERSION)
REPLACE_ITEM = (_ORDER_ID, _VERSION, *REPLACE)


# --- frames -----------------------------------------------------------------------------------------------


class _Start(msgspec.Struct):
    op: Any = None
    id: Any = None
    items: Raw = Raw()


_start = msgspec.json.Decoder(_Start).decode
_list = msgspec.json.Decoder(list[Raw]).decode


def read_frame(data: bytes) -> Frame:
    """The frame in a text message.

    Raises:
        MessageRefused: the form is wrong or a field is, with everything found.
        Problem: 422 `batch_size`, `type`; 400 for what cannot be read at all.
    """
    try:
        start = _start(data)
    except (msgspec.DecodeError, RecursionError):
        check_depth(data)
        if len(data) <= MAX_BODY_BYTES:
            decode_object(data)
        raise refusal(400, "invalid_json", "the frame must be one JSON object", limit="RFC 8259") from None
    op = _OP.read("op", start.op) if start.op is not None else missing_field("op")
    if isinstance(op, FieldError):
        raise MessageRefused((op,))
    if op in ENTRY:
        return _entry(Op(str(op)), data, start)
    values = read_fields(data, _CONTROL[Op(str(op))])
    return Frame(Op(str(op)), str(values.get("id", "")), values)


def frame_id(data: bytes) -> str:
    """The client's id of a frame that could not be read, so that the refusal can name it; "" without one."""
    try:
        found = _start(data).id
    except (msgspec.DecodeError, RecursionError):
        return ""
    return found if isinstance(found, str) and id_error("id", found) is None else ""


def _entry(op: Op, data: bytes, start: _Start) -> Frame:
    """A frame with items. What surrounds them is read strictly, with a number in their place."""
    raw = bytes(start.items)
    around = data.replace(raw, b"0", 1) if raw else data
    if not _plainly_right(around):
        read_fields(around, _ENTRY)
    frame = id_field("id", start.id)
    if isinstance(frame, FieldError):
        raise MessageRefused((frame,))
    try:
        items = _list(raw)
    except msgspec.ValidationError as wrong:
        raise refusal(422, "type", "items must be an array", field="items", limit="an array") from wrong
    except (msgspec.DecodeError, RecursionError) as wrong:
        raise refusal(400, "nesting_depth", "nested too deep", field="items", limit="16") from wrong
    if not 1 <= len(items) <= MAX_ITEMS:
        text = f"a frame has 1 to {MAX_ITEMS} items"
        raise refusal(422, "batch_size", text, field="items", limit=str(MAX_ITEMS), value=str(len(items)))
    return Frame(op, str(frame), items=tuple(bytes(item) for item in items))


class _Around(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    op: str
    id: str
    items: int


_around = msgspec.json.Decoder(_Around).decode
#: As numbers: bytes are sought in bytes by way of an exception.
_BACKSLASH, _DELETE = b"\\\x7f"


def _plainly_right(around: bytes) -> bool:
    """Whether a frame with a number for its items has its three members once and nothing else; the operation
    and the id are looked at by themselves. False leaves it to `read_fields`, which words the errors.

    A key that stands twice shows in the count of colons: every key has one.
    """
    if len(around) > MAX_BODY_BYTES or not around.isascii() or _BACKSLASH in around or _DELETE in around:
        return False
    try:
        found = _around(around)
    except msgspec.MsgspecError:
        return False
    return around.count(b":") == 3 + found.id.count(":")


class _Echo(msgspec.Struct):
    client_order_id: Any = None
    order_id: Any = None


_echo = msgspec.json.Decoder(_Echo).decode


def echo(item: bytes) -> tuple[str, str]:
    """The client order id and order id that an item names, as far as they can be read."""
    try:
        found = _echo(item)
    except (msgspec.DecodeError, RecursionError):
        return "", ""
    ids = (found.client_order_id, found.order_id)
    first, second = (x if isinstance(x, str) and id_error("id", x) is None else "" for x in ids)
    return first, second


def read_cancel(item: bytes) -> dict[str, object]:
    """order_id, and the version that the order must have.

    Raises:
        MessageRefused: with everything found.
    """
    return read_fields(item, CANCEL_ITEM)


def read_replace(item: bytes) -> dict[str, object]:
    """order_id, version, and what a replace says.

    Raises:
        MessageRefused: with everything found; immutable_field for what a replace may not change.
    """
    return read_fields(item, REPLACE_ITEM, immutable=IMMUTABLE, one_of=REPLACE_ONE_OF)


# --- messages ---------------------------------------------------------------------------------------------

encode = msgspec.json.Encoder().encode


def message(op: str, **members: Any) -> bytes:
    """A message of the server."""
    return encode({"op": op, **members})


def failure(frame: str, problem: Problem, correlation_id: str) -> bytes:
    """The answer to a frame that was refused as a whole."""
    return message("error", id=frame or None, problem=problem.to_json(correlation_id))
