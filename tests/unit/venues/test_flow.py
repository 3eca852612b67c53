"""The synthetic market: the same in every process, populated, uncrossed, and alive in the expected ways."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise

import pytest
from msgspec.structs import replace

from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import ReportKind, VenueCancel, VenueNewOrder, VenueReport
from qtinfra.venues.simulated.flow import (
    MIN_LEVELS,
    NS,
    US_INSTRUMENTS,
    US_VENUES,
    SyntheticInstrument,
    SyntheticMarket,
    SyntheticVenue,
)
from qtinfra.venues.simulated.model import SimulatedMarket
from tests.support.requirements import REPO_ROOT

pytestmark = pytest.mark.unit

OPEN_NS = 1_720_445_400 * NS  # 2024-07-08 13:30 UTC
LIQUID = SyntheticInstrument("AAA", Decimal("50.00"), 0.02, 10_000_000)
PEER = SyntheticInstrument("BBB", Decimal("120.00"), 0.02, 5_000_000, 2, market_loading=0.9)
CONTRARY = SyntheticInstrument("CCC", Decimal("80.00"), 0.02, 5_000_000, 3, market_loading=-0.9)


def market_of(*instruments: SyntheticInstrument, seed: int = 7, minutes: int = 10) -> SyntheticMarket:
    return SyntheticMarket(
        seed,
        instruments,
        US_VENUES,
        open_ns=OPEN_NS,
        close_ns=OPEN_NS + minutes * 60 * NS,
        trade_date="2024-07-08",
    )


def run(
    market: SimulatedMarket, each: Callable[[int], None] | None = None, until_ns: int | None = None
) -> list[VenueReport]:
    """Step to the end, or up to a time; `each` is called after every event with its time."""
    reports: list[VenueReport] = []
    while (now_ns := market.next_ns()) is not None and (until_ns is None or now_ns <= until_ns):
        reports += market.step()
        if each is not None:
            each(now_ns)
    return reports


def order(
    mic: str, cl_ord_id: str, side: OrderSide, price: Decimal | None, qty: int = 100, symbol: str = "AAA"
) -> VenueNewOrder:
    kind = OrderType.MARKET if price is None else OrderType.LIMIT
    return VenueNewOrder(mic, cl_ord_id, symbol, side, kind, TimeInForce.DAY, Decimal(qty), price)


def touch(market: SyntheticMarket, mic: str, symbol: str) -> tuple[Decimal, Decimal]:
    quote = market.sessions[mic].model.quote(symbol, 0)
    assert quote is not None
    return quote.bids[0][0], quote.asks[0][0]


def mid(market: SyntheticMarket, symbol: str) -> Decimal:
    return sum(touch(market, "XNAS", symbol), Decimal(0)) / 2


def fingerprint(seed: int) -> str:
    """A hash over every quote, every report and every event time of a session in which we trade too."""
    market = market_of(LIQUID, PEER, CONTRARY, seed=seed, minutes=2)
    seen = hashlib.sha256()
    for number, mic in enumerate(market.sessions):
        for side in (OrderSide.BUY, OrderSide.SELL):
            market.sessions[mic].submit(order(mic, f"{number}{side}", side, mid(market, "AAA")), OPEN_NS)

    def note(now_ns: int) -> None:
        quotes = [
            s.model.quote(symbol, now_ns) for s in market.sessions.values() for symbol in market.symbols
        ]
        seen.update(repr((now_ns, quotes)).encode())

    seen.update(repr(run(market, note)).encode())
    return seen.hexdigest()


# determinism


def test_the_same_seed_gives_the_same_events_in_a_process_with_another_hash_seed() -> None:
    script = "from tests.unit.venues.test_flow import fingerprint as f; import sys; sys.stdout.write(f(11))"
    for hash_seed in ("1", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": "Asia/Tokyo", "PYTHONPATH": "src:."}
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=REPO_ROOT, env=environment, capture_output=True, check=True
        )
        assert done.stdout.decode() == fingerprint(11)


def test_another_seed_gives_another_market() -> None:
    assert fingerprint(11) != fingerprint(12)


def test_our_orders_do_not_change_when_others_come() -> None:
    def times(ours: bool) -> list[int]:
        market, seen = market_of(LIQUID, minutes=2), list[int]()
        if ours:
            market.sessions["XNAS"].submit(order("XNAS", "a", OrderSide.BUY, None, 100_000), OPEN_NS)
        run(market, seen.append)
        return seen

    assert times(ours=True) == times(ours=False)


# time


def test_events_come_in_time_order_within_the_session_and_end_with_the_close() -> None:
    times: list[int] = []
    market = market_of(LIQUID, minutes=2)
    run(market, times.append)
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert times[0] > OPEN_NS
    assert times[-1] == OPEN_NS + 120 * NS
    assert market.next_ns() is None
    assert market.step() == []


def test_trading_is_busier_in_the_first_and_last_half_hour_than_at_midday() -> None:
    quiet = SyntheticInstrument("AAA", Decimal("50.00"), 0.0, 150_000)
    market = market_of(quiet, minutes=390)
    volume, arrivals = Counter[int](), Counter[int]()
    before = 0

    def note(now_ns: int) -> None:
        nonlocal before
        half_hour = (now_ns - OPEN_NS) // (1_800 * NS)
        total = sum(venue.book("AAA").traded_units for venue in market.matching.values())
        volume[half_hour] += total - before
        arrivals[half_hour] += now_ns % (NS // 2) != 0
        before = total

    run(market, note)
    middle = (5, 6, 7)
    assert (arrivals[0] + arrivals[12]) / 2 > 1.8 * sum(arrivals[part] for part in middle) / 3
    assert (volume[0] + volume[12]) / 2 > 1.3 * sum(volume[part] for part in middle) / 3
    assert 75_000 < sum(volume.values()) < 300_000


# books


def test_books_are_never_crossed_or_empty_and_show_five_levels() -> None:
    market = market_of(LIQUID, PEER, CONTRARY, minutes=5)

    def check(now_ns: int) -> None:
        for venue in market.matching.values():
            for symbol in market.symbols:
                quote = venue.quote(symbol, now_ns)
                assert quote is not None
                assert len(quote.bids) == len(quote.asks) == MIN_LEVELS
                assert quote.bids[0][0] < quote.asks[0][0]

    check(OPEN_NS)
    run(market, check)


def test_the_consolidated_market_is_not_crossed_while_only_others_trade() -> None:
    market = market_of(LIQUID, CONTRARY, minutes=5)

    def check(_: int) -> None:
        for symbol in market.symbols:
            touches = [touch(market, mic, symbol) for mic in market.sessions]
            assert max(bid for bid, _ in touches) < min(ask for _, ask in touches)

    run(market, check)


@pytest.mark.parametrize(
    "instrument", [LIQUID, PEER, CONTRARY], ids=lambda item: f"{item.spread_ticks} ticks"
)
def test_spreads_are_mostly_as_specified_on_every_venue(instrument: SyntheticInstrument) -> None:
    market = market_of(instrument, minutes=10)
    spreads: dict[str, list[int]] = {mic: [] for mic in market.sessions}

    def note(_: int) -> None:
        for mic, seen in spreads.items():
            bid, ask = touch(market, mic, instrument.symbol)
            seen.append(int((ask - bid) / instrument.tick))

    run(market, note)
    for seen in spreads.values():
        ordered = sorted(seen)
        assert abs(ordered[len(ordered) // 2] - instrument.spread_ticks) <= 1
        assert sum(seen) / len(seen) < instrument.spread_ticks + 1.5
        assert ordered[len(ordered) * 99 // 100] < instrument.spread_ticks + 12


def test_depth_decays_away_from_the_touch() -> None:
    market = market_of(LIQUID, minutes=5)
    near = far = 0

    def note(_: int) -> None:
        nonlocal near, far
        for venue in market.matching.values():
            for side in venue.book("AAA").depth(15):
                near += sum(units for _, units in side[:5])
                far += sum(units for _, units in side[10:15])

    run(market, note)
    assert near > 2 * far > 0


def test_prices_and_sizes_are_on_the_tick_and_the_lot() -> None:
    odd = SyntheticInstrument(
        "ODD", Decimal("7.25"), 0.03, 40_000, 2, tick=Decimal("0.05"), lot=Decimal("0.01")
    )
    market = market_of(odd, minutes=10)
    run(market)
    for venue in market.matching.values():
        quote = venue.quote("ODD", 0)
        assert quote is not None
        for price, size in quote.bids + quote.asks:
            assert not price % odd.tick
            assert not size % odd.lot
            assert price > 0 < size


def test_every_venue_gets_about_its_share_of_the_volume() -> None:
    market = market_of(*US_INSTRUMENTS, minutes=10)
    run(market)
    trades = {
        mic: sum(venue.book(symbol).trades for symbol in market.symbols)
        for mic, venue in market.matching.items()
    }
    for venue in US_VENUES:
        assert abs(trades[venue.mic] / sum(trades.values()) - venue.share) < 0.08


# correlation


def returns(market: SyntheticMarket, every_s: int) -> dict[str, list[Decimal]]:
    found: dict[str, list[Decimal]] = {symbol: [] for symbol in market.symbols}
    last = {symbol: mid(market, symbol) for symbol in market.symbols}
    until_ns = OPEN_NS
    while market.next_ns() is not None:
        until_ns += every_s * NS
        run(market, until_ns=until_ns)
        for symbol in market.symbols:
            now = mid(market, symbol)
            found[symbol].append(now / last[symbol] - 1)
            last[symbol] = now
    return found


def correlation(xs: list[Decimal], ys: list[Decimal]) -> Decimal:
    """About zero mean: returns over seconds have none."""
    products = sum((x * y for x, y in zip(xs, ys, strict=True)), Decimal(0))
    scale = sum((x * x for x in xs), Decimal(0)) * sum((y * y for y in ys), Decimal(0))
    return products / scale.sqrt()


def test_symbols_correlate_by_the_product_of_their_loadings() -> None:
    slow = [
        SyntheticInstrument(name, Decimal("90.00"), 0.02, 500_000, market_loading=loading)
        for name, loading in (("UP", 0.9), ("ALSO", 0.9), ("DOWN", -0.9), ("ALONE", 0.0))
    ]
    found = returns(market_of(*slow, minutes=60), every_s=10)
    assert correlation(found["UP"], found["ALSO"]) > Decimal("0.6")
    assert correlation(found["UP"], found["DOWN"]) < Decimal("-0.6")
    assert abs(correlation(found["UP"], found["ALONE"])) < Decimal("0.25")


def test_realised_volatility_is_near_the_specified_one() -> None:
    found = returns(market_of(LIQUID, minutes=60), every_s=30)["AAA"]
    variance = sum((x * x for x in found), Decimal(0)) * Decimal(390) / 60
    assert Decimal("0.013") < variance.sqrt() < Decimal("0.030")


# our own orders


def test_resting_orders_of_ours_are_filled_by_the_flow_with_numbered_reports() -> None:
    market = market_of(LIQUID, minutes=10)
    for mic in market.sessions:
        bid, ask = touch(market, mic, "AAA")
        market.sessions[mic].submit(order(mic, "b", OrderSide.BUY, bid, 200), OPEN_NS)
        market.sessions[mic].submit(order(mic, "s", OrderSide.SELL, ask, 200), OPEN_NS)
    fills = [report for report in run(market) if report.kind is ReportKind.FILL]
    assert {(report.venue, report.cl_ord_id) for report in fills} >= {(mic, "b") for mic in market.sessions}
    assert all((report.queue_ahead or 0) > 0 and report.source_ns > OPEN_NS for report in fills)
    for mic, session in market.sessions.items():
        assert [report for report in session.resend(2) if report in fills]
        assert [report.seq for report in session.resend(0)] == list(range(1, session.last_seq + 1))
        assert {report.session for report in session.resend(0)} == {f"{mic}-2024-07-08"}


def test_an_order_that_the_price_moves_through_is_traded_through() -> None:
    market = market_of(LIQUID, minutes=10)
    _, ask = touch(market, "XNAS", "AAA")
    market.sessions["XNAS"].submit(order("XNAS", "a", OrderSide.BUY, ask - Decimal("0.01"), 300), OPEN_NS)
    filled = [report.quantity for report in run(market) if report.kind is ReportKind.FILL]
    assert sum(filled) == 300


def test_a_book_that_we_sweep_is_quoted_again_by_the_next_arrivals() -> None:
    market = market_of(LIQUID, minutes=10)
    session = market.sessions["XNAS"]
    reports = session.submit(order("XNAS", "a", OrderSide.BUY, None, 1_000_000), OPEN_NS)
    assert reports[-1].kind is ReportKind.CANCELED
    assert market.matching["XNAS"].book("AAA").best_ask() is None
    run(market, until_ns=OPEN_NS + NS)
    quote = market.matching["XNAS"].quote("AAA", 0)
    assert quote is not None
    assert len(quote.asks) == MIN_LEVELS


def test_day_orders_of_ours_expire_at_the_close() -> None:
    market = market_of(LIQUID, minutes=2)
    session = market.sessions["BATS"]
    session.submit(order("BATS", "a", OrderSide.BUY, Decimal("1.00")), OPEN_NS)
    session.submit(order("BATS", "b", OrderSide.BUY, Decimal("1.00")), OPEN_NS)
    session.submit(VenueCancel("BATS", "c", "b"), OPEN_NS)
    (expired,) = run(market)
    assert (expired.kind, expired.cl_ord_id, expired.seq) == (ReportKind.EXPIRED, "a", 4)
    assert session.submit(order("BATS", "d", OrderSide.BUY, None), OPEN_NS)[0].reason == "closed"


def test_a_second_session_goes_on_with_the_books_of_the_first_and_its_gtc_orders() -> None:
    market = market_of(LIQUID, minutes=2)
    session = market.sessions["BATS"]
    lasting = replace(order("BATS", "g", OrderSide.BUY, Decimal("1.00")), tif=TimeInForce.GTC)
    session.submit(lasting, OPEN_NS)
    run(market)
    closed = mid(market, "AAA")
    day_ns = 24 * 3600 * NS
    market.start_day(OPEN_NS + day_ns + 120 * NS, "2024-07-09")
    assert (market.calling, market.next_ns(), mid(market, "AAA")) == (True, None, closed)
    assert market.open(OPEN_NS + day_ns) == []
    first_ns = market.next_ns()
    assert first_ns is not None and first_ns > OPEN_NS + day_ns
    run(market)
    (gone,) = session.submit(VenueCancel("BATS", "h", "g"), OPEN_NS + day_ns)[-1:]
    assert (gone.kind, gone.trade_date) == (ReportKind.CANCELED, "2024-07-09")


def test_orders_of_the_call_trade_at_the_open_and_not_before() -> None:
    market = market_of(LIQUID, minutes=2)
    run(market)
    market.start_day(OPEN_NS + 24 * 3600 * NS, "2024-07-09")
    ask = touch(market, "XNAS", "AAA")[1]
    taken = market.sessions["XNAS"].submit(order("XNAS", "a", OrderSide.BUY, ask), OPEN_NS + 200 * NS)
    assert [report.kind for report in taken] == [ReportKind.ACK]
    filled = market.open(OPEN_NS + 300 * NS)
    assert {(report.kind, report.cl_ord_id) for report in filled} == {(ReportKind.FILL, "a")}
    assert all(report.seq for report in filled)


def test_a_session_is_ended_early_and_a_running_one_is_not_begun_again() -> None:
    market = market_of(LIQUID, minutes=5)
    run(market, until_ns=OPEN_NS + 60 * NS)
    with pytest.raises(ValueError, match="a session runs"):
        market.start_day(OPEN_NS + 3600 * NS, "2024-07-09")
    with pytest.raises(ValueError, match="call"):
        market.open(OPEN_NS + 60 * NS)
    market.sessions["BATS"].submit(order("BATS", "a", OrderSide.BUY, Decimal("1.00")), OPEN_NS + 60 * NS)
    (expired,) = market.end_day(OPEN_NS + 61 * NS)
    assert (expired.kind, market.next_ns(), market.end_day(OPEN_NS + 62 * NS)) == (
        ReportKind.EXPIRED,
        None,
        [],
    )


def test_nothing_prints_while_a_symbol_is_halted() -> None:
    market = market_of(LIQUID, minutes=4)
    for venue in market.matching.values():
        venue.halt("AAA", True)
    run(market, until_ns=OPEN_NS + 120 * NS)
    assert sum(venue.book("AAA").trades for venue in market.matching.values()) == 0
    for venue in market.matching.values():
        venue.halt("AAA", False)
    run(market)
    assert sum(venue.book("AAA").trades for venue in market.matching.values()) > 0


# arguments


def test_fees_and_shares_stay_readable_for_the_router() -> None:
    market = market_of(LIQUID)
    assert {venue.mic: venue.take_fee for venue in market.venues}["XNAS"] == Decimal("0.0030")
    assert market.symbols == ("AAA",)


@pytest.mark.parametrize(
    ("instruments", "venues", "close_ns"),
    [
        ([], US_VENUES, OPEN_NS + NS),
        ([LIQUID], [], OPEN_NS + NS),
        ([LIQUID, LIQUID], US_VENUES, OPEN_NS + NS),
        ([LIQUID], [SyntheticVenue("XNAS", 1), SyntheticVenue("XNAS", 1)], OPEN_NS + NS),
        ([LIQUID], [SyntheticVenue("XNAS", 0)], OPEN_NS + NS),
        ([LIQUID], US_VENUES, OPEN_NS),
        ([SyntheticInstrument("AAA", Decimal("10.001"), 0.02, 1_000)], US_VENUES, OPEN_NS + NS),
        ([SyntheticInstrument("AAA", Decimal("10"), 0.02, 0)], US_VENUES, OPEN_NS + NS),
        ([SyntheticInstrument("AAA", Decimal("10"), 0.02, 1, market_loading=2)], US_VENUES, OPEN_NS + NS),
    ],
)
def test_a_market_that_makes_no_sense_is_refused(
    instruments: list[SyntheticInstrument], venues: list[SyntheticVenue], close_ns: int
) -> None:
    with pytest.raises(ValueError):
        SyntheticMarket(1, instruments, venues, open_ns=OPEN_NS, close_ns=close_ns, trade_date="2024-07-08")
