"""Who sees and does what over REST: every path of the description, every verb, every role, two accounts.

The matrix is generated from the description: an operation that it names and this file does not know fails.
What belongs to the other account is marked; no answer to a caller without that account may show a mark, and
what he is told of it must be what he is told of something that does not exist.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from qtinfra.api.main import create_app
from qtinfra.api.stream.protocol import Topic
from qtinfra.core.commands import EngageKillSwitch, LoadCash, ReleaseKillSwitch
from qtinfra.core.extended_models import KillScope
from qtinfra.core.models import Currency
from qtinfra.core.security.identity import Identity, Role
from qtinfra.core.security.permissions import Permission, holds
from qtinfra.infra.clock import SystemClock
from qtinfra.infra.security.keys import SigningKey
from qtinfra.infra.security.login import DEV_AUDIENCE, DEV_ISSUER, DEV_KEY_FILE, TokenIssuer
from tests.support.server import PATIENCE_S, Api, Running, new_order, running

pytestmark = pytest.mark.integration

OWN, OTHER, NONE = "ACC-1", "ACC-3", "ACC-8"
OTHER_CLIENT = "south"
MARK = "marked"
NO_ID = "00000000-0001-8000-8000-00000000ffff"
VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
PATHS = create_app().openapi()["paths"]
OPERATIONS = {(verb.upper(), path) for path, verbs in PATHS.items() for verb in verbs}
LISTS = sorted(path for verb, path in OPERATIONS if verb == "GET" and "cursor" in str(PATHS[path]["get"]))
SWITCHES, SWITCHES_OFF = "/risk/kill-switches", "/risk/kill-switches:release"
PUBLIC = {("GET", "/healthz"), ("GET", "/version"), ("GET", "/metrics"), ("POST", "/auth/token")}

#: What each operation takes; one that must be able to see the order as well has two.
NEEDS: dict[tuple[str, str], Permission] = {
    ("GET", "/orders"): Permission.ORDERS_READ,
    ("POST", "/orders"): Permission.ORDERS_WRITE,
    ("POST", "/orders:batch"): Permission.ORDERS_WRITE,
    ("POST", "/orders:list"): Permission.ORDERS_WRITE,
    ("POST", "/orders:cancel"): Permission.ORDERS_CANCEL,
    ("GET", "/orders/{id}"): Permission.ORDERS_READ,
    ("PUT", "/orders/{id}"): Permission.ORDERS_WRITE,
    ("DELETE", "/orders/{id}"): Permission.ORDERS_CANCEL,
    ("GET", "/executions"): Permission.ORDERS_READ,
    ("GET", "/positions"): Permission.POSITIONS_READ,
    ("GET", "/accounts"): Permission.ORDERS_READ,
    ("GET", "/venues"): Permission.REFERENCE_READ,
    ("GET", "/instruments"): Permission.REFERENCE_READ,
    ("POST", "/route"): Permission.ROUTE_READ,
    ("GET", "/routing/analytics"): Permission.ANALYTICS_READ,
    ("GET", "/risk/limits"): Permission.RISK_READ,
    ("PUT", "/risk/limits"): Permission.RISK_WRITE,
    ("GET", "/risk/locates"): Permission.RISK_READ,
    ("POST", "/risk/locates"): Permission.RISK_WRITE,
    ("GET", "/risk/kill-switches"): Permission.RISK_READ,
    ("POST", "/risk/kill-switches"): Permission.KILL_WRITE,
    ("POST", "/risk/kill-switches:release"): Permission.KILL_WRITE,
    ("GET", "/health/detailed"): Permission.OPERATIONS_READ,
    ("POST", "/admin/tokens:revoke"): Permission.ADMIN,
    ("GET", "/admin/tokens:revoked"): Permission.ADMIN,
    ("POST", "/admin/day:roll"): Permission.OPERATIONS_WRITE,
    ("PUT", "/admin/marks"): Permission.OPERATIONS_WRITE,
    ("PUT", "/admin/fx-rates"): Permission.OPERATIONS_WRITE,
    ("POST", "/admin/fee-schedules"): Permission.OPERATIONS_WRITE,
    ("PUT", "/admin/retention"): Permission.OPERATIONS_WRITE,
    ("POST", "/admin/cash:load"): Permission.BOOKS_WRITE,
    ("POST", "/admin/cash:pay"): Permission.BOOKS_WRITE,
    ("POST", "/admin/cash:exchange"): Permission.BOOKS_WRITE,
    ("POST", "/admin/positions:load"): Permission.BOOKS_WRITE,
}
#: Operations with a body that is about no account.
OF_THE_FIRM = {
    (verb, path)
    for (verb, path), permission in NEEDS.items()
    if permission in (Permission.ADMIN, Permission.OPERATIONS_WRITE)
}
#: The message says which step is next, and means another one.
NOT_NEXT = {"step": "DAY_OPEN", "trade_date": "2001-01-01"}


def body_of(verb: str, path: str, account: str) -> dict[str, Any] | None:
    """A request body about an account that its owner's desk could send; None where there is none."""
    order = new_order(account_id=account)
    bodies: dict[tuple[str, str], dict[str, Any]] = {
        ("POST", "/orders"): order,
        ("POST", "/orders:batch"): {"orders": [order]},
        ("POST", "/orders:list"): {"link": "OCO", "orders": [order, new_order(account_id=account)]},
        ("POST", "/orders:cancel"): {"account_id": account, "symbol": "MSFT"},
        ("PUT", "/orders/{id}"): {"client_order_id": order["client_order_id"], "quantity": "50"},
        ("POST", "/route"): order,
        ("PUT", "/risk/limits"): {"rule": "max_order_qty", "value": "90000", "account_id": account},
        ("POST", "/risk/locates"): {
            "locate_id": f"L-{order['client_order_id']}",
            "account_id": account,
            "symbol": "AAPL",
            "quantity": "100",
        },
        ("POST", "/admin/tokens:revoke"): {"subject": "nobody"},
        ("POST", "/admin/day:roll"): NOT_NEXT,
        ("PUT", "/admin/marks"): {"symbol": "KO", "price": "60.5"},
        ("PUT", "/admin/fx-rates"): {"base": "EUR", "quote": "USD", "rate": "1.1"},
        ("POST", "/admin/fee-schedules"): {
            "schedule_id": "standard",
            "client": "*",
            "currency": "USD",
            "effective_from": "2026-01-01",
            "lines": [{"tiers": [{"floor": "0", "bps": "1.5"}]}],
        },
        ("PUT", "/admin/retention"): {"days": "20"},
        ("POST", "/admin/cash:load"): {"account_id": account, "currency": "EUR", "amount": "1000"},
        ("POST", "/admin/cash:pay"): {
            "payment_id": f"P-{order['client_order_id']}",
            "account_id": account,
            "currency": "USD",
            "amount": "-10.5",
        },
        ("POST", "/admin/cash:exchange"): {
            "payment_id": f"X-{order['client_order_id']}",
            "account_id": account,
            "sold_currency": "USD",
            "sold_amount": "11",
            "bought_currency": "GBP",
            "bought_amount": "10",
        },
        ("POST", "/admin/positions:load"): {
            "account_id": account,
            "symbol": "PNNY",
            "quantity": "-100",
            "average_cost": "0.9",
        },
        ("POST", "/risk/kill-switches"): {"scope": "ACCOUNT", "value": account},
        ("POST", "/risk/kill-switches:release"): {"scope": "ACCOUNT", "value": account},
    }
    return bodies.get((verb, path))


