"""Cash, conversion and base-currency P&L: worked examples, then the identities that tie them to positions."""

from collections.abc import Iterator
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.decimals import ONE, ZERO, exact
from qtinfra.core.models import Currency, Money
from qtinfra.positions.base_pnl import BasePnl, PnlLedger, RealisedAt
from qtinfra.positions.book import PositionBook, unrealised
from qtinfra.positions.cash import CashBalance, CashLedger, Flow, proceeds
from qtinfra.positions.fx import Conversion, MissingRate, conversion, convert, pair

pytestmark = pytest.mark.unit

D = Decimal
USD, EUR, JPY, GBP, CHF = Currency.USD, Currency.EUR, Currency.JPY, Currency.GBP, Currency.CHF
RATES = {"EUR/USD": D("1.08"), "USD/JPY": D("160"), "GBP/USD": D("1.25")}


@pytest.fixture(autouse=True)
def _exact_context() -> Iterator[None]:
    with exact():
        yield


def eur(amount: str) -> Money:
    return Money(D(amount), EUR)


def usd(amount: str) -> Money:
    return Money(D(amount), USD)


# --- conversion ------------------------------------------------------------------------------------------


def test_a_direct_rate_multiplies_and_is_exact() -> None:
    assert convert(RATES, eur("100.01"), USD) == usd("108.0108")


def test_an_inverse_rate_divides_and_rounds_half_even_to_eight_places() -> None:
    assert convert(RATES, usd("100"), EUR) == eur("92.59259259")


def test_a_cross_goes_through_the_dollar_and_rounds_once() -> None:
    assert convert(RATES, eur("100"), JPY) == Money(D(17280), JPY)
    assert convert(RATES, eur("100"), GBP) == Money(D("86.4"), GBP)
    assert convert(RATES, Money(D(1000), JPY), GBP) == Money(D(5), GBP)
    assert convert(RATES, Money(D(1), JPY), EUR) == eur("0.00578704")


def test_the_direct_rate_goes_before_the_inverse_and_both_before_the_cross() -> None:
    rates = RATES | {"EUR/JPY": D(170), "JPY/EUR": D("0.006")}
    assert conversion(rates, EUR, JPY) == Conversion(EUR, JPY, D(170), ONE)
    assert conversion(rates, JPY, EUR) == Conversion(JPY, EUR, D("0.006"), ONE)
    del rates["JPY/EUR"]
    assert conversion(rates, JPY, EUR) == Conversion(JPY, EUR, ONE, D(170))


def test_a_missing_rate_is_an_answer_that_names_the_pair() -> None:
    missing = convert(RATES, eur("1"), CHF)
    assert missing == MissingRate(EUR, CHF)
    assert isinstance(missing, MissingRate)
    assert missing.pair == pair(EUR, CHF) == "EUR/CHF"
    assert convert({}, usd("1"), EUR) == MissingRate(USD, EUR)


def test_the_same_currency_and_an_amount_of_zero_need_no_rate() -> None:
    assert convert({}, eur("3.5"), EUR) == eur("3.5")
    assert convert({}, eur("0"), CHF) == Money(ZERO, CHF)


amounts = st.integers(-(10**12), 10**12).map(lambda n: D(n).scaleb(-2))
rate_values = st.integers(1, 10**7).map(lambda n: D(n).scaleb(-4))


@given(amounts, rate_values, rate_values)
def test_a_conversion_is_the_correctly_rounded_product_whatever_the_context_of_the_reader(
    amount: Decimal, first: Decimal, second: Decimal
) -> None:
    rates = {"EUR/USD": first, "GBP/USD": second}
    with localcontext(Context(prec=5)):
        found = convert(rates, Money(amount, EUR), GBP)
    assert isinstance(found, Money)
    assert Fraction(found.amount) == round(Fraction(amount) * Fraction(first) / Fraction(second), 8)


# --- the cash ledger -------------------------------------------------------------------------------------


