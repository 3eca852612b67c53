"""Orders over REST on a running server: their life, who sees them, what survives, what is described."""

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from qtinfra.bootstrap.serving import serving
from qtinfra.core.commands import SetVenueStatus
from qtinfra.core.exceptions import JournalError, SecurityError
from qtinfra.core.extended_models import VenueStatus
from qtinfra.infra.config import Settings
from tests.support.server import Api, Running, new_order, running, server_process

pytestmark = pytest.mark.integration

SAMPLE = (
    "id",
    "status",
    "symbol",
    "side",
    "quantity",
    "price",
    "order_type",
    "created_at",
    "routing_decision",
)
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Api]]:
    with running(tmp_path_factory.mktemp("orders")) as found:
        yield found


@pytest.fixture
def api(server: tuple[Running, Api]) -> Api:
    return server[1]


def marketable(api: Api, symbol: str = "AAPL") -> dict[str, Any]:
    """An order that takes what is displayed at the touch now."""
    asked = new_order(symbol=symbol, price=None, order_type="MARKET")
    plan = api.call("POST", "/route", json=asked).json()
    return new_order(symbol=symbol, price=str(Decimal(plan["best_ask"]) + 1))


# --- one order's life --------------------------------------------------------------------------------------


def test_a_new_order_is_answered_as_the_specification_shows_it(api: Api) -> None:
    answer = api.order(quantity="100.0", price="200.50")
    assert answer.status_code == 201
    order = answer.json()
    assert tuple(order)[: len(SAMPLE)] == SAMPLE
    assert (order["quantity"], order["price"], order["status"]) == ("100", "200.5", "ROUTED")
    assert MOMENT.fullmatch(order["created_at"])
    assert order["routing_decision"]["selected_venue"] in ("ARCX", "BATS", "XNAS")
    assert 0 < order["routing_decision"]["confidence_score"] <= 1
    assert 0 < order["routing_decision"]["expected_fill_rate"] <= 1
    assert answer.headers["location"] == f"/orders/{order['id']}"
    assert answer.headers["etag"] == f'"{order["version"]}"'


def test_an_order_can_be_read_the_moment_it_is_answered(api: Api) -> None:
    order = api.order().json()
    read = api.call("GET", f"/orders/{order['id']}").json()
    assert {name: read[name] for name in SAMPLE if name != "status"} == {
        name: order[name] for name in SAMPLE if name != "status"
    }
    listed = api.call("GET", f"/orders?client_order_id={order['client_order_id']}").json()["items"]
    assert [item["id"] for item in listed] == [order["id"]]


def test_a_fill_shows_in_the_order_its_children_executions_and_the_position(api: Api) -> None:
    answer = api.call("POST", "/orders", json=marketable(api, "JPM"))
    path = answer.headers["location"]
    filled = api.until(path, "FILLED")
    assert (filled["filled_quantity"], filled["remaining_quantity"]) == ("100", "0")
    executed = sum(Decimal(item["quantity"]) for item in filled["executions"])
    assert executed == sum(Decimal(child["filled_quantity"]) for child in filled["children"]) == 100
    listed = api.call("GET", f"/executions?order_id={filled['id']}").json()["items"]
    assert {item["id"] for item in listed} == {item["id"] for item in filled["executions"]}
    positions = api.call("GET", "/positions?symbol=JPM").json()["items"]
    assert [(item["account_id"], item["quantity"]) for item in positions] == [("ACC-1", "100")]


def test_a_replace_and_a_cancel_go_to_the_venue_and_come_back(api: Api) -> None:
    order = api.order().json()
    path = f"/orders/{order['id']}"
    api.until(path, "ROUTED")
    change = {"client_order_id": f"{order['client_order_id']}-2", "quantity": "50"}
    answer = api.call("PUT", path, json=change)
    assert (answer.status_code, answer.json()["status"]) == (202, "PENDING_REPLACE")
    assert api.until(path, "ROUTED")["quantity"] == "50"
    again = api.call("PUT", path, json=change)
    assert again.status_code == 202
    answer = api.call("DELETE", path)
    assert (answer.status_code, answer.json()["status"]) == (202, "PENDING_CANCEL")
    api.until(path, "CANCELLED")
    late = api.call("DELETE", path)
    assert (late.status_code, late.json()["code"]) == (409, "too_late")


