"""`qtinfra simulate --faults`: seeds of the fault simulation, or one saved script."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import typer

from qtinfra.cli.output import console, note, print_json
from qtinfra.testing.faultsim import RunResult, Script, SeedReport, play, run_seeds

_RANGE = re.compile(r"(\d{1,9})(?:\.\.(\d{1,9}))?")
_SHOWN = 5


def simulate_faults(seeds: str, events: int, workers: int | None, script: Path | None, as_json: bool) -> None:
    """Run and print; exit 1 when something was violated.

    Raises:
        typer.BadParameter: seeds that are no range, or a file that holds no script.
    """
    if script is not None:
        _show_run(_played(script), as_json)
        return
    first, last = _bounds(seeds)
    _show_report(run_seeds(first, last, events, workers), as_json)


def _bounds(seeds: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(seeds)
    first, last = (int(match[1]), int(match[2] or match[1])) if match is not None else (1, 0)
    if first > last:
        raise typer.BadParameter(f"{seeds!r} is no range of seeds such as 1..100", param_hint="--seeds")
    return first, last


def _played(path: Path) -> RunResult:
    try:
        return play(Script.from_json(path.read_bytes()))
    except msgspec.DecodeError as error:
        raise typer.BadParameter(f"{path} holds no script: {error}", param_hint="--script") from error


def _show_run(result: RunResult, as_json: bool) -> None:
    if as_json:
        print_json(msgspec.to_builtins(result))
    else:
        console().print(f"{result.actions} actions, {result.events} events, digest {result.digest}")
    _end(result.violations)


def _show_report(report: SeedReport, as_json: bool) -> None:
    """Figures on stdout, failing seeds with their scripts on stderr."""
    from qtinfra.cli.tables import show_facts

    if as_json:
        print_json(msgspec.to_builtins(report))
    else:
        facts = {
            "seeds": f"{report.first}..{report.last}",
            "run twice": report.repeated,
            "events": report.events,
            "actions": report.actions,
            "crashes": report.crashes,
            "recoveries": report.recoveries,
            "failures": len(report.failures),
        }
        show_facts(console(), "Fault simulation", facts)
        show_facts(console(), "Faults", dict(report.faults))
    for failure in report.failures[:_SHOWN]:
        note(f"seed {failure.seed}, script: {failure.script.to_json()}")
    _end([text for failure in report.failures for text in failure.violations[:1]])


def _end(violations: list[str] | tuple[str, ...]) -> None:
    for text in violations[:_SHOWN]:
        note(text)
    if violations:
        raise typer.Exit(1)
