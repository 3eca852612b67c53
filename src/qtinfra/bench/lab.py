"""The simulation lab: one stock-day of minute bars, planned, worked and scored."""

from __future__ import annotations

import json

import msgspec

from qtinfra.bench.harness import (
    BenchResult,
    Progress,
    compare,
    frozen_heap,
    latencies_us,
    over,
    percentile,
    sized,
)
from qtinfra.runtime.lab.history import History, Params
from qtinfra.runtime.lab.play import Setup
from qtinfra.runtime.lab.score import Score
from qtinfra.runtime.lab.study import Scenario, run_day
from qtinfra.runtime.lab.synthetic import synthetic_days

_DAYS = 60
_FIRST = 20
_ROUNDS = 5
#: Seconds for one stock-day.
TARGET_S = 0.05
_SETUPS = (
    Setup("VWAP", Params("capped", 5, 40, 1)),
    Setup("TWAP", Params("flat", 15, 20, 1)),
    Setup("POV", Params("static", 15, 20, 30)),
    Setup("IS", Params("static", 15, 20, 5)),
)


def bench_lab(scale: float, progress: Progress) -> BenchResult:
    """Stock-days through VWAP, TWAP, POV and IS in turn; the control copies the bars as JSON."""
    progress("lab: stock-days")
    history, scenario = History(synthetic_days(_FIRST + sized(_DAYS, scale, 1), seed=1)), Scenario()
    items = [(place, setup) for place in range(_FIRST, len(history.days)) for setup in _SETUPS]

    def play(place: int, setup: Setup) -> list[Score]:
        return run_day(history, place, setup, scenario)

    def control(place: int, _: Setup) -> object:
        return json.loads(json.dumps(msgspec.to_builtins(history.days[place].minutes, str_keys=True)))

    with frozen_heap():
        ours, theirs = compare(over(items, play), over(items, control), sized(_ROUNDS, scale, 1))
        ordered = latencies_us(items, play)
    scores = [play(*item) for item in items]
    filled = sum(bool(found) and found[0].filled > 0 for found in scores)
    return BenchResult(
        name="lab",
        unit="stock-day",
        ops_per_s=ours.ops_per_s,
        cpu_us_per_op=ours.cpu_us,
        p50_us=percentile(ordered, 0.5),
        p99_us=percentile(ordered, 0.99),
        control=theirs.ops_per_s,
        ratio=ours.ops_per_s / theirs.ops_per_s,
        note="a buy and a sell of one generated day of minute bars: earlier days' facts, 385 minutes, score",
        control_name="the day's minutes written and read as JSON",
        target=f"< {TARGET_S * 1e3:.0f} ms each",
        met=ours.wall_s < TARGET_S if scale >= 1 else None,
        figures={"orders": float(len(items)), "orders_with_fills": float(filled)},
    )
