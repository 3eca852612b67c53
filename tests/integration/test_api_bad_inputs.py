"""Bad input over REST, row by row of the list that conformance gives: each test is named by its id.

Rows of other surfaces and of controls that come with their own issue are listed in `DEFERRED`.
"""

import csv
import json
import re
import socket
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from qtinfra.core.commands import SetReference, SetRiskPolicy
from qtinfra.core.extended_models import US_EQUITY_TICKS, Instrument, RiskPolicy
from qtinfra.core.models import AssetClass, Currency
from qtinfra.core.security.identity import Role
from qtinfra.infra.clock import SystemClock
from qtinfra.infra.security.keys import SigningKey
from qtinfra.infra.security.login import DEV_AUDIENCE, DEV_ISSUER, DEV_KEY_FILE, TokenIssuer
from tests.support.requirements import REPO_ROOT
from tests.support.server import Api, Running, new_order, running

pytestmark = pytest.mark.integration

ROWS = REPO_ROOT / "tests" / "data" / "conformance" / "bad_inputs.csv"
DEFERRED = {
    "BI-035": "four eyes on limits comes with the controls",
    "BI-046": "signed requests come with the controls",
    "BI-057": "CSV export comes with the controls",
    "BI-058": "locate upload comes with the controls",
    "BI-062": "the stream has tests of its own",
    "BI-072": "FIX",
    "BI-073": "FIX",
    "BI-075": "FIX",
    "BI-076": "FIX",
    "BI-077": "FIX",
    "BI-078": "FIX",
    "BI-079": "configuration reload comes with the controls",
    "BI-080": "data subject requests come with the controls",
    "BI-081": "the journal's own tests",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Api]]:
    with running(tmp_path_factory.mktemp("bad-inputs")) as found:
        yield found


@pytest.fixture
def api(server: tuple[Running, Api]) -> Iterator[Api]:
    """The server; whatever a test sent, nothing of ours failed and the engine still runs."""
    yield server[1]
    assert server[1].http.get("/healthz").status_code == 200
    assert not re.search(r'status="5', server[1].http.get("/metrics").text)


@pytest.fixture
def engine(server: tuple[Running, Api]) -> Running:
    return server[0]


