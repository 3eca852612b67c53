"""Sessions that leave no orders behind, and lists over the stream: real sockets, a real journal."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from qtinfra.api.stream import protection
from qtinfra.client import AsyncClient, Client, RefusedError
from qtinfra.client import new_order as streamed
from qtinfra.core.commands import CancelOrder
from qtinfra.core.models import Origin
from qtinfra.journal.sqlite import SqliteJournal
from tests.integration.test_api_stream import Sleeper
from tests.support.requirements import REPO_ROOT
from tests.support.server import PATIENCE_S, Api, Running, new_order, running

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stream")]

Frame = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Api]]:
    with running(tmp_path_factory.mktemp("protection"), stream_queue=64) as found:
        yield found


@pytest.fixture
def api(server: tuple[Running, Api]) -> Api:
    return server[1]


def address(api: Api) -> str:
    return f"ws://127.0.0.1:{api.port}/stream"


@contextmanager
def opened(api: Api, user: str = "trader") -> Iterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {api.token(user)}"}
    with connect(address(api), additional_headers=headers, max_size=None) as socket:
        assert json.loads(socket.recv(PATIENCE_S))["op"] == "welcome"
        yield socket


def ask(socket: ClientConnection, **frame: Any) -> Frame:
    """Send a frame; the message that answers it."""
    socket.send(json.dumps(frame))
    while True:
        found: Frame = json.loads(socket.recv(PATIENCE_S))
        if found.get("id") == frame["id"] and found["op"] in ("session", "outcome", "error"):
            return found


def protect(socket: ClientConnection, name: str, grace_s: int = 0, on: bool = True) -> Frame:
    return ask(socket, op="session", id=name, cancel_on_disconnect=on, grace_s=grace_s)


def place(socket: ClientConnection, count: int = 2, **fields: Any) -> list[str]:
    """Paths of new orders that rest."""
    found = ask(socket, op="orders", id="f", items=[new_order(**fields) for _ in range(count)])
    return [f"/orders/{item['order']['id']}" for item in found["items"]]


def status(api: Api, path: str) -> str:
    found: str = api.call("GET", path).json()["status"]
    return found


def until(what: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def break_off(socket: ClientConnection) -> None:
    """End the connection without a close frame, as a killed client does."""
    socket.socket.shutdown(2)


@pytest.mark.parametrize("ending", ["close", "break"])
def test_the_orders_of_a_session_end_with_its_connection(api: Api, ending: str) -> None:
    other = api.order().headers["location"]
    with opened(api) as socket:
        before = place(socket, 1)
        said = protect(socket, f"desk-{ending}")
        assert (said["resumed"], said["open_orders"], said["cancel_on_disconnect"]) == (False, 0, True)
        paths = place(socket) + place(socket, 1, time_in_force="GTC")
        for path in paths:
            api.until(path, "ROUTED")
        if ending == "break":
            break_off(socket)
    for path in paths:
        api.until(path, "CANCELLED")
    assert status(api, other) == status(api, before[0]) == "ROUTED"  # not of the protected session


def test_a_session_that_did_not_ask_keeps_its_orders(api: Api) -> None:
    with opened(api) as socket, opened(api) as asked:
        protect(asked, "canary")
        kept, gone = place(socket, 1), place(asked, 1)
    api.until(gone[0], "CANCELLED")
    assert status(api, kept[0]) == "ROUTED"


def test_it_is_the_usual_command_of_the_system_and_says_why(tmp_path: Path) -> None:
    with running(tmp_path) as (_, api):
        with opened(api) as socket:
            protect(socket, "desk")
            path = place(socket, 1)[0]
            api.until(path, "ROUTED")
        api.until(path, "CANCELLED")
    journal = SqliteJournal.open_readonly(tmp_path / "journal.sqlite")
    try:
        entries = [record.entry for record in journal.records()]
    finally:
        journal.close()
    cancels = [(e.actor, e.command) for e in entries if isinstance(e.command, CancelOrder)]
    assert [(actor, command.origin, command.reason) for actor, command in cancels] == [
        ("trader", Origin.SYSTEM, "cancel_on_disconnect")
    ]


def test_who_comes_back_within_the_grace_period_keeps_his_orders(api: Api) -> None:
    with opened(api) as socket:
        protect(socket, "back", grace_s=30)
        paths = place(socket)
        break_off(socket)
    with opened(api) as socket:
        said = protect(socket, "back", grace_s=0)
        assert (said["resumed"], said["open_orders"]) == (True, 2)
        with opened(api) as other:  # the end of another session changes nothing
            protect(other, "other")
            gone = place(other, 1)
        api.until(gone[0], "CANCELLED")
        assert [status(api, path) for path in paths] == ["ROUTED", "ROUTED"]
    for path in paths:
        api.until(path, "CANCELLED")


def test_when_the_grace_period_is_over_the_orders_go(api: Api) -> None:
    with opened(api) as socket:
        protect(socket, "late", grace_s=1)
        path = place(socket, 1)[0]
        ended = time.monotonic()
    api.until(path, "CANCELLED")
    assert time.monotonic() - ended >= 1
    with opened(api) as socket:
        assert protect(socket, "late")["resumed"] is False


def test_another_user_cannot_take_a_session_over(api: Api) -> None:
    with opened(api) as socket:
        protect(socket, "mine")
        path = place(socket, 1)[0]
        with opened(api, "pm") as other:
            assert protect(other, "mine")["resumed"] is False
            place(other, 1)
        assert status(api, path) == "ROUTED"


def test_a_newer_connection_takes_the_session_over_and_the_older_one_is_closed(api: Api) -> None:
    with opened(api) as old, opened(api) as new:
        protect(old, "twice")
        path = place(old, 1)[0]
        assert protect(new, "twice")["resumed"] is True
        with pytest.raises(ConnectionClosed) as closed:
            old.recv(PATIENCE_S)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "session_taken")
        with opened(api) as canary:
            protect(canary, "canary-2")
            gone = place(canary, 1)
        api.until(gone[0], "CANCELLED")
        assert status(api, path) == "ROUTED"
    api.until(path, "CANCELLED")


def test_protection_can_be_given_up(api: Api) -> None:
    with opened(api) as socket, opened(api) as canary:
        protect(socket, "given-up")
        protect(canary, "canary-3")
        path, gone = place(socket, 1)[0], place(canary, 1)[0]
        assert protect(socket, "given-up", on=False)["cancel_on_disconnect"] is False
    api.until(gone, "CANCELLED")
    assert status(api, path) == "ROUTED"


def test_a_slow_consumer_that_is_closed_with_1013_loses_its_orders_as_well(api: Api) -> None:
    slow, order = Sleeper(api, "trader"), new_order()
    slow.send({"op": "session", "id": "slow", "cancel_on_disconnect": True})
    slow.send({"op": "orders", "id": "f", "items": [order]})
    slow.send({"op": "subscribe", "id": "orders", "topic": "orders"})
    until(lambda: _rows(api, order))
    path = f"/orders/{_rows(api, order)[0]['id']}"
    deadline = time.monotonic() + PATIENCE_S
    while status(api, path) != "CANCELLED":  # news that it does not read
        batch = {"orders": [new_order(price="190.00") for _ in range(500)]}
        assert api.call("POST", "/orders:batch", json=batch).status_code == 200
        assert time.monotonic() < deadline
    assert slow.wake()[1] == (1013, "slow_consumer")


def _rows(api: Api, order: Frame) -> list[Frame]:
    query = f"/orders?client_order_id={order['client_order_id']}"
    rows: list[Frame] = api.call("GET", query).json()["items"]
    return rows


def test_an_order_that_is_not_decided_yet_when_the_connection_ends_is_cancelled(api: Api) -> None:
    with opened(api) as socket:
        protect(socket, "race")
        order = new_order()
        socket.send(json.dumps({"op": "orders", "id": "f", "items": [order]}))
        break_off(socket)

    time.sleep(0.3)
    until(lambda: all(row["status"] == "CANCELLED" for row in _rows(api, order)))


def test_a_server_that_stops_in_order_leaves_no_order_of_a_protected_session(tmp_path: Path) -> None:
    with running(tmp_path) as (_, api), opened(api) as socket:
        protect(socket, "stays", grace_s=300)
        path = place(socket, 1)[0]
        api.until(path, "ROUTED")
    with running(tmp_path) as (server, api):
        order = server.platform.state.orders[path.removeprefix("/orders/")]
        assert order.pending_cancel is not None or not order.open


def test_a_viewer_may_not_and_a_wrong_frame_is_refused(api: Api) -> None:
    with opened(api, "viewer") as socket:
        assert protect(socket, "x")["problem"]["code"] == "forbidden"
    with opened(api) as socket:
        said = ask(socket, op="session", id="x", cancel_on_disconnect=True, grace_s=301)
        assert said["problem"]["code"] == "number_out_of_range"
        said = ask(socket, op="session", id="x", cancel_on_disconnect="yes")
        assert said["problem"]["errors"][0]["field"] == "cancel_on_disconnect"
        protect(socket, "x")
        assert protect(socket, "y")["problem"]["code"] == "session_named"


def test_open_orders_of_a_session_are_bounded_and_closed_ones_do_not_count(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protection, "MAX_OPEN", 3)
    with opened(api) as socket:
        protect(socket, "bounded")
        paths = place(socket, 3)
        refused = ask(socket, op="orders", id="f", items=[new_order()])
        assert refused["problem"]["code"] == "protected_orders"
        api.call("DELETE", paths[0])
        api.until(paths[0], "CANCELLED")
        assert len(place(socket, 1)) == 1


CLIENT = """
import sys
from qtinfra.client import Client, new_order
client = Client(sys.argv[1], sys.argv[2])
stream = client.stream(cancel_after_s=0)
found = stream.submit([new_order("AAPL", "BUY", 100, price="200.00", account_id="ACC-1") for _ in range(3)])
print(*(outcome.order.id for outcome in found), flush=True)
sys.stdin.read()
"""


def test_a_client_that_is_killed_leaves_no_orders(api: Api) -> None:
    command = [sys.executable, "-c", CLIENT, f"http://127.0.0.1:{api.port}", api.token("trader")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=dict(os.environ), text=True) as process:
        assert process.stdout is not None
        paths = [f"/orders/{name}" for name in process.stdout.readline().split()]
        assert len(paths) == 3
        for path in paths:
            api.until(path, "ROUTED")
        process.send_signal(signal.SIGKILL)
    for path in paths:
        api.until(path, "CANCELLED")


def test_the_client_resumes_its_session_when_its_connection_breaks(api: Api) -> None:
    url, token = f"http://127.0.0.1:{api.port}", api.token("trader")
    with Client(url, token) as client, client.stream("orders", cancel_after_s=30) as stream:
        orders = [streamed("AAPL", "BUY", 100, price="200.00", account_id="ACC-1")]
        outcome = stream.submit(orders)[0]
        assert outcome.order is not None and stream._socket is not None
        path = f"/orders/{outcome.order.id}"
        break_off(stream._socket)
        deadline = time.monotonic() + PATIENCE_S
        while stream.next(0.2) is None:
            assert time.monotonic() < deadline
        again = stream.submit(orders)[0]  # the same order: the first answer again
        assert (again.status, again.order and again.order.id) == (200, outcome.order.id)
        assert status(api, path) == "ROUTED"


# --- lists -------------------------------------------------------------------------------------------------


def bracket(**entry: Any) -> list[Frame]:
    stop = {"order_type": "STOP", "price": None, "stop_price": "150.00", "side": "SELL"}
    return [new_order(**entry), new_order(side="SELL", price="230.00"), new_order(**stop)]


def test_a_list_over_the_stream_gets_what_the_request_would_get(api: Api) -> None:
    orders = bracket()
    listed = {"link": "BRACKET", "orders": orders}
    with opened(api) as socket:
        item = ask(socket, op="lists", id="l", items=[listed])["items"][0]
        again = ask(socket, op="lists", id="l", items=[listed])["items"][0]
    posted = api.call("POST", "/orders:list", json=listed)
    assert (item["status"], again["status"], posted.status_code) == (201, 200, 200)
    assert item["client_order_id"] == orders[0]["client_order_id"]
    assert item["list"]["list_id"] == again["list"]["list_id"] == posted.json()["list_id"]
    assert [order["id"] for order in item["list"]["orders"]] == [o["id"] for o in posted.json()["orders"]]


def test_refusals_of_lists_are_those_of_the_request_and_other_lists_of_the_frame_go_on(api: Api) -> None:
    wrong = {"link": "OCO", "orders": [new_order(), new_order(price="-1")]}
    theirs = {"link": "OCO", "orders": [new_order(account_id="ACC-2"), new_order(account_id="ACC-2")]}
    huge = {"link": "OCO", "orders": [new_order(quantity="900000"), new_order(quantity="900000")]}
    good = {"link": "OCO", "orders": [new_order(), new_order(price="201.00")]}
    with opened(api) as socket:
        items = ask(socket, op="lists", id="l", items=[wrong, theirs, huge, good, 7])["items"]
    posts = [api.call("POST", "/orders:list", json=body) for body in (wrong, theirs, huge)]
    assert [item["status"] for item in items[:3]] == [post.status_code for post in posts]
    assert [item["problem"]["code"] for item in items[:2]] == [post.json()["code"] for post in posts[:2]]
    assert items[0]["problem"]["errors"] == posts[0].json()["errors"]
    assert items[2]["problem"]["errors"][0]["field"] == "orders[0].quantity"
    assert (items[3]["status"], items[4]["problem"]["code"]) == (201, "type")


def test_a_list_is_protected_like_other_orders(api: Api) -> None:
    with opened(api) as socket:
        protect(socket, "lists")
        listed = {"link": "OCO", "orders": [new_order(), new_order(price="201.00")]}
        item = ask(socket, op="lists", id="l", items=[listed])["items"][0]
        paths = [f"/orders/{order['id']}" for order in item["list"]["orders"]]
    for path in paths:
        api.until(path, "CANCELLED")


def test_both_clients_send_lists_over_the_stream(api: Api) -> None:
    url, token = f"http://127.0.0.1:{api.port}", api.token("trader")

    def pair(price: str = "200.00") -> list[Any]:
        prices = (price, "201.00")
        return [streamed("AAPL", "BUY", 100, price=one, account_id="ACC-1") for one in prices]

    async def asynchronously() -> str:
        async with AsyncClient(url, token) as client, client.stream() as stream:
            return (await stream.submit_list("OCO", pair())).list_id

    with Client(url, token) as client, client.stream() as stream:
        found = stream.submit_list("OCO", pair())
        assert len(found.orders) == 2
        with pytest.raises(RefusedError):
            stream.submit_list("OCO", pair("9999.999"))
    assert asyncio.run(asynchronously()) != found.list_id


def test_the_example_of_the_cookbook_leaves_nothing_behind_but_what_came_by_request(api: Api) -> None:
    page = (REPO_ROOT / "docs" / "cookbook" / "client.md").read_text("utf-8")
    part = page.split("## Cancel on disconnect")[1]
    (block,) = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    assert block.count("http://127.0.0.1:8000") == 1
    names: dict[str, Any] = {"token": api.token("trader")}
    exec(block.replace(":8000", f":{api.port}"), names)
    for order in (names["sent"].order, *names["listed"].orders):
        api.until(f"/orders/{order.id}", "CANCELLED")
    assert api.call("GET", f"/orders/{names['kept'].id}").json()["status"] == "ROUTED"
