"""Benchmark results as JSON-ready records and as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from qtinfra.bench import BenchResult
from qtinfra.bench.harness import interpreter
from qtinfra.cli.tables import QUIET, grid

#: What `qtinfra bench --json` tells of each benchmark, in this order.
FIELDS = ("name", "unit", "ops_per_s", "cpu_us_per_op", "p50_us", "p99_us", "control", "ratio", "note")

_HEADINGS = ("name", "unit", "ops/s", "cpu us/op", "p50 us", "p99 us", "control/s", "ratio")


def bench_facts(results: Sequence[BenchResult]) -> list[dict[str, object]]:
    """One mapping per benchmark: times in microseconds, `control` in operations per second as `ops_per_s`."""
    return [
        {**{field: getattr(result, field) for field in FIELDS}, "note": _note(result)} for result in results
    ]


def show_bench(out: Console, results: Sequence[BenchResult]) -> None:
    """The interpreter, the figures, and below them what each one means: its control, its note, its target."""
    out.print(Text(interpreter(), style=QUIET))
    figures = grid(*_HEADINGS, right=_HEADINGS[2:])
    for column in figures.columns:
        column.no_wrap = True
    for result in results:
        figures.add_row(*_cells(result))
    out.print(figures)
    notes = grid("name", "note")
    for result in results:
        notes.add_row(result.name, Text(_note(result).replace(f"; {interpreter()}", "")))
        notes.add_row("", Text(_further(result), style=QUIET))
    out.print(notes)


def _cells(result: BenchResult) -> tuple[str, ...]:
    return (
        result.name,
        result.unit,
        f"{result.ops_per_s:,.0f}",
        f"{result.cpu_us_per_op:,.2f}",
        f"{result.p50_us:,.1f}",
        f"{result.p99_us:,.1f}",
        f"{result.control:,.0f}",
        f"{result.ratio:.3g}",
    )


def _note(result: BenchResult) -> str:
    return f"control: {result.control_name}; {result.note}"


def _further(result: BenchResult) -> str:
    """The target with its verdict, and the further figures."""
    verdict = {True: "met", False: "not met", None: "not judged at this scale"}[result.met]
    parts = [f"target {result.target}: {verdict}"] if result.target else []
    parts += [f"{name.replace('_', ' ')} {value:,.4g}" for name, value in result.figures.items()]
    return "; ".join(parts)
