"""Runs: one script, one seed, many seeds on several processes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice

import msgspec

from qtinfra.testing.faultsim.actions import perform
from qtinfra.testing.faultsim.poison import poisonous
from qtinfra.testing.faultsim.script import FAULTS, Action, Script, draw_actions, draw_policies
from qtinfra.testing.faultsim.settle import settle
from qtinfra.testing.faultsim.shrink import shrink
from qtinfra.testing.faultsim.world import World

_LEAST_EVENTS = 300
_MOST_ACTIONS = 20_000
_AT_ONCE = 8
_NO_SEED = 1 << 60


class RunResult(msgspec.Struct, frozen=True):
    """What one run came to.

    Attributes:
        script: what was done; playing it again gives the same digest.
        events: events in the journal. actions: acts of the script.
        violations: what must hold and did not, in words; empty when all held.
        counts: how often each thing happened: "do_" and the kind of an act, faults, crashes, recoveries.
        digest: SHA-256 over journal, venue reports, answers and counts.
    """

    script: Script
    events: int
    actions: int
    violations: tuple[str, ...]
    counts: dict[str, int]
    digest: str


class Failure(msgspec.Struct, frozen=True):
    """A seed that broke something: how, and the shortest script found that still does."""

    seed: int
    violations: tuple[str, ...]
    script: Script


class SeedReport(msgspec.Struct, frozen=True):
    """What a range of seeds came to; JSON by `msgspec.json.encode`.

    Attributes:
        first, last: the seeds, both included. repeated: how many were run twice and compared by digest.
        events: journaled events of all; least_events: of the seed with the fewest, of those that ran to their
            end. One that ends with fewer than were asked for is a failure.
        faults: how often each kind of fault was injected. counts: everything else that was counted.
    """

    first: int
    last: int
    seeds: int
    repeated: int
    events: int
    least_events: int
    actions: int
    crashes: int
    recoveries: int
    faults: dict[str, int]
    counts: dict[str, int]
    failures: tuple[Failure, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was violated."""
        return not self.failures


def play(script: Script, until: Callable[[World], bool] | None = None) -> RunResult:
    """Run a script from its beginning to the rest at its end.

    Args:
        until: ends the acts early, before the settling; None plays them all.
    """
    return _run(script, script.actions, until or (lambda _: False))


def run_seed(seed: int, events: int = _LEAST_EVENTS) -> RunResult:
    """Run a seed until at least so many events are journaled."""
    script = Script(seed, draw_policies(seed), ())
    actions = islice(draw_actions(seed), _MOST_ACTIONS)
    return _run(script, actions, lambda world: world.durable.events >= events)


def _run(script: Script, actions: Iterable[Action], enough: Callable[[World], bool]) -> RunResult:
    world = World(script.seed, script.policies)
    done: list[Action] = []
    with poisonous(), world.entered():
        world.start()
        for action in actions:
            if enough(world) or world.violations():
                break
            done.append(action)
            perform(world, action)
        if not world.violations():
            settle(world)
        result = RunResult(
            script.with_actions(tuple(done)),
            world.durable.events,
            len(done),
            tuple(world.violations()),
            dict(sorted(world.counts.items())),
            world.digest(),
        )
        world.end()
    return result


def fails_alike(script: Script) -> bool:
    """Whether a script breaks anything."""
    return bool(play(script).violations)


# --- many seeds ------------------------------------------------------------------------------------------


class _Tally(msgspec.Struct):
    """What some seeds came to, in the process that ran them."""

    seeds: int = 0
    repeated: int = 0
    events: int = 0
    least_events: int = _NO_SEED
    actions: int = 0
    counts: dict[str, int] = {}
    failures: list[Failure] = []


def _tally(seeds: range, events: int, repeat_every: int, shrinks: bool) -> _Tally:
    tally, counts = _Tally(), Counter[str]()
    for seed in seeds:
        result = run_seed(seed, events)
        tally.seeds += 1
        tally.events += result.events
        tally.actions += result.actions
        counts.update(result.counts)
        violations = result.violations
        if not violations:
            tally.least_events = min(tally.least_events, result.events)
            if result.events < events:
                violations = (f"only {result.events} events of {events} after {result.actions} actions",)
        if repeat_every and seed % repeat_every == 0 and not violations:
            tally.repeated += 1
            again = play(result.script)
            if again.digest != result.digest:
                violations = (f"digest {result.digest} is {again.digest} when the script is played again",)
        if violations:
            script = shrink(result.script, fails_alike) if shrinks and result.violations else result.script
            tally.failures.append(Failure(seed, violations, script))
    tally.counts = dict(counts)
    return tally


def run_seeds(
    first: int,
    last: int,
    events: int = _LEAST_EVENTS,
    workers: int | None = None,
    *,
    repeat_every: int = 10,
    shrinks: bool = True,
) -> SeedReport:
    """Run every seed from `first` to `last`, both included.

    Args:
        events: least events that each seed journals.
        workers: processes; None for one per core, 1 for this one alone.
        repeat_every: every so many seeds one is played again and its digest compared; 0 for none.
        shrinks: make failing scripts short, which takes some hundred runs each.
    """
    seeds = range(first, last + 1)
    workers = workers or os.cpu_count() or 1
    work = partial(_tally, events=events, repeat_every=repeat_every, shrinks=shrinks)
    if workers == 1:
        return _report(seeds, [work(seeds)])
    parts = [seeds[start : start + _AT_ONCE] for start in range(0, len(seeds), _AT_ONCE)]
    with ProcessPoolExecutor(workers) as pool:
        return _report(seeds, pool.map(work, parts))


def _report(seeds: range, tallies: Iterable[_Tally]) -> SeedReport:
    counts: Counter[str] = Counter()
    total = _Tally()
    for tally in tallies:
        counts.update(tally.counts)
        total.seeds += tally.seeds
        total.repeated += tally.repeated
        total.events += tally.events
        total.least_events = min(total.least_events, tally.least_events)
        total.actions += tally.actions
        total.failures = [*total.failures, *tally.failures]
    return SeedReport(
        first=seeds.start,
        last=seeds.stop - 1,
        seeds=total.seeds,
        repeated=total.repeated,
        events=total.events,
        least_events=total.least_events if total.least_events < _NO_SEED else 0,
        actions=total.actions,
        crashes=counts["power_cuts"] + counts["kills"],
        recoveries=counts["recoveries"],
        faults=dict(_faults(counts)),
        counts=dict(sorted(counts.items())),
        failures=tuple(total.failures),
    )


def _faults(counts: Counter[str]) -> Iterator[tuple[str, int]]:
    for kind in FAULTS:
        yield kind, counts[f"do_{kind}"]
