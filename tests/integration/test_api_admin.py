"""What an operator does by REST: revoking tokens, the trading date by hand, cash, marks, fees, positions."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jws
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from qtinfra.cli import main
from qtinfra.client import Client
from qtinfra.core.marking import MarkSource
from qtinfra.core.models import Currency
from qtinfra.infra.clock import SystemClock
from tests.support.server import PATIENCE_S, Api, Running, running

pytestmark = pytest.mark.integration

REVOKE, REVOKED = "/admin/tokens:revoke", "/admin/tokens:revoked"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Api]]:
    with running(tmp_path_factory.mktemp("admin")) as found:
        yield found


@pytest.fixture
def api(server: tuple[Running, Api]) -> Api:
    return server[1]


def fresh(api: Api, user: str = "viewer") -> tuple[str, str]:
    """A new token of a user, and its jti."""
    token = api.http.post("/auth/token", json={"user": user}).json()["access_token"]
    return token, json.loads(jws.extract_compact(token.encode()).payload)["jti"]


def look(api: Api, token: str) -> tuple[int, str]:
    answer = api.http.get("/orders", headers={"authorization": f"Bearer {token}"})
    return answer.status_code, answer.json().get("code", "")


def admin(api: Api, path: str, method: str = "POST", **message: Any) -> httpx.Response:
    return api.call(method, path, "admin", json=message)


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# --- tokens ------------------------------------------------------------------------------------------------


def test_a_revoked_token_is_refused_by_the_next_request_and_another_one_is_not(api: Api) -> None:
    (bad, jti), (good, _) = fresh(api), fresh(api)
    assert (look(api, bad)[0], look(api, good)[0]) == (200, 200)  # both remembered by now
    answer = admin(api, REVOKE, token_id=jti, reason="leaked")
    assert answer.status_code == 200
    assert look(api, bad) == (401, "revoked_token")
    assert look(api, good)[0] == 200
    assert answer.json()["token_id"] == jti and answer.json()["author"] == "admin"
    assert jti in [item["token_id"] for item in api.call("GET", REVOKED, "admin").json()["items"]]


def test_revoking_a_subject_refuses_all_that_it_has_and_not_what_it_gets_later(tmp_path: Path) -> None:
    offset_s = 0
    clock = SystemClock(wall_ns=lambda: 1_783_500_000 * 10**9)

    class Moved(SystemClock):
        def now_ns(self) -> int:
            return clock.now_ns() + offset_s * 10**9

    with running(tmp_path, Moved()) as (_, api):
        tokens = [fresh(api, "compliance")[0] for _ in range(2)]
        assert admin(api, REVOKE, subject="compliance").status_code == 200
        assert {look(api, token) for token in tokens} == {(401, "revoked_token")}
        assert look(api, api.token("trader"))[0] == 200
        offset_s = 2
        assert look(api, fresh(api, "compliance")[0])[0] == 200
        assert {look(api, token) for token in tokens} == {(401, "revoked_token")}


def test_a_restart_forgets_no_revocation(tmp_path: Path) -> None:
    with running(tmp_path) as (_, api):
        (by_id, jti), (by_subject, _), (kept, _) = fresh(api), fresh(api, "pm"), fresh(api)
        admin(api, REVOKE, token_id=jti)
        admin(api, REVOKE, subject="pm", reason="left")
    with running(tmp_path) as (_, api):
        assert [look(api, token) for token in (by_id, by_subject)] == [(401, "revoked_token")] * 2
        assert look(api, kept)[0] == 200
        items = api.call("GET", REVOKED, "admin").json()["items"]
        assert [(item["subject"], item["token_id"]) for item in items] in (
            [("pm", None), (None, jti)],
            [(None, jti), ("pm", None)],
        )


def test_only_admin_may_revoke_and_see_what_is_revoked(api: Api) -> None:
    for user in ("viewer", "trader", "pm", "risk", "compliance"):
        token, jti = fresh(api, user)
        answer = api.call("POST", REVOKE, user, json={"token_id": jti})
        assert code_of(answer) == (403, "forbidden")
        assert code_of(api.call("GET", REVOKED, user)) == (403, "forbidden")
        assert look(api, token)[0] == 200


def test_a_stream_ends_when_its_token_is_revoked(api: Api) -> None:
    token, jti = fresh(api, "trader")
    headers = {"authorization": f"Bearer {token}"}
    with connect(f"ws://127.0.0.1:{api.port}/stream", additional_headers=headers) as socket:
        socket.recv(PATIENCE_S)
        admin(api, REVOKE, token_id=jti)
        socket.send('{"op": "ping"}')
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                socket.recv(PATIENCE_S)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "revoked_token")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({}, "missing_field"),
        ({"token_id": "a", "subject": "b"}, "not_allowed_with"),
        ({"token_id": "a", "issued_before": "2026-07-08T20:00:00Z"}, "not_allowed_with"),
        ({"subject": "a", "expires_at": "2026-07-08T20:00:00Z"}, "not_allowed_with"),
        ({"subject": "a", "issued_before": "2099-07-08T20:00:00Z"}, "number_out_of_range"),
        ({"subject": ""}, "max_length"),
        ({"subject": "x" * 129}, "max_length"),
        ({"token_id": 7}, "type"),
        ({"subject": "a", "expires_at": "soon"}, "date_format"),
        ({"subject": "a", "until": 1}, "unknown_field"),
    ],
)
def test_what_names_no_token_is_refused(api: Api, message: dict[str, Any], code: str) -> None:
    answer = api.call("POST", REVOKE, "admin", json=message)
    assert answer.status_code == 422
    assert code in {error["code"] for error in answer.json()["errors"]} | {answer.json()["code"]}


def test_the_client_and_the_command_line_revoke(
    api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{api.port}"
    (first, jti), (second, other) = fresh(api), fresh(api)
    with Client(url, api.token("admin")) as client:
        ends = datetime.now(UTC) + timedelta(hours=1)
        assert client.revoke(token_id=jti, expires_at=ends).token_id == jti
        assert jti in {item.token_id for item in client.revocations()}
    assert look(api, first) == (401, "revoked_token")
    monkeypatch.setenv("QTINFRA_TOKEN", api.token("admin"))
    assert main(["token", "revoke", "--id", other, "--url", url, "--reason", "lost"]) == 0
    assert other in capsys.readouterr().out
    assert look(api, second) == (401, "revoked_token")
    assert main(["token", "revoke", "--url", url]) == 2
    monkeypatch.setenv("QTINFRA_TOKEN", api.token("trader"))
    assert main(["token", "revoke", "--subject", "admin", "--url", url]) == 1
    assert look(api, api.token("admin")) == (403, "forbidden")  # known, and may not see orders


# --- the trading date --------------------------------------------------------------------------------------


def test_the_date_rolls_by_hand_and_orders_go_on_under_the_next_one(tmp_path: Path) -> None:
    with running(tmp_path) as (server, api):
        order = api.order().json()["id"]
        lasting = api.order(time_in_force="GTC").headers["location"]
        api.until(f"/orders/{order}", "ROUTED")
        today = api.call("GET", "/health/detailed", "admin").json()["day"]
        assert code_of(admin(api, "/admin/day:roll", step="DAY_OPEN", trade_date=today["trade_date"])) == (
            409,
            "not_the_next_step",
        )
        closed = admin(api, "/admin/day:roll", step=today["next"], trade_date=today["next_date"]).json()
        assert (closed["open"], closed["in_session"], closed["next"]) == (False, False, "DAY_OPEN")
        assert api.until(f"/orders/{order}", "EXPIRED")["remaining_quantity"] == "0"
        opened = admin(api, "/admin/day:roll", step="DAY_OPEN", trade_date=closed["next_date"]).json()
        assert (opened["open"], opened["in_session"]) == (True, True)
        assert opened["trade_date"] > today["trade_date"]
        assert api.call("GET", lasting).json()["status"] == "ROUTED"
        path = api.order(price=None, order_type="MARKET").headers["location"]
        assert api.until(path, "FILLED")["executions"][0]["trade_date"] == opened["trade_date"]
        assert server.platform.days.next() is not None


# --- the books ---------------------------------------------------------------------------------------------


def test_cash_is_loaded_paid_and_exchanged_and_a_payment_is_booked_once(tmp_path: Path) -> None:
    with running(tmp_path) as (server, api):
        cash = {"account_id": "ACC-1", "currency": "USD"}
        assert admin(api, "/admin/cash:load", **cash, amount="100000.50").json()["changed"] is True
        paid = {**cash, "payment_id": "P-1", "amount": "-100.5", "reason": "fee"}
        assert admin(api, "/admin/cash:pay", **paid).json()["changed"] is True
        assert admin(api, "/admin/cash:pay", **paid).json()["changed"] is False
        assert code_of(admin(api, "/admin/cash:pay", **{**paid, "amount": "7"})) == (422, "payment_exists")
        dealt = {"sold_currency": "USD", "sold_amount": "1100", "bought_currency": "EUR"}
        exchange = {"payment_id": "X-1", "account_id": "ACC-1", **dealt, "bought_amount": "1000"}
        assert admin(api, "/admin/cash:exchange", **exchange).status_code == 200
        book = server.platform.state.cash
        assert book is not None
        balances = {currency: item.total for currency, item in book.accounts["ACC-1"].items()}
        assert balances[Currency.USD] == Decimal("98800") and balances[Currency.EUR] == Decimal(1000)
        none = {"account_id": "ACC-2", "currency": "USD", "payment_id": "P-2", "amount": "1"}
        assert code_of(admin(api, "/admin/cash:pay", **none)) == (422, "cash_not_kept")


def test_a_position_is_loaded_before_the_first_trade_only(api: Api) -> None:
    message = {"account_id": "ACC-2", "symbol": "JPM", "quantity": "-300", "average_cost": "204.5"}
    assert admin(api, "/admin/positions:load", **message).status_code == 200
    rows = api.call("GET", "/positions?account_id=ACC-2&symbol=JPM", "compliance").json()["items"]
    assert [(row["quantity"], row["average_cost"]) for row in rows] == [("-300", "204.5")]
    api.until(
        api.order("pm", account_id="ACC-2", symbol="JPM", price=None, order_type="MARKET").headers[
            "location"
        ],
        "FILLED",
        "pm",
    )
    again = admin(api, "/admin/positions:load", **message)
    assert code_of(again) == (422, "already_traded")
    assert again.json()["errors"][0]["field"] == "quantity"


def test_marks_rates_and_retention_are_set(server: tuple[Running, Api]) -> None:
    running_server, api = server
    state = running_server.platform.state
    assert admin(api, "/admin/marks", "PUT", symbol="KO", price="61.25").status_code == 200
    assert state.books.marks[MarkSource.MANUAL]["KO"].px == Decimal("61.25")
    assert admin(api, "/admin/marks", "PUT", symbol="KO").status_code == 200
    assert "KO" not in state.books.marks[MarkSource.MANUAL]
    refused = admin(api, "/admin/marks", "PUT", symbol="KO", price="61", source="MID")
    assert code_of(refused) == (422, "bad_source")
    future = admin(api, "/admin/marks", "PUT", symbol="KO", price="61", observed_at="2099-01-01T00:00:00Z")
    assert (code_of(future), future.json()["errors"][0]["field"]) == ((422, "bad_time"), "observed_at")
    assert admin(api, "/admin/fx-rates", "PUT", base="EUR", quote="USD", rate="1.0825").status_code == 200
    assert state.fx_rates["EUR/USD"] == Decimal("1.0825")
    assert admin(api, "/admin/retention", "PUT", days=12).status_code == 200
    assert state.books.retention == 12
    assert code_of(admin(api, "/admin/retention", "PUT", days=401)) == (422, "out_of_range")
    assert code_of(admin(api, "/admin/retention", "PUT", days="1.5")) == (422, "number_format")


def test_a_fee_schedule_charges_from_its_day_on(tmp_path: Path) -> None:
    tiers = [{"floor": "0", "per_unit": "0.01"}, {"floor": "1000", "per_unit": "0.005", "bps": "-0.5"}]
    line: dict[str, Any] = {"tiers": tiers, "sides": ["BUY"], "liquidity": ["REMOVED"]}
    schedule: dict[str, Any] = {
        "schedule_id": "north-1",
        "client": "north",
        "currency": "USD",
        "effective_from": "2020-01-01",
        "lines": [line, {"tiers": [{"floor": "0", "bps": "2"}]}],
        "minimum": "1.5",
    }
    with running(tmp_path) as (_, api):
        assert admin(api, "/admin/fee-schedules", **schedule).json()["changed"] is True
        assert admin(api, "/admin/fee-schedules", **schedule).json()["changed"] is False
        order = api.until(api.order(price=None, order_type="MARKET").headers["location"], "FILLED")
        assert sum(Decimal(item["commission"]) for item in order["executions"]) == Decimal("1.5")
        other = {**schedule, "minimum": "2"}
        assert code_of(admin(api, "/admin/fee-schedules", **other)) == (422, "schedule_exists")
        bad = {**schedule, "schedule_id": "north-2", "lines": [line]}
        assert code_of(admin(api, "/admin/fee-schedules", **bad)) == (422, "bad_fee_schedule")
        wrong = {**schedule, "lines": [{"tiers": [{"floor": "0", "bps": "x"}]}]}
        found = admin(api, "/admin/fee-schedules", **wrong).json()["errors"]
        assert [(item["field"], item["code"]) for item in found] == [
            ("lines[0].tiers[0].bps", "number_format")
        ]


def test_what_is_done_by_hand_is_journaled_with_its_author_and_survives_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as (_, api):
        admin(api, "/admin/cash:load", account_id="ACC-3", currency="USD", amount="5")
    with running(tmp_path) as (server, api):
        cash = server.platform.state.cash
        assert cash is not None and Currency.USD in cash.accounts["ACC-3"]
        outsider = api.call("POST", "/admin/cash:load", "risk", json={"account_id": "ACC-3"})
        assert code_of(outsider) == (403, "forbidden")
