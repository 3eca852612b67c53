"""Self-match prevention: orders under one id never trade with each other; one of four things happens instead.

The mode is the arriving order's, as exchanges have it. A prevented match is no trade: nothing prints, and the
reports name the reason.

Source: FIX 5.0 SP2 SelfMatchPreventionID (2362), SelfMatchPreventionInstruction (2964); Nasdaq Equity 4,
Rule 4757(a)(4) (anti-internalization: decrement both, cancel oldest, cancel newest).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class SmpMode(StrEnum):
    """What is taken out of the market when two orders of one id would meet."""

    CANCEL_NEWEST = "cancel_newest"
    CANCEL_OLDEST = "cancel_oldest"
    CANCEL_BOTH = "cancel_both"
    DECREMENT = "decrement"


class Prevented(msgspec.Struct, frozen=True, gc=False):
    """A match that did not happen: units that each order lost, and whether that ended it."""

    maker: int
    taker: int
    maker_units: int
    taker_units: int
    maker_ends: bool
    taker_ends: bool


def prevention(mode: SmpMode, maker: tuple[int, int], taker: tuple[int, int]) -> Prevented:
    """What becomes of two orders of one id.

    Args:
        maker: id and open units of the older order.
        taker: id and open units of the newer one.
    """
    maker_units = maker[1] if mode in (SmpMode.CANCEL_OLDEST, SmpMode.CANCEL_BOTH) else 0
    taker_units = taker[1] if mode in (SmpMode.CANCEL_NEWEST, SmpMode.CANCEL_BOTH) else 0
    if mode is SmpMode.DECREMENT:
        maker_units = taker_units = min(maker[1], taker[1])
    ends = maker_units == maker[1], taker_units == taker[1]
    return Prevented(maker[0], taker[0], maker_units, taker_units, *ends)
