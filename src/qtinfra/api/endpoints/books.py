"""The books by hand: trading date, marks, rates, cash, opening positions, fee schedules, retention.

Each is one command to the engine, journaled with its author, and answered when it is durable. What the rules
refuse is a problem document that names field, rule, limit and value.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from qtinfra.api.deps import Caller, answer
from qtinfra.api.docs import answers, body, ref
from qtinfra.api.endpoints.service import day_view
from qtinfra.api.errors import refusal
from qtinfra.api.replies import raise_refused
from qtinfra.core.commands import (
    AnyCommand,
    ExchangeCash,
    LoadCash,
    LoadPosition,
    PayCash,
    SetFeeSchedule,
    SetFxRate,
    SetMark,
    SetRetention,
    TimerKind,
)
from qtinfra.core.decimals import NUMBER_GRAMMAR
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.fees import TicketScope
from qtinfra.core.marking import MarkSource
from qtinfra.core.models import AssetClass, Currency, OrderSide
from qtinfra.core.security.permissions import Permission
from qtinfra.core.validation import wire_books
from qtinfra.core.validation.fields import DATE_PATTERN, SYMBOL_PATTERN, Field
from qtinfra.core.validation.wire import read_fields
from qtinfra.core.validation.wire_algo import TIME_PATTERN

_WRONG = (413, 415, 422, 500)
_TEXT = {"type": "string", "maxLength": 256}
_ID = {"type": "string", "minLength": 1, "maxLength": 64}
_NUMBER = {"anyOf": [{"type": "string", "pattern": f"^{NUMBER_GRAMMAR.pattern}$"}, {"type": "number"}]}
_AMOUNT = {"anyOf": [{"type": "string", "pattern": f"^-?{NUMBER_GRAMMAR.pattern}$"}, {"type": "number"}]}
_SYMBOL = {"type": "string", "pattern": f"^{SYMBOL_PATTERN}$"}
_DATE = {"type": "string", "format": "date", "pattern": f"^{DATE_PATTERN}$"}
_DAY = {**_DATE, "description": "The day that begins with it; the engine's when left out."}
_CURRENCY = {"enum": [item.value for item in Currency]}

router = APIRouter(prefix="/admin", tags=["Books"])


class BookedView(msgspec.Struct, frozen=True):
    """A command of the books that is durable.

    Attributes:
        changed: false when it says what stands already, such as the same payment again.
        seq: the journal's sequence.
    """

    changed: bool
    seq: int


def _schema(required: str, **properties: Any) -> dict[str, Any]:
    """An object of these members; `required` names those it needs, separated by spaces."""
    found = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**found, "required": required.split()}


def _choices(kind: Any) -> dict[str, Any]:
    return {"type": "array", "maxItems": wire_books.MAX_VALUES, "items": {"enum": [x.value for x in kind]}}


_TIER = _schema("floor", floor=_NUMBER, per_unit=_AMOUNT, bps=_AMOUNT)
_LINE = _schema(
    "tiers",
    tiers={"type": "array", "maxItems": wire_books.MAX_TIERS, "items": _TIER},
    asset_classes=_choices(AssetClass),
    liquidity=_choices(Liquidity),
    sides=_choices(OrderSide),
)
_SCHEMAS: dict[str, dict[str, Any]] = {
    "day": _schema(
        "step trade_date",
        step={"enum": [item.value for item in TimerKind], "description": "The next step: `day` in health."},
        trade_date=_DATE,
    ),
    "mark": _schema(
        "symbol",
        symbol=_SYMBOL,
        price={**_NUMBER, "description": "Left out: the price is taken away."},
        source={"enum": [item.value for item in MarkSource], "default": "MANUAL"},
        observed_at={"type": "string", "pattern": f"^{TIME_PATTERN}$", "description": "Now when left out."},
    ),
    "rate": _schema("base quote rate", base=_CURRENCY, quote=_CURRENCY, rate=_NUMBER),
    "cash": _schema(
        "account_id currency amount", account_id=_ID, currency=_CURRENCY, amount=_AMOUNT, trade_date=_DAY
    ),
    "payment": _schema(
        "payment_id account_id currency amount",
        payment_id=_ID,
        account_id=_ID,
        currency=_CURRENCY,
        amount={**_AMOUNT, "description": "Below 0 when paid out."},
        reason=_TEXT,
    ),
    "exchange": _schema(
        "payment_id account_id sold_currency sold_amount bought_currency bought_amount",
        payment_id=_ID,
        account_id=_ID,
        sold_currency=_CURRENCY,
        sold_amount=_NUMBER,
        bought_currency=_CURRENCY,
        bought_amount=_NUMBER,
    ),
    "position": _schema(
        "account_id symbol quantity average_cost",
        account_id=_ID,
        symbol=_SYMBOL,
        quantity={**_AMOUNT, "description": "Below 0 when short."},
        average_cost=_NUMBER,
        trade_date=_DAY,
    ),
    "schedule": _schema(
        "schedule_id client currency effective_from lines",
        schedule_id=_ID,
        client={**_ID, "description": "`*`: every client without one of its own."},
        currency=_CURRENCY,
        effective_from=_DATE,
        lines={"type": "array", "maxItems": wire_books.MAX_LINES, "items": _LINE},
        scope={"enum": [item.value for item in TicketScope], "default": "ORDER"},
        minimum=_NUMBER,
        maximum=_NUMBER,
        maximum_bps=_NUMBER,
    ),
    "retention": _schema("days", days={**_NUMBER, "description": "Trading days, 1 to 400."}),
}


def _documented(name: str, *more: int) -> dict[str, Any]:
    """Keyword arguments of an operation."""
    responses = answers(ref("BookedView"), *_WRONG, *more, text="It counts and is durable.")
    return {"responses": responses, "openapi_extra": body(_SCHEMAS[name])}


@router.post(
    "/day:roll",
    responses=answers(ref("DayView"), *_WRONG, 409, text="It is done."),
    openapi_extra=body(_SCHEMAS["day"]),
)
async def roll(request: Request) -> Response:
    """Do the next step of the trading date now, before its time.

    The message names the step, so that caller and server mean the same.
    """
    caller = Caller(request)
    caller.require(Permission.OPERATIONS_WRITE)
    values = read_fields(await caller.json(), wire_books.DAY_STEP)
    days, asked = caller.platform.days, (values["step"], values["trade_date"])
    step = days.next()
    author = caller.identity.subject
    if step is None or (step.kind, step.trade_date) != asked or not await days.roll(step, author):
        coming = f"{step.kind.value} of {step.trade_date}" if step is not None else "none"
        raise refusal(409, "not_the_next_step", f"the next step is {coming}", field="step", limit=coming)
    await caller.durable()
    return answer(day_view(caller.platform))


@router.put("/marks", **_documented("mark"))
async def set_mark(request: Request) -> Response:
    """Set a price that positions may be valued at, or take it away."""

    def command(values: dict[str, Any], author: str, today: str) -> AnyCommand:
        source, observed_ns = values.get("source", MarkSource.MANUAL), values.get("observed_at", 0)
        return SetMark(values["symbol"], values.get("price"), source, observed_ns, author)

    return await _book(request, wire_books.MARK, command)


@router.put("/fx-rates", **_documented("rate"))
async def set_rate(request: Request) -> Response:
    """Set a rate: 1 unit of `base` is worth so many of `quote`."""

    def command(values: dict[str, Any], author: str, today: str) -> AnyCommand:
        return SetFxRate(values["base"], values["quote"], values["rate"])

    return await _book(request, wire_books.RATE, command)


@router.post("/cash:load", **_documented("cash"))
async def load_cash(request: Request) -> Response:
    """Begin an account's cash in a currency, before its first trade."""

    def command(values: dict[str, Any], author: str, today: str) -> AnyCommand:
        day = values.get("trade_date", today)
        return LoadCash(values["account_id"], values["currency"], values["amount"], day)

    return await _book(request, wire_books.CASH, command)


