"""The benchmarks, each with a control that runs in turns with it in the same process."""

from qtinfra.bench.harness import BenchResult
from qtinfra.bench.registry import BENCHES, main, run

__all__ = ["BENCHES", "BenchResult", "main", "run"]
