"""What was executed at one price has that price as its average, as a report writes it."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.decimals import average, exact
from qtinfra.engine import averages
from qtinfra.engine.averages import MAX_KNOWN, average_at, known_average

pytestmark = pytest.mark.unit


@given(
    st.one_of(
        st.decimals("-1000000", "1000000", places=9),
        st.sampled_from([Decimal("62.50"), Decimal("6E+1"), Decimal("-0.0"), Decimal("0.123456785")]),
    ),
    st.sampled_from([Decimal(1), Decimal("0.5"), Decimal(300)]),
)
def test_it_is_the_average_of_any_quantity_at_the_price(px: Decimal, qty: Decimal) -> None:
    with exact():
        expected = average(px * qty, qty)
        for _ in range(2):
            assert str(average_at(px)) == str(expected)
            assert str(known_average(px)) == str(expected)


@pytest.mark.parametrize("text", ["1E+19", "-1E+18", "1E-12", "NaN", "-Infinity", "0.1234567891"])
def test_a_price_out_of_range_has_none(text: str) -> None:
    with exact():
        assert average_at(Decimal(text)) is None
    assert known_average(Decimal(text)) is None


@pytest.mark.parametrize("again", ["62.5", "62.50", "625E-1"])
@pytest.mark.parametrize("first", ["62.5", "62.50", "625E-1"])
def test_equal_prices_have_one_average_whichever_came_first(first: str, again: str) -> None:
    averages._known.clear()
    with exact():
        assert str(average_at(Decimal(first))) == str(known_average(Decimal(again))) == "62.5"


def test_no_more_is_remembered_than_the_bound() -> None:
    with exact():
        for cents in range(MAX_KNOWN + 10):
            average_at(Decimal(f"{cents}.25"))
    assert 0 < len(averages._known) <= MAX_KNOWN
