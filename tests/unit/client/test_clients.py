"""Both clients: what they send, how they read lists and refusals, and that they are one in two forms."""

import ast
import asyncio
import inspect
import json
import re
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import httpx
import pytest

import qtinfra.client
from qtinfra.client import (
    AsyncClient,
    BadAnswerError,
    Client,
    ForbiddenError,
    NotAuthenticatedError,
    NotFoundError,
    PreconditionError,
    RefusedError,
    RetryPolicy,
    ServerFailedError,
    SubmissionUnknownError,
    new_order,
)
from qtinfra.core.special import Link
from tests.support.requirements import REPO_ROOT
from tests.unit.client.test_retries import ORDER

pytestmark = pytest.mark.unit

COOKBOOK = (REPO_ROOT / "docs" / "cookbook" / "client.md").read_text("utf-8")

PAGES: dict[str, dict[str, Any]] = {
    "": {"items": [{**ORDER, "id": "o-1"}, {**ORDER, "id": "o-2"}], "next_cursor": "p2"},
    "p2": {"items": [{**ORDER, "id": "o-3"}], "next_cursor": "p3"},
    "p3": {"items": [], "next_cursor": None},
}


class Server:
    """Answers every request alike, lists by page; keeps what it was sent."""

    def __init__(self, status: int = 200, body: Any = ORDER, headers: dict[str, str] | None = None) -> None:
        self.status, self.body, self.headers = status, body, headers or {}
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.method == "GET" and request.url.path == "/orders":
            return httpx.Response(200, json=PAGES[request.url.params.get("cursor", "")])
        if isinstance(self.body, bytes):
            return httpx.Response(self.status, content=self.body, headers=self.headers)
        return httpx.Response(self.status, json=self.body, headers=self.headers)

    @property
    def last(self) -> httpx.Request:
        return self.requests[-1]

    @property
    def sent(self) -> Any:
        return json.loads(self.last.content)


def client_of(server: Server, **settings: Any) -> Client:
    policy = RetryPolicy(attempts=1)
    transport = httpx.MockTransport(server)
    return Client("http://desk.invalid/", "t0ken", policy=policy, transport=transport, **settings)


def async_of(server: Server, **settings: Any) -> AsyncClient:
    policy = RetryPolicy(attempts=1)
    transport = httpx.MockTransport(server)
    return AsyncClient("http://desk.invalid", "t0ken", policy=policy, transport=transport, **settings)


# -- what is sent ----------------------------------------------------------------------------------


def test_an_order_goes_out_as_the_documented_message_with_exact_numbers() -> None:
    server = Server()
    with client_of(server) as client:
        client.submit(
            "AAPL", "BUY", Decimal("1E+3"), price="150.250", account_id="ACC-1", client_order_id="c-1"
        )
    assert server.sent == {
        "symbol": "AAPL",
        "side": "BUY",
        "quantity": "1000",
        "price": "150.250",
        "order_type": "LIMIT",
        "time_in_force": "DAY",
        "client_order_id": "c-1",
        "account_id": "ACC-1",
    }
    assert server.last.method == "POST" and server.last.url == "http://desk.invalid/orders"
    assert server.last.headers["content-type"] == "application/json"
    assert server.last.headers["authorization"] == "Bearer t0ken"


def test_special_terms_go_out_under_the_documented_names() -> None:
    server = Server()
    end = datetime(2026, 7, 8, 16, tzinfo=timezone(timedelta(hours=-4)))
    with client_of(server) as client:
        client.submit(
            "AAPL", "BUY", 1, stop_price=Decimal("9.50"), trail_amount=1, display_quantity="10",
            peg="MARKET", peg_offset=Decimal("-0.01"), expire_at=end, locate_id="L-1", self_match_id="A",
            do_not_reduce=True, routing_strategy="PLACEMENT", urgency=Decimal("0.80"),
        )  # fmt: skip
        plain = {"symbol", "side", "quantity", "order_type", "time_in_force", "client_order_id"}
        assert {name: value for name, value in server.sent.items() if name not in plain} == {
            "stop_price": "9.50",
            "trail_amount": "1",
            "display_quantity": "10",
            "peg": {"type": "MARKET", "offset": "-0.01"},
            "expire_at": "2026-07-08T20:00:00.000000Z",
            "locate_id": "L-1",
            "self_match_id": "A",
            "do_not_reduce": True,
            "routing": {"strategy": "PLACEMENT", "urgency": "0.80"},
        }
        client.replace("o-1", stop_price="9.6", client_order_id="c-2")
        assert server.sent == {"client_order_id": "c-2", "stop_price": "9.6"}


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"stop_price": 1.5}, "stop_price"),
        ({"peg_offset": "1"}, "peg"),
        ({"urgency": "1"}, "routing_strategy"),
        ({"routing_strategy": "POST", "urgency": 0.5}, "urgency"),
        ({"expire_at": datetime(2026, 7, 8)}, "expire_at"),  # noqa: DTZ001
        ({"stop_px": "1"}, "stop_px"),
    ],
)
def test_terms_that_cannot_be_meant_never_leave(terms: dict[str, Any], field: str) -> None:
    server = Server()
    with client_of(server) as client, pytest.raises(RefusedError) as refused:
        client.submit("AAPL", "BUY", 1, **terms)
    assert refused.value.context["field"] == field
    assert server.requests == []


