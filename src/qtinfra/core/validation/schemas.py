"""The messages of the API as Pydantic models: what is documented is what the fast parser of `wire` accepts.

The models give the JSON schema, with descriptions and examples, and read a message on their own terms: types,
presence and unknown fields by Pydantic, the rest by validators that give our codes. `from_wire` puts the same
gate of bytes in front (size, encoding, depth, JSON, double keys), which Pydantic cannot see, and words every
error as `wire` does. A test holds both to one verdict and one first code on fuzzed bytes.

This is the only module of the core that imports Pydantic; the order path does not load it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar, NoReturn, Self

from msgspec.structs import replace
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from qtinfra.core.algo import AlgoTerms
from qtinfra.core.decimals import NUMBER_GRAMMAR, canonical, plain
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import Capacity, Currency, OrderSide, OrderType, TimeInForce
from qtinfra.core.routing import RouteStyle
from qtinfra.core.special import Peg
from qtinfra.core.validation import fields, wire
from qtinfra.core.validation.errors import FieldError, MessageRefused, in_order
from qtinfra.core.validation.fields import JsonNumber
from qtinfra.core.validation.wire_algo import ALGO, TIME_PATTERN, algo_field, time_field
from qtinfra.core.validation.wire_special import PegTerms, peg_field, routing_field

_OURS = "qtinfra"  # an error that a validator of ours found in one field
_CROSS = "qtinfra_cross_field"  # errors between fields
_HUGE = 10**fields.NUMBER_LENGTH
_NAME = "{field}"  # stands for the name in a validator, which does not know its field


def _raise(wrong: FieldError) -> NoReturn:
    raise PydanticCustomError(_OURS, "{message}", {"message": wrong.message, "error": wrong})


def _checked(check: Callable[[str, str], FieldError | None]) -> AfterValidator:
    """A check of `fields` as a validator; `_in_our_words` puts the field's name in."""

    def validate(value: str) -> str:
        wrong = fields.unicode_error(_NAME, value) or check(_NAME, value)
        if wrong is not None:
            _raise(wrong)
        return value

    return AfterValidator(validate)


def _number_text(value: object) -> str | None:
    """The digits of a number as sent, or of an exact number from Python; never of a float."""
    if isinstance(value, str):
        return value
    if isinstance(value, JsonNumber):
        return value.text
    if isinstance(value, Decimal):
        return plain(value) if value.is_finite() else str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < _HUGE else "9" * (fields.NUMBER_LENGTH + 1)
    return None


def _numeric(zero: bool, highest: Decimal | None) -> BeforeValidator:
    def validate(value: object) -> Decimal:
        text = _number_text(value)
        if text is None:
            raise PydanticCustomError("number_type", "not a number")
        wrong = fields.number_error(_NAME, text)
        if wrong is None:
            number = canonical(Decimal(text))
            wrong = fields.range_error(_NAME, number, zero, highest)
            if wrong is None:
                return number
        _raise(wrong)

    return BeforeValidator(validate)


def _number_schema(bound: str) -> WithJsonSchema:
    """Text is preferred; a JSON number is read from its digits, never through a float."""
    text = {"type": "string", "pattern": f"^{NUMBER_GRAMMAR.pattern}$"}
    return WithJsonSchema({"anyOf": [text, {"type": "number", bound: 0}]})


def _member(kind: type[Any]) -> BeforeValidator:
    """The enumeration's member by its exact name, before Pydantic's own looser words about it."""
    read = fields.enum_field(kind)

    def validate(value: object) -> object:
        if isinstance(value, kind):
            return value
        found = read(_NAME, value)
        if isinstance(found, FieldError):
            _raise(found)
        return found

    return BeforeValidator(validate)


