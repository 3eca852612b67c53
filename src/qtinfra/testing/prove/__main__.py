"""`python -m qtinfra.testing.prove`: every proof in turn, one JSON file, status 1 when anything was violated.

Progress goes to standard error. What cannot be run here (a power cut needs root and Linux, a disk that fails
a C compiler) is skipped, and both the last lines and the file say so.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from qtinfra.testing.faultsim import run_planted, run_seeds
from qtinfra.testing.prove.golden import check, expected
from qtinfra.testing.prove.kills import run_kills
from qtinfra.testing.prove.power import run_power_cuts
from qtinfra.testing.prove.report import GoldenResult, Parts, Plan, ProveReport, assemble
from qtinfra.testing.prove.shim import run_storage_faults
from qtinfra.testing.prove.tamper import run_tamper

_SHOWN = 20

_Result = TypeVar("_Result")


def prove(plan: Plan, corpus: Path | None, say: Callable[[str], None]) -> ProveReport:
    """Run every part that the plan asks for.

    Args:
        corpus: the golden corpus; None or a folder that does not exist leaves it out.
        say: told what begins and what has ended.
    """
    began, load = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()[0]
    parts, durations = Parts(), dict[str, float]()

    def part(name: str, count: int, run: Callable[[], _Result], otherwise: _Result) -> _Result:
        if not count:
            return otherwise
        say(f"{name}: {count}")
        start = time.monotonic()
        found = run()
        durations[name] = time.monotonic() - start
        say(f"{name}: done in {durations[name]:.0f} s")
        return found

    last = plan.first_seed + plan.seeds - 1
    folders = corpus_folders(corpus)
    parts.tamper = part("tamper", plan.tamper, lambda: run_tamper(plan.tamper, plan.seed), None)
    parts.golden = part("golden", len(folders), lambda: [_golden(folder) for folder in folders], [])
    parts.power = part("power", plan.cuts, lambda: run_power_cuts(plan.cuts, plan.seed), None)
    parts.storage = part("storage", plan.storage, lambda: run_storage_faults(plan.storage, plan.seed), None)
    parts.kills = part("kills", plan.kills, lambda: run_kills(plan.kills, plan.seed, plan.workers), None)
    parts.planted = part(
        "planted bugs", plan.budget, lambda: run_planted(plan.budget, workers=plan.workers), []
    )
    parts.simulation = part(
        "simulation",
        plan.seeds,
        lambda: run_seeds(plan.first_seed, last, plan.events, plan.workers),
        None,
    )
    return assemble(plan, parts, began, durations, load)


def corpus_folders(corpus: Path | None) -> list[Path]:
    """The folders of the golden corpus, oldest first."""
    if corpus is None or not corpus.is_dir():
        return []
    return sorted((path for path in corpus.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))


def _golden(folder: Path) -> GoldenResult:
    return GoldenResult(folder.name, expected(folder), tuple(check(folder)))


def say_to_stderr(text: str) -> None:
    """One line of progress."""
    sys.stderr.write(f"prove: {text}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run, write; the exit status."""
    options = _parser().parse_args(arguments)
    counts = {name: getattr(options, name) for name in Plan.__struct_fields__}
    report = prove(Plan(**counts), options.corpus, say_to_stderr)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    for name, figure in report.summary.items():
        say_to_stderr(f"{name}: {figure}")
    for name, reason in report.skipped.items():
        say_to_stderr(f"skipped {name}: {reason}")
    for text in report.violations[:_SHOWN]:
        say_to_stderr(f"VIOLATED {text}")
    say_to_stderr(f"{'passed' if report.passed else 'FAILED'} in {report.seconds:.0f} s: {options.out}")
    return 0 if report.passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m qtinfra.testing.prove", description="Every proof in turn."
    )
    plan = Plan()
    for name in Plan.__struct_fields__:
        text = f"default {getattr(plan, name)}"
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=_count, default=getattr(plan, name), help=text
        )
    parser.add_argument("--corpus", type=Path, default=Path("tests/golden"), help="the golden corpus")
    parser.add_argument("--out", type=Path, default=Path("build/prove.json"), help="where the report goes")
    return parser


def _count(text: str) -> int:
    """A whole number, 0 or more.

    Raises:
        argparse.ArgumentTypeError: it is not.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
