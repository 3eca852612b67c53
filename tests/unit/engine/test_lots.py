"""Behaviour 22: round lots by price tier and odd lots; lot sizes by instrument and date."""

from typing import Any

import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.extended_models import US_EQUITY_TICKS, US_ROUND_LOTS, LotBand, LotKind, TermsChange
from qtinfra.core.models import OrderStatus
from qtinfra.core.validation.rules import check_round_lot
from tests.support.builders import DAYS, SYMBOL, Desk, dec, instrument

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("price", "lot"),
    [
        ("0.50", 100),
        ("250.00", 100),
        ("250.01", 40),
        ("1000.00", 40),
        ("1000.01", 10),
        ("10000.00", 10),
        ("10000.01", 1),
        ("700000", 1),
    ],
)
def test_behaviour_22_a_round_lot_of_a_us_share_goes_by_its_price_tier(price: str, lot: int) -> None:
    assert instrument(round_lots=US_ROUND_LOTS).round_lot_at(dec(price)) == lot


@pytest.mark.parametrize(
    ("qty", "kind"),
    [(1, LotKind.ODD), (39, LotKind.ODD), (40, LotKind.ROUND), (41, LotKind.MIXED), (80, LotKind.ROUND)],
)
def test_behaviour_22_a_quantity_is_round_odd_or_mixed(qty: int, kind: LotKind) -> None:
    assert instrument(round_lots=US_ROUND_LOTS).lot_kind(dec(qty), dec("300")) is kind


def test_behaviour_22_without_tiers_the_lot_size_is_the_round_lot() -> None:
    share = instrument(lot=10)
    assert (share.round_lot_at(dec(50)), share.lot_kind(dec(30), dec(50))) == (dec(10), LotKind.ROUND)


def _desk(**changes: Any) -> Desk:
    desk = Desk()
    desk.run(
        cmd.SetReference((instrument(round_lots=US_ROUND_LOTS, **changes),), prices=((SYMBOL, dec(300)),))
    )
    return desk


def test_behaviour_22_odd_lots_are_taken_where_the_instrument_takes_them() -> None:
    desk = _desk()
    desk.new("X", 41, 300)
    assert desk.order("X").status is OrderStatus.ROUTED


def test_behaviour_22_odd_and_mixed_lots_are_refused_where_it_does_not() -> None:
    desk = _desk(odd_lots=False)
    for number, qty in enumerate((39, 41)):
        desk.new(f"X{number}", qty, 300)
        refused = desk.last()
        assert (refused.code, "of 40" in refused.text) == ("round_lot", True)
        assert desk.order(f"X{number}").status is OrderStatus.REJECTED
    desk.working("X", 80, 300)
    desk.replace("R1", "X", qty=79)
    assert desk.last_reject().code == "round_lot"
    desk.replace("R2", "X", qty=40)
    assert desk.figures()[0] == "PENDING_REPLACE"


def test_behaviour_22_the_tier_is_that_of_the_reference_price_not_of_the_limit() -> None:
    desk = _desk(odd_lots=False)
    desk.new("X", 40, 200)
    assert desk.order("X").status is OrderStatus.ROUTED
    assert check_round_lot(instrument(odd_lots=False, lot=5), dec(7), None) is not None


def test_behaviour_22_a_lot_size_changes_with_its_trade_date_and_not_before() -> None:
    desk = Desk()
    later = TermsChange(DAYS[1], dec(10), US_EQUITY_TICKS, (LotBand(dec(0), dec(100)),))
    desk.run(cmd.SetReference((instrument(changes=(later,)),)))
    desk.new("X", 7)
    assert desk.order("X").status is OrderStatus.ROUTED
    desk.next_day()
    desk.new("Y", 7)
    assert (desk.last().code, "multiple of 10" in desk.last().text) == ("lot_size", True)
    desk.new("Z", 20)
    assert desk.order("Z").status is OrderStatus.ROUTED
    assert desk.state.instruments[SYMBOL].round_lot_at(dec(50)) == 100


def test_behaviour_22_reference_that_is_sent_again_later_counts_as_of_that_day() -> None:
    desk = Desk()
    desk.next_day()
    later = TermsChange(DAYS[1], dec(10), US_EQUITY_TICKS)
    desk.run(cmd.SetReference((instrument(changes=(later,)),)))
    assert desk.state.instruments[SYMBOL].lot_size == 10


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"round_lots": (LotBand(dec(1), dec(10)),)}, "round lots must start at 0 and ascend"),
        ({"round_lots": (LotBand(dec(0), dec(0)),)}, "round lots must be positive"),
        ({"round_lots": (LotBand(dec(0), dec("1.5")),)}, "round lots must be multiples of the lot size"),
        ({"changes": (TermsChange("soon", dec(1), US_EQUITY_TICKS),)}, "dates of changes"),
        ({"changes": (TermsChange("2025-01-01", dec(1), US_EQUITY_TICKS),) * 2}, "dates of changes"),
        ({"changes": (TermsChange("2025-01-01", dec(0), US_EQUITY_TICKS),)}, "lot size must be"),
        ({"changes": (TermsChange("2025-01-01", dec(1), ()),)}, "tick table must start at 0"),
        ({"ticks": ()}, "tick table must start at 0"),
        ({"multiplier": dec("NaN")}, "multiplier must be"),
    ],
)
def test_behaviour_22_wrong_lots_and_dates_are_refused_by_name(changes: dict[str, Any], wrong: str) -> None:
    desk = Desk()
    before = desk.state.instruments[SYMBOL]
    (event,) = desk.run(cmd.SetReference((instrument(**changes),))).events
    assert wrong in getattr(event, "text", "")
    assert desk.state.instruments[SYMBOL] == before
