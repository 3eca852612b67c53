"""The `algo` object on the wire: strict, exact, and the same to the fast parser and to the model."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.algo import AlgoTerms, Completion
from qtinfra.core.validation.errors import MessageRefused
from qtinfra.core.validation.schemas import OrderCreateRequest
from qtinfra.core.validation.wire import parse_new_order
from qtinfra.core.validation.wire_algo import ALGO

pytestmark = pytest.mark.unit

ORDER = {
    "symbol": "ACME",
    "side": "BUY",
    "quantity": "1000",
    "order_type": "MARKET",
    "client_order_id": "X",
    "account_id": "alpha",
}
FULL: dict[str, Any] = {
    "name": "VWAP",
    "start_time": "2024-07-08T13:30:00Z",
    "end_time": "2024-07-08T20:00:00.000000001Z",
    "max_participation": "0.10",
    "min_participation": 0.01,
    "target_rate": "0.05",
    "risk_aversion": "0.000001",
    "impact_exponent": "0.6",
    "min_clip": "100",
    "max_clip": "1000",
    "would_price": "49.50",
    "open_share": "0",
    "close_share": "0.2",
    "randomise_time": "0.5",
    "randomise_size": "0.3",
    "seed": 12345,
    "slices": 78,
    "completion": "CROSS",
    "passive": False,
    "dark_first": True,
}
NEEDED = {name: FULL[name] for name in ("name", "start_time", "end_time")}


def body(algo: object) -> bytes:
    return json.dumps({**ORDER, "algo": algo}).encode()


def first(algo: object) -> tuple[str, str]:
    """Field and code of the refusal, the same from both readers."""
    refused = []
    for read in (parse_new_order, OrderCreateRequest.from_wire):
        with pytest.raises(MessageRefused) as caught:
            read(body(algo))
        refused.append((caught.value.errors[0].field, caught.value.errors[0].code))
    assert refused[0] == refused[1]
    return refused[0]


def test_every_field_reaches_the_command_exactly() -> None:
    terms = parse_new_order(body(FULL)).algo
    assert terms == AlgoTerms(
        "VWAP",
        1_720_445_400_000_000_000,
        1_720_468_800_000_000_001,
        Decimal("0.1"),
        Decimal("0.01"),
        Decimal("0.05"),
        Decimal("0.000001"),
        Decimal("0.6"),
        Decimal(100),
        Decimal(1000),
        Decimal("49.5"),
        Decimal(0),
        Decimal("0.2"),
        Decimal("0.5"),
        Decimal("0.3"),
        12345,
        78,
        Completion.CROSS,
        False,
        True,
    )
    assert OrderCreateRequest.from_wire(body(FULL)).algo == terms
    assert set(FULL) == {field.name for field in ALGO}


def test_what_is_left_out_has_its_default_and_a_plain_order_has_none() -> None:
    terms = parse_new_order(body(NEEDED)).algo
    assert terms is not None
    assert terms == AlgoTerms("VWAP", terms.start_ns, 1_720_468_800_000_000_001)
    assert parse_new_order(json.dumps(ORDER).encode()).algo is None


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"speed": 1}, "algo.speed", "unknown_field"),
        ({"start_time": None}, "algo.start_time", "type"),
        ({"start_time": 1720445400}, "algo.start_time", "type"),
        ({"start_time": "2024-07-08T13:30:00"}, "algo.start_time", "date_format"),
        ({"start_time": "2024-07-08T13:30:00+02:00"}, "algo.start_time", "date_format"),
        ({"start_time": "2024-02-30T13:30:00Z"}, "algo.start_time", "date_format"),
        ({"start_time": "1969-12-31T23:59:59Z"}, "algo.start_time", "date_format"),
        ({"end_time": "9999-12-31T23:59:59Z"}, "algo.end_time", "date_format"),
        ({"end_time": "2024-07-08T13:30:00.1234567890Z"}, "algo.end_time", "date_format"),
        ({"max_participation": "1.1"}, "algo.max_participation", "number_out_of_range"),
        ({"max_participation": "0"}, "algo.max_participation", "must_be_positive"),
        ({"max_participation": "1e-1"}, "algo.max_participation", "number_out_of_range"),
        ({"min_clip": "-1"}, "algo.min_clip", "must_be_positive"),
        ({"seed": "1.5"}, "algo.seed", "number_format"),
        ({"seed": 10**18}, "algo.seed", "number_format"),
        ({"slices": 391}, "algo.slices", "number_out_of_range"),
        ({"completion": "cross"}, "algo.completion", "unknown_enum"),
        ({"passive": 1}, "algo.passive", "type"),
        ({"passive": "true"}, "algo.passive", "type"),
        ({"name": ""}, "algo.name", "max_length"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(change: dict[str, Any], field: str, code: str) -> None:
    assert first({**NEEDED, **change}) == (field, code)


@pytest.mark.parametrize("algo", [None, "VWAP", 1, True, [], [NEEDED]])
def test_anything_but_an_object_is_refused(algo: object) -> None:
    assert first(algo) == ("algo", "type")


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_a_needed_field_that_is_missing_is_named(name: str) -> None:
    algo = {key: value for key, value in NEEDED.items() if key != name}
    assert first(algo) == (f"algo.{name}", "missing_field")


def test_a_key_that_stands_twice_is_refused() -> None:
    text = json.dumps({**ORDER, "algo": NEEDED}).replace('"name": "VWAP"', '"name": "VWAP", "name": "TWAP"')
    with pytest.raises(MessageRefused) as caught:
        parse_new_order(text.encode())
    assert caught.value.errors[0].code == "duplicate_key"


_VALUES: st.SearchStrategy[Any] = st.sampled_from(
    ["0", "0.5", "1", "2", "-1", "", "x", 1, 0.5, -3, 10**30, True, None, [], {}, "2024-07-08T13:30:00Z"]
)


@given(st.dictionaries(st.sampled_from([*FULL, "other", "\ud800"]), _VALUES, max_size=6), st.booleans())
def test_both_readers_agree_on_any_object(changes: dict[str, Any], whole: bool) -> None:
    data = body({**(FULL if whole else NEEDED), **changes})
    answers: list[object] = []
    for read in (lambda: parse_new_order(data).algo, lambda: OrderCreateRequest.from_wire(data).algo):
        try:
            answers.append(read())
        except MessageRefused as refused:
            answers.append((refused.errors[0].field, refused.errors[0].code, refused.http_status))
    assert answers[0] == answers[1]
