"""What an operator sends about the books: marks, cash, opening positions, fee schedules, rates, retention.

Each message is a table of fields, read as strictly as an order; `fee_schedule` joins the nested parts. What
they mean together is decided by the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import cast

from qtinfra.core.commands import TimerKind
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.fees import FeeLine, FeeSchedule, FeeTier, TicketScope
from qtinfra.core.marking import MarkSource
from qtinfra.core.models import AssetClass, Currency, OrderSide
from qtinfra.core.validation.errors import FieldError, Stage
from qtinfra.core.validation.fields import (
    Field,
    Reader,
    date_field,
    enum_field,
    error,
    id_field,
    number_field,
    symbol_field,
    text_field,
    type_error,
)
from qtinfra.core.validation.wire_algo import count_field, read_object, time_field
from qtinfra.core.validation.wire_special import signed_field

#: Lines of a fee schedule, tiers of a line, and values of a filter.
MAX_LINES = MAX_TIERS = MAX_VALUES = 50


def list_field(item: Reader, most: int = MAX_LINES) -> Reader:
    """An array of up to `most` items, each read by `item` as `field[0]`, `field[1]` and so on."""

    def read(field: str, raw: object) -> object:
        if not isinstance(raw, list):
            return type_error(field, "an array", raw)
        if len(raw) > most:
            text = f"{field} has {most} items at most"
            return error(field, "list_length", Stage.RANGE, str(most), str(len(raw)), text)
        values = [item(f"{field}[{place}]", part) for place, part in enumerate(raw)]
        return next((value for value in values if isinstance(value, FieldError)), tuple(values))

    return read


def _tier(field: str, raw: object) -> object:
    values = read_object(field, raw, TIER)
    return values if isinstance(values, FieldError) else FeeTier(**cast(dict[str, Decimal], values))


def _line(field: str, raw: object) -> object:
    values = read_object(field, raw, LINE)
    if isinstance(values, FieldError):
        return values
    tiers = cast(tuple[FeeTier, ...], values["tiers"])
    return FeeLine(
        tiers,
        cast(tuple[AssetClass, ...], values.get("asset_classes", ())),
        cast(tuple[Liquidity, ...], values.get("liquidity", ())),
        cast(tuple[OrderSide, ...], values.get("sides", ())),
    )


_AMOUNT, _POSITIVE, _NOT_NEGATIVE = signed_field, number_field(), number_field(zero=True)
_DATE = Field("trade_date", date_field)
_ACCOUNT = Field("account_id", id_field, required=True)
_SYMBOL = Field("symbol", symbol_field, required=True)
_CURRENCY = Field("currency", enum_field(Currency), required=True)

TIER = (
    Field("floor", _NOT_NEGATIVE, required=True),
    Field("per_unit", signed_field),
    Field("bps", signed_field),
)
LINE = (
    Field("tiers", list_field(_tier), required=True),
    Field("asset_classes", list_field(enum_field(AssetClass))),
    Field("liquidity", list_field(enum_field(Liquidity))),
    Field("sides", list_field(enum_field(OrderSide))),
)

DAY_STEP = (
    Field("step", enum_field(TimerKind), required=True),
    Field("trade_date", date_field, required=True),
)
MARK = (
    _SYMBOL,
    Field("price", _POSITIVE),
    Field("source", enum_field(MarkSource)),
    Field("observed_at", time_field),
)
RATE = (
    Field("base", enum_field(Currency), required=True),
    Field("quote", enum_field(Currency), required=True),
    Field("rate", _POSITIVE, required=True),
)
CASH = (_ACCOUNT, _CURRENCY, Field("amount", _AMOUNT, required=True), _DATE)
PAYMENT = (
    Field("payment_id", id_field, required=True),
    _ACCOUNT,
    _CURRENCY,
    Field("amount", _AMOUNT, required=True),
    Field("reason", text_field),
)
EXCHANGE = (
    Field("payment_id", id_field, required=True),
    _ACCOUNT,
    Field("sold_currency", enum_field(Currency), required=True),
    Field("sold_amount", _POSITIVE, required=True),
    Field("bought_currency", enum_field(Currency), required=True),
    Field("bought_amount", _POSITIVE, required=True),
)
POSITION = (
    _ACCOUNT,
    _SYMBOL,
    Field("quantity", _AMOUNT, required=True),
    Field("average_cost", _NOT_NEGATIVE, required=True),
    _DATE,
)
SCHEDULE = (
    Field("schedule_id", id_field, required=True),
    Field("client", id_field, required=True),
    _CURRENCY,
    Field("effective_from", date_field, required=True),
    Field("lines", list_field(_line), required=True),
    Field("scope", enum_field(TicketScope)),
    Field("minimum", _NOT_NEGATIVE),
    Field("maximum", _NOT_NEGATIVE),
    Field("maximum_bps", _NOT_NEGATIVE),
)
RETENTION = (Field("days", count_field(10**6), required=True),)


def fee_schedule(values: Mapping[str, object]) -> FeeSchedule:
    """The schedule of a message that was read by `SCHEDULE`."""

    def number(name: str) -> Decimal | None:
        return cast(Decimal | None, values.get(name))

    return FeeSchedule(
        cast(str, values["schedule_id"]),
        cast(str, values["client"]),
        cast(Currency, values["currency"]),
        cast(str, values["effective_from"]),
        cast(tuple[FeeLine, ...], values["lines"]),
        cast(TicketScope, values.get("scope", TicketScope.ORDER)),
        number("minimum"),
        number("maximum"),
        number("maximum_bps"),
    )