def _places(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


_TEXT = PlainSerializer(_places, return_type=str | None)
_ABOVE_0 = _number_schema("exclusiveMinimum")
Positive = Annotated[Decimal, _numeric(False, None), _ABOVE_0, _TEXT]
# None only as a default, when the field is left out: null is refused.
OptionalPositive = Annotated[Decimal | None, _numeric(False, None), _ABOVE_0, _TEXT]
OptionalFraction = Annotated[Decimal | None, _numeric(False, Decimal(1)), _ABOVE_0, _TEXT]
NotNegative = Annotated[Decimal, _numeric(True, None), _number_schema("minimum"), _TEXT]
OptionalNotNegative = Annotated[Decimal | None, _numeric(True, None), _number_schema("minimum"), _TEXT]
Symbol = Annotated[
    str, _checked(fields.symbol_error), Field(json_schema_extra={"pattern": f"^{fields.SYMBOL_PATTERN}$"})
]
Mic = Annotated[
    str, _checked(fields.mic_error), Field(json_schema_extra={"pattern": f"^{fields.MIC_PATTERN}$"})
]
Day = Annotated[str, _checked(fields.date_error), Field(json_schema_extra={"format": "date"})]
Identifier = Annotated[
    str,
    _checked(fields.id_error),
    Field(json_schema_extra={"minLength": 1, "maxLength": fields.ID_LENGTH, "pattern": "^[ -~]*$"}),
]
Text = Annotated[str, _checked(fields.text_error), Field(json_schema_extra={"maxLength": fields.TEXT_LENGTH})]
Side = Annotated[OrderSide, _member(OrderSide)]
Type = Annotated[OrderType, _member(OrderType)]
Tif = Annotated[TimeInForce, _member(TimeInForce)]
CapacityName = Annotated[Capacity, _member(Capacity)]
CurrencyCode = Annotated[Currency, _member(Currency)]
LiquidityName = Annotated[Liquidity, _member(Liquidity)]


def _read(reader: fields.Reader, done: type[Any]) -> BeforeValidator:
    """A reader of the parser as a validator; what is a `done` already is taken as it is."""

    def validate(value: object) -> object:
        if type(value) is done:
            return value
        found = reader(_NAME, value)
        if isinstance(found, FieldError):
            _raise(found)
        return found

    return BeforeValidator(validate)


_ALGO_SCHEMA = {
    "type": "object",
    "required": [field.name for field in ALGO if field.required],
    "properties": {field.name: {} for field in ALGO},
    "additionalProperties": False,
}
# None only as a default, when the field is left out: null is refused.
OptionalAlgo = Annotated[Any, _read(algo_field, AlgoTerms), WithJsonSchema(_ALGO_SCHEMA)]
_SIGNED = {
    "anyOf": [{"type": "string", "pattern": f"^-?{NUMBER_GRAMMAR.pattern}$"}, {"type": "number"}],
    "description": "Price units; above 0 is better (towards the own side), below 0 worse.",
}
_PEG_SCHEMA = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {
            "enum": [peg.value for peg in Peg],
            "description": "Own side's best, opposite, or midpoint.",
        },
        "offset": _SIGNED,
    },
    "additionalProperties": False,
}
_ROUTING_SCHEMA = {
    "type": "object",
    "required": ["strategy"],
    "properties": {
        "strategy": {
            "type": "string",
            "description": "SWEEP, PLACEMENT, DARK_FIRST, POST, or one that is installed.",
            "minLength": 1,
            "maxLength": fields.ID_LENGTH,
            "pattern": "^[ -~]*$",
        },
        "urgency": {
            "anyOf": [
                {"type": "string", "pattern": f"^{NUMBER_GRAMMAR.pattern}$"},
                {"type": "number", "minimum": 0, "maximum": 1},
            ],
            "description": "0 to 1, where a strategy weighs taking against posting; 0.5 when left out.",
        },
    },
    "additionalProperties": False,
}
OptionalRouting = Annotated[Any, _read(routing_field, RouteStyle), WithJsonSchema(_ROUTING_SCHEMA)]
OptionalPeg = Annotated[Any, _read(peg_field, PegTerms), WithJsonSchema(_PEG_SCHEMA)]
# A moment is nanoseconds since 1970 once it is read.
OptionalMoment = Annotated[
    Any,
    _read(time_field, int),
    WithJsonSchema({"type": "string", "pattern": f"^{TIME_PATTERN}$", "format": "date-time"}),
]


