"""A quick look at the speed of the order path: `python tests/simple_benchmark.py [--scale X]`

Runs the project's benchmarks at a small scale, each in turns with its control: what the same machine does
with the same input and none of the checks. Only the ratio travels between machines. `qtinfra bench` runs them
at full size and judges their targets. Nothing but the packages in requirements.txt is needed; qtinfra itself
is taken from `src`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import qtinfra
from qtinfra.bench import BenchResult, run

NAMES = ("parse", "rules", "risk", "routing", "journal", "end_to_end")
#: Of the sizes of the full benchmarks.
SCALE = 0.1
_HEADINGS = ("name", "per", "ops/s", "control/s", "ratio", "CPU us", "p50 us", "p99 us")


def cells(result: BenchResult) -> tuple[str, ...]:
    """One row of the table."""
    return (
        result.name,
        result.unit,
        f"{result.ops_per_s:,.0f}",
        f"{result.control:,.0f}",
        f"{result.ratio:.3f}",
        f"{result.cpu_us_per_op:,.2f}",
        f"{result.p50_us:,.1f}",
        f"{result.p99_us:,.1f}",
    )


def table(results: Sequence[BenchResult]) -> str:
    """The figures as aligned text: names to the left, numbers to the right."""
    rows = [_HEADINGS, *map(cells, results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def positive(text: str) -> float:
    """A factor above 0 and at most 1. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and at most 1")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; the exit status."""
    parser = argparse.ArgumentParser(description="A quick benchmark of the order path.")
    parser.add_argument("--scale", type=positive, default=SCALE, help=f"of the full sizes (default {SCALE})")
    options = parser.parse_args(argv)
    print(f"qtinfra {qtinfra.__version__} from {Path(qtinfra.__file__).parent}")
    print(
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores; scale {options.scale:g}, no target is judged at this size\n"
    )
    results = run(NAMES, scale=options.scale)
    print(table(results))
    print("\nWhat the control does; what is measured:")
    for result in results:
        print(f"  {result.name}: {result.control_name}; {result.note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
