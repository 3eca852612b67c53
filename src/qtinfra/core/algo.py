"""Parent orders that an algorithm works: their terms, their journaled schedule, why each slice was sent."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import ZERO


class Completion(StrEnum):
    """What becomes of what is left at the end time: cancelled, crossed at once, or left to the close."""

    CANCEL = "CANCEL"
    CROSS = "CROSS"
    CLOSE = "CLOSE"


class FinishReason(StrEnum):
    """How a schedule ended. None ends without one of these."""

    COMPLETED = "completed"
    RESIDUAL_CANCELLED = "residual cancelled"
    CROSSED = "crossed"
    HANDED_TO_CLOSE = "handed to the close"
    ORDER_ENDED = "the order ended"


class SliceKind(StrEnum):
    """How a slice trades.

    PASSIVE rests at its own side's best price; CROSS takes at once and rests nowhere; DARK takes where
    nothing is displayed; WOULD takes at the would-price or better; FINAL crosses at the end time; OPEN and
    CLOSE go to the auctions.
    """

    PASSIVE = "PASSIVE"
    CROSS = "CROSS"
    DARK = "DARK"
    WOULD = "WOULD"
    FINAL = "FINAL"
    OPEN = "OPEN"
    CLOSE = "CLOSE"


class AlgoTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a parent order is worked. Its limit price and quantity are the order's own.

    Attributes:
        algo: the strategy by its registered name: TWAP, VWAP, POV, IS, TARGET_CLOSE or a user's own.
        start_ns, end_ns: when it works, UTC nanoseconds; the end is exclusive.
        max_participation: cap, own / (own + others), 0 to 1, on every interval; None for no cap. Own volume
            is what the parent has executed and has at venues, others' only what has printed by then.
        min_participation: floor, likewise since the start; it pulls quantity forward, never past the cap.
        target_rate: of POV, own / (own + others).
        risk_aversion: of IS, per currency unit of variance (lambda of Almgren and Chriss); 0 is risk neutral.
        impact_exponent: of IS, the power of the trading rate in its temporary impact; 1 is linear.
        min_clip, max_clip: least and most units of a slice; what is left at last may be less.
        would_price: complete at this price or better whatever the schedule says, within the caps.
        open_share, close_share: parts of the quantity for the opening and closing auctions, 0 to 1.
        randomise_time: how late a slice may come, as a part of its interval, 0 to 1.
        randomise_size: how much a slice may differ from its plan, as a part of it, 0 to 1.
        seed: of the randomisation; equal seeds give equal schedules.
        slices: number of intervals; 0 for one a minute, at most `strategies.inputs.MAX_SLICES`.
        completion: what becomes of what is left at the end.
        passive: rest at the own side first and cross later in the interval; False crosses at once.
        dark_first: ask undisplayed venues first in every interval.
    """

    algo: str
    start_ns: int
    end_ns: int
    max_participation: Decimal | None = None
    min_participation: Decimal | None = None
    target_rate: Decimal | None = None
    risk_aversion: Decimal | None = None
    impact_exponent: Decimal | None = None
    min_clip: Decimal | None = None
    max_clip: Decimal | None = None
    would_price: Decimal | None = None
    open_share: Decimal = ZERO
    close_share: Decimal = ZERO
    randomise_time: Decimal = ZERO
    randomise_size: Decimal = ZERO
    seed: int = 0
    slices: int = 0
    completion: Completion = Completion.CANCEL
    passive: bool = True
    dark_first: bool = False


class Schedule(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A plan as it is journaled: whole lots by time. It is never computed again from its inputs.

    Attributes:
        times: when each interval begins, UTC nanoseconds, ascending; the last one lasts until `end_ns`.
        releases: from when the interval's quantity is due: its beginning, or later where time is randomised.
        targets: units of the parent that shall be executed or at venues from that release on, cumulative over
            the parent's life; empty for an algo that follows the market (POV).
        open_qty, close_qty: units for the auctions, in no target.
        close_ns: when the closing auction's part is sent; 0 for none.
        rate: own / (own + others) that POV follows; None for a schedule in time.
        base_qty: units that the parent had executed when this was planned.
        basis: what it was planned from, in words.
    """

    times: tuple[int, ...]
    releases: tuple[int, ...]
    targets: tuple[Decimal, ...]
    end_ns: int
    open_qty: Decimal = ZERO
    close_qty: Decimal = ZERO
    close_ns: int = 0
    # With targets: what the plan expects, and the volume that prints steers it (`strategies.steering`).
    rate: Decimal | None = None
    base_qty: Decimal = ZERO
    basis: str = ""


class SliceReason(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why a slice was sent: everything the decision rests on.

    Attributes:
        kind: how it trades.
        arrival_mid: midpoint when the parent was accepted; None where it was not known.
        target: units that the schedule wants executed or at venues now.
        filled, working: units executed, and at venues before this slice.
        left: units of the parent not executed.
        bid, ask: the best quote seen.
        room: units that the participation cap still allowed; None without a cap.
        urgency: part of the interval that has passed, in thousandths.
    """

    kind: SliceKind
    arrival_mid: Decimal | None
    target: Decimal
    filled: Decimal
    working: Decimal
    left: Decimal
    bid: Decimal | None
    ask: Decimal | None
    room: Decimal | None
    urgency: int