def test_if_match_guards_against_a_version_that_is_not_current(api: Api) -> None:
    path = api.order().headers["location"]
    while not api.call("GET", path).json()["children"][0]["venue_order_id"]:
        pass
    read = api.call("GET", path)
    change = {"client_order_id": new_order()["client_order_id"], "quantity": "50"}
    stale = api.call("PUT", path, json=change, headers={"if-match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "version_conflict")
    assert api.call("DELETE", path, headers={"if-match": '"1"'}).status_code == 412
    odd = api.call("DELETE", path, headers={"if-match": "W/x"})
    assert (odd.status_code, odd.json()["code"]) == (422, "if_match")
    good = api.call("PUT", path, json=change, headers={"if-match": read.headers["etag"]})
    assert good.status_code == 202
    assert api.call("DELETE", path, headers={"if-match": read.headers["etag"]}).status_code == 412


def test_a_refused_order_exists_as_rejected_and_says_so_again(api: Api) -> None:
    order = new_order(quantity="100001")
    answer = api.call("POST", "/orders", json=order)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "max_order_qty")
    wrong = problem["errors"][0]
    assert (wrong["limit"], wrong["value"]) == ("100000", "100001")
    assert api.call("GET", answer.headers["location"]).json()["status"] == "REJECTED"
    again = api.call("POST", "/orders", json=order)
    assert (again.status_code, again.json()["code"]) == (422, "max_order_qty")
    assert again.json()["order_id"] == problem["order_id"]


def test_a_viewer_sees_orders_and_changes_none(api: Api) -> None:
    path = api.order().headers["location"]
    assert api.call("GET", path, "viewer").status_code == 200
    assert api.call("DELETE", path, "viewer").status_code == 403
    assert api.order("viewer").status_code == 403
    assert api.order("risk").status_code == 403
    assert api.call("DELETE", path, "risk").status_code == 202


# --- many orders -------------------------------------------------------------------------------------------


def test_each_order_of_a_batch_has_its_own_outcome_in_order(api: Api) -> None:
    first, second = new_order(), new_order()
    orders = [
        first,
        {**first, "quantity": "1"},
        {"symbol": "AAPL"},
        new_order(account_id="ACC-2"),
        second,
        first,
    ]
    answer = api.call("POST", "/orders:batch", json={"orders": orders})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [item["status"] for item in results] == [201, 409, 422, 403, 201, 200]
    assert results[0]["order"]["id"] == results[5]["order"]["id"]
    assert results[1]["problem"]["code"] == "duplicate_client_order_id"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"orders":[]}', 422, "batch_size"),
        (json.dumps({"orders": [{}] * 1001}).encode(), 422, "batch_size"),
        (b'{"orders":[],"orders":[{}]}', 400, "duplicate_key"),
        (b'{"orders":[{}],"more":1}', 422, "unknown_field"),
        (b"{}", 422, "missing_field"),
        (b'{"orders":1}', 422, "type"),
        (b'{"orders":[', 400, "invalid_json"),
        (b'{"orders":' + b"[" * 100_000, 400, "nesting_depth"),
        (b'{"orders":[' + b" " * 1_100_000 + b"]}", 413, "body_too_large"),
    ],
    ids=["none", "too many", "twice", "unknown", "missing", "type", "cut", "deep", "large"],
)
def test_a_batch_of_the_wrong_form_is_refused_whole(api: Api, body: bytes, status: int, code: str) -> None:
    answer = api.http.post("/orders:batch", content=body, headers=api.headers())
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_mass_cancel_asks_for_every_open_order_of_the_symbol(api: Api) -> None:
    wanted = [api.order(symbol="KO", price="60.00").json()["id"] for _ in range(3)]
    other = api.order(symbol="MSFT", price="400.00").json()["id"]
    answer = api.call("POST", "/orders:cancel", json={"account_id": "ACC-1", "symbol": "KO"})
    assert answer.status_code == 202
    assert set(answer.json()["requested"]) >= set(wanted)
    for order_id in wanted:
        api.until(f"/orders/{order_id}", "CANCELLED")
    assert api.call("GET", f"/orders/{other}").json()["status"] == "ROUTED"
    assert api.call("POST", "/orders:cancel", json={"account_id": "ACC-2"}).status_code == 403


# --- routing, risk, the service ----------------------------------------------------------------------------


