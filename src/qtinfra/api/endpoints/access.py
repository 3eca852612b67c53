"""Access: tokens that end before their time."""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from qtinfra.api.deps import Caller, answer
from qtinfra.api.docs import answers, body, ref
from qtinfra.api.errors import refusal
from qtinfra.api.views import rfc3339
from qtinfra.core.security.permissions import Permission
from qtinfra.core.validation.errors import FieldError
from qtinfra.core.validation.fields import Field, length_error, string_field, text_field
from qtinfra.core.validation.wire import read_fields
from qtinfra.core.validation.wire_algo import TIME_PATTERN, time_field
from qtinfra.infra.security.tokens import MAX_LEEWAY_S, MAX_LIFE_S
from qtinfra.repository.revocations import Kind, Revocation, apply

#: Revocations that one answer shows.
MAX_SHOWN = 1_000
#: A token id or subject has no more characters.
NAME_LENGTH = 128
#: How far ahead of our clock a moment may lie.
AHEAD_S = MAX_LEEWAY_S

_SECOND_NS = 1_000_000_000
_NAME = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH}
_MOMENT = {"type": "string", "pattern": f"^{TIME_PATTERN}$", "example": "2026-07-08T20:00:00Z"}


def _name_error(field: str, value: str) -> FieldError | None:
    return length_error(field, value, NAME_LENGTH, 1)


_REVOKE = (
    Field("token_id", string_field(_name_error)),
    Field("subject", string_field(_name_error)),
    Field("expires_at", time_field),
    Field("issued_before", time_field),
    Field("reason", text_field),
)
_REVOKE_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "token_id": {**_NAME, "description": "`jti` of one token. Either this or `subject`."},
        "subject": {**_NAME, "description": "`sub` of all tokens that were issued before a moment."},
        "expires_at": {
            **_MOMENT,
            "description": "With `token_id`: when the token ends anyway; left out: the longest life.",
        },
        "issued_before": {**_MOMENT, "description": "With `subject`: the moment; now when left out."},
        "reason": {"type": "string", "maxLength": 256},
    },
}

router = APIRouter(prefix="/admin", tags=["Access"])


class RevocationView(msgspec.Struct, frozen=True):
    """A revocation in force: of one token, or of a subject's tokens that were issued before a moment.

    Attributes:
        expires_at: when what it names has ended, and the entry is dropped.
    """

    token_id: str | None
    subject: str | None
    issued_before: str | None
    expires_at: str
    revoked_at: str
    author: str
    reason: str


class RevocationsView(msgspec.Struct, frozen=True):
    """The newest revocations in force."""

    items: list[RevocationView]


@router.post(
    "/tokens:revoke",
    responses=answers(ref("RevocationView"), 413, 415, 422, text="In force and durable."),
    openapi_extra=body(_REVOKE_SCHEMA),
)
async def revoke(request: Request) -> Response:
    """Refuse a token, or all that a subject has, from the next request on."""
    caller = Caller(request)
    caller.require(Permission.ADMIN)
    values = read_fields(await caller.json(), _REVOKE, one_of=("token_id", "subject"))
    platform, now_s = caller.platform, caller.platform.clock.now_ns() / _SECOND_NS
    made = _revocation(values, int(now_s), caller.identity.subject)
    await asyncio.to_thread(platform.revoked.keep, made)
    apply(made, platform.verifier.revocations, now_s)
    return answer(_view(made))


@router.get("/tokens:revoked", responses=answers(ref("RevocationsView")))
async def revoked(request: Request) -> Response:
    """The newest 1,000 revocations in force."""
    caller = Caller(request)
    caller.require(Permission.ADMIN)
    platform = caller.platform
    now_s = platform.clock.now_ns() / _SECOND_NS
    found = await asyncio.to_thread(platform.revoked.newest, MAX_SHOWN, now_s)
    return answer(RevocationsView([_view(item) for item in found]))


def _revocation(values: dict[str, object], now_s: int, author: str) -> Revocation:
    """What a request asks for.

    Raises:
        Problem: 422 `not_allowed_with` or `number_out_of_range`.
    """
    subject, reason = values.get("subject"), cast(str, values.get("reason", ""))
    other = next((n for n in ("token_id", "expires_at") if subject is not None and n in values), "")
    if subject is None and "issued_before" in values:
        other = "issued_before"
    if other:
        with_what = "subject" if subject is not None else "token_id"
        raise refusal(422, "not_allowed_with", f"{other} does not go with {with_what}", field=other)
    if subject is None:
        latest_s = now_s + MAX_LIFE_S + AHEAD_S
        ends_s = _seconds(values.get("expires_at")) or latest_s
        name = cast(str, values["token_id"])
        return Revocation(Kind.JTI, name, 0, min(ends_s + AHEAD_S, latest_s), now_s, author, reason)
    before_s = _seconds(values.get("issued_before")) or now_s + 1
    if before_s > now_s + AHEAD_S:
        text = "issued_before must not lie in the future"
        raise refusal(422, "number_out_of_range", text, field="issued_before", limit=_text(now_s + AHEAD_S))
    ends_s = before_s + MAX_LIFE_S + AHEAD_S
    return Revocation(Kind.SUBJECT, cast(str, subject), before_s, ends_s, now_s, author, reason)


def _seconds(moment_ns: object) -> int:
    """A moment's second, the next one for a part of it; 0 for none."""
    return -(-cast(int, moment_ns) // _SECOND_NS) if moment_ns is not None else 0


def _text(moment_s: int) -> str:
    return rfc3339(moment_s * _SECOND_NS)


def _view(item: Revocation) -> RevocationView:
    token = item.kind is Kind.JTI
    return RevocationView(
        item.name if token else None,
        None if token else item.name,
        None if token else _text(item.moment_s),
        _text(item.ends_s),
        _text(item.at_s),
        item.author,
        item.reason,
    )