def test_a_balance_is_the_opening_plus_every_flow_each_kind_kept_apart() -> None:
    ledger = CashLedger()
    ledger.load("ACC", usd("1000"))
    ledger.post("ACC", proceeds(D(10), D("25.5"), ONE, USD), Flow.TRADE)
    ledger.post("ACC", usd("-1.25"), Flow.FEE)
    ledger.post("ACC", usd("3"), Flow.INCOME)
    ledger.post("ACC", usd("-100"), Flow.TRANSFER)
    ledger.exchange("ACC", usd("108"), eur("100"))
    assert ledger.balance("ACC", USD) == usd("538.75")
    assert ledger.balance("ACC", EUR) == eur("100")
    assert ledger.accounts["ACC"][USD] == CashBalance(
        D(1000), D(-255), D("-1.25"), D(-100), D(3), D(-108), posted=5
    )
    assert list(ledger.balances("ACC")) == [usd("538.75"), eur("100")]


def test_an_account_or_currency_that_never_had_cash_has_none() -> None:
    ledger = CashLedger()
    assert ledger.balance("ACC", JPY) == Money(ZERO, JPY)
    assert list(ledger.balances("ACC")) == []
    assert ledger.accounts == {}


def test_a_sale_brings_cash_a_purchase_takes_it_and_the_multiplier_counts() -> None:
    assert proceeds(D(-10), D("25.5"), ONE, USD) == usd("255")
    assert proceeds(D(2), D("1.5"), D(100), USD) == usd("-300")


def test_start_of_day_cash_is_replaced_until_cash_moves_and_then_stands() -> None:
    ledger = CashLedger()
    ledger.load("ACC", usd("1000"))
    ledger.load("ACC", usd("900"))
    ledger.post("ACC", usd("1"), Flow.TRANSFER)
    with pytest.raises(ValueError, match="USD cash of ACC has moved"):
        ledger.load("ACC", usd("1000"))
    ledger.load("ACC", eur("5"))
    assert ledger.balance("ACC", USD) == usd("901")


def test_the_next_day_begins_with_the_balances_of_the_last_one() -> None:
    ledger = CashLedger()
    ledger.load("ACC", usd("1000"))
    ledger.post("ACC", usd("-400"), Flow.TRADE)
    ledger.roll()
    assert ledger.accounts["ACC"][USD] == CashBalance(D(600))
    ledger.load("ACC", usd("601"))
    assert ledger.balance("ACC", USD) == usd("601")


@pytest.mark.parametrize(
    ("sold", "bought"), [(usd("0"), eur("1")), (usd("1"), eur("-1")), (usd("1"), usd("1"))]
)
def test_an_exchange_needs_two_positive_amounts_in_two_currencies(sold: Money, bought: Money) -> None:
    ledger = CashLedger()
    with pytest.raises(ValueError, match="not an exchange of currencies"):
        ledger.exchange("ACC", sold, bought)
    assert ledger.accounts == {}


# --- profit in the base currency -------------------------------------------------------------------------


def opened(policy: RealisedAt = RealisedAt.TRADE_TIME) -> PnlLedger:
    ledger = PnlLedger()
    ledger.open("ACC", USD, policy)
    return ledger


def read(ledger: PnlLedger, rates: dict[str, Decimal], **open_profit: str) -> BasePnl:
    found = ledger.read("ACC", {Currency(code): D(text) for code, text in open_profit.items()}, rates)
    assert isinstance(found, BasePnl)
    assert found.net == found.realised + found.unrealised - found.fees + found.fx
    return found


def at(rate: str) -> dict[str, Decimal]:
    return {"EUR/USD": D(rate)}


def test_realised_profit_keeps_the_rate_of_the_trade_and_what_the_rate_does_later_is_fx() -> None:
    ledger = opened()
    assert ledger.contribute("ACC", eur("10000"), at("1.10")) is None
    assert ledger.earn("ACC", eur("500"), at("1.12")) is None
    assert ledger.charge("ACC", eur("10"), at("1.12")) is None
    line = read(ledger, at("1.20"), EUR="200")
    assert (line.realised, line.fees, line.unrealised) == (D(560), D("11.2"), D(240))
    assert line.fx == 10_000 * D("0.10") + 490 * D("0.08")
    assert line.net == (10_000 + 500 - 10 + 200) * D("1.20") - 10_000 * D("1.10")


