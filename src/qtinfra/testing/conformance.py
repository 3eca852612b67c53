"""The conformance runner: `python -m qtinfra.testing.conformance DIR [--json]`.

Plays the order-state scripts of DIR (`order_state_scenarios.csv`) against a fresh engine each, compares every
report that the client gets, checks the order of precedence of statuses (`order_status_precedence.csv`) and
compares algorithm cases (`algo_cases.json`). Whichever of the files stand in DIR are run.

Exit status: 0 when nothing failed, 1 when something did, 2 when DIR holds nothing to run or a malformed file.
The last line is `N passed, M failed`; what was skipped, deviates as listed, or belongs to a kind that has not
been asked for is counted in words before it. Market data comes from $QTINFRA_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from qtinfra.testing import engine_rig
from qtinfra.testing.algo_cases import ALGO_KINDS, AlgoFunction, case_failure, data_is_there, load_algo_cases
from qtinfra.testing.precedence import load_precedence, precedence_failures
from qtinfra.testing.scenarios import (
    ENGINE_FAULTS,
    ConformanceFileError,
    Outcome,
    Rig,
    RigFactory,
    Row,
    Scenario,
    load_scenarios,
    play,
)

__all__ = [
    "DEVIATIONS",
    "Deviation",
    "Outcome",
    "Result",
    "Rig",
    "RigFactory",
    "Row",
    "Scenario",
    "load_scenarios",
    "main",
    "play",
    "run",
]

SCENARIOS = "order_state_scenarios.csv"
PRECEDENCE = "order_status_precedence.csv"
ALGO_CASES = "algo_cases.json"

MAX_DEVIATIONS = 5
#: Only rows that were adapted or derived may be deviated from, not what a published source says.
DEVIATING_GRADES = ("adapted", "derived")


class Deviation(msgspec.Struct, frozen=True):
    """A row of a script that the engine answers otherwise on purpose, and why."""

    path: str
    row: int
    reason: str


#: The known deviations, at most five.
DEVIATIONS: tuple[Deviation, ...] = ()


class Result(msgspec.Struct):
    """What a run found; everything but `failures` is counted or told, and fails nothing.

    Attributes:
        policies: settings by path, where a script sets any.
        deviations: in words, the listed deviations that were met.
        not_asked: number of algorithm cases by kind that does not exist yet.
        skipped: ids of algorithm cases whose market data is absent.
    """

    passed: int = 0
    failures: list[str] = []
    policies: dict[str, dict[str, str]] = {}
    deviations: list[str] = []
    not_asked: dict[str, int] = {}
    skipped: list[str] = []


def run(
    folder: Path,
    make_rig: RigFactory,
    data_root: Path,
    deviations: Sequence[Deviation] = DEVIATIONS,
    kinds: Mapping[str, AlgoFunction] = ALGO_KINDS,
) -> Result:
    """Run what stands in a folder.

    Args:
        make_rig: makes a fresh engine from the policies of a script.
        data_root: folder of the market data that algorithm cases name.

    Raises:
        ConformanceFileError: nothing to run, a malformed file, or a list of deviations that breaks its rules.
    """
    if not any((folder / name).is_file() for name in (SCENARIOS, ALGO_CASES)):
        raise ConformanceFileError(f"{folder} holds neither {SCENARIOS} nor {ALGO_CASES}")
    if len(deviations) > MAX_DEVIATIONS or not all(deviation.reason.strip() for deviation in deviations):
        raise ConformanceFileError(f"at most {MAX_DEVIATIONS} deviations may be listed, each with its reason")
    result = Result()
    if (folder / SCENARIOS).is_file():
        for scenario in load_scenarios(folder / SCENARIOS):
            _run_scenario(scenario, make_rig, deviations, result)
        if (folder / PRECEDENCE).is_file():
            _check_precedence(folder / PRECEDENCE, result)
    if (folder / ALGO_CASES).is_file():
        _run_algo_cases(folder / ALGO_CASES, kinds, data_root, result)
    return result


def _run_scenario(
    scenario: Scenario, make_rig: RigFactory, deviations: Sequence[Deviation], result: Result
) -> None:
    if scenario.policy:
        result.policies[scenario.path] = scenario.policy
    try:
        outcome = play(scenario, make_rig(dict(scenario.policy)))
    except ENGINE_FAULTS as fault:
        outcome = Outcome(
            scenario.path, False, f"path {scenario.path}, no engine: {type(fault).__name__}: {fault}"
        )
    deviation = None if outcome.passed else _deviation_for(outcome, scenario, deviations)
    if outcome.passed:
        result.passed += 1
    elif deviation is None:
        result.failures.append(outcome.failure)
    else:
        result.deviations.append(f"{outcome.failure} ({deviation.reason})")


def _deviation_for(outcome: Outcome, scenario: Scenario, deviations: Sequence[Deviation]) -> Deviation | None:
    graded = {row.n: row.grade for row in scenario.rows}
    for deviation in deviations:
        if (deviation.path, deviation.row) == (outcome.path, outcome.row):
            return deviation if graded.get(outcome.row) in DEVIATING_GRADES else None
    return None


def _check_precedence(path: Path, result: Result) -> None:
    failures = precedence_failures(load_precedence(path))
    if failures:
        result.failures.append(f"{path.name}: {'; '.join(failures)}")
    else:
        result.passed += 1


def _run_algo_cases(path: Path, kinds: Mapping[str, AlgoFunction], data_root: Path, result: Result) -> None:
    not_asked: Counter[str] = Counter()
    for case in load_algo_cases(path):
        function = kinds.get(case.kind)
        if function is None:
            not_asked[case.kind] += 1
        elif not data_is_there(case, data_root):
            result.skipped.append(case.id)
        else:
            try:
                failure = case_failure(case, function, data_root)
            except ENGINE_FAULTS as fault:
                failure = f"case {case.id}: {type(fault).__name__}: {fault}"
            if failure:
                result.failures.append(failure)
            else:
                result.passed += 1
    result.not_asked = dict(not_asked)


# --- telling ---------------------------------------------------------------------------------------------


def report_lines(result: Result) -> list[str]:
    """The result for a person; the last line is `N passed, M failed`."""
    lines = [
        f"policy of path {path}: {', '.join(f'{name}={value}' for name, value in policy.items())}"
        for path, policy in result.policies.items()
    ]
    lines += [f"FAILED {failure}" for failure in result.failures]
    if result.deviations:
        lines.append(f"{_count(len(result.deviations), 'listed deviation')}:")
        lines += [f"  {deviation}" for deviation in result.deviations]
    if result.not_asked:
        total = sum(result.not_asked.values())
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(result.not_asked.items()))
        lines.append(f"{_count(total, 'algorithm case')} of kinds that are not asked for yet: {kinds}")
    if result.skipped:
        cases = _count(len(result.skipped), "case")
        lines.append(f"{cases} skipped because market data is absent: {', '.join(result.skipped)}")
    return [*lines, f"{result.passed} passed, {len(result.failures)} failed"]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def result_json(result: Result) -> str:
    """The result as one JSON object."""
    fields = msgspec.to_builtins(result)
    return json.dumps({"passed": result.passed, "failed": len(result.failures), **fields}, ensure_ascii=False)


def _data_root() -> Path:
    return Path(os.environ.get("QTINFRA_DATA") or Path("..") / "shared" / "data")


def main(
    argv: Sequence[str] | None = None,
    make_rig: RigFactory | None = None,
    out: TextIO | None = None,
) -> int:
    """Run the command line; returns the exit status.

    Args:
        argv: arguments without the program's name; those of the process by default.
        make_rig: what to play against; the engine by default.
        out: where the report goes; standard output by default.
    """
    parser = argparse.ArgumentParser(prog="python -m qtinfra.testing.conformance", description=__doc__)
    parser.add_argument("dir", type=Path, metavar="DIR", help="folder with the conformance files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    try:
        result = run(arguments.dir, make_rig or engine_rig.make_rig, _data_root())
    except ConformanceFileError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    text = result_json(result) if arguments.json else "\n".join(report_lines(result))
    (out or sys.stdout).write(f"{text}\n")
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
