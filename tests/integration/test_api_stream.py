"""The stream on a running server: real sockets, a real journal, the `websockets` client."""

import asyncio
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

from qtinfra.api.stream import session
from qtinfra.api.stream.endpoint import Stream
from qtinfra.cli import main
from qtinfra.client import (
    AsyncClient,
    Book,
    Client,
    ForbiddenError,
    NotAuthenticatedError,
    Order,
    RefusedError,
    Update,
)
from qtinfra.client import new_order as streamed
from qtinfra.core.algo import AlgoTerms
from qtinfra.core.commands import SubmitOrder
from qtinfra.core.events import Entry
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.ports import Head
from qtinfra.core.reports import Alert
from qtinfra.journal.sqlite import SqliteJournal
from tests.support.server import PATIENCE_S, Api, Running, new_order, running, server_process

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stream")]

Frame = dict[str, Any]
NOBODY = "00000000-0000-8000-8000-000000000000"
#: What a view shows of the moment and not of the row.
OF_THE_MOMENT = ("routing_decision", "mark_price", "unrealised_pnl")


class Live:
    """A client that keeps what the stream tells, as the reference says it should."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.rows: dict[str, dict[str, Frame]] = {}
        self.row_seq: dict[tuple[str, str], int] = {}
        self.seq: dict[str, int] = {}
        self.numbers: dict[str, int] = {}
        self.seen: list[Frame] = []

    def send(self, **frame: Any) -> None:
        self.socket.send(json.dumps(frame))

    def recv(self, timeout: float = PATIENCE_S) -> Frame:
        found: Frame = json.loads(self.socket.recv(timeout=timeout))
        self.seen.append(found)
        self._keep(found)
        return found

    def until(self, wanted: Callable[[Frame], bool]) -> Frame:
        deadline = time.monotonic() + PATIENCE_S
        while not wanted(found := self.recv()):
            assert time.monotonic() < deadline, found
        return found

    def of(self, op: str, name: str | None = None) -> Frame:
        """The next message of this kind (and subscription or frame)."""
        return self.until(lambda found: found["op"] == op and name in (None, found.get("id")))

    def snapshot(self, name: str) -> list[Frame]:
        """What every item of the next snapshot shows."""
        found: list[Frame] = []
        while True:
            page = self.of("snapshot", name)
            found += [item["data"] for item in page["items"]]
            if page["last"]:
                return found

    def follow(self, topic: str, **more: Any) -> list[Frame]:
        """Subscribe under the topic's name; what the snapshot shows."""
        self.send(op="subscribe", id=topic, topic=topic, **more)
        return self.snapshot(topic)

    def settle(self) -> int:
        """Take everything that was sent before now; the durable sequence."""
        name = f"settle-{len(self.seen)}"
        self.send(op="ping", id=name)
        seq: int = self.of("pong", name)["seq"]
        return seq

    def ask(self, op: str, items: list[Any], name: str = "f") -> list[Frame]:
        self.send(op=op, id=name, items=items)
        found: list[Frame] = self.of("outcome", name)["items"]
        return found

    def _keep(self, frame: Frame) -> None:
        name = str(frame.get("id"))
        if frame["op"] == "resync":
            self.rows.pop(name, None)
            self.row_seq = {key: seq for key, seq in self.row_seq.items() if key[0] != name}
        if frame["op"] not in ("snapshot", "delta"):
            return
        if frame["op"] == "delta":
            assert frame["n"] == self.numbers.get(name, 0) + 1
            self.numbers[name] = frame["n"]
        self.seq[name] = frame["seq"]
        for item in frame["items"]:
            data = item["data"]
            key = data.get("id") or f"{data.get('account_id', '')}/{data.get('symbol', len(self.seen))}"
            if item["seq"] >= self.row_seq.get((name, key), 0):
                self.row_seq[name, key] = item["seq"]
                self.rows.setdefault(name, {})[key] = data


def address(api: Api) -> str:
    return f"ws://127.0.0.1:{api.port}/stream"


@contextmanager
def live(api: Api, user: str = "trader", **options: Any) -> Iterator[Live]:
    headers = {"Authorization": f"Bearer {api.token(user)}"}
    with connect(address(api), additional_headers=headers, max_size=None, **options) as socket:
        found = Live(socket)
        assert found.recv()["op"] == "welcome"
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Api]]:
    with running(tmp_path_factory.mktemp("stream"), stream_origins="https://desk.example") as found:
        yield found


