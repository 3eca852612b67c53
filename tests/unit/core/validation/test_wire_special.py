"""Special terms and lists on the wire: every field reaches the command exactly, the first error is named."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.routing import RouteStyle
from qtinfra.core.special import Link, Peg, SpecialTerms
from qtinfra.core.validation.errors import MessageRefused
from qtinfra.core.validation.schemas import OrderCreateRequest, OrderUpdateRequest
from qtinfra.core.validation.wire import fast_new_order, parse_new_order, parse_replace
from qtinfra.core.validation.wire_list import MAX_ORDERS, parse_order_list
from qtinfra.core.validation.wire_special import AMENDABLE, SPECIAL

pytestmark = pytest.mark.unit

ORDER = {
    "symbol": "AAPL",
    "side": "BUY",
    "quantity": "100",
    "price": "150.25",
    "order_type": "LIMIT",
    "client_order_id": "c-1",
    "account_id": "ACC-1",
}
TERMS: dict[str, Any] = {
    "stop_price": "149.50",
    "trail_amount": 0.25,
    "display_quantity": "10",
    "peg": {"type": "PRIMARY", "offset": "-0.010"},
    "expire_at": "2024-07-08T20:00:00.000000001Z",
    "locate_id": "L-1",
    "self_match_id": "desk 7",
    "do_not_reduce": True,
    "do_not_increase": True,
    "routing": {"strategy": "PLACEMENT", "urgency": "0.90"},
}
END_NS = 1_720_468_800_000_000_001


def body(**fields: Any) -> bytes:
    return json.dumps(ORDER | fields).encode()


def refusals(data: bytes) -> list[tuple[str, str]]:
    """Field and code of each error, the same from parser and schema."""
    found = []
    for read in (parse_new_order, OrderCreateRequest.from_wire):
        with pytest.raises(MessageRefused) as caught:
            read(data)
        found.append([(error.field, error.code) for error in caught.value.errors])
    assert found[0] == found[1]
    return found[0]


def test_every_term_reaches_the_command_exactly() -> None:
    command = parse_new_order(body(**TERMS))
    assert command.special == SpecialTerms(
        stop_px=Decimal("149.5"),
        trail=Decimal("0.25"),
        display_qty=Decimal(10),
        peg=Peg.PRIMARY,
        peg_offset=Decimal("-0.01"),
        expire_ns=END_NS,
        do_not_reduce=True,
        do_not_increase=True,
        locate_id="L-1",
        smp_id="desk 7",
        routing=RouteStyle("PLACEMENT", Decimal("0.9")),
    )
    assert TERMS.keys() == {field.name for field in SPECIAL}


def test_a_replace_carries_the_terms_that_may_change_and_needs_no_other_field() -> None:
    changes = {field.name: TERMS[field.name] for field in AMENDABLE}
    for sent in (changes, *({name: value} for name, value in changes.items())):
        data = json.dumps({"client_order_id": "c-2"} | sent).encode()
        special = parse_replace(data, account="ACC-1", orig_cl_ord_id="c-1").special
        assert special is not None
        assert (special.stop_px is not None) == ("stop_price" in sent)
        assert (special.trail is not None) == ("trail_amount" in sent)
        assert (special.display_qty is not None) == ("display_quantity" in sent)
        assert (special.peg, special.expire_ns) == (
            Peg.PRIMARY if "peg" in sent else None,
            END_NS if "expire_at" in sent else 0,
        )
        OrderUpdateRequest.from_wire(data)


@pytest.mark.parametrize(
    "name", ["locate_id", "self_match_id", "do_not_reduce", "do_not_increase", "routing"]
)
def test_what_an_order_is_bound_to_cannot_be_replaced(name: str) -> None:
    data = json.dumps({"client_order_id": "c-2", "quantity": "1", name: TERMS[name]}).encode()
    with pytest.raises(MessageRefused) as caught:
        parse_replace(data, account="ACC-1", orig_cl_ord_id="c-1")
    assert [(error.field, error.code) for error in caught.value.errors] == [(name, "immutable_field")]


def test_an_order_that_says_how_it_is_routed_has_the_middle_urgency_unless_it_says_another() -> None:
    command = parse_new_order(body(routing={"strategy": "DARK_FIRST"}))
    assert command.special == SpecialTerms(routing=RouteStyle("DARK_FIRST", Decimal("0.5")))


def test_a_plain_order_has_no_terms_and_takes_the_fast_path() -> None:
    assert parse_new_order(body()).special is None
    assert parse_new_order(body(do_not_reduce=False)).special is None
    assert fast_new_order(body()) is not None


@pytest.mark.parametrize(
    "fields", [{"order_type": "STOP"}, {"order_type": "PEGGED"}, {"time_in_force": "GTD"}]
)
def test_an_order_that_needs_terms_and_brings_none_has_empty_ones(fields: dict[str, str]) -> None:
    assert parse_new_order(body(**fields)).special == SpecialTerms()


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"stop_price": "0"}, "stop_price", "must_be_positive"),
        ({"stop_price": None}, "stop_price", "type"),
        ({"trail_amount": "-1"}, "trail_amount", "must_be_positive"),
        ({"display_quantity": "1e2"}, "display_quantity", "number_out_of_range"),
        ({"peg": "PRIMARY"}, "peg", "type"),
        ({"peg": {}}, "peg.type", "missing_field"),
        ({"peg": {"type": "primary"}}, "peg.type", "unknown_enum"),
        ({"peg": {"type": "MARKET", "limit": "1"}}, "peg.limit", "unknown_field"),
        ({"peg": {"type": "MARKET", "offset": "--1"}}, "peg.offset", "number_format"),
        ({"peg": {"type": "MARKET", "offset": "-1e5"}}, "peg.offset", "number_out_of_range"),
        ({"peg": {"type": "MARKET", "offset": True}}, "peg.offset", "type"),
        ({"expire_at": "2024-07-08"}, "expire_at", "date_format"),
        ({"expire_at": True}, "expire_at", "type"),
        ({"expire_at": 1720468800}, "expire_at", "type"),
        ({"locate_id": ""}, "locate_id", "max_length"),
        ({"self_match_id": "x" * 65}, "self_match_id", "max_length"),
        ({"do_not_reduce": "true"}, "do_not_reduce", "type"),
        ({"do_not_increase": 1}, "do_not_increase", "type"),
        ({"routing": "POST"}, "routing", "type"),
        ({"routing": {}}, "routing.strategy", "missing_field"),
        ({"routing": {"strategy": ""}}, "routing.strategy", "max_length"),
        ({"routing": {"strategy": 1}}, "routing.strategy", "type"),
        ({"routing": {"strategy": "POST", "dark": True}}, "routing.dark", "unknown_field"),
        ({"routing": {"strategy": "POST", "urgency": "1.1"}}, "routing.urgency", "number_out_of_range"),
        ({"routing": {"strategy": "POST", "urgency": "-0.1"}}, "routing.urgency", "must_be_positive"),
        ({"routing": {"strategy": "POST", "urgency": None}}, "routing.urgency", "type"),
        ({"stop_px": "1"}, "stop_px", "unknown_field"),
        ({"link": "OCO"}, "link", "unknown_field"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(change: dict[str, Any], field: str, code: str) -> None:
    assert refusals(body(**change)) == [(field, code)]


def test_all_errors_come_in_the_order_of_stages_and_fields() -> None:
    data = body(other=1, do_not_reduce=1, peg={"speed": 1}, expire_at="x", stop_price=True, price="-1")
    assert refusals(data) == [
        ("peg.speed", "unknown_field"),
        ("other", "unknown_field"),
        ("stop_price", "type"),
        ("do_not_reduce", "type"),
        ("price", "must_be_positive"),
        ("expire_at", "date_format"),
    ]
    inside = body(do_not_reduce=1, peg={"type": 1}, trail_amount=True)
    assert refusals(inside) == [("trail_amount", "type"), ("peg.type", "type"), ("do_not_reduce", "type")]


_VALUES: st.SearchStrategy[Any] = st.sampled_from(
    ["0", "-0.5", "1", "-1", "--1", "", "x", "MARKET", 1, 0.5, -3, 10**30, True, None, [], {}]
)


@given(st.dictionaries(st.sampled_from(["type", "offset", "other", "\ud800"]), _VALUES, max_size=4))
def test_parser_and_schema_agree_on_any_peg(peg: dict[str, Any]) -> None:
    data = body(peg=peg)
    answers: list[object] = []
    for read in (parse_new_order, OrderCreateRequest.from_wire):
        try:
            found = read(data)
        except MessageRefused as refused:
            answers.append([(error.field, error.code) for error in refused.errors])
        else:
            pegged = found.peg if isinstance(found, OrderCreateRequest) else found.special
            assert pegged is not None
            answers.append(
                (pegged.peg, pegged.peg_offset) if isinstance(pegged, SpecialTerms) else tuple(pegged)
            )
    assert answers[0] == answers[1]


# --- lists -------------------------------------------------------------------------------------------------


def listed(*orders: Any, **more: Any) -> bytes:
    return json.dumps({"link": "OCO", "orders": list(orders)} | more).encode()


def list_errors(data: bytes) -> list[tuple[str, str]]:
    with pytest.raises(MessageRefused) as caught:
        parse_order_list(data)
    return [(error.field, error.code) for error in caught.value.errors]


def test_a_list_is_read_in_its_order_with_every_term() -> None:
    stop = ORDER | {"client_order_id": "c-2", "order_type": "STOP", "stop_price": "160"}
    del stop["price"]
    command = parse_order_list(listed(ORDER, stop, link="BRACKET"))
    assert command.link is Link.BRACKET
    assert command.orders[0] == parse_new_order(json.dumps(ORDER).encode())
    second = command.orders[1]
    assert (second.side, second.order_type, second.tif) == (OrderSide.BUY, OrderType.STOP, TimeInForce.DAY)
    assert second.special == SpecialTerms(stop_px=Decimal(160))


def test_account_and_ids_stand_in_where_orders_bring_none() -> None:
    bare = {name: value for name, value in ORDER.items() if name not in ("account_id", "client_order_id")}
    command = parse_order_list(listed(bare, ORDER, bare), account="OWN", cl_ord_id="k-{}".format)
    assert [order.cl_ord_id for order in command.orders] == ["k-0", "c-1", "k-2"]
    assert [order.account for order in command.orders] == ["OWN", "ACC-1", "OWN"]


def test_the_errors_of_all_orders_are_named_by_their_place() -> None:
    data = listed(ORDER | {"price": "x"}, ORDER | {"symbol": 1, "peg": {"type": 1}}, 7, speed=1)
    assert list_errors(data) == [
        ("speed", "unknown_field"),
        ("orders[1].symbol", "type"),
        ("orders[1].peg.type", "type"),
        ("orders[2]", "type"),
        ("orders[0].price", "number_format"),
    ]


@pytest.mark.parametrize("count", [0, 1, MAX_ORDERS + 1])
def test_a_list_has_two_to_sixteen_orders(count: int) -> None:
    assert list_errors(listed(*[ORDER] * count)) == [("orders", "list_length")]
    assert len(parse_order_list(listed(*[ORDER] * MAX_ORDERS)).orders) == MAX_ORDERS


@pytest.mark.parametrize(
    ("data", "errors"),
    [
        (b"{}", [("link", "missing_field"), ("orders", "missing_field")]),
        (b'{"link": "OTO", "orders": {}}', [("orders", "type"), ("link", "unknown_enum")]),
        (b"[]", [("", "type")]),
        (b'{"link": "OCO"', [("", "invalid_json")]),
        (listed(ORDER, ORDER).replace(b'"link"', b'"link": "OCO", "link"', 1), [("link", "duplicate_key")]),
        (listed(ORDER, ORDER).replace(b'"side"', b'"side": "BUY", "side"', 1), [("side", "duplicate_key")]),
    ],
)
def test_a_list_of_the_wrong_form_is_refused(data: bytes, errors: list[tuple[str, str]]) -> None:
    assert list_errors(data) == errors
