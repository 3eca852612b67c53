"""How one field of a message is read: from its JSON value to a core value, or to the error that says why.

A reader takes the field's name and its raw value (str, `JsonNumber`, bool, None, list or dict) and returns
the value, or a `FieldError`. Readers are pure and look at one field only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from qtinfra.core.decimals import NUMBER_GRAMMAR, plain
from qtinfra.core.validation.errors import FieldError, Stage, shown

#: Longest client order id, account, trader or execution id.
ID_LENGTH = 64
#: Longest free text.
TEXT_LENGTH = 256
#: Longer numbers are refused before anything looks at them; the grammar allows 28 characters.
NUMBER_LENGTH = 64

SYMBOL_PATTERN = r"[A-Z0-9.\-/]{1,24}"
MIC_PATTERN = r"[A-Z0-9]{4}"
DATE_PATTERN = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"

_SYMBOL = re.compile(SYMBOL_PATTERN)
_MIC = re.compile(MIC_PATTERN)
_DATE = re.compile(DATE_PATTERN)
_SURROGATE = re.compile("[\ud800-\udfff]")
# C0, DEL, C1, line and paragraph separators, and the marks that turn the direction of text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_EXPONENT = re.compile(r"-?[0-9]+(\.[0-9]+)?[eE][+-]?[0-9]+")


class JsonNumber:
    """A JSON number as its text. Not a `str`, so that it never passes for one."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


_JSON_NAMES = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    JsonNumber: "a number",
    str: "a string",
    list: "an array",
}

Reader = Callable[[str, object], object]


class Field(NamedTuple):
    """A field of a message: its name, its reader, and whether the message needs it."""

    name: str
    read: Reader
    required: bool = False


def error(field: str, code: str, stage: Stage, limit: str, value: str, message: str) -> FieldError:
    """A `FieldError` with the value cut and escaped."""
    return FieldError(field, code, limit, shown(value), message, stage)


def type_error(field: str, expected: str, value: object) -> FieldError:
    """Another JSON type than the field has; nothing is coerced."""
    sent = _JSON_NAMES.get(type(value), "an object")
    return FieldError(field, "type", expected, sent, f"{field} must be {expected}, not {sent}", Stage.TYPE)


def unicode_error(field: str, value: str) -> FieldError | None:
    """Half of a surrogate pair is no character and cannot be stored or sent on."""
    if _SURROGATE.search(value) is None:
        return None
    text = f"{field} has a lone surrogate"
    return error(field, "invalid_unicode", Stage.GRAMMAR, "Unicode scalar values", value, text)


def length_error(field: str, value: str, longest: int, shortest: int = 0) -> FieldError | None:
    """Too long or too short a text, in characters."""
    if shortest <= len(value) <= longest:
        return None
    text = f"{field} must have {shortest} to {longest} characters, not {len(value)}"
    return error(field, "max_length", Stage.GRAMMAR, str(longest), value, text)


# --- numbers ----------------------------------------------------------------------------------------------


def number_error(field: str, text: str) -> FieldError | None:
    """Why a text is no number by the grammar; sign and exponent are decided first."""
    wrong = unicode_error(field, text) or length_error(field, text, NUMBER_LENGTH)
    if wrong is not None:
        return wrong
    if NUMBER_GRAMMAR.fullmatch(text) is not None:
        return None
    if text.startswith("-") and NUMBER_GRAMMAR.fullmatch(text, 1) is not None:
        message = f"{field} must be greater than 0"
        return error(field, "must_be_positive", Stage.SIGN, "0", text, message)
    grammar = NUMBER_GRAMMAR.pattern
    if _EXPONENT.fullmatch(text) is not None:
        message = f"{field} must be written without an exponent"
        return error(field, "number_out_of_range", Stage.SIGN, grammar, text, message)
    if not text.isascii():
        message = f"{field} must be written in ASCII digits"
        return error(field, "non_ascii_number", Stage.GRAMMAR, grammar, text, message)
    message = f"{field} must be a plain decimal number: at most 18 digits, a point, at most 9 digits"
    return error(field, "number_format", Stage.GRAMMAR, grammar, text, message)


def decimal_of(text: str) -> Decimal:
    """The canonical Decimal of a text that follows the grammar."""
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


