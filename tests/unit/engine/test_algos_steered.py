"""VWAP in the engine follows the day's volume: late and early days, gaps, restarts; it all replays."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from itertools import accumulate

import pytest
from msgspec.structs import replace

from qtinfra.core import commands as cmd
from qtinfra.core.algo_events import AlgoFinished, AlgoIntervalBegan, AlgoPlanned
from qtinfra.core.extended_models import LimitRule
from qtinfra.marketdata.bars import BarDay, by_session, read_bars
from qtinfra.marketdata.calendars import build_calendar
from tests.support.builders import ALPHA, SYMBOL, dec, kinds, only
from tests.support.requirements import require_data
from tests.unit.engine.test_algos import MINUTE, Floor, sent

pytestmark = [pytest.mark.unit, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

BINS = 78
EVEN = (1,) * 10
LATE, EARLY = (1, 1, 1, 1, 1, 2, 3, 4, 5, 6), (6, 5, 4, 3, 2, 1, 1, 1, 1, 1)


def following(
    curve: Sequence[int] = EVEN,
    volume: int | None = 100_000,
    *,
    minutes: int = 10,
    checked: bool = True,
    **terms: object,
) -> Floor:
    """A VWAP order of 10,000 over a session of so many minutes."""
    desk = Floor(checked=checked)
    closed, bins = desk.start_ns + minutes * MINUTE, tuple(map(dec, curve))
    desk.run(cmd.SetVolumeCurve(SYMBOL, "2024-07-08", desk.start_ns, closed, bins))
    if volume is not None:
        desk.run(cmd.SetMarketProfile(SYMBOL, daily_volume=dec(volume)))
    desk.market.traded = Decimal(7_000)
    for rule in (LimitRule.MAX_ORDER_QTY, LimitRule.POSITION_LIMIT, LimitRule.MAX_ORDER_VALUE):
        desk.run(cmd.SetLimit(rule, None))
    desk.show(size=100_000)
    order = desk.algo_order("VWAP", 10_000, **terms)
    assert order.algo is not None
    desk.run(replace(order, algo=replace(order.algo, end_ns=closed)))
    return desk


def day(desk: Floor, volumes: Sequence[int], first: int = 0, step: int = 60) -> list[Decimal]:
    """Work the order through the intervals, each volume printing after its slice; what is done after each."""
    reached = []
    for number, volume in enumerate(volumes, first):
        desk.look(step * number)
        own = sum((child.leaves for child in desk.live()), Decimal(0))
        desk.trade()
        desk.market.traded += volume + own
        reached.append(desk.order().cum_qty)
    return reached


def distance(reached: Sequence[Decimal], volumes: Sequence[int]) -> float:
    """Mean distance of the executed part from the part of the day's volume that has printed."""
    total = sum(volumes)
    parts = zip(reached, accumulate(volumes), strict=True)
    return sum(abs(float(done) / 10_000 - have / total) for done, have in parts) / len(volumes)


@pytest.mark.parametrize("shape", [LATE, EARLY], ids=["late", "early"])
@pytest.mark.parametrize("level", [3_000, 4_000, 5_000])
def test_a_day_whose_volume_comes_late_or_early_is_followed_closer_than_by_the_standing_curve(
    shape: tuple[int, ...], level: int
) -> None:
    volumes = [level * part for part in shape]
    steered, standing = (day(following(volume=volume), volumes) for volume in (100_000, None))
    assert steered[-1] == standing[-1] == 10_000
    assert standing == [1_000 * place for place in range(1, 11)]
    assert distance(steered, volumes) < distance(standing, volumes)


def test_a_decision_reads_the_volume_printed_before_its_interval_and_says_how_much_that_was() -> None:
    one, other = following(), following()
    for desk, later in ((one, 0), (other, 90_000)):
        day(desk, [10_000, 20_000])
        desk.look(120)
        desk.trade()
        desk.market.traded += later
        assert sent(desk.look(121)) == 0
    assert one.order().cum_qty == other.order().cum_qty
    began = [event.traded for event in one.events(AlgoIntervalBegan)]
    assert began[:2] == [7_000, 7_000 + 10_000 + 1_000]


