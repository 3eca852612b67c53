"""Commissions and regulatory fees: worked examples, then the identity of a ticket and its executions."""

from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import AssetClass, Currency, Money, OrderSide, minor_units
from qtinfra.positions.fee_book import FeeBook, Priced
from qtinfra.positions.fees import (
    COMMISSION,
    EMPTY_TICKET,
    Accrual,
    Charge,
    FeeLine,
    FeeSchedule,
    FeeTier,
    NoFeeSchedule,
    RegulatoryFee,
    TicketScope,
    accrue,
    allocate,
    charge,
    commission,
    problems,
    regulatory_fees,
    schedule_for,
    ticket_commission,
    to_minor_unit,
)

pytestmark = pytest.mark.unit

D = Decimal
USD, JPY = Currency.USD, Currency.JPY
BUY, SELL = OrderSide.BUY, OrderSide.SELL
EQUITY = AssetClass.EQUITY


def line(*tiers: tuple[str, str, str], **filters: tuple[object, ...]) -> FeeLine:
    """Tiers as (floor, per unit, basis points)."""
    rows = tuple(FeeTier(D(floor), D(unit), D(bps)) for floor, unit, bps in tiers)
    return msgspec.structs.replace(FeeLine(rows), **filters)


def schedule(*lines: FeeLine, **terms: object) -> FeeSchedule:
    plain = FeeSchedule("S1", "*", USD, "2024-01-01", lines)
    return msgspec.structs.replace(plain, **terms)


PER_SHARE = schedule(line(("0", "0.005", "0")), minimum=ONE, maximum_bps=D(100))
# Rates of 2024: section 31 from 22 May, the trading activity fee from 1 January.
REGULATORY = (
    RegulatoryFee("SEC_31", USD, "2023-02-27", per_value=D("0.000008")),
    RegulatoryFee("SEC_31", USD, "2024-05-22", per_value=D("0.0000278")),
    RegulatoryFee("FINRA_TAF", USD, "2024-01-01", per_unit=D("0.000166"), cap=D("8.30")),
)


def paid(rates: FeeSchedule, qty: str, px: str, liquidity: Liquidity = Liquidity.REMOVED) -> Money:
    return commission(rates, BUY, D(qty), D(px), ONE, liquidity, EQUITY)


def usd(amount: str) -> Money:
    return Money(D(amount), USD)


# --- one execution ---------------------------------------------------------------------------------------


def test_a_commission_is_per_unit_with_a_minimum_and_a_maximum_by_value_that_goes_before_it() -> None:
    assert paid(PER_SHARE, "1000", "25") == usd("5")
    assert paid(PER_SHARE, "100", "25") == usd("1")
    assert paid(PER_SHARE, "1000", "0.25") == usd("2.5")
    assert paid(PER_SHARE, "10", "0.25") == usd("0.02")


def test_basis_points_are_of_price_times_quantity_times_multiplier() -> None:
    rates = schedule(line(("0", "0.85", "1.5")))
    assert commission(rates, BUY, D(4), D("4500.25"), D(50), Liquidity.ADDED, AssetClass.FUTURE) == usd(
        str(D("3.40") + D("135.01"))
    )


def test_a_negative_price_is_charged_by_its_absolute_value() -> None:
    assert paid(schedule(line(("0", "0", "10"))), "100", "-37.63") == usd("3.76")


def test_a_maximum_amount_caps_the_ticket() -> None:
    assert paid(schedule(line(("0", "0.01", "0")), maximum=D(20)), "5000", "10") == usd("20")


def test_rates_follow_asset_class_liquidity_and_side_and_the_first_line_that_fits_counts() -> None:
    rates = schedule(
        line(("0", "-0.002", "0"), liquidity=(Liquidity.ADDED,), asset_classes=(EQUITY,)),
        line(("0", "0", "50"), sides=(BUY,), asset_classes=(AssetClass.ETF,)),
        line(("0", "0.003", "0")),
    )
    assert problems(rates) == []
    assert paid(rates, "1000", "10", Liquidity.ADDED) == usd("-2")
    assert paid(rates, "1000", "10") == usd("3")
    for side, amount in ((BUY, "50"), (SELL, "3")):
        assert commission(rates, side, D(1000), D(10), ONE, Liquidity.ADDED, AssetClass.ETF) == usd(amount)


