"""The strict parser: what comes out, in which order errors count, and what the answer says."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.commands import SetLimit, SubmitOrder
from qtinfra.core.decimals import NUMBER_GRAMMAR, canonical
from qtinfra.core.exceptions import OrderValidationError
from qtinfra.core.extended_models import LimitRule, Liquidity
from qtinfra.core.models import Capacity, Currency, OrderSide, OrderType, TimeInForce
from qtinfra.core.validation import wire
from qtinfra.core.validation.errors import HTTP_STATUS, MAX_ERRORS, MessageRefused, Stage
from qtinfra.core.validation.fields import decimal_of, number_error
from qtinfra.core.validation.wire import (
    IMMUTABLE,
    MAX_BODY_BYTES,
    NewExecution,
    check_envelope,
    fast_new_order,
    parse_execution_create,
    parse_new_order,
    parse_replace,
    parse_risk_parameters,
    read_new_order,
    thorough_new_order,
)

pytestmark = pytest.mark.unit

MINIMAL = {"symbol": "BRK.B", "side": "SELL", "quantity": "5", "order_type": "MARKET"}


def refused(message: object) -> MessageRefused:
    with pytest.raises(MessageRefused) as caught:
        parse_new_order(message if isinstance(message, bytes) else json.dumps(message).encode())
    return caught.value


def codes(refusal: MessageRefused) -> list[tuple[str, str]]:
    return [(error.field, error.code) for error in refusal.errors]


def test_an_order_without_optional_fields_gets_the_documented_defaults() -> None:
    order = parse_new_order(json.dumps(MINIMAL).encode(), account="ACC-1", cl_ord_id="gw-1")
    assert order == SubmitOrder(
        "ACC-1",
        "gw-1",
        "BRK.B",
        OrderSide.SELL,
        OrderType.MARKET,
        TimeInForce.DAY,
        Decimal(5),
        None,
        None,
        Capacity.AGENCY,
        "",
    )


@pytest.mark.parametrize("zero", ["0", "0.00"])
def test_a_minimum_of_zero_is_the_order_without_one(zero: str) -> None:
    bare, said = json.dumps(MINIMAL).encode(), json.dumps(MINIMAL | {"min_quantity": zero}).encode()
    for read in (fast_new_order, thorough_new_order):
        found = read(said, "ACC-1", "gw-1")
        assert found is not None
        assert found == read(bare, "ACC-1", "gw-1")


def test_what_the_message_says_counts_before_what_the_gateway_gives() -> None:
    data = json.dumps(MINIMAL | {"account_id": "ACC-2", "client_order_id": "mine"}).encode()
    order = parse_new_order(data, account="ACC-1", cl_ord_id="gw-1")
    assert (order.account, order.cl_ord_id) == ("ACC-2", "mine")


def test_free_text_is_handed_over_beside_the_command_and_is_no_part_of_it() -> None:
    data = json.dumps(MINIMAL | {"text": "ring é"}).encode()
    order, text = read_new_order(data, account="ACC-1", cl_ord_id="gw-1")
    assert text == "ring é"
    assert "ring" not in repr(order)


@pytest.mark.parametrize("written", ["1000", '"1000.0"', "1000.000", '"1000"', "1000.000000000"])
def test_every_spelling_of_a_number_comes_out_in_one_form(written: str) -> None:
    data = json.dumps(MINIMAL | {"quantity": "@"}).replace('"@"', written).encode()
    assert str(parse_new_order(data, account="A", cl_ord_id="c").qty) == "1000"


@settings(max_examples=300, deadline=None)
@given(st.from_regex(NUMBER_GRAMMAR, fullmatch=True) | st.text("0123456789.-+eE_ １", max_size=12))
def test_a_number_is_read_exactly_or_refused_by_the_grammar(text: str) -> None:
    matches = NUMBER_GRAMMAR.fullmatch(text) is not None
    assert (number_error("quantity", text) is None) == matches
    if matches:
        assert decimal_of(text).as_tuple() == canonical(Decimal(text)).as_tuple()


def test_errors_of_one_message_are_all_reported_by_stage_and_then_by_field() -> None:
    message = {
        "quantity": "0",
        "price": "1_0",
        "min_quantity": "1e5",
        "side": "buy",
        "symbol": "aapl",
        "order_type": 7,
        "zzz": 1,
        "account_id": "A",
    }
    refusal = refused(json.dumps(message).replace('"zzz": 1', '"zzz": 1, "side": "BUY"').encode())
    assert codes(refusal) == [
        ("side", "duplicate_key"),
        ("zzz", "unknown_field"),
        ("client_order_id", "missing_field"),
        ("order_type", "type"),
        ("min_quantity", "number_out_of_range"),
        ("symbol", "symbol_charset"),
        ("price", "number_format"),
        ("quantity", "must_be_positive"),
    ]
    stages = [error.stage for error in refusal.errors]
    assert stages == sorted(stages)
    assert (refusal.http_status, refusal.error_code) == (400, "duplicate_key")


@pytest.mark.parametrize("key", [b'"symbol" :', b'"symbol"\t:', b'"symbol"\n :', b'"symbol":'])
def test_a_key_that_stands_twice_is_refused_whatever_stands_before_its_colon(key: bytes) -> None:
    once = (
        b'{"side":"BUY","quantity":"1","order_type":"MARKET","account_id":"a","client_order_id":"c",'
        + key
        + b'"ACME"'
    )
    assert parse_new_order(once + b"}").symbol == "ACME"
    with pytest.raises(MessageRefused) as caught:
        parse_new_order(once + b',"symbol":"OTHER"}')
    assert caught.value.error_code == "duplicate_key"


#: A plain order; an order can do without the last five.
PLAIN = {
    "symbol": '"ACME"',
    "side": '"BUY"',
    "order_type": '"LIMIT"',
    "quantity": '"100"',
    "client_order_id": '"c1"',
    "account_id": '"A1"',
    "time_in_force": '"IOC"',
    "trader": '"T"',
    "price": '"10.25"',
}
#: What makes a body longer or shorter without changing how it is read, or changes whether it may be.
_TWISTS = (
    ("{", '{"side":"BUY",'),
    ("{", '{"text":"",'),
    ("{", '{"text":"x",'),
    ("{", '{"capacity":"AGENCY",'),
    ("{", '{"min_quantity":"0",'),
    ("{", "{ "),
    ('"A1"', '"A\\u0031"'),
    ('"A1"', '"\u00e9"'),
    ('"A1"', '"A\u00e9"'),
    ('"A1"', '"A:"'),
    ('"T"', '""'),
    ('"c1"', '"\\t"'),
    ('"100"', "100"),
    ('"100"', "100.0"),
    ('"100"', '"1e2"'),
    ('"100"', '["1"]'),
    ('"10.25"', "10.25"),
    ('"10.25"', '""'),
    ('"10.25"', '"0"'),
    ('"10.25"', "null"),
    ('"ACME"', '"\u00c4CM"'),
)


@given(
    left_out=st.sets(st.sampled_from(list(PLAIN)[4:])),
    twists=st.lists(st.sampled_from(_TWISTS), max_size=4),
    order=st.permutations(list(PLAIN)),
)
def test_the_short_look_at_a_body_s_length_takes_nothing_that_the_thorough_reader_would_not(
    left_out: set[str], twists: list[tuple[str, str]], order: list[str]
) -> None:
    body = "{" + ",".join(f'"{key}":{PLAIN[key]}' for key in order if key not in left_out) + "}"
    for found, instead in twists:
        body = body.replace(found, instead, 1)
    data = body.encode()
    fast = fast_new_order(data, "OWN", "gw-1")
    try:
        assert fast is None or fast == thorough_new_order(data, "OWN", "gw-1")
    except MessageRefused:
        pytest.fail(f"read fast: {body}")


def test_a_body_without_room_is_not_looked_through_and_one_with_room_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[bytes] = []

    def each_once(data: bytes, order: object) -> bool:
        looked.append(data)
        return False

    def body(names: set[str], spaced: str = "") -> bytes:
        return (
            "{" + f",{spaced}".join(f'"{key}":{PLAIN[key]}' for key in PLAIN if key in names) + "}"
        ).encode()

    assert fast_new_order(body(set(PLAIN))) is not None, "its numbers are known from now on"
    monkeypatch.setattr(wire, "_each_once", each_once)
    optional = list(PLAIN)[4:]
    for mask in range(1 << len(optional)):
        names = set(PLAIN) - {name for place, name in enumerate(optional) if mask >> place & 1}
        data = body(names)
        assert fast_new_order(data, "OWN", "gw-1") == thorough_new_order(data, "OWN", "gw-1")
        assert not looked
        assert fast_new_order(body(names, " "), "OWN", "gw-1") is None
        assert looked.pop() == body(names, " ")


def test_a_colon_in_a_text_hides_no_key_that_stands_twice() -> None:
    body = b'{"side":"BUY","quantity":"1","order_type":"MARKET","account_id":"a:b","symbol":"ACME",%b}'
    found = fast_new_order(body % b'"client_order_id":"x:1","text":"see: this"')
    assert found is not None
    assert found == thorough_new_order(body % b'"client_order_id":"x:1","text":"see: this"')
    assert fast_new_order(body % b'"client_order_id":"x:1","client_order_id":"y"') is None
    assert fast_new_order(body % b'"client_order_id":"y","client_order_id":"x:1"') is None


def test_a_refusal_is_a_validation_error_that_names_field_rule_limit_and_value() -> None:
    refusal = refused(MINIMAL | {"account_id": "A", "client_order_id": "c", "side": "buy"})
    assert isinstance(refusal, OrderValidationError)
    answer = refusal.to_json()
    assert (answer["error"], answer["code"], answer["retryable"]) == (
        "OrderValidationError",
        "unknown_enum",
        False,
    )
    allowed = "BUY, SELL, SELL_SHORT, SELL_SHORT_EXEMPT"
    assert answer["context"] == {"field": "side", "rule": "unknown_enum", "limit": allowed, "value": "buy"}
    assert answer["errors"] == [
        {
            "field": "side",
            "code": "unknown_enum",
            "limit": allowed,
            "value": "buy",
            "message": f"side must be one of {allowed}",
        }
    ]


def test_an_answer_stays_small_whatever_came_in() -> None:
    refusal = refused({f"field{number:04}" + "x" * 20: number for number in range(1000)})
    assert len(refusal.errors) == MAX_ERRORS
    assert len(json.dumps(refused({"symbol": "\x01" * 60_000}).to_json())) < 4_000
    assert len(json.dumps(refused({"k" * 60_000: 1}).to_json())) < 4_000


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null", b"true"])
def test_a_message_that_is_no_object_is_a_type_error(body: bytes) -> None:
    refusal = refused(body)
    assert (refusal.http_status, codes(refusal)) == (422, [("", "type")])


@pytest.mark.parametrize("name", ["poss_resend", "origin", "order_id", "Symbol", "symbol "])
def test_what_only_other_channels_may_say_is_unknown_here(name: str) -> None:
    assert codes(refused(MINIMAL | {"account_id": "A", "client_order_id": "c", name: True})) == [
        (name, "unknown_field")
    ]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client_order_id": ""}, "max_length"),
        ({"client_order_id": "c" * 65}, "max_length"),
        ({"client_order_id": "é"}, "control_char"),
        ({"client_order_id": 7}, "type"),
        ({"client_order_id": None}, "type"),
        ({"trader": "a\tb"}, "control_char"),
        ({"text": "t" * 257}, "max_length"),
        ({"min_quantity": "-1"}, "must_be_positive"),
        ({"price": None}, "type"),
        ({"capacity": ["AGENCY"]}, "type"),
    ],
)
def test_a_wrong_field_is_refused_with_its_code(changes: dict[str, object], code: str) -> None:
    refusal = refused(MINIMAL | {"account_id": "A", "client_order_id": "c"} | changes)
    assert codes(refusal) == [(next(iter(changes)), code)]


def test_the_first_kilobytes_of_a_longer_body_are_enough_for_the_verdict() -> None:
    whole = b'{"text": "' + b"x" * 200_000 + b'"}'
    for data in (whole, whole[: MAX_BODY_BYTES + 1]):
        with pytest.raises(MessageRefused) as caught:
            check_envelope(data)
        assert caught.value.http_status == 413


@pytest.mark.parametrize(
    "data", [b'"' + b'\\"' * 32_000 + b"\\", b'"' * 65_536, b"\\" * 65_536, b"[]" * 32_768]
)
def test_depth_is_counted_outside_strings_and_in_linear_time(data: bytes) -> None:
    assert check_envelope(data) == data.decode()


def test_brackets_inside_strings_are_no_depth() -> None:
    order = MINIMAL | {"text": "[{" * 40 + '"[', "account_id": "A", "client_order_id": "c"}
    assert read_new_order(json.dumps(order).encode())[1] == order["text"]


def test_every_code_that_is_documented_has_a_status_and_every_stage_a_place() -> None:
    assert set(HTTP_STATUS.values()) == {400, 413, 422}
    assert list(Stage) == sorted(Stage)


# --- replace, execution, limits ---------------------------------------------------------------------------


def test_a_replace_changes_quantity_price_or_both_and_needs_one() -> None:
    data = json.dumps({"client_order_id": "c-2", "price": "10.10"}).encode()
    replace = parse_replace(data, account="A", orig_cl_ord_id="c-1")
    assert (replace.cl_ord_id, replace.orig_cl_ord_id, replace.qty, replace.price) == (
        "c-2",
        "c-1",
        None,
        Decimal("10.1"),
    )
    with pytest.raises(MessageRefused) as caught:
        parse_replace(b"{}", account="A", orig_cl_ord_id="c-1")
    assert codes(caught.value) == [("client_order_id", "missing_field"), ("quantity", "missing_field")]
    assert (
        parse_replace(b'{"quantity": 5}', account="A", orig_cl_ord_id="c-1", cl_ord_id="gw").cl_ord_id == "gw"
    )


def test_everything_but_quantity_price_terms_id_and_text_is_immutable() -> None:
    assert sorted(IMMUTABLE) == [
        "account_id",
        "algo",
        "capacity",
        "do_not_increase",
        "do_not_reduce",
        "locate_id",
        "min_quantity",
        "order_type",
        "routing",
        "self_match_id",
        "side",
        "symbol",
        "time_in_force",
        "trader",
    ]


EXECUTION = {
    "order_id": "o-1",
    "venue": "XNYS",
    "exec_id": "E1",
    "quantity": "100",
    "price": "10.50",
    "trade_date": "2024-07-03",
    "settlement_date": "2024-07-05",
    "settlement_currency": "USD",
}


def test_an_execution_by_hand_carries_its_settlement_terms() -> None:
    assert parse_execution_create(json.dumps(EXECUTION | {"fee": "0.30"}).encode()) == NewExecution(
        "o-1",
        "XNYS",
        "E1",
        Decimal(100),
        Decimal("10.5"),
        "2024-07-03",
        "2024-07-05",
        Currency.USD,
        Liquidity.UNKNOWN,
        Decimal("0.3"),
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"settlement_date": "2024-07-02"}, "date_order"),
        ({"trade_date": "2024-02-30"}, "date_format"),
        ({"trade_date": "20240703"}, "date_format"),
        ({"venue": "NYSE1"}, "mic_format"),
        ({"settlement_currency": "usd"}, "unknown_enum"),
        ({"price": "0"}, "must_be_positive"),
    ],
)
def test_a_wrong_execution_is_refused_with_its_code(changes: dict[str, str], code: str) -> None:
    with pytest.raises(MessageRefused) as caught:
        parse_execution_create(json.dumps(EXECUTION | changes).encode())
    assert codes(caught.value) == [(next(iter(changes)), code)]


def test_limits_become_one_command_each_for_the_scope_that_is_named() -> None:
    data = json.dumps({"account_id": "A", "max_order_qty": "10", "position_limit": 0}).encode()
    assert parse_risk_parameters(data) == (
        SetLimit(LimitRule.MAX_ORDER_QTY, Decimal(10), "A", "*"),
        SetLimit(LimitRule.POSITION_LIMIT, Decimal(0), "A", "*"),
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"price_collar": "10"}, ("price_collar", "number_out_of_range")),
        ({"max_order_value": "-1"}, ("max_order_value", "must_be_positive")),
        ({"max_order_qty": "0"}, ("max_order_qty", "must_be_positive")),
        ({"account_id": "A"}, ("max_order_qty", "missing_field")),
    ],
)
def test_limits_out_of_range_are_refused(message: dict[str, str], expected: tuple[str, str]) -> None:
    with pytest.raises(MessageRefused) as caught:
        parse_risk_parameters(json.dumps(message).encode())
    assert codes(caught.value) == [expected]


@pytest.mark.parametrize(
    ("number", "fast"),
    [("9999999999.999999999", True), ("10000000000", False), ("1_0", False), ("0", False), ("1e2", False)],
)
def test_only_plain_numbers_that_cannot_exceed_the_notional_are_read_fast(number: str, fast: bool) -> None:
    body = b'{"side":"BUY","order_type":"MARKET","account_id":"a","client_order_id":"c","symbol":"ACME",'
    for _ in range(2):  # the second time from memory
        assert (fast_new_order(body + b'"quantity":"%b"}' % number.encode()) is not None) is fast


#: Values of a number's field as they stand in the message.
READ_FAST = ["100", '"100"', "35.990", '"35.990"', "9999999999"]
READ_THOROUGHLY = ["-0", "-0.0", '"-0"', "1E5", "1e400", "-7", "10000000000", "99999999999999999999999"]
READ_THOROUGHLY += ['"1:2"', '""', "true", "null", "[1]", '["1"]', '{"a":"b"}']


@pytest.mark.parametrize("field", ["quantity", "price", "min_quantity"])
@pytest.mark.parametrize("written", [*READ_FAST, *READ_THOROUGHLY])
def test_a_number_however_written_is_read_fast_as_it_is_thoroughly_or_not_at_all(
    field: str, written: str
) -> None:
    body = b'{"side":"BUY","order_type":"LIMIT","account_id":"a","client_order_id":"c","symbol":"ACME",%b}'
    numbers = {"quantity": "100", "price": "35.99"} | {field: written}
    data = body % ",".join(f'"{name}":{number}' for name, number in numbers.items()).encode()
    for _ in range(2):  # the second time from memory
        found = fast_new_order(data)
        assert (found is not None) is (written in READ_FAST)
        assert found is None or found == thorough_new_order(data)


def test_the_memory_of_numbers_and_symbols_is_bounded() -> None:
    body = '{"side":"BUY","order_type":"MARKET","account_id":"a","client_order_id":"c",'
    body += '"symbol":"S%d","quantity":%d}'
    for number in range(1, 5_000):
        order = parse_new_order((body % (number, number)).encode())
        assert (order.symbol, order.qty) == (f"S{number}", Decimal(number))
    assert max(len(wire._numbers), len(wire._symbols)) <= wire._MAX_REMEMBERED
