"""kill -9 under HTTP load: what was answered with 2xx is there after the restart, nothing is sent twice.

Eight connections send orders, batches and changes until the server is killed at a random moment. After the
restart they first send again, under the same ids, what was never answered. Then everything that was answered
is read back over HTTP, and at the end three records are compared: the client's answers, the journal replayed
from its first record, and what was written down of every message that went to a venue.

QTINFRA_HTTP_KILLS sets the number of kills (default 3), QTINFRA_CRASH_SEED the seed.
"""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from qtinfra.engine.audit import audit
from qtinfra.testing.prove.reconcile import Replayed, replay_all
from tests.support.server import PATIENCE_S, Api, free_port

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("QTINFRA_HTTP_KILLS", "3"))
SEED = int(os.environ.get("QTINFRA_CRASH_SEED", "1"))
CONNECTIONS = 8
LOAD_S = (0.2, 0.8)  # how long a life is under load, seconds
TERMS = ("symbol", "side", "order_type", "account_id", "created_at")
PAGE = 100


class Request(msgspec.Struct, frozen=True):
    """One request of the client; `ids` are the client order ids that it brings."""

    method: str
    path: str
    body: dict[str, Any]
    ids: tuple[str, ...]


class Client:
    """What was sent, what was answered with 2xx, and what never was answered.

    Attributes:
        orders: by client id, the order as it was answered.
        changes: by client id of an answered change, the order that it was for.
        sent: every client id of a new order that ever left.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._number = 0
        self._paths: list[str] = []
        self.orders: dict[str, dict[str, Any]] = {}
        self.changes: dict[str, str] = {}
        self.sent: set[str] = set()
        self.unanswered: list[Request] = []
        self.unlike: list[str] = []

    def _order(self) -> dict[str, Any]:
        self._number += 1
        price = self._rng.choice(("200.00", "150.25", "199.00"))
        order_type = self._rng.choice(("LIMIT", "LIMIT", "LIMIT", "MARKET"))
        found = {"symbol": "AAPL", "side": "BUY", "quantity": "100", "order_type": order_type}
        found |= {"client_order_id": f"k{self._number}", "account_id": "ACC-1"}
        return found | ({"price": price} if order_type == "LIMIT" else {})

    def next(self) -> Request:
        """A new order, a batch of them, or a change of one."""
        kind = self._rng.random()
        if kind < 0.2 and self._paths:
            self._number += 1
            change = {"client_order_id": f"k{self._number}", "quantity": "200"}
            return Request("PUT", self._rng.choice(self._paths), change, (f"k{self._number}",))
        orders = [self._order() for _ in range(5 if kind > 0.9 else 1)]
        ids = tuple(order["client_order_id"] for order in orders)
        if len(orders) > 1:
            return Request("POST", "/orders:batch", {"orders": orders}, ids)
        return Request("POST", "/orders", orders[0], ids)

    def hear(self, request: Request, answer: httpx.Response) -> None:
        """Note an answer; one below 500 is final."""
        assert answer.status_code < 500 or answer.json()["code"] == "outcome_unknown", answer.text
        if request.method == "PUT":
            if answer.is_success:
                self.changes[request.ids[0]] = request.path.rpartition("/")[2]
            return
        items = [{"status": answer.status_code, "order": answer.json()}]
        if request.path == "/orders:batch":
            assert answer.status_code == 200, answer.text
            items = answer.json()["results"]
        for item in items:
            if item["status"] in (200, 201):
                self._hear_order(item["order"])

    def _hear_order(self, order: dict[str, Any]) -> None:
        first = self.orders.setdefault(order["client_order_id"], order)
        self._paths.append(f"/orders/{order['id']}")
        if first["id"] != order["id"]:
            self.unlike.append(f"{order['client_order_id']} is {first['id']} and {order['id']}")


class Life:
    """One life of the server, with the client's connections."""

    def __init__(self, process: "subprocess.Popen[bytes]", api: Api, client: Client) -> None:
        self.process, self.api, self.client = process, api, client
        self.answered = 0

    def load(self, lasts_s: float) -> None:
        """Send until the kill; each connection waits for its answer before it sends more."""
        again, self.client.unanswered = self.client.unanswered, []
        headers = self.api.headers()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            shares = [again[n::CONNECTIONS] for n in range(CONNECTIONS)]
            running = [pool.submit(self._connection, share, headers) for share in shares]
            deadline = time.monotonic() + PATIENCE_S
            while self.answered < len(again) + 20 and not any(found.done() for found in running):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(lasts_s)
            self.process.kill()
            for found in running:
                found.result()
        assert self.process.wait(PATIENCE_S) == -9

    def _connection(self, first: list[Request], headers: dict[str, str]) -> None:
        with httpx.Client(base_url=self.api.http.base_url, timeout=PATIENCE_S) as http:
            while True:
                request = first.pop(0) if first else self.client.next()
                self.client.sent.update(() if request.method == "PUT" else request.ids)
                try:
                    answer = http.request(request.method, request.path, json=request.body, headers=headers)
                except httpx.TransportError:
                    self.client.unanswered += [request, *first]
                    return
                self.client.hear(request, answer)
                self.answered += 1

    def missing(self) -> list[str]:
        """Answered orders that are not there, there twice, or not what was answered."""
        known, found = self.client.orders, []
        ids = sorted(known)
        for start in range(0, len(ids), PAGE):
            asked = ids[start : start + PAGE]
            query = {"original_client_order_id[in]": ",".join(asked), "limit": "500", "account_id": "ACC-1"}
            rows = self.api.call("GET", "/orders", params=query).json()["items"]
            there = Counter(row["id"] for row in rows)
            told = {known[name]["id"]: known[name] for name in asked}
            if len(rows) != len(asked) or there.keys() != told.keys():
                found.append(f"answered {sorted(told)}, there are {sorted(there.elements())}")
            for row in rows:
                order = told.get(row["id"], row)
                if any(row[name] != order[name] for name in TERMS) or row["version"] < order["version"]:
                    found.append(f"answered {order}, there is {row}")
        return found


