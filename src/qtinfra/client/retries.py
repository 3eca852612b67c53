"""When a call is sent again: one conversation for both clients, without I/O, clock or randomness.

A call is sent again when that cannot do anything twice: it never left, the server refused it before anything
happened (429, 503), it changes nothing, or it carries an id by which the server knows it again: the same id
with the same content gets the first answer, so sending it again asks what became of it. When the attempts
end in doubt, the error says so instead of guessing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Generic, NoReturn, TypeVar

import msgspec

from qtinfra.client.errors import (
    Answer,
    ApiError,
    SubmissionUnknownError,
    TransportError,
    problem,
)

Result = TypeVar("Result")

#: Codes of 429 that are the answer to the order and not a request to wait.
FINAL_CODES = ("max_messages",)
#: Codes of 503 that say that nothing has happened; any other leaves it open.
NOTHING_HAPPENED = ("overloaded", "not_serving")
_NOT_ABOUT_THE_ORDER = (401, 403, 408, 429)


class Request(msgspec.Struct, frozen=True):
    """What goes out. `path` is below the base address; its parts are percent-encoded already."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Wait(msgspec.Struct, frozen=True):
    """Wait for so many seconds."""

    seconds: float


class NoAnswer(msgspec.Struct, frozen=True):
    """The connection failed. `sent` is False when nothing can have reached the server."""

    sent: bool
    reason: str


class Call(msgspec.Struct, Generic[Result], frozen=True):
    """One call of the API.

    Attributes:
        read: turns an answer of 2xx into the result; raises BadAnswerError.
        changes: whether it changes anything, so that its outcome can be in doubt.
        repeatable: whether sending it twice does what sending it once does.
        about: names the change when its outcome is unknown, such as the client order id.
    """

    request: Request
    read: Callable[[Answer], Result]
    changes: bool = False
    repeatable: bool = True
    about: tuple[tuple[str, str], ...] = ()


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often and how far apart a call is sent again.

    Attributes:
        attempts: how often it is sent at most; 1 never repeats.
        first_s: bound of the first pause, doubled for each one after.
        longest_s: bound of every pause that we choose.
        patience_s: a longer Retry-After than this ends the call with the server's answer.
    """

    attempts: int = 4
    first_s: float = 0.1
    longest_s: float = 2.0
    patience_s: float = 10.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be 1 or more, is {self.attempts}")
        for name in ("first_s", "longest_s", "patience_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, is {getattr(self, name)}")

    def pause_s(self, attempt: int, jitter: float, retry_after_s: float | None) -> float:
        """Seconds before the next attempt: drawn below an exponential bound, after what the server asks.

        Args:
            attempt: number of the attempt that has failed, from 1.
            jitter: a fraction from 0 to 1, so that many clients do not come back at once.
        """
        bound = min(self.longest_s, self.first_s * (1 << min(attempt - 1, 32)))
        return jitter * bound + (retry_after_s or 0.0)


def converse(
    call: Call[Result], policy: RetryPolicy, jitter: Callable[[], float]
) -> Generator[Request | Wait, Answer | NoAnswer | None, Result]:
    """Yield what to do next, take what came of it, return the result.

    Raises:
        ApiError: of the kind that fits; SubmissionUnknownError when a change may have happened.
    """
    doubt = False
    for attempt in range(1, policy.attempts + 1):
        found = yield call.request
        if isinstance(found, Answer) and 200 <= found.status < 300:
            return call.read(found)
        if isinstance(found, Answer):
            error = problem(found)
            unknown = _leaves_doubt(error)
        else:
            error, unknown = _no_answer(found)
        if call.changes and unknown:
            doubt = True
        if attempt == policy.attempts or not _again(call, error, unknown, policy):
            _give_up(call, error, doubt)
        yield Wait(policy.pause_s(attempt, jitter(), error.retry_after_s))
    raise ValueError("a policy has at least one attempt")


def _no_answer(found: NoAnswer | None) -> tuple[ApiError, bool]:
    reason = found.reason if found is not None else "nothing came back"
    return TransportError(f"no answer from the server: {reason}"), found is None or found.sent


def _leaves_doubt(error: ApiError) -> bool:
    """Whether the server itself does not say what happened."""
    if error.status == 503:
        return error.error_code not in NOTHING_HAPPENED
    return error.status == 408 or error.status >= 500


def _again(call: Call[Result], error: ApiError, unknown: bool, policy: RetryPolicy) -> bool:
    if error.retry_after_s is not None and error.retry_after_s > policy.patience_s:
        return False
    if unknown:
        return call.repeatable and error.status in (0, 408, 502, 503, 504)
    if error.status == 0:
        return True
    return error.status in (429, 503) and error.error_code not in FINAL_CODES


def _give_up(call: Call[Result], error: ApiError, doubt: bool) -> NoReturn:
    """Raise the error, or that the outcome is unknown when this answer does not settle an earlier doubt."""
    settled = 400 <= error.status < 500 and (
        error.status not in _NOT_ABOUT_THE_ORDER or error.error_code in FINAL_CODES
    )
    if not doubt or settled:
        raise error
    raise SubmissionUnknownError(
        f"it is not known whether the change happened: {error.message}",
        status=error.status,
        context={**error.context, **dict(call.about), "last_code": error.error_code},
        correlation_id=error.correlation_id,
    ) from error
