"""The simulation lab: no look-ahead, honest fills, dates kept apart, equal seeds give equal tables."""

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from math import inf, sqrt
from random import Random
from statistics import mean, median

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.cli import main
from qtinfra.cli.lab import show
from qtinfra.core.strategies.registry import BUILT_IN
from qtinfra.marketdata.bars import MINUTE_NS
from qtinfra.runtime.lab.days import LabDay, LookAheadError, Minute, Past, Quote, QuoteTimes
from qtinfra.runtime.lab.experiment import Result, report, run_experiment
from qtinfra.runtime.lab.fills import LATENCY_NS, Street
from qtinfra.runtime.lab.forecast import schedule_risk
from qtinfra.runtime.lab.history import CURVES, History, Params
from qtinfra.runtime.lab.play import LabOrder, Played, Setup, other_side, play
from qtinfra.runtime.lab.resample import block_bootstrap
from qtinfra.runtime.lab.score import Score, score
from qtinfra.runtime.lab.study import (
    LeakError,
    Scenario,
    Source,
    Split,
    bar_sources,
    order_of,
    run_all,
    run_day,
    tasks_of,
)
from qtinfra.runtime.lab.synthetic import day_of, synthetic_days
from qtinfra.runtime.lab.ticks import from_lobster, from_nbbo, tick_day
from qtinfra.runtime.lab.verdict import choose, compare, figures
from tests.support.requirements import require_data

pytestmark = [
    pytest.mark.simulation,
    # The calendar library uses what newer versions of pandas deprecate.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SETUPS = {
    "TWAP": Setup("TWAP"),
    "VWAP": Setup("VWAP"),
    "VWAP, live": Setup("VWAP", Params("capped", 5, 20, 2)),
    "VWAP, model": Setup("VWAP", Params("kalman", 30, 20, 15)),
    "POV": Setup("POV", Params(slice_minutes=30)),
    "IS": Setup("IS"),
    "capped": Setup("VWAP", cap=Decimal("0.05")),
}


@lru_cache(maxsize=1)
def generated() -> tuple[LabDay, ...]:
    return tuple(synthetic_days(25, seed=3))


def played(days: tuple[LabDay, ...], place: int, setup: Setup) -> tuple[LabOrder, Played]:
    history = History(days)
    facts = history.facts(place, setup.params)
    order = order_of(days[place], facts, Scenario(), setup)
    found = play(BUILT_IN[setup.algo], setup, order, days[place], facts)
    assert found is not None
    return order, found


def poisoned(day: LabDay, from_minute: int) -> LabDay:
    """The day with other prices and volumes, and trades in other minutes, from a minute on."""
    rng = Random(99)
    minutes = {number: minute for number, minute in day.minutes.items() if number < from_minute}
    for number in range(from_minute, 390):
        if rng.random() < 0.5:
            price = rng.uniform(1, 1_000)
            minutes[number] = Minute(rng.randrange(1, 10**7), price, price, price)
    return day_of(day.trade_date, day.open_ns, minutes)


# -- a decision reads what was before it -----------------------------------------------------------


@pytest.mark.parametrize("name", SETUPS)
@pytest.mark.parametrize("minute", [6, 200, 389])
def test_a_poisoned_future_changes_no_decision_before_it(name: str, minute: int) -> None:
    days, setup = generated(), SETUPS[name]
    order, honest = played(days, 22, setup)
    other = (*days[:22], poisoned(days[22], minute), *(poisoned(day, 0) for day in days[23:]))
    again, changed = played(other, 22, setup)
    moment = days[22].open_ns + minute * MINUTE_NS
    assert again == order
    assert [item for item in changed.decisions if item.ts_ns <= moment] == [
        item for item in honest.decisions if item.ts_ns <= moment
    ]
    assert [item for item in changed.fills if item.ts_ns < moment] == [
        item for item in honest.fills if item.ts_ns < moment
    ]
    assert any(item.ts_ns <= moment for item in honest.decisions) or minute == 6