def test_a_list_goes_out_as_its_orders_would_alone() -> None:
    body = {"link": "OCO", "list_id": "l-1", "orders": []}
    server = Server(201, body)
    legs = [new_order("AAPL", "BUY", 1, price="9"), new_order("AAPL", "BUY", 1, stop_price="10")]
    with client_of(server) as client:
        assert client.submit_list(Link.OCO, legs).list_id == "l-1"
    assert str(server.last.url).endswith("/orders:list")
    assert server.sent == {"link": "OCO", "orders": [json.loads(leg.body) for leg in legs]}


def test_without_a_price_it_is_a_market_order_and_gets_an_id_of_its_own() -> None:
    server = Server()
    with client_of(server) as client:
        client.submit("AAPL", "SELL", 5)
        first = server.sent
        client.submit("AAPL", "SELL", 5)
    assert first["order_type"] == "MARKET" and "price" not in first
    assert first["client_order_id"] != server.sent["client_order_id"]
    assert len(first["client_order_id"]) <= 64


@pytest.mark.parametrize("value", [1.5, True, "1,5", "NaN", Decimal("Infinity"), None])
def test_a_number_that_is_not_exact_never_leaves(value: Any) -> None:
    server = Server()
    with client_of(server) as client, pytest.raises(RefusedError) as refused:
        client.submit("AAPL", "BUY", value)
    assert refused.value.error_code == "number_format"
    assert refused.value.context["field"] == "quantity"
    assert server.requests == []


def test_a_replace_and_a_cancel_name_the_version_they_were_made_for() -> None:
    server = Server()
    with client_of(server) as client:
        client.replace("o/1?x", price="9.5", client_order_id="c-2", version=3)
        assert server.last.method == "PUT" and server.last.url.raw_path == b"/orders/o%2F1%3Fx"
        assert server.sent == {"client_order_id": "c-2", "price": "9.5"}
        assert server.last.headers["if-match"] == '"3"'
        client.cancel("o-1", version=4)
        assert server.last.method == "DELETE" and server.last.headers["if-match"] == '"4"'
        client.cancel("o-1")
        assert "if-match" not in server.last.headers


def test_a_token_may_be_fetched_anew_for_each_request_and_may_be_absent() -> None:
    server, tokens = Server(), iter(["one", "two", ""])
    with Client("http://d.invalid", lambda: next(tokens), transport=httpx.MockTransport(server)) as client:
        client.get("o-1")
        client.get("o-1")
        client.get("o-1")
    found = [request.headers.get("authorization") for request in server.requests]
    assert found == ["Bearer one", "Bearer two", None]


@pytest.mark.parametrize("token", ["a b", "token\n", "tökén", "a\r\nx-evil: 1"])
def test_a_token_that_is_none_never_leaves(token: str) -> None:
    server = Server()
    transport = httpx.MockTransport(server)
    with (
        Client("http://d.invalid", token, transport=transport) as client,
        pytest.raises(NotAuthenticatedError) as refused,
    ):
        client.get("o-1")
    assert refused.value.error_code == "token_form" and token not in str(refused.value)
    assert server.requests == []


@pytest.mark.parametrize("url", ["desk.invalid", "ftp://desk.invalid", ""])
def test_an_address_that_is_not_of_the_web_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must begin with http"):
        Client(url)
    with pytest.raises(ValueError, match="timeout_s must be positive"):
        Client("http://d.invalid", timeout_s=0)


# -- lists -----------------------------------------------------------------------------------------


def test_a_list_is_read_page_by_page_as_it_is_taken() -> None:
    server = Server()
    with client_of(server) as client:
        found = client.list(symbol="AAPL", limit=2, **{"status[in]": "ROUTED,FILLED"})
        assert server.requests == []
        assert next(found).id == "o-1" and next(found).id == "o-2"
        assert len(server.requests) == 1
        assert [order.id for order in found] == ["o-3"]
    params = [dict(request.url.params) for request in server.requests]
    common = {"limit": "2", "sort": "-created_at", "symbol": "AAPL", "status[in]": "ROUTED,FILLED"}
    assert params == [common, {**common, "cursor": "p2"}, {**common, "cursor": "p3"}]


def test_a_list_that_does_not_move_on_is_an_error_and_not_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PAGES["p2"], "next_cursor", "p2")
    with client_of(Server()) as client, pytest.raises(BadAnswerError, match="does not move on"):
        list(client.list())


