"""The rows of the bad-input list that concern the order message, each named by its id, on both readers.

A row about POST /orders is sent through the parser and through the documented schema: both must refuse it
with the same errors.
"""

import json
import tracemalloc
from collections.abc import Callable
from decimal import Decimal

import pytest

from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import ONE
from qtinfra.core.extended_models import US_EQUITY_TICKS, Account, Instrument, Venue
from qtinfra.core.models import AssetClass, Currency, OrderSide, OrderType, TimeInForce
from qtinfra.core.validation.errors import MessageRefused
from qtinfra.core.validation.rules import check_instrument
from qtinfra.core.validation.schemas import OrderCreateRequest, OrderUpdateRequest
from qtinfra.core.validation.sessions import OrderContext, collect_errors
from qtinfra.core.validation.wire import parse_new_order, parse_replace

pytestmark = pytest.mark.unit

VALID = {
    "symbol": "AAPL",
    "side": "BUY",
    "quantity": "100",
    "price": "150.25",
    "order_type": "LIMIT",
    "time_in_force": "DAY",
    "client_order_id": "c-1",
    "account_id": "ACC-1",
}


def body(**changes: object) -> bytes:
    return json.dumps({**VALID, **changes}).encode()


def with_quantity(token: str) -> bytes:
    """A valid order with the JSON value of quantity written as given."""
    return body(quantity="@").replace(b'"@"', token.encode())


def refusal(read: Callable[[], object]) -> MessageRefused:
    with pytest.raises(MessageRefused) as caught:
        read()
    return caught.value


def refused(data: bytes) -> MessageRefused:
    """The parser's refusal, which the schema has to share word for word."""
    by_parser = refusal(lambda: parse_new_order(data))
    by_schema = refusal(lambda: OrderCreateRequest.from_wire(data))
    assert by_parser.errors == by_schema.errors
    return by_parser


def verdict(data: bytes) -> tuple[int, str, str]:
    error = refused(data)
    return error.http_status, error.error_code, error.errors[0].field


def test_the_valid_order_of_the_rows_is_taken() -> None:
    assert parse_new_order(body()) == SubmitOrder(
        "ACC-1",
        "c-1",
        "AAPL",
        OrderSide.BUY,
        OrderType.LIMIT,
        TimeInForce.DAY,
        Decimal(100),
        Decimal("150.25"),
    )


@pytest.mark.parametrize("token", ["Infinity", "-Infinity", "NaN"])
def test_bi_002_bare_tokens_for_no_number_are_not_json(token: str) -> None:
    assert verdict(with_quantity(token))[:2] == (400, "invalid_json")


@pytest.mark.parametrize("token", ['"1e400"', "1e400", '"1E5"', "1.5e-3", "-1e5"])
def test_bi_004_an_exponent_is_out_of_range_before_any_arithmetic(token: str) -> None:
    assert verdict(with_quantity(token)) == (422, "number_out_of_range", "quantity")


@pytest.mark.parametrize("token", ['"-0"', "-0.0", "-0", '"-0.000"'])
def test_bi_006_negative_zero_is_not_positive(token: str) -> None:
    assert verdict(with_quantity(token)) == (422, "must_be_positive", "quantity")


@pytest.mark.parametrize("token", ["-100", '"-100"', '"-0.5"'])
def test_bi_007_a_negative_quantity_is_not_positive(token: str) -> None:
    assert verdict(with_quantity(token)) == (422, "must_be_positive", "quantity")


@pytest.mark.parametrize("token", ['"0"', "0", '"0.00"', "0.0"])
def test_bi_008_zero_is_not_positive(token: str) -> None:
    assert verdict(with_quantity(token)) == (422, "must_be_positive", "quantity")


