"""`qtinfra simulate --algo`: the simulation lab on recorded bars, quotes and books."""

from __future__ import annotations

import os
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec
import typer

from qtinfra.cli.output import WIDEST, console, print_json, progress
from qtinfra.runtime.lab.experiment import GRIDS, Result, run_experiment
from qtinfra.runtime.lab.history import Params
from qtinfra.runtime.lab.play import Setup
from qtinfra.runtime.lab.resample import Interval
from qtinfra.runtime.lab.score import Score
from qtinfra.runtime.lab.study import (
    MAX_WORKERS,
    Progress,
    Scenario,
    Source,
    Split,
    bar_sources,
    load,
    run_day,
)
from qtinfra.runtime.lab.verdict import AlgoFigures

#: A day of ticks has no earlier one: what it shows until then is what its order knows.
TICK_START_MINUTES = 15
_TICK_PARAMS = Params("static", 15, 20, 15)


def setups_of(text: str, rate: str) -> list[Setup]:
    """The algorithms named, the first one compared with the others; VWAP or IS alone, with TWAP.

    Raises:
        typer.BadParameter: an unknown or repeated name, or a rate that is not above 0 and at most 0.09.
    """
    names = [name.strip().upper() for name in text.split(",")]
    for name in names:
        if name not in GRIDS or names.count(name) > 1:
            known = ", ".join(sorted(GRIDS)).lower()
            raise typer.BadParameter(
                f"{name.lower()!r} is not one of {known}, or stands twice", param_hint="--algo"
            )
    try:
        value = Decimal(rate)
    except InvalidOperation:
        value = Decimal(0)
    if not 0 < value <= Decimal("0.09"):
        raise typer.BadParameter(f"{rate!r} is not above 0 and at most 0.09", param_hint="--rate")
    if names in (["VWAP"], ["IS"]):
        names.append("TWAP")
    return [Setup(name, rate=value) for name in names]


def simulate_bars(
    setups: list[Setup], folder: Path, symbols: str | None, seed: int, workers: int | None, as_json: bool
) -> None:
    """Choose on the training dates, report the later ones, print the table.

    Raises:
        typer.BadParameter: a symbol without a file.
    """
    wanted = tuple(part.strip().upper() for part in symbols.split(",")) if symbols else ()
    try:
        sources = bar_sources(folder, wanted)
    except FileNotFoundError as error:
        raise typer.BadParameter(str(error), param_hint="--data") from error
    count = min(workers or os.cpu_count() or 1, MAX_WORKERS)
    with progress("stock-days") as advance:

        def stage(_: str) -> Progress | None:
            return advance

        found = run_experiment(sources, setups, Scenario(seed), Split(), workers=count, stage=stage)
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        show(found)


def simulate_ticks(setups: list[Setup], kind: str, files: tuple[str, ...], seed: int, as_json: bool) -> None:
    """One day of ticks: a buy and a sell by each algorithm.

    Raises:
        RecordedDataError: a file breaks its format.
    """
    history = load(Source("", kind, (files,)))
    scenario = Scenario(seed, start_minutes=TICK_START_MINUTES, warmup_days=0)
    found = [
        item
        for setup in setups
        for item in run_day(history, 0, msgspec.structs.replace(setup, params=_TICK_PARAMS), scenario)
    ]
    if as_json:
        print_json({"orders": msgspec.to_builtins(found)})
    else:
        _show_orders(found)


def show(found: Result) -> None:
    """Two tables: every algorithm, and the pairs."""
    from qtinfra.cli.tables import grid

    heads = ("orders", "filled", "schedule bp", "cost bp", "both bp", "IS bp", "forecast", "in band", "rate")
    first = grid("algo", *heads, right=heads)
    first.columns[0].no_wrap = True
    for item in found.algos:
        first.add_row(*_row(item))
    differences = ("orders", "schedule lower by", "cost less, bp", "both lower by", "both less, bp")
    second = grid("pair", *differences, right=differences)
    second.columns[0].no_wrap = True
    for pair in found.comparisons:
        second.add_row(
            f"{pair.algo} against {pair.against}",
            str(pair.pairs),
            _interval(pair.schedule_reduction, 100, "%"),
            _interval(pair.cost_difference_bps, places=2),
            _interval(pair.reduction, 100, "%"),
            _interval(pair.difference_bps),
        )
    out, split = console(WIDEST), found.split
    out.print(
        f"{len(found.symbols)} symbols, {split.report_from} to {split.report_to}, seed {found.scenario.seed};"
    )
    out.print(f"parameters chosen on {split.train_from} to {split.train_to} ({found.train_orders} orders).")
    out.print(first)
    if found.comparisons:
        out.print(second)
    for item in found.algos:
        chosen = item.setup.params
        out.print(
            f"{item.setup.algo}: {', '.join(f'{k} {v}' for k, v in msgspec.to_builtins(chosen).items())}"
        )
    out.print(
        "schedule: the recorded VWAP of the minutes traded against that of the order's time; cost paid:"
    )
    out.print("half-spread and impact; both: |average price - VWAP of the time|. Medians, the cost a mean.")
    for item in found.algos:
        out.print(
            f"{item.setup.algo}: {item.spread_bps:.2f} bp of the cost are half-spread; both would be "
            f"{item.floor_bps:.1f} if every schedule met the VWAP."
        )
    out.print("Square brackets: 95%, bootstrap over weeks of trading dates.")
    out.print(f"{found.skipped} orders could not begin. SHA-256 of the scores:")
    out.print(found.digest)


def _row(item: AlgoFigures) -> tuple[str, ...]:
    return (
        item.setup.algo,
        str(item.orders),
        f"{item.filled:.1%}",
        _interval(item.schedule_bps),
        _interval(item.cost_bps, places=2),
        _interval(item.tracking_bps),
        _interval(item.shortfall_bps),
        f"{item.predicted_bps:.1f}",
        _interval(item.coverage, 100, "%"),
        _interval(item.rate, 100, "%", 2) if item.setup.algo == "POV" else f"{item.rate.value:.2%}",
    )


def _interval(found: Interval, scale: float = 1, unit: str = "", places: int = 1) -> str:
    low, high = (f"{scale * bound:.{places}f}" for bound in (found.low, found.high))
    return f"{scale * found.value:.{places}f}{unit} \\[{low}, {high}]"


def _show_orders(scores: list[Score]) -> None:
    from qtinfra.cli.tables import grid

    numbers = ("ordered", "filled", "tracking bp", "IS bp", "forecast", "band", "rate")
    table = grid("algo", "date", "side", *numbers, right=numbers)
    for item in scores:
        table.add_row(
            item.algo,
            f"{item.symbol} {item.trade_date}",
            "buy" if item.buy else "sell",
            str(item.ordered),
            str(item.filled),
            f"{item.tracking_bps:.1f}" if item.tracking_bps is not None else "-",
            f"{item.shortfall_bps:.1f}",
            f"{item.predicted_bps:.1f}",
            f"{item.low_bps:.0f} to {item.high_bps:.0f}",
            f"{item.rate:.2%}",
        )
    console().print(table)
    console().print("One day without earlier ones: no curve is known, VWAP's is even.")
