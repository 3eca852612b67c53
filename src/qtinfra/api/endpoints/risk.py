"""Risk: limits, kill switches, and locates for short sales."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import islice
from typing import cast

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from qtinfra.api.deps import Caller, answer
from qtinfra.api.docs import answers, body, ref
from qtinfra.api.replies import raise_refused
from qtinfra.core.commands import AnyCommand, EngageKillSwitch, GrantLocate, ReleaseKillSwitch, SetLimit
from qtinfra.core.decimals import canonical
from qtinfra.core.events import AnyEvent, CancelRequested, OrderCancelled
from qtinfra.core.extended_models import ANY, KillScope, LimitRule, Locate
from qtinfra.core.security.permissions import Permission
from qtinfra.core.validation.fields import (
    Field,
    date_field,
    enum_field,
    id_field,
    number_field,
    symbol_field,
    text_field,
)
from qtinfra.core.validation.wire import read_fields

#: Locates that one answer shows.
MAX_LOCATES = 1_000

_LIMIT = (
    Field("rule", enum_field(LimitRule), required=True),
    Field("value", number_field(zero=True), required=True),
    Field("account_id", id_field),
    Field("symbol", symbol_field),
    Field("reason", text_field),
)
_KILL = (
    Field("scope", enum_field(KillScope), required=True),
    Field("value", id_field),
    Field("reason", text_field),
)
_LOCATE = (
    Field("locate_id", id_field, required=True),
    Field("account_id", id_field, required=True),
    Field("symbol", symbol_field, required=True),
    Field("quantity", number_field(), required=True),
    Field("source", id_field),
    Field("trade_date", date_field),
)
_TEXT = {"type": "string", "maxLength": 256}
_ID = {"type": "string", "minLength": 1, "maxLength": 64}
_LIMIT_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["rule", "value"],
    "properties": {
        "rule": {"enum": [rule.value for rule in LimitRule]},
        "value": {"type": "string", "example": "5000"},
        "account_id": {**_ID, "description": "Left out: everybody."},
        "symbol": {"type": "string", "pattern": r"^[A-Z0-9.\-/]{1,24}$"},
        "reason": _TEXT,
    },
}
_LOCATE_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["locate_id", "account_id", "symbol", "quantity"],
    "properties": {
        "locate_id": {**_ID, "description": "Never used before; short sales name it."},
        "account_id": _ID,
        "symbol": {"type": "string", "pattern": r"^[A-Z0-9.\-/]{1,24}$"},
        "quantity": {"type": "string", "example": "5000", "description": "Units that may be borrowed."},
        "source": {**_ID, "description": "Who lends."},
        "trade_date": {
            "type": "string",
            "format": "date",
            "description": "The only day it is good for; any day without one.",
        },
    },
}
_KILL_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["scope"],
    "properties": {
        "scope": {"enum": [scope.value for scope in KillScope]},
        "value": {**_ID, "description": "Which; nothing for FIRM."},
        "reason": _TEXT,
    },
}

router = APIRouter(prefix="/risk", tags=["Risk"])


class LimitView(msgspec.Struct, frozen=True):
    """One limit. `*` stands for every account or symbol; `version` counts its changes."""

    rule: str
    account_id: str
    symbol: str
    value: Decimal
    version: int
    author: str
    reason: str


class LimitsView(msgspec.Struct, frozen=True):
    """The limits that the caller may see."""

    items: list[LimitView]


class KillSwitchView(msgspec.Struct, frozen=True):
    """An engaged kill switch."""

    scope: str
    value: str
    reason: str


class KillSwitchesView(msgspec.Struct, frozen=True):
    """All engaged kill switches."""

    items: list[KillSwitchView]


class KillOutcome(msgspec.Struct, frozen=True):
    """What engaging or releasing led to: orders that are over, and orders whose venues were asked."""

    scope: str
    value: str
    engaged: bool
    cancelled: list[str]
    requested: list[str]


class LocateView(msgspec.Struct, frozen=True):
    """Shares located for short sales of one account; `left` is what no short sale has taken."""

    locate_id: str
    account_id: str
    symbol: str
    quantity: Decimal
    left: Decimal
    source: str
    trade_date: str


class LocatesView(msgspec.Struct, frozen=True):
    """The locates of the caller's accounts."""

    items: list[LocateView]


@router.get("/limits", responses=answers(ref("LimitsView")))
async def limits(request: Request) -> Response:
    """Limits of the caller's accounts and of everybody."""
    caller = Caller(request)
    scope = caller.scope(Permission.RISK_READ)
    state = caller.platform.state
    items = []
    for rule, by_account in state.limits.items():
        for account, by_symbol in by_account.items():
            if account != ANY and not scope.covers(account):
                continue
            for symbol, value in by_symbol.items():
                known = state.risk.limit_versions.get(f"{rule}|{account}|{symbol}")
                version = (known.version, known.author, known.reason) if known is not None else (0, "", "")
                items.append(LimitView(rule, account, symbol, value, *version))
    view = LimitsView(items)
    await caller.durable()
    return answer(view)


