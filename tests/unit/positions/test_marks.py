"""Marks: which price values a position, by which policy, and what is said when there is none."""

from decimal import Context, Decimal, localcontext

import msgspec
import pytest

from qtinfra.core.decimals import ONE, ZERO, exact
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.positions.book import CostMethod, Position, PositionBook
from qtinfra.positions.marks import (
    DEFAULT_POLICY,
    Mark,
    MarkedPnl,
    MarkInputs,
    MarkPolicy,
    MarkRule,
    MarkSource,
    NoMark,
    NoMarkReason,
    Observed,
    mark,
    marked_pnl,
)

pytestmark = pytest.mark.unit

D = Decimal
SECOND_NS = 1_000_000_000
NOW_NS = 1_720_000_000 * SECOND_NS
MID, LAST, CLOSE, MANUAL = MarkSource.MID, MarkSource.LAST, MarkSource.CLOSE, MarkSource.MANUAL


def ago(seconds: int) -> int:
    return NOW_NS - seconds * SECOND_NS


def quote(venue: str, bid: str | None, ask: str | None, seconds: int = 0, live: bool = True) -> VenueQuote:
    bids = () if bid is None else ((D(bid), D(100)),)
    asks = () if ask is None else ((D(ask), D(100)),)
    return VenueQuote(venue, bids, asks, ago(seconds), live)


def seen(*quotes: VenueQuote, **prices: tuple[str, int]) -> MarkInputs:
    """Quotes, and other prices as (price, seconds ago)."""
    book = ConsolidatedBook("SYM", quotes) if quotes else None
    observed = {name: Observed(D(px), ago(seconds)) for name, (px, seconds) in prices.items()}
    return MarkInputs("SYM", book, **observed)


def only(source: MarkSource, max_age_s: int | None = None) -> MarkPolicy:
    limit = None if max_age_s is None else max_age_s * SECOND_NS
    return MarkPolicy((MarkRule(source, limit),))


def why(inputs: MarkInputs, policy: MarkPolicy) -> tuple[tuple[MarkSource, NoMarkReason], ...]:
    found = mark(inputs, policy, NOW_NS)
    assert isinstance(found, NoMark)
    assert found.symbol == "SYM"
    return found.reasons


def test_the_mid_is_of_the_best_bid_and_offer_over_all_live_venues_and_as_old_as_the_older_one() -> None:
    inputs = seen(
        quote("XNAS", "9.99", "10.03", seconds=5),
        quote("XNYS", "10.00", "10.05", seconds=2),
        quote("BATS", "10.02", "10.02", live=False),
    )
    assert mark(inputs, only(MID), NOW_NS) == Mark(D("10.015"), MID, 5 * SECOND_NS)


def test_of_two_venues_at_the_best_price_the_fresher_one_gives_its_age() -> None:
    inputs = seen(quote("XNAS", "10", "11", seconds=9), quote("XNYS", "10", "11", seconds=3))
    assert mark(inputs, only(MID), NOW_NS) == Mark(D("10.5"), MID, 3 * SECOND_NS)


def test_a_quiet_quote_of_a_live_feed_is_a_mark_unless_the_policy_limits_its_age() -> None:
    inputs = seen(quote("XNAS", "10", "11", seconds=3600))
    assert isinstance(mark(inputs, only(MID), NOW_NS), Mark)
    assert why(inputs, only(MID, 3599)) == ((MID, NoMarkReason.STALE),)


@pytest.mark.parametrize(
    ("quotes", "reason"),
    [
        ((), NoMarkReason.ABSENT),
        ((quote("XNAS", "10", "11", live=False),), NoMarkReason.NOT_LIVE),
        ((quote("XNAS", "10", None),), NoMarkReason.ONE_SIDED),
        ((quote("XNAS", "10", None), quote("XNYS", "9", "11", live=False)), NoMarkReason.ONE_SIDED),
        ((quote("XNAS", None, None),), NoMarkReason.ONE_SIDED),
        ((quote("XNAS", "10.01", "10.02"), quote("XNYS", "9", "10.00")), NoMarkReason.CROSSED),
    ],
)
def test_no_mid_is_made_up_from_quotes_that_give_none(
    quotes: tuple[VenueQuote, ...], reason: NoMarkReason
) -> None:
    assert why(seen(*quotes), only(MID)) == ((MID, reason),)


def test_a_locked_market_has_a_mid() -> None:
    inputs = seen(quote("XNAS", "10", "10.5"), quote("XNYS", "9", "10"))
    assert mark(inputs, only(MID), NOW_NS) == Mark(D(10), MID, 0)


