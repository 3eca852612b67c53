"""kill -9 under load, at random moments and at named steps: nothing is lost, nothing is sent or booked twice.

The venues are one process that outlives all engines. The client sends orders, cancels and replaces, and after
each restart first sends again, under the same ids, what it never saw acknowledged. From time to time it lets
everything settle and compares its own record, the journal and the venues' record (`reconcile`).

Two builds with a planted bug run the same way and must be found out; else the method is blind.
"""

from __future__ import annotations

import multiprocessing
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec

from qtinfra.testing.prove.engine import Life
from qtinfra.testing.prove.lives import SIGKILLED, Lives, Tally
from qtinfra.testing.prove.processes import engine_processes, venue_process
from qtinfra.testing.prove.reconcile import KINDS
from qtinfra.testing.prove.recovery_time import RecoveryTimes, recovery_times
from qtinfra.testing.prove.steps import ONCE, REPEATED

#: Planted bugs that the harness must find.
BUGS = ("early_release", "blind_resend")
#: Kills on one journal, with one set of venues.
EPISODE_KILLS = 100
RECONCILE_EVERY = 25
_CONTROL_KILLS = 60
_CONTROL_RECONCILE_EVERY = 6
_SHOWN = 10
#: How a life ends: at a named step, at a random moment under load or of the recovery, or out of memory.
_WAYS = ("step", "load", "early", "starved")
_SHARES = (60, 26, 9, 5)
_TELLING = ("append_begin", "append_committing")  # where a planted bug shows
_MOST_MEMORY = 1 << 20
_ENDS_STARVED = (SIGKILLED, -signal.SIGSEGV, -signal.SIGABRT, 1)
_STEP_PATIENCE_S = 0.3  # a life that does not reach its step by then is killed at that moment


class Episode(msgspec.Struct, frozen=True):
    """Kills on one journal. `journal` is its file's name; `bug` is planted, "" for none."""

    kills: int
    seed: int
    journal: str = "journal.db"
    bug: str = ""
    reconcile_every: int = RECONCILE_EVERY


class Control(msgspec.Struct, frozen=True):
    """A build with a planted bug. `found` says what gave it away, after so many kills; empty when blind."""

    bug: str
    kills: int
    found: str = ""


class KillReport(msgspec.Struct, frozen=True):
    """What so many kills have shown.

    Attributes:
        seed, workers: of the run; the moments of random kills are the machine's and differ between runs.
        at_steps: kills by the engine's own hand, at each named step.
        at_random: kills at a random moment, `while_recovering` of them before it had begun to serve.
        disagreements: by kind (`reconcile.KINDS`); all 0 when nothing was lost and nothing doubled.
        examples: the first of them, in words.
        starved: lives in which memory ran out (RLIMIT_AS); they are among `at_random`. Such an engine may
            stop itself and tell its callers that their outcome is unknown.
        controls: builds with a planted bug, each of which must have been found.
    """

    kills: int
    seed: int
    workers: int
    seconds: float
    kills_per_minute: float
    at_steps: dict[str, int]
    at_random: int
    while_recovering: int
    starved: int
    lives_from_snapshot: int
    reconciliations: int
    commands: int
    acknowledged: int
    sent_again: int
    orders: int
    executions: int
    ids: int
    events: int
    doubted: int
    never_received: int
    disagreements: dict[str, int]
    examples: tuple[str, ...]
    recovery: RecoveryTimes
    controls: tuple[Control, ...]

    @property
    def passed(self) -> bool:
        """No disagreement, and every planted bug found."""
        return not any(self.disagreements.values()) and all(control.found for control in self.controls)


def run_kills(count: int, seed: int, workers: int = 2, *, bugs: Sequence[str] = BUGS) -> KillReport:
    """Kill `count` times and show that the three records agree.

    Args:
        count: kills, over journals of both kinds in turn.
        seed: of the client, the market and the choice of steps.
        workers: episodes at a time, each with processes of its own.
        bugs: planted ones, each in a run of its own that must fail.
    """
    began = time.monotonic()
    tallies = list(_run_all(_episodes(count, seed), workers))
    seconds = time.monotonic() - began
    controls = [
        Episode(_CONTROL_KILLS, seed, bug=bug, reconcile_every=_CONTROL_RECONCILE_EVERY) for bug in bugs
    ]
    found = [
        _control(episode, tally) for episode, tally in zip(controls, _run_all(controls, workers), strict=True)
    ]
    return _report(tallies, seed, workers, seconds, found)


