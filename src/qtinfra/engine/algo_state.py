"""What a shard remembers of the parents that algorithms work, and of the curves that they are planned by."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.algo import AlgoTerms, Schedule, SliceKind
from qtinfra.core.algo_events import MarketProfileSet, VolumeCurveSet


class ParentState(msgspec.Struct):
    """One parent that is worked.

    Attributes:
        number: its place among all parents of the shard; timers share the parents out by it.
        children: how each child trades, by id; those that have ended leave with the next slice.
        paused: why nothing is sent; empty while it works.
        base_traded, base_cum: what had printed in the symbol, and what it had executed, when the schedule was
            made; None until the volume is known.
        interval, interval_traded, interval_cum: likewise for the interval that the cap is held on; -1 before
            the first one.
        dark_interval: the last interval in which undisplayed venues were asked; -1 for none.
        crossed: the final slice at the end has been sent.
        open_sent, close_sent: the auction's part of this schedule has been sent.
    """

    number: int
    schedule: Schedule
    arrival_mid: Decimal | None
    base_traded: Decimal | None
    base_cum: Decimal
    children: dict[str, SliceKind] = {}
    paused: str = ""
    interval: int = -1
    interval_traded: Decimal = Decimal(0)
    interval_cum: Decimal = Decimal(0)
    dark_interval: int = -1
    crossed: bool = False
    open_sent: bool = False
    close_sent: bool = False


class AlgoState(msgspec.Struct):
    """Parents by order id, in the order of their acceptance; curves and profiles by symbol.

    `submitted` has the first terms of orders whose algo terms have changed.
    """

    parents: dict[str, ParentState] = {}
    accepted: int = 0
    curves: dict[str, VolumeCurveSet] = {}
    profiles: dict[str, MarketProfileSet] = {}
    submitted: dict[str, AlgoTerms] = {}