@contextmanager
def life(folder: Path, client: Client, bug: str = "") -> Iterator[Life]:
    """A server on the folder's data; whatever happens it is dead afterwards."""
    port = free_port()
    options = ["--port", str(port), "--data-dir", str(folder / "data")]
    command = [sys.executable, "-m", "tests.support.crash_server", *options]
    environment = {**os.environ, "QTINFRA_WIRE": str(folder / "wire"), "QTINFRA_CRASH_BUG": bug}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        api = Api(port)
        try:
            _await_health(process, api)
            yield Life(process, api, client)
        finally:
            api.close()
            process.kill()


def _await_health(process: "subprocess.Popen[bytes]", api: Api) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if api.http.get("/healthz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < deadline, "the server did not answer"
        time.sleep(0.05)


def disagreements(client: Client, replayed: Replayed, wire: list[tuple[str, str, str]]) -> list[str]:
    """Every contradiction between client, journal and wire as a sentence."""
    state = replayed.state
    found = [f"audit: {text}" for text in audit(state)] + client.unlike
    found += [f"id {name} was given {times} times" for name, times in replayed.ids.items() if times > 1]
    for (_, cl_ord_id), created in replayed.created.items():
        if len(created) != 1 or cl_ord_id not in client.sent:
            found.append(f"{cl_ord_id} made {len(created)} orders, sent: {cl_ord_id in client.sent}")
    for cl_ord_id, order in client.orders.items():
        events = replayed.created.get((order["account_id"], cl_ord_id), [])
        if [event.order_id for event in events] != [order["id"]]:
            found.append(f"answered order {cl_ord_id} is lost or another one")
    for cl_ord_id, order_id in client.changes.items():
        changed = state.find_order("ACC-1", cl_ord_id)
        if changed is None or changed.order_id != order_id:
            found.append(f"answered change {cl_ord_id} is lost")
    counted = Counter(line for line in wire if line[1] == "VenueNewOrder")
    found += [f"{line} went out {times} times" for line, times in counted.items() if times > 1]
    unknown = [cl_ord_id for _, _, cl_ord_id in counted if state.venue_ids.get(cl_ord_id) is None]
    return found + [f"{cl_ord_id} went out and the journal does not know it" for cl_ord_id in unknown]


def wire_of(folder: Path) -> list[tuple[str, str, str]]:
    lines = (folder / "wire").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=tuple[str, str, str]) for line in lines]


def test_what_was_answered_with_2xx_is_there_after_every_kill(tmp_path: Path) -> None:
    rng, client = random.Random(SEED), Client(SEED)
    for _ in range(KILLS):
        with life(tmp_path, client) as server:
            assert server.missing() == []
            server.load(rng.uniform(*LOAD_S))
    with life(tmp_path, client) as server:
        assert server.missing() == []
        server.process.terminate()
        server.process.wait(PATIENCE_S)
    wire = wire_of(tmp_path)
    assert disagreements(client, replay_all(str(tmp_path / "data" / "journal.sqlite")), wire) == []
    assert len(client.orders) > 20 * KILLS
    assert client.changes
    assert len(wire) >= len(client.orders) // 2


def test_a_server_that_answers_before_it_is_durable_is_found_out(tmp_path: Path) -> None:
    found: list[str] = []
    for attempt in range(10):
        folder, client = tmp_path / str(attempt), Client(attempt)
        folder.mkdir()
        with life(folder, client, "early_release") as server:
            server.load(0.2)
        replayed = replay_all(str(folder / "data" / "journal.sqlite"))
        found = disagreements(client, replayed, wire_of(folder))
        if found:
            break
    assert found, "ten kills and nothing was lost"