@pytest.fixture
def api(server: tuple[Running, Api]) -> Iterator[Api]:
    yield server[1]


def stream_of(server: Running) -> Stream:
    found = server.app.state.gateway._stream
    assert isinstance(found, Stream)
    return found


def everything(api: Api, path: str, user: str) -> dict[str, Frame]:
    """All rows of a GET view by key."""
    rows: dict[str, Frame] = {}
    cursor = ""
    while True:
        params = {"limit": "500"} | ({"cursor": cursor} if cursor else {})
        page = api.call("GET", path, user, params=params).json()
        for row in page["items"]:
            rows[row.get("id") or f"{row['account_id']}/{row['symbol']}"] = row
        cursor = page["next_cursor"]
        if not cursor:
            return rows


def steady(row: Frame) -> Frame:
    return {name: value for name, value in row.items() if name not in OF_THE_MOMENT}


def same(told: dict[str, Frame], view: dict[str, Frame]) -> None:
    assert {key: steady(row) for key, row in told.items()} == {key: steady(row) for key, row in view.items()}


def trade(api: Api, rng: random.Random, count: int) -> list[str]:
    """Orders that fill, rest, are changed, cancelled or refused, in two accounts; the accepted ones' ids."""
    ids: list[str] = []
    for _ in range(count):
        kind = rng.choice(("fill", "fill", "rest", "rest", "refused", "cancel", "replace"))
        account = rng.choice(("ACC-1", "ACC-2"))
        symbol, side = rng.choice(("AAPL", "KO")), rng.choice(("BUY", "SELL"))
        fields: Frame = {"symbol": symbol, "side": side, "account_id": account}
        if kind == "fill":
            fields |= {"order_type": "MARKET", "price": None}
        elif kind == "rest":
            fields |= {"side": "BUY", "price": "20.00" if symbol == "KO" else "195.00"}
        elif kind == "refused":
            fields |= {"quantity": "900000"}
        if kind in ("cancel", "replace") and ids:
            path = f"/orders/{rng.choice(ids)}"
            body = {"quantity": "200", "client_order_id": f"r{rng.random()}"}
            options = {"json": body} if kind == "replace" else {}
            api.call("PUT" if kind == "replace" else "DELETE", path, "pm", **options)
            continue
        answer = api.order("pm", **fields)
        if answer.status_code == 201:
            ids.append(answer.json()["id"])
    return ids


