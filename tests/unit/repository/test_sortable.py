"""Keys compare as their numbers do, and the text beside them is exact."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.decimals import canonical
from qtinfra.repository.sortable import NO_KEY, number_columns, optional_columns

pytestmark = pytest.mark.unit

numbers = st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**27), max_value=10**27)


@given(left=numbers, right=numbers)
def test_keys_order_as_numbers_and_are_equal_for_equal_ones(left: Decimal, right: Decimal) -> None:
    a, b = number_columns(left)[1].encode(), number_columns(right)[1].encode()
    assert (a < b, a == b) == (left < right, left == right)


@given(value=numbers)
def test_the_text_reads_back_as_the_same_canonical_number(value: Decimal) -> None:
    text = number_columns(value)[0]
    assert Decimal(text) == value and str(canonical(value)) == str(Decimal(text)) and "E" not in text


def test_neighbours_that_plain_text_would_order_wrongly() -> None:
    written = [
        "-100.5",
        "-100",
        "-99.99",
        "-1",
        "-0.1",
        "-0.01",
        "0",
        "0.01",
        "0.1",
        "0.11",
        "1",
        "9",
        "10",
        "10.5",
    ]
    keys = [number_columns(Decimal(text))[1] for text in written]
    assert keys == sorted(keys) and len(set(keys)) == len(keys)


@pytest.mark.parametrize("odd", ["NaN", "Infinity", "-Infinity", "1E+400", "1E-400", "1" * 81, "1E+80"])
def test_what_cannot_be_compared_keeps_its_text_and_has_no_key(odd: str) -> None:
    assert number_columns(Decimal(odd)) == (odd, NO_KEY)


def test_an_absent_number_has_no_text_and_sorts_first() -> None:
    assert optional_columns(None) == (None, NO_KEY)
    assert number_columns(Decimal("-1E+79"))[1] > NO_KEY
