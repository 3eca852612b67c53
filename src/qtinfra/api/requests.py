"""A request on the short path: what the headers say, who sends it, and its body within bounds."""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from typing import Any

from qtinfra.api.errors import Problem, refusal
from qtinfra.bootstrap.serving import Platform
from qtinfra.core.security.identity import Identity
from qtinfra.core.security.permissions import Permission, holds, may
from qtinfra.core.validation.errors import MessageRefused
from qtinfra.core.validation.wire import MAX_BODY_BYTES, check_envelope
from qtinfra.infra.security.tokens import single_authorization

Scope = MutableMapping[str, Any]

_SECOND_NS = 1_000_000_000
_JSON_TYPE = re.compile(rb'application/json(?:\s*;\s*charset="?utf-8"?)?\s*', re.IGNORECASE)
#: Headers that must stand once: two of them would leave it open which one counts.
ONCE = (b"content-type", b"content-length", b"idempotency-key", b"if-match", b"x-correlation-id")


def header_map(scope: Scope) -> dict[bytes, bytes]:
    """The headers by lower-case name.

    Raises:
        Problem: 400 `duplicate_header`.
    """
    return named_once(scope["headers"])


def named_once(raw: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by lower-case name.

    Raises:
        Problem: 400 `duplicate_header`.
    """
    found = dict(raw)
    if len(found) != len(raw):
        names = [name for name, _ in raw]
        for name in ONCE:
            if names.count(name) > 1:
                text = name.decode()
                raise refusal(400, "duplicate_header", f"{text} must stand once", field=text, limit="1")
    return found


def identify(platform: Platform, scope: Scope) -> Identity:
    """Who sends the request.

    Raises:
        AuthenticationError: the token is missing or not good.
    """
    return verified(platform, single_authorization(scope["headers"]), platform.clock.now_ns())


def bearer(
    platform: Platform, raw: Sequence[tuple[bytes, bytes]], headers: dict[bytes, bytes], now_ns: int
) -> Identity:
    """Who sends a request with these headers, names in lower case; `headers` are `raw` by name.

    Raises:
        AuthenticationError: the token is missing or not good.
    """
    one_each = len(headers) == len(raw)
    return verified(
        platform, headers.get(b"authorization") if one_each else single_authorization(raw), now_ns
    )


def verified(platform: Platform, authorization: bytes | None, now_ns: int) -> Identity:
    """Who holds the token of an Authorization header.

    Raises:
        AuthenticationError: it is missing or not good.
    """
    return platform.verifier.verify(authorization, now_ns / _SECOND_NS)


def allow(platform: Platform, identity: Identity, cost: int = 1, now_ns: int | None = None) -> None:
    """Spend from the identity's rate.

    Args:
        now_ns: the clock's answer, where it was just asked.

    Raises:
        Problem: 429 `rate_limited`.
    """
    wait_s = platform.limiter.take(
        identity.subject, cost, platform.clock.now_ns() if now_ns is None else now_ns
    )
    if wait_s is not None:
        limit = str(platform.settings.rate_limit)
        text = f"more than {limit} requests and orders in a second"
        raise refusal(429, "rate_limited", text, limit=limit, retry_after_s=wait_s)


def require(identity: Identity, permission: Permission, account: str) -> None:
    """Refuse what the identity may not do with the account.

    Raises:
        Problem: 403 `forbidden`, whether or not the account exists.
    """
    if not may(identity, permission, account):
        raise forbidden(permission, "for this account")


def require_any(identity: Identity, permission: Permission) -> None:
    """Refuse an identity of which no role holds the permission.

    Raises:
        Problem: 403 `forbidden`.
    """
    if not holds(identity, permission):
        raise forbidden(permission)


def forbidden(permission: Permission, where: str = "") -> Problem:
    """What the token does not grant, at all or `where`."""
    text = f"the token does not grant {permission.value} {where}".rstrip()
    return refusal(403, "forbidden", text, field="permission", limit=permission.value)


def own_account(identity: Identity) -> str | None:
    """The account that stands in when a message names none: the caller's only one."""
    accounts = identity.accounts
    return accounts[0] if len(accounts) == 1 and accounts[0] != "*" else None


def require_plain(headers: dict[bytes, bytes], *, typed: bool = True) -> None:
    """Refuse a body that is not plain JSON by what its headers say.

    Raises:
        Problem: 415 for another content type or any content encoding.
    """
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in (b"", b"identity"):
        text = "compressed requests are not read"
        raise refusal(415, "content_encoding", text, field="content-encoding", limit="identity", close=True)
    if typed and _JSON_TYPE.fullmatch(headers.get(b"content-type", b"")) is None:
        text = "the body must be application/json in UTF-8"
        raise refusal(415, "content_type", text, field="content-type", limit="application/json", close=True)


def whole_json(headers: dict[bytes, bytes], body: bytes) -> bytes:
    """A body that has arrived whole, as `read_json` gives it.

    Raises:
        Problem: as `read_json`.
    """
    if headers.get(b"content-type") != b"application/json" or b"content-encoding" in headers:
        require_plain(headers)
    if len(body) > MAX_BODY_BYTES:
        raise _too_large(body, MAX_BODY_BYTES)
    return body


async def read_json(
    headers: dict[bytes, bytes], receive: Any, limit: int = MAX_BODY_BYTES, *, typed: bool = True
) -> bytes:
    """The body of a request that must be plain JSON, read no further than its limit.

    Raises:
        Problem: 415 for another content type or any content encoding; 413 above the limit.
    """
    require_plain(headers, typed=typed)
    return await _read(receive, limit)


async def _read(receive: Any, limit: int) -> bytes:
    """All of a body, or no more than passes the limit.

    Raises:
        Problem: 413; 400 `incomplete_body` when the client has gone.
    """
    parts: list[bytes] = []
    size, more = 0, True
    while more and size <= limit:
        message = await receive()
        if message["type"] != "http.request":
            raise refusal(400, "incomplete_body", "the body ended early", close=True)
        part: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(part)
        if not parts and not more and size <= limit:
            return part
        parts.append(part)
    body = b"".join(parts)
    if size > limit:
        raise _too_large(body, limit)
    return body


def _too_large(start: bytes, limit: int) -> Problem:
    if limit == MAX_BODY_BYTES:
        try:
            check_envelope(start[: limit + 1])
        except MessageRefused as refused:
            if refused.error_code == "nesting_depth":
                text = refused.message
                return refusal(400, "nesting_depth", text, limit=refused.errors[0].limit, close=True)
    text = f"the body must not be longer than {limit} bytes"
    return refusal(413, "body_too_large", text, limit=str(limit), value=f"over {limit}", close=True)