def calm(api: Api) -> None:
    """Cancel what is open and wait until nothing is."""
    for account in ("ACC-1", "ACC-2"):
        api.call("POST", "/orders:cancel", "pm", json={"account_id": account})
    deadline = time.monotonic() + PATIENCE_S
    while any(
        row["status"] not in ("FILLED", "CANCELLED", "REJECTED")
        for row in everything(api, "/orders", "pm").values()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("seed", [1, 2])
def test_snapshot_and_deltas_reproduce_the_get_views(seed: int, tmp_path: Path) -> None:
    topics = ("orders", "executions", "positions")
    rng = random.Random(seed)
    with running(tmp_path, market_seed=seed) as (_, api), live(api, "pm") as early, live(api, "pm") as late:
        for topic in topics:
            early.follow(topic)
        trade(api, rng, 40)
        for topic in topics:
            late.follow(topic)
        trade(api, rng, 40)
        calm(api)
        for client in (early, late):
            client.settle()
            for topic in topics:
                same(client.rows[topic], everything(api, f"/{topic}", "pm"))
        assert len(early.rows["orders"]) > 30
        assert early.rows["executions"] and early.rows["positions"]
        deltas = [frame for frame in early.seen if frame["op"] == "delta" and frame["id"] == "orders"]
        seqs = [item["seq"] for frame in deltas for item in frame["items"]]
        assert seqs == sorted(seqs) and len(seqs) > 60


def test_nothing_is_told_before_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    with running(tmp_path) as (server, api), live(api) as client, live(api) as sender:
        client.follow("orders")
        platform = server.platform
        seal = SqliteJournal.seal

        def held(journal: SqliteJournal, entries: Sequence[Entry]) -> Callable[[], Head]:
            write = seal(journal, entries)

            def written() -> Head:
                assert gate.wait(PATIENCE_S)
                return write()

            return written

        monkeypatch.setattr(SqliteJournal, "seal", held)
        before = platform.state.seq
        sender.send(op="orders", id="f", items=[new_order()])
        deadline = time.monotonic() + PATIENCE_S
        while platform.state.seq == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert client.settle() == before == sender.settle()
        assert [frame["op"] for frame in client.seen if frame["op"] == "delta"] == []
        assert [frame["op"] for frame in sender.seen if frame["op"] == "outcome"] == []
        gate.set()
        order = sender.of("outcome", "f")["items"][0]["order"]["id"]
        client.until(lambda frame: order in client.rows.get("orders", {}))


def test_a_client_that_comes_back_gets_what_it_missed_and_no_snapshot(api: Api) -> None:
    with live(api, "pm") as first:
        first.follow("orders")
        api.order("pm")
        seq = first.until(lambda frame: frame["op"] == "delta")["seq"]
        first.settle()
        seq = first.seq["orders"]
    missed = [api.order("pm", account_id=account).json()["id"] for account in ("ACC-1", "ACC-2")]
    with live(api, "pm") as again:
        again.send(op="subscribe", id="orders", topic="orders", resume=seq)
        assert again.recv() == {"op": "resumed", "id": "orders", "topic": "orders", "seq": seq}
        again.settle()
        assert set(missed) <= set(again.rows["orders"])
        assert "snapshot" not in {frame["op"] for frame in again.seen}
        calm(api)
        again.settle()
        view = everything(api, "/orders", "pm")
        same({key: again.rows["orders"][key] for key in missed}, {key: view[key] for key in missed})
        assert all(
            item["seq"] > seq for frame in again.seen if frame["op"] == "delta" for item in frame["items"]
        )


@pytest.mark.parametrize("resume", [0, 10**15])
def test_what_is_not_kept_begins_with_resync_and_a_snapshot(api: Api, resume: int) -> None:
    with live(api) as client:
        client.send(op="subscribe", id="orders", topic="orders", resume=resume)
        assert client.recv()["op"] == "resync"
        client.snapshot("orders")


def test_a_gap_is_answered_with_resync_and_a_new_snapshot(server: tuple[Running, Api]) -> None:
    running_server, api = server
    with live(api) as client:
        client.follow("orders")
        order = api.order().json()["id"]
        client.settle()
        client.send(op="resync", id="orders")
        assert client.of("resync")["reason"] == "requested"
        assert order in {row["id"] for row in client.snapshot("orders")}
        hub = stream_of(running_server).hub
        running_server._server.loop.call_soon_threadsafe(hub._broken, ValueError("planted"))
        assert client.of("resync")["reason"] == "fault"
        client.snapshot("orders")
        later = api.order().json()["id"]
        client.until(lambda frame: frame["op"] == "delta" and later in client.rows["orders"])


def test_no_item_of_another_account_ever_arrives(api: Api) -> None:
    with live(api, "trader") as trader, live(api, "pm") as pm, live(api, "risk") as risk:
        for client in (trader, pm, risk):
            for topic in ("orders", "executions", "positions"):
                client.follow(topic)
        trade(api, random.Random(5), 30)
        calm(api)
        for client in (trader, pm, risk):
            client.settle()

        def accounts(client: Live) -> set[str]:
            items = [item for frame in client.seen for item in frame.get("items", [])]
            return {item["data"]["account_id"] for item in items}

        assert accounts(trader) == {"ACC-1"}
        assert accounts(pm) == {"ACC-1", "ACC-2"} == accounts(risk)
        trader.send(op="subscribe", id="theirs", topic="orders", accounts=["ACC-1", "ACC-2"])
        assert trader.of("error", "theirs")["problem"]["code"] == "forbidden"
        trader.send(op="subscribe", id="alerts", topic="alerts")
        assert trader.of("error", "alerts")["problem"]["status"] == 403
        pm.send(op="subscribe", id="narrow", topic="orders", accounts=["ACC-2"], symbols=["KO"])
        page = pm.snapshot("narrow")
        assert page and {(row["account_id"], row["symbol"]) for row in page} == {("ACC-2", "KO")}


def test_the_book_comes_at_most_ten_times_a_second_and_best_first(api: Api) -> None:
    with live(api, "viewer") as client:
        client.follow("book", symbols=["AAPL", "KO"])
        assert set(client.rows["book"]) == {"/AAPL", "/KO"}
        begun = time.monotonic()
        for _ in range(6):
            client.of("delta", "book")
        took = time.monotonic() - begun
        books = [item["data"] for frame in client.seen for item in frame.get("items", [])]
        assert len(client.seen) <= 3 + 10 * (took + 1)
    for book in books:
        bids, asks = ([Decimal(level["price"]) for level in book[side]] for side in ("bids", "asks"))
        assert bids == sorted(bids, reverse=True) and asks == sorted(asks)
        assert Decimal(book["best_bid"]) == bids[0] and Decimal(book["best_ask"]) == asks[0]


def test_what_an_algorithm_does_with_a_parent_is_told_to_those_of_its_account(
    server: tuple[Running, Api],
) -> None:
    running_server, api = server
    now_ns = running_server.platform.clock.now_ns()
    terms = AlgoTerms("TWAP", now_ns, now_ns + 600 * 10**9, slices=2, passive=False)
    day, side, kind = TimeInForce.DAY, OrderSide.BUY, OrderType.LIMIT
    with live(api, "trader") as trader, live(api, "pm") as pm:
        for client in (trader, pm):
            client.follow("algo")
        for account in ("ACC-2", "ACC-1"):
            parent = SubmitOrder(
                account, "algo-1", "AAPL", side, kind, day, Decimal(1000), Decimal(230), algo=terms
            )
            running_server.do(parent)
        for client, accounts in ((trader, {"ACC-1"}), (pm, {"ACC-1", "ACC-2"})):
            told: list[Frame] = []
            while {row["account_id"] for row in told if row["kind"] == "SliceSent"} != accounts:
                told += [item["data"] for item in client.of("delta", "algo")["items"]]
            assert {row["account_id"] for row in told} == accounts
            assert {"AlgoPlanned", "SliceSent"} <= {row["kind"] for row in told}
            assert told[0]["detail"]["terms"]["slices"] == 2
    api.call("POST", "/orders:cancel", "pm", json={"account_id": "ACC-1"})
    api.call("POST", "/orders:cancel", "pm", json={"account_id": "ACC-2"})


# --- order entry -------------------------------------------------------------------------------------------


WRONG: list[Frame] = [
    {},
    {"quantity": "1.5e3"},
    {"quantity": "0"},
    {"side": "HOLD"},
    {"symbol": "NOPE"},
    {"price": "200.001"},
    {"quantity": "900000"},
    {"account_id": "ACC-2"},
    {"surprise": 1},
    {"symbol": None},
]


def test_orders_over_the_stream_are_answered_as_post_answers_them(api: Api) -> None:
    with live(api) as client:
        outcomes = client.ask("orders", [new_order(**fields) for fields in WRONG])
        for fields, outcome in zip(WRONG, outcomes, strict=True):
            posted = api.order(**fields)
            assert outcome["status"] == posted.status_code, fields
            if posted.status_code == 201:
                assert set(outcome["order"]) == set(posted.json())
                continue
            told, said = outcome["problem"], posted.json()
            for name in ("code", "status", "detail", "errors"):
                assert told[name] == said[name], fields


def test_every_outcome_echoes_the_client_order_id_and_a_repeated_one_is_one_order(api: Api) -> None:
    order, refused = new_order(), new_order(quantity="-1")
    with live(api) as client:
        first, wrong = client.ask("orders", [order, refused])
        assert (first["status"], first["client_order_id"]) == (201, order["client_order_id"])
        assert (wrong["status"], wrong["client_order_id"]) == (422, refused["client_order_id"])
        again, other = client.ask("orders", [order, order | {"quantity": "200"}])
        assert (again["status"], again["order"]["id"]) == (200, first["order"]["id"])
        assert (other["status"], other["problem"]["code"]) == (409, "duplicate_client_order_id")
        assert other["problem"]["order_id"] == first["order"]["id"]
    posted = api.call("POST", "/orders", json=order)
    assert (posted.status_code, posted.json()["id"]) == (200, first["order"]["id"])


def test_special_terms_go_in_and_change_over_the_stream(api: Api) -> None:
    stop = new_order(order_type="STOP", price=None, stop_price="900")
    with live(api) as client:
        made, refused = client.ask("orders", [stop, new_order(order_type="STOP", price=None)])
        assert (made["status"], made["order"]["stop_price"]) == (201, "900")
        assert refused["problem"]["errors"][0]["field"] == "stop_price"
        change = {"order_id": made["order"]["id"], "client_order_id": f"c{made['order']['id']}"}
        done = client.ask("replace", [change | {"stop_price": "901.5"}])[0]
        assert (done["status"], done["order"]["stop_price"]) == (200, "901.5")


def test_replaces_and_cancels_keep_versions_scope_and_order(api: Api) -> None:
    foreign = api.order("pm", account_id="ACC-2").json()["id"]
    with live(api) as client:
        made = client.ask("orders", [new_order()])[0]["order"]
        api.until(f"/orders/{made['id']}", "ROUTED")
        version = api.call("GET", f"/orders/{made['id']}").json()["version"]
        change = {"order_id": made["id"], "client_order_id": f"c{made['id']}", "quantity": "200"}
        stale, done = client.ask("replace", [change | {"version": version + 7}, change])
        assert (stale["status"], stale["problem"]["code"]) == (412, "version_conflict")
        assert done["status"] in (200, 202) and done["client_order_id"] == change["client_order_id"]
        items = [
            {"order_id": foreign},
            {"order_id": NOBODY},
            {"order_id": "x"},
            {"order_id": made["id"], "price": "1"},
        ]
        codes = [item["problem"]["code"] for item in client.ask("cancel", items)]
        assert (
            codes == ["order_not_found", "order_not_found", "order_not_found", "immutable_field"]
            or codes[3] == "unknown_field"
        )
        fixed = client.ask("replace", [change | {"side": "SELL"}])[0]
        assert fixed["problem"]["code"] == "immutable_field"
        deadline = time.monotonic() + PATIENCE_S
        while (gone := client.ask("cancel", [{"order_id": made["id"]}])[0])["status"] == 409:
            if api.call("GET", f"/orders/{made['id']}").json()["status"] == "CANCELLED":
                break
            assert time.monotonic() < deadline, gone
        api.until(f"/orders/{made['id']}", "CANCELLED")


def test_many_frames_under_way_are_answered_in_their_order(api: Api) -> None:
    with live(api) as client:
        for number in range(200):
            client.send(op="orders", id=f"f{number}", items=[new_order() for _ in range(4)])
        answers = [client.of("outcome") for _ in range(200)]
    assert [frame["id"] for frame in answers] == [f"f{number}" for number in range(200)]
    assert {item["status"] for frame in answers for item in frame["items"]} == {201}


def test_the_rate_is_shared_with_rest(tmp_path: Path) -> None:
    with running(tmp_path, rate_limit=20) as (_, api), live(api) as client:
        client.send(op="orders", id="f", items=[new_order() for _ in range(20)])
        assert len(client.of("outcome")["items"]) == 20
        assert api.order().status_code == 429
        client.send(op="orders", id="g", items=[new_order()])
        assert client.of("error", "g")["problem"]["code"] == "rate_limited"


# --- who may come in, and how it ends ----------------------------------------------------------------------


def closed(client: ClientConnection) -> tuple[int, str]:
    """Read to the end; the close code and reason."""
    with pytest.raises(ConnectionClosed) as end:
        while True:
            client.recv(timeout=PATIENCE_S)
    assert end.value.rcvd is not None
    return end.value.rcvd.code, end.value.rcvd.reason


def test_a_token_comes_in_the_header_or_in_the_first_frame(api: Api) -> None:
    with connect(address(api), subprotocols=[Subprotocol("qtinfra.v1")]) as client:
        assert client.subprotocol == "qtinfra.v1"
        client.send(json.dumps({"op": "auth", "token": api.token("trader")}))
        welcome = json.loads(client.recv(timeout=PATIENCE_S))
        assert (welcome["subject"], welcome["accounts"]) == ("trader", ["ACC-1"])


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ({"op": "auth", "token": "a.b.c"}, "invalid_token"),
        ({"op": "auth"}, "missing_field"),
        ({"op": "ping"}, "missing_token"),
        ({"op": "orders", "id": "f", "items": [{}]}, "missing_token"),
    ],
)
def test_without_a_good_token_nothing_is_served(api: Api, first: Frame, reason: str) -> None:
    with connect(address(api)) as client:
        client.send(json.dumps(first))
        assert closed(client) == (4401, reason)


