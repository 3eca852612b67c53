"""The service about itself: detailed health, version, metrics, development login."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from qtinfra import __version__
from qtinfra.api.deps import Caller, answer, gateway_of
from qtinfra.api.docs import answers, body, ref
from qtinfra.api.errors import refusal
from qtinfra.api.requests import header_map, read_json
from qtinfra.api.views import rfc3339
from qtinfra.bootstrap.serving import Platform
from qtinfra.core.security.permissions import Permission
from qtinfra.core.validation.fields import Field, id_field
from qtinfra.core.validation.wire import read_fields
from qtinfra.infra.security.login import DEV_LIFE_S

_SECOND_NS = 1_000_000_000
_LOGIN = (Field("user", id_field, required=True),)
_LOGIN_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["user"],
    "properties": {"user": {"type": "string", "minLength": 1, "maxLength": 64, "example": "trader"}},
}

router = APIRouter(tags=["Service"])


class VersionView(msgspec.Struct, frozen=True):
    """Which program answers."""

    name: str
    version: str


class DayView(msgspec.Struct, frozen=True):
    """The trading date, and what it does next.

    Attributes:
        open: whether it has begun and not ended.
        in_session: whether the market trades.
        next: DAY_CLOSE or DAY_OPEN, of `next_date` at `next_at`; null when the calendar ends.
    """

    trade_date: str
    open: bool
    in_session: bool
    next: str | None
    next_date: str | None
    next_at: str | None


class HealthView(msgspec.Struct, frozen=True):
    """How the parts of the service are.

    Attributes:
        status: "ok"; "degraded" while a venue is not connected or the projection is behind; "stopped" when
            the engine takes nothing any more.
        engine_seq, durable_seq, projected_seq: how far the state, the journal and the read tables are.
        waiting: commands that wait for the engine.
        alerts: how many of the latest alerts are kept.
    """

    status: str
    environment: str
    uptime_s: int
    epoch: int
    trade_date: str
    engine_seq: int
    durable_seq: int
    projected_seq: int
    waiting: int
    open_orders: int
    venues: dict[str, str]
    alerts: int
    day: DayView


class TokenView(msgspec.Struct, frozen=True):
    """An access token (RFC 6750). `expires_in` is in seconds."""

    access_token: str
    token_type: str
    expires_in: int


@router.get("/", include_in_schema=False)
async def root() -> Response:
    """Who comes with a browser is shown the description."""
    return RedirectResponse("/docs")


@router.get("/health/detailed", responses=answers(ref("HealthView")))
async def detailed(request: Request) -> Response:
    """How engine, journal, projection and venues are."""
    caller = Caller(request)
    caller.require(Permission.OPERATIONS_READ)
    platform = caller.platform
    state, behind = platform.state, platform.behind
    venues = {mic: state.venue_status[mic].value for mic in sorted(state.venue_status)}
    connected = all(state.connected(mic) for mic in state.venues)
    status = "ok" if connected and behind < 10_000 else "degraded"
    return answer(
        HealthView(
            "stopped" if platform.shard.stopped is not None else status,
            platform.settings.environment,
            (platform.clock.now_ns() - platform.started_ns) // _SECOND_NS,
            state.epoch,
            state.trade_date,
            state.seq,
            platform.durable.seq,
            platform.projection.progress.seq,
            platform.shard.waiting,
            len(state.open_orders),
            venues,
            len(platform.alerts),
            day_view(platform),
        )
    )


def day_view(platform: Platform) -> DayView:
    """The trading date now and its next step."""
    days, step = platform.days, platform.days.next()
    coming = (None, None, None) if step is None else (step.kind.value, step.trade_date, rfc3339(step.at_ns))
    return DayView(platform.state.trade_date, days.is_open, days.in_session, *coming)


@router.get("/version", responses=answers(ref("VersionView"), public=True), openapi_extra={"security": []})
async def version(request: Request) -> Response:
    """Which program answers."""
    del request
    return answer(VersionView("qtinfra", __version__))


_TEXT: dict[int | str, dict[str, Any]] = {
    200: {**answers({})[200], "description": "Prometheus text format.", "content": {"text/plain": {}}}
}


@router.get("/metrics", responses={**answers({}, public=True), **_TEXT}, openapi_extra={"security": []})
async def metrics(request: Request) -> Response:
    """Counters for Prometheus. Keep it from the public at the proxy."""
    text = gateway_of(request).metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.post(
    "/auth/token",
    responses=answers(ref("TokenView"), 403, 404, 413, 415, 422, public=True),
    openapi_extra={"security": [], **body(_LOGIN_SCHEMA)},
)
async def token(request: Request) -> Response:
    """A token for a seeded user of the development login; elsewhere there is no such endpoint."""
    platform = gateway_of(request).platform
    login = platform.login
    if login is None:
        raise refusal(404, "no_such_path", "tokens come from the identity provider")
    user = read_fields(await read_json(header_map(request.scope), request.receive), _LOGIN)["user"]
    found = login.token(str(user), platform.clock.now_ns() / _SECOND_NS)
    return answer(TokenView(found, "bearer", DEV_LIFE_S))
