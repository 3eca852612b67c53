"""The client and its commands against a running server: real sockets, a real journal, a simulated market."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from qtinfra.api.main import create_app
from qtinfra.cli import main
from qtinfra.client import (
    AsyncClient,
    Client,
    ConflictError,
    ForbiddenError,
    NotAuthenticatedError,
    NotFoundError,
    Order,
    OrderDetail,
    PreconditionError,
    RefusedError,
    RetryPolicy,
    RoutingTerms,
    TransportError,
)
from qtinfra.core.extended_models import KillScope
from qtinfra.core.models import OrderStatus
from qtinfra.infra.config import Settings
from qtinfra.infra.security.login import DevLogin

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("client")]

FAR = "150.00"  # a bid that the market does not reach
NOBODY = "00000000-0000-8000-8000-000000000000"


class Running:
    """A server on a port of its own, in a thread."""

    def __init__(self, data_dir: Path) -> None:
        settings = Settings(data_dir=data_dir, environment="test", market_seed=7)
        config = uvicorn.Config(
            create_app(lambda: settings),
            host="127.0.0.1",
            port=0,
            log_level="warning",
            lifespan="on",
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="server")
        self.data_dir = data_dir
        self.url = ""

    def start(self) -> None:
        self._thread.start()
        wait_for(lambda: self._server.started or not self._thread.is_alive())
        assert self._server.started
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()

    def token(self, user: str) -> str:
        return DevLogin("test", self.data_dir).token(user, time.time())

    def client(self, user: str = "trader", **settings: Any) -> Client:
        return Client(self.url, self.token(user), **settings)


def wait_for(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("server") / "data")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def trader(server: Running) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def aapl(server: Running) -> Decimal:
    """A price that the market offers AAPL at."""
    with server.client() as client:
        offer: list[Decimal] = []

        def quoted() -> bool:
            preview = client.route("AAPL", "BUY", 100)
            offer.extend([preview.best_ask] if preview.best_ask is not None and preview.legs else [])
            return bool(offer)

        wait_for(quoted)
        return offer[0]


def settled(client: Client, order: Order, *statuses: OrderStatus) -> OrderDetail:
    """The order once it has one of the statuses."""
    wait_for(lambda: client.get(order.id).status in statuses)
    return client.get(order.id)


class Lossy(httpx.BaseTransport):
    """The network, losing the answers to the first requests that change something."""

    def __init__(self, losses: int) -> None:
        self._network = httpx.HTTPTransport()
        self.losses = losses

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._network.handle_request(request)
        if request.method != "GET" and self.losses > 0:
            self.losses -= 1
            response.read()
            response.close()
            raise httpx.ReadError("the connection was cut", request=request)
        return response

    def close(self) -> None:
        self._network.close()


# -- orders ----------------------------------------------------------------------------------------


def test_an_order_is_sent_executed_and_seen_in_every_view(trader: Client, aapl: Decimal) -> None:
    order = trader.submit("AAPL", "BUY", 100, price=(aapl * Decimal("1.02")).quantize(Decimal("0.01")))
    assert order.symbol == "AAPL" and order.quantity == 100 and order.account_id == "ACC-1"
    done = settled(trader, order, OrderStatus.FILLED)
    assert done.filled_quantity == 100 and done.remaining_quantity == 0
    assert sum(item.quantity for item in done.executions) == 100
    assert {child.venue for child in done.children} >= {item.venue for item in done.executions}
    listed = trader.find_order(order.client_order_id)
    assert listed is not None and listed.id == order.id and listed.status is OrderStatus.FILLED
    keys = {item.id for item in done.executions}
    assert {item.id for item in trader.executions(order_id=order.id)} == keys
    [position] = trader.positions(symbol="AAPL")
    assert position.account_id == "ACC-1" and position.quantity >= 100


def test_a_lost_answer_is_asked_for_again_and_there_is_one_order(server: Running) -> None:
    with server.client(transport=Lossy(2), pause=lambda _: None) as client:
        order = client.submit("MSFT", "BUY", 100, price="300", client_order_id="lossy-1")
        found = list(client.list(original_client_order_id="lossy-1"))
    assert [item.id for item in found] == [order.id]
    assert order.client_order_id == "lossy-1"


def test_a_cancel_whose_answer_was_lost_is_still_one_cancel(server: Running) -> None:
    network = Lossy(0)
    with server.client(transport=network, pause=lambda _: None) as client:
        order = client.submit("AAPL", "BUY", 100, price=FAR)
        settled(client, order, OrderStatus.ROUTED)
        network.losses = 1
        client.cancel(order.id)
        assert settled(client, order, OrderStatus.CANCELLED).remaining_quantity == 0


def test_a_replace_whose_answer_was_lost_is_asked_for_again(server: Running) -> None:
    network = Lossy(0)
    with server.client(transport=network, pause=lambda _: None) as client:
        order = client.submit("AAPL", "BUY", 300, price=FAR)
        wait_for(lambda: all(child.venue_order_id for child in client.get(order.id).children))
        network.losses = 1
        client.replace(order.id, quantity=100, client_order_id="lossy-replace-1")
        wait_for(lambda: client.get(order.id).quantity == 100)
        assert client.replace(order.id, quantity=100, client_order_id="lossy-replace-1").id == order.id


def test_an_order_is_replaced_at_the_version_that_was_seen(trader: Client) -> None:
    order = trader.submit("AAPL", "BUY", 300, price=FAR)
    seen = settled(trader, order, OrderStatus.ROUTED)
    wait_for(lambda: all(child.venue_order_id for child in trader.get(order.id).children))
    seen = trader.get(order.id)
    with pytest.raises(PreconditionError):
        trader.replace(order.id, quantity=200, version=seen.version + 40)
    trader.replace(order.id, quantity=200, version=seen.version)
    wait_for(lambda: trader.get(order.id).quantity == 200)
    trader.cancel(order.id)
    assert settled(trader, order, OrderStatus.CANCELLED).quantity == 200


def test_a_list_goes_over_several_pages_once_each(trader: Client) -> None:
    sent = [trader.submit("KO", "BUY", 100, price="60", client_order_id=f"page-{n}").id for n in range(5)]
    found = [order.id for order in trader.list(symbol="KO", limit=2, sort="created_at")]
    assert [order_id for order_id in found if order_id in sent] == sent
    assert len(set(found)) == len(found)


# -- refusals --------------------------------------------------------------------------------------


def test_a_risk_refusal_names_its_rule_and_leaves_a_rejected_order(trader: Client) -> None:
    with pytest.raises(RefusedError) as refused:
        trader.submit("AAPL", "BUY", 100_001, price=FAR)
    error = refused.value
    assert (error.error_code, error.status) == ("max_order_qty", 422)
    assert error.errors[0].limit == "100000" and error.errors[0].value == "100001"
    assert error.correlation_id
    found = trader.get(str(error.context["order_id"]))
    assert found.status is OrderStatus.REJECTED
    assert found.rejection is not None and found.rejection.code == "max_order_qty"


def test_the_same_id_with_other_content_is_a_conflict(trader: Client) -> None:
    first = trader.submit("AAPL", "BUY", 100, price=FAR, client_order_id="twice-1")
    assert trader.submit("AAPL", "BUY", "100.0", price=FAR, client_order_id="twice-1").id == first.id
    with pytest.raises(ConflictError) as refused:
        trader.submit("AAPL", "BUY", 200, price=FAR, client_order_id="twice-1")
    assert refused.value.error_code == "duplicate_client_order_id"
    assert refused.value.context["order_id"] == first.id


def test_what_lies_outside_the_token_is_refused_or_not_found(server: Running, trader: Client) -> None:
    with pytest.raises(ForbiddenError):
        trader.submit("AAPL", "BUY", 100, price=FAR, account_id="ACC-2")
    with server.client("pm") as pm:
        other = pm.submit("AAPL", "BUY", 100, price=FAR, account_id="ACC-2")
    with pytest.raises(NotFoundError) as hidden:
        trader.get(other.id)
    with pytest.raises(NotFoundError) as unknown:
        trader.get(NOBODY)
    assert hidden.value.error_code == unknown.value.error_code
    assert hidden.value.message == unknown.value.message
    assert other.id not in {order.id for order in trader.list()}
    with server.client("viewer") as viewer, pytest.raises(ForbiddenError):
        viewer.submit("AAPL", "BUY", 100, price=FAR)
    with server.client("admin") as admin, pytest.raises(ForbiddenError):
        list(admin.list())


@pytest.mark.parametrize(("token", "code"), [("", "missing_token"), ("a.b.c", "invalid_token")])
def test_without_a_good_token_nothing_is_answered(server: Running, token: str, code: str) -> None:
    with Client(server.url, token) as client:
        with pytest.raises(NotAuthenticatedError) as refused:
            list(client.list())
        assert refused.value.error_code == code
        assert client.health().status == "ok"


def test_a_token_that_has_ended_is_refused_on_the_wire(server: Running) -> None:
    ended = DevLogin("test", server.data_dir).token("trader", time.time() - 3700)
    with Client(server.url, ended) as client, pytest.raises(NotAuthenticatedError) as refused:
        client.get(NOBODY)
    assert refused.value.error_code == "expired_token"


# -- market, risk ----------------------------------------------------------------------------------


def test_venues_and_a_dry_run_of_the_router_are_read(trader: Client, aapl: Decimal) -> None:
    mics = {venue.mic for venue in trader.venues()}
    preview = trader.route("AAPL", "BUY", 200, price=aapl * 2 // 2 + 5)
    assert preview.best_ask is not None and preview.best_bid is not None
    assert sum(leg.quantity for leg in preview.legs) == 200
    assert {leg.venue for leg in preview.legs} <= mics


def test_the_risk_desk_sets_limits_and_kills_and_a_trader_may_not(server: Running, trader: Client) -> None:
    with server.client("risk") as risk:
        limit = risk.set_limit("max_order_qty", 50, account_id="ACC-2", symbol="KO", reason="test")
        assert limit.value == 50 and limit.author == "risk"
        assert limit in risk.limits()
        with server.client("pm") as pm, pytest.raises(RefusedError) as refused:
            pm.submit("KO", "BUY", 51, price="60", account_id="ACC-2")
        assert refused.value.error_code == "max_order_qty"
        assert risk.kill(KillScope.ACCOUNT, "ACC-2", "test").engaged
        assert [(k.scope, k.value) for k in risk.kill_switches()] == [("ACCOUNT", "ACC-2")]
        with server.client("pm") as pm, pytest.raises(RefusedError) as refused:
            pm.submit("KO", "BUY", 10, price="60", account_id="ACC-2")
        assert refused.value.error_code == "kill_switch"
        assert not risk.release(KillScope.ACCOUNT, "ACC-2", "test").engaged
        assert risk.kill_switches() == ()
    for act in (lambda: trader.kill("FIRM"), lambda: trader.set_limit("max_order_qty", 1)):
        with pytest.raises(ForbiddenError):
            act()


# -- asyncio ---------------------------------------------------------------------------------------


def test_the_asynchronous_client_does_the_same(server: Running) -> None:
    async def session() -> tuple[Order, list[Order]]:
        async with AsyncClient(server.url, server.token("trader")) as client:
            orders = await asyncio.gather(
                *(
                    client.submit(
                        "KO",
                        "BUY",
                        100,
                        price="60",
                        client_order_id=f"async-{n}",
                        routing_strategy="PLACEMENT",
                        urgency="0.9",
                    )
                    for n in range(20)
                )
            )
            await client.cancel(orders[0].id)
            return orders[0], [order async for order in client.list(limit=7)]

    first, listed = asyncio.run(session())
    assert first.routing == RoutingTerms("PLACEMENT", Decimal("0.9"))
    found = {order.client_order_id for order in listed}
    assert {f"async-{n}" for n in range(20)} <= found
    assert first.id in {order.id for order in listed}


# -- commands --------------------------------------------------------------------------------------

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(server: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command against the server: exit status, standard output, standard error."""
    monkeypatch.setenv("QTINFRA_URL", server.url)
    monkeypatch.setenv("QTINFRA_TOKEN", server.token("trader"))

    def command(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(words)
        found = capsys.readouterr()
        return status, found.out, found.err

    return command


def test_a_person_submits_shows_lists_and_cancels(run: Run) -> None:
    status, out, _ = run("orders", "submit", "KO", "buy", "100", "--price", "60.5", "--json")
    order = json.loads(out)
    assert status == 0 and (order["quantity"], order["price"]) == ("100", "60.5")
    status, out, _ = run("orders", "show", order["id"])
    assert status == 0 and order["id"] in out and order["client_order_id"] in out
    status, out, _ = run("orders", "list", "--symbol", "KO", "--limit", "500")
    assert status == 0 and order["id"] in out
    assert all(len(line) <= 120 for line in out.splitlines())
    status, out, _ = run("orders", "list", "--symbol", "KO", "--limit", "1", "--json")
    assert status == 0 and len(json.loads(out)["orders"]) == 1
    status, out, _ = run("orders", "cancel", order["id"], "--json")
    assert status == 0 and json.loads(out)["id"] == order["id"]


def test_a_person_replaces_what_is_named_and_nothing_else(run: Run, trader: Client) -> None:
    order = trader.submit("KO", "BUY", 100, price="60.50", account_id="ACC-1")
    wait_for(lambda: trader.get(order.id).status is OrderStatus.ROUTED)
    status, _, said = run("orders", "replace", order.id)
    assert (status, said.count("\n")) == (2, 1) and "name what to change" in said
    status, out, _ = run("orders", "replace", order.id, "--quantity", "300", "--json")
    assert status == 0 and json.loads(out)["id"] == order.id
    wait_for(lambda: trader.get(order.id).quantity == 300)
    assert trader.get(order.id).price == Decimal("60.50")
    status, _, said = run("orders", "replace", order.id, "--price", "60.505")
    assert status == 1 and "multiple of 0.01" in said
    trader.cancel(order.id)


def test_positions_and_the_live_view_are_printed(run: Run, trader: Client, aapl: Decimal) -> None:
    order = trader.submit("AAPL", "BUY", 100, price=(aapl * Decimal("1.02")).quantize(Decimal("0.01")))
    settled(trader, order, OrderStatus.FILLED)
    status, out, _ = run("positions", "--symbol", "AAPL")
    assert status == 0 and "ACC-1" in out and "AAPL" in out
    status, out, _ = run("positions", "--json")
    assert status == 0 and json.loads(out)["positions"][0]["account_id"] == "ACC-1"
    status, out, _ = run("watch", "--count", "2", "--every", "0.1", "--symbol", "AAPL")
    assert status == 0 and order.id in out and "ACC-1" in out


def test_a_person_submits_an_order_with_special_terms(run: Run) -> None:
    stop = ("orders", "submit", "KO", "buy", "100", "--type", "stop_limit", "--price", "601", "--stop", "600")
    status, out, _ = run(*stop, "--tif", "gtd", "--expires", "2100-01-01T00:00:00Z", "--json")
    order = json.loads(out)
    assert status == 0, out
    assert (order["stop_price"], order["expire_at"]) == ("600", "2100-01-01T00:00:00Z")
    peg = ("orders", "submit", "KO", "buy", "100", "--type", "pegged", "--peg", "primary")
    status, out, _ = run(*peg, "--peg-offset", "-0.01", "--json")
    assert (status, json.loads(out)["peg"]) == (0, {"type": "PRIMARY", "offset": "-0.01"})
    routed = ("orders", "submit", "KO", "buy", "100", "--price", "60.5", "--routing-strategy", "placement")
    status, out, _ = run(*routed, "--urgency", "0.25", "--json")
    assert (status, json.loads(out)["routing"]) == (0, {"strategy": "PLACEMENT", "urgency": "0.25"})
    status, out, _ = run(
        "orders", "submit", "KO", "buy", "100", "--price", "60.5", "--urgency", "1", "--json"
    )
    assert (status, json.loads(out)["code"]) == (1, "missing_field")
    status, out, _ = run("orders", "submit", "KO", "buy", "100", "--type", "stop", "--json")
    assert (status, json.loads(out)["code"]) == (1, "stop_px_required")


def test_a_refusal_is_one_line_and_with_json_one_object(run: Run) -> None:
    status, out, err = run("orders", "submit", "KO", "BUY", "1.5e3", "--json")
    assert status == 1 and len(err.splitlines()) == 1
    assert json.loads(out)["code"] == "number_out_of_range"
    status, out, err = run("orders", "show", NOBODY)
    assert (status, out) == (1, "") and "no such order" in err
    status, _, err = run("orders", "list", "--token", "")
    assert status == 1 and "QTINFRA_TOKEN" in err
    status, _, err = run("orders", "list", "--url", "localhost")
    assert status == 2 and "must begin with http" in err


def test_a_server_that_is_not_there_is_named(run: Run, server: Running) -> None:
    status, _, err = run("watch", "--url", "http://127.0.0.1:1", "--count", "1")
    assert status == 1 and "http://127.0.0.1:1" in err and "qtinfra serve" in err
    with (
        Client("http://127.0.0.1:1", policy=RetryPolicy(attempts=1)) as client,
        pytest.raises(TransportError),
    ):
        client.health()


def test_the_token_command_prints_what_the_server_accepts(
    run: Run, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QTINFRA_DATA_DIR", str(server.data_dir))
    monkeypatch.setenv("QTINFRA_ENVIRONMENT", "test")
    status, out, _ = run("token", "--user", "risk")
    assert status == 0
    with Client(server.url, out.strip()) as client:
        assert client.limits()
    monkeypatch.setenv("QTINFRA_ENVIRONMENT", "production")
    status, out, err = run("token", "--user", "risk")
    assert (status, out) == (1, "") and "development login" in err