def test_each_unit_costs_the_rate_of_the_volume_tier_it_falls_in() -> None:
    rates = schedule(line(("0", "0.004", "0"), ("300000", "0.002", "1"), ("3000000", "0.001", "0")))
    before = D(299_900)
    accrual = accrue(rates, BUY, D(1000), D(10), ONE, Liquidity.ADDED, EQUITY, before)
    assert accrual.commission == D("0.4") + 900 * D("0.002") + 9000 * D("0.0001")
    beyond = accrue(rates, BUY, D(1000), D(10), ONE, Liquidity.ADDED, EQUITY, D(3_000_000))
    assert beyond.commission == 1


def test_the_commission_is_rounded_half_even_to_the_minor_unit_of_the_currency() -> None:
    assert [to_minor_unit(D(text), USD) for text in ("0.125", "0.135", "-0.125", "-0.001")] == [
        D("0.12"),
        D("0.14"),
        D("-0.12"),
        ZERO,
    ]
    assert to_minor_unit(D("2.5"), JPY) == 2
    assert to_minor_unit(D("0.0015"), Currency.KWD) == D("0.002")
    assert paid(schedule(line(("0", "0", "10")), currency=JPY), "300", "1234") == Money(D(370), JPY)


def test_an_execution_without_quantity_or_without_a_line_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs a quantity"):
        paid(PER_SHARE, "0", "10")
    only_etf = schedule(line(("0", "1", "0"), asset_classes=(AssetClass.ETF,)))
    with pytest.raises(ValueError, match=r"'S1' has no line for EQUITY"):
        paid(only_etf, "1", "10")


# --- schedules as data -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (schedule(), "needs a line"),
        (schedule(line(("0", "1", "0"), sides=(BUY,))), "last line must have no filter"),
        (schedule(line(("5", "1", "0"))), "line 1: the first tier must begin at 0"),
        (schedule(line(("0", "1", "0"), ("9", "1", "0"), ("9", "1", "0"))), "line 1: the tiers must ascend"),
        (schedule(line(("0", "1", "0")), minimum=D(2), maximum=D(1)), "minimum is above the maximum"),
        (schedule(line(("0", "1", "0")), maximum_bps=D(-1)), "must not be negative"),
    ],
)
def test_a_schedule_that_contradicts_itself_is_found(broken: FeeSchedule, complaint: str) -> None:
    assert any(complaint in text for text in problems(broken))
    with pytest.raises(ValueError, match=complaint):
        FeeBook().add_schedule(broken)


def test_the_schedule_in_force_is_the_clients_own_then_the_latest_not_after_the_trade_date() -> None:
    flat = line(("0", "1", "0"))
    rows = [
        schedule(flat, schedule_id="all-1"),
        schedule(flat, schedule_id="all-2", effective_from="2024-06-01"),
        schedule(flat, schedule_id="all-2-corrected", effective_from="2024-06-01"),
        schedule(flat, schedule_id="own", client="C1", effective_from="2024-03-01"),
        schedule(flat, schedule_id="yen", currency=JPY),
    ]

    def chosen(client: str, trade_date: str, currency: Currency = USD) -> str:
        found = schedule_for(rows, client, currency, trade_date)
        assert isinstance(found, FeeSchedule)
        return found.schedule_id

    assert chosen("C1", "2024-02-29") == "all-1"
    assert chosen("C1", "2024-03-01") == "own"
    assert chosen("C1", "2024-07-01") == "own"
    assert chosen("C2", "2024-06-01") == "all-2-corrected"
    assert chosen("C1", "2024-07-01", JPY) == "yen"
    assert schedule_for(rows, "C1", USD, "2023-12-31") == NoFeeSchedule("C1", USD, "2023-12-31")


# --- regulatory fees -------------------------------------------------------------------------------------


def levied(side: OrderSide, qty: str, px: str, trade_date: str = "2024-07-08") -> dict[str, Decimal]:
    return dict(regulatory_fees(REGULATORY, side, D(qty), D(px), ONE, EQUITY, USD, trade_date))


def test_section_31_is_of_the_value_sold_at_the_rate_of_the_trade_date() -> None:
    assert levied(SELL, "1000", "100")["SEC_31"] == D("2.78")
    assert levied(SELL, "1000", "100", "2024-05-22")["SEC_31"] == D("2.78")
    assert levied(SELL, "1000", "100", "2024-05-21")["SEC_31"] == D("0.8")
    assert "SEC_31" not in levied(SELL, "1000", "100", "2023-02-26")