def test_by_the_other_policy_realised_profit_takes_the_rate_of_the_end_of_its_day() -> None:
    ledger = opened(RealisedAt.END_OF_DAY)
    ledger.earn("ACC", eur("500"), at("1.12"))
    ledger.charge("ACC", eur("10"), at("1.12"))
    assert read(ledger, at("1.15")).realised == 575
    assert read(ledger, at("1.15")).fx == 0
    assert ledger.end_of_day(at("1.14")) == []
    line = read(ledger, at("1.20"))
    assert (line.realised, line.fees, line.fx) == (D(570), D("11.4"), D("29.4"))


def test_the_base_currency_itself_has_no_fx_profit_and_needs_no_rate() -> None:
    for policy in RealisedAt:
        ledger = opened(policy)
        ledger.contribute("ACC", usd("1000"), {})
        ledger.earn("ACC", usd("50"), {})
        ledger.charge("ACC", usd("1"), {})
        assert read(ledger, {}, USD="7") == BasePnl(USD, D(50), D(7), D(1), ZERO, D(56))


def test_capital_without_a_rate_is_refused_by_pair_and_changes_nothing() -> None:
    ledger = opened()
    before = msgspec.msgpack.encode(ledger)
    assert ledger.contribute("ACC", eur("1"), {}) == MissingRate(EUR, USD)
    assert ledger.exchange("ACC", eur("1"), usd("1"), {}) == MissingRate(EUR, USD)
    assert msgspec.msgpack.encode(ledger) == before


def test_profit_without_a_rate_is_kept_and_converted_when_the_day_ends_with_one() -> None:
    ledger = opened()
    assert ledger.earn("ACC", eur("500"), {}) == MissingRate(EUR, USD)
    assert ledger.charge("ACC", eur("1"), {}) == MissingRate(EUR, USD)
    assert ledger.read("ACC", {}, {}) == MissingRate(EUR, USD)
    assert ledger.end_of_day({}) == [("ACC", MissingRate(EUR, USD))]
    assert ledger.end_of_day(at("1.10")) == []
    assert read(ledger, at("1.10")) == BasePnl(USD, D(550), ZERO, D("1.1"), ZERO, D("548.9"))


def test_open_profit_in_a_currency_without_a_rate_gives_no_total() -> None:
    ledger = opened()
    ledger.contribute("ACC", usd("1"), {})
    assert ledger.read("ACC", {CHF: ONE}, {}) == MissingRate(CHF, USD)
    assert ledger.read("ACC", {CHF: ZERO}, {}) == BasePnl(USD, ZERO, ZERO, ZERO, ZERO, ZERO)


def test_an_exchange_at_the_journaled_rate_earns_nothing_and_away_from_it_fx() -> None:
    ledger = opened()
    ledger.contribute("ACC", eur("1000"), at("1.10"))
    ledger.exchange("ACC", eur("400"), usd("480"), at("1.20"))
    assert read(ledger, at("1.20")).fx == 100
    ledger.exchange("ACC", eur("100"), usd("119"), at("1.20"))
    assert read(ledger, at("1.20")).fx == 99


def test_an_account_is_in_one_base_currency_at_one_policy() -> None:
    ledger = opened()
    ledger.open("ACC", USD)
    with pytest.raises(ValueError, match="P&L of ACC is in USD"):
        ledger.open("ACC", EUR)
    with pytest.raises(KeyError):
        ledger.earn("OTHER", eur("1"), at("1.1"))


# --- the identity with positions and cash ----------------------------------------------------------------

quantities = st.integers(-300, 300).filter(bool).map(D)
prices = st.integers(1, 10_000).map(lambda n: D(n).scaleb(-2))
rate_steps = st.integers(9000, 13_000).map(lambda n: D(n).scaleb(-4))
moves = st.lists(
    st.tuples(st.sampled_from(["trade", "trade", "bust", "pay", "day"]), quantities, prices, rate_steps),
    max_size=15,
)