def refused(answer: httpx.Response, status: int, *codes: str) -> dict[str, Any]:
    """The problem that an answer must be."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] in codes, problem
    assert problem["status"] == status
    assert problem["type"] == f"urn:qtinfra:error:{problem['code']}"
    assert problem["correlation_id"] == answer.headers["x-correlation-id"]
    assert "Traceback" not in answer.text
    return problem


def quantity(token: str, **fields: Any) -> bytes:
    """A valid order with this JSON text as its quantity."""
    text = json.dumps(new_order(quantity="@", **fields))
    return text.replace('"@"', token).encode()


def rss_kib() -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


# --- the message -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["Infinity", "-Infinity", "NaN"])
def test_bi_002_infinity_is_not_json(api: Api, token: str) -> None:
    refused(api.post(quantity(token)), 400, "invalid_json")


def test_bi_004_a_huge_exponent_is_out_of_range(api: Api) -> None:
    refused(api.order(quantity="1e400"), 422, "number_out_of_range")


@pytest.mark.parametrize("token", ['"-0"', "-0.0", "-100"])
def test_bi_006_bi_007_negative_zero_and_negative_numbers_are_not_positive(api: Api, token: str) -> None:
    refused(api.post(quantity(token)), 422, "must_be_positive")


def test_bi_008_zero_is_not_positive(api: Api) -> None:
    refused(api.order(quantity="0"), 422, "must_be_positive")


@pytest.mark.parametrize(("symbol", "price"), [("PNNY", "0.90001"), ("PNNY", "0.00001"), ("AAPL", "200.001")])
def test_bi_011_a_price_off_the_tick_is_refused(api: Api, symbol: str, price: str) -> None:
    problem = refused(api.order(symbol=symbol, price=price), 422, "tick_size")
    assert problem["errors"][0]["field"] == "price"


def test_bi_011_a_sub_dollar_stock_has_the_finer_tick(api: Api) -> None:
    assert api.order(symbol="PNNY", price="0.8501").status_code == 201


@pytest.mark.parametrize("number", ["１００", "١٠٠"])
def test_bi_012_digits_of_other_scripts_are_refused(api: Api, number: str) -> None:
    refused(api.order(quantity=number), 422, "non_ascii_number")


@pytest.mark.parametrize("number", ["1_000", " 100 ", "+100", "1,000"])
def test_bi_013_numbers_follow_one_grammar(api: Api, number: str) -> None:
    refused(api.order(quantity=number), 422, "number_format")


def test_bi_014_five_thousand_digits_are_too_long(api: Api) -> None:
    refused(api.order(quantity="9" * 5000), 422, "max_length")


@pytest.mark.parametrize("token", ["true", "null", "[100]", '{"a":1}'])
def test_bi_015_other_types_are_not_coerced(api: Api, token: str) -> None:
    refused(api.post(quantity(token)), 422, "type")


def test_bi_016_a_notional_beyond_38_digits_is_refused_exactly(api: Api) -> None:
    problem = refused(api.order(quantity=str(10**17), price=str(10**9)), 422, "notional_out_of_range")
    assert problem["errors"][0]["value"] == str(10**26)


def test_bi_017_a_key_that_stands_twice_is_refused(api: Api) -> None:
    body = quantity('100,"quantity":999999')
    refused(api.post(body), 400, "duplicate_key")


def test_bi_018_deep_nesting_is_refused_in_constant_memory(api: Api) -> None:
    body = b'{"symbol":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    before = rss_kib()
    for _ in range(5):
        refused(api.post(body), 400, "nesting_depth")
    assert rss_kib() - before < 10 * 1024


def test_bi_019_ten_megabytes_get_413_before_they_are_read(api: Api) -> None:
    token = api.token("trader").encode()
    head = (
        b"POST /orders HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + token + b"\r\n"
        b"content-type: application/json\r\ncontent-length: 10485760\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", api.port), 30) as link:
        link.sendall(head + b'{"client_order_id":"' + b"x" * 70_000)
        said = b""
        while part := link.recv(65_536):
            said += part
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in said.lower()
    assert b'"code":"body_too_large"' in said


def test_bi_021_compressed_requests_are_not_read(api: Api) -> None:
    before = rss_kib()
    refused(api.post(b"\x1f\x8b" + b"\0" * 1000, content_encoding="gzip"), 415, "content_encoding")
    assert rss_kib() - before < 10 * 1024


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(new_order()).encode() + b"x",
        b"\xef\xbb\xbf" + json.dumps(new_order()).encode(),
        json.dumps(new_order()).encode("utf-16"),
    ],
    ids=["trailing", "byte order mark", "UTF-16"],
)
def test_bi_022_only_plain_utf8_without_anything_behind_is_read(api: Api, body: bytes) -> None:
    refused(api.post(body), 400, "invalid_json", "invalid_encoding")


def test_bi_023_a_lone_surrogate_is_refused(api: Api) -> None:
    body = json.dumps(new_order(symbol="@")).replace('"@"', '"A\\ud800"').encode()
    refused(api.post(body), 422, "invalid_unicode")


def test_bi_024_a_zero_character_is_no_part_of_a_symbol(api: Api) -> None:
    refused(api.order(symbol="AA\0PL"), 422, "symbol_charset", "control_char")


@pytest.mark.parametrize("symbol", ["АAPL", "ＡＡＰＬ", "AAPL\u200b"])
def test_bi_025_look_alikes_are_refused_and_counted(api: Api, symbol: str) -> None:
    def counted() -> float:
        found = re.search(r"(?m)^qtinfra_confusable_symbols_total (\S+)", api.http.get("/metrics").text)
        assert found is not None
        return float(found[1])

    before = counted()
    refused(api.order(symbol=symbol), 422, "symbol_charset")
    assert counted() == before + 1


def test_bi_027_fix_separators_do_not_come_in_by_text(api: Api) -> None:
    refused(api.order(text="x\x01SOH 35=D\x0111=EVIL"), 422, "control_char")


@pytest.mark.parametrize(
    "extra",
    [{"status": "FILLED"}, {"filled_quantity": "100"}, {"risk_override": True}, {"created_at": "2020"}],
    ids=str,
)
def test_bi_028_unknown_fields_are_refused(api: Api, extra: dict[str, Any]) -> None:
    problem = refused(api.order(**extra), 422, "unknown_field")
    assert problem["errors"][0]["field"] == next(iter(extra))


# --- orders ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"side": "SELL"}, {"account_id": "ACC-2"}, {"symbol": "KO"}], ids=str)
def test_bi_030_what_an_order_is_cannot_be_changed(api: Api, change: dict[str, str]) -> None:
    path = api.order().headers["location"]
    body = {"client_order_id": new_order()["client_order_id"], "quantity": "50", **change}
    refused(api.call("PUT", path, json=body), 422, "immutable_field")


def test_bi_032_nothing_of_another_account_is_shown_or_counted(api: Api) -> None:
    theirs = api.order("pm", account_id="ACC-2")
    assert theirs.status_code == 201
    listed = api.call("GET", "/orders?account_id=ACC-2")
    assert (listed.status_code, listed.json()["items"], listed.json()["next_cursor"]) == (200, [], None)
    for method in ("GET", "DELETE"):
        refused(api.call(method, theirs.headers["location"]), 404, "order_not_found")
    change = {"client_order_id": "theirs", "quantity": "1"}
    refused(api.call("PUT", theirs.headers["location"], json=change), 404, "order_not_found")
    refused(api.order(account_id="ACC-2"), 403, "forbidden")
    refused(api.order(account_id="NOBODY"), 403, "forbidden")


def test_bi_044_a_key_used_for_another_request_is_refused(api: Api) -> None:
    key = {"idempotency-key": "once"}
    first = api.call("POST", "/orders", json=new_order(client_order_id=None), headers=key)
    assert first.status_code == 201
    again = api.call("POST", "/orders", json=new_order(client_order_id=None), headers=key)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    other = new_order(client_order_id=None, quantity="200")
    refused(api.call("POST", "/orders", json=other, headers=key), 409, "idempotency_mismatch")
    other = new_order()
    refused(api.call("POST", "/orders", json=other, headers=key), 409, "idempotency_mismatch")


def test_bi_045_the_first_answer_survives_a_restart_and_a_new_day(tmp_path: Path) -> None:
    order, keyed = new_order(), new_order(client_order_id=None)
    key = {"idempotency-key": "survives"}
    with running(tmp_path) as (server, api):
        day = server.platform.trade_date
        first = api.call("POST", "/orders", json=order)
        by_key = api.call("POST", "/orders", json=keyed, headers=key)
        assert (first.status_code, by_key.status_code) == (201, 201)
    tomorrow = SystemClock(wall_ns=lambda: time.time_ns() + 86_400_000_000_000)
    with running(tmp_path, tomorrow) as (server, api):
        assert server.platform.state.trade_date > day
        before = len(server.platform.state.orders)
        again = api.call("POST", "/orders", json={**order, "quantity": "100.0", "time_in_force": "DAY"})
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
        again = api.call("POST", "/orders", json=keyed, headers=key)
        assert (again.status_code, again.json()["id"]) == (200, by_key.json()["id"])
        other = api.call("POST", "/orders", json={**order, "quantity": "101"})
        assert refused(other, 409, "duplicate_client_order_id")["order_id"] == first.json()["id"]
        refused(api.call("POST", "/orders", json=new_order(), headers=key), 409, "idempotency_mismatch")
        assert len(server.platform.state.orders) == before


def test_bi_048_a_quantity_below_what_has_traded_is_refused(api: Api) -> None:
    """A large buy through the touch trades in part; its rest stands at a limit within the collar."""
    book = api.call("POST", "/route", json=new_order(symbol="XOM", price=None, order_type="MARKET")).json()
    ask = Decimal(book["best_ask"])
    order = api.order(symbol="XOM", quantity="80000", price=str(ask))
    path = order.headers["location"]
    filled = api.until(path, "PARTIALLY_FILLED")["filled_quantity"]
    assert Decimal(filled) > 1
    change = {"client_order_id": new_order()["client_order_id"], "quantity": "1"}
    problem = refused(api.call("PUT", path, json=change), 409, "qty_below_filled")
    assert problem["errors"][0]["field"] == "quantity"
    assert api.call("DELETE", path).status_code in (200, 202)


def test_bi_049_prices_far_from_the_reference_are_refused(api: Api) -> None:
    answer = api.order(price="252.00")
    problem = refused(answer, 422, "price_collar")
    assert problem["errors"][0]["value"] == "252"
    assert problem["errors"][0]["limit"]
    read = api.call("GET", answer.headers["location"]).json()
    assert (read["status"], read["rejection"]["code"]) == ("REJECTED", "price_collar")


def test_bi_049_without_a_reference_a_market_order_is_refused(api: Api, engine: Running) -> None:
    silent = Instrument("QUIET", AssetClass.EQUITY, Currency.USD, ("XNAS",), US_EQUITY_TICKS)
    engine.do(SetReference((silent,)))
    order = api.order(symbol="QUIET", order_type="MARKET", price=None)
    refused(order, 422, "stale_reference")


def test_bi_050_the_largest_value_passes_and_a_cent_more_does_not(api: Api) -> None:
    limit = {"rule": "max_order_value", "value": "20000", "account_id": "ACC-2", "symbol": "AAPL"}
    assert api.call("PUT", "/risk/limits", "risk", json=limit).status_code == 200
    assert api.order("pm", account_id="ACC-2", quantity="100", price="200.00").status_code == 201
    answer = api.order("pm", account_id="ACC-2", quantity="100", price="200.01")
    problem = refused(answer, 422, "max_order_value")
    assert (problem["errors"][0]["limit"], problem["errors"][0]["value"]) == ("20000", "20001")


def test_bi_051_the_message_limit_counts_by_identity_and_not_by_address(tmp_path: Path) -> None:
    with running(tmp_path) as (server, api):
        hour = 3_600_000_000_000
        server.do(SetRiskPolicy(RiskPolicy(message_window_ns=hour)))
        limit = {"rule": "max_messages", "value": "100", "account_id": "ACC-1"}
        assert api.call("PUT", "/risk/limits", "risk", json=limit).status_code == 200
        orders = [new_order() for _ in range(101)]
        results = api.call("POST", "/orders:batch", json={"orders": orders}).json()["results"]
        assert [item["status"] for item in results] == [201] * 100 + [429]
        assert results[-1]["problem"]["code"] == "max_messages"
        answer = api.call("POST", "/orders", json=new_order(), headers={"x-forwarded-for": "10.0.0.7"})
        refused(answer, 429, "max_messages")
        assert int(answer.headers["retry-after"]) >= 1


def test_bi_053_a_short_sale_without_locate_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as (server, api):
        server.do(SetRiskPolicy(RiskPolicy(short_sale=True)))
        refused(api.order(side="SELL_SHORT", price="215.00"), 422, "locate_missing")


# --- access ------------------------------------------------------------------------------------------------


def part(value: dict[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def bearer(api: Api, value: str) -> httpx.Response:
    return api.http.get("/orders", headers={"authorization": value})


@pytest.fixture
def key(engine: Running) -> SigningKey:
    return SigningKey.load_or_create(engine.platform.settings.data_dir / DEV_KEY_FILE)


def signed(key: SigningKey, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token of the development issuer with these claims changed; None leaves one out."""
    now = int(time.time())
    body = {
        "iss": DEV_ISSUER,
        "sub": "trader",
        "aud": DEV_AUDIENCE,
        "iat": now,
        "nbf": now,
        "exp": now + 300,
        "jti": f"t{time.time_ns()}",
        "roles": ["TRADER"],
        "accounts": ["ACC-1"],
        **claims,
    }
    body = {name: value for name, value in body.items() if value is not None}
    head = {"alg": "Ed25519", "kid": key.kid, "typ": "at+jwt", **(header or {})}
    return jwt.encode(head, body, key.key, algorithms=["Ed25519"])