class World:
    """A running server on which the other account has traded, and tokens for any role and account."""

    def __init__(self, server: Running, api: Api) -> None:
        self.server, self.api = server, api
        key = SigningKey.load_or_create(server.platform.settings.data_dir / DEV_KEY_FILE)
        self._issuer = TokenIssuer(key, DEV_ISSUER, DEV_AUDIENCE)
        self.marks = [MARK, OTHER, OTHER_CLIENT]
        for account in (OWN, OTHER):
            server.do(LoadCash(account, Currency.USD, Decimal(10**9), server.platform.trade_date))
        self.orders = {account: self.resting(account) for account in (OWN, OTHER)}
        self.trade()

    def token(self, role: Role, account: str) -> str:
        now_s = SystemClock().now_ns() // 10**9
        return self._issuer.issue(f"{role}-{account}", (role,), (account,), now_s)

    def ask(self, role: Role, account: str, verb: str, path: str, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token(role, account)}"}
        return self.api.http.request(verb, path, headers=headers, **options)

    def resting(self, account: str) -> str:
        """The id of a new order of the account that rests in the market."""
        mark = {"client_order_id": f"{MARK}-{new_order()['client_order_id']}", "trader": MARK}
        order = new_order(account_id=account, **(mark if account == OTHER else {}))
        found: str = self.ask(Role.TRADER, account, "POST", "/orders", json=order).json()["id"]
        if account == OTHER:
            self.marks.append(found)
        self.api.until(f"/orders/{found}", "ROUTED", "compliance")
        return found

    def take(self, account: str, symbol: str, cl_ord_id: str) -> dict[str, Any]:
        """A filled market order of the account."""
        order = new_order(account_id=account, symbol=symbol, price=None, order_type="MARKET")
        order["client_order_id"] = cl_ord_id
        order_id = self.ask(Role.TRADER, account, "POST", "/orders", json=order).json()["id"]
        return self.api.until(f"/orders/{order_id}", "FILLED", "compliance")

    def trade(self) -> None:
        """Executions and positions of both accounts; a refusal and a limit of the other one."""
        self.take(OWN, "AAPL", "own-1")
        for symbol in ("MSFT", "JPM"):
            filled = self.take(OTHER, symbol, f"{MARK}-{symbol}")
            self.marks += [filled["id"], *(item["exec_id"] for item in filled["executions"])]
        huge = new_order(account_id=OTHER, quantity="100001", client_order_id=f"{MARK}-huge")
        assert self.ask(Role.TRADER, OTHER, "POST", "/orders", json=huge).status_code == 422
        limit = {"rule": "max_order_qty", "value": "99000", "account_id": OTHER, "reason": MARK}
        assert self.ask(Role.RISK_MANAGER, OTHER, "PUT", "/risk/limits", json=limit).status_code == 200

    def shown(self, answer: httpx.Response) -> list[str]:
        """The marks that an answer shows and its request did not bring."""
        sent = str(answer.request.url) + answer.request.read().decode()
        said = answer.text + str(answer.headers)
        return [mark for mark in self.marks if mark in said and mark not in sent]

    def versions(self) -> dict[str, Any]:
        """Everything of the other account that a request could have changed."""
        state = self.server.platform.state
        orders = [order for mark in self.marks if (order := state.orders.get(mark)) is not None]
        limits = {rule: by_account.get(OTHER) for rule, by_account in state.limits.items()}
        versions = [(order.order_id, order.version, order.status) for order in orders]
        return {
            "orders": versions,
            "limits": repr(limits),
            "kills": [key for key in state.kills if OTHER in key],
            "cash": repr(state.cash.accounts[OTHER] if state.cash is not None else None),
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("matrix")) as (server, api):
        yield World(server, api)