def test_the_trading_activity_fee_is_per_share_sold_and_capped_per_execution() -> None:
    assert levied(SELL, "1000", "100")["FINRA_TAF"] == D("0.166")
    assert levied(SELL, "50000", "1")["FINRA_TAF"] == D("8.30")
    assert levied(OrderSide.SELL_SHORT, "50001", "1")["FINRA_TAF"] == D("8.30")


def test_a_buy_another_asset_class_and_another_currency_pay_no_us_regulatory_fee() -> None:
    assert levied(BUY, "1000", "100") == {}
    for asset_class, currency in ((AssetClass.FUTURE, USD), (EQUITY, JPY)):
        assert regulatory_fees(REGULATORY, SELL, D(9), D(9), ONE, asset_class, currency, "2024-07-08") == ()


def test_regulatory_fees_are_rounded_on_the_ticket_each_by_its_name() -> None:
    accrual = Accrual(D(1000), ZERO, (("SEC_31", D("0.004")), ("FINRA_TAF", D("0.02"))))
    ticket, first = charge(PER_SHARE, EMPTY_TICKET, accrual)
    _, second = charge(PER_SHARE, ticket, accrual)
    assert first.fees == ((COMMISSION, D("1.00")), ("FINRA_TAF", D("0.02")))
    assert second.fees == (("SEC_31", D("0.01")), ("FINRA_TAF", D("0.02")))
    assert (first.total, second.total) == (D("1.02"), D("0.03"))
    assert second.amount(COMMISSION) == usd("0")


# --- tickets ---------------------------------------------------------------------------------------------


def test_the_minimum_is_charged_once_and_used_up_before_more_is() -> None:
    accruals = [accrue(PER_SHARE, BUY, D(90), D(50), ONE, Liquidity.ADDED, EQUITY) for _ in range(4)]
    _, charges = allocate(PER_SHARE, accruals)
    assert [owed.total for owed in charges] == [D("1"), ZERO, D("0.35"), D("0.45")]


accruals = st.builds(
    Accrual,
    st.integers(0, 10**9).map(lambda n: D(n).scaleb(-3)),
    st.integers(-(10**6), 10**7).map(lambda n: D(n).scaleb(-5)),
    st.integers(0, 10**5).map(lambda n: (("SEC_31", D(n).scaleb(-6)),)),
)
bounds = st.none() | st.integers(0, 500).map(lambda n: D(n).scaleb(-1))
schedules = st.builds(
    lambda low, high, share, currency: schedule(
        line(("0", "0", "0")), minimum=low, maximum=high, maximum_bps=share, currency=currency
    ),
    bounds,
    bounds,
    bounds,
    st.sampled_from([USD, JPY, Currency.KWD]),
)


def textbook(rates: FeeSchedule, rows: list[Accrual]) -> Fraction:
    due = sum((Fraction(row.commission) for row in rows), Fraction(0))
    if rates.minimum is not None:
        due = max(due, Fraction(rates.minimum))
    if rates.maximum is not None:
        due = min(due, Fraction(rates.maximum))
    if rates.maximum_bps is not None:
        due = min(due, sum(Fraction(row.value) for row in rows) * Fraction(rates.maximum_bps) / 10_000)
    return round(due, minor_units(rates.currency)) if rows else Fraction(0)


@settings(deadline=None)
@given(schedules, st.lists(accruals, max_size=12))
def test_the_charges_of_the_executions_sum_to_the_commission_of_the_ticket_exactly(
    rates: FeeSchedule, rows: list[Accrual]
) -> None:
    ticket, charges = allocate(rates, rows)
    total = sum((owed.amount(COMMISSION).amount for owed in charges), ZERO)
    assert Fraction(total) == textbook(rates, rows)
    assert ticket.charged == total
    assert total == ticket_commission(rates, ticket.executions, ticket.value, ticket.accrued)
    levies = sum((owed.amount("SEC_31").amount for owed in charges), ZERO)
    exact_levies = sum((row.levies[0][1] for row in rows), ZERO)
    unit = D(1).scaleb(-minor_units(rates.currency))
    assert levies == exact_levies.quantize(unit, rounding=ROUND_HALF_EVEN)
    for owed in charges:
        assert all(amount % unit == 0 for _, amount in owed.fees)


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=8),
    st.integers(0, 10_000),
    st.integers(1, 10**6).map(lambda n: D(n).scaleb(-2)),
)
def test_how_a_quantity_is_split_into_executions_does_not_change_what_it_accrues(
    parts: list[int], volume: int, px: Decimal
) -> None:
    rates = schedule(line(("0", "0.004", "0"), ("3000", "0.002", "1"), ("9000", "0.0005", "0.3")))
    whole = accrue(rates, BUY, D(sum(parts)), px, ONE, Liquidity.ADDED, EQUITY, D(volume))
    total, before = ZERO, volume
    for part in parts:
        piece = accrue(rates, BUY, D(part), px, ONE, Liquidity.ADDED, EQUITY, D(before))
        total, before = total + piece.commission, before + part
    assert total == whole.commission