def test_bi_011_a_price_below_the_tick_of_a_sub_dollar_stock_is_refused_with_its_neighbours() -> None:
    order = parse_new_order(body(price="0.00001"))
    stock = Instrument("AAPL", AssetClass.EQUITY, Currency.USD, ("XNAS",), US_EQUITY_TICKS)
    single = check_instrument(stock, order.qty, order.price)
    context = OrderContext(
        now_ns=0,
        account=Account("ACC-1", "client", Currency.USD),
        instrument=stock,
        venues=(Venue("XNAS", "Nasdaq", Currency.USD),),
    )
    assert single is not None
    assert (single.code, single.field, single.limit, single.observed) == (
        "tick_size",
        "price",
        "0.0001",
        "0.00001",
    )
    assert [found.code for found in collect_errors(order, context)] == ["tick_size"]
    assert check_instrument(stock, ONE, Decimal("0.9001")) is None


@pytest.mark.parametrize("digits", ["１００", "١٠٠", "१००", "1００"])
def test_bi_012_digits_of_other_scripts_are_no_numbers(digits: str) -> None:
    assert verdict(body(quantity=digits)) == (422, "non_ascii_number", "quantity")


@pytest.mark.parametrize(
    "text",
    [
        "1_000",
        " 100 ",
        "+100",
        "1,000",
        "",
        ".5",
        "5.",
        "0x10",
        "01",
        "1.0000000001",
        "1234567890123456789",
        "--1",
        "-01",
        "NaN",
        "Infinity",
        "1\n",
    ],
)
def test_bi_013_other_spellings_do_not_follow_the_grammar(text: str) -> None:
    assert verdict(body(quantity=text)) == (422, "number_format", "quantity")


@pytest.mark.parametrize("token", ['"' + "9" * 5000 + '"', "9" * 5000, '"-' + "9" * 5000 + '"'])
def test_bi_014_a_number_of_thousands_of_digits_is_refused_by_its_length(token: str) -> None:
    assert verdict(with_quantity(token)) == (422, "max_length", "quantity")


@pytest.mark.parametrize("token", ["true", "false", "null", "[100]", '{"a": 1}'])
def test_bi_015_nothing_is_coerced_into_a_number(token: str) -> None:
    assert verdict(with_quantity(token)) == (422, "type", "quantity")


def test_bi_016_a_notional_beyond_the_column_is_refused_exactly() -> None:
    too_large = body(quantity="1" + "0" * 17, price="1" + "0" * 9)
    assert verdict(too_large) == (422, "notional_out_of_range", "quantity")
    assert verdict(body(quantity="1" + "0" * 17, price="1000")) == (422, "notional_out_of_range", "quantity")
    assert parse_new_order(body(quantity="9" * 17, price="1000")).price == Decimal(1000)


def test_bi_017_two_quantities_are_refused_whichever_comes_last() -> None:
    data = body().replace(b'"quantity": "100"', b'"quantity": 100, "quantity": 999999')
    error = refused(data)
    assert (error.http_status, error.error_code, error.errors[0].field) == (400, "duplicate_key", "quantity")
    assert verdict(body().replace(b'{"symbol"', b'{"symb\\u006fl": "MSFT", "symbol"')) == (
        400,
        "duplicate_key",
        "symbol",
    )