def test_a_bad_header_or_two_of_them_end_with_4401(api: Api) -> None:
    bearer = f"Bearer {api.token('trader')}"
    with connect(address(api), additional_headers={"Authorization": bearer[:-3] + "AAA"}) as client:
        assert closed(client)[0] == 4401
    twice = [("Authorization", bearer), ("Authorization", bearer)]
    with connect(address(api), additional_headers=twice) as client:
        assert closed(client) == (4401, "ambiguous_authorization")


def test_who_says_nothing_is_closed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "AUTH_WAIT_S", 0.05)
    with connect(address(api)) as client:
        assert closed(client) == (4401, "auth_timeout")


def test_a_revoked_token_gets_nothing_more(tmp_path: Path) -> None:
    with running(tmp_path) as (server, api), live(api, "trader") as client, live(api, "pm") as other:
        client.follow("orders")
        other.follow("orders")
        server.platform.verifier.revocations.revoke_subject(
            "trader", int(time.time()) + 1, int(time.time()) + 3600
        )
        order = api.order("pm").json()["id"]
        assert closed(client.socket) == (4401, "revoked_token")
        other.until(lambda frame: order in other.rows.get("orders", {}))


def test_a_token_is_renewed_for_the_same_bearer_only(api: Api) -> None:
    with live(api, "trader") as client:
        client.send(op="auth", token=api.token("trader"))
        assert client.of("welcome")["subject"] == "trader"
        client.send(op="auth", token=api.token("pm"))
        assert closed(client.socket) == (1008, "identity_changed")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://desk.example.evil.example"])