def test_a_dry_run_plans_over_the_consolidated_book_and_leaves_nothing(
    server: tuple[Running, Api],
) -> None:
    running_, api = server
    before = len(running_.platform.state.orders)
    plan = api.call("POST", "/route", json=new_order(client_order_id=None, price="215.00")).json()
    assert sum(Decimal(leg["quantity"]) for leg in plan["legs"]) == 100
    assert {quote["venue"] for quote in plan["book"]} == {"ARCX", "BATS", "XNAS"}
    assert Decimal(plan["best_bid"]) < Decimal(plan["best_ask"])
    assert plan["routing_decision"]["selected_venue"] == plan["legs"][0]["venue"]
    refused = api.call("POST", "/route", json=new_order(quantity="100001"))
    assert (refused.status_code, refused.json()["code"]) == (422, "max_order_qty")
    assert "order_id" not in refused.json()
    assert len(running_.platform.state.orders) == before
    live = api.call("POST", "/route?live=true", json=new_order())
    assert live.status_code == 201
    assert len(running_.platform.state.orders) == before + 1


def test_a_kill_switch_stops_new_flow_until_it_is_released(api: Api) -> None:
    switch = {"scope": "SYMBOL", "value": "NVDA", "reason": "test"}
    resting = api.order(symbol="NVDA", price="115.00").json()["id"]
    assert api.call("POST", "/risk/kill-switches", json=switch).status_code == 403
    engaged = api.call("POST", "/risk/kill-switches", "risk", json=switch)
    assert engaged.status_code == 200
    assert resting in engaged.json()["requested"]
    listed = api.call("GET", "/risk/kill-switches").json()["items"]
    assert listed == [{"scope": "SYMBOL", "value": "NVDA", "reason": "test"}]
    refused = api.order(symbol="NVDA", price="115.00")
    assert (refused.status_code, refused.json()["code"]) == (422, "kill_switch")
    assert api.call("POST", "/risk/kill-switches:release", "risk", json=switch).status_code == 200
    assert api.order(symbol="NVDA", price="115.00").status_code == 201
    again = api.call("POST", "/risk/kill-switches:release", "risk", json=switch)
    assert (again.status_code, again.json()["code"]) == (422, "not_engaged")


def test_limits_are_set_by_risk_staff_and_seen_by_those_they_concern(api: Api) -> None:
    limit = {"rule": "max_order_qty", "value": "500", "account_id": "ACC-3"}
    assert api.call("PUT", "/risk/limits", json=limit).status_code == 403
    answer = api.call("PUT", "/risk/limits", "risk", json=limit)
    assert (answer.status_code, answer.json()["version"], answer.json()["author"]) == (200, 1, "risk")

    def seen(user: str) -> set[str]:
        return {item["account_id"] for item in api.call("GET", "/risk/limits", user).json()["items"]}

    assert "ACC-3" in seen("risk")
    assert "ACC-3" not in seen("trader")


def test_reference_data_and_health_are_served(api: Api) -> None:
    for path in ("/instruments", "/venues", "/accounts"):
        assert api.call("GET", path).json()["items"]
    assert {item["account_id"] for item in api.call("GET", "/accounts").json()["items"]} == {"ACC-1"}
    health = api.call("GET", "/health/detailed", "risk").json()
    assert health["venues"] == {"ARCX": "CONNECTED", "BATS": "CONNECTED", "XNAS": "CONNECTED"}
    assert health["durable_seq"] <= health["engine_seq"]
    assert api.call("GET", "/health/detailed").status_code == 403
    assert api.http.get("/version").json()["name"] == "qtinfra"
    assert api.call("GET", "/routing/analytics", "pm").json()["venues"]


def test_a_correlation_id_goes_through_and_a_bad_one_is_refused(api: Api) -> None:
    given = api.call("GET", "/orders", headers={"x-correlation-id": "desk-7:1"})
    assert given.headers["x-correlation-id"] == "desk-7:1"
    made = [api.http.get("/healthz").headers["x-correlation-id"] for _ in range(2)]
    assert made[0] != made[1]
    for bad in ("x" * 65, "a b", "<script>"):
        answer = api.http.get("/healthz", headers={"x-correlation-id": bad})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_correlation_id")
        assert bad not in answer.headers["x-correlation-id"]


def test_unknown_paths_and_methods_are_problems_too(api: Api) -> None:
    answer = api.http.get("/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_path")
    answer = api.http.patch("/orders")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    answer = api.call("PATCH", "/orders/00000000-0001-8000-8000-000000000001")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    for name in ("x-content-type-options", "content-security-policy", "x-correlation-id"):
        assert name in answer.headers


def test_an_overloaded_engine_refuses_new_orders_and_takes_cancels(tmp_path: Path) -> None:
    with running(tmp_path, max_waiting=5) as (_, api):
        resting = api.order().headers["location"]
        orders = [new_order() for _ in range(20)]
        results = api.call("POST", "/orders:batch", json={"orders": orders}).json()["results"]
        statuses = [item["status"] for item in results]
        assert statuses == [201] * 5 + [503] * 15
        assert results[-1]["problem"]["code"] == "overloaded"
        assert results[-1]["problem"]["retryable"] is True
        assert api.call("DELETE", resting).status_code == 202


