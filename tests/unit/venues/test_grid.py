"""Prices and quantities between decimals and the book's integers, and what a grid remembers of them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.decimals import exact
from qtinfra.venues.simulated.grid import MAX_REMEMBERED, Grid, Remembered

pytestmark = pytest.mark.unit

D = Decimal
GRIDS = [Grid(D("0.01")), Grid(D("0.25"), D("0.001")), Grid(D("5"), D("100"))]


@given(st.sampled_from(GRIDS), st.integers(1, 10**9))
def test_integers_come_back_from_their_decimals(grid: Grid, count: int) -> None:
    assert grid.ticks(grid.price(count)) == count == grid.units(grid.quantity(count))
    assert grid.prices[count] == grid.tick * count
    assert grid.quantities[count] == grid.lot * count


@given(st.sampled_from(GRIDS), st.decimals(allow_nan=True, allow_infinity=True, places=4))
def test_what_is_no_positive_multiple_has_no_integer_however_often_it_is_asked(
    grid: Grid, value: Decimal
) -> None:
    with exact():
        valid = value.is_finite() and value > 0 and value % grid.tick == 0
        for _ in range(2):
            assert grid.ticks(value) == (value / grid.tick if valid else None)


def test_a_signaling_nan_has_no_integer() -> None:
    assert GRIDS[0].ticks(D("sNaN")) is GRIDS[0].units(D("sNaN")) is None


def test_a_size_is_canonical_however_the_quantity_is_written() -> None:
    grid = Grid(D("0.01"))
    for text in ("100.00", "1E+2", "100"):
        assert [str(part) for part in grid.sizes[D(text)] or ()] == ["100", "100"]


def test_a_size_keeps_the_quantity_that_was_asked_about_first_if_it_is_canonical() -> None:
    grid, first = Grid(D("0.01"), D("0.5")), D("100.5")
    for asked in (first, D("100.5"), D("100.50")):
        size = grid.sizes[asked]
        assert size is not None and size[1] is first
    grid.units(D("7.0"))
    size = grid.sizes[D(7)]
    assert size is not None and str(size[1]) == "7"


def test_what_is_remembered_is_bounded_and_an_answer_of_none_is_not_remembered() -> None:
    asked: list[int] = []

    def find(key: int) -> int | None:
        asked.append(key)
        return key if key % 2 else None

    known = Remembered[int, int | None](find)
    assert [known[1], known[1], known[2], known[2]] == [1, 1, None, None]
    assert asked == [1, 2, 2]
    for key in range(1, 2 * MAX_REMEMBERED + 9, 2):
        assert known[key] == key
        assert len(known) <= MAX_REMEMBERED