def test_bi_018_brackets_are_counted_before_anything_is_parsed() -> None:
    data = b'{"symbol":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    tracemalloc.start()
    error = refused(data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (error.http_status, error.error_code) == (400, "nesting_depth")
    assert peak_bytes < 10 * 2**20
    assert verdict(b'{"symbol":' + b"[" * 16 + b"]" * 16 + b"}")[1] == "nesting_depth"
    assert verdict(b'{"symbol":' + b"[" * 15 + b"]" * 15 + b"}")[1] == "missing_field"


def test_bi_019_a_body_over_64_kib_is_too_large() -> None:
    error = refused(body(client_order_id="x" * 10 * 2**20))
    assert (error.http_status, error.error_code) == (413, "body_too_large")
    padded = body() + b" " * (2**16 - len(body()))
    assert len(padded) == 2**16
    assert parse_new_order(padded) == parse_new_order(body())
    assert verdict(padded + b" ")[:2] == (413, "body_too_large")


@pytest.mark.parametrize(
    "data",
    [
        body() + b"x",
        b"\xef\xbb\xbf" + body(),
        body().decode().encode("utf-16"),
        body().decode().encode("utf-16-le"),
        body().decode().encode("utf-32-be"),
        body() + body(),
        b"",
        b"\x1f\x8b\x08\x00",
    ],
)
def test_bi_022_only_one_json_text_in_utf_8_without_mark_is_read(data: bytes) -> None:
    status, code, _ = verdict(data)
    assert status == 400
    assert code in ("invalid_json", "invalid_encoding")


def test_bi_023_half_a_surrogate_pair_is_refused_and_the_answer_can_be_encoded() -> None:
    error = refused(body(symbol="@").replace(b"@", b"A\\ud800"))
    assert (error.http_status, error.error_code, error.errors[0].field) == (422, "invalid_unicode", "symbol")
    assert json.dumps(error.to_json(), ensure_ascii=False).encode("utf-8")


def test_bi_024_a_nul_in_a_symbol_is_not_of_its_alphabet() -> None:
    assert verdict(body(symbol="AA\0PL")) == (422, "symbol_charset", "symbol")


@pytest.mark.parametrize("symbol", ["\u0410APL", "ＡＡＰＬ", "AAPL\u200b", "AAP\u00adL"])
def test_bi_025_look_alikes_of_a_symbol_are_refused_and_flagged_for_an_alert(symbol: str) -> None:
    error = refused(body(symbol=symbol))
    assert (error.http_status, error.error_code) == (422, "symbol_charset")
    assert error.errors[0].confusable


@pytest.mark.parametrize("symbol", ["aapl", "A" * 25, "", "AA PL", "AAPL\n", "A_B"])
def test_bi_025_other_symbols_outside_the_alphabet_raise_no_alert(symbol: str) -> None:
    error = refused(body(symbol=symbol))
    assert error.error_code == "symbol_charset"
    assert not error.errors[0].confusable


@pytest.mark.parametrize("text", ["x\x01SOH 35=D\x0111=EVIL", "a\nb", "\x7f", "\x85", "\u2028", "\u202eevil"])
def test_bi_027_control_characters_never_pass_in_text(text: str) -> None:
    assert verdict(body(text=text)) == (422, "control_char", "text")


def test_bi_028_each_field_that_an_order_does_not_have_is_named() -> None:
    extra = {"status": "FILLED", "filled_quantity": "100", "risk_override": True, "created_at": "now"}
    error = refused(body(**extra))
    assert error.http_status == 422
    assert [(found.code, found.field) for found in error.errors] == [
        ("unknown_field", name) for name in extra
    ]


@pytest.mark.parametrize("field", ["side", "account_id", "symbol", "order_type", "time_in_force"])
def test_bi_030_what_a_replace_may_not_change_is_immutable(field: str) -> None:
    data = json.dumps({"client_order_id": "c-2", "quantity": "80", field: VALID[field]}).encode()
    by_parser = refusal(lambda: parse_replace(data, account="ACC-1", orig_cl_ord_id="c-1"))
    by_schema = refusal(lambda: OrderUpdateRequest.from_wire(data))
    assert by_parser.errors == by_schema.errors
    assert (by_parser.http_status, by_parser.error_code) == (422, "immutable_field")
    assert by_parser.errors[0].field == field


def test_bi_048_a_reduction_is_a_matter_of_state_and_passes_the_parser() -> None:
    data = json.dumps({"client_order_id": "c-2", "quantity": "1"}).encode()
    replace = parse_replace(data, account="ACC-1", orig_cl_ord_id="c-1")
    assert (replace.qty, replace.price, replace.orig_cl_ord_id) == (Decimal(1), None, "c-1")
    zero = json.dumps({"client_order_id": "c-2", "quantity": "0"}).encode()
    refused_zero = refusal(lambda: parse_replace(zero, account="ACC-1", orig_cl_ord_id="c-1"))
    assert refused_zero.error_code == "must_be_positive"
