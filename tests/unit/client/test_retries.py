"""When the client sends a call again, when it does not, and what it says when it does not know."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.client import (
    ApiError,
    BadAnswerError,
    Client,
    ConflictError,
    NotAuthenticatedError,
    Order,
    RateLimitedError,
    RefusedError,
    RetryPolicy,
    ServerFailedError,
    SubmissionUnknownError,
    TransportError,
    UnavailableError,
)
from qtinfra.core.exceptions import OutcomeUnknownError
from qtinfra.core.models import OrderStatus

pytestmark = pytest.mark.unit

ORDER = {
    "id": "o-1",
    "status": "ROUTED",
    "symbol": "AAPL",
    "side": "BUY",
    "quantity": "1000.0",
    "price": "150.25",
    "order_type": "LIMIT",
    "created_at": "2024-01-15T10:30:00Z",
}
OVERLOADED = (503, {"code": "overloaded", "detail": "full"}, {"retry-after": "1"})
UNKNOWN = (503, {"code": "outcome_unknown", "detail": "stopped"}, {"retry-after": "1"})
LIMITED = (429, {"code": "rate_limited", "detail": "slow down"}, {"retry-after": "2"})
Scripted = tuple[int, dict[str, Any], dict[str, str]] | Exception
GOOD: Scripted = (201, ORDER, {})


class Script:
    """A server that answers as written, one entry a request, and keeps what it was sent."""

    def __init__(self, *entries: Scripted) -> None:
        self.entries = list(entries)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        entry = self.entries.pop(0)
        if isinstance(entry, Exception):
            raise entry
        status, body, headers = entry
        return httpx.Response(status, json=body, headers=headers)

    def client(self, policy: RetryPolicy | None = None) -> Client:
        return Client(
            "http://desk.invalid",
            "t0ken",
            policy=policy,
            transport=httpx.MockTransport(self),
            new_id=lambda: "c-7",
            pause=self.pauses.append,
            jitter=lambda: 0.5,
        )


def submit(client: Client) -> object:
    return client.submit("AAPL", "BUY", 1000, price="150.25")


def replace(client: Client) -> object:
    return client.replace("o-1", quantity=5)


def replace_version(client: Client) -> object:
    return client.replace("o-1", quantity=5, version=3)


def cancel_version(client: Client) -> object:
    return client.cancel("o-1", version=3)


def release(client: Client) -> object:
    return client.release("FIRM")


def cancel(client: Client) -> object:
    return client.cancel("o-1")


def get(client: Client) -> object:
    return client.get("o-1")


Act = Callable[[Client], object]
LOST = httpx.ReadTimeout("no answer in time")
CUT = httpx.RemoteProtocolError("closed")
NEVER_LEFT = httpx.ConnectError("refused")


def outcome(act: Act, *entries: Scripted, policy: RetryPolicy | None = None) -> tuple[object, Script]:
    """What the call ends with, an error included, and the server's record."""
    script = Script(*entries)
    with script.client(policy) as client:
        try:
            return act(client), script
        except ApiError as error:
            return error, script


@pytest.mark.parametrize(
    "trouble", [OVERLOADED, UNKNOWN, LIMITED, LOST, CUT, NEVER_LEFT, (502, {}, {}), (504, {}, {})]
)
@pytest.mark.parametrize("act", [submit, replace, cancel, get])
def test_what_cannot_happen_twice_is_sent_again_as_it_was(act: Act, trouble: Scripted) -> None:
    found, script = outcome(act, trouble, GOOD)
    assert not isinstance(found, ApiError)
    first, second = script.requests
    assert (first.method, first.url, first.content) == (second.method, second.url, second.content)
    ids = [request.headers["x-correlation-id"] for request in script.requests]
    assert ids[0] == ids[1]
    assert first.headers.get("idempotency-key") == second.headers.get("idempotency-key")


def test_a_new_order_is_sent_again_under_the_same_client_order_id() -> None:
    _, script = outcome(submit, LOST, UNKNOWN, (200, ORDER, {}))
    assert [json.loads(request.content)["client_order_id"] for request in script.requests] == ["c-7"] * 3


def test_a_cancel_carries_a_key_by_which_the_server_knows_it_again() -> None:
    _, script = outcome(cancel, LOST, GOOD)
    assert [request.headers["idempotency-key"] for request in script.requests] == ["c-7"] * 2


@pytest.mark.parametrize("trouble", [OVERLOADED, LIMITED, NEVER_LEFT])
@pytest.mark.parametrize("act", [replace_version, cancel_version])
def test_a_change_of_one_version_is_sent_again_when_nothing_can_have_happened(
    act: Act, trouble: Scripted
) -> None:
    found, script = outcome(act, trouble, GOOD)
    assert not isinstance(found, ApiError) and len(script.requests) == 2