def range_error(field: str, value: Decimal, zero: bool, highest: Decimal | None) -> FieldError | None:
    """Zero where it means nothing, or a value above the highest."""
    if not value and not zero:
        text = f"{field} must be greater than 0"
        return FieldError(field, "must_be_positive", "0", "0", text, Stage.RANGE)
    if highest is not None and value > highest:
        text = f"{field} must not be above {plain(highest)}"
        return error(field, "number_out_of_range", Stage.RANGE, plain(highest), plain(value), text)
    return None


def number_field(*, zero: bool = False, highest: Decimal | None = None) -> Reader:
    """A quantity, price, amount or fraction: string or JSON number by the grammar; 0 only where it means
    something."""

    def read(field: str, raw: object) -> object:
        if isinstance(raw, JsonNumber):
            text = raw.text
        elif isinstance(raw, str):
            text = raw
        else:
            return type_error(field, "a number or a string", raw)
        wrong = number_error(field, text)
        if wrong is not None:
            return wrong
        value = decimal_of(text)
        return range_error(field, value, zero, highest) or value

    return read


# --- text -------------------------------------------------------------------------------------------------


def symbol_error(field: str, value: str) -> FieldError | None:
    """No folding of look-alike letters into a real symbol: they are refused."""
    if _SYMBOL.fullmatch(value) is not None:
        return None
    text = f"{field} must be 1 to 24 of A-Z 0-9 . - /"
    return error(field, "symbol_charset", Stage.GRAMMAR, SYMBOL_PATTERN, value, text)


def id_error(field: str, value: str) -> FieldError | None:
    """1 to 64 printable ASCII characters."""
    wrong = length_error(field, value, ID_LENGTH, 1)
    if wrong is not None or (value.isascii() and value.isprintable()):
        return wrong
    text = f"{field} must be printable ASCII"
    return error(field, "control_char", Stage.GRAMMAR, "ASCII 32..126", value, text)


def text_error(field: str, value: str) -> FieldError | None:
    """Up to 256 characters of any script, without control characters: SOH never reaches a FIX encoder."""
    wrong = length_error(field, value, TEXT_LENGTH)
    if wrong is not None or _CONTROL.search(value) is None:
        return wrong
    text = f"{field} must not have control characters"
    return error(field, "control_char", Stage.GRAMMAR, "no control characters", value, text)


def mic_error(field: str, value: str) -> FieldError | None:
    """A market identifier code (ISO 10383)."""
    if _MIC.fullmatch(value) is not None:
        return None
    text = f"{field} must be a market identifier code"
    return error(field, "mic_format", Stage.GRAMMAR, MIC_PATTERN, value, text)


def date_error(field: str, value: str) -> FieldError | None:
    """A calendar date (ISO 8601, YYYY-MM-DD)."""
    if _DATE.fullmatch(value) is not None:
        try:
            date.fromisoformat(value)
        except ValueError:
            pass
        else:
            return None
    text = f"{field} must be a date YYYY-MM-DD"
    return error(field, "date_format", Stage.GRAMMAR, "YYYY-MM-DD", value, text)


def string_field(check: Callable[[str, str], FieldError | None]) -> Reader:
    """A JSON string that is Unicode and passes `check`."""

    def read(field: str, raw: object) -> object:
        if not isinstance(raw, str):
            return type_error(field, "a string", raw)
        return unicode_error(field, raw) or check(field, raw) or raw

    return read


def enum_error(field: str, allowed: str, value: str) -> FieldError:
    """A name that is none of the members; case counts."""
    text = f"{field} must be one of {allowed}"
    return error(field, "unknown_enum", Stage.GRAMMAR, allowed, value, text)


def enum_field(kind: type[StrEnum]) -> Reader:
    """A member by its exact name; `limit` of the error lists them."""
    members = {member.value: member for member in kind}
    allowed = ", ".join(members)

    def read(field: str, raw: object) -> object:
        if not isinstance(raw, str):
            return type_error(field, "a string", raw)
        member = members.get(raw)
        return unicode_error(field, raw) or enum_error(field, allowed, raw) if member is None else member

    return read


symbol_field = string_field(symbol_error)
id_field = string_field(id_error)
text_field = string_field(text_error)
mic_field = string_field(mic_error)
date_field = string_field(date_error)
