"""What reference data must look like before the engine takes it."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

from qtinfra.core.decimals import ZERO, is_multiple
from qtinfra.core.extended_models import Instrument, TermsChange


def wrong_instrument(instrument: Instrument) -> str:
    """What is wrong with an instrument; empty when nothing is."""
    if not instrument.listings:
        return "has no listing"
    if not instrument.multiplier.is_finite() or instrument.multiplier <= ZERO:
        return "multiplier must be a positive number"
    dates = [change.from_date for change in instrument.changes]
    if any(earlier >= later for earlier, later in pairwise(dates)) or not all(map(_is_date, dates)):
        return "dates of changes must be ISO 8601 and ascend"
    dated: list[Instrument | TermsChange] = [instrument, *instrument.changes]
    for terms in dated:
        wrong = _wrong_terms(terms)
        if wrong:
            return wrong
    return ""


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _wrong_terms(terms: Instrument | TermsChange) -> str:
    """What is wrong with ticks and lots; empty when nothing is."""
    ticks = [(band.floor, band.tick) for band in terms.ticks]
    lots = [(band.floor, band.lot) for band in terms.round_lots]
    if not all(number.is_finite() for pair in ticks + lots for number in pair):
        return "numbers must be finite"
    for name, table in (("tick table", ticks), ("round lots", lots)):
        floors = [floor for floor, _ in table]
        if (floors and floors[0] != ZERO) or any(low >= high for low, high in pairwise(floors)):
            return f"{name} must start at 0 and ascend"
        if any(size <= ZERO for _, size in table):
            return f"{name} must be positive"
    if not ticks:
        return "tick table must start at 0 and ascend"
    if not terms.lot_size.is_finite() or terms.lot_size <= ZERO:
        return "lot size must be a positive number"
    if any(not is_multiple(size, terms.lot_size) for _, size in lots):
        return "round lots must be multiples of the lot size"
    return ""
