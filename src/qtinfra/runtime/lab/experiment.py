"""The whole experiment: choose on training dates, run the reported ones, put the verdict together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from math import inf
from statistics import median

import msgspec

from qtinfra.runtime.lab.history import Params
from qtinfra.runtime.lab.play import Setup
from qtinfra.runtime.lab.score import Score
from qtinfra.runtime.lab.study import Progress, Scenario, Source, Split, run_all, tasks_of
from qtinfra.runtime.lab.verdict import (
    AlgoFigures,
    Comparison,
    choose,
    compare,
    figures,
    filled_part,
    objective,
)

#: Told what is going on and how much of it is done.
Stage = Callable[[str], Progress | None]

#: Each so manieth training date of a symbol is used.
TRAIN_EVERY = 8

#: What VWAP is chosen from: curve, its bins and look-back, intervals, whether the day steers it.
VWAP_GRID = tuple(
    Params(curve, bin_minutes, lookback, slice_minutes, 0.0, steered)
    for curve, bin_minutes, lookback, slice_minutes, steered in (
        ("static", 15, 20, 15, False),
        ("static", 15, 20, 5, False),
        ("static", 5, 20, 5, False),
        ("static", 5, 20, 1, False),
        ("capped", 5, 40, 5, False),
        ("kalman", 30, 40, 5, True),
        ("capped", 15, 40, 5, True),
        ("static", 5, 20, 2, True),
        ("capped", 5, 40, 2, True),
        ("median", 10, 40, 2, True),
        ("log-mean", 10, 40, 2, True),
        ("capped", 5, 40, 1, True),
    )
)
#: TWAP by itself: intervals, and a clip.
TWAP_GRID = tuple(
    Params("flat", 15, 20, minutes, clip)
    for minutes, clip in ((1, 0.0), (2, 0.0), (5, 0.0), (5, 0.05), (15, 0.0), (30, 0.0))
)
#: POV: the interval on which it may catch up.
POV_GRID = tuple(Params("static", 15, 20, minutes, 0.0) for minutes in (5, 15, 30))
GRIDS = {"VWAP": VWAP_GRID, "TWAP": TWAP_GRID, "POV": POV_GRID, "IS": (Params(),)}


class Candidate(msgspec.Struct, frozen=True):
    """One candidate on the training dates: the objective, its schedule's tracking alone, the part filled."""

    setup: Setup
    orders: int
    objective: float
    schedule_bps: float
    filled: float


class Result(msgspec.Struct, frozen=True):
    """A study's verdict.

    Attributes:
        symbols, split, scenario: what was run.
        train_orders: orders on training dates, over all candidates.
        skipped: orders on reported dates that could not begin: nothing had printed by their start.
        algos: figures of each algorithm. comparisons: the first algorithm against each other one.
        candidates: what each algorithm was chosen from, and how they did on the training dates.
        digest: SHA-256 of all scores of the reported dates.
    """

    symbols: tuple[str, ...]
    split: Split
    scenario: Scenario
    train_orders: int
    skipped: int
    algos: tuple[AlgoFigures, ...]
    comparisons: tuple[Comparison, ...]
    digest: str
    candidates: tuple[Candidate, ...] = ()


def run_experiment(
    sources: Sequence[Source],
    setups: Sequence[Setup],
    scenario: Scenario,
    split: Split,
    *,
    workers: int = 1,
    train_every: int = TRAIN_EVERY,
    stage: Stage = lambda _: None,
) -> Result:
    """Choose each algorithm's parameters on training dates, then report.

    Every algorithm by the same rule on the same dates, from its own grid.

    Args:
        setups: the algorithms; the first is compared with the others. Their parameters are replaced by the
            chosen ones.
        workers: processes.

    Raises:
        ValueError: no setups, or no orders on training or reported dates.
    """
    chosen: list[Setup] = []
    tried: list[Candidate] = []
    for setup in setups:
        candidates = [msgspec.structs.replace(setup, params=params) for params in GRIDS[setup.algo]]
        if len(candidates) > 1:
            tasks = tasks_of(
                sources,
                candidates,
                scenario,
                split.train_from,
                split.train_to,
                every=train_every,
                fit_to=split.train_from,
            )
            scores, _ = run_all(tasks, len(candidates), workers, stage(f"choosing {setup.algo}"))
            tried += [_tried(*pair) for pair in zip(candidates, scores, strict=True)]
            candidates = [choose(candidates, scores, split)]
        chosen += candidates
    found = report(
        sources,
        chosen,
        scenario,
        split,
        workers=workers,
        stage=stage,
        train_orders=sum(item.orders for item in tried),
    )
    return msgspec.structs.replace(found, candidates=tuple(tried))


def _tried(setup: Setup, scores: Sequence[Score]) -> Candidate:
    schedules = [item.schedule_bps for item in scores if item.schedule_bps is not None]
    return Candidate(
        setup,
        len(scores),
        objective(setup, scores) if scores else inf,
        median(schedules) if schedules else inf,
        filled_part(scores) if scores else 0.0,
    )


def report(
    sources: Sequence[Source],
    setups: Sequence[Setup],
    scenario: Scenario,
    split: Split,
    *,
    workers: int = 1,
    stage: Stage = lambda _: None,
    train_orders: int = 0,
) -> Result:
    """The reported dates with parameters that are given.

    Raises:
        ValueError: no setups, or no orders on the reported dates.
    """
    tasks = tasks_of(sources, setups, scenario, split.report_from, split.report_to, fit_to=split.report_from)
    scores, skipped = run_all(tasks, len(setups), workers, stage("reported dates"))
    if not scores or not all(scores):
        raise ValueError(f"no orders from {split.report_from} to {split.report_to}")
    return verdict(sources, setups, scores, scenario, split, train_orders=train_orders, skipped=skipped)


def verdict(
    sources: Sequence[Source],
    setups: Sequence[Setup],
    scores: Sequence[Sequence[Score]],
    scenario: Scenario,
    split: Split,
    *,
    train_orders: int,
    skipped: int,
) -> Result:
    """Figures and comparisons from the reported scores."""
    first, others = (
        scores[0],
        [found for setup, found in zip(setups, scores, strict=True) if setup.algo != "POV"],
    )
    comparable = setups[0].algo != "POV"
    return Result(
        tuple(source.symbol for source in sources),
        split,
        scenario,
        train_orders,
        skipped,
        tuple(
            figures(setup, found, split, scenario.seed) for setup, found in zip(setups, scores, strict=True)
        ),
        tuple(
            compare(first, found, split, scenario.seed)
            for found in others
            if comparable and found is not first
        ),
        sha256(msgspec.json.encode(list(scores))).hexdigest(),
    )