@router.put(
    "/limits",
    responses=answers(ref("LimitView"), 413, 415, 422, 500, text="The limit counts."),
    openapi_extra=body(_LIMIT_SCHEMA),
)
async def set_limit(request: Request) -> Response:
    """Set one limit, for an account or everybody, for a symbol or all."""
    caller = Caller(request)
    caller.require(Permission.RISK_WRITE)
    values = read_fields(await caller.json(), _LIMIT)
    account, symbol = cast(str, values.get("account_id", ANY)), cast(str, values.get("symbol", ANY))
    caller.require(Permission.RISK_WRITE, account)
    rule, value = cast(LimitRule, values["rule"]), cast(Decimal, values["value"])
    reason = cast(str, values.get("reason", ""))
    author = caller.identity.subject
    await _decided(caller, SetLimit(rule, value, account, symbol, author, reason))
    known = caller.platform.state.risk.limit_versions.get(f"{rule.value}|{account}|{symbol}")
    version = known.version if known is not None else 0
    return answer(LimitView(rule, account, symbol, value, version, author, reason))


@router.get("/kill-switches", responses=answers(ref("KillSwitchesView")))
async def kill_switches(request: Request) -> Response:
    """Every engaged kill switch."""
    caller = Caller(request)
    scope = caller.scope(Permission.RISK_READ)
    items = []
    for key, reason in caller.platform.state.kills.items():
        kind, _, value = key.partition(":")
        if kind != KillScope.ACCOUNT or scope.covers(value):
            items.append(KillSwitchView(kind, value, reason))
    await caller.durable()
    return answer(KillSwitchesView(items))


@router.post(
    "/kill-switches",
    responses=answers(ref("KillOutcome"), 413, 415, 422, 500, text="Engaged."),
    openapi_extra=body(_KILL_SCHEMA),
)
async def engage(request: Request) -> Response:
    """Engage a kill switch: refuse new flow in a scope at once and cancel what is open in it."""
    return await _switch(request, True)


@router.post(
    "/kill-switches:release",
    responses=answers(ref("KillOutcome"), 413, 415, 422, 500, text="Released."),
    openapi_extra=body(_KILL_SCHEMA),
)
async def release(request: Request) -> Response:
    """Release a kill switch: let new flow through again; cancelled orders stay cancelled."""
    return await _switch(request, False)


@router.get("/locates", responses=answers(ref("LocatesView")))
async def locates(request: Request) -> Response:
    """Locates of the caller's accounts and what is left of them, the newest 1,000."""
    caller = Caller(request)
    scope = caller.scope(Permission.RISK_READ)
    seen = (
        LocateView(name, use.account, use.symbol, use.qty, canonical(use.left), use.source, use.trade_date)
        for name, use in reversed(caller.platform.state.risk.locates.items())
        if scope.covers(use.account)
    )
    view = LocatesView(list(islice(seen, MAX_LOCATES)))
    await caller.durable()
    return answer(view)


@router.post(
    "/locates",
    status_code=201,
    responses=answers(ref("LocateView"), 413, 415, 422, 500, status=201, text="Short sales may name it."),
    openapi_extra=body(_LOCATE_SCHEMA),
)
async def grant_locate(request: Request) -> Response:
    """Grant shares located for short sales of one account (17 CFR 242.203(b)(1))."""
    caller = Caller(request)
    caller.require(Permission.RISK_WRITE)
    values = read_fields(await caller.json(), _LOCATE)
    account = cast(str, values["account_id"])
    caller.require(Permission.RISK_WRITE, account)
    locate_id, symbol = cast(str, values["locate_id"]), cast(str, values["symbol"])
    source, day = cast(str, values.get("source", "")), cast(str, values.get("trade_date", ""))
    quantity = cast(Decimal, values["quantity"])
    await _decided(caller, GrantLocate(Locate(locate_id, account, symbol, quantity, source, day)))
    return answer(LocateView(locate_id, account, symbol, quantity, quantity, source, day), 201)


async def _switch(request: Request, engaged: bool) -> Response:
    caller = Caller(request)
    caller.require(Permission.KILL_WRITE)
    values = read_fields(await caller.json(), _KILL)
    scope, value = cast(KillScope, values["scope"]), cast(str, values.get("value", ""))
    caller.require(Permission.KILL_WRITE, value if scope is KillScope.ACCOUNT and value else ANY)
    kind = EngageKillSwitch if engaged else ReleaseKillSwitch
    events = await _decided(caller, kind(scope, value, cast(str, values.get("reason", ""))))
    cancelled = [event.order_id for event in events if isinstance(event, OrderCancelled)]
    requested = [event.order_id for event in events if isinstance(event, CancelRequested)]
    return answer(KillOutcome(scope, value, engaged, cancelled, requested))


async def _decided(caller: Caller, command: AnyCommand) -> Sequence[AnyEvent]:
    """Have a command decided; its events when they are durable.

    Raises:
        Problem: it was refused.
    """
    shard, who = caller.platform.shard, caller.identity.subject
    outcome = await shard.offer(command, who, caller.correlation_id)
    for event in outcome.events:
        raise_refused(event)
    return outcome.events