def granted(role: Role, permission: Permission) -> bool:
    return holds(Identity("", (role,), (), "", 0), permission)


#: What follows the synthetic market, which does not wait between two requests.
MOVING = re.compile(r'"(?:mark_price|unrealised_pnl)":(?:"[^"]*"|null)')


def same_words(answer: httpx.Response, *words: str) -> tuple[int, str]:
    """Status and body without what names the request, and without what moves with the market meanwhile."""
    text = MOVING.sub("", answer.text.replace(answer.headers["x-correlation-id"], ""))
    for word in words:
        text = text.replace(word, "")
    return answer.status_code, text


def request(world: World, role: Role, verb: str, path: str, account: str, order_id: str) -> httpx.Response:
    """Ask, as somebody with only the own account, about an account and an order."""
    body = body_of(verb, path, account)
    options = {} if body is None else {"json": body}
    return world.ask(role, OWN, verb, path.replace("{id}", order_id), **options)


def status_for_own(verb: str, path: str, role: Role) -> tuple[int, ...]:
    """The statuses that a role may get for its own account."""
    if (verb, path) not in OPERATIONS:
        return (404, 405)
    if (verb, path) in PUBLIC:
        return (200, 422, 415)
    if path == "/orders/{id}" and not granted(role, Permission.ORDERS_READ):
        return (404,)
    if not granted(role, NEEDS[verb, path]):
        return (403,)
    if path == "/route" and not granted(role, Permission.ORDERS_READ):
        return (403,)
    return (409,) if path == "/admin/day:roll" else (200, 201, 202)