@pytest.mark.parametrize(
    "trouble", [UNKNOWN, LOST, CUT, (500, {}, {}), (502, {}, {}), (504, {}, {}), (503, {}, {})]
)
@pytest.mark.parametrize("act", [replace_version, cancel_version, release])
def test_a_change_in_doubt_that_has_no_id_of_its_own_is_not_sent_again(act: Act, trouble: Scripted) -> None:
    found, script = outcome(act, trouble)
    assert isinstance(found, SubmissionUnknownError) and isinstance(found, OutcomeUnknownError)
    assert {"order_id", "scope"} & found.context.keys()
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_json", RefusedError),
        (401, "expired_token", NotAuthenticatedError),
        (409, "duplicate_client_order_id", ConflictError),
        (422, "price_collar", RefusedError),
        (429, "max_messages", RateLimitedError),
        (500, "internal_error", SubmissionUnknownError),
    ],
)
def test_an_answer_is_final_unless_it_asks_to_wait(status: int, code: str, kind: type[ApiError]) -> None:
    found, script = outcome(submit, (status, {"code": code}, {"retry-after": "1"}))
    assert type(found) is kind
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    "last", [NEVER_LEFT, OVERLOADED, LIMITED, (401, {"code": "expired_token"}, {}), UNKNOWN]
)
def test_a_doubt_stays_until_the_server_answers_about_that_order(last: Scripted) -> None:
    found, _ = outcome(submit, LOST, last, policy=RetryPolicy(attempts=2))
    assert isinstance(found, SubmissionUnknownError)
    assert found.context["client_order_id"] == "c-7"
    assert not type(found).retryable


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ((422, {"code": "price_collar"}, {}), RefusedError),
        ((409, {"code": "duplicate_client_order_id"}, {}), ConflictError),
        ((429, {"code": "max_messages"}, {}), RateLimitedError),
    ],
)
def test_an_answer_about_the_order_settles_a_doubt(last: Scripted, kind: type[ApiError]) -> None:
    found, _ = outcome(submit, LOST, last, policy=RetryPolicy(attempts=2))
    assert type(found) is kind


def test_without_any_doubt_the_last_refusal_is_the_error() -> None:
    assert type(outcome(submit, *[NEVER_LEFT] * 4)[0]) is TransportError
    assert type(outcome(submit, *[OVERLOADED] * 4)[0]) is UnavailableError
    assert type(outcome(get, *[LOST] * 4)[0]) is TransportError
    assert type(outcome(get, (500, {}, {}))[0]) is ServerFailedError


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_attempts_are_bounded(attempts: int) -> None:
    _, script = outcome(get, *[LOST] * 9, policy=RetryPolicy(attempts=attempts))
    assert len(script.requests) == attempts
    assert len(script.pauses) == attempts - 1


def test_pauses_grow_to_a_bound_and_come_after_what_the_server_asks() -> None:
    policy = RetryPolicy(attempts=6, first_s=1.0, longest_s=4.0)
    _, script = outcome(get, *[LOST] * 6, policy=policy)
    assert script.pauses == [0.5, 1.0, 2.0, 2.0, 2.0]
    _, script = outcome(get, LIMITED, GOOD, policy=policy)
    assert script.pauses == [2.5]


def test_a_server_that_asks_for_more_patience_than_we_have_ends_the_call() -> None:
    found, script = outcome(get, (429, {"code": "rate_limited"}, {"retry-after": "11"}))
    assert isinstance(found, RateLimitedError) and found.retry_after_s == 11
    assert script.pauses == []


@pytest.mark.parametrize("text", ["", "soon", "-1", "nan", "inf", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_retry_after_that_is_no_number_of_seconds_is_left_aside(text: str) -> None:
    _, script = outcome(get, (503, {"code": "overloaded"}, {"retry-after": text}), GOOD)
    assert script.pauses == [0.05]


@given(attempt=st.integers(1, 10_000), jitter=st.floats(0, 1))
def test_a_pause_is_never_longer_than_its_bound(attempt: int, jitter: float) -> None:
    assert 0 <= RetryPolicy(longest_s=2.0).pause_s(attempt, jitter, None) <= 2.0


def test_a_policy_without_attempts_or_with_negative_times_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="attempts must be 1 or more, is 0"):
        RetryPolicy(attempts=0)
    with pytest.raises(ValueError, match="first_s must be 0 or more"):
        RetryPolicy(first_s=-1)


def test_an_order_is_read_exactly() -> None:
    found, _ = outcome(submit, GOOD)
    assert isinstance(found, Order)
    assert found.quantity == Decimal("1000.0") and found.status is OrderStatus.ROUTED
    assert found.created_at == datetime(2024, 1, 15, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "body", [{}, {"id": 5}, {**ORDER, "status": "EXPLODED"}, {**ORDER, "quantity": "1,5"}]
)
def test_an_answer_that_is_not_of_this_api_is_an_error_of_its_own(body: dict[str, Any]) -> None:
    assert type(outcome(get, (200, body, {}))[0]) is BadAnswerError