def test_what_the_poison_changes_is_seen_as_soon_as_it_has_printed() -> None:
    days, setup = generated(), SETUPS["POV"]
    _, honest = played(days, 22, setup)
    _, changed = played((*days[:22], poisoned(days[22], 45)), 22, setup)
    assert honest.decisions != changed.decisions


def test_a_view_refuses_what_was_not_known_and_counts_a_bar_when_it_is_over() -> None:
    day = day_of("D0", 0, {0: Minute(100, 10.0, 10.0, 10.0), 1: Minute(50, 11.0, 11.0, 11.0)})
    view = Past(day, 2 * MINUTE_NS - 1)
    assert (view.last, view.volume(0)) == (10.0, 100)
    assert Past(day, 2 * MINUTE_NS).volume(0) == 150
    with pytest.raises(LookAheadError):
        view.volume(0, 2 * MINUTE_NS)


def test_a_view_of_ticks_ends_before_its_own_moment() -> None:
    quotes = QuoteTimes((5, 9), (Quote(1.0, 2.0, 1, 1), Quote(3.0, 4.0, 1, 1)))
    day = tick_day("X", "D0", (0, 2 * MINUTE_NS), [(5, 10, 10_000), (9, 20, 20_000)], quotes)
    assert Past(day, 9).volume(0) == 10
    assert Past(day, 9).quote == Quote(1.0, 2.0, 1, 1)
    assert Past(day, 5).quote is None


def test_facts_and_curves_read_earlier_days_alone() -> None:
    days = generated()
    later = (*days[:20], *(poisoned(day, 0) for day in days[20:]))
    for setup in SETUPS.values():
        assert History(days).facts(20, setup.params) == History(later).facts(20, setup.params)


# -- fills pay and are bounded ---------------------------------------------------------------------


@pytest.mark.parametrize("name", SETUPS)
def test_no_order_takes_more_than_a_tenth_of_any_minute_or_more_than_it_has(name: str) -> None:
    for place in (20, 22, 24):
        order, found = played(generated(), place, SETUPS[name])
        by_minute: dict[int, int] = {}
        for fill in found.fills:
            number = (fill.ts_ns - order.start_ns) // MINUTE_NS + 5
            by_minute[number] = by_minute.get(number, 0) + fill.qty
        minutes = generated()[place].minutes
        assert by_minute
        assert all(own * 10 <= minutes[number].volume for number, own in by_minute.items())
        assert found.filled <= order.qty


