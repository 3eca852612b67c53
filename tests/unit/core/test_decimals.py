"""Exact numbers: one written form, one grammar, one rounding rule."""

from decimal import Decimal, Inexact, InvalidOperation
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.decimals import average, canonical, exact, is_multiple, parse_decimal, plain, quotient

pytestmark = pytest.mark.unit

amounts = st.decimals(min_value=0, max_value=10**17, places=9, allow_nan=False)
signed_amounts = st.decimals(min_value=-(10**17), max_value=10**17, places=9, allow_nan=False)
quantities = st.decimals(min_value=Decimal("1e-9"), max_value=10**17, places=9)


def half_even(value: Fraction, places: int) -> Fraction:
    """A fraction rounded half-even, in integers only."""
    scaled = value * 10**places
    return Fraction(round(scaled), 10**places)  # round() of a Fraction is half-even


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1.50", "1.5"),
        ("100", "100"),
        ("1E+2", "100"),
        ("0.000", "0"),
        ("-0.0", "0"),
        ("-0", "0"),
        ("12300.00", "12300"),
        ("0.000000001", "1E-9"),
    ],
)
def test_equal_numbers_have_one_written_form(text: str, written: str) -> None:
    assert str(canonical(Decimal(text))) == written


@given(signed_amounts, st.integers(0, 9))
def test_canonical_keeps_the_value_and_forgets_how_it_was_written(value: Decimal, zeros: int) -> None:
    padded = Decimal(f"{value:f}" + ("" if "." in f"{value:f}" else ".") + "0" * zeros)
    assert canonical(padded) == value
    assert str(canonical(padded)) == str(canonical(value))
    exponent = canonical(value).as_tuple().exponent
    assert isinstance(exponent, int) and exponent <= 0


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_is_not_finite_has_no_written_form(value: str) -> None:
    with pytest.raises(InvalidOperation):
        canonical(Decimal(value))


@pytest.mark.parametrize("text", ["0", "1", "100", "0.1", "999999999999999999.999999999", "10.50"])
def test_the_grammar_accepts_plain_numbers(text: str) -> None:
    assert parse_decimal(text) == Decimal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "+1",
        "-1",
        "01",
        "1.",
        ".5",
        "1e3",
        "1_000",
        "1,000",
        "NaN",
        "Infinity",
        "0x10",
        "1\n",
        "１００",
        "١٠٠",
        "1.0000000001",
        "1" * 19,
        "9" * 5_000,
    ],
)
def test_the_grammar_refuses_everything_else(text: str) -> None:
    with pytest.raises(ValueError, match="not a plain decimal number"):
        parse_decimal(text)


@given(amounts)
def test_what_is_written_plainly_reads_back(value: Decimal) -> None:
    text = plain(canonical(value))
    assert parse_decimal(text) == value
    assert "E" not in text


@given(st.decimals() | st.sampled_from(list(map(Decimal, ("1E+2", "0E-9", "-0", "1E-7", "0E+3", "sNaN")))))
def test_plain_text_is_positional_whatever_the_exponent(value: Decimal) -> None:
    assert plain(value) == format(value, "f")


@given(signed_amounts, quantities)
def test_a_quotient_is_the_exact_fraction_rounded_half_even_to_eight_places(
    numerator: Decimal, denominator: Decimal
) -> None:
    expected = half_even(Fraction(numerator) / Fraction(denominator), 8)
    assert Fraction(quotient(numerator, denominator)) == expected


@pytest.mark.parametrize(
    ("numerator", "denominator", "result"),
    [
        ("1", "3", "0.33333333"),
        ("2", "3", "0.66666667"),
        ("0.000000005", "1", "0"),
        ("0.000000015", "1", "0.00000002"),
        ("0.000000025", "1", "0.00000002"),
        ("0.0000000250000000000000000001", "1", "0.00000003"),
        ("3035.105", "303", "10.01684818"),
    ],
)
def test_ties_go_to_the_even_digit_and_only_ties(numerator: str, denominator: str, result: str) -> None:
    assert quotient(Decimal(numerator), Decimal(denominator)) == Decimal(result)


def test_a_quotient_is_not_rounded_twice() -> None:
    """Rounding to 80 digits and then to 8 must not turn just below a half into a half."""
    numerator = Decimal("0.000000005") * (10**40) - 1
    denominator = Decimal(10**40)
    assert quotient(numerator, denominator) == 0


@given(amounts, st.one_of(st.just(Decimal(0)), quantities))
def test_an_average_is_the_canonical_quotient_and_zero_for_no_quantity(
    notional: Decimal, quantity: Decimal
) -> None:
    if not quantity:
        assert average(notional, quantity) == 0
        return
    expected = half_even(Fraction(notional) / Fraction(quantity), 8)
    result = average(notional, quantity)
    assert Fraction(result) == expected
    assert str(result) == str(canonical(result))


def test_inside_exact_an_inexact_result_raises_instead_of_being_rounded() -> None:
    with exact():
        assert Decimal("0.1") * 3 == Decimal("0.3")
        with pytest.raises(Inexact):
            Decimal(1) / Decimal(3)
        with pytest.raises(Inexact):
            Decimal(10**60 + 1) * Decimal("1." + "1" * 40)


@given(st.integers(1, 10**9), st.sampled_from(["0.01", "0.0001", "1", "100"]))
def test_a_multiple_is_a_whole_number_of_steps(count: int, step: str) -> None:
    value = Decimal(step) * count
    assert is_multiple(value, Decimal(step))
    assert not is_multiple(value + Decimal(step) / 2, Decimal(step))