def test_pages_of_other_origins_are_refused(api: Api, origin: str) -> None:
    headers = {"Authorization": f"Bearer {api.token('trader')}"}
    with pytest.raises(InvalidStatus) as refused:
        connect(address(api), additional_headers=headers, origin=Origin(origin))
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body or b"")["code"] == "origin"


def test_pages_of_the_list_and_of_the_server_itself_may_open_it(api: Api) -> None:
    for origin in ("https://desk.example", f"http://127.0.0.1:{api.port}"):
        with live(api, origin=origin):
            pass


def test_another_subprotocol_or_path_is_refused(api: Api) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(address(api), subprotocols=[Subprotocol("soap")])
    assert refused.value.response.status_code == 400
    with pytest.raises(InvalidStatus) as refused:
        connect(address(api) + "s")
    assert refused.value.response.status_code == 404


BAD_FRAMES: list[tuple[str | bytes, str]] = [
    ("", "invalid_json"),
    ("[]", "type"),
    ('{"op":"ping"', "invalid_json"),
    ("{}", "missing_field"),
    ('{"op":"fly"}', "unknown_enum"),
    ('{"op":7}', "type"),
    ('{"op":"ping","op":"ping"}', "duplicate_key"),
    ('{"op":"ping","x":1}', "unknown_field"),
    ('{"op":"subscribe","topic":"orders"}', "missing_field"),
    ('{"op":"subscribe","id":"a","topic":"gossip"}', "unknown_enum"),
    ('{"op":"subscribe","id":"a","topic":"orders","accounts":[]}', "max_length"),
    ('{"op":"subscribe","id":"a","topic":"orders","symbols":["aapl"]}', "symbol_charset"),
    ('{"op":"subscribe","id":"a","topic":"orders","resume":-1}', "number_out_of_range"),
    ('{"op":"subscribe","id":"a","topic":"orders","resume":"1"}', "type"),
    ('{"op":"subscribe","id":"a","topic":"book"}', "missing_field"),
    ('{"op":"unsubscribe","id":"nothing"}', "no_such_subscription"),
    ('{"op":"orders","id":"a"}', "missing_field"),
    ('{"op":"orders","items":[{}]}', "missing_field"),
    ('{"op":"orders","id":"a","items":[]}', "batch_size"),
    ('{"op":"orders","id":"a","items":{}}', "type"),
    ('{"op":"orders","id":"a","items":[{}],"items":[{}]}', "duplicate_key"),
    ('{"op":"orders","id":"a","items":[' + ",".join(["{}"] * 101) + "]}", "batch_size"),
    ('{"op":"orders","id":"a","items":' + "[" * 100_000, "nesting_depth"),
    ('{"op":"ping","id":' + "[" * 100_000, "nesting_depth"),
    (b'{"op":"ping"}', "content_type"),
]