@router.post("/cash:pay", **_documented("payment"))
async def pay_cash(request: Request) -> Response:
    """Book money that came into an account or left it. `payment_id` makes it safe to repeat."""

    def command(values: dict[str, Any], author: str, today: str) -> AnyCommand:
        name, account, reason = values["payment_id"], values["account_id"], values.get("reason", "")
        return PayCash(name, account, values["currency"], values["amount"], author, reason)

    return await _book(request, wire_books.PAYMENT, command)


@router.post("/cash:exchange", **_documented("exchange"))
async def exchange_cash(request: Request) -> Response:
    """Book one currency that was dealt for another. `payment_id` makes it safe to repeat."""

    def command(values: dict[str, Any], author: str, today: str) -> AnyCommand:
        return ExchangeCash(
            values["payment_id"],
            values["account_id"],
            values["sold_currency"],
            values["sold_amount"],
            values["bought_currency"],
            values["bought_amount"],
            author,
        )

    return await _book(request, wire_books.EXCHANGE, command)


@router.post("/positions:load", **_documented("position"))
async def load_position(request: Request) -> Response:
    """Begin a position with what was held before the first trade in it."""

    def command(values: dict[str, Any], author: str, today: str) -> AnyCommand:
        quantity, cost = cast(Decimal, values["quantity"]), cast(Decimal, values["average_cost"])
        day = values.get("trade_date", today)
        return LoadPosition(values["account_id"], values["symbol"], quantity, cost, day)

    return await _book(request, wire_books.POSITION, command)


@router.post("/fee-schedules", **_documented("schedule"))
async def set_schedule(request: Request) -> Response:
    """Bring in a client's commissions from a trade date on. A change is a schedule under a new id."""

    def command(values: dict[str, Any], author: str, today: str) -> AnyCommand:
        return SetFeeSchedule(wire_books.fee_schedule(values), author)

    return await _book(request, wire_books.SCHEDULE, command)


@router.put("/retention", **_documented("retention"))
async def set_retention(request: Request) -> Response:
    """Set for how many trading days trades stay open to a bust."""

    def command(values: dict[str, Any], author: str, today: str) -> AnyCommand:
        return SetRetention(values["days"], author)

    return await _book(request, wire_books.RETENTION, command)


async def _book(
    request: Request,
    fields: tuple[Field, ...],
    command: Callable[[dict[str, Any], str, str], AnyCommand],
) -> Response:
    """Read a message, have its command decided, answer when that is durable.

    What is about an account takes `books:write` for it, the rest `operations:write`.

    Args:
        command: makes it from the values, the author, and the trading date.
    """
    caller = Caller(request)
    about_account = any(field.name == "account_id" for field in fields)
    permission = Permission.BOOKS_WRITE if about_account else Permission.OPERATIONS_WRITE
    caller.require(permission)
    values = read_fields(await caller.json(), fields)
    if about_account:
        caller.require(permission, cast(str, values["account_id"]))
    platform, author = caller.platform, caller.identity.subject
    made = command(values, author, platform.state.trade_date)
    outcome = await platform.shard.offer(made, author, caller.correlation_id)
    for event in outcome.events:
        raise_refused(event)
    return answer(BookedView(bool(outcome.events), platform.durable.seq))