def test_without_a_connected_venue_an_order_is_refused_with_its_reason(tmp_path: Path) -> None:
    with running(tmp_path) as (server, api):
        for mic in ("ARCX", "BATS", "XNAS"):
            server.do(SetVenueStatus(mic, VenueStatus.DISCONNECTED, "test"))
        answer = api.order()
        assert (answer.status_code, answer.json()["code"]) == (422, "no_venue")
        assert api.call("GET", "/health/detailed", "risk").json()["status"] == "degraded"


def test_when_the_journal_fails_nobody_is_left_waiting_or_told_that_it_worked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as (server, api):
        kept = api.order().headers["location"]

        def broken() -> None:
            raise JournalError("the disk is gone")

        monkeypatch.setattr(server.platform.shard._loop.journal, "seal", lambda entries: broken)
        for _ in range(2):
            answer = api.order()
            assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
            assert "disk" not in answer.text
        assert api.http.get("/healthz").json()["code"] == "shard_stopped"
        assert api.call("GET", kept).status_code == 503
        assert api.call("GET", "/health/detailed", "risk").json()["status"] == "stopped"
    with running(tmp_path) as (_, api):
        assert api.call("GET", kept).status_code == 200


# --- what is described -------------------------------------------------------------------------------------


def test_the_description_covers_every_operation_and_refers_to_nothing_missing(api: Api) -> None:
    found = api.http.get("/openapi.json").json()
    operations = {(method, path) for path, methods in found["paths"].items() for method in methods}
    assert operations >= {
        ("post", "/orders"),
        ("get", "/orders"),
        ("get", "/orders/{id}"),
        ("put", "/orders/{id}"),
        ("delete", "/orders/{id}"),
        ("post", "/orders:batch"),
        ("post", "/orders:cancel"),
        ("post", "/route"),
        ("get", "/routing/analytics"),
        ("get", "/healthz"),
        ("get", "/metrics"),
    }
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(found)))
    assert sorted(named - found["components"]["schemas"].keys()) == []
    for methods in found["paths"].values():
        for operation in methods.values():
            assert operation["responses"].keys() >= {"400", "503"}


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_pages_of_the_description_need_no_other_host(api: Api, page: str) -> None:
    text = api.http.get(page).text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert loaded
    assert [url for url in loaded if not url.startswith("/")] == []
    for url in loaded:
        assert api.http.get(url).status_code == 200, url


# --- settings, restarts ------------------------------------------------------------------------------------


def test_production_does_not_start_with_the_development_login(tmp_path: Path) -> None:
    async def start() -> None:
        async with serving(Settings(data_dir=tmp_path, environment="production")):
            pass

    with pytest.raises(SecurityError) as raised:
        asyncio.run(start())
    assert raised.value.error_code == "dev_login_forbidden"


def test_orders_survive_an_orderly_stop(tmp_path: Path) -> None:
    with running(tmp_path) as (_, api):
        filled = api.call("POST", "/orders", json=marketable(api)).headers["location"]
        api.until(filled, "FILLED")
        resting = api.order().headers["location"]
        api.until(resting, "ROUTED")
    with running(tmp_path) as (server, api):
        assert server.platform.state.epoch == 2
        assert api.call("GET", filled).json()["status"] == "FILLED"
        assert api.until(resting, "CANCELLED")["filled_quantity"] == "0"
        assert api.call("GET", "/positions?symbol=AAPL").json()["items"][0]["quantity"] == "100"
        assert api.order().status_code == 201


def test_every_acknowledged_order_is_there_after_a_kill(tmp_path: Path) -> None:
    with server_process(tmp_path) as (process, api):
        answers = [api.order() for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [answer.status_code for answer in answers] == [201] * 50
    with server_process(tmp_path) as (process, api):
        for answer in answers:
            read = api.call("GET", answer.headers["location"]).json()
            assert read["client_order_id"] == answer.json()["client_order_id"]
        sent = [answer.json() for answer in answers]
        names = ("symbol", "side", "quantity", "price", "order_type", "client_order_id", "account_id")
        again = api.call("POST", "/orders", json={name: sent[0][name] for name in names})
        assert (again.status_code, again.json()["id"]) == (200, sent[0]["id"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM, 143)