class Day:
    """One account trading in euro, seen by the position book, the cash ledger and the P&L ledger."""

    def __init__(self, policy: RealisedAt, cash: Decimal, qty: Decimal, px: Decimal, rate: Decimal) -> None:
        self.book, self.cash, self.pnl = PositionBook(), CashLedger(), opened(policy)
        self.rate, self.capital_base = rate, ZERO
        self.cash.load("ACC", Money(cash, EUR))
        self.book.load("ACC", "SYM", qty, px, ONE)
        self.contribute(cash)
        self.contribute(qty * px)
        self.live: list[tuple[str, Decimal, Decimal]] = []
        self.fee = D("0.35")

    def contribute(self, amount: Decimal) -> None:
        self.pnl.contribute("ACC", Money(amount, EUR), self.rates)
        self.capital_base += amount * self.rate

    @property
    def rates(self) -> dict[str, Decimal]:
        return {"EUR/USD": self.rate}

    @property
    def realised(self) -> Decimal:
        position = self.book.get("ACC", "SYM")
        return ZERO if position is None else position.realised

    def move(self, kind: str, qty: Decimal, px: Decimal, rate: Decimal, number: int) -> None:
        self.rate, before = rate, self.realised
        if kind == "pay":
            self.cash.post("ACC", Money(qty, EUR), Flow.TRANSFER)
            self.contribute(qty)
        elif kind == "day":
            self.pnl.end_of_day(self.rates)
        elif kind == "bust" and self.live:
            key, old_qty, old_px = self.live.pop(int(abs(qty)) % len(self.live))
            self.book.bust("ACC", "SYM", key)
            self.settle(-old_qty, old_px, -self.fee, before)
        else:
            self.live.append((f"T{number}", qty, px))
            self.book.apply("ACC", "SYM", f"T{number}", qty, px, self.fee, "2024-07-08", ONE)
            self.settle(qty, px, self.fee, before)

    def settle(self, qty: Decimal, px: Decimal, fee: Decimal, before: Decimal) -> None:
        self.cash.post("ACC", proceeds(qty, px, ONE, EUR), Flow.TRADE)
        self.cash.post("ACC", Money(-fee, EUR), Flow.FEE)
        self.pnl.earn("ACC", Money(self.realised - before, EUR), self.rates)
        self.pnl.charge("ACC", Money(fee, EUR), self.rates)


@settings(deadline=None)
@given(st.sampled_from(list(RealisedAt)), amounts, quantities, prices, rate_steps, moves, prices)
def test_realised_unrealised_fees_and_fx_sum_to_the_change_of_what_the_account_is_worth(
    policy: RealisedAt,
    cash: Decimal,
    qty: Decimal,
    px: Decimal,
    rate: Decimal,
    script: list[tuple[str, Decimal, Decimal, Decimal]],
    mark: Decimal,
) -> None:
    day = Day(policy, cash, qty, px, rate)
    for number, (kind, amount, price, now) in enumerate(script):
        day.move(kind, amount, price, now, number)
    position = day.book.get("ACC", "SYM")
    assert position is not None
    line = day.pnl.read("ACC", {EUR: unrealised(position, mark)}, day.rates)
    assert isinstance(line, BasePnl)
    worth = day.cash.balance("ACC", EUR).amount + position.qty * mark
    assert line.net == worth * day.rate - day.capital_base
    assert line.unrealised == unrealised(position, mark) * day.rate
    if all(now == rate for _, _, _, now in script):
        assert line.fx == 0
        assert line.realised == position.realised * rate


@settings(deadline=None)
@given(st.sampled_from(list(RealisedAt)), amounts, quantities, prices, rate_steps, moves)
def test_ledgers_that_were_encoded_and_decoded_are_equal(
    policy: RealisedAt,
    cash: Decimal,
    qty: Decimal,
    px: Decimal,
    rate: Decimal,
    script: list[tuple[str, Decimal, Decimal, Decimal]],
) -> None:
    day = Day(policy, cash, qty, px, rate)
    for number, (kind, amount, price, now) in enumerate(script):
        day.move(kind, amount, price, now, number)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(day.pnl), type=PnlLedger) == day.pnl
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(day.cash), type=CashLedger) == day.cash


def test_reading_profit_is_exact_whatever_the_context_of_the_reader() -> None:
    ledger = opened()
    ledger.contribute("ACC", eur("123456789012.34"), at("1.1"))
    ledger.charge("ACC", eur("1.2345678901"), at("1.1"))
    expected = read(ledger, at("1.23456789"), EUR="123.456789")
    with localcontext(Context(prec=5)):
        found = ledger.read("ACC", {EUR: D("123.456789")}, at("1.23456789"))
    assert found == expected