def test_fees_are_exact_whatever_the_context_of_the_caller() -> None:
    def amounts() -> tuple[object, ...]:
        qty, px = D("123456789012.123"), D("98765.432109")
        return paid(PER_SHARE, str(qty), str(px)), levied(SELL, str(qty), str(px))

    expected = amounts()
    with localcontext(Context(prec=5)):
        assert amounts() == expected


# --- the book of fees ------------------------------------------------------------------------------------


def fee_book(*rates: FeeSchedule) -> FeeBook:
    book = FeeBook()
    for row in rates:
        book.add_schedule(row)
    book.add_levies(REGULATORY)
    return book


def execution(
    key: str, qty: str, px: str = "50", order: str = "O1", side: OrderSide = BUY, on: str = "2024-07-08"
) -> Priced:
    return Priced(key, order, "C1", side, D(qty), D(px), ONE, USD, EQUITY, Liquidity.ADDED, on)


def owed(answer: Charge | NoFeeSchedule) -> Decimal:
    assert isinstance(answer, Charge)
    return answer.total


def test_a_quote_is_what_booking_then_charges_and_changes_nothing() -> None:
    book = fee_book(PER_SHARE)
    for number in range(3):
        before = msgspec.msgpack.encode(book)
        quoted = book.quote(execution(f"E{number}", "90"))
        assert msgspec.msgpack.encode(book) == before
        assert book.book(execution(f"E{number}", "90")) == quoted
    assert book.volume("C1", "2024-07") == 270


def test_without_a_schedule_the_answer_names_client_currency_and_date_and_nothing_is_booked() -> None:
    book = fee_book(schedule(line(("0", "1", "0")), client="C2"))
    before = msgspec.msgpack.encode(book)
    missing = NoFeeSchedule("C1", USD, "2024-07-08")
    assert book.quote(execution("E1", "90")) == missing
    assert book.book(execution("E1", "90")) == missing
    assert msgspec.msgpack.encode(book) == before


def test_a_bust_gives_the_commission_back_and_what_the_minimum_still_asks_moves_to_the_rest() -> None:
    book = fee_book(PER_SHARE)
    assert [owed(book.book(execution(key, "90"))) for key in ("E1", "E2", "E3")] == [1, 0, D("0.35")]
    changed = book.bust("O1", "E1")
    assert [(row.key, row.before.total, row.charge.total) for row in changed] == [
        ("E2", ZERO, ONE),
        ("E3", D("0.35"), ZERO),
    ]
    assert [row.key for row in book.bust("O1", "E2")] == ["E3"]
    assert book.bust("O1", "E3") == []
    assert book.tickets == {}
    assert book.volume("C1", "2024-07") == 0


def test_a_correction_computes_the_fees_of_its_ticket_again() -> None:
    book = fee_book(PER_SHARE)
    book.book(execution("E1", "1000", side=SELL))
    (change,) = book.correct("O1", "E1", D(500), D(60))
    assert change.before.total == D("5") + D("1.39") + D("0.17")
    assert change.charge.fees == ((COMMISSION, D("2.5")), ("SEC_31", D("0.83")), ("FINRA_TAF", D("0.08")))
    assert book.volume("C1", "2024-07") == 500
    assert book.correct("O1", "E1", ZERO, D(60)) == []
    with pytest.raises(ValueError, match="negative quantity"):
        book.correct("O1", "E1", D(-1), D(60))