@pytest.mark.parametrize(("source", "name"), [(LAST, "last"), (CLOSE, "close"), (MANUAL, "manual")])
def test_a_price_counts_up_to_its_age_limit_and_not_beyond(source: MarkSource, name: str) -> None:
    inputs = seen(**{name: ("-37.63", 60)})
    assert mark(inputs, only(source, 60), NOW_NS) == Mark(D("-37.63"), source, 60 * SECOND_NS)
    assert why(inputs, only(source, 59)) == ((source, NoMarkReason.STALE),)
    assert why(seen(), only(source)) == ((source, NoMarkReason.ABSENT),)


def test_the_first_source_with_a_fresh_price_gives_the_mark() -> None:
    everything = seen(quote("XNAS", "10", "11"), last=("12", 60), close=("13", 3600), manual=("14", 10**6))
    steps = [
        (everything, Mark(D("10.5"), MID, 0)),
        (msgspec.structs.replace(everything, book=None), Mark(D(12), LAST, 60 * SECOND_NS)),
        (seen(last=("12", 901), close=("13", 3600)), Mark(D(13), CLOSE, 3600 * SECOND_NS)),
        (seen(close=("13", 432_001), manual=("14", 10**6)), Mark(D(14), MANUAL, 10**6 * SECOND_NS)),
    ]
    for inputs, expected in steps:
        assert mark(inputs, DEFAULT_POLICY, NOW_NS) == expected


def test_a_policy_may_let_staff_override_the_market() -> None:
    policy = MarkPolicy((MarkRule(MANUAL), MarkRule(MID)))
    inputs = seen(quote("XNAS", "10", "11"), manual=("14", 9))
    assert mark(inputs, policy, NOW_NS) == Mark(D(14), MANUAL, 9 * SECOND_NS)


def test_without_a_mark_the_answer_says_for_each_source_why() -> None:
    assert why(seen(quote("XNAS", "10", None), last=("12", 901)), DEFAULT_POLICY) == (
        (MID, NoMarkReason.ONE_SIDED),
        (LAST, NoMarkReason.STALE),
        (CLOSE, NoMarkReason.ABSENT),
        (MANUAL, NoMarkReason.ABSENT),
    )


def test_a_price_from_a_clock_ahead_of_ours_has_age_zero() -> None:
    assert mark(seen(last=("12", -5)), only(LAST, 0), NOW_NS) == Mark(D(12), LAST, 0)


def test_a_policy_is_data_that_survives_the_journal() -> None:
    encoded = msgspec.msgpack.encode(DEFAULT_POLICY)
    assert msgspec.msgpack.decode(encoded, type=MarkPolicy) == DEFAULT_POLICY


def test_the_mid_is_exact_whatever_the_context_of_the_reader() -> None:
    inputs = seen(quote("XNAS", "123456789.123456789", "123456789.123456790"))
    with localcontext(Context(prec=5)):
        found = mark(inputs, only(MID), NOW_NS)
    assert found == Mark(D("123456789.1234567895"), MID, 0)


# --- positions by policy ---------------------------------------------------------------------------------


def holding(*trades: tuple[str, str]) -> Position:
    book = PositionBook()
    with exact():
        for number, (qty, px) in enumerate(trades):
            book.apply("ACC", "SYM", f"T{number}", D(qty), D(px), ZERO, "2024-07-08", ONE)
    position = book.get("ACC", "SYM")
    assert position is not None
    return position


def test_unrealised_profit_is_at_the_mark_and_the_line_says_which_mark() -> None:
    found = marked_pnl(holding(("100", "10"), ("100", "12")), seen(last=("13", 1)), DEFAULT_POLICY, NOW_NS)
    assert isinstance(found, MarkedPnl)
    assert found.mark == Mark(D(13), LAST, SECOND_NS)
    assert (found.line.mark, found.line.unrealised, found.line.net) == (D(13), D(400), D(400))


def test_the_cost_method_divides_the_same_total_otherwise() -> None:
    position = holding(("100", "10"), ("100", "12"), ("-100", "13"))
    inputs = seen(close=("12", 1))
    lines = [marked_pnl(position, inputs, DEFAULT_POLICY, NOW_NS, method) for method in CostMethod]
    shown = [(found.line.realised, found.line.unrealised) for found in lines if isinstance(found, MarkedPnl)]
    assert shown == [(D(200), D(100)), (D(300), ZERO)]


def test_a_position_without_a_mark_has_no_unrealised_profit_rather_than_a_wrong_one() -> None:
    assert isinstance(marked_pnl(holding(("1", "10")), seen(), DEFAULT_POLICY, NOW_NS), NoMark)


def test_a_flat_position_shows_what_it_has_earned_with_or_without_a_mark() -> None:
    position = holding(("1", "10"), ("-1", "12"))
    without = marked_pnl(position, seen(), DEFAULT_POLICY, NOW_NS)
    marked = marked_pnl(position, seen(last=("99", 1)), DEFAULT_POLICY, NOW_NS)
    assert isinstance(without, MarkedPnl)
    assert isinstance(marked, MarkedPnl)
    assert without.mark is None
    assert (without.line.realised, without.line.unrealised) == (marked.line.realised, ZERO)