def test_an_order_is_found_by_the_id_it_was_sent_under(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    with client_of(server) as client:
        with pytest.raises(BadAnswerError, match="name the account"):
            client.find_order("c-1")
        monkeypatch.setitem(PAGES, "", {"items": [ORDER], "next_cursor": None})
        assert (found := client.find_order("c-1", "ACC-1")) is not None and found.id == "o-1"
        assert server.last.url.params["original_client_order_id"] == "c-1"
        assert server.last.url.params["account_id"] == "ACC-1"
        monkeypatch.setitem(PAGES, "", {"items": [], "next_cursor": None})
        assert client.find_order("c-1") is None


# -- refusals --------------------------------------------------------------------------------------


def test_a_refusal_carries_code_fields_and_correlation_id() -> None:
    wrong = {"field": "price", "code": "price_collar", "limit": "0.1", "value": "900", "message": "too far"}
    body = {
        "type": "urn:qtinfra:error:price_collar",
        "title": "Refused",
        "status": 422,
        "code": "price_collar",
        "detail": "the price is too far from the reference",
        "correlation_id": "x-1",
        "errors": [wrong],
        "something_new": {"a": 1},
    }
    with client_of(Server(422, body)) as client, pytest.raises(RefusedError) as refused:
        client.submit("AAPL", "BUY", 1, price="900")
    error = refused.value
    assert (error.error_code, error.status, error.correlation_id) == ("price_collar", 422, "x-1")
    assert error.message == "the price is too far from the reference"
    assert [(e.field, e.code, e.limit, e.value, e.message) for e in error.errors] == [tuple(wrong.values())]
    assert error.to_json()["errors"] == [{**wrong, "rule": ""}]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, NotAuthenticatedError),
        (431, NotAuthenticatedError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (412, PreconditionError),
        (413, RefusedError),
        (415, RefusedError),
        (302, BadAnswerError),
        (418, BadAnswerError),
        (500, ServerFailedError),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"[" * 5000, b'{"code": 5', b"\xff\xfe"])
def test_each_status_has_its_error_whatever_the_body_is(
    status: int, kind: type[Exception], body: bytes
) -> None:
    server = Server(status, body, {"location": "http://elsewhere.invalid/", "x-correlation-id": "x-9"})
    with client_of(server) as client, pytest.raises(kind) as refused:
        client.get("o-1")
    assert getattr(refused.value, "correlation_id", "") == "x-9"
    assert len(server.requests) == 1
    assert "t0ken" not in str(refused.value)


def test_two_authorization_headers_are_a_matter_of_authentication_though_400() -> None:
    server = Server(400, {"code": "ambiguous_authorization"})
    with client_of(server) as client, pytest.raises(NotAuthenticatedError):
        client.get("o-1")


# -- the asynchronous form -------------------------------------------------------------------------


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(f).parameters) for name, f in found if not name.startswith("_")}

    assert methods(Client) == methods(AsyncClient)
    assert len(methods(Client)) >= 15


def test_the_asynchronous_client_sends_reads_and_repeats_alike() -> None:
    server, pauses = Server(), list[float]()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    fails = iter([httpx.ReadTimeout("late")])

    def flaky(request: httpx.Request) -> httpx.Response:
        error = next(fails, None)
        if error is not None:
            raise error
        return server(request)

    async def session() -> list[str]:
        transport = httpx.MockTransport(flaky)
        async with AsyncClient(
            "http://d.invalid", "t", transport=transport, pause=pause, jitter=lambda: 1.0
        ) as client:
            await client.submit("AAPL", "BUY", 1, client_order_id="c-1")
            return [order.id async for order in client.list(limit=2)]

    assert asyncio.run(session()) == ["o-1", "o-2", "o-3"]
    assert pauses == [0.1]
    assert json.loads(server.requests[0].content)["client_order_id"] == "c-1"


def test_the_asynchronous_client_says_that_an_outcome_is_unknown() -> None:
    async def session() -> None:
        async with async_of(Server(500, {"code": "internal_error"})) as client:
            with pytest.raises(SubmissionUnknownError):
                await client.replace("o-1", quantity=5)

    asyncio.run(session())


# -- the documentation -----------------------------------------------------------------------------


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", COOKBOOK, re.DOTALL)


@pytest.mark.parametrize("block", blocks())
def test_every_block_of_the_cookbook_parses_and_uses_what_the_client_has(block: str) -> None:
    tree = ast.parse(block, mode="exec") if "async with" not in block else ast.parse(in_coroutine(block))
    used = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and owner(node) == "client"
    }
    assert sorted(used - set(dir(Client))) == []
    taken = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in taken if node.module == "qtinfra.client" for alias in node.names}
    assert names <= set(qtinfra.client.__all__)


def in_coroutine(block: str) -> str:
    return "async def session():\n" + "".join(f"    {line}\n" for line in block.splitlines())


def owner(node: ast.Attribute) -> str:
    return node.value.id if isinstance(node.value, ast.Name) else ""


def test_the_cookbook_names_every_error() -> None:
    names = {name for name in qtinfra.client.__all__ if name.endswith("Error") and name != "ApiError"}
    assert sorted(name for name in names if f"`{name}`" not in COOKBOOK) == []
    assert len(blocks()) == 7
