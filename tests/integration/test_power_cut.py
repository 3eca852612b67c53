"""The power goes under a mounted ext4 and XFS while orders are written (FM-02).

QTINFRA_CUTS sets the number of cuts (default 8), QTINFRA_CRASH_SEED the seed.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from qtinfra.testing.prove.power import FILE_SYSTEMS, PowerReport, run_power_cuts, unavailable

pytestmark = pytest.mark.integration

CUTS = int(os.environ.get("QTINFRA_CUTS", "8"))
PATIENCE_S = 60.0  # an upper bound for waiting, never a measurement
SEED = int(os.environ.get("QTINFRA_CRASH_SEED", "1"))


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the runs of this test put their images; its path is short, as a socket's has to be."""
    with tempfile.TemporaryDirectory(prefix="cut") as name:
        monkeypatch.setenv("TMPDIR", name)
        yield name


def loop_devices() -> str:
    """Names of the files behind them; a listing that a device vanished from is no failure."""
    return subprocess.run(["losetup", "--list"], capture_output=True, text=True, check=False).stdout


def test_fm_02_what_was_acknowledged_before_a_power_cut_is_there_after_it(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run_power_cuts(CUTS, SEED)
    if not report.cuts:
        pytest.skip(f"power cannot be cut here: {report.skipped}")
    with capsys.disabled():
        sys.stdout.write(f"\n{msgspec.json.encode(report).decode()}\n")
    assert report.disagreements == dict.fromkeys(report.disagreements, 0), report.examples
    assert sum(report.cuts.values()) == CUTS
    assert report.acknowledged > 0 and report.reconciliations > 0 and report.recovery.count > 0
    assert set(report.skipped) | {name.split()[0] for name in report.cuts} == set(FILE_SYSTEMS)
    assert msgspec.json.decode(msgspec.json.encode(report), type=PowerReport) == report
    # the method sees: a build that does not sync has lost what it had acknowledged, each time
    assert not report.blind
    assert len(report.controls) == len(report.cuts)
    assert all("is lost" in control.found or "acknowledged" in control.found for control in report.controls)
    assert report.passed
    assert folder not in loop_devices()


def test_a_run_that_is_killed_leaves_no_mount_and_no_loop_device(folder: str) -> None:
    reasons = [unavailable(name) for name in FILE_SYSTEMS]
    if any(reasons):
        pytest.skip(f"power cannot be cut here: {reasons}")
    script = f"from qtinfra.testing.prove.power import run_power_cuts; run_power_cuts(1000, {SEED})"
    with subprocess.Popen([sys.executable, "-c", script], start_new_session=True) as run:
        try:
            assert comes_true(lambda: folder in loop_devices())
        finally:
            run.kill()
    assert comes_true(lambda: folder not in loop_devices())


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether it was true once; a mount that is only tried (`unavailable`) may be gone a moment later."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_where_power_cannot_be_cut_the_report_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    report = run_power_cuts(10, SEED)
    assert report.skipped == dict.fromkeys(FILE_SYSTEMS, "not root")
    assert (report.cuts, report.passed) == ({}, False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    assert unavailable("xfs") == "no setpriv"


def test_a_run_whose_control_loses_nothing_is_blind_and_has_not_passed() -> None:
    seen = PowerReport(SEED, cuts={"ext4 journal.db": 10}, disagreements={"acknowledged_lost": 0})
    assert seen.passed
    assert not msgspec.structs.replace(seen, blind=True).passed
    assert not msgspec.structs.replace(seen, disagreements={"acknowledged_lost": 1}).passed
