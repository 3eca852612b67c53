"""Three readers, one verdict: the fast parser, the thorough parser and the documented schemas."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from msgspec.structs import replace
from pydantic import ValidationError

from qtinfra.core.commands import ReplaceOrder, SetLimit, SubmitOrder
from qtinfra.core.special import SpecialTerms
from qtinfra.core.validation.errors import FieldError, MessageRefused
from qtinfra.core.validation.schemas import (
    ExecutionCreateRequest,
    OrderCreateRequest,
    OrderUpdateRequest,
    RiskParameters,
    WireModel,
)
from qtinfra.core.validation.wire import (
    EXECUTION as EXECUTION_FIELDS,
)
from qtinfra.core.validation.wire import (
    NEW_ORDER,
    REPLACE,
    RISK,
    RISK_RULES,
    NewExecution,
    fast_new_order,
    parse_execution_create,
    parse_new_order,
    parse_replace,
    parse_risk_parameters,
    read_new_order,
    thorough_new_order,
)
from tests.unit.core.validation import wire_fuzz
from tests.unit.core.validation.wire_fuzz import fuzzed, written

pytestmark = pytest.mark.unit

Outcome = tuple[FieldError, ...] | Any
FUZZ = settings(max_examples=400, deadline=None)


def outcome(read: Callable[..., object], *args: object) -> Outcome:
    """What came out, or all the errors."""
    try:
        return read(*args)
    except MessageRefused as refusal:
        return refusal.errors


def as_order(model: OrderCreateRequest) -> tuple[SubmitOrder, str]:
    return SubmitOrder(
        model.account_id,
        model.client_order_id,
        model.symbol,
        model.side,
        model.order_type,
        model.time_in_force,
        model.quantity,
        model.price,
        model.min_quantity or None,
        model.capacity,
        model.trader,
        special=special_of(model),
        algo=model.algo,
    ), model.text


def special_of(model: OrderCreateRequest | OrderUpdateRequest) -> SpecialTerms | None:
    """The terms as the model has them; a type that needs some has empty ones."""
    peg, offset = model.peg or (None, Decimal(0))
    terms = SpecialTerms(
        model.stop_price, model.trail_amount, model.display_quantity, peg, offset, model.expire_at or 0
    )
    if isinstance(model, OrderUpdateRequest):
        return terms if terms != SpecialTerms() else None
    terms = replace(
        terms,
        do_not_reduce=model.do_not_reduce,
        do_not_increase=model.do_not_increase,
        locate_id=model.locate_id,
        smp_id=model.self_match_id,
        routing=model.routing,
    )
    plain = model.order_type in ("LIMIT", "MARKET") and model.time_in_force != "GTD"
    return None if plain and terms == SpecialTerms() else terms


def order_by_schema(data: bytes) -> tuple[SubmitOrder, str]:
    return as_order(OrderCreateRequest.from_wire(data))


def as_replace(model: OrderUpdateRequest) -> ReplaceOrder:
    return ReplaceOrder(
        "ACC-1", model.client_order_id, "c-1", model.quantity, model.price, special=special_of(model)
    )


def as_execution(model: ExecutionCreateRequest) -> NewExecution:
    return NewExecution(*(getattr(model, field.name) for field in EXECUTION_FIELDS))


def as_limits(model: RiskParameters) -> tuple[SetLimit, ...]:
    found = [(rule, getattr(model, rule.value)) for rule in RISK_RULES]
    return tuple(
        SetLimit(rule, value, model.account_id, model.symbol) for rule, value in found if value is not None
    )


@FUZZ
@given(data=fuzzed(wire_fuzz.ORDER))
@example(data=written(list(wire_fuzz.ORDER.items()), ""))
@example(data=written([*wire_fuzz.ORDER.items(), ("text", '"\\":"')], ""))
def test_parser_and_schema_agree_on_every_new_order(data: bytes) -> None:
    fast = fast_new_order(data)
    thorough = outcome(lambda: thorough_new_order(data))
    assert fast is None or fast == thorough
    assert outcome(lambda: read_new_order(data)) == thorough
    assert outcome(order_by_schema, data) == thorough


@FUZZ
@given(data=fuzzed(wire_fuzz.ORDER | wire_fuzz.SPECIAL))
@example(data=written(list((wire_fuzz.ORDER | wire_fuzz.SPECIAL).items()), ""))
@example(data=written(list((wire_fuzz.ORDER | {"order_type": '"STOP"'}).items()), ""))
@example(data=written(list((wire_fuzz.ORDER | {"time_in_force": '"GTD"'}).items()), ""))
def test_parser_and_schema_agree_on_every_order_with_special_terms(data: bytes) -> None:
    thorough = outcome(lambda: thorough_new_order(data))
    assert outcome(lambda: read_new_order(data)) == thorough
    assert outcome(order_by_schema, data) == thorough


@FUZZ
@given(data=fuzzed(wire_fuzz.ORDER))
def test_parser_and_schema_agree_when_the_gateway_gives_the_account_and_the_id(data: bytes) -> None:
    given_values = {"account_id": "OWN", "client_order_id": "gw-1"}
    fast = fast_new_order(data, "OWN", "gw-1")
    thorough = outcome(lambda: thorough_new_order(data, "OWN", "gw-1"))
    assert fast is None or fast == thorough
    assert outcome(lambda: as_order(OrderCreateRequest.from_wire(data, given=given_values))) == thorough


@FUZZ
@given(data=fuzzed(wire_fuzz.REPLACE | {"side": '"BUY"', "account_id": '"A"'}))
def test_parser_and_schema_agree_on_every_replace(data: bytes) -> None:
    parsed = outcome(lambda: parse_replace(data, account="ACC-1", orig_cl_ord_id="c-1"))
    assert outcome(lambda: as_replace(OrderUpdateRequest.from_wire(data))) == parsed


@FUZZ
@given(data=fuzzed(wire_fuzz.EXECUTION))
def test_parser_and_schema_agree_on_every_execution(data: bytes) -> None:
    parsed = outcome(lambda: parse_execution_create(data))
    assert outcome(lambda: as_execution(ExecutionCreateRequest.from_wire(data))) == parsed


@FUZZ
@given(data=fuzzed(wire_fuzz.RISK))
def test_parser_and_schema_agree_on_every_set_of_limits(data: bytes) -> None:
    parsed = outcome(lambda: parse_risk_parameters(data))
    assert outcome(lambda: as_limits(RiskParameters.from_wire(data))) == parsed


@pytest.mark.parametrize("name", wire_fuzz.ORDER | wire_fuzz.SPECIAL)
def test_every_nasty_value_in_every_field_gets_one_verdict(name: str) -> None:
    for value in (*wire_fuzz.NASTY_NUMBERS, *wire_fuzz.NASTY_TEXT, *wire_fuzz.NASTY_OTHER):
        data = written(list((wire_fuzz.ORDER | {name: value}).items()), " ")
        fast = fast_new_order(data)
        thorough = outcome(thorough_new_order, data)
        assert fast is None or fast == thorough, value
        assert outcome(order_by_schema, data) == thorough, value


@pytest.mark.parametrize(
    "pairs",
    [
        wire_fuzz.ORDER,
        {name: wire_fuzz.ORDER[name] for name in list(wire_fuzz.ORDER)[:8]},
        wire_fuzz.ORDER | {"quantity": "1000", "price": '"150.25"'},
        wire_fuzz.ORDER | {"quantity": "1000", "price": "150.250000000", "min_quantity": "100.0"},
    ],
)
def test_plain_orders_take_the_fast_path(pairs: Mapping[str, str]) -> None:
    data = written(list(pairs.items()), "")
    assert fast_new_order(data) == thorough_new_order(data)


# --- the documentation -------------------------------------------------------------------------------------

MODELS: list[tuple[type[WireModel], tuple[Any, ...], Callable[[bytes], object]]] = [
    (OrderCreateRequest, NEW_ORDER, parse_new_order),
    (
        OrderUpdateRequest,
        REPLACE,
        lambda data: parse_replace(data, account="ACC-1", orig_cl_ord_id="c-1"),
    ),
    (ExecutionCreateRequest, EXECUTION_FIELDS, parse_execution_create),
    (RiskParameters, RISK, parse_risk_parameters),
]


@pytest.mark.parametrize(("model", "fields", "_parse"), MODELS)
def test_the_schema_documents_each_field_of_the_parser_and_no_other(
    model: type[WireModel], fields: tuple[Any, ...], _parse: Callable[[bytes], object]
) -> None:
    schema = model.model_json_schema()
    assert list(schema["properties"]) == [field.name for field in fields]
    assert schema.get("required", []) == [field.name for field in fields if field.required]
    assert schema["additionalProperties"] is False
    assert all(field["description"] for field in schema["properties"].values())


@pytest.mark.parametrize(("model", "_fields", "parse"), MODELS)
def test_each_documented_example_is_taken(
    model: type[WireModel], _fields: tuple[Any, ...], parse: Callable[[bytes], object]
) -> None:
    for sample in model.model_json_schema()["examples"]:
        data = written([(name, f'"{value}"') for name, value in sample.items()], "")
        parse(data)
        assert model.from_wire(data) == model.model_validate(sample)


def test_a_model_writes_numbers_as_plain_text() -> None:
    model = OrderCreateRequest.from_wire(written(list(wire_fuzz.ORDER.items()), ""))
    assert model.model_dump(mode="json")["quantity"] == "1000"
    assert model.model_dump(mode="json")["price"] == "150.25"


def test_a_model_made_in_python_takes_exact_numbers_and_no_float() -> None:
    sample = OrderCreateRequest.model_json_schema()["examples"][0]
    exact = OrderCreateRequest.model_validate(sample | {"quantity": 100, "price": Decimal("1.50")})
    assert (exact.quantity, str(exact.price)) == (Decimal(100), "1.5")
    for wrong in (1.5, True, None, Decimal("NaN"), 10**70):
        with pytest.raises(ValidationError):
            OrderCreateRequest.model_validate(sample | {"price": wrong})


def test_a_model_made_in_python_keeps_the_rules_between_fields() -> None:
    sample = ExecutionCreateRequest.model_json_schema()["examples"][0]
    with pytest.raises(ValidationError):
        ExecutionCreateRequest.model_validate(sample | {"settlement_date": "2024-07-02"})
    with pytest.raises(ValidationError):
        RiskParameters.model_validate({"account_id": "ACC-1"})
