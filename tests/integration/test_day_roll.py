"""A server over the end of its trading date: real time that a test moves ahead, a real journal."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from qtinfra.core.commands import SetVenueStatus, SetVolumeCurve, TimerFired, TimerKind
from qtinfra.core.extended_models import VenueStatus
from qtinfra.core.marking import MarkSource
from qtinfra.infra.clock import SystemClock
from qtinfra.journal.sqlite import SqliteJournal
from tests.support.server import PATIENCE_S, Api, new_order, running

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the calendar library's own use of pandas
]

SECOND = 10**9
DAYS = [f"2026-07-{day:02}" for day in range(7, 12)]


class Ahead(SystemClock):
    """Time that passes as it does, from a moment that a test sets and moves ahead."""

    def __init__(self, start: str) -> None:
        super().__init__()
        self.offset_ns = 0
        self.move_to(start)

    def now_ns(self) -> int:
        return super().now_ns() + self.offset_ns

    def move_to(self, moment: str) -> None:
        at_s = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())
        self.offset_ns += at_s * SECOND - self.now_ns()


def until(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def health(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.call("GET", "/health/detailed", "admin").json()
    return found


def filled(api: Api) -> dict[str, Any]:
    order = api.order(symbol="KO", price=None, order_type="MARKET")
    assert order.status_code == 201, order.text
    return api.until(order.headers["location"], "FILLED")


def timers(directory: Path) -> list[tuple[str, str, str]]:
    """Who fired which timer of the day, as journaled."""
    journal = SqliteJournal.open_readonly(directory / "journal.sqlite")
    try:
        entries = [record.entry for record in journal.records()]
    finally:
        journal.close()
    found = [(entry.actor, entry.command) for entry in entries if isinstance(entry.command, TimerFired)]
    kinds = (TimerKind.DAY_CLOSE, TimerKind.DAY_OPEN)
    return [(actor, item.kind.value, item.trade_date) for actor, item in found if item.kind in kinds]


def test_the_date_rolls_at_midnight_while_orders_come(tmp_path: Path) -> None:
    clock = Ahead("2026-07-07T23:59:30")
    with running(tmp_path, clock) as (server, api):
        day = health(api)["day"]
        assert day == {
            "trade_date": DAYS[0],
            "open": True,
            "in_session": True,
            "next": "DAY_CLOSE",
            "next_date": DAYS[0],
            "next_at": f"{DAYS[1]}T00:00:00.000000Z",
        }
        traded = filled(api)
        today, lasting = (api.order(time_in_force=tif).headers["location"] for tif in ("DAY", "GTC"))
        for path in (today, lasting):
            api.until(path, "ROUTED")
        clock.move_to("2026-07-08T00:00:01")
        until(lambda: health(api)["trade_date"] == DAYS[1])
        api.until(today, "EXPIRED")
        until(lambda: set(health(api)["venues"].values()) == {"CONNECTED"})
        assert api.call("GET", lasting).json()["status"] == "ROUTED"
        assert health(api)["day"]["next_date"] == DAYS[1]
        again = filled(api)
        trades = {e["trade_date"] for e in [*traded["executions"], *again["executions"]]}
        assert trades == set(DAYS[:2])
        assert api.call("DELETE", lasting).status_code == 202
        api.until(lasting, "CANCELLED")
        state = server.platform.state
        closes = state.books.marks[MarkSource.CLOSE]
        assert set(closes) == set(state.instruments)
        assert all(state.reference_prices[symbol] == mark.px for symbol, mark in closes.items())
        prices = dict(state.reference_prices)
    assert timers(tmp_path) == [
        ("timer", "DAY_OPEN", DAYS[0]),
        ("timer", "DAY_CLOSE", DAYS[0]),
        ("timer", "DAY_OPEN", DAYS[1]),
    ]
    with running(tmp_path, clock) as (_, api):  # the market begins where it was journaled last
        asked = new_order(symbol="KO", price=None, order_type="MARKET")
        book = api.call("POST", "/route", json=asked).json()
        assert abs(Decimal(book["best_ask"]) - prices["KO"]) < Decimal("0.2")


def test_a_restart_does_what_was_missed(tmp_path: Path) -> None:
    clock = Ahead("2026-07-07T12:00:00")
    with running(tmp_path, clock) as (_, api):
        order = api.order().headers["location"]
        lasting = api.order(time_in_force="GTC").headers["location"]
        api.until(order, "ROUTED")
    clock.move_to("2026-07-10T09:00:00")
    with running(tmp_path, clock) as (server, api):
        assert server.platform.state.trade_date == DAYS[3]
        assert health(api)["day"]["open"]
        assert api.call("GET", order).json()["status"] in ("EXPIRED", "CANCELLED")
        assert api.call("GET", lasting).status_code == 200
        assert filled(api)["executions"][0]["trade_date"] == DAYS[3]
    assert timers(tmp_path) == [
        ("timer", "DAY_OPEN", DAYS[0]),
        ("timer", "DAY_CLOSE", DAYS[0]),
        ("timer", "DAY_OPEN", DAYS[3]),
    ]


def test_a_date_that_was_ended_by_hand_stays_so_over_a_restart_until_the_next_open(tmp_path: Path) -> None:
    clock = Ahead("2026-07-07T23:30:00")
    with running(tmp_path, clock) as (_, api):
        step = {"step": "DAY_CLOSE", "trade_date": DAYS[0]}
        assert api.call("POST", "/admin/day:roll", "admin", json=step).status_code == 200
    with running(tmp_path, clock) as (_, api):
        day = health(api)["day"]
        assert (day["open"], day["in_session"], day["next_date"]) == (False, False, DAYS[1])
        early = api.order(symbol="KO", price="66.00").headers["location"]  # through the offer
        api.until(early, "ROUTED")
        clock.move_to("2026-07-08T00:00:00")
        executed = api.until(early, "FILLED")["executions"]
        assert {item["trade_date"] for item in executed} == {DAYS[1]}
    assert timers(tmp_path)[1:] == [("admin", "DAY_CLOSE", DAYS[0]), ("timer", "DAY_OPEN", DAYS[1])]


def test_a_partly_filled_day_order_is_over_and_keeps_what_it_traded(tmp_path: Path) -> None:
    clock = Ahead("2026-07-07T23:59:50")
    with running(tmp_path, clock) as (server, api):
        book = api.call(
            "POST", "/route", json=new_order(symbol="XOM", price=None, order_type="MARKET")
        ).json()
        order = api.order(symbol="XOM", quantity="80000", price=book["best_ask"]).json()["id"]
        assert Decimal(api.until(f"/orders/{order}", "PARTIALLY_FILLED")["filled_quantity"]) > 0
        clock.move_to("2026-07-08T00:00:00")
        until(lambda: order not in server.platform.state.open_orders)
        found = api.call("GET", f"/orders/{order}").json()
        assert found["status"] in ("DONE_FOR_DAY", "EXPIRED")  # the engine's word or the venue's, if earlier
        assert 0 < Decimal(found["filled_quantity"]) < 80_000
        assert found["remaining_quantity"] == "0"


def test_on_an_exchange_calendar_orders_wait_for_the_open(tmp_path: Path) -> None:
    clock = Ahead("2026-07-03T19:59:50")  # the observed holiday: no session
    with running(tmp_path, clock, calendar="XNYS") as (server, api):
        found = health(api)
        assert (found["trade_date"], found["status"]) == ("2026-07-06", "ok")
        assert (found["day"]["open"], found["day"]["in_session"]) == (True, False)
        refused = api.order(symbol="KO", price=None, order_type="MARKET").json()
        assert refused["code"] == "market_closed"
        early = api.order(symbol="KO", price="65.00").headers["location"]  # through the offer
        api.until(early, "ROUTED")
        calendar = server.platform.state.calendars["XNAS"]
        assert calendar.close_of("2026-11-27") == _ns("2026-11-27T18:00:00")  # a half day
        clock.move_to("2026-07-06T13:29:55")
        api._tokens.clear()  # those of the Friday have expired
        assert api.call("GET", early).json()["status"] == "ROUTED"
        clock.move_to("2026-07-06T13:30:00")
        found = api.until(early, "FILLED")
        assert filled(api)["executions"][0]["trade_date"] == "2026-07-06"
        assert {item["trade_date"] for item in found["executions"]} == {"2026-07-06"}


def _ns(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * SECOND


def test_a_venue_that_was_cut_off_before_the_close_does_not_trade_by_the_roll_alone(tmp_path: Path) -> None:
    clock = Ahead("2026-07-07T23:59:58")
    with running(tmp_path, clock) as (server, api):
        server.do(SetVenueStatus("XNAS", VenueStatus.DISCONNECTED, "cut"))
        clock.move_to("2026-07-08T00:00:00")
        until(lambda: health(api)["trade_date"] == DAYS[1])
        found = health(api)
        assert (found["venues"]["XNAS"], found["status"]) == ("DISCONNECTED", "degraded")


def worked(api: Api, algo: str, ends: str) -> str:
    """The first status of an order that an algo is to work until then."""
    terms = {"name": algo, "start_time": ends[:11] + "00:00:00Z", "end_time": ends}
    made = api.order(symbol="KO", price=None, order_type="MARKET", quantity="900", algo=terms)
    assert made.status_code == 201, made.text
    return str(made.json()["status"])


def test_algos_that_need_a_volume_curve_or_profile_are_planned_on_each_date(tmp_path: Path) -> None:
    clock = Ahead("2026-07-08T23:40:00")
    with running(tmp_path, clock=clock) as (_, api):
        assert [worked(api, algo, "2026-07-08T23:55:00Z") for algo in ("VWAP", "IS")] == ["VALIDATED"] * 2
        clock.move_to("2026-07-09T00:00:01")
        until(lambda: health(api)["trade_date"] == "2026-07-09")
        until(lambda: curve_dates(tmp_path)["KO"] == "2026-07-09")
        assert worked(api, "VWAP", "2026-07-09T01:00:00Z") == "VALIDATED"


def curve_dates(directory: Path) -> dict[str, str]:
    """The date of each symbol's latest volume curve, as journaled."""
    journal = SqliteJournal.open_readonly(directory / "journal.sqlite")
    try:
        commands = [record.entry.command for record in journal.records()]
    finally:
        journal.close()
    return {item.symbol: item.trade_date for item in commands if isinstance(item, SetVolumeCurve)}
