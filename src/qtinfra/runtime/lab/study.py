"""Orders of many symbols and days, in worker processes.

Dates for choosing parameters and dates for reporting cannot touch: `Split` refuses it. All follows from
the files and the seed; workers change nothing but the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import msgspec

from qtinfra.core.strategies.inputs import Strategy
from qtinfra.core.strategies.registry import BUILT_IN
from qtinfra.core.strategies.vwap import Vwap
from qtinfra.marketdata.bars import MINUTE_NS, by_session, read_bars
from qtinfra.marketdata.calendars import build_calendar
from qtinfra.runtime.lab.days import LabDay, from_bars
from qtinfra.runtime.lab.history import FACT_DAYS, DayFacts, History, facts_of_morning
from qtinfra.runtime.lab.play import LabOrder, Played, Setup, other_side, play
from qtinfra.runtime.lab.score import Score, score
from qtinfra.runtime.lab.ticks import from_lobster, from_nbbo

#: Told how many stock-days of how many are done.
Progress = Callable[[int, int], None]

#: Orders of a stock-day: a buy and a sell.
SIDES = 2
#: Dates of one task for a worker.
TASK_DATES = 12
MAX_WORKERS = 64
_CALENDAR_MIC = "XNYS"


class LeakError(ValueError):
    """Dates for choosing parameters and dates for reporting results touch."""


class Split(msgspec.Struct, frozen=True):
    """Parameters are chosen on dates up to and with `train_to`; results are those from `report_from` on.

    Attributes:
        train_from, train_to, report_from, report_to: ISO dates, inclusive.

    Raises:
        LeakError: the reported dates do not begin after the last training date, or a range is empty.
    """

    train_from: str = "2024-05-01"
    train_to: str = "2024-08-31"
    report_from: str = "2024-09-01"
    report_to: str = "2024-12-31"

    def __post_init__(self) -> None:
        if not self.train_from <= self.train_to < self.report_from <= self.report_to:
            raise LeakError(f"train to {self.train_to}, report from {self.report_from}: they must not touch")


class Source(msgspec.Struct, frozen=True):
    """Where a symbol's days are recorded: a file of minute bars, or of ticks by day.

    Attributes:
        kind: bars, nbbo or lobster.
        files: bars: one file; nbbo: (quotes, trades) of each day; lobster: (messages, messages of the seed,
            book of the seed).
    """

    symbol: str
    kind: str
    files: tuple[tuple[str, ...], ...]


class Scenario(msgspec.Struct, frozen=True):
    """The orders, the same for every algorithm.

    Attributes:
        seed: of the intervals' resamples; both sides of every stock-day are played.
        share: of the mean daily volume that is ordered.
        start_minutes: from the open to the order's start; it ends at the close, before the auction.
        warmup_days: earlier days that a day needs.

    Raises:
        ValueError: a number is out of its range.
    """

    seed: int = 1
    share: float = 0.01
    start_minutes: int = 5
    warmup_days: int = FACT_DAYS

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.start_minutes < 0 or self.warmup_days < 0:
            raise ValueError("share: above 0 and at most 1; start_minutes and warmup_days: at least 0")


class Task(msgspec.Struct, frozen=True):
    """Some dates of one symbol for a worker; `fit_to`: models are fitted on days before this date."""

    source: Source
    dates: tuple[str, ...]
    setups: tuple[Setup, ...]
    scenario: Scenario
    fit_to: str = ""


# -- days ------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def load(source: Source) -> History:
    """The days of a source, oldest first, read once per process.

    Raises:
        RecordedDataError: a file breaks its format.
        OSError: a file cannot be read.
    """
    if source.kind == "nbbo":
        return History(sorted((from_nbbo(*pair) for pair in source.files), key=_date))
    if source.kind == "lobster":
        return History([from_lobster(*source.files[0])])
    bars = read_bars(source.files[0][0])
    first, last = (datetime.fromtimestamp(bar.ts_ns // 10**9, UTC).date() for bar in (bars[0], bars[-1]))
    calendar = build_calendar(_CALENDAR_MIC, first, last)
    return History([from_bars(source.symbol, day) for day in by_session(bars, calendar)])


def bar_sources(folder: Path, symbols: Sequence[str] = ()) -> list[Source]:
    """The files `SYMBOL_1min_*.csv.gz` of a folder, by symbol.

    Raises:
        FileNotFoundError: there are none, or none of a symbol.
    """
    found = {path.name.split("_")[0]: path for path in sorted(folder.glob("*_1min_*.csv.gz"))}
    missing = [symbol for symbol in symbols if symbol not in found]
    if missing or not found:
        raise FileNotFoundError(f"{folder}: no file {missing[0] if missing else 'SYMBOL'}_1min_*.csv.gz")
    return [Source(symbol, "bars", ((str(found[symbol]),),)) for symbol in symbols or found]


def _date(day: LabDay) -> str:
    return day.trade_date


# -- running ---------------------------------------------------------------------------------------


def order_of(day: LabDay, facts: DayFacts, scenario: Scenario, setup: Setup, buy: bool = True) -> LabOrder:
    """The day's order on one side. POV gets what its rate takes in a day."""
    share = float(setup.rate) if setup.algo == "POV" else scenario.share
    qty = max(1, round(facts.daily_volume * share))
    return LabOrder(buy, qty, day.open_ns + scenario.start_minutes * MINUTE_NS, day.close_ns)


