"""What may be asked: a strict parser for query parameters, and the query that it makes.

    limit=100  offset=0  cursor=...  sort=-created_at,symbol
    field=value            the same as field[eq]=value
    field[op]=value        op: eq ne lt lte gt gte like in between

Every field comes from an allow-list (`FieldSet`) that says its type, its operators and whether it sorts; what
is not on it is refused by name, so that no part of a request ever becomes SQL. `in` and `between` take values
separated by commas; `between` includes both ends. `like` compares text, cases told apart: a `*` at the end
or the beginning stands for anything, every other character for itself. A row without the field's value
(a market order has no price) satisfies `ne` and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from qtinfra.core.decimals import NUMBER_GRAMMAR, canonical
from qtinfra.core.exceptions import QtInfraError, Severity

MAX_LIMIT = 500
DEFAULT_LIMIT = 100
#: A page further in costs a walk over everything before it: use a cursor.
MAX_OFFSET = 100_000
MAX_FILTERS = 20
MAX_SORT_FIELDS = 5
MAX_VALUES = 100
MAX_TEXT = 256
MAX_CURSOR = 2_048

_PARAMETER = re.compile(r"([a-z_]{1,40})(?:\[([a-z]{1,20})\])?", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,9}", re.ASCII)
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))",
    re.ASCII,
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_NS = 2**63 - 1


class QueryError(QtInfraError):
    """A query parameter breaks a rule; context has field, rule, limit and value. `bad_cursor` is a 400."""

    code = "bad_query"
    severity = Severity.INFO


class Op(StrEnum):
    """How a field is compared."""

    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    LIKE = "like"
    IN = "in"
    BETWEEN = "between"


class Kind(StrEnum):
    """What a field holds, hence how its values are read.

    TEXT, CHOICE one of a list, NUMBER an exact decimal, WHOLE an integer, MOMENT RFC 3339 into UTC
    nanoseconds, DATE ISO 8601, FLAG true or false.
    """

    TEXT = "text"
    CHOICE = "choice"
    NUMBER = "number"
    WHOLE = "whole"
    MOMENT = "moment"
    DATE = "date"
    FLAG = "flag"


_EQUALITY = (Op.EQ, Op.NE, Op.IN)
_ORDERED = (*_EQUALITY, Op.LT, Op.LTE, Op.GT, Op.GTE, Op.BETWEEN)
_OPERATORS: Mapping[Kind, tuple[Op, ...]] = {
    Kind.TEXT: (*_ORDERED, Op.LIKE),
    Kind.CHOICE: _EQUALITY,
    Kind.NUMBER: _ORDERED,
    Kind.WHOLE: _ORDERED,
    Kind.MOMENT: _ORDERED,
    Kind.DATE: _ORDERED,
    Kind.FLAG: (Op.EQ, Op.NE),
}

Value = str | int | bool | Decimal


class Field(msgspec.Struct, frozen=True):
    """One field that may be asked for.

    Attributes:
        name: as clients write it.
        column: of the table; for a number the text column, whose key stands beside it.
        choices: all values of a CHOICE.
        sortable: whether `sort` may name it.
        optional: whether rows may lack it.
    """

    name: str
    column: str
    kind: Kind = Kind.TEXT
    choices: tuple[str, ...] = ()
    sortable: bool = True
    optional: bool = False

    @property
    def operators(self) -> tuple[Op, ...]:
        return _OPERATORS[self.kind]


class FieldSet:
    """The allow-list of one kind of row.

    Args:
        fields: everything that may be filtered or sorted by.
        default_sort: used when the query names none.
    """

    def __init__(self, fields: Sequence[Field], default_sort: str) -> None:
        self.fields: dict[str, Field] = {field.name: field for field in fields}
        self.default_sort = _read_sort(default_sort, self)

    def __getitem__(self, name: str) -> Field:
        return self.fields[name]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.fields)


class Filter(msgspec.Struct, frozen=True):
    """One comparison; all of a query must hold. `values`: one value, two for BETWEEN, any number for IN."""

    field: str
    op: Op
    values: tuple[Value, ...]


class SortKey(msgspec.Struct, frozen=True):
    field: str
    descending: bool = False


class Query(msgspec.Struct, frozen=True):
    """A parsed query. `sort` empty: the rows' default. `cursor` continues after an earlier page."""

    filters: tuple[Filter, ...] = ()
    sort: tuple[SortKey, ...] = ()
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    cursor: str = ""

    def where(self, field: str, op: Op, *values: Value) -> Query:
        """The query with one more filter."""
        return msgspec.structs.replace(self, filters=(*self.filters, Filter(field, op, values)))

    def order_by(self, *keys: str) -> Query:
        """The query sorted by these fields; a leading "-" sorts from the highest down."""
        return msgspec.structs.replace(self, sort=tuple(_sort_key(key) for key in keys))

    def take(self, limit: int) -> Query:
        """The query with at most `limit` rows a page."""
        return msgspec.structs.replace(self, limit=limit)

    def after(self, cursor: str) -> Query:
        """The query, continued after the page that gave the cursor."""
        return msgspec.structs.replace(self, cursor=cursor)