def test_a_frame_that_cannot_be_served_gets_an_error_and_the_connection_goes_on(api: Api) -> None:
    with live(api) as client:
        for frame, code in BAD_FRAMES:
            client.socket.send(frame)
            problem = client.of("error")["problem"]
            assert problem["code"] == code, (frame[:80], problem)
            assert problem["status"] in (400, 404, 415, 422)
        client.settle()


@pytest.mark.parametrize(
    "item", ["7", "null", '"x"', "[]", '{"a":' + "[" * 40 + "]" * 40 + "}", '{"symbol":"A","symbol":"A"}']
)
def test_an_item_that_is_no_order_has_its_own_error(api: Api, item: str) -> None:
    good = json.dumps(new_order())
    with live(api) as client:
        client.socket.send('{"op":"orders","id":"f","items":[%s,%s]}' % (item, good))  # noqa: UP031
        bad, fine = client.of("outcome", "f")["items"]
    assert bad["status"] in (400, 422) and fine["status"] == 201


def test_a_frame_above_the_limit_ends_with_1009(api: Api) -> None:
    with live(api) as client:
        client.socket.send('{"op":"ping","id":"' + "x" * (1024 * 1024) + '"}')
        assert closed(client.socket)[0] == 1009


def test_subscriptions_are_bounded_and_an_id_is_used_once(api: Api) -> None:
    with live(api) as client:
        for number in range(32):
            client.send(op="subscribe", id=f"s{number}", topic="algo")
        client.send(op="subscribe", id="s0", topic="algo")
        assert client.of("error", "s0")["problem"]["code"] == "duplicate_id"
        client.send(op="subscribe", id="more", topic="algo")
        assert client.of("error", "more")["problem"]["code"] == "too_many_subscriptions"
        client.send(op="unsubscribe", id="s0")
        client.of("unsubscribed", "s0")
        client.send(op="subscribe", id="more", topic="algo")
        client.snapshot("more")


