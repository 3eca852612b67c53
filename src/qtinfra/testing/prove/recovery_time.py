"""How long after a kill orders are accepted again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec


class RecoveryTimes(msgspec.Struct, frozen=True):
    """From SIGKILL to the client's having the first durable acceptance of an order it had never sent before.

    The engine is forked from a process that has imported everything; `interpreter_ms` is what starting that
    one took, to be added for a start from nothing.

    Attributes:
        count: measured restarts; the percentiles are 0 without any.
        p50_ms, p99_ms, max_ms: by nearest rank, milliseconds.
        interpreter_ms: median start of the interpreter with all imports, milliseconds.
    """

    count: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    interpreter_ms: float = 0.0


def percentile(values: Sequence[float], percent: float) -> float:
    """By nearest rank: the smallest value that at least `percent` of 100 of them do not exceed.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("no values")
    rank = max(1, math.ceil(percent / 100 * len(values)))
    return sorted(values)[rank - 1]


def recovery_times(restarts_ms: Sequence[float], interpreters_ms: Sequence[float]) -> RecoveryTimes:
    """Summarise the measured times, in milliseconds."""
    if not restarts_ms:
        return RecoveryTimes()
    return RecoveryTimes(
        count=len(restarts_ms),
        p50_ms=round(percentile(restarts_ms, 50), 2),
        p99_ms=round(percentile(restarts_ms, 99), 2),
        max_ms=round(max(restarts_ms), 2),
        interpreter_ms=round(percentile(interpreters_ms, 50), 1) if interpreters_ms else 0.0,
    )