class Scope(msgspec.Struct, frozen=True):
    """Whose rows a caller may see: those of some accounts, or of all (None). An empty tuple sees nothing."""

    accounts: tuple[str, ...] | None = ()

    def covers(self, account: str) -> bool:
        return self.accounts is None or account in self.accounts


#: Staff who may see every account.
EVERYTHING = Scope(None)


# --- parsing -----------------------------------------------------------------------------------------------


def parse_query(params: Sequence[tuple[str, str]], fields: FieldSet) -> Query:
    """Read the parameters of a request, in any order, names and values already percent-decoded.

    Raises:
        QueryError: code `duplicate_parameter`, `unknown_filter`, `bad_operator`, `unknown_sort_field`,
            `limit_out_of_range`, `offset_out_of_range`, `cursor_with_offset`, `bad_cursor`,
            `too_many_filters`, `too_many_values`, `value_too_long`, `bad_text`, `invalid_number`,
            `invalid_date`, `invalid_choice`, `bad_between`.
    """
    seen: dict[str, None] = {}
    filters: list[Filter] = []
    limit, offset, cursor = DEFAULT_LIMIT, 0, ""
    sort: tuple[SortKey, ...] = ()
    for name, value in params:
        key = name.removesuffix("[eq]")
        if key in seen:
            raise _refused(name, "given once", "1", value, code="duplicate_parameter")
        seen[key] = None
        match name:
            case "limit":
                limit = _whole_number(name, value, 1, MAX_LIMIT)
            case "offset":
                offset = _whole_number(name, value, 0, MAX_OFFSET)
            case "cursor":
                cursor = _cursor(value)
            case "sort":
                sort = _read_sort(value, fields)
            case _:
                filters.append(_filter(name, value, fields))
        if len(filters) > MAX_FILTERS:
            raise _refused(name, "at most so many filters", MAX_FILTERS, value, code="too_many_filters")
    if cursor and offset:
        raise _refused("offset", "not together with a cursor", "0", str(offset), code="cursor_with_offset")
    return Query(tuple(filters), sort, limit, offset, cursor)


def _refused(field: str, rule: str, limit: object, value: str, *, code: str, text: str = "") -> QueryError:
    """The error in words, `text` or made of its parts; what the client sent is quoted in part only."""
    shown = value if len(value) <= 64 else f"{value[:64]}..."
    return QueryError(
        text or f"{field[:64]}: {rule} ({limit}), not {shown!r}",
        code=code,
        context={"field": field[:64], "rule": rule, "limit": str(limit), "value": shown},
    )


def _whole_number(name: str, text: str, low: int, high: int) -> int:
    if _WHOLE.fullmatch(text) and low <= int(text) <= high:
        return int(text)
    limit = f"{low} to {high}"
    raise _refused(name, "a whole number within bounds", limit, text, code=f"{name}_out_of_range")


def _cursor(text: str) -> str:
    if not text or len(text) > MAX_CURSOR:
        raise _refused("cursor", "as an earlier page gave it", MAX_CURSOR, text, code="bad_cursor")
    return text


def _sort_key(text: str) -> SortKey:
    return SortKey(text.removeprefix("-"), text.startswith("-"))


def _read_sort(text: str, fields: FieldSet) -> tuple[SortKey, ...]:
    keys = tuple(_sort_key(part) for part in text.split(",", MAX_SORT_FIELDS))
    names = [key.field for key in keys]
    for name in names:
        known = fields.fields.get(name)
        if known is None or not known.sortable:
            allowed = ", ".join(field.name for field in fields.fields.values() if field.sortable)
            text = f"{name[:64]!r} is no field to sort by; there are {allowed}"
            raise _refused("sort", "sortable fields", allowed, name, code="unknown_sort_field", text=text)
        if names.count(name) > 1:
            raise _refused("sort", "each field once", "1", name, code="duplicate_parameter")
    if len(keys) > MAX_SORT_FIELDS:
        raise _refused("sort", "at most so many fields", MAX_SORT_FIELDS, text, code="too_many_values")
    return keys