def test_nothing_arrives_after_unsubscribed(api: Api) -> None:
    with live(api) as client:
        client.follow("orders")
        client.send(op="unsubscribe", id="orders")
        client.of("unsubscribed")
        api.order()
        client.settle()
        assert client.seen[-1]["op"] == "pong" and client.seen[-2]["op"] == "unsubscribed"


def test_heartbeats_come_when_nothing_else_does(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "HEARTBEAT_S", 0.05)
    with live(api) as client:
        assert client.recv()["op"] == "heartbeat"


# --- who does not read -------------------------------------------------------------------------------------


class Sleeper:
    """A client on a bare socket that takes nothing from it before it is told to."""

    def __init__(self, api: Api, user: str) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(("127.0.0.1", api.port))
        self._protocol = ClientProtocol(parse_uri(address(api)), max_size=None)
        request = self._protocol.connect()
        request.headers["Authorization"] = f"Bearer {api.token(user)}"
        self._protocol.send_request(request)
        self._flush()
        while self._protocol.state is State.CONNECTING:
            self._protocol.receive_data(self._socket.recv(256))

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)

    def send(self, frame: Frame) -> None:
        self._protocol.send_text(json.dumps(frame).encode())
        self._flush()

    def wake(self) -> tuple[int, tuple[int, str] | None]:
        """Read to the end; how many items came, and the close code and reason."""
        taken = 0
        while self._protocol.close_rcvd is None and (data := self._socket.recv(1 << 16)):
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, WireFrame) and event.opcode is Opcode.TEXT:
                    taken += len(json.loads(bytes(event.data)).get("items", ()))
        self._socket.close()
        close = self._protocol.close_rcvd
        return taken, (close.code, close.reason) if close is not None else None


def test_bi_062_and_fm_20_a_client_that_does_not_read_is_closed_and_disturbs_nobody(tmp_path: Path) -> None:
    flood = 12_000
    with (
        running(tmp_path, stream_queue=2_000) as (server, api),
        live(api, "risk") as other,
    ):
        slow = Sleeper(api, "risk")
        slow.send({"op": "subscribe", "id": "alerts", "topic": "alerts"})
        other.follow("alerts")
        platform, text = server.platform, "x" * 800

        def raise_alert(number: int) -> None:
            alert = Alert("flood", str(number), text)
            platform.alerts.append(alert)
            platform.taps.alerted(alert)

        got: list[str] = []
        for start in range(0, flood, 500):
            for number in range(start, start + 500):
                server._server.loop.call_soon_threadsafe(raise_alert, number)
            while len(got) < start + 500:
                got += [item["data"]["subject"] for item in other.of("delta", "alerts")["items"]]
        assert got == [str(number) for number in range(flood)]
        taken, end = slow.wake()
        assert end == (1013, "slow_consumer")
        assert taken < flood
        assert api.order("pm").status_code == 201
        with live(api, "risk") as again:
            kept = [row["subject"] for row in again.follow("alerts")]
            assert kept == got[-len(kept) :] and kept


