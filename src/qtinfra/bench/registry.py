"""The benchmarks by name, and running them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import msgspec

from qtinfra.bench.capacity import bench_flatness, bench_memory_1m
from qtinfra.bench.decisions import bench_parse, bench_risk, bench_rules
from qtinfra.bench.harness import BenchResult, Progress, interpreter
from qtinfra.bench.http_api import (
    bench_batch_orders,
    bench_get_order,
    bench_healthz,
    bench_http_orders,
    bench_ws_orders,
)
from qtinfra.bench.journaling import bench_journal
from qtinfra.bench.lab import bench_lab
from qtinfra.bench.orders import bench_end_to_end, bench_end_to_end_scored
from qtinfra.bench.paced import bench_paced_10k
from qtinfra.bench.recovery import bench_recovery_cold, bench_recovery_snapshot
from qtinfra.bench.routing import bench_routing
from qtinfra.infra.build import compiled_modules

Bench = Callable[[float, Progress], BenchResult]

#: Those that start servers and load them over HTTP.
HTTP: dict[str, Bench] = {
    "http_orders": bench_http_orders,
    "ws_orders": bench_ws_orders,
    "batch_orders": bench_batch_orders,
    "get_order": bench_get_order,
    "healthz": bench_healthz,
}
#: In the order in which "all" runs them.
BENCHES: dict[str, Bench] = {
    "parse": bench_parse,
    "rules": bench_rules,
    "risk": bench_risk,
    "routing": bench_routing,
    "journal": bench_journal,
    "end_to_end": bench_end_to_end,
    "end_to_end_scored": bench_end_to_end_scored,
    "paced_10k": bench_paced_10k,
    "recovery_cold": bench_recovery_cold,
    "recovery_snapshot": bench_recovery_snapshot,
    "memory_1m": bench_memory_1m,
    "flatness": bench_flatness,
    "lab": bench_lab,
    **HTTP,
}


def _silent(_: str) -> None:
    """Nobody watches."""


def run(names: Sequence[str], *, scale: float = 1.0, progress: Progress = _silent) -> list[BenchResult]:
    """Run benchmarks one after the other.

    Args:
        names: of `BENCHES`, or "all"; none means all.
        scale: factor on every size; targets are judged from 1 on.
        progress: told of each step.

    Raises:
        KeyError: names a benchmark that does not exist.
    """
    chosen = list(BENCHES) if not names or "all" in names else list(names)
    unknown = [name for name in chosen if name not in BENCHES]
    if unknown:
        raise KeyError(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHES)}")
    compiled = len(compiled_modules())
    return [_of_build(BENCHES[name](scale, progress), compiled) for name in chosen]


def _of_build(result: BenchResult, compiled: int) -> BenchResult:
    """The result, which says what interpreter ran it, and how many modules ran compiled, if any."""
    build = interpreter() + (f"; {compiled} modules compiled" if compiled else "")
    return msgspec.structs.replace(result, note=f"{result.note}; {build}")


_COLUMNS = ("name", "ops/s", "CPU us/op", "p50 us", "p99 us", "control/s", "ratio", "target", "met")


def table(results: Sequence[BenchResult]) -> str:
    """The results as aligned text, with what the control does and the further figures below each row."""
    rows = [_COLUMNS, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(rows[0], widths, strict=True))]
    for result, row in zip(results, rows[1:], strict=True):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
        lines.append(f"    per {result.unit}; control: {result.control_name}; {result.note}")
        lines.append("    " + ", ".join(f"{name} {value:,.4g}" for name, value in result.figures.items()))
    return "\n".join(lines)


def _row(result: BenchResult) -> tuple[str, ...]:
    met = {True: "yes", False: "no", None: "-"}[result.met]
    return (
        result.name,
        f"{result.ops_per_s:,.0f}",
        f"{result.cpu_us_per_op:,.2f}",
        f"{result.p50_us:,.1f}",
        f"{result.p99_us:,.1f}",
        f"{result.control:,.0f}",
        f"{result.ratio:.3g}",
        result.target,
        met,
    )


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m qtinfra.bench [NAME ...] [--json] [--scale X]`: results on stdout, progress on stderr."""
    parser = argparse.ArgumentParser(prog="qtinfra.bench", description="Run the benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all, or of: {', '.join(BENCHES)}")
    parser.add_argument("--json", action="store_true", help="a JSON list on stdout")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on every size (default 1)")
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in BENCHES and name != "all"]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}")
    results = run(options.names, scale=options.scale, progress=_say)
    text = msgspec.json.encode(results).decode() if options.json else table(results)
    sys.stdout.write(f"{text}\n")
    return 0
