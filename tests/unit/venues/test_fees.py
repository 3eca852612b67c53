"""Fee schedules: the fee of a fill by flag, basis and tier, exactly, and as a journal holds them."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import Currency
from qtinfra.core.reports import ReportKind, VenueReport
from qtinfra.venues.simulated.fees import (
    AUCTION,
    MAKE,
    TAKE,
    FeeBasis,
    FeeSchedule,
    FeeTier,
    fee_of,
    fill_fee,
    schedule_on,
)

pytestmark = pytest.mark.unit

D = Decimal
SCHEDULE = FeeSchedule(
    "XSIM",
    Currency.USD,
    "2024-07-01",
    (
        FeeTier(TAKE, D("0.0030")),
        FeeTier(MAKE, D("-0.0020")),
        FeeTier(MAKE, D("-0.0025"), from_qty=D(1_000_000)),
        FeeTier(AUCTION, D("0.35"), FeeBasis.BASIS_POINTS),
        FeeTier("hidden", D("0.0010")),
    ),
)


def fill(liquidity: Liquidity, flag: str = "") -> VenueReport:
    return VenueReport(
        ReportKind.FILL, "XSIM", "a", qty=D(300), px=D("33.335"), liquidity=liquidity, flag=flag
    )


@pytest.mark.parametrize(
    ("report", "traded", "fee"),
    [
        (fill(Liquidity.REMOVED), 0, "0.9"),
        (fill(Liquidity.ADDED), 0, "-0.6"),
        (fill(Liquidity.ADDED), 999_999, "-0.6"),
        (fill(Liquidity.ADDED), 1_000_000, "-0.75"),
        (fill(Liquidity.UNKNOWN, "auction"), 0, "0.35001750"),
        (fill(Liquidity.ADDED, "hidden"), 0, "0.3"),
        (fill(Liquidity.ADDED, "midpoint"), 0, "-0.6"),
    ],
)
def test_a_fee_is_exact_by_the_flag_the_basis_and_the_tier(
    report: VenueReport, traded: int, fee: str
) -> None:
    assert fill_fee(SCHEDULE, report, D(traded)) == D(fee)


def test_an_execution_without_a_rate_or_a_report_that_is_no_fill_has_no_fee() -> None:
    with pytest.raises(ValueError, match="no fee"):
        fill_fee(SCHEDULE, fill(Liquidity.UNKNOWN))
    with pytest.raises(ValueError, match="no fee"):
        fee_of(SCHEDULE, D(1), D(1), ("odd",))
    with pytest.raises(ValueError, match="not a fill"):
        fill_fee(SCHEDULE, VenueReport(ReportKind.ACK, "XSIM", "a"))


def test_the_schedule_of_a_date_is_the_last_that_had_begun() -> None:
    later = msgspec.structs.replace(SCHEDULE, effective="2024-08-01")
    both = (later, SCHEDULE)
    assert schedule_on(both, "XSIM", "2024-07-31") == SCHEDULE
    assert schedule_on(both, "XSIM", "2024-08-01") == later
    assert schedule_on(both, "XSIM", "2024-06-30") is None
    assert schedule_on(both, "XNAS", "2024-08-01") is None


def test_a_schedule_comes_back_from_bytes_as_it_was() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(SCHEDULE), type=FeeSchedule) == SCHEDULE
