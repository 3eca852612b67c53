"""What the framework's endpoints share: the platform, who calls, and answers as bytes."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.responses import Response

from qtinfra.api.gateway import Gateway
from qtinfra.api.middleware import CORRELATION
from qtinfra.api.requests import allow, header_map, identify, read_json, require, require_any
from qtinfra.api.views import encode
from qtinfra.bootstrap.serving import Platform
from qtinfra.core.security.identity import Identity
from qtinfra.core.security.permissions import Permission, scope
from qtinfra.repository.query import EVERYTHING, FieldSet, Query, Scope, parse_query

#: How long a read waits for the read tables to hold what was durable when it came, in seconds.
READ_WAIT_S = 5.0


class Caller:
    """An authenticated request, with its rate already spent."""

    def __init__(self, request: Request) -> None:
        gateway: Gateway = request.app.state.gateway
        self.request = request
        self.platform: Platform = gateway.platform
        self.identity: Identity = identify(self.platform, request.scope)
        allow(self.platform, self.identity)

    @property
    def correlation_id(self) -> str:
        found: str = self.request.scope[CORRELATION]
        return found

    def require(self, permission: Permission, account: str | None = None) -> None:
        """Refuse with 403 what the caller may not do, with the account or at all."""
        if account is None:
            require_any(self.identity, permission)
        else:
            require(self.identity, permission, account)

    def scope(self, permission: Permission) -> Scope:
        """Whose rows the caller may see."""
        self.require(permission)
        accounts = scope(self.identity, permission)
        return EVERYTHING if "*" in accounts else Scope(accounts)

    def query(self, fields: FieldSet) -> Query:
        """The request's filters, sort and page.

        Raises:
            QueryError: a parameter breaks a rule.
        """
        return parse_query(self.request.query_params.multi_items(), fields)

    async def json(self, *, required: bool = True) -> bytes:
        """The request's JSON body within the limit."""
        headers = header_map(self.request.scope)
        return await read_json(headers, self.request.receive, typed=required)

    async def reads_own_writes(self) -> None:
        """Wait until the read tables hold what was durable when the request came."""
        await self.platform.projection.reach(self.platform.durable.seq, READ_WAIT_S)

    async def durable(self) -> None:
        """Wait until what the state shows now is durable."""
        await self.platform.durable.wait(self.platform.state.seq)


def gateway_of(request: Request) -> Gateway:
    """The app's gateway."""
    found: Gateway = request.app.state.gateway
    return found


def answer(value: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(encode(value), status, media_type="application/json")
