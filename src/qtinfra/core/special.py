"""Terms beyond a plain market or limit order: triggers, display, pegs, expiry, links, short-sale marks.

A plain order carries none of them (`special` is None), and pays nothing for them on disk or in time.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import ZERO
from qtinfra.core.routing import RouteStyle


class Peg(StrEnum):
    """What a pegged order follows (FIX 1094): its own side's best, the opposite one, or the midpoint."""

    PRIMARY = "PRIMARY"
    MARKET = "MARKET"
    MIDPOINT = "MIDPOINT"


class Link(StrEnum):
    """How the orders of one list hang together (FIX 1385).

    OCO: an execution of one cancels the others, or reduces them by as much. BRACKET: the first order is the
    entry; the others rest unplaced, become live for what the entry has executed, and are OCO to each other.
    """

    OCO = "OCO"
    BRACKET = "BRACKET"


class SpecialTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The terms of an order that is not plain.

    Attributes:
        stop_px: trigger of STOP and STOP_LIMIT: a buy when the market trades or is offered at or above it, a
            sell at or below.
        trail: distance of a TRAILING_STOP behind the best price since it was accepted, in price units.
        display_qty: most that an ICEBERG shows at a time.
        peg, peg_offset: what a PEGGED order follows, and by how much it is better (towards the own side) or
            worse; its limit price is the worst it may become.
        expire_ns: when a GTD order ends (UTC nanoseconds); 0 for none.
        do_not_reduce, do_not_increase: exempt from price and quantity changes by dividends and splits.
        locate_id: where the shares of a short sale come from (17 CFR 242.203(b)(1)).
        algo: the approved algorithm that sends the order; empty for a person.
        smp_id: orders of one id never trade with each other.
        link, link_id: the list it belongs to.
        routing: how the order is routed; None for as its account's are.
    """

    stop_px: Decimal | None = None
    trail: Decimal | None = None
    display_qty: Decimal | None = None
    peg: Peg | None = None
    peg_offset: Decimal = ZERO
    expire_ns: int = 0
    do_not_reduce: bool = False
    do_not_increase: bool = False
    locate_id: str = ""
    algo: str = ""
    smp_id: str = ""
    link: Link | None = None
    link_id: str = ""
    routing: RouteStyle | None = None
