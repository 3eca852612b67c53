"""What a call of the client can end with, apart from its result.

ApiError                       code, status, field errors, correlation id, retry_after_s
├── NotAuthenticatedError      401, 400 and 431 about the Authorization header
├── ForbiddenError             403
├── NotFoundError              404: unknown, or outside the token's accounts
├── ConflictError              409: another order has the id, or the state does not allow it
├── PreconditionError          412: the order has changed since that version
├── RefusedError               400, 413, 415, 422: a field, a business rule or a risk control says no
├── RateLimitedError           429
├── UnavailableError           503: refused before anything happened
├── ServerFailedError          other 5xx
├── BadAnswerError             an answer that is not of this API
├── TransportError             no answer at all; nothing was changed, or nothing was to be changed
└── SubmissionUnknownError     a change was sent and its outcome is not known: ask before anything else
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from qtinfra.core.exceptions import OutcomeUnknownError, QtInfraError

_SHOWN = 200


class FieldProblem(msgspec.Struct, frozen=True):
    """One thing that is wrong with a request, as the server names it."""

    field: str = ""
    rule: str = ""
    code: str = ""
    limit: str | int | None = None
    value: str | int | None = None
    message: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What the server sent. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ApiError(QtInfraError):
    """The server, or the way to it, refused.

    Attributes:
        status: of HTTP; 0 when there was no answer.
        errors: what is wrong field by field; may be empty.
        context: has `order_id` when the refused order exists as REJECTED, or another one has its id.
        retry_after_s: seconds after which the server suggests to come again.
    """

    code = "api_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int = 0,
        errors: tuple[FieldProblem, ...] = (),
        retry_after_s: float | None = None,
        context: Mapping[str, object] | None = None,
        correlation_id: str = "",
    ) -> None:
        super().__init__(message, code=code, context=context, correlation_id=correlation_id)
        self.status = status
        self.errors = errors
        self.retry_after_s = retry_after_s

    def to_json(self) -> dict[str, object]:
        """The common form of an error, with `status` and `errors`."""
        found = [msgspec.structs.asdict(error) for error in self.errors]
        return {**super().to_json(), "status": self.status, "errors": found}


class NotAuthenticatedError(ApiError):
    code = "not_authenticated"


class ForbiddenError(ApiError):
    code = "not_permitted"


class NotFoundError(ApiError):
    code = "not_found"


class ConflictError(ApiError):
    code = "conflict"


class PreconditionError(ApiError):
    code = "precondition_failed"


class RefusedError(ApiError):
    code = "refused"


class RateLimitedError(ApiError):
    code = "rate_limited"
    retryable = True


class UnavailableError(ApiError):
    code = "unavailable"
    retryable = True


class ServerFailedError(ApiError):
    code = "server_failed"


class BadAnswerError(ApiError):
    code = "bad_answer"


class TransportError(ApiError):
    code = "no_answer"
    retryable = True


class SubmissionUnknownError(ApiError, OutcomeUnknownError):
    """The change may or may not have happened. `context` has the client order id to ask with."""

    code = "submission_unknown"
    retryable = False


class _Problem(msgspec.Struct, frozen=True):
    """The members of a problem document (RFC 9457) that are read."""

    title: str = ""
    detail: str = ""
    code: str = ""
    correlation_id: str = ""
    order_id: str = ""
    errors: tuple[FieldProblem, ...] = ()


_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: RefusedError,
    401: NotAuthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    412: PreconditionError,
    413: RefusedError,
    415: RefusedError,
    422: RefusedError,
    429: RateLimitedError,
    431: NotAuthenticatedError,
    503: UnavailableError,
}
_ABOUT_THE_HEADER = "ambiguous_authorization"


def problem(answer: Answer) -> ApiError:
    """The error that an answer other than 2xx means."""
    kind = _BY_STATUS.get(answer.status)
    if kind is None:
        kind = ServerFailedError if answer.status >= 500 else BadAnswerError
    try:
        said = msgspec.json.decode(answer.body, type=_Problem, strict=False)
    except (msgspec.DecodeError, RecursionError):
        said = _Problem(detail=answer.body[:_SHOWN].decode("utf-8", "replace"))
    if said.code == _ABOUT_THE_HEADER:
        kind = NotAuthenticatedError
    return kind(
        said.detail or said.title or f"the server answered {answer.status}",
        code=said.code or None,
        status=answer.status,
        errors=said.errors,
        retry_after_s=_seconds(answer.headers.get("retry-after", "")),
        context={"order_id": said.order_id} if said.order_id else None,
        correlation_id=said.correlation_id or answer.headers.get("x-correlation-id", ""),
    )


def bad_answer(answer: Answer, why: str) -> BadAnswerError:
    """An answer of the right status that cannot be read."""
    return BadAnswerError(
        f"the server's answer cannot be read: {why}",
        status=answer.status,
        correlation_id=answer.headers.get("x-correlation-id", ""),
    )


def _seconds(text: str) -> float | None:
    """A Retry-After header in seconds; one that gives a date is left aside."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