def _filter(name: str, text: str, fields: FieldSet) -> Filter:
    match = _PARAMETER.fullmatch(name)
    field = fields.fields.get(match[1]) if match is not None else None
    if match is None or field is None:
        allowed = ", ".join(fields.names)
        said = f"{name[:64]!r} is no field to filter by; there are {allowed}"
        raise _refused(name, "fields to filter by", allowed, text, code="unknown_filter", text=said)
    try:
        op = Op(match[2] or "eq")
    except ValueError:
        op = None
    if op is None or op not in field.operators:
        allowed = " ".join(field.operators)
        raise _refused(name, f"operators of {field.name}", allowed, match[2] or "eq", code="bad_operator")
    return Filter(field.name, op, _values(field, op, text))


def _values(field: Field, op: Op, text: str) -> tuple[Value, ...]:
    if op not in (Op.IN, Op.BETWEEN):
        return (_value(field, text),)
    parts = text.split(",", MAX_VALUES)
    if len(parts) > MAX_VALUES:
        raise _refused(field.name, "at most so many values", MAX_VALUES, text, code="too_many_values")
    if op is Op.BETWEEN and len(parts) != 2:
        raise _refused(field.name, "two values, a comma between", 2, text, code="bad_between")
    return tuple(_value(field, part) for part in parts)


def _value(field: Field, text: str) -> Value:
    """One value of the field's kind."""
    if len(text) > MAX_TEXT:
        raise _refused(field.name, "at most so many characters", MAX_TEXT, text, code="value_too_long")
    match field.kind:
        case Kind.CHOICE:
            if text not in field.choices:
                allowed = ", ".join(field.choices)
                raise _refused(field.name, "one of", allowed, text, code="invalid_choice")
            return text
        case Kind.NUMBER:
            return _number(field.name, text)
        case Kind.WHOLE:
            if not _WHOLE.fullmatch(text):
                raise _refused(field.name, "a whole number", "9 digits", text, code="invalid_number")
            return int(text)
        case Kind.MOMENT:
            return _moment(field.name, text)
        case Kind.DATE:
            return _date(field.name, text)
        case Kind.FLAG:
            if text not in ("true", "false"):
                raise _refused(field.name, "one of", "true, false", text, code="invalid_choice")
            return text == "true"
    if not text.isprintable():
        raise _refused(field.name, "printable characters", MAX_TEXT, repr(text), code="bad_text")
    return text


def _number(name: str, text: str) -> Decimal:
    if NUMBER_GRAMMAR.fullmatch(text.removeprefix("-")) is None:
        rule = "a plain decimal number"
        raise _refused(name, rule, "18 digits before the point, 9 after it", text, code="invalid_number")
    return canonical(Decimal(text))


def _date(name: str, text: str) -> str:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise _refused(name, "a date", "YYYY-MM-DD", text, code="invalid_date")


def _moment(name: str, text: str) -> int:
    """RFC 3339 as UTC nanoseconds; a date alone is its midnight in UTC."""
    found = parse_moment(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text)
    if found is None:
        raise _refused(name, "a moment by RFC 3339", "2024-01-15T10:30:00Z", text, code="invalid_date")
    return found


def parse_moment(text: str) -> int | None:
    """RFC 3339 text as UTC nanoseconds, exact to the ninth place; None when it is no such text."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, sign, hours, minutes = match.groups()
    try:
        local = datetime.fromisoformat(f"{day}T{clock}+00:00")
        if sign and (int(hours) > 23 or int(minutes) > 59):
            return None
        shift = timedelta(hours=int(hours), minutes=int(minutes)) if sign else timedelta()
        since = local - _EPOCH - (-shift if sign == "-" else shift)
    except (ValueError, OverflowError):
        return None
    whole = since.days * 86_400 + since.seconds
    ns = whole * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
    return ns if -_MAX_NS <= ns <= _MAX_NS else None


def plain_form(query: Query) -> list[Any]:
    """What a cursor is bound to: filters and sort in a fixed written form; page size and place left out."""
    return [
        [[item.field, item.op.value, [str(value) for value in item.values]] for item in query.filters],
        [[key.field, key.descending] for key in query.sort],
    ]
