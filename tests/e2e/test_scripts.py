"""The scripts as a user runs them: from another folder, with the packages of requirements.txt only."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest

import simple_verify
from qtinfra.bench import run
from tests import simple_benchmark
from tests.support.requirements import REPO_ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("scripts")]

PACKAGE = REPO_ROOT / "src" / "qtinfra"


def runtime_distributions() -> Iterator[Distribution]:
    """What `pip install -r requirements.txt` installs on this machine."""
    for line in (REPO_ROOT / "requirements.txt").read_text("utf-8").splitlines():
        found = re.match(r"([a-z0-9-]+)==\S+(\s*;)?", line)
        if found is None:
            continue
        try:
            yield distribution(found[1])
        except PackageNotFoundError:
            assert found[2], f"{found[1]} is not installed"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that holds the runtime requirements only: neither qtinfra nor a tool of ours."""
    folder = tmp_path_factory.mktemp("packages")
    for found in runtime_distributions():
        tops = {Path(str(file)).parts[0] for file in found.files or ()} - {"..", "__pycache__"}
        for top in sorted(tops):
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(str(found.locate_file(top))))
    names = {path.name for path in folder.iterdir()}
    assert "msgspec" in names
    assert not {"qtinfra", "pytest", "hypothesis"} & names
    return folder


Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def script(packages: Path, tmp_path: Path) -> Script:
    """Runs a script of the repository with nothing installed but the runtime requirements."""

    def start(name: str, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", REPO_ROOT / name, *args],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"},
        )

    return start


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    """What it printed, after the line that says which qtinfra ran."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert f" from {PACKAGE}\n" in done.stdout
    return done.stdout


# -- elite_trading_demo.py -------------------------------------------------------------------------


@pytest.fixture
def demo(script: Script) -> str:
    return succeeded(script("examples/elite_trading_demo.py"))


def test_the_demo_takes_an_order_from_bytes_to_a_position_and_proves_its_journal(demo: str) -> None:
    for fact in (
        "decision on A1: accepted",
        "order A1: FILLED, 1,000 of 1,000 at 150.24",
        "position of pm_001: 1,000 AAPL",
        "orders that have reached a venue so far: 0",
        "which is in the file already",
        "new orders sent by the restart: 0; in doubt: 0",
        "every decision taken again from its recorded inputs: equal bytes",
        "a copy with one bit flipped: journal_corrupt",
    ):
        assert fact in demo
    assert demo.endswith("\nDEMO COMPLETED\n")
    assert not re.search("different", demo, re.IGNORECASE)


def test_the_demo_keeps_the_sections_that_the_user_knows(demo: str) -> None:
    sections = re.findall(r"^([A-Z ]+)\n=+$", demo, re.MULTILINE)
    assert sections == [
        "ORDER LIFECYCLE",
        "EXCEPTION HIERARCHY",
        "TRANSACTION SAFETY",
        "VALIDATION LAYERS",
        "ERROR HANDLING",
        "WHAT THE JOURNAL PROVES",
        "SUMMARY",
    ]


def test_the_demo_names_what_does_not_exist_and_shows_nothing_of_it(demo: str) -> None:
    summary = " ".join(demo.partition("SUMMARY")[2].split())
    for name in ("execution algorithms", "PII masking", "encryption of client data", "plugin system"):
        assert summary.count(name) == 1
    assert demo.isascii()


# -- simple_verify.py ------------------------------------------------------------------------------


def test_the_self_check_passes_every_check(script: Script) -> None:
    lines = succeeded(script("simple_verify.py")).splitlines()
    verdicts = [line.split("  ")[0] for line in lines if re.match("(PASS|FAIL|SKIP)  ", line)]
    assert verdicts == ["PASS"] * len(simple_verify.CHECKS)
    assert lines[-1] == f"{len(simple_verify.CHECKS)} passed, 0 failed, 0 skipped"


def nothing(*_: object) -> None:
    """A part of the system that does not do its work."""


BROKEN: dict[str, tuple[str, Callable[..., object]]] = {
    "order to fill": ("qtinfra.core.models.average", lambda notional, quantity: Decimal(0)),
    "refused order": ("qtinfra.core.extended_models.Instrument.tick_at", lambda *_: Decimal("0.001")),
    "exact average": ("qtinfra.core.models.average", lambda notional, quantity: notional // quantity),
    "bust": ("qtinfra.positions.book.PositionBook.bust", nothing),
    "late cancel": ("simple_verify.CXL_TOO_LATE", nothing),
    "durable before wire": ("qtinfra.runtime.loop.ShardLoop.append", nothing),
    "strict parser": ("simple_verify.parse_new_order", nothing),
    "replay hash": ("simple_verify.state_hash", lambda state: "another"),
    "tamper found": ("simple_verify.flip_a_bit", nothing),
    "second writer": ("qtinfra.journal.sqlite.RealDisk.lock", lambda *_: Unlocked()),
}


class Unlocked:
    """A lock that locks nobody out."""

    def release(self) -> None:
        """There is nothing to release."""


@pytest.mark.parametrize("name", BROKEN)
def test_the_self_check_fails_when_something_is_broken(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(*BROKEN[name])
    monkeypatch.setattr(simple_verify, "CHECKS", ((name, dict(simple_verify.CHECKS)[name]),))
    assert simple_verify.main() == 1
    out = capsys.readouterr().out
    assert f"FAIL  {name}" in out
    assert out.endswith("0 passed, 1 failed, 0 skipped\n")


def test_the_self_check_goes_on_after_a_check_that_breaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(folder: Path) -> str:
        raise OSError(f"no room in {folder.name}")

    checks = (("broken", breaks), ("error forms", simple_verify.error_forms))
    monkeypatch.setattr(simple_verify, "CHECKS", checks)
    assert simple_verify.main() == 1
    out = capsys.readouterr().out
    assert "OSError: no room" in out
    assert out.endswith("1 passed, 1 failed, 0 skipped\n")


def test_the_self_check_says_when_the_scripts_of_order_states_are_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(simple_verify, "SCRIPTS", tmp_path / "absent.csv")
    verdict, reason = simple_verify.run_check(simple_verify.order_state_scripts)
    assert (verdict, reason) == ("SKIP", "absent.csv is not here")


# -- simple_benchmark.py ---------------------------------------------------------------------------


def test_the_benchmark_prints_each_figure_beside_its_control(script: Script) -> None:
    out = succeeded(script("tests/simple_benchmark.py", "--scale", "0.005"))
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert rows["name"][2:5] == ["ops/s", "control/s", "ratio"]
    for name in simple_benchmark.NAMES:
        figures = [float(cell.replace(",", "")) for cell in rows[name][2:]]
        assert len(figures) == 6
        assert min(figures[:2]) > 0
        assert f"  {name}: " in out


def test_the_benchmark_refuses_a_scale_that_is_none(script: Script) -> None:
    for text in ("0", "-1", "nan", "many", "2"):
        done = script("tests/simple_benchmark.py", "--scale", text)
        assert done.returncode == 2
        assert "is not a number above 0 and at most 1" in done.stderr


def test_the_ratio_in_the_table_is_that_of_the_two_speeds_beside_it() -> None:
    (result,) = run(["parse"], scale=0.005)
    row = simple_benchmark.cells(result)
    assert row[:2] == ("parse", "message")
    assert row[4] == f"{result.ops_per_s / result.control:.3f}"