def _episodes(count: int, seed: int) -> list[Episode]:
    """At least one on each kind of journal, when there is more than one kill."""
    number = max(-(-count // EPISODE_KILLS), min(2, count))
    shares = [count // number + (i < count % number) for i in range(number)]
    names = ("journal.db", "journal.log")
    return [Episode(share, seed * 1_000_003 + i, names[i % 2]) for i, share in enumerate(shares)]


def _run_all(episodes: Sequence[Episode], workers: int) -> Iterator[Tally]:
    if workers == 1 or len(episodes) <= 1:
        yield from map(run_episode, episodes)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(episodes)), mp_context=spawn) as pool:
        yield from pool.map(run_episode, episodes)


def run_episode(episode: Episode) -> Tally:
    """Kill on one journal until the count is reached or two records disagree."""
    rng = random.Random(episode.seed)
    with open_lives(episode, rng) as lives:
        while lives.tally.lives < episode.kills and not lives.tally.found:
            number = lives.tally.lives
            last = number == episode.kills - 1
            if last or number % episode.reconcile_every == episode.reconcile_every - 1:
                _settled_life(lives, episode, rng)
            else:
                _one_life(lives, episode, rng)
        return lives.tally


@contextmanager
def open_lives(episode: Episode, rng: random.Random) -> Iterator[Lives]:
    """Venues, a fork server and a client on a journal in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="qtinfra-kills-") as name:
        folder = Path(name)
        journal = folder / episode.journal
        with venue_process(episode.seed) as venues:
            began = time.monotonic()
            with engine_processes(journal, venues, folder) as engines:
                lives = Lives(engines, venues, journal, rng)
                lives.tally.interpreters_ms.append((time.monotonic() - began) * 1000)
                yield lives


def _one_life(lives: Lives, episode: Episode, rng: random.Random) -> None:
    """Ended at a named step, at a random moment under load, or at one while it still recovers."""
    way = rng.choices(("step", "load") if episode.bug else _WAYS, (1, 1) if episode.bug else _SHARES)[0]
    step, nth = _any_step(rng, _TELLING if episode.bug else (*ONCE, *REPEATED)) if way == "step" else ("", 0)
    memory = rng.randint(1, _MOST_MEMORY) if way == "starved" else 0
    lives.begin(Life(lives.tally.lives, rng.random() < 0.5, step, nth, bug=episode.bug, memory_bytes=memory))
    alive = True
    if way == "early":
        lives.tally.while_recovering += 1
        time.sleep(rng.uniform(0.0, 0.06))
    else:
        begun = lives.hear_until("started" if rng.random() < 0.5 else "ready")
        patience = rng.uniform(0.005, 0.060) if way == "load" else _STEP_PATIENCE_S
        alive = begun is not None and lives.load(patience)
    if not alive and step:
        lives.tally.steps[step] += 1
    lives.tally.starved += way == "starved"
    lives.kill(allowed=_ENDS_STARVED if way == "starved" else (SIGKILLED,))
    if way == "starved":
        lives.forgive_stop()
    if rng.random() < 0.3:
        lives.venues.tick()  # the market goes on while no engine is there


def _any_step(rng: random.Random, steps: Sequence[str]) -> tuple[str, int]:
    step = rng.choice(steps)
    if step in ONCE:
        return step, 1
    return step, 1 if step.startswith("snapshot") else rng.randint(1, 40)


def _settled_life(lives: Lives, episode: Episode, rng: random.Random) -> None:
    lives.begin(Life(lives.tally.lives, rng.random() < 0.5, bug=episode.bug))
    lives.hear_until("ready")
    lives.load(rng.uniform(0.005, 0.060))
    lives.tally.found += lives.settle()
    lives.kill()


def _control(episode: Episode, tally: Tally) -> Control:
    telling = [
        one.text for one in tally.found if one.kind in ("acknowledged_lost", "venue_order", "execution")
    ]
    return Control(episode.bug, tally.lives, telling[0] if telling else "")


def _report(
    tallies: Sequence[Tally], seed: int, workers: int, seconds: float, controls: Sequence[Control]
) -> KillReport:
    steps: Counter[str] = sum((tally.steps for tally in tallies), Counter())
    found = [one for tally in tallies for one in tally.found]
    kinds = Counter(one.kind for one in found)
    kills = sum(tally.lives for tally in tallies)
    return KillReport(
        kills=kills,
        seed=seed,
        workers=workers,
        seconds=round(seconds, 1),
        kills_per_minute=round(kills * 60 / seconds, 1) if seconds else 0.0,
        at_steps=dict(sorted(steps.items())),
        at_random=kills - sum(steps.values()),
        while_recovering=sum(tally.while_recovering for tally in tallies),
        starved=sum(tally.starved for tally in tallies),
        lives_from_snapshot=sum(tally.from_snapshot for tally in tallies),
        reconciliations=sum(tally.reconciliations for tally in tallies),
        commands=sum(tally.commands for tally in tallies),
        acknowledged=sum(tally.acknowledged for tally in tallies),
        sent_again=sum(tally.sent_again for tally in tallies),
        orders=sum(tally.orders for tally in tallies),
        executions=sum(tally.executions for tally in tallies),
        ids=sum(tally.ids for tally in tallies),
        events=sum(tally.events for tally in tallies),
        doubted=sum(tally.doubted for tally in tallies),
        never_received=sum(tally.never_received for tally in tallies),
        disagreements={kind: kinds[kind] for kind in KINDS},
        examples=tuple(one.text for one in found[:_SHOWN]),
        recovery=recovery_times(
            [ms for tally in tallies for ms in tally.restarts_ms],
            [ms for tally in tallies for ms in tally.interpreters_ms],
        ),
        controls=tuple(controls),
    )