def run_day(history: History, place: int, setup: Setup, scenario: Scenario, fit_to: str = "") -> list[Score]:
    """A buy and a sell order of one day; none when nothing had printed by their start."""
    day = history.days[place]
    start = day.open_ns + scenario.start_minutes * MINUTE_NS
    if place:
        facts = history.facts(place, setup.params, _fit_place(history, place, fit_to))
    else:
        facts = facts_of_morning(day, start)
    found: list[Score] = []
    bought: Played | None = None
    for buy in (True, False):
        order = order_of(day, facts, scenario, setup, buy)
        if bought is not None and day.quotes is None:
            played: Played | None = other_side(bought, day, facts)
        else:
            played = bought = play(strategy_of(setup), setup, order, day, facts)
        if played is None:
            return []
        found.append(score(setup, order, day, facts, played))
    return found


def strategy_of(setup: Setup) -> Strategy:
    """The planner of a set-up."""
    if setup.algo == Vwap.name and not setup.params.steered:
        return Vwap(steered=False)
    return BUILT_IN[setup.algo]


def _fit_place(history: History, place: int, fit_to: str) -> int:
    """The first day from `fit_to` on, and at most `place`."""
    return next((at for at in range(place) if fit_to and history.days[at].trade_date >= fit_to), place)


def run_task(task: Task) -> list[tuple[int, list[Score]]]:
    """Every set-up on every date of the task, as (number of the set-up, scores)."""
    history = load(task.source)
    wanted = set(task.dates)
    places = [place for place, day in enumerate(history.days) if day.trade_date in wanted]
    return [
        (number, run_day(history, place, setup, task.scenario, task.fit_to))
        for place in places
        for number, setup in enumerate(task.setups)
    ]


def run_all(
    tasks: Sequence[Task], setups: int, workers: int = 1, progress: Progress | None = None
) -> tuple[list[list[Score]], int]:
    """The scores of each set-up in the order of the tasks, and how many orders could not begin.

    Args:
        workers: processes, 1 to `MAX_WORKERS`; 1 runs in this one.
    """
    scores: list[list[Score]] = [[] for _ in range(setups)]
    total, done, skipped = sum(len(task.dates) for task in tasks), 0, 0
    for task, found in zip(tasks, _results(tasks, min(workers, MAX_WORKERS)), strict=True):
        for number, item in found:
            skipped += 0 if item else SIDES
            scores[number] += item
        done += len(task.dates)
        if progress is not None:
            progress(done, total)
    return scores, skipped


def _results(tasks: Sequence[Task], workers: int) -> Iterator[list[tuple[int, list[Score]]]]:
    if workers <= 1:
        yield from map(run_task, tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run_task, tasks)


def tasks_of(
    sources: Iterable[Source],
    setups: Sequence[Setup],
    scenario: Scenario,
    first: str,
    last: str,
    *,
    every: int = 1,
    fit_to: str = "",
) -> list[Task]:
    """Tasks for the dates from `first` to `last` that have enough days before them.

    Args:
        every: only each so manieth date of a symbol.
    """
    tasks = []
    for source in sources:
        known = [day.trade_date for day in load(source).days]
        dates = [text for text in known[scenario.warmup_days :] if first <= text <= last]
        chosen = dates[::every]
        tasks += [
            Task(source, tuple(chosen[at : at + TASK_DATES]), tuple(setups), scenario, fit_to)
            for at in range(0, len(chosen), TASK_DATES)
        ]
    return tasks