# --- the matrix --------------------------------------------------------------------------------------------


def test_every_operation_of_the_description_is_in_the_matrix() -> None:
    assert NEEDS.keys() == OPERATIONS - PUBLIC
    with_body = {(verb, path) for verb, path in NEEDS if "requestBody" in PATHS[path][verb.lower()]}
    assert {key for key in NEEDS if body_of(*key, OWN) is not None} == with_body
    assert {path for path in PATHS if "{" in path} == {"/orders/{id}"}


@pytest.mark.parametrize(("path", "verb"), sorted(product(PATHS, VERBS)))
def test_a_role_does_with_its_own_account_what_the_policy_grants(world: World, path: str, verb: str) -> None:
    for role in Role:
        order_id = world.resting(OWN) if "{id}" in path and verb in ("PUT", "DELETE") else world.orders[OWN]
        if path == SWITCHES_OFF:
            world.server.do(EngageKillSwitch(KillScope.ACCOUNT, OWN, "to be released"))
        answer = request(world, role, verb, path, OWN, order_id)
        allowed = status_for_own(verb, path, role)
        found = json.loads(answer.text)["results"][0]["status"] if answer.text[:10] == '{"results"' else 0
        assert (found or answer.status_code) in allowed, (role, answer.text)
        assert world.shown(answer) == [], role
        if path.startswith(SWITCHES) and world.server.platform.state.kills:
            world.server.do(ReleaseKillSwitch(KillScope.ACCOUNT, OWN))


@pytest.mark.parametrize(("path", "verb"), sorted(product(PATHS, VERBS)))
def test_another_account_looks_to_every_role_as_if_it_did_not_exist(
    world: World, path: str, verb: str
) -> None:
    before = world.versions()
    for role in Role:
        there = request(world, role, verb, path, OTHER, world.orders[OTHER])
        nowhere = request(world, role, verb, path, NONE, NO_ID)
        assert world.shown(there) == [], role
        if (verb, path) in OF_THE_FIRM:
            continue
        if path in ("/metrics", "/health/detailed"):  # figures of the whole system, never of an account
            continue
        ids = (world.orders[OTHER], NO_ID, OTHER, NONE)
        assert same_words(there, *ids) == same_words(nowhere, *ids), role
        if "{id}" in path and (verb, path) in OPERATIONS:
            assert (there.status_code, there.json()["code"]) == (404, "order_not_found")
        elif body_of(verb, path, OTHER) is not None and path != "/orders:batch":
            assert there.status_code == 403
    assert world.versions() == before


@pytest.mark.parametrize(("verb", "path"), sorted(OPERATIONS - PUBLIC))
def test_nobody_without_a_token_is_told_anything(world: World, verb: str, path: str) -> None:
    for order_id in (world.orders[OTHER], NO_ID):
        body = body_of(verb, path, OTHER)
        answer = world.api.http.request(verb, path.replace("{id}", order_id), json=body)
        assert (answer.status_code, answer.json()["code"]) == (401, "missing_token")
        assert world.shown(answer) == []


