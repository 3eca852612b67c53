"""Refusals of special terms speak the client's words: the fields of the wire, in sentence and field alike."""

from decimal import Decimal

import pytest

from qtinfra.core.models import OrderType
from qtinfra.core.special import SpecialTerms
from qtinfra.core.validation.special import check_terms_of
from qtinfra.core.validation.wire_special import NAMES
from tests.support.builders import instrument

pytestmark = pytest.mark.unit

WRONG = [
    (OrderType.STOP, SpecialTerms(), "stop_price"),
    (OrderType.LIMIT, SpecialTerms(stop_px=Decimal(49)), "stop_price"),
    (OrderType.STOP, SpecialTerms(stop_px=Decimal("49.001")), "stop_price"),
    (OrderType.STOP, SpecialTerms(stop_px=Decimal("-1")), "stop_price"),
    (OrderType.TRAILING_STOP, SpecialTerms(), "trail_amount"),
    (OrderType.TRAILING_STOP, SpecialTerms(trail=Decimal("0.001")), "trail_amount"),
    (OrderType.ICEBERG, SpecialTerms(), "display_quantity"),
    (OrderType.ICEBERG, SpecialTerms(display_qty=Decimal(900)), "display_quantity"),
    (OrderType.ICEBERG, SpecialTerms(display_qty=Decimal("0.5")), "display_quantity"),
    (OrderType.LIMIT, SpecialTerms(peg_offset=Decimal(1)), "peg.offset"),
]


@pytest.mark.parametrize(("kind", "terms", "word"), WRONG)
def test_a_refusal_names_the_field_as_the_wire_does(kind: OrderType, terms: SpecialTerms, word: str) -> None:
    refusal = check_terms_of(kind, Decimal(100), terms, instrument("X"))
    assert refusal is not None
    assert NAMES[refusal.field] == word
    assert word in refusal.text and refusal.field not in refusal.text.split()
