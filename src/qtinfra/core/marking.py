"""Which price values a position, as data: sources in order of preference; see `positions.marks`."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec


class MarkSource(StrEnum):
    """MID: middle of best live bid and offer; LAST: last trade; CLOSE: previous close; MANUAL: by hand."""

    MID = "MID"
    LAST = "LAST"
    CLOSE = "CLOSE"
    MANUAL = "MANUAL"


class MarkRule(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One source, and the age in nanoseconds up to which (inclusive) it counts; None is any age.

    A quote's liveness is its feed's: a quiet quote of a live feed is not stale, unless a limit is set.
    """

    source: MarkSource
    max_age_ns: int | None = None


class MarkPolicy(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Sources in order of preference."""

    rules: tuple[MarkRule, ...]


_MINUTE_NS = 60_000_000_000

#: Live quotes, else a last trade up to 15 minutes old, else a close up to 5 days old, else what staff set.
DEFAULT_POLICY = MarkPolicy(
    (
        MarkRule(MarkSource.MID),
        MarkRule(MarkSource.LAST, 15 * _MINUTE_NS),
        MarkRule(MarkSource.CLOSE, 5 * 24 * 60 * _MINUTE_NS),
        MarkRule(MarkSource.MANUAL),
    )
)


class Observed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A price and when it was made (UTC nanoseconds)."""

    px: Decimal
    ts_ns: int