class WireModel(BaseModel):
    """A message of the API: strict types, no unknown fields, our error codes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    #: Fields of which at least one must be there.
    one_of: ClassVar[tuple[str, ...]] = ()
    #: Fields that are refused as immutable instead of unknown.
    immutable: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="after")
    def _between_fields(self) -> Self:
        values = {name: getattr(self, name) for name in self.model_fields_set}
        errors = _none_of(self.one_of, values) + wire.notional_errors(values) + wire.date_errors(values)
        if errors:
            raise PydanticCustomError(_CROSS, "fields contradict each other", {"errors": errors})
        return self

    @classmethod
    def from_wire(cls, data: bytes, *, given: Mapping[str, str | None] | None = None) -> Self:
        """Read a message from its bytes, through the same gate as the fast parser.

        Args:
            given: values that stand in for fields the message leaves out; None gives nothing.

        Raises:
            MessageRefused: with everything found, in order.
        """
        message, errors = wire.decode_object(data)
        stand_ins = {name: value for name, value in (given or {}).items() if value is not None}
        try:
            model = cls.model_validate(stand_ins | _encodable(message))
        except ValidationError as fault:
            found = [error for detail in fault.errors() for error in _in_our_words(detail, cls.immutable)]
            missing = _none_of(cls.one_of, message)
            errors += found + [error for error in missing if error not in found]
        else:
            if not errors:
                return model
        raise MessageRefused(in_order(errors, tuple(cls.model_fields)))


def _encodable(message: Mapping[str, object]) -> dict[str, object]:
    """The message with lone surrogates in names escaped: Pydantic cannot report such a name as unknown."""
    return {name.encode("utf-8", "backslashreplace").decode(): value for name, value in message.items()}


def _none_of(names: tuple[str, ...], message: Mapping[str, object]) -> list[FieldError]:
    if not names or any(name in message for name in names):
        return []
    return [wire.missing_field(names[0])]


def _in_our_words(detail: ErrorDetails, immutable: frozenset[str]) -> list[FieldError]:
    """An error of Pydantic's as the fast parser says it."""
    context = detail.get("ctx", {})
    if detail["type"] == _CROSS:
        return list(context["errors"])
    name = str(detail["loc"][0])
    match detail["type"]:
        case "missing":
            return [wire.missing_field(name)]
        case "extra_forbidden":
            return [wire.unknown_field(name, immutable)]
        case "number_type":
            return [fields.type_error(name, "a number or a string", detail["input"])]
        case "string_type":
            return [fields.type_error(name, "a string", detail["input"])]
        case "bool_type":
            return [fields.type_error(name, "a boolean", detail["input"])]
    wrong: FieldError = context["error"]
    field = wrong.field.replace(_NAME, name)
    return [replace(wrong, field=field, message=wrong.message.replace(_NAME, name))]


# --- the messages -----------------------------------------------------------------------------------------