def test_the_token_that_the_others_are_made_from_is_good(api: Api, key: SigningKey) -> None:
    assert bearer(api, f"Bearer {signed(key)}").status_code == 200


def test_bi_036_a_token_without_signature_is_refused(api: Api, key: SigningKey) -> None:
    head = part({"alg": "none", "typ": "at+jwt", "kid": key.kid})
    body = signed(key).split(".")[1]
    refused(bearer(api, f"Bearer {head}.{body}."), 401, "invalid_token")
    secret = OctKey.import_key("x" * 32)
    claims = {"iss": DEV_ISSUER, "aud": DEV_AUDIENCE, "sub": "trader"}
    symmetric = jwt.encode({"alg": "HS256", "typ": "at+jwt", "kid": key.kid}, claims, secret)
    refused(bearer(api, f"Bearer {symmetric}"), 401, "invalid_token")


@pytest.mark.parametrize("kid", ["../../../../dev/null", "x' UNION SELECT 'k'", ""])
def test_bi_038_a_key_is_only_looked_up_in_memory(api: Api, key: SigningKey, kid: str) -> None:
    refused(bearer(api, f"Bearer {signed(key, {'kid': kid})}"), 401, "invalid_token")


@pytest.mark.parametrize("name", ["jku", "x5u"])
def test_bi_038_keys_are_never_fetched(api: Api, key: SigningKey, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/"
        _, body, signature = signed(key).split(".")
        forged = part({"alg": "Ed25519", "kid": key.kid, "typ": "at+jwt", name: url})
        refused(bearer(api, f"Bearer {forged}.{body}.{signature}"), 401, "invalid_token")
        with pytest.raises(TimeoutError):
            trap.accept()


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"iat": -600, "nbf": -600, "exp": -61}, "expired_token"),
        ({"nbf": 61, "exp": 600}, "premature_token"),
        ({"iat": 2_300_000_000, "exp": 2_300_000_300}, "premature_token"),
        ({"exp": None}, "invalid_token"),
    ],
    ids=["expired", "not yet", "issued in 2099", "without end"],
)
def test_bi_039_times_of_a_token_count(api: Api, key: SigningKey, claims: dict[str, Any], code: str) -> None:
    now = int(time.time())
    moved = {n: v + now if v is not None and v < 10**9 else v for n, v in claims.items()}
    refused(bearer(api, f"Bearer {signed(key, **moved)}"), 401, code, "invalid_token")