def test_an_unknown_execution_or_a_closed_order_is_refused_by_name() -> None:
    book = fee_book(PER_SHARE)
    book.book(execution("E1", "90"))
    with pytest.raises(ValueError, match="'E2' in order 'O1'"):
        book.bust("O1", "E2")
    book.close("O1")
    with pytest.raises(ValueError, match="'E1' in order 'O1'"):
        book.correct("O1", "E1", ONE, ONE)
    assert book.volume("C1", "2024-07") == 90


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (TicketScope.ORDER, [1, 0, D("0.35")]),
        (TicketScope.ORDER_DAY, [1, 0, 1]),
        (TicketScope.EXECUTION, [1, 1, 1]),
    ],
)
def test_the_minimum_applies_to_the_order_its_day_or_the_execution(
    scope: TicketScope, expected: list[Decimal]
) -> None:
    book = fee_book(msgspec.structs.replace(PER_SHARE, scope=scope))
    days = ("2024-07-08", "2024-07-08", "2024-07-09")
    charged = [owed(book.book(execution(f"E{n}", "90", on=on))) for n, on in enumerate(days)]
    assert charged == expected


def test_a_tier_is_reached_by_the_volume_of_the_month_and_begins_again_with_the_next() -> None:
    rates = schedule(line(("0", "0.01", "0"), ("1000", "0.001", "0")))
    book = fee_book(rates)
    days = ("2024-07-30", "2024-07-31", "2024-08-01")
    charged = [owed(book.book(execution(f"E{n}", "1000", on=on))) for n, on in enumerate(days)]
    assert charged == [10, 1, 10]
    book.forget_months_before("2024-08")
    assert book.volume("C1", "2024-07") == 0
    assert book.volume("C1", "2024-08") == 1000


def test_an_order_keeps_the_schedule_of_its_first_execution() -> None:
    later = schedule(line(("0", "1", "0")), schedule_id="S2", effective_from="2024-07-09")
    book = fee_book(schedule(line(("0", "0.01", "0"))), later)
    assert owed(book.book(execution("E1", "100"))) == 1
    assert owed(book.book(execution("E2", "100", on="2024-07-09"))) == 1
    assert owed(book.book(execution("E3", "100", order="O2", on="2024-07-09"))) == 100


def test_a_schedule_id_is_never_given_other_content() -> None:
    book = fee_book(PER_SHARE)
    book.add_schedule(PER_SHARE)
    with pytest.raises(ValueError, match="another schedule has this id"):
        book.add_schedule(msgspec.structs.replace(PER_SHARE, minimum=None))


steps = st.lists(
    st.tuples(
        st.sampled_from(["book", "bust", "correct"]), st.integers(1, 900), st.integers(1, 9999), st.booleans()
    ),
    max_size=20,
)


@settings(deadline=None)
@given(steps, st.sampled_from(list(TicketScope)))
def test_after_busts_and_corrections_fees_are_as_if_the_executions_had_always_been_so(
    script: list[tuple[str, int, int, bool]], scope: TicketScope
) -> None:
    rates = msgspec.structs.replace(PER_SHARE, scope=scope)
    book, fees = fee_book(rates), dict[str, Decimal]()
    live: list[Priced] = []
    for number, (action, qty, cents, sells) in enumerate(script):
        if action == "book" or not live:
            new = execution(f"E{number}", str(qty), str(D(cents).scaleb(-2)), side=SELL if sells else BUY)
            live.append(new)
            fees[new.key] = owed(book.book(new))
            continue
        index = qty % len(live)
        old = live[index]
        if action == "bust":
            changes = book.bust("O1", old.key)
            del live[index], fees[old.key]
        else:
            live[index] = msgspec.structs.replace(old, qty=D(qty), px=D(cents).scaleb(-2))
            changes = book.correct("O1", old.key, D(qty), D(cents).scaleb(-2))
        for change in changes:
            assert fees[change.key] == change.before.total
            fees[change.key] = change.charge.total
    fresh = fee_book(rates)
    assert fees == {row.key: owed(fresh.book(row)) for row in live}
    assert book.volume("C1", "2024-07") == fresh.volume("C1", "2024-07")
    state = msgspec.msgpack.encode(book)
    assert msgspec.msgpack.decode(state, type=FeeBook) == book


def test_the_book_takes_a_clients_own_schedule_before_the_one_for_every_client() -> None:
    everyones = schedule(line(("0", "1", "0")), schedule_id="all")
    own = schedule(line(("0", "0.5", "0")), schedule_id="own", client="C1", effective_from="2024-07-09")
    others = [schedule(line(("0", "9", "0")), schedule_id=f"S-{n}", client=f"X{n}") for n in range(3)]
    book = fee_book(*others, own, everyones)
    assert owed(book.book(execution("E1", "100"))) == 100
    assert owed(book.book(execution("E2", "100", order="O2", on="2024-07-09"))) == 50