class OrderCreateRequest(WireModel):
    """POST /orders: a new order. Numbers are best sent as strings; they are never rounded."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "symbol": "AAPL",
                    "side": "BUY",
                    "quantity": "1000",
                    "price": "150.25",
                    "order_type": "LIMIT",
                    "time_in_force": "DAY",
                    "client_order_id": "desk7-000123",
                    "account_id": "ACC-1",
                }
            ]
        }
    )

    symbol: Symbol = Field(description="Identifier of the instrument.", examples=["AAPL", "BRK.B"])
    side: Side = Field(description="SELL_SHORT and SELL_SHORT_EXEMPT mark short sales (Reg SHO).")
    quantity: Positive = Field(description="Units of the instrument, a multiple of its lot.")
    price: OptionalPositive = Field(
        default=None, description="Limit per unit in the instrument's currency; none on a MARKET order."
    )
    order_type: Type = Field(description="How the order executes.")
    time_in_force: Tif = Field(default=TimeInForce.DAY, description="How long it stands.")
    client_order_id: Identifier = Field(
        description="Unique per account for ever: the same id and content again gets the first answer."
    )
    account_id: Identifier = Field(description="Whose order it is.")
    min_quantity: NotNegative = Field(
        default=Decimal(0), description="Least quantity of an execution, 0 for any; at most the quantity."
    )
    capacity: CapacityName = Field(default=Capacity.AGENCY, description="In what capacity the firm trades.")
    trader: Identifier = Field(default="", description="Pseudonymous id of the person who decided.")
    text: Text = Field(default="", description="Free text; sealed before it is kept, never sent to a venue.")
    algo: OptionalAlgo = Field(default=None, description="How an algorithm works the order.")
    stop_price: OptionalPositive = Field(
        default=None, description="Trigger of a STOP or STOP_LIMIT order, per unit."
    )
    trail_amount: OptionalPositive = Field(
        default=None, description="Distance of a TRAILING_STOP behind the best price, in price units."
    )
    display_quantity: OptionalPositive = Field(
        default=None, description="Most that an ICEBERG shows at a time, in lots."
    )
    peg: OptionalPeg = Field(default=None, description="What a PEGGED order follows.")
    expire_at: OptionalMoment = Field(default=None, description="End of a GTD order, in UTC.")
    locate_id: Identifier = Field(
        default="", description="Where the shares of a short sale come from (17 CFR 242.203(b)(1))."
    )
    self_match_id: Identifier = Field(
        default="", description="Orders of one id never trade with each other; how is the account's setting."
    )
    do_not_reduce: bool = Field(
        default=False, description="A dividend leaves the order's prices as they are."
    )
    do_not_increase: bool = Field(default=False, description="A split leaves its quantity as it is.")
    routing: OptionalRouting = Field(
        default=None, description="How it is routed; left out, as the account's orders are."
    )


class OrderUpdateRequest(WireModel):
    """PUT /orders/{id}: a new total quantity, price, or special terms. Nothing else of an order changes."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"client_order_id": "desk7-000124", "quantity": "800"}]}
    )
    one_of: ClassVar[tuple[str, ...]] = wire.REPLACE_ONE_OF
    immutable: ClassVar[frozenset[str]] = wire.IMMUTABLE

    client_order_id: Identifier = Field(description="Id of this change, never used before.")
    quantity: OptionalPositive = Field(
        default=None, description="New total quantity, not below what has traded."
    )
    price: OptionalPositive = Field(default=None, description="New limit per unit.")
    text: Text = Field(default="", description="Free text; sealed before it is kept.")
    stop_price: OptionalPositive = Field(
        default=None, description="New trigger of a STOP or STOP_LIMIT order, per unit."
    )
    trail_amount: OptionalPositive = Field(
        default=None, description="New distance of a TRAILING_STOP behind the best price, in price units."
    )
    display_quantity: OptionalPositive = Field(
        default=None, description="New most that an ICEBERG shows at a time, in lots."
    )
    peg: OptionalPeg = Field(default=None, description="New terms of a PEGGED order's price.")
    expire_at: OptionalMoment = Field(default=None, description="New end of a GTD order, in UTC.")


class ExecutionCreateRequest(WireModel):
    """A trade reported by hand, with its settlement terms."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "order_id": "00000000-0001-8000-8000-000000000007",
                    "venue": "XNYS",
                    "exec_id": "E-77",
                    "quantity": "100",
                    "price": "150.25",
                    "trade_date": "2024-07-03",
                    "settlement_date": "2024-07-05",
                    "settlement_currency": "USD",
                }
            ]
        }
    )

    order_id: Identifier = Field(description="Public id of the order that traded.")
    venue: Mic = Field(description="Market identifier code (ISO 10383).")
    exec_id: Identifier = Field(description="The venue's id, unique per venue and trade date.")
    quantity: Positive = Field(description="Units traded.")
    price: Positive = Field(description="Price per unit.")
    trade_date: Day = Field(description="Trading date at the venue (ISO 8601).")
    settlement_date: Day = Field(description="When money and units change hands; not before trade_date.")
    settlement_currency: CurrencyCode = Field(description="ISO 4217.")
    liquidity: LiquidityName = Field(
        default=Liquidity.UNKNOWN, description="Whether it added or removed displayed size."
    )
    fee: NotNegative = Field(default=Decimal(0), description="The venue's charge in the settlement currency.")


class RiskParameters(WireModel):
    """Limits for an account, a symbol, both, or everybody. At the limit passes, one unit over fails."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"account_id": "ACC-1", "max_order_value": "1000000"}]}
    )
    one_of: ClassVar[tuple[str, ...]] = tuple(rule.value for rule in wire.RISK_RULES)

    account_id: Identifier = Field(default="*", description="Left out: every account.")
    symbol: Symbol = Field(default="*", description="Left out: every symbol.")
    max_order_qty: OptionalPositive = Field(default=None, description="Units per order.")
    max_order_value: OptionalPositive = Field(
        default=None, description="Quantity times price times multiplier, in the instrument's currency."
    )
    price_collar: OptionalFraction = Field(
        default=None, description="Distance from the reference price as a fraction: 0.1 is ten percent."
    )
    position_limit: OptionalNotNegative = Field(
        default=None, description="Units held and open together, long or short; 0 lets nothing open."
    )