@pytest.mark.parametrize(
    "change",
    [{"aud": "billing"}, {"iss": "https://production.invalid"}],
    ids=["another service", "another environment"],
)
def test_bi_040_tokens_for_others_are_refused(api: Api, key: SigningKey, change: dict[str, Any]) -> None:
    refused(bearer(api, f"Bearer {signed(key, **change)}"), 401, "invalid_token")


def test_bi_040_an_id_token_is_no_access_token(api: Api, key: SigningKey) -> None:
    refused(bearer(api, f"Bearer {signed(key, {'typ': 'JWT'})}"), 401, "invalid_token")


def test_bi_042_an_ambiguous_or_odd_authorization_is_refused(api: Api) -> None:
    token = api.token("trader")
    twice = [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")]
    refused(api.http.get("/orders", headers=twice), 400, "ambiguous_authorization")
    refused(bearer(api, f"bearer\t{token}"), 401, "invalid_token")
    refused(bearer(api, "Bearer " + "x" * 32_768), 431, "token_too_large")


def test_roles_do_not_exceed_their_permissions(api: Api, key: SigningKey) -> None:
    now = time.time()
    issuer = TokenIssuer(key, DEV_ISSUER, DEV_AUDIENCE)
    nobody = issuer.issue("nobody", (), ("*",), now)
    refused(bearer(api, f"Bearer {nobody}"), 403, "forbidden")
    viewer = issuer.issue("reader", (Role.VIEWER,), ("ACC-1",), now)
    answer = api.http.post("/orders", json=new_order(), headers={"authorization": f"Bearer {viewer}"})
    refused(answer, 403, "forbidden")


# --- queries and paths -------------------------------------------------------------------------------------


def test_bi_054_sorting_and_filters_are_names_from_a_list(api: Api) -> None:
    refused(api.call("GET", "/orders?sort=(select pg_sleep(5))"), 422, "unknown_sort_field")
    inject = {"filter": "symbol like '%'; drop table orders--"}
    refused(api.call("GET", "/orders", params=inject), 422, "unknown_filter")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=-1", "limit_out_of_range"),
        ("limit=99999999999999999999", "limit_out_of_range"),
        ("limit=1_0", "limit_out_of_range"),
        ("limit=1&limit=2", "duplicate_parameter"),
        ("limit=501", "limit_out_of_range"),
    ],
)
def test_bi_055_the_page_size_is_one_whole_number_up_to_500(api: Api, query: str, code: str) -> None:
    refused(api.call("GET", f"/orders?{query}"), 422, code)


