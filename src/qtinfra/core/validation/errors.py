"""What is wrong with a message from a client: a list of field errors in one documented order.

Stages follow each other. A message that fails a form stage (size to JSON) is not read further, so that error
stands alone. All later stages are checked together and everything found is reported, sorted by stage and then
by the order of the fields in the message's definition; errors about unknown fields keep the message's order.
Errors between fields are looked for when each field is right by itself. The first error gives the code and
the HTTP status of the whole answer.

    size         413  body_too_large          (nesting_depth, if the limit is passed before the size limit)
    encoding     400  invalid_encoding
    depth, JSON  400  nesting_depth, invalid_json
    duplicate    400  duplicate_key
    unknown      422  unknown_field, immutable_field
    missing      422  missing_field
    type         422  type
    sign         422  must_be_positive (a leading '-'), number_out_of_range (an exponent)
    grammar      422  number_format, non_ascii_number, max_length, invalid_unicode, control_char,
                      symbol_charset, unknown_enum, mic_format, date_format
    range        422  must_be_positive (zero), number_out_of_range, notional_out_of_range, date_order,
                      list_length

Reference, state, business and risk errors come later and are not the parser's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum

import msgspec

from qtinfra.core.exceptions import OrderValidationError

BAD_REQUEST = 400
TOO_LARGE = 413
UNPROCESSABLE = 422

#: At most this many errors are reported for one message: the answer stays small whatever came in.
MAX_ERRORS = 32
#: At most this many characters of an offending value are repeated.
SHOWN_CHARACTERS = 60


_NOT_ASCII = re.compile(r"[^\x00-\x7f]|\\u|\\U|\\x[89a-f]")  # as itself, or as `shown` escapes it


class Stage(IntEnum):
    """When an error is decided; a smaller stage counts first."""

    SIZE = 1
    ENCODING = 2
    JSON = 3
    DUPLICATE = 4
    UNKNOWN = 5
    MISSING = 6
    TYPE = 7
    SIGN = 8
    GRAMMAR = 9
    RANGE = 10


#: HTTP status of each code.
HTTP_STATUS = {
    "body_too_large": TOO_LARGE,
    "invalid_encoding": BAD_REQUEST,
    "nesting_depth": BAD_REQUEST,
    "invalid_json": BAD_REQUEST,
    "duplicate_key": BAD_REQUEST,
    "unknown_field": UNPROCESSABLE,
    "immutable_field": UNPROCESSABLE,
    "missing_field": UNPROCESSABLE,
    "type": UNPROCESSABLE,
    "must_be_positive": UNPROCESSABLE,
    "number_out_of_range": UNPROCESSABLE,
    "number_format": UNPROCESSABLE,
    "non_ascii_number": UNPROCESSABLE,
    "max_length": UNPROCESSABLE,
    "invalid_unicode": UNPROCESSABLE,
    "control_char": UNPROCESSABLE,
    "symbol_charset": UNPROCESSABLE,
    "unknown_enum": UNPROCESSABLE,
    "mic_format": UNPROCESSABLE,
    "date_format": UNPROCESSABLE,
    "notional_out_of_range": UNPROCESSABLE,
    "date_order": UNPROCESSABLE,
    "list_length": UNPROCESSABLE,
}


class FieldError(msgspec.Struct, frozen=True, gc=False):
    """One thing that is wrong.

    Attributes:
        field: name in the message, empty when the message as a whole is meant.
        code: stable and machine-readable, a key of `HTTP_STATUS`.
        limit: the rule's bound (a number, a grammar, the allowed values) as text.
        value: what was sent, escaped and cut to 60 characters.
        message: one sentence for a person.
        stage: when it was decided; orders the errors of one message.
    """

    field: str
    code: str
    limit: str
    value: str
    message: str
    stage: Stage

    @property
    def confusable(self) -> bool:
        """A symbol with letters that look like others (Cyrillic, full-width, zero-width): worth an alert."""
        return self.code == "symbol_charset" and _NOT_ASCII.search(self.value) is not None

    def to_json(self) -> dict[str, str]:
        """field, code, limit, value and message."""
        return {
            "field": self.field,
            "code": self.code,
            "limit": self.limit,
            "value": self.value,
            "message": self.message,
        }


class MessageRefused(OrderValidationError):
    """A message from a client that cannot become a command.

    Attributes:
        errors: everything found, first what counts first; never empty.
        http_status: 400 (not our kind of message), 413 (too large) or 422 (a field is wrong).
    """

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        context = {"field": first.field, "rule": first.code, "limit": first.limit, "value": first.value}
        super().__init__(first.message, code=first.code, context=context)
        self.http_status = HTTP_STATUS[first.code]

    def to_json(self) -> dict[str, object]:
        """The common form of an error, and `errors` with all of them."""
        name = OrderValidationError.__name__
        return {**super().to_json(), "error": name, "errors": [error.to_json() for error in self.errors]}


def shown(value: str) -> str:
    """A value as an answer may repeat it: cut, control characters and lone surrogates escaped."""
    cut = value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "..."
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in cut
    )


def in_order(errors: Iterable[FieldError], fields: tuple[str, ...]) -> tuple[FieldError, ...]:
    """The errors by stage, then by the order of `fields`, others last; at most `MAX_ERRORS`.

    An error inside an object ("peg.offset") has the place of the object.
    """
    rank = {name: place for place, name in enumerate(fields)}

    def place_of(field: str) -> int:
        while field not in rank and "." in field:
            field = field.rpartition(".")[0]
        return rank.get(field, len(rank))

    ordered = sorted(errors, key=lambda error: (error.stage, place_of(error.field)))
    return tuple(ordered[:MAX_ERRORS])
