"""Real engine, journal and gateways in a world that fails on command: what holds, by row of the catalogue.

`make prove` runs thousands of seeds; here are a few, and scripts that bring about one fault each.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qtinfra.core.extended_models import Policies
from qtinfra.engine.state import state_hash
from qtinfra.testing.faultsim import Action, Script, play, run_seed, run_seeds, shrink
from qtinfra.testing.faultsim.actions import perform
from qtinfra.testing.faultsim.checks import compare
from qtinfra.testing.faultsim.disk import DiskFault, FaultDisk
from qtinfra.testing.faultsim.engine import JOURNAL
from qtinfra.testing.faultsim.eventloop import PowerCut
from qtinfra.testing.faultsim.poison import poisonous
from qtinfra.testing.faultsim.script import FAULTS, TRADING, draw_actions
from qtinfra.testing.faultsim.settle import settle
from qtinfra.testing.faultsim.world import World

pytestmark = pytest.mark.simulation

TRADE = tuple(Action("submit", 700, 7_919 * number) for number in range(40))


def scripted(*faults: str, seed: int = 5, whims: tuple[int, ...] = (0, 1, 2, 5, 11, 29)) -> Script:
    """Ordinary trading, with each fault here and there."""
    actions: list[Action] = []
    for number, order in enumerate(TRADE):
        actions += [order, Action("stranger", 150, 104_729 * number)]
        actions.append(Action("cancel" if number % 3 else "replace", 100, 31 * number))
        if number % 4 == 1:
            actions += [Action(kind, 120, whims[number // 4 % len(whims)]) for kind in faults]
        if number % 7 == 6:
            actions += [Action("lines_up", 500, 0), Action("speak", 100, 0), Action("wait", 100, 0)]
    return Script(seed, Policies(), tuple(actions))


@contextmanager
def lived(script: Script) -> Iterator[World]:
    """The world of a script, after its settling."""
    world = World(script.seed, script.policies)
    with poisonous(), world.entered():
        world.start()
        for action in script.actions:
            perform(world, action)
        settle(world)
        yield world
        world.end()


# --- the simulation itself -------------------------------------------------------------------------------


def test_a_few_seeds_hold_everything_and_meet_every_kind_of_fault() -> None:
    report = run_seeds(300, 339, 300, workers=1, repeat_every=10)
    assert report.failures == ()
    assert (report.seeds, report.repeated) == (40, 4)
    assert report.least_events >= 300
    assert report.crashes > 40 and report.recoveries > 80
    assert [kind for kind, times in report.faults.items() if not times] == []


def test_a_seed_gives_the_same_run_every_time() -> None:
    first, second = run_seed(77, 200), run_seed(77, 200)
    assert first.digest == second.digest and first.counts == second.counts
    assert play(first.script).digest == first.digest
    assert run_seed(78, 200).digest != first.digest


def test_a_script_read_back_from_json_gives_the_same_run(tmp_path: Path) -> None:
    result = run_seed(12, 120)
    saved = tmp_path / "script.json"
    saved.write_text(result.script.to_json())
    assert play(Script.from_json(saved.read_bytes())).digest == result.digest


def test_a_failing_script_shrinks_to_the_actions_that_matter() -> None:
    script = Script(1, Policies(), tuple(Action("wait", 10, number) for number in range(64)))

    def fails(candidate: Script) -> bool:
        whims = {action.whim for action in candidate.actions}
        return {9, 40} <= whims

    short = shrink(script, fails)
    assert [action.whim for action in short.actions] == [9, 40]
    assert sum(action.wait_us for action in short.actions) <= 64 * 10


def test_every_action_that_can_be_drawn_can_be_performed() -> None:
    kinds = {**TRADING, **FAULTS}
    world = World(3, Policies())
    with poisonous(), world.entered():
        world.start()
        for number, kind in enumerate(kinds):
            perform(world, Action(kind, 2_000, 13 * number))
        world.end()
    assert all(world.counts[f"do_{kind}"] == 1 for kind in kinds)
    drawn = {
        action.kind for seed in range(20) for _, action in zip(range(300), draw_actions(seed), strict=False)
    }
    assert drawn == set(kinds)


# --- rows of the fault catalogue -------------------------------------------------------------------------

CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "fm_01_crash_between_any_two_steps": (("crash_turn", "crash_effect"), ("power_cuts", "kills")),
    "fm_02_power_cut_loses_unsynced_pages": (("crash_disk",), ("power_cuts",)),
    "fm_05_refused_write_or_sync": (("disk_error",), ("stops",)),
    "fm_09_stale_leader_goes_on": (("stale", "wait", "resume"), ("takeovers", "resumed", "stops")),
    "fm_13_disconnect_while_sending": (("cut_sending",), ("alert_outcome_unknown",)),
    "fm_14_venue_loses_the_session": (("wait", "reset", "lines_up"), ("resets", "new_sessions")),
    "fm_15_reports_come_twice": (("twice", "sever"), ("severed", "reports_doubled")),
    "fm_16_reports_overtake_each_other": (("swap", "silent", "unsolicited"), ("reports_swapped",)),
    "fm_17_bust_and_correct": (("bust", "correct"), ("busts", "corrections")),
    "fm_18_a_report_is_lost_on_the_line": (("gap", "wait"), ("messages_lost",)),
    "fm_19_the_wall_clock_jumps": (("jump", "crash_recovery"), ("power_cuts",)),
    "fm_20_a_venue_does_not_read": (("stall", "burst", "wait"), ("alert_not_sent",)),
    "fm_21_five_times_too_many_orders": (("burst",), ("refused_overloaded",)),
    "fm_06_disk_full": (("disk_full", "disk_full"), ("alert_disk_full", "refused_disk_full")),
    "fm_23_poison": (("poison", "wait", "unfreeze"), ("alert_quarantined",)),
    "fm_24_a_venue_flaps": (("flap",), ("alert_outcome_unknown",)),
    "fm_25_clients_send_again": (
        ("again", "clash", "crash_turn"),
        ("answered_again", "clashes_answered"),
    ),
    "fm_26_crash_before_the_journal": (("crash_disk", "again"), ("recoveries",)),
}


@pytest.mark.parametrize("name", CASES)
def test_under_one_fault_of_the_catalogue_everything_holds(name: str) -> None:
    faults, happened = CASES[name]
    total: dict[str, int] = {}
    for seed in (5, 6, 7):
        result = play(scripted(*faults, seed=seed))
        assert result.violations == ()
        for key, times in result.counts.items():
            total[key] = total.get(key, 0) + times
    assert [key for key in happened if not total.get(key)] == [], "the fault did not come to pass"


@pytest.mark.parametrize("kind", ["flip", "snapshot_damaged", "snapshot_ahead"])
def test_fm_03_fm_04_fm_29_damage_to_a_copy_of_the_journal_is_seen_or_repaired(kind: str) -> None:
    actions: list[Action] = [*scripted("bust").actions]
    actions += [Action(kind, 10, 7_919 * number) for number in range(60)]
    result = play(Script(8, Policies(), tuple(actions)))
    assert result.violations == () and result.counts[f"do_{kind}"] == 60


def test_fm_23_a_poisoned_command_is_quarantined_once_and_the_engine_starts_again() -> None:
    with lived(scripted("poison_hard", whims=(3,))) as world:
        assert world.violations() == []
        stages = [event.stage for event in world.durable.quarantined]
        assert stages.count("evolve") >= 1
        assert world.counts["alert_shard_stopped"] == world.counts["stops"]
        assert world.lives <= 1 + 2 * len(stages)


def test_fm_27_the_journal_of_a_run_decides_again_to_the_same_records() -> None:
    with lived(scripted("crash_turn", "kill_switch", "halt")) as world:
        assert world.violations() == []  # `settle` has decided every record again
        assert world.life is not None
        assert state_hash(world.life.shard.state) == state_hash(world.durable.state)


def test_fm_13_no_venue_has_an_order_twice_and_none_that_the_journal_does_not_know() -> None:
    with lived(scripted("cut_sending", "sever", "crash_effect")) as world:
        records = {mic: host.venue.orders() for mic, host in world.hosts.items()}
        sent = [record.cl_ord_ids[0] for held in records.values() for record in held]
        assert len(sent) == len(set(sent)) > 20
        assert list(compare(world.durable.state, records)) == []


# --- the disk --------------------------------------------------------------------------------------------


def test_a_power_cut_keeps_what_was_synced_and_the_part_of_the_rest_that_it_tears() -> None:
    disk = FaultDisk()
    file = disk.append_to(JOURNAL)
    file.write(b"synced")
    file.sync()
    disk.arm(DiskFault.TORN, 0, 3)
    with pytest.raises(PowerCut):
        file.write(b"unsynced")
    disk.crash()
    assert disk.read(JOURNAL) == b"syncedun" + b"s"


def test_after_a_refused_sync_a_second_one_succeeds_and_writes_nothing() -> None:
    disk = FaultDisk()
    file = disk.append_to(JOURNAL)
    file.write(b"lost")
    disk.arm(DiskFault.EIO_SYNC, 0, 0)
    with pytest.raises(OSError, match="Input/output error"):
        file.sync()
    file.sync()
    assert disk.durable_bytes(JOURNAL) == b""
    disk.append_to(JOURNAL)
    assert disk.read(JOURNAL) == b""


def test_a_full_disk_takes_only_what_files_give_back() -> None:
    disk = FaultDisk()
    reserve = Path("reserve")
    disk.replace(reserve, b"0" * 10)
    file = disk.append_to(JOURNAL)
    disk.arm(DiskFault.FULL, 0, 0)
    with pytest.raises(OSError, match="No space left"):
        file.write(b"12345")
    disk.remove(reserve)
    file.write(b"12345")
    with pytest.raises(OSError, match="No space left"):
        file.write(b"1234567")