@given(
    volume=st.integers(1, 10**6),
    wanted=st.integers(1, 10**6),
    buy=st.booleans(),
    spread=st.floats(0.1, 50),
    vwap=st.floats(90, 110),
)
@settings(max_examples=60, deadline=None)
def test_a_fill_pays_half_the_spread_and_the_impact_of_its_part_of_the_minute(
    volume: int, wanted: int, buy: bool, spread: float, vwap: float
) -> None:
    day = day_of("D0", 0, {0: Minute(volume, vwap, 99.0, 101.0)})
    fill = Street(day, buy, 0.02, spread).take(0, wanted, None)
    qty = min(wanted, volume // 10)
    if not qty:
        assert fill is None
        return
    assert fill is not None and fill.qty == qty
    sign, base = (1 if buy else -1), min(max(vwap, 99.0), 101.0)
    impact = 0.142 * 0.02 * (qty / volume) ** 0.6
    assert float(fill.price) == pytest.approx(base * (1 + sign * spread / 20_000) * (1 + sign * impact))


def test_slices_of_one_minute_share_its_tenth() -> None:
    street = Street(day_of("D0", 0, {0: Minute(1_000, 10.0, 10.0, 10.0)}), True, 0.02, 5.0)
    sizes = [fill.qty for fill in (street.take(at, 60, None) for at in (0, 1, 2)) if fill is not None]
    assert sizes == [60, 40]


def test_a_slice_on_ticks_takes_the_far_side_after_the_latency_and_never_beyond_its_price() -> None:
    quotes = QuoteTimes((0, 50 + LATENCY_NS), (Quote(9.9, 10.0, 30, 30), Quote(10.0, 10.1, 20, 20)))
    day = tick_day("X", "D0", (0, 2 * MINUTE_NS), [(5, 10_000, 100_000)], quotes)
    early = Street(day, True, 0.0, 5.0).take(0, 500, Decimal(10))
    assert early is not None and (early.qty, early.price) == (30, Decimal("10"))
    assert Street(day, True, 0.0, 5.0).take(50, 500, Decimal(10)) is None
    late = Street(day, False, 0.0, 5.0).take(50, 500, Decimal(10))
    assert late is not None and (late.qty, late.price) == (20, Decimal("10"))


def test_a_cap_counts_only_what_has_printed_in_its_interval_by_then() -> None:
    day, setup = generated()[22], SETUPS["capped"]
    order, found = played(generated(), 22, setup)
    length = 5 * MINUTE_NS
    for decision in found.decisions:
        begin = order.start_ns + (decision.ts_ns - order.start_ns) // length * length
        own = sum(fill.qty for fill in found.fills if begin <= fill.ts_ns < decision.ts_ns)
        others = Past(day, decision.ts_ns).volume(begin)
        assert (own + decision.sent) * 19 <= others


def test_every_order_ends_and_says_how() -> None:
    ends = {name: played(generated(), 22, setup)[1].finish.value for name, setup in SETUPS.items()}
    assert set(ends.values()) <= {"completed", "residual cancelled"}
    assert ends["VWAP"] == "completed"


# -- dates for choosing and for reporting ----------------------------------------------------------


@pytest.mark.parametrize("first", ["2024-08-31", "2024-08-01"])
def test_dates_for_choosing_and_reporting_cannot_touch(first: str) -> None:
    with pytest.raises(LeakError, match="must not touch"):
        Split(report_from=first)


def a_score(
    trade_date: str, tracking: float, algo: str = "VWAP", symbol: str = "A", rate: float = 0.05
) -> Score:
    return Score(
        symbol,
        trade_date,
        algo,
        True,
        100,
        100,
        tracking,
        tracking,
        1.0,
        0.5,
        1.0,
        2.0,
        -9.0,
        9.0,
        rate,
        "completed",
    )


def test_parameters_are_chosen_by_training_dates_alone() -> None:
    candidates = [Setup("VWAP"), Setup("VWAP", Params(bin_minutes=5))]
    scores = [[a_score("2024-08-30", 5.0)], [a_score("2024-08-30", 4.0)]]
    assert choose(candidates, scores, Split()) is candidates[1]
    with pytest.raises(LeakError, match="2024-09-03"):
        choose(candidates, [scores[0], [a_score("2024-09-03", 4.0)]], Split())


def test_a_candidate_that_leaves_its_orders_unfinished_is_not_chosen() -> None:
    candidates = [Setup("VWAP"), Setup("VWAP", Params(bin_minutes=5))]
    idle = msgspec.structs.replace(a_score("2024-08-30", 1.0), filled=50)
    assert choose(candidates, [[a_score("2024-08-30", 5.0)], [idle]], Split()) is candidates[0]


def test_results_are_of_reported_dates_alone() -> None:
    with pytest.raises(LeakError, match="2024-08-30"):
        figures(Setup("VWAP"), [a_score("2024-08-30", 5.0)], Split(), 1)
    with pytest.raises(LeakError):
        compare([a_score("2024-09-03", 1.0)], [a_score("2024-08-30", 1.0, "TWAP")], Split(), 1)


# -- intervals -------------------------------------------------------------------------------------


def test_the_interval_of_a_mean_is_close_to_theory_for_independent_days() -> None:
    rng = Random(5)
    days = [[rng.gauss(1, 2)] for _ in range(400)]
    found = block_bootstrap(days, mean, 1, block=1, resamples=800)
    width = 1.96 * 2 / sqrt(400)
    assert found.high - found.low == pytest.approx(2 * width, rel=0.15)
    assert found.excludes_zero


def test_blocks_widen_the_interval_where_days_hang_together() -> None:
    rng = Random(5)
    days = [[value] for _ in range(40) for value in [rng.gauss(0, 1)] * 10]
    one, ten = (block_bootstrap(days, mean, 1, block=size, resamples=400) for size in (1, 10))
    assert ten.high - ten.low > 2 * (one.high - one.low)


def test_symbols_of_one_date_are_drawn_together() -> None:
    days = [[float(place)] * 50 for place in range(4)]
    sizes: list[int] = []

    def count(found: Sequence[float]) -> float:
        sizes.append(len(found))
        assert all(found.count(value) % 50 == 0 for value in set(found))
        return 0.0

    block_bootstrap(days, count, 1, block=1, resamples=50)
    assert sizes == [200] * 51


def test_equal_seeds_give_equal_intervals_and_others_do_not() -> None:
    days = [[float(place * place % 17)] for place in range(40)]
    assert block_bootstrap(days, median, 7) == block_bootstrap(days, median, 7)
    assert block_bootstrap(days, mean, 7) != block_bootstrap(days, mean, 8)


def test_a_pair_is_compared_on_the_same_orders_and_refused_otherwise() -> None:
    dates = [f"2024-09-{day:02}" for day in range(3, 29)]
    ours = [a_score(text, 4.0 + at % 3) for at, text in enumerate(dates)]
    theirs = [a_score(text, 8.0 + at % 3, "TWAP") for at, text in enumerate(dates)]
    found = compare(ours, theirs[:-1], Split(), 1)
    assert found.pairs == len(dates) - 1
    assert found.reduction.value == pytest.approx(1 - 5 / 9)
    assert found.reduction.excludes_zero and found.difference_bps.value == pytest.approx(4.0)
    sells = [msgspec.structs.replace(item, buy=False) for item in theirs]
    with pytest.raises(ValueError, match="items on at least one day"):
        compare(ours, sells, Split(), 1)
    other = [msgspec.structs.replace(item, ordered=50) for item in theirs]
    with pytest.raises(ValueError, match="not the same"):
        compare(ours, other, Split(), 1)


# -- what is measured ------------------------------------------------------------------------------


def test_tracking_is_against_the_vwap_of_the_order_s_time_and_has_the_costs_in_it() -> None:
    days, setup = generated(), SETUPS["VWAP"]
    order, found = played(days, 22, setup)
    result = score(setup, order, days[22], History(days).facts(22, setup.params), found)
    inside = [minute for number, minute in days[22].minutes.items() if number >= 5]
    vwap = sum(item.volume * item.vwap for item in inside) / sum(item.volume for item in inside)
    paid = sum(fill.qty * float(fill.price) for fill in found.fills) / found.filled
    assert result.tracking_bps == pytest.approx(abs(paid / vwap - 1) * 10_000, rel=1e-6)
    assert result.filled == result.ordered
    assert result.rate == pytest.approx(
        found.filled
        / (
            found.filled
            + sum(m.volume for n, m in days[22].minutes.items() if 5 <= n <= last_minute(order, found))
        )
    )


def last_minute(order: LabOrder, found: Played) -> int:
    return 5 + (found.fills[-1].ts_ns - order.start_ns) // MINUTE_NS


def test_on_a_u_shaped_day_vwap_tracks_closer_than_twap_and_pov_keeps_its_rate() -> None:
    days = synthetic_days(45, seed=11)
    history, scenario = History(days), Scenario()

    def tracked(setup: Setup) -> list[Score]:
        return [item for place in range(20, 45) for item in run_day(history, place, setup, scenario)]

    vwap, twap, pov = (tracked(setup) for setup in (Setup("VWAP"), Setup("TWAP"), SETUPS["POV"]))
    assert median(x.schedule_bps or inf for x in vwap) < 0.8 * median(x.schedule_bps or inf for x in twap)
    assert all(abs(item.rate - 0.05) < 0.01 for item in pov)


# -- both sides, schedule and cost -----------------------------------------------------------------


@pytest.mark.parametrize("name", SETUPS)
def test_a_sell_order_is_what_playing_it_gives(name: str) -> None:
    days, setup = generated(), SETUPS[name]
    _, bought = played(days, 22, setup)
    facts = History(days).facts(22, setup.params)
    order = order_of(days[22], facts, Scenario(), setup, buy=False)
    sold = play(BUILT_IN[setup.algo], setup, order, days[22], facts)
    assert sold is not None and other_side(bought, days[22], facts) == sold
    assert [fill.qty for fill in sold.fills] == [fill.qty for fill in bought.fills]
    assert all(low.price < high.price for low, high in zip(sold.fills, bought.fills, strict=True))


def test_no_seed_decides_an_order() -> None:
    history = History(generated())
    one, two = (run_day(history, 22, SETUPS["VWAP"], Scenario(seed)) for seed in (1, 2))
    assert one == two and [item.buy for item in one] == [True, False]


def test_the_schedule_s_tracking_is_the_same_on_both_sides_and_the_cost_is_paid_on_both() -> None:
    for setup in SETUPS.values():
        bought, sold = run_day(History(generated()), 22, setup, Scenario())
        assert bought.schedule_bps == sold.schedule_bps
        assert bought.cost_bps == pytest.approx(sold.cost_bps, rel=0.01)
        assert bought.cost_bps is not None and bought.cost_bps > 0
        assert bought.tracking_bps is not None and bought.schedule_bps is not None
        assert bought.tracking_bps <= bought.schedule_bps + bought.cost_bps * 1.01


# -- a curve that follows the day ------------------------------------------------------------------


def test_an_order_that_follows_the_day_tracks_closer_than_its_curve_alone() -> None:
    days = synthetic_days(40, seed=11)
    history = History(days)

    def tracked(steered: bool) -> float:
        setup = Setup("VWAP", Params("static", 5, 20, 5, 0.0, steered))
        found = [item for place in range(20, 40) for item in run_day(history, place, setup, Scenario())]
        return mean(item.schedule_bps or inf for item in found)

    assert tracked(True) < tracked(False)


@pytest.mark.parametrize("curve", CURVES)
def test_every_curve_sums_to_one_and_has_its_bins(curve: str) -> None:
    facts = History(generated()).facts(24, Params(curve, 15, 20))
    assert len(facts.curve) == 26 and sum(facts.curve) == pytest.approx(1)
    assert len(facts.variance) == 78 and sum(facts.variance) == pytest.approx(1)


def test_a_schedule_that_trades_early_risks_more_where_the_morning_moves_more() -> None:
    days, setup = generated(), SETUPS["TWAP"]
    order, found = played(days, 22, setup)
    facts = History(days).facts(22, setup.params)
    early = msgspec.structs.replace(facts, variance=(4 / 156,) * 39 + (0.0,) * 39)
    late = msgspec.structs.replace(facts, variance=(0.0,) * 39 + (4 / 156,) * 39)
    flat = msgspec.structs.replace(facts, variance=(1 / 78,) * 78)
    risks = [schedule_risk(order, days[22], item, setup, found.planned) for item in (late, flat, early)]
    assert risks[0] < risks[1] < risks[2]
    assert risks[1] == pytest.approx(facts.volatility * sqrt(385 / 390 / 3), rel=0.05)


# -- recorded data ---------------------------------------------------------------------------------


def recorded(setups: tuple[Setup, ...], workers: int) -> Result:
    sources = bar_sources(require_data("minute_bars_2024"), ("CPAY", "TDG"))
    split = Split(report_from="2024-11-20", report_to="2024-12-04")
    return report(sources, setups, Scenario(), split, workers=workers)


def test_equal_seeds_give_bit_equal_tables_whatever_the_workers() -> None:
    setups = (Setup("VWAP"), Setup("TWAP"))
    one, two = recorded(setups, 1), recorded(setups, 2)
    assert msgspec.json.encode(one) == msgspec.json.encode(two)
    assert one.algos[0].orders >= 36


def test_half_days_are_played_to_their_early_close() -> None:
    (source,) = bar_sources(require_data("minute_bars_2024"), ("CPAY",))
    scores, _ = run_all(tasks_of([source], (Setup("VWAP"),), Scenario(), "2024-11-29", "2024-11-29"), 1)
    assert [(item.trade_date, item.buy, item.finish) for item in scores[0]] == [
        ("2024-11-29", True, "completed"),
        ("2024-11-29", False, "completed"),
    ]


def test_the_whole_experiment_chooses_before_it_reports() -> None:
    sources = bar_sources(require_data("minute_bars_2024"), ("CPAY",))
    split = Split("2024-08-01", "2024-08-31", "2024-12-16", "2024-12-20")
    found = run_experiment(sources, (Setup("POV"),), Scenario(), split, train_every=8)
    assert found.algos[0].setup.params.slice_minutes in (5, 15, 30)
    assert found.train_orders > 0 and found.algos[0].orders == 10


def test_nbbo_and_lobster_days_are_played_too() -> None:
    folder = require_data("nbbo_ticks")
    day = from_nbbo(folder / "ibm_20131007_quote.zip", folder / "ibm_20131007_trade.zip")
    books = require_data("lobster")
    hour = from_lobster(
        books / "AAPL_2012-06-21_34200000_37800000_message_50.csv.gz",
        books / "AAPL_2012-06-21_message_10_first1000.csv.gz",
        books / "AAPL_2012-06-21_orderbook_10_first1000.csv.gz",
    )
    scenario = Scenario(start_minutes=15, warmup_days=0, share=0.005)
    for recorded_day in (day, hour):
        for algo in ("VWAP", "POV"):
            both = run_day(History([recorded_day]), 0, Setup(algo, Params(slice_minutes=15)), scenario)
            assert [found.buy for found in both] == [True, False]
            for found in both:
                assert found.tracking_bps is not None
                assert found.filled == found.ordered if algo == "VWAP" else abs(found.rate - 0.05) < 0.01
    assert (hour.close_ns - hour.open_ns) // MINUTE_NS == 60


def test_a_missing_symbol_names_its_file() -> None:
    with pytest.raises(FileNotFoundError, match="NOPE_1min"):
        bar_sources(require_data("minute_bars_2024"), ("NOPE",))
    assert Source("A", "bars", (("x",),)).kind == "bars"


# -- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--feed", "bars"), "'--algo'"),
        (("--feed", "bars", "--algo", "vwap"), "'--data'"),
        (("--feed", "bars", "--algo", "vwap", "--data", "."), "1min"),
        (("--feed", "bars", "--algo", "vwap,vwap"), "stands twice"),
        (("--feed", "bars", "--algo", "best"), "'best' is not one of is, pov, twap, vwap"),
        (("--feed", "bars", "--algo", "pov", "--rate", "0.2"), "'0.2' is not above 0 and at most 0.09"),
        (("--feed", "synthetic", "--algo", "vwap"), "not on synthetic"),
        (("--feed", "nbbo", "--algo", "vwap"), "'--quotes'"),
    ],
)
def test_the_command_refuses_wrong_input_and_names_it(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_command_prints_the_orders_of_a_day_of_ticks(capsys: pytest.CaptureFixture[str]) -> None:
    folder = require_data("nbbo_ticks")
    files = ("--quotes", f"{folder}/ibm_20131007_quote.zip", "--trades", f"{folder}/ibm_20131007_trade.zip")
    assert main(["simulate", "--feed", "nbbo", "--algo", "vwap", *files, "--json"]) == 0
    orders = msgspec.json.decode(capsys.readouterr().out)["orders"]
    assert [item["algo"] for item in orders] == ["VWAP", "VWAP", "TWAP", "TWAP"]
    assert {item["symbol"] for item in orders} == {"IBM"}
    assert [item["buy"] for item in orders] == [True, False, True, False]
    assert orders[0]["ordered"] == orders[3]["ordered"] > 0


def test_the_command_prints_the_tables_of_a_study(capsys: pytest.CaptureFixture[str]) -> None:
    split = Split("2024-08-01", "2024-08-31", "2024-12-16", "2024-12-20")
    sources = bar_sources(require_data("minute_bars_2024"), ("CPAY",))
    show(report(sources, (Setup("VWAP"), Setup("TWAP"), Setup("POV")), Scenario(), split))
    text = capsys.readouterr().out
    for part in ("1 symbols, 2024-12-16 to 2024-12-20, seed 1", "VWAP against TWAP", "in band", "sha"):
        assert part.lower() in text.lower()
