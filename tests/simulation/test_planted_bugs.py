"""The simulation finds every planted bug, on seeds that nobody looked at while it was written."""

import pytest

from qtinfra.testing.faultsim import PLANTED, PlantedBug, look_for, run_seed
from qtinfra.testing.faultsim.bugs_runtime import swap, swapped

pytestmark = pytest.mark.simulation

#: Of these the first seeds find them; `make prove` looks for all, with a larger budget.
BUDGET = 60
FIRST_SEED = 29_000_000
#: Bugs that need more seeds than a quick test has time for.
RARE = (
    "shorter_than_snapshot",
    "snapshot_newer_than_journal",
    "replace_never_over",
    "reject_ignored",
    "lost_timer",
    "timer_lost_by_bust",
)


@pytest.mark.parametrize("bug", [bug for bug in PLANTED if bug.name not in RARE], ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: PlantedBug) -> None:
    found = look_for(bug, FIRST_SEED, BUDGET)
    assert found.found and found.check, f"not found in {found.seeds_tried} seeds"


def test_there_are_at_least_25_bugs_each_under_a_row_of_the_catalogue() -> None:
    assert len(PLANTED) >= 25
    assert len({bug.name for bug in PLANTED}) == len(PLANTED)
    assert all(bug.fault.startswith("FM-") and bug.wrong for bug in PLANTED)


def test_nothing_stays_planted() -> None:
    before = run_seed(4, 60).digest
    for bug in PLANTED:
        with bug.plant():
            pass
    assert run_seed(4, 60).digest == before and run_seed(4, 60).violations == ()


def test_a_plant_puts_back_what_was_there_even_after_an_error() -> None:
    table = {"a": 1}
    with pytest.raises(RuntimeError), swap(table, "a", lambda value: value + 1)():
        assert table["a"] == 2
        raise RuntimeError
    assert table == {"a": 1}

    class Owner:
        value = 1

    with swapped(Owner, "value", 5):
        assert Owner.value == 5
    assert Owner.value == 1
