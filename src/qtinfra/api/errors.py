"""What a client is told when something is wrong: RFC 9457 problem details with our stable codes.

    {"type": "urn:qtinfra:error:tick_size", "title": "...", "status": 422, "code": "tick_size",
     "detail": "...", "severity": "INFO", "retryable": false, "correlation_id": "...", "errors": [...]}

`errors` names what was wrong: field, code, limit, value and message. Nothing of our inside is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import msgspec

from qtinfra.core.exceptions import (
    AuthenticationError,
    DatabaseError,
    DuplicateOrderError,
    ExternalServiceError,
    OrderError,
    OrderNotFoundError,
    OrderStateError,
    OrderValidationError,
    OutcomeUnknownError,
    OverloadedError,
    QtInfraError,
    Severity,
    TimeoutError,
    UnauthorizedAccessError,
)
from qtinfra.core.validation.errors import FieldError, MessageRefused
from qtinfra.infra.security.tokens import STATUS as TOKEN_STATUS
from qtinfra.repository.query import QueryError

PROBLEM_JSON = b"application/problem+json"
#: Seconds after which a request that met an overload may come again.
RETRY_AFTER_S = 1

_TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    412: "Precondition failed",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Refused",
    429: "Too many requests",
    431: "Header too large",
    500: "Internal error",
    503: "Not available now",
}
_STATUS: tuple[tuple[type[QtInfraError], int], ...] = (
    (OverloadedError, 503),
    (AuthenticationError, 401),
    (UnauthorizedAccessError, 403),
    (OrderNotFoundError, 404),
    (DuplicateOrderError, 409),
    (OrderStateError, 409),
    (OrderValidationError, 422),
    (QueryError, 422),
    (OrderError, 422),
    (TimeoutError, 503),
    (DatabaseError, 503),
    (ExternalServiceError, 503),
)
_NOT_NOW = "the service cannot answer this now"
_UNKNOWN = "the engine stopped before it was known: send the same request again after its restart"
_encode = msgspec.json.Encoder().encode


class Wrong(msgspec.Struct, frozen=True):
    """One thing that is wrong, as an answer names it."""

    field: str
    code: str
    limit: str
    value: str
    message: str


class Problem(Exception):
    """An answer that is a refusal.

    Attributes:
        code: stable, machine-readable.
        retry_after_s: seconds after which the same request may pass; None when it never will by waiting.
        order_id: the order that exists as REJECTED, if one does.
        close: the connection ends with this answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[Wrong] = (),
        severity: Severity = Severity.INFO,
        retryable: bool = False,
        retry_after_s: float | None = None,
        order_id: str = "",
        close: bool = False,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.severity = severity
        self.retryable = retryable or retry_after_s is not None
        self.retry_after_s = retry_after_s
        self.order_id = order_id
        self.close = close

    def to_json(self, correlation_id: str) -> dict[str, Any]:
        """The members of the problem document."""
        found: dict[str, Any] = {
            "type": f"urn:qtinfra:error:{self.code}",
            "title": _TITLES.get(self.status, "Error"),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "severity": self.severity.value,
            "retryable": self.retryable,
            "correlation_id": correlation_id,
            "errors": self.errors,
        }
        if self.order_id:
            found["order_id"] = self.order_id
        return found

    def body(self, correlation_id: str) -> bytes:
        """The problem document."""
        return _encode(self.to_json(correlation_id))

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that go with it."""
        found = [(b"content-type", PROBLEM_JSON)]
        if self.retry_after_s is not None:
            found.append((b"retry-after", b"%d" % max(1, ceil(self.retry_after_s))))
        if self.status in (401,):
            found.append((b"www-authenticate", b"Bearer"))
        if self.order_id:
            found.append((b"location", f"/orders/{self.order_id}".encode()))
        if self.close:
            found.append((b"connection", b"close"))
        return found


def internal_error() -> Problem:
    """The answer to a fault of ours: nothing of our inside."""
    text = "a fault of ours stopped this request; quote the correlation id"
    return Problem(500, "internal_error", text, severity=Severity.CRITICAL)


def problem_of(error: QtInfraError) -> Problem:
    """The answer to one of our errors."""
    if isinstance(error, MessageRefused):
        return Problem(
            error.http_status,
            error.error_code,
            error.message,
            errors=[_field_error(item) for item in error.errors],
            close=error.http_status == 413,
        )
    status = _status(error)
    told = error.message if status < 500 or isinstance(error, OverloadedError) else _NOT_NOW
    if isinstance(error, OutcomeUnknownError):
        told = _UNKNOWN
    return Problem(
        status,
        error.error_code,
        told,
        errors=_named(error.error_code, told, error.context),
        severity=type(error).severity,
        retryable=type(error).retryable,
        retry_after_s=RETRY_AFTER_S if status == 503 else None,
    )


def _status(error: QtInfraError) -> int:
    code = error.error_code
    if code in TOKEN_STATUS and isinstance(error, AuthenticationError):
        return TOKEN_STATUS[code]
    if code == "bad_cursor":
        return 400
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def _field_error(item: FieldError) -> Wrong:
    return Wrong(item.field, item.code, item.limit, item.value, item.message)


def _named(code: str, message: str, context: Mapping[str, object]) -> list[Wrong]:
    """The one thing that an error's context names, if it names a field."""
    if "field" not in context:
        return []
    limit, value = context.get("limit", context.get("rule", "")), context.get("value", "")
    return [Wrong(str(context["field"]), code, str(limit), str(value), message)]


def refusal(
    status: int, code: str, detail: str, *, field: str = "", limit: str = "", value: str = "", **more: Any
) -> Problem:
    """A problem that names one field, rule, limit and value."""
    return Problem(status, code, detail, errors=[Wrong(field, code, limit, value, detail)], **more)
