"""Detection power: engines broken on purpose, one bug at a time, that the simulation has to find.

A bug is a change of one real function while the run lasts. The simulation gets a budget of seeds for each;
which ones is said by the caller, so that they can be others than those that were looked at while writing.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import msgspec

from qtinfra.core.exceptions import QtInfraError
from qtinfra.runtime.recovery import UNFIT
from qtinfra.testing.faultsim import bugs_engine, bugs_runtime
from qtinfra.testing.faultsim.bugs_runtime import Plant
from qtinfra.testing.faultsim.run import run_seed

#: Seeds that nobody looked at while bugs and checks were written.
FIRST_SEED = 23_000_000
#: Seeds that are tried on each bug.
BUDGET = 200


class PlantedBug(msgspec.Struct, frozen=True):
    """A mistake that somebody could make.

    Attributes:
        fault: the row of the fault catalogue that it falls under.
        wrong: what is wrong, in words.
        plant: breaks the code while its context lasts.
    """

    name: str
    fault: str
    wrong: str
    plant: Plant


class PlantedResult(msgspec.Struct, frozen=True):
    """Whether a bug was found: with which seed, after how many, how many events, and by what.

    `check` is the first violation; empty when none was seen within the budget.
    """

    name: str
    fault: str
    wrong: str
    found: bool
    seed: int
    seeds_tried: int
    events: int
    check: str


PLANTED: tuple[PlantedBug, ...] = tuple(PlantedBug(*bug) for bug in (*bugs_runtime.BUGS, *bugs_engine.BUGS))


def look_for(bug: PlantedBug, first_seed: int, budget: int, events: int = 300) -> PlantedResult:
    """Run seeds on the broken code until one finds it."""
    seen = 0
    for tried in range(1, budget + 1):
        seed = first_seed + tried - 1
        with bug.plant():
            try:
                result = run_seed(seed, events)
            except (*UNFIT, QtInfraError, RuntimeError) as error:
                return _found(bug, seed, tried, seen, f"the run ends with {error!r}")
        seen += result.events
        if result.violations:
            return _found(bug, seed, tried, seen, result.violations[0])
    return PlantedResult(bug.name, bug.fault, bug.wrong, False, 0, budget, seen, "")


def _found(bug: PlantedBug, seed: int, tried: int, events: int, check: str) -> PlantedResult:
    return PlantedResult(bug.name, bug.fault, bug.wrong, True, seed, tried, events, check)


def _look_by_number(number: int, first_seed: int, budget: int) -> PlantedResult:
    return look_for(PLANTED[number], first_seed, budget)


def run_planted(
    budget: int = BUDGET,
    *,
    first_seed: int = FIRST_SEED,
    workers: int = 1,
    names: Sequence[str] | None = None,
) -> list[PlantedResult]:
    """Look for every planted bug.

    Args:
        budget: most seeds for each.
        first_seed: where the seeds begin.
        workers: processes; 1 for this one alone.
        names: only these bugs; None for all.
    """
    numbers = [n for n, bug in enumerate(PLANTED) if names is None or bug.name in names]
    work = partial(_look_by_number, first_seed=first_seed, budget=budget)
    if workers == 1:
        return [work(number) for number in numbers]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(work, numbers))