def test_bi_056_an_edited_cursor_and_one_of_another_caller_are_refused(api: Api) -> None:
    for _ in range(2):
        assert api.order().status_code == 201
    cursor = api.call("GET", "/orders?limit=1").json()["next_cursor"]
    assert api.call("GET", f"/orders?limit=1&cursor={cursor}").status_code == 200
    edited = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    refused(api.call("GET", f"/orders?limit=1&cursor={edited}"), 400, "bad_cursor")
    refused(api.call("GET", f"/orders?limit=1&cursor={cursor}", "pm"), 400, "bad_cursor")


def test_bi_069_ids_and_symbols_never_become_labels(api: Api) -> None:
    def lines() -> int:
        return len(api.http.get("/metrics").text.splitlines())

    api.order(symbol="S0", client_order_id="label-0")
    api.http.get("/nothing/0")
    api.call("GET", "/orders/00000000-0001-8000-8000-000000000000")
    before = lines()
    for number in range(50):
        api.order(symbol=f"S{number}", client_order_id=f"label-{number}")
        api.http.get(f"/nothing/{number}")
        api.call("GET", f"/orders/00000000-0001-8000-8000-0000000000{number:02d}")
    assert lines() <= before + 8
    assert "label-" not in api.http.get("/metrics").text


@pytest.mark.parametrize(
    "order_id", ["%2e%2e%2f", "..%2f..%2fetc%2fpasswd", "x" * 8000, "%F0%9F%92%A5", "%00", "a%0d%0ab"]
)
def test_bi_070_what_is_no_order_id_is_not_found(api: Api, order_id: str) -> None:
    for method in ("GET", "DELETE"):
        refused(api.call(method, f"/orders/{order_id}"), 404, "order_not_found", "no_such_path")


def test_every_row_has_its_test_or_its_reason() -> None:
    with ROWS.open(encoding="utf-8", newline="") as file:
        ids = {row["id"] for row in csv.DictReader(file)}
    tested = {f"BI-{number}" for name in globals() for number in re.findall(r"bi_(\d{3})", name)}
    assert sorted(ids - tested - DEFERRED.keys()) == []
    assert sorted(tested & DEFERRED.keys()) == []