# --- lists, counts, cursors --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LISTS)
def test_no_filter_finds_what_lies_outside_the_scope(world: World, path: str) -> None:
    everything = world.api.call("GET", f"{path}?limit=500", "compliance").json()["items"]
    foreign = [row for row in everything if row.get("account_id") == OTHER]
    filters = {item["name"] for item in PATHS[path]["get"]["parameters"]}
    for row in foreign:
        for name in sorted(filters & row.keys()):
            if isinstance(row[name], str):
                answer = world.ask(Role.TRADER, OWN, "GET", path, params={name: row[name]})
                assert answer.status_code in (200, 422), answer.text
                assert world.shown(answer) == [], name
                assert all(item["account_id"] == OWN for item in answer.json().get("items", ()))
    scoped = path not in ("/venues", "/instruments")
    assert bool(foreign) == scoped


@pytest.mark.parametrize("path", LISTS)
def test_a_cursor_is_good_for_its_own_accounts_only(world: World, path: str) -> None:
    first = world.api.call("GET", f"{path}?limit=1", "compliance").json()
    assert first["next_cursor"] is not None
    stolen = {"limit": "1", "cursor": first["next_cursor"]}
    answer = world.ask(Role.TRADER, OWN, "GET", path, params=stolen)
    if path in ("/venues", "/instruments"):
        assert answer.status_code in (200, 400)
    else:
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")
    assert world.shown(answer) == []


def test_what_a_caller_sees_does_not_change_when_another_account_trades(world: World) -> None:
    seen = [path for verb, path in sorted(NEEDS) if verb == "GET" and "{" not in path]
    seen.remove("/health/detailed")  # the whole system's figures, for those who operate it
    callers = [(role, path) for role, path in product(Role, seen) if granted(role, NEEDS["GET", path])]

    def look() -> dict[tuple[Role, str], Any]:
        return {(role, path): _still(world.ask(role, OWN, "GET", path).json()) for role, path in callers}

    before = look()
    world.resting(OTHER)
    assert look() == before


def _still(body: dict[str, Any]) -> dict[str, Any]:
    """A body without what the market moves."""
    for row in body.get("items", ()):
        row.pop("mark_price", None)
        row.pop("unrealised_pnl", None)
    return body


# --- the stream --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", list(Role))
def test_no_topic_of_the_stream_shows_another_account(world: World, role: Role) -> None:
    headers = {"authorization": f"Bearer {world.token(role, OWN)}"}
    heard: list[dict[str, Any]] = []
    with connect(f"ws://127.0.0.1:{world.api.port}/stream", additional_headers=headers) as socket:
        for topic in Topic:
            for name, more in ((topic, ""), (f"o-{topic}", OTHER), (f"n-{topic}", NONE)):
                accounts: dict[str, Any] = {"accounts": [more]} if more else {}
                socket.send(json.dumps({"op": "subscribe", "id": name, "topic": topic, **accounts}))
        for step in ("before", "after"):
            if step == "after":
                world.resting(OTHER)
                world.resting(OWN)
            socket.send(json.dumps({"op": "ping", "id": step}))
            while not heard or (heard[-1]["op"], heard[-1].get("id")) != ("pong", step):
                heard.append(json.loads(socket.recv(timeout=PATIENCE_S)))
        with contextlib.suppress(TimeoutError):  # what was still on its way when the pong came
            while True:
                heard.append(json.loads(socket.recv(timeout=1)))
    text = json.dumps(heard)
    assert [mark for mark in world.marks if mark in text.replace(f'"value": "{OTHER}"', "")] == []
    for topic in Topic:
        answers = [
            [{**found, "id": ""} for found in heard if found.get("id") == f"{who}-{topic}"] for who in "on"
        ]
        assert json.dumps(answers[0]).replace(OTHER, "") == json.dumps(answers[1]).replace(NONE, "")
    if granted(role, Permission.ORDERS_READ):
        rows = [found for found in heard if found.get("id") == Topic.ORDERS]
        assert OWN in json.dumps(rows)
