"""Rules with context: market hours, type and time in force at venues, currency, settlement, all together."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from qtinfra.core.calendar import CUTOFFS, TradingSession, VenueCalendar
from qtinfra.core.commands import SubmitOrder
from qtinfra.core.extended_models import US_EQUITY_TICKS, Account, Instrument, Venue
from qtinfra.core.models import AssetClass, Currency, OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import REJ_EXCHANGE_CLOSED
from qtinfra.core.validation.sessions import (
    TYPE_PRICE,
    TYPE_TIF,
    ClosedMarket,
    OrderContext,
    check_combination,
    check_hours,
    check_settlement,
    collect_errors,
    target_session,
)

pytestmark = pytest.mark.unit

HOUR = 3_600 * 1_000_000_000
MINUTE = HOUR // 60
DAY = 24 * HOUR
# 2024-07-03 is a half day, 2024-07-04 a holiday; times in UTC.
MIDNIGHT = 1_719_964_800 * 1_000_000_000
WED_OPEN, WED_CLOSE = MIDNIGHT + 13 * HOUR + 30 * MINUTE, MIDNIGHT + 17 * HOUR
FRI_OPEN, FRI_CLOSE = WED_OPEN + 2 * DAY, MIDNIGHT + 2 * DAY + 20 * HOUR
NYSE = VenueCalendar(
    "XNYS",
    "2024-07-03",
    "2024-07-05",
    (
        TradingSession("2024-07-03", WED_OPEN, WED_CLOSE, half_day=True),
        TradingSession("2024-07-05", FRI_OPEN, FRI_CLOSE),
    ),
    CUTOFFS["XNYS"],
)
NASDAQ = msgspec.structs.replace(NYSE, mic="XNAS", cutoffs=CUTOFFS["XNAS"])
STOCK = Instrument("IBM", AssetClass.EQUITY, Currency.USD, ("XNYS", "XNAS"), US_EQUITY_TICKS, Decimal(10))
ACCOUNT = Account("ACC-1", "client", Currency.USD)
XNYS = Venue(
    "XNYS",
    "New York",
    Currency.USD,
    order_types=("LIMIT", "MARKET"),
    time_in_force=("DAY", "IOC", "AT_OPEN", "AT_CLOSE"),
)
XNAS = Venue("XNAS", "Nasdaq", Currency.USD)
ORDER = SubmitOrder(
    "ACC-1", "c-1", "IBM", OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, Decimal(100), Decimal("180.05")
)
CONTEXT = OrderContext(now_ns=WED_OPEN, account=ACCOUNT, instrument=STOCK, venues=(XNYS, XNAS), calendar=NYSE)


def hours(
    order_type: str, tif: str, now_ns: int, calendar: VenueCalendar = NYSE, policy: str = "queue"
) -> str:
    """The code of the refusal, empty when the order may come in."""
    refusal = check_hours(OrderType(order_type), TimeInForce(tif), calendar, now_ns, ClosedMarket(policy))
    return "" if refusal is None else refusal.code


def codes(context: OrderContext = CONTEXT, **changes: Any) -> list[tuple[str, str]]:
    order = msgspec.structs.replace(ORDER, **changes)
    return [(refusal.code, refusal.field) for refusal in collect_errors(order, context)]


# --- market hours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tif", ["IOC", "FOK", "DAY", "GTC", "GTD"])
@pytest.mark.parametrize("order_type", ["LIMIT", "MARKET"])
def test_in_a_session_every_continuous_order_may_come(order_type: str, tif: str) -> None:
    assert hours(order_type, tif, WED_OPEN) == ""
    assert hours(order_type, tif, WED_CLOSE - 1) == ""


@pytest.mark.parametrize("now_ns", [WED_OPEN - 1, WED_CLOSE, WED_CLOSE + DAY])
@pytest.mark.parametrize(
    ("order_type", "tif"), [("LIMIT", "IOC"), ("LIMIT", "FOK"), ("MARKET", "DAY"), ("MARKET", "IOC")]
)
def test_outside_the_session_what_wants_to_trade_at_once_is_refused(
    order_type: str, tif: str, now_ns: int
) -> None:
    assert hours(order_type, tif, now_ns) == "market_closed"


@pytest.mark.parametrize("tif", ["DAY", "GTC", "GTD"])
def test_outside_the_session_a_resting_order_waits_for_the_next_one_unless_the_policy_refuses(
    tif: str,
) -> None:
    assert hours("LIMIT", tif, WED_CLOSE) == ""
    assert hours("STOP", tif, WED_CLOSE) == ""
    assert hours("LIMIT", tif, WED_CLOSE, policy="reject") == "market_closed"


def test_a_day_order_entered_after_the_close_belongs_to_the_next_session() -> None:
    evening = target_session(TimeInForce.DAY, NYSE, WED_CLOSE)
    noon = target_session(TimeInForce.DAY, NYSE, WED_OPEN)
    assert evening is not None
    assert noon is not None
    assert (noon.close_ns, evening.close_ns) == (WED_CLOSE, FRI_CLOSE)


def test_a_refusal_because_the_market_is_closed_names_the_next_open() -> None:
    refusal = check_hours(OrderType.LIMIT, TimeInForce.IOC, NYSE, WED_CLOSE)
    assert refusal is not None
    assert (refusal.limit, refusal.observed) == (str(FRI_OPEN), str(WED_CLOSE))
    assert refusal.fix_reason == REJ_EXCHANGE_CLOSED


@pytest.mark.parametrize(
    ("order_type", "calendar", "lead"),
    [
        ("MARKET", NYSE, 10 * MINUTE),
        ("LIMIT", NYSE, 10 * MINUTE),
        ("MARKET", NASDAQ, 5 * MINUTE),
        ("LIMIT", NASDAQ, 2 * MINUTE),
    ],
)
def test_on_close_orders_come_before_the_cut_off_also_on_a_half_day(
    order_type: str, calendar: VenueCalendar, lead: int
) -> None:
    for close in (WED_CLOSE, FRI_CLOSE):
        assert hours(order_type, "AT_CLOSE", close - lead - 1, calendar) == ""
        assert hours(order_type, "AT_CLOSE", close - lead, calendar) == "auction_cutoff"
        assert hours(order_type, "AT_CLOSE", close - 1, calendar) == "auction_cutoff"
    assert hours(order_type, "AT_CLOSE", WED_CLOSE, calendar) == ""
    assert hours(order_type, "AT_CLOSE", WED_OPEN - HOUR, calendar) == ""


@pytest.mark.parametrize(("order_type", "lead"), [("MARKET", 2 * MINUTE), ("LIMIT", MINUTE // 2)])
def test_on_open_orders_come_before_the_cut_off_or_after_the_close(order_type: str, lead: int) -> None:
    assert hours(order_type, "AT_OPEN", WED_OPEN - lead - 1, NASDAQ) == ""
    assert hours(order_type, "AT_OPEN", WED_OPEN - lead, NASDAQ) == "auction_cutoff"
    assert hours(order_type, "AT_OPEN", WED_OPEN, NASDAQ) == "auction_cutoff"
    assert hours(order_type, "AT_OPEN", WED_CLOSE - 1, NASDAQ) == "auction_cutoff"
    assert hours(order_type, "AT_OPEN", WED_CLOSE, NASDAQ) == ""


@pytest.mark.parametrize("tif", ["DAY", "GTC", "AT_OPEN", "AT_CLOSE"])
def test_where_the_calendar_ends_nobody_guesses(tif: str) -> None:
    assert hours("LIMIT", tif, FRI_CLOSE) == "calendar_unknown"
    assert hours("LIMIT", tif, MIDNIGHT - DAY) == "calendar_unknown"


def test_in_a_lunch_break_an_immediate_order_is_refused_and_a_resting_one_waits() -> None:
    pause = (WED_OPEN + HOUR, WED_OPEN + 2 * HOUR)
    session = TradingSession("2024-07-03", WED_OPEN, WED_CLOSE, breaks=(pause,))
    calendar = msgspec.structs.replace(NYSE, sessions=(session,))
    assert hours("LIMIT", "IOC", pause[0], calendar) == "market_closed"
    assert hours("LIMIT", "DAY", pause[0], calendar) == ""
    assert hours("LIMIT", "IOC", pause[1], calendar) == ""


# --- type, time in force, venue ---------------------------------------------------------------------------


def test_every_type_states_its_times_in_force_and_whether_it_has_a_price() -> None:
    assert list(TYPE_TIF) == list(OrderType)
    assert list(TYPE_PRICE) == list(OrderType)


@pytest.mark.parametrize("order_type", ["STOP", "STOP_LIMIT", "TRAILING_STOP", "ICEBERG", "PEGGED"])
@pytest.mark.parametrize("tif", ["IOC", "FOK", "AT_OPEN", "AT_CLOSE"])
def test_what_waits_for_a_trigger_or_shows_a_part_is_never_immediate(order_type: str, tif: str) -> None:
    refusal = check_combination(OrderType(order_type), TimeInForce(tif))
    assert refusal is not None
    assert (refusal.code, refusal.limit, refusal.observed) == ("type_tif", "DAY, GTC, GTD", tif)


def test_a_market_order_does_not_rest_beyond_its_day() -> None:
    assert check_combination(OrderType.MARKET, TimeInForce.GTC) is not None
    assert check_combination(OrderType.MARKET, TimeInForce.AT_CLOSE) is None


def test_one_venue_that_takes_type_and_time_in_force_is_enough() -> None:
    assert codes() == []
    assert codes(tif=TimeInForce.GTC) == []
    assert codes(tif=TimeInForce.GTD) == [("unsupported_time_in_force", "time_in_force")]


def test_auction_orders_need_the_primary_listing_itself() -> None:
    assert codes(tif=TimeInForce.AT_CLOSE) == []
    away = msgspec.structs.replace(CONTEXT, venues=(XNAS,))
    assert codes(away, tif=TimeInForce.AT_CLOSE) == [("unsupported_order_type", "order_type")]


def test_what_no_venue_takes_is_refused_unless_the_engine_holds_it() -> None:
    stop: dict[str, Any] = {"order_type": OrderType.STOP, "price": None}
    assert codes(**stop) == [("unsupported_order_type", "order_type")]
    held = msgspec.structs.replace(CONTEXT, held_types=(OrderType.STOP,), held_tif=(TimeInForce.GTD,))
    assert codes(held, **stop) == []
    assert codes(held, **stop, tif=TimeInForce.GTD) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"order_type": OrderType.STOP_LIMIT, "price": None}, "price_required"),
        ({"order_type": OrderType.STOP}, "price_not_allowed"),
        ({"min_qty": Decimal(110)}, "min_qty"),
        ({"min_qty": Decimal(-1)}, "min_qty"),
        ({"min_qty": Decimal(50), "tif": TimeInForce.AT_CLOSE}, "min_qty"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes: dict[str, Any], code: str) -> None:
    held = msgspec.structs.replace(CONTEXT, held_types=tuple(OrderType))
    assert [found for found, _ in codes(held, **changes)] == [code]


# --- currency and settlement ------------------------------------------------------------------------------


def test_a_foreign_account_needs_a_rate_into_its_base_currency() -> None:
    euro = msgspec.structs.replace(
        CONTEXT, account=msgspec.structs.replace(ACCOUNT, base_currency=Currency.EUR)
    )
    assert codes(euro) == [("fx_rate_missing", "account_id")]
    assert codes(msgspec.structs.replace(euro, convertible=(Currency.USD,))) == []


def test_a_venue_that_trades_in_another_currency_only_is_a_mismatch() -> None:
    london = msgspec.structs.replace(XNAS, currency=Currency.GBP)
    assert codes(msgspec.structs.replace(CONTEXT, venues=(london,))) == [("currency_mismatch", "symbol")]


@pytest.mark.parametrize(
    ("trade_date", "settlement_date", "currency", "expected"),
    [
        ("2024-07-03", "2024-07-05", Currency.USD, []),
        ("2024-07-03", "2024-07-04", Currency.USD, ["settlement_date"]),
        ("2024-07-03", "2024-07-05", Currency.EUR, ["settlement_currency"]),
        ("2024-07-04", "2024-07-05", Currency.USD, ["trade_date_closed"]),
        ("2024-07-05", "2024-07-08", Currency.USD, ["calendar_unknown"]),
        (
            "2024-07-04",
            "2024-07-04",
            Currency.JPY,
            ["trade_date_closed", "settlement_date", "settlement_currency"],
        ),
    ],
)
def test_an_execution_settles_regular_way_in_the_traded_currency(
    trade_date: str, settlement_date: str, currency: Currency, expected: list[str]
) -> None:
    errors = check_settlement(STOCK, trade_date, settlement_date, currency, NYSE, NYSE, 1)
    assert [error.code for error in errors] == expected


# --- everything together ----------------------------------------------------------------------------------


def test_errors_of_range_come_alone_and_all_of_them() -> None:
    nowhere = OrderContext(now_ns=WED_OPEN, account=None, instrument=None)
    assert codes(nowhere, cl_ord_id="", qty=Decimal("NaN"), min_qty=Decimal("Infinity")) == [
        ("max_length", "client_order_id"),
        ("number_out_of_range", "quantity"),
        ("number_out_of_range", "min_quantity"),
    ]


def test_errors_of_reference_come_next_and_all_of_them() -> None:
    nowhere = OrderContext(now_ns=WED_OPEN, account=None, instrument=None)
    assert codes(nowhere, qty=Decimal(3)) == [("unknown_symbol", "symbol"), ("unknown_account", "account_id")]
    assert codes(msgspec.structs.replace(CONTEXT, venues=())) == [("no_venue", "symbol")]


def test_errors_of_state_and_business_are_collected_in_the_documented_order() -> None:
    context = msgspec.structs.replace(
        CONTEXT,
        account=Account("ACC-1", "client", Currency.CHF, enabled=False),
        halted=True,
        now_ns=WED_CLOSE,
    )
    assert codes(
        context,
        qty=Decimal(105),
        price=Decimal("180.055"),
        min_qty=Decimal(200),
        tif=TimeInForce.FOK,
    ) == [
        ("account_disabled", "account_id"),
        ("instrument_halted", "symbol"),
        ("min_qty", "min_quantity"),
        ("lot_size", "quantity"),
        ("tick_size", "price"),
        ("market_closed", "time_in_force"),
        ("fx_rate_missing", "account_id"),
    ]


def test_each_error_names_rule_field_limit_and_value() -> None:
    order = msgspec.structs.replace(ORDER, price=Decimal("180.055"), qty=Decimal(105))
    assert [(e.code, e.field, e.limit, e.observed) for e in collect_errors(order, CONTEXT)] == [
        ("lot_size", "quantity", "10", "105"),
        ("tick_size", "price", "0.01", "180.055"),
    ]


def test_a_market_without_hours_is_never_closed() -> None:
    around_the_clock = msgspec.structs.replace(CONTEXT, calendar=None, now_ns=WED_CLOSE)
    assert codes(around_the_clock, tif=TimeInForce.IOC) == []
