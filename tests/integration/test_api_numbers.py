"""Every number of every view is written in its one form: no exponent, no trailing zeros, no minus zero."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from qtinfra.core.decimals import canonical, plain
from tests.support.server import PATIENCE_S, Api, Running, running

pytestmark = pytest.mark.integration

NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
VIEWS = (
    ("/orders", "trader"),
    ("/executions", "trader"),
    ("/positions", "trader"),
    ("/accounts", "trader"),
    ("/venues", "trader"),
    ("/instruments", "trader"),
    ("/risk/limits", "risk"),
    ("/routing/analytics", "risk"),
)
TOPICS = ("orders", "executions", "positions", "book")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Api]]:
    directory: Path = tmp_path_factory.mktemp("numbers")
    with running(directory, market_seed=7) as (made, api):
        yield made, api


@pytest.fixture(scope="module")
def filled(server: tuple[Running, Api]) -> dict[str, Any]:
    """An order that was executed: a position with profit or loss."""
    api = server[1]
    while (ask := _route(api)["best_ask"]) is None:
        pass
    price = (Decimal(ask) * Decimal("1.02")).quantize(Decimal("0.01"))
    order = api.order(quantity="1300", price=str(price)).json()
    return api.until(f"/orders/{order['id']}", "FILLED")


def _route(api: Api) -> Any:
    asked = {
        "symbol": "AAPL",
        "side": "BUY",
        "quantity": "100",
        "order_type": "MARKET",
        "account_id": "ACC-1",
    }
    return api.call("POST", "/route", json=asked).json()


def badly_written(found: Any, path: str = "") -> Iterator[str]:
    """The numbers below a JSON value that have another form, with where they stand."""
    if isinstance(found, dict):
        for name, value in found.items():
            yield from badly_written(value, f"{path}.{name}")
    elif isinstance(found, list):
        for value in found:
            yield from badly_written(value, f"{path}[]")
    elif isinstance(found, str) and NUMBER.fullmatch(found) and plain(canonical(Decimal(found))) != found:
        yield f"{path}: {found}"


def numbers(found: Any) -> int:
    return len(re.findall(r'"-?[0-9]+(\.[0-9]+)?"', json.dumps(found)))


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(("path", "user"), VIEWS)
def test_the_numbers_of_a_list_are_canonical(server: tuple[Running, Api], path: str, user: str) -> None:
    answer = server[1].call("GET", path, user)
    assert answer.status_code == 200, answer.text
    assert numbers(answer.json()) or path == "/accounts"
    assert list(badly_written(answer.json())) == []


def test_the_numbers_of_an_order_and_of_a_dry_run_are_canonical(
    server: tuple[Running, Api], filled: dict[str, Any]
) -> None:
    assert filled["executions"]
    assert list(badly_written(filled)) == []
    assert list(badly_written(_route(server[1]))) == []


def test_the_numbers_of_the_stream_are_canonical(server: tuple[Running, Api], filled: dict[str, Any]) -> None:
    api = server[1]
    headers = {"Authorization": f"Bearer {api.token('trader')}"}
    with connect(f"ws://127.0.0.1:{api.port}/stream", additional_headers=headers, max_size=None) as socket:
        for topic in TOPICS:
            asked = {"op": "subscribe", "id": topic, "topic": topic, "symbols": ["AAPL"]}
            socket.send(json.dumps(asked))
        api.order(quantity="100", price=str(Decimal(filled["average_price"]).quantize(Decimal("0.01")) + 3))
        seen: dict[str, int] = dict.fromkeys(TOPICS, 0)
        while min(seen.values()) < 1 or seen["book"] < 10:
            said = json.loads(socket.recv(timeout=PATIENCE_S))
            assert list(badly_written(said)) == []
            if said["op"] in ("snapshot", "delta"):
                seen[said["id"]] += len(said["items"])


@pytest.mark.parametrize("text", ["-2.500", "1E+3", "-0", "100.0", "0.00"])
def test_another_form_of_a_number_would_be_found(text: str) -> None:
    assert list(badly_written({"a": [{"b": text}, {"b": "2.5"}]})) == [f".a[].b: {text}"]
