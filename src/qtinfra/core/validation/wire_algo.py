"""The `algo` object of a new order on the wire: how an algorithm shall work it.

Its fields are read like any other: strict types, our number grammar, nothing unknown, no null. The first
error in the order of the fields is the object's; its field is named as "algo.max_participation". What the
terms mean together is the business rules' question (`validation.algo`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import cast

from qtinfra.core.algo import AlgoTerms, Completion
from qtinfra.core.decimals import ZERO
from qtinfra.core.validation.errors import FieldError, Stage, shown
from qtinfra.core.validation.fields import (
    Field,
    Reader,
    enum_field,
    error,
    id_field,
    number_field,
    type_error,
    unicode_error,
)

TIME_PATTERN = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z"
MAX_SEED = 2**63 - 1

_TIME = re.compile(TIME_PATTERN, re.ASCII)
_ONE = Decimal(1)
_SECOND_NS = 1_000_000_000


def time_field(field: str, raw: object) -> object:
    """A moment in UTC, RFC 3339 with up to nine decimals, as nanoseconds since 1970."""
    if not isinstance(raw, str):
        return type_error(field, "a string", raw)
    wrong = unicode_error(field, raw)
    if wrong is not None:
        return wrong
    if _TIME.fullmatch(raw) is not None:
        whole, _, fraction = raw[:-1].partition(".")
        try:
            moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
        except ValueError:
            pass
        else:
            if moment.year >= 1970:
                since = moment - datetime(1970, 1, 1, tzinfo=UTC)
                seconds = since.days * 86_400 + since.seconds
                if seconds < MAX_SEED // _SECOND_NS:
                    return seconds * _SECOND_NS + int(fraction.ljust(9, "0"))
    text = f"{field} must be a moment in UTC: YYYY-MM-DDThh:mm:ssZ, with up to 9 decimals"
    return error(field, "date_format", Stage.GRAMMAR, TIME_PATTERN, raw, text)


def count_field(highest: int) -> Reader:
    """A whole number from 0."""
    number = number_field(zero=True, highest=Decimal(highest))

    def read(field: str, raw: object) -> object:
        value = number(field, raw)
        if not isinstance(value, Decimal):
            return value
        if value % 1:
            text = f"{field} must be a whole number"
            return error(field, "number_format", Stage.GRAMMAR, "[0-9]+", str(value), text)
        return int(value)

    return read


def flag_field(field: str, raw: object) -> object:
    """A JSON boolean."""
    return raw if isinstance(raw, bool) else type_error(field, "a boolean", raw)


_PART = number_field(zero=True, highest=_ONE)
_RATE = number_field(highest=_ONE)

#: The fields of the object; `name` is the algo's. All but the first three may be left out.
ALGO = (
    Field("name", id_field, required=True),
    Field("start_time", time_field, required=True),
    Field("end_time", time_field, required=True),
    Field("max_participation", _RATE),
    Field("min_participation", _RATE),
    Field("target_rate", _RATE),
    Field("risk_aversion", number_field(zero=True)),
    Field("impact_exponent", number_field()),
    Field("min_clip", number_field()),
    Field("max_clip", number_field()),
    Field("would_price", number_field()),
    Field("open_share", _PART),
    Field("close_share", _PART),
    Field("randomise_time", _PART),
    Field("randomise_size", _PART),
    Field("seed", count_field(10**18 - 1)),
    Field("slices", count_field(390)),
    Field("completion", enum_field(Completion)),
    Field("passive", flag_field),
    Field("dark_first", flag_field),
)
_RENAMED = {"name": "algo", "start_time": "start_ns", "end_time": "end_ns"}


def read_object(field: str, raw: object, table: tuple[Field, ...]) -> dict[str, object] | FieldError:
    """The values of an object by its table, or its first error: unknown, then missing, then wrong fields."""
    if not isinstance(raw, dict):
        return type_error(field, "an object", raw)
    names = [known.name for known in table]
    for name in raw:
        if name not in names:
            named = f"{field}.{shown(name)}"
            text = f"{named} is not a field of this message"
            return FieldError(named, "unknown_field", "", "", text, Stage.UNKNOWN)
    for known in table:
        if known.required and known.name not in raw:
            named = f"{field}.{known.name}"
            return FieldError(named, "missing_field", "", "", f"{named} is required", Stage.MISSING)
    values: dict[str, object] = {}
    for known in table:
        if known.name not in raw:
            continue
        value = known.read(f"{field}.{known.name}", raw[known.name])
        if isinstance(value, FieldError):
            return value
        values[known.name] = value
    return values


def algo_field(field: str, raw: object) -> object:
    """The object as `AlgoTerms`, or its first error: unknown, then missing, then wrong fields."""
    values = read_object(field, raw, ALGO)
    if isinstance(values, FieldError):
        return values
    return _terms({_RENAMED.get(name, name): value for name, value in values.items()})


def _terms(values: dict[str, object]) -> AlgoTerms:
    def number(name: str) -> Decimal | None:
        return cast(Decimal | None, values.get(name))

    return AlgoTerms(
        algo=cast(str, values["algo"]),
        start_ns=cast(int, values["start_ns"]),
        end_ns=cast(int, values["end_ns"]),
        max_participation=number("max_participation"),
        min_participation=number("min_participation"),
        target_rate=number("target_rate"),
        risk_aversion=number("risk_aversion"),
        impact_exponent=number("impact_exponent"),
        min_clip=number("min_clip"),
        max_clip=number("max_clip"),
        would_price=number("would_price"),
        open_share=number("open_share") or ZERO,
        close_share=number("close_share") or ZERO,
        randomise_time=number("randomise_time") or ZERO,
        randomise_size=number("randomise_size") or ZERO,
        seed=cast(int, values.get("seed", 0)),
        slices=cast(int, values.get("slices", 0)),
        completion=cast(Completion, values.get("completion", Completion.CANCEL)),
        passive=cast(bool, values.get("passive", True)),
        dark_first=cast(bool, values.get("dark_first", False)),
    )