def test_after_a_kill_in_mid_stream_a_client_finds_every_order_that_was_acknowledged(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    with server_process(tmp_path) as (process, api), live(api) as client:
        client.follow("orders")
        for number in range(60):
            client.send(op="orders", id=f"f{number}", items=[new_order() for _ in range(5)])
        while len(acknowledged) < 150:
            found = client.of("outcome")
            acknowledged += [item["order"]["id"] for item in found["items"]]
        process.kill()
        process.wait(PATIENCE_S)
        with pytest.raises(ConnectionClosed):
            while True:
                found = client.recv()
                if found["op"] == "outcome":
                    acknowledged += [item["order"]["id"] for item in found["items"]]
        seq, told = client.seq["orders"], set(client.rows["orders"])
    with server_process(tmp_path) as (_, api), live(api) as client:
        client.send(op="subscribe", id="orders", topic="orders", resume=seq)
        assert client.recv()["op"] == "resync"
        client.snapshot("orders")
        assert set(acknowledged) <= set(client.rows["orders"])
        assert told <= set(client.rows["orders"])
        client.settle()
        deadline = time.monotonic() + PATIENCE_S
        while everything(api, "/orders", "trader").keys() != client.rows["orders"].keys():
            assert time.monotonic() < deadline
            time.sleep(0.05)
            client.settle()
        calm(api)
        client.settle()
        same(client.rows["orders"], everything(api, "/orders", "trader"))


# --- the client and the live view --------------------------------------------------------------------------


def test_the_client_reads_typed_news_and_sends_orders(api: Api) -> None:
    url, token = f"http://127.0.0.1:{api.port}", api.token("trader")
    with Client(url, token) as client, client.stream("orders", "book", symbols=["AAPL"]) as stream:
        good = streamed("AAPL", "BUY", 100, price="195.00", account_id="ACC-1")
        bad = streamed("AAPL", "BUY", 100, price="195.001", account_id="ACC-1")
        placed, refused = stream.submit([good, bad])
        assert placed.order is not None and placed.client_order_id == good.client_order_id
        assert isinstance(refused.error, RefusedError) and refused.order is None
        assert stream.submit([good])[0].status == 200
        held: dict[str, Order] = {}
        books: list[Book] = []
        while placed.order.id not in held or not books:
            news = stream.next(PATIENCE_S)
            assert news is not None
            for record in news.records:
                if isinstance(record, Order):
                    held[record.id] = record
                else:
                    books.append(record)
        assert held[placed.order.id].price == Decimal("195")
        assert books[0].symbol == "AAPL"


def test_both_clients_go_on_after_a_broken_connection_without_a_gap(api: Api) -> None:
    url, token = f"http://127.0.0.1:{api.port}", api.token("pm")

    def ids(news: Update) -> set[str]:
        return {record.id for record in news.records}

    with Client(url, token) as client, client.stream("orders") as stream:
        first = stream.next(PATIENCE_S)
        while first is not None and not first.complete:
            first = stream.next(PATIENCE_S)
        assert stream._socket is not None
        api.order("pm")
        seen = stream.next(PATIENCE_S)
        stream._socket.socket.shutdown(socket.SHUT_RDWR)
        missed = api.order("pm").json()["id"]
        found: set[str] = set()
        while missed not in found:
            news = stream.next(PATIENCE_S)
            assert news is not None and not news.snapshot
            found |= ids(news)
        assert seen is not None

    async def again() -> None:
        async with AsyncClient(url, token) as client, client.stream("orders") as stream:
            async for news in stream:
                if news.complete:
                    break
            outcome = (await stream.submit([streamed("KO", "BUY", 100, price="20.00", account_id="ACC-2")]))[
                0
            ]
            assert outcome.order is not None
            socket_of = stream._socket
            assert socket_of is not None
            socket_of.transport.abort()
            missed = api.order("pm").json()["id"]
            found: set[str] = set()
            async for news in stream:
                found |= ids(news)
                if missed in found:
                    break

    asyncio.run(again())


def test_a_refused_subscription_or_token_ends_the_clients_stream(api: Api) -> None:
    url = f"http://127.0.0.1:{api.port}"
    for token, topic, error in (
        (api.token("trader"), "alerts", ForbiddenError),
        ("a.b.c", "orders", NotAuthenticatedError),
    ):
        with Client(url, token) as client, client.stream(topic) as stream, pytest.raises(error):
            stream.next(PATIENCE_S)
    with Client(url, "") as client, pytest.raises(ValueError, match="gossip"):
        client.stream("gossip")


def test_watch_shows_what_the_stream_tells(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    order = api.order(symbol="MSFT", price="100.00").json()["id"]
    url = f"http://127.0.0.1:{api.port}"
    words = ["watch", "--url", url, "--token", api.token("trader"), "--symbol", "MSFT", "--every", "0.2"]
    assert main([*words, "--count", "2"]) == 0
    assert order in capsys.readouterr().out
