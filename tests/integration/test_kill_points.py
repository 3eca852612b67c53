"""kill -9 under load, at random moments and at named steps, then three records compared (FM-01, -22, -26).

QTINFRA_KILLS sets the number of kills (default 40), QTINFRA_CRASH_SEED the seed.
"""

import os
import random
import signal
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from qtinfra.core.exceptions import FencedError
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.testing.prove.engine import Life
from qtinfra.testing.prove.kills import BUGS, Control, Episode, KillReport, open_lives, run_kills
from qtinfra.testing.prove.recovery_time import RecoveryTimes, percentile, recovery_times
from qtinfra.testing.prove.steps import ONCE, REPEATED, Steps

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("QTINFRA_KILLS", "40"))
SEED = int(os.environ.get("QTINFRA_CRASH_SEED", "1"))
STEPPED = (*ONCE, *REPEATED)


def test_fm_01_and_fm_26_nothing_is_lost_or_doubled_when_the_engine_is_killed_under_load(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = run_kills(KILLS, SEED, workers=2 if KILLS > 200 else 1, bugs=())
    with capsys.disabled():
        sys.stdout.write(f"\n{msgspec.json.encode(report).decode()}\n")
    assert report.disagreements == dict.fromkeys(report.disagreements, 0), report.examples
    assert report.kills == KILLS
    assert report.at_random + sum(report.at_steps.values()) == KILLS
    assert report.acknowledged == report.commands > KILLS
    assert report.recovery.count > 0
    assert msgspec.json.decode(msgspec.json.encode(report), type=KillReport) == report


@pytest.mark.parametrize("bug", BUGS)
def test_a_build_with_a_planted_bug_is_found_out(bug: str) -> None:
    report = run_kills(0, SEED, workers=1, bugs=(bug,))
    (control,) = report.controls
    assert control.bug == bug
    assert "is lost" in control.found or "does not know" in control.found, control
    assert report.passed


def test_a_report_with_a_blind_control_or_a_disagreement_has_not_passed() -> None:
    report = run_kills(0, SEED, workers=1, bugs=())
    assert report.passed
    assert not msgspec.structs.replace(report, controls=(Control("early_release", 60),)).passed
    assert not msgspec.structs.replace(report, disagreements={"venue_order": 1}).passed


@pytest.mark.parametrize("journal", ["journal.db", "journal.log"])
def test_fm_01_the_engine_recovers_from_a_kill_at_each_step(journal: str) -> None:
    rng = random.Random(SEED)
    reached: list[str] = []
    with open_lives(Episode(len(STEPPED), SEED, journal), rng) as lives:
        for step in STEPPED:
            nth = 1 if step in ONCE or step.startswith("snapshot") else 2
            lives.begin(Life(lives.tally.lives, snapshots=step != "replaying", step=step, nth=nth))
            if lives.hear_until("started") is None or not lives.load(3.0):
                reached.append(step)
            lives.kill()
        lives.begin(Life(lives.tally.lives, snapshots=True))
        lives.hear_until("ready")
        lives.load(0.02)
        assert lives.settle() == []
        assert lives.tally.found == []
    assert reached == list(STEPPED)


@pytest.mark.parametrize("journal", ["journal.db", "journal.log"])
def test_fm_22_an_engine_whose_memory_runs_out_loses_nothing(journal: str) -> None:
    rng = random.Random(SEED)
    ended = 0
    with open_lives(Episode(5, SEED, journal), rng) as lives:
        for number in range(5):
            memory = rng.randint(1, 1 << 18) if number else 0  # the first life has enough, and leaves work
            lives.begin(Life(number, snapshots=number % 2 == 0, memory_bytes=memory))
            assert lives.hear_until("ready") is not None
            ended += not lives.load(0.3)
            lives.kill(allowed=(-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGABRT, 1))
        lives.begin(Life(5, snapshots=True))
        lives.hear_until("ready")
        lives.load(0.02)
        assert lives.settle() == []
        assert lives.tally.found == []
    assert ended > 0  # at least one could not go on


def test_a_second_engine_is_refused_while_the_first_lives_and_the_first_goes_on() -> None:
    with open_lives(Episode(1, SEED), random.Random(SEED)) as lives:
        lives.begin(Life(0, snapshots=False))
        lives.hear_until("ready")
        with pytest.raises(FencedError, match="life 0"):
            SqliteJournal.open(lives.journal, owner="another")
        lives.load(0.02)
        assert lives.settle() == []
        lives.kill()
        with closing(SqliteJournal.open(lives.journal, owner="another")) as journal:
            assert journal.epoch == 2


def test_no_process_is_left_behind_when_a_run_is_interrupted() -> None:
    with pytest.raises(KeyboardInterrupt), open_lives(Episode(1, SEED), random.Random(SEED)) as lives:
        lives.begin(Life(0, snapshots=False))
        lives.hear_until("started")
        assert children(os.getpid())
        raise KeyboardInterrupt
    assert children(os.getpid()) == []


def children(pid: int) -> list[int]:
    """Processes below this one, zombies included."""
    direct = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*direct, *(grandchild for child in direct for grandchild in children(child))]


def test_a_step_that_does_not_exist_cannot_be_armed() -> None:
    with pytest.raises(ValueError, match="no step 'lunch'"):
        Steps().arm("lunch", 1)


def test_percentiles_are_by_nearest_rank() -> None:
    assert [percentile([4, 1, 3, 2], p) for p in (1, 25, 26, 50, 99, 100)] == [1, 1, 2, 2, 4, 4]
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_recovery_times_without_a_restart_are_zero() -> None:
    assert recovery_times([], [500.0]) == RecoveryTimes()
    assert recovery_times([10.0, 30.0, 20.0], [500.0]) == RecoveryTimes(3, 20.0, 30.0, 30.0, 500.0)
