"""Orders that are not plain, over REST on a running server: for each type one that is taken, one refused."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from qtinfra.client import Client, RoutingTerms
from qtinfra.client import new_order as order_of
from qtinfra.client.errors import RefusedError
from qtinfra.core.calendar import CUTOFFS, TradingSession, VenueCalendar
from qtinfra.core.commands import SetCalendar, SetPriceTest, SetReference, SetRiskPolicy
from qtinfra.core.special import Link, Peg
from tests.support.server import Api, Running, new_order, running

pytestmark = pytest.mark.integration

FAR = "2100-01-01T00:00:00Z"
HOUR_NS = 3_600 * 10**9

TAKEN: dict[str, dict[str, Any]] = {
    "stop": {"order_type": "STOP", "price": None, "stop_price": "900.50"},
    "stop limit": {"order_type": "STOP_LIMIT", "price": "201.00", "stop_price": "900"},
    "trailing": {"order_type": "TRAILING_STOP", "price": None, "trail_amount": "50.25"},
    "iceberg": {"order_type": "ICEBERG", "display_quantity": "10"},
    "peg": {"order_type": "PEGGED", "price": "190", "peg": {"type": "PRIMARY", "offset": "0.05"}},
    "good till date": {"time_in_force": "GTD", "expire_at": FAR},
    "self match": {"self_match_id": "desk-7"},
    "routing": {"routing": {"strategy": "POST", "urgency": "0.5"}},
    "corporate actions": {"time_in_force": "GTC", "do_not_reduce": True, "do_not_increase": True},
}
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"order_type": "STOP", "price": None}, "stop_px_required", "stop_price"),
    ({"order_type": "STOP", "stop_price": "900"}, "price_not_allowed", "price"),
    ({"order_type": "STOP", "price": None, "stop_price": "900.005"}, "tick_size", "stop_price"),
    ({"stop_price": "900"}, "stop_px_not_allowed", "stop_price"),
    ({"order_type": "STOP_LIMIT", "price": None, "stop_price": "900"}, "price_required", "price"),
    ({"order_type": "STOP", "price": None, "stop_price": "900", "time_in_force": "IOC"}, "type_tif", ""),
    ({"order_type": "TRAILING_STOP", "price": None}, "trail_required", "trail_amount"),
    ({"order_type": "TRAILING_STOP", "price": None, "trail_amount": "0.001"}, "tick_size", "trail_amount"),
    ({"order_type": "ICEBERG"}, "display_qty_required", "display_quantity"),
    ({"order_type": "ICEBERG", "display_quantity": "101"}, "display_qty", "display_quantity"),
    ({"display_quantity": "10"}, "display_qty_not_allowed", "display_quantity"),
    ({"order_type": "PEGGED"}, "peg_required", "peg"),
    ({"peg": {"type": "MARKET"}}, "peg_not_allowed", "peg"),
    ({"order_type": "PEGGED", "peg": {"type": "MARKET", "offset": "-0.001"}}, "tick_size", "peg.offset"),
    ({"time_in_force": "GTD"}, "expire_time_required", "expire_at"),
    ({"time_in_force": "GTD", "expire_at": "2001-01-01T00:00:00Z"}, "expire_time_past", "expire_at"),
    ({"expire_at": FAR}, "expire_time_not_allowed", "expire_at"),
    ({"routing": {"strategy": "NOWHERE"}}, "bad_routing", "routing"),
    ({"time_in_force": "AT_OPEN"}, "unsupported_time_in_force", "time_in_force"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Api]]:
    with running(tmp_path_factory.mktemp("special")) as found:
        yield found


@pytest.fixture
def api(server: tuple[Running, Api]) -> Api:
    return server[1]


def problem(answer: Any) -> tuple[int, str, str]:
    """Status, code and the first field of a refusal."""
    found = answer.json()
    return answer.status_code, found["code"], found["errors"][0]["field"]


@pytest.mark.parametrize("name", TAKEN)
def test_an_order_is_taken_and_shown_with_its_terms_everywhere(api: Api, name: str) -> None:
    sent = new_order(**TAKEN[name])
    answer = api.call("POST", "/orders", json=sent)
    assert answer.status_code == 201, answer.text
    order = answer.json()
    for field, value in TAKEN[name].items():
        if field not in ("price", "peg"):
            shown = order[field]
            assert shown == value or Decimal(shown) == Decimal(value), field
    again = api.call("POST", "/orders", json=sent)
    assert (again.status_code, again.json()["id"]) == (200, order["id"])
    found = api.call("GET", f"/orders/{order['id']}").json()
    listed = api.call("GET", f"/orders?client_order_id={order['client_order_id']}").json()["items"][0]
    special = [field for field in TAKEN[name] if field not in ("price", "order_type", "time_in_force")]
    for field in special:
        assert found[field] == listed[field] == order[field]
    other = api.call("POST", "/orders", json=sent | {"quantity": "200"})
    assert (other.status_code, other.json()["code"]) == (409, "duplicate_client_order_id")


def test_a_plain_order_shows_no_terms(api: Api) -> None:
    order = api.order().json()
    assert not {"stop_price", "peg", "expire_at", "locate_id", "link", "algo"} & order.keys()


@pytest.mark.parametrize(("fields", "code", "field"), REFUSED)
def test_an_order_whose_terms_do_not_fit_is_refused_by_the_rule(
    api: Api, fields: dict[str, Any], code: str, field: str
) -> None:
    answer = api.order(**fields)
    status, found, named = problem(answer)
    assert (status, found) == (422, code), answer.text
    assert named == field or not field
    refused = api.call("GET", f"/orders/{answer.json()['order_id']}").json()
    assert (refused["status"], refused["rejection"]["code"]) == ("REJECTED", code)


def test_a_batch_takes_orders_with_terms(api: Api) -> None:
    orders = [new_order(**TAKEN["stop"]), new_order(order_type="STOP", price=None)]
    results = api.call("POST", "/orders:batch", json={"orders": orders}).json()["results"]
    assert results[0]["order"]["stop_price"] == "900.5"
    assert (results[1]["status"], results[1]["problem"]["code"]) == (422, "stop_px_required")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("stop", {"stop_price": "901"}),
        ("trailing", {"trail_amount": "40"}),
        ("iceberg", {"display_quantity": "20"}),
        ("good till date", {"expire_at": "2100-01-02T00:00:00Z"}),
        ("peg", {"peg": {"type": "MARKET", "offset": "0.1"}}),
    ],
)
def test_a_replace_changes_terms(api: Api, name: str, change: dict[str, Any]) -> None:
    order = api.order(**TAKEN[name]).json()
    path = f"/orders/{order['id']}"
    if order["routing_decision"] is not None:
        api.until(path, "ROUTED")
    sent = {"client_order_id": new_order()["client_order_id"]} | change
    answer = api.call("PUT", path, json=sent)
    assert answer.status_code in (200, 202), answer.text
    found = api.call("GET", path).json()
    assert {field: found[field] for field in change} == change


def test_a_replace_with_a_term_that_the_type_does_not_have_is_refused(api: Api) -> None:
    order = api.order().json()
    sent = {"client_order_id": new_order()["client_order_id"], "stop_price": "900"}
    answer = api.call("PUT", f"/orders/{order['id']}", json=sent)
    assert problem(answer) == (422, "stop_px_not_allowed", "stop_price")


def test_orders_for_the_auctions_go_to_a_venue_that_holds_them(tmp_path: Path) -> None:
    with running(tmp_path) as (server, api):
        platform = server.platform
        mic = platform.state.instruments["AAPL"].listings[0]
        venue = platform.state.venues[mic]
        now_ns = platform.clock.now_ns()
        session = TradingSession(platform.state.trade_date, now_ns + HOUR_NS, now_ns + 7 * HOUR_NS)
        day = session.trade_date
        server.do(SetCalendar(VenueCalendar(mic, day, day, (session,), CUTOFFS["XNAS"])))
        wider = (*venue.time_in_force, "AT_OPEN", "AT_CLOSE")
        server.do(SetReference(venues=(replace(venue, time_in_force=wider),)))
        for tif in ("AT_OPEN", "AT_CLOSE"):
            answer = api.order(time_in_force=tif)
            assert answer.status_code == 201, answer.text
            assert answer.json()["routing_decision"]["selected_venue"] == mic
        over = TradingSession(day, now_ns - 7 * HOUR_NS, now_ns - HOUR_NS)
        server.do(SetCalendar(VenueCalendar(mic, day, day, (over,), CUTOFFS["XNAS"])))
        for tif in ("AT_OPEN", "AT_CLOSE"):
            assert api.order(time_in_force=tif).status_code == 422


# --- lists -------------------------------------------------------------------------------------------------


def oco(**more: Any) -> dict[str, Any]:
    return {"link": "OCO", "orders": [new_order(), new_order(**TAKEN["stop"])]} | more


def bracket(**exit_terms: Any) -> dict[str, Any]:
    target = new_order(side="SELL", price="900", **exit_terms)
    stop = new_order(side="SELL", order_type="STOP", price=None, stop_price="150")
    return {"link": "BRACKET", "orders": [new_order(), target, stop]}


def send(api: Api, body: Any, user: str = "trader", **headers: str) -> Any:
    return api.call("POST", "/orders:list", user, json=body, headers=headers)


@pytest.mark.parametrize("body", [oco(), bracket()])
def test_a_list_is_accepted_whole_and_once(api: Api, body: dict[str, Any]) -> None:
    answer = send(api, body)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert found["link"] == body["link"]
    assert [order["client_order_id"] for order in found["orders"]] == [
        order["client_order_id"] for order in body["orders"]
    ]
    assert {(order["link"], order["list_id"]) for order in found["orders"]} == {
        (body["link"], found["list_id"])
    }
    again = send(api, body)
    assert again.status_code == 200
    assert [order["id"] for order in again.json()["orders"]] == [order["id"] for order in found["orders"]]
    changed = body | {"orders": [order | {"quantity": "200"} for order in body["orders"]]}
    assert send(api, changed).json()["code"] == "duplicate_client_order_id"


def test_cancelling_one_of_a_list_leaves_the_other(api: Api) -> None:
    first, second = send(api, oco()).json()["orders"]
    assert api.call("DELETE", f"/orders/{first['id']}").status_code in (200, 202)
    api.until(f"/orders/{first['id']}", "CANCELLED")
    assert api.call("GET", f"/orders/{second['id']}").json()["status"] == "VALIDATED"


def test_a_key_gives_each_order_of_a_list_its_id_and_is_bound_to_the_list(api: Api) -> None:
    orders = [new_order(client_order_id=None) for _ in range(2)]
    first = send(api, {"link": "OCO", "orders": orders}, **{"idempotency-key": "list-1"})
    assert first.status_code == 201
    assert len({order["client_order_id"] for order in first.json()["orders"]}) == 2
    again = send(api, {"link": "OCO", "orders": orders}, **{"idempotency-key": "list-1"})
    assert (again.status_code, again.json()["list_id"]) == (200, first.json()["list_id"])
    other = send(api, oco(), **{"idempotency-key": "list-1"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (
            {"link": "OCO", "orders": [new_order(), new_order(symbol="MSFT")]},
            "list_symbol",
            "orders[1].symbol",
        ),
        (
            {"link": "OCO", "orders": [new_order(), new_order(quantity="200")]},
            "list_quantity",
            "orders[1].quantity",
        ),
        (bracket(time_in_force="IOC"), "list_time_in_force", "orders[1].time_in_force"),
        ({"link": "BRACKET", "orders": [new_order(), new_order()]}, "list_side", "orders[1].side"),
        (
            {"link": "OCO", "orders": [new_order(), new_order(order_type="STOP", price=None)]},
            "stop_px_required",
            "orders[1].stop_price",
        ),
        ({"link": "OCO", "orders": [new_order()]}, "list_length", "orders"),
        ({"link": "OCO", "orders": [new_order(price="x"), new_order()]}, "number_format", "orders[0].price"),
        (
            {"link": "OCO", "orders": [new_order(account_id="ACC-1"), new_order(account_id="ACC-2")]},
            "list_account",
            "account_id",
        ),
    ],
)
def test_one_wrong_order_refuses_the_whole_list(
    api: Api, body: dict[str, Any], code: str, field: str
) -> None:
    answer = send(api, body, "pm")
    assert problem(answer) == (422, code, field), answer.text
    order_id = answer.json().get("order_id")
    if order_id is not None:
        again = send(api, body, "pm")
        assert (again.status_code, again.json()["code"]) == (422, code)
        for order in body["orders"]:
            path = f"/orders?original_client_order_id={order['client_order_id']}"
            assert [row["status"] for row in api.call("GET", path).json()["items"]] == ["REJECTED"]


def test_a_list_needs_the_permission_for_its_account(api: Api) -> None:
    assert send(api, oco(), "viewer").status_code == 403


def test_the_client_sends_terms_and_lists(server: tuple[Running, Api]) -> None:
    api = server[1]
    with Client(f"http://127.0.0.1:{api.port}", api.token("trader")) as client:
        stop = client.submit("AAPL", "BUY", 100, order_type="STOP", stop_price="900", account_id="ACC-1")
        assert (stop.stop_price, stop.price) == (Decimal(900), None)
        assert client.replace(stop.id, stop_price=Decimal("901.5")).stop_price == Decimal("901.5")
        pegged = client.submit(
            "AAPL", "BUY", 100, price="190", order_type="PEGGED", peg=Peg.PRIMARY, peg_offset="-0.05"
        )
        assert pegged.peg is not None and pegged.peg.offset == Decimal("-0.05")
        posted = client.submit("AAPL", "BUY", 100, price="190", account_id="ACC-1", routing_strategy="POST")
        assert posted.routing == RoutingTerms("POST", Decimal("0.5"))
        with pytest.raises(RefusedError) as refused:
            client.submit("AAPL", "BUY", 100, price="190", account_id="ACC-1", routing_strategy="NOWHERE")
        assert refused.value.error_code == "bad_routing"
        legs = [
            order_of("AAPL", "BUY", 100, price="190", account_id="ACC-1"),
            order_of("AAPL", "BUY", 100, order_type="STOP", stop_price="900", account_id="ACC-1"),
        ]
        found = client.submit_list(Link.OCO, legs)
        assert [order.link for order in found.orders] == [Link.OCO, Link.OCO]
        assert client.submit_list("OCO", legs).list_id == found.list_id
        with pytest.raises(RefusedError) as refused:
            client.submit_list("BRACKET", [legs[0]])
        assert refused.value.error_code == "list_length"


# --- BI-053: short sales -----------------------------------------------------------------------------------


def locate(api: Api, locate_id: str, quantity: str, user: str = "risk", **more: str) -> Any:
    fields = {"locate_id": locate_id, "account_id": "ACC-2", "symbol": "AAPL", "quantity": quantity}
    return api.call("POST", "/risk/locates", user, json=fields | more)


@pytest.fixture
def short_sales(server: tuple[Running, Api]) -> Iterator[Api]:
    """The server with Regulation SHO on."""
    running_server, api = server
    policy = running_server.platform.state.risk.policy
    running_server.do(SetRiskPolicy(replace(policy, short_sale=True)))
    yield api
    running_server.do(SetPriceTest("AAPL", False))
    running_server.do(SetRiskPolicy(policy))


def short(api: Api, locate_id: str | None, side: str = "SELL_SHORT", **more: Any) -> Any:
    fields: dict[str, Any] = {"side": side, "account_id": "ACC-2", "price": "240", "locate_id": locate_id}
    return api.order("pm", **fields | more)


def test_bi_053_a_short_sale_needs_a_locate_that_reaches_and_passes_the_price_test(
    server: tuple[Running, Api], short_sales: Api
) -> None:
    api = short_sales
    assert problem(short(api, None)) == (422, "locate_missing", "locate_id")
    assert problem(short(api, "never-granted"))[1] == "locate_missing"
    assert locate(api, "L-50", "50").status_code == 201
    assert problem(short(api, "L-50")) == (422, "locate_insufficient", "locate_id")
    assert locate(api, "L-500", "500", source="lender").status_code == 201
    taken = short(api, "L-500")
    assert (taken.status_code, taken.json()["locate_id"]) == (201, "L-500"), taken.text
    items = api.call("GET", "/risk/locates", "risk").json()["items"]
    left = {item["locate_id"]: (item["quantity"], item["left"]) for item in items}
    assert left == {"L-500": ("500", "400"), "L-50": ("50", "50")}
    server[0].do(SetPriceTest("AAPL", True))
    assert problem(short(api, "L-500", price=None, order_type="MARKET"))[1] == "price_test"
    assert short(api, "L-500").status_code == 201
    exempt = short(api, "L-500", "SELL_SHORT_EXEMPT", price=None, order_type="MARKET")
    assert exempt.status_code == 201, exempt.text


def test_a_locate_is_granted_by_risk_staff_once_and_strictly(api: Api) -> None:
    assert locate(api, "L-x", "50", "trader").status_code == 403
    assert locate(api, "L-1", "50", trade_date="2024-02-30").json()["code"] == "date_format"
    assert problem(locate(api, "L-1", "0")) == (422, "must_be_positive", "quantity")
    assert problem(locate(api, "L-1", "5", symbol="NOPE")) == (422, "unknown_symbol", "symbol")
    assert problem(locate(api, "L-1", "5", account_id="NOPE"))[1] == "unknown_account"
    assert locate(api, "L-1", "50").status_code == 201
    assert problem(locate(api, "L-1", "50")) == (422, "duplicate_locate", "locate_id")