def test_the_cap_holds_while_the_order_follows_the_day() -> None:
    desk = following(max_participation=dec("0.1"))
    for minute, volume in enumerate((0, 9_000, 45_000, 900, 9_000)):
        own_before, seen = desk.order().cum_qty, 0
        for second in range(0, 60, 6):
            desk.look(60 * minute + second)
            own = sum((child.leaves for child in desk.live()), Decimal(0))
            desk.trade()
            assert (desk.order().cum_qty - own_before) * 9 <= seen
            desk.market.traded += volume // 10 + own
            seen += volume // 10
    assert desk.order().cum_qty > 0


def test_volume_that_printed_before_the_order_s_start_does_not_count() -> None:
    desk = Floor()
    bins = tuple(map(dec, EVEN))
    desk.run(cmd.SetVolumeCurve(SYMBOL, "2024-07-08", desk.start_ns, desk.start_ns + 10 * MINUTE, bins))
    desk.run(cmd.SetMarketProfile(SYMBOL, daily_volume=dec(10_000)))
    desk.at(-0.5)
    planned = only(desk.parent("VWAP"), AlgoPlanned)
    assert planned.traded is None
    desk.market.traded = Decimal(1_000_000)
    reached = day(desk, [1_000] * 10)
    assert reached == [100 * place for place in range(1, 11)]


def test_pov_counts_from_its_start_what_printed_before_it_is_not_followed() -> None:
    desk = Floor()
    desk.at(-0.5)
    desk.parent("POV", target_rate=dec("0.1"), max_participation=dec("0.5"))
    desk.market.traded = Decimal(90_000)
    assert sent(desk.look(0)) == 0
    desk.market.traded += 900
    assert sent(desk.look(1)) == 100


def test_a_tape_that_prints_nothing_leaves_the_plan_as_it_is() -> None:
    assert day(following(), [0] * 10) == [1_000 * place for place in range(1, 11)]


@pytest.mark.parametrize("from_journal", [False, True], ids=["snapshot", "journal"])
def test_a_restart_goes_on_as_if_it_had_not_happened(from_journal: bool) -> None:
    volumes = [3_000 * part for part in LATE]
    without = day(following(), volumes)
    desk = following()
    first = day(desk, volumes[:4])
    desk.restart(from_journal)
    assert first + day(desk, volumes[4:], 4) == without


def test_after_a_gap_what_is_left_is_planned_anew_and_comes_without_a_burst() -> None:
    desk = following()
    done = day(desk, [10_000] * 3)[-1]
    desk.market.traded += 400_000
    desk.at(360)
    assert kinds(desk.look()) == ["AlgoIntervalBegan", "AlgoPlanned"]
    reached = day(desk, [10_000] * 4, 6)
    assert reached[0] - done <= (10_000 - done) / 4 + 1
    assert reached[-1] == 10_000


def test_a_pause_is_not_caught_up_at_once() -> None:
    desk = following()
    done = day(desk, [10_000] * 2)[-1]
    desk.run(cmd.PauseAlgo(ALPHA, "X", "look"))
    desk.market.traded += 60_000
    desk.at(300)
    desk.run(cmd.ResumeAlgo(ALPHA, "X", "on"))
    reached = day(desk, [10_000] * 5, 5)
    assert reached[0] - done <= (10_000 - done) / 5 + 1
    assert [event.left for event in desk.events(AlgoFinished)] == [0]


def test_on_recorded_days_the_engine_s_order_stays_closer_to_the_day_than_by_its_standing_curve() -> None:
    """Recorded minutes of a stock; curve and volume of the 20 days before each day; every fifth day."""
    bars = read_bars(require_data("minute_bars_2024") / "CPAY_1min_2024.csv.gz")
    calendar = build_calendar("XNYS", date(2024, 5, 1), date(2024, 9, 30))
    days = [binned(found) for found in by_session(bars, calendar) if not found.session.half_day]
    steered: list[float] = []
    standing: list[float] = []
    for place in range(20, 80, 5):
        before = days[place - 20 : place]
        curve = [sum(column) for column in zip(*before, strict=True)]
        for found, volume in ((steered, sum(curve) // 20), (standing, None)):
            desk = following(curve, volume, minutes=BINS * 5, checked=False, slices=BINS)
            reached = day(desk, days[place], step=300)
            assert reached[-1] == 10_000
            found.append(distance(reached, days[place]))
    assert sum(steered) < 0.8 * sum(standing)


def binned(found: BarDay) -> list[int]:
    """Shares in each five minutes of a full day."""
    bins = [0] * BINS
    for bar in found.bars:
        bins[(bar.ts_ns - found.session.open_ns) // (5 * MINUTE)] += bar.volume
    return bins
