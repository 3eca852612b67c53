"""Scored routing over REST: what the router expected of an order, and the analytics by venue."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from qtinfra.bootstrap.routes import RouteScores
from qtinfra.core.commands import SetRoutingPolicy
from qtinfra.core.events import Entry
from qtinfra.core.routing import RoutingPolicy
from qtinfra.core.routing_events import RouteScored
from qtinfra.engine.routing_analytics import routing_analytics
from tests.support.server import Api, Running, new_order, running

pytestmark = pytest.mark.integration

COUNTS = ("sent", "filled", "partly", "missed", "fill_rate_low", "fill_rate_high")
AMOUNTS = ("notional", "open_notional", "fees", "rebates", "slippage")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Api]]:
    with running(tmp_path_factory.mktemp("routing"), venue_latency_us=50) as found:
        yield found


def taker(api: Api, symbol: str = "AAPL") -> dict[str, Any]:
    """An order that takes what is displayed at the touch now."""
    asked = new_order(symbol=symbol, price=None, order_type="MARKET")
    plan = api.call("POST", "/route", json=asked).json()
    return new_order(symbol=symbol, price=str(Decimal(plan["best_ask"]) + 1))


def analytics(api: Api, user: str) -> dict[str, Any]:
    found: dict[str, Any] = api.call("GET", "/routing/analytics", user).json()
    return found


def test_a_first_start_scores_routes_and_protects_the_us_quotes(server: tuple[Running, Api]) -> None:
    routing = server[0].platform.state.routing
    assert routing is not None
    assert [(rule.country, rule.venues) for rule in routing.rules] == [("US", ("ARCX", "BATS", "XNAS"))]


def test_post_get_and_lists_show_what_the_router_expected(server: tuple[Running, Api]) -> None:
    api = server[1]
    order = api.call("POST", "/orders", json=taker(api)).json()
    decision = order["routing_decision"]
    scored = server[0].platform.routes.of(order["id"])
    assert scored is not None
    assert decision["confidence_score"] == round(scored[0] / 1e6, 4)
    assert decision["expected_fill_rate"] == round(scored[1] / 1e6, 4)
    assert 0 < decision["confidence_score"] <= decision["expected_fill_rate"] <= 1
    assert api.call("GET", f"/orders/{order['id']}").json()["routing_decision"] == decision
    listed = api.call("GET", f"/orders?client_order_id={order['client_order_id']}").json()["items"]
    assert [item["routing_decision"] for item in listed] == [decision]


def test_a_dry_run_says_what_it_expects_and_nothing_is_remembered(server: tuple[Running, Api]) -> None:
    api = server[1]
    plan = api.call("POST", "/route", json=new_order(client_order_id=None, price="215.00")).json()
    assert 0 < plan["routing_decision"]["confidence_score"] <= 1
    assert 0 < plan["routing_decision"]["expected_fill_rate"] <= 1


def test_who_sees_every_account_gets_ranked_venues_with_counts_costs_and_reliability(
    server: tuple[Running, Api],
) -> None:
    running_, api = server
    for _ in range(12):
        order = api.call("POST", "/orders", json=taker(api)).json()
        api.until(f"/orders/{order['id']}", "FILLED")
    found, own = analytics(api, "risk"), routing_analytics(running_.platform.state)
    assert found["scored"]
    assert [venue["scores"]["rank"] for venue in found["venues"]] == [1, 2, 3]
    assert [venue["venue"] for venue in found["venues"]] == [venue.venue for venue in own.venues]
    activities = [item for venue in found["venues"] for item in venue["scores"]["activities"]]
    assert sum(item["filled"] for item in activities) >= 12
    for item in activities:
        assert item["fill_rate_low"] <= item["fill_rate"] <= item["fill_rate_high"]
    used = [venue["scores"] for venue in found["venues"] if venue["scores"]["latency"]["answers"]]
    for scores in used:
        assert 0 < scores["latency"]["p50_ms"] <= scores["latency"]["p90_ms"] <= scores["latency"]["p99_ms"]
        assert Decimal(scores["costs"]["notional"]) >= 0
        assert scores["breaker"] == {"phase": "CLOSED", "openings": 0, "probes": 0}
    assert used
    assert sum(item["orders"] for item in found["reliability"]) >= 12
    assert 0 <= found["calibration_error"] <= 1


def test_without_every_account_no_count_amount_or_interval_is_shown(server: tuple[Running, Api]) -> None:
    api = server[1]
    order = api.call("POST", "/orders", json=taker(api)).json()
    api.until(f"/orders/{order['id']}", "FILLED")
    found = analytics(api, "pm")
    assert (found["reliability"], found["calibration_error"]) == (None, None)
    assert any(venue["scores"]["activities"] for venue in found["venues"])
    for venue in found["venues"]:
        scores = venue["scores"]
        assert [
            item[name] for item in scores["activities"] for name in COUNTS if item[name] is not None
        ] == []
        assert [name for name in AMOUNTS if scores["costs"][name] is not None] == []
        assert scores["latency"]["answers"] is None
        assert scores["rank"] >= 1


def test_after_a_restart_the_decision_is_the_same_and_so_are_the_statistics(tmp_path: Path) -> None:
    with running(tmp_path) as (_, api):
        order = api.order(price="150.00").json()
        sent = sent_by_venue(analytics(api, "risk"))
    assert order["routing_decision"]["confidence_score"] is not None
    with running(tmp_path) as (server, api):
        again = api.call("GET", f"/orders/{order['id']}").json()["routing_decision"]
        (listed,) = api.call("GET", f"/orders?id={order['id']}").json()["items"]
        assert sent_by_venue(analytics(api, "risk")) == sent
        assert server.platform.routes.of(order["id"]) is None
    assert again == listed["routing_decision"] == order["routing_decision"]
    assert sum(sent.values()) == 1


def sent_by_venue(found: dict[str, Any]) -> dict[str, int]:
    return {
        venue["venue"]: sum(item["sent"] for item in venue["scores"]["activities"])
        for venue in found["venues"]
    }


def test_of_an_order_that_is_remembered_no_longer_the_tables_say_what_was_expected(
    server: tuple[Running, Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    running_, api = server
    order = api.call("POST", "/orders", json=taker(api)).json()
    assert order["routing_decision"]["confidence_score"] is not None
    monkeypatch.setattr(running_.platform, "routes", RouteScores(kept=0))
    found = api.call("GET", f"/orders/{order['id']}").json()
    assert found["routing_decision"] == order["routing_decision"]


def record(order_id: str, confidence: int) -> Entry:
    scored = RouteScored(order_id, "SWEEP", (), confidence, confidence, False, 1)
    return Entry(0, 1, 1, 1, 1, "desk", "", SetRoutingPolicy(RoutingPolicy()), (), (scored,))


def test_of_the_routes_of_an_order_the_latest_counts_and_the_oldest_orders_go_first() -> None:
    scores = RouteScores(kept=2)
    scores.note([record("a", 1), record("b", 5), record("b", 2)])
    assert (scores.of("a"), scores.of("b")) == ((1, 1), (2, 2))
    scores.note([record("a", 3)])
    assert (scores.of("a"), scores.of("b")) == ((3, 3), (2, 2))
    scores.note([record("c", 4)])
    assert (scores.of("a"), scores.of("b"), scores.of("c")) == ((3, 3), None, (4, 4))
