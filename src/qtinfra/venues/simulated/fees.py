"""What a venue charges for an execution, as data: rates by liquidity flag and by volume traded.

A schedule is a frozen record of decimals and words: a journal can hold it with the day it takes effect.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import EXACT, ZERO, canonical
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import Currency
from qtinfra.core.reports import VenueReport

TAKE = "take"
MAKE = "make"
AUCTION = "auction"

_BASIS_POINT = Decimal("0.0001")
_BY_LIQUIDITY = {Liquidity.ADDED: MAKE, Liquidity.REMOVED: TAKE}


class FeeBasis(StrEnum):
    """What a rate is multiplied with: units, or the value in basis points (1/100 of a percent)."""

    PER_UNIT = "per_unit"
    BASIS_POINTS = "basis_points"


class FeeTier(msgspec.Struct, frozen=True, gc=False):
    """One rate.

    Attributes:
        flag: executions it is for: TAKE, MAKE, AUCTION or a liquidity flag of the venue.
        rate: currency per unit, or basis points of the value; negative is a rebate.
        from_qty: it applies once this much has been traded in the venue's period (usually a month).
    """

    flag: str
    rate: Decimal
    basis: FeeBasis = FeeBasis.PER_UNIT
    from_qty: Decimal = ZERO


class FeeSchedule(msgspec.Struct, frozen=True, gc=False):
    """A venue's fees from a trading date (ISO 8601) on."""

    venue: str
    currency: Currency
    effective: str
    tiers: tuple[FeeTier, ...]


def flags_of(report: VenueReport) -> tuple[str, ...]:
    """The flags that a fill may be charged under, the venue's own first."""
    general = _BY_LIQUIDITY.get(report.liquidity)
    return tuple(flag for flag in (report.flag, general) if flag)


def fill_fee(schedule: FeeSchedule, report: VenueReport, traded_qty: Decimal = ZERO) -> Decimal:
    """The exact fee of a fill in the schedule's currency, not rounded; negative is a rebate.

    Args:
        traded_qty: units traded in the period before this fill; it decides the tier.

    Raises:
        ValueError: not a fill with quantity and price, or the schedule has no rate for its flags.
    """
    if report.px is None or report.quantity <= 0:
        raise ValueError(f"not a fill: {report.kind} of {report.cl_ord_id}")
    return fee_of(schedule, report.quantity, report.px, flags_of(report), traded_qty)


def fee_of(
    schedule: FeeSchedule, qty: Decimal, px: Decimal, flags: Iterable[str], traded_qty: Decimal = ZERO
) -> Decimal:
    """As `fill_fee`, of an execution given by its numbers; the first flag that has a rate counts.

    Raises:
        ValueError: the schedule has no rate for any of the flags.
    """
    wanted = tuple(flags)
    for flag in wanted:
        tiers = [tier for tier in schedule.tiers if tier.flag == flag and tier.from_qty <= traded_qty]
        if tiers:
            return _charge(max(tiers, key=lambda tier: tier.from_qty), qty, px)
    raise ValueError(f"{schedule.venue} has no fee for {wanted or 'an execution without a flag'}")


def schedule_on(schedules: Iterable[FeeSchedule], venue: str, trade_date: str) -> FeeSchedule | None:
    """The venue's schedule that is in effect on a trading date; None before the first."""
    begun = [item for item in schedules if item.venue == venue and item.effective <= trade_date]
    return max(begun, key=lambda item: item.effective, default=None)


def _charge(tier: FeeTier, qty: Decimal, px: Decimal) -> Decimal:
    fee = EXACT.multiply(tier.rate, qty)
    if tier.basis is FeeBasis.BASIS_POINTS:
        fee = EXACT.multiply(EXACT.multiply(fee, px), _BASIS_POINT)
    return canonical(fee)
