"""Rules for the terms of an algo order: ranges, and what each algo needs. The first refusal counts."""

from __future__ import annotations

from collections.abc import Container
from decimal import Decimal

import msgspec

from qtinfra.core.algo import AlgoTerms
from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import ONE, ZERO, is_multiple, plain
from qtinfra.core.decisions import Refusal
from qtinfra.core.extended_models import Instrument
from qtinfra.core.models import OrderSide, TimeInForce
from qtinfra.core.special import SpecialTerms
from qtinfra.core.strategies.inputs import MAX_SLICES
from qtinfra.core.validation.rules import check_number, in_range

#: Longest an algo order works: one session, extended hours included.
MAX_DURATION_NS = 86_400_000_000_000
_MAX_SEED = 1 << 63


def check_algo(
    order: SubmitOrder, instrument: Instrument, now_ns: int, known: Container[str]
) -> Refusal | None:
    """All rules for the algo terms of a new order.

    Args:
        now_ns: UTC nanoseconds of the decision.
        known: names of the strategies there are.
    """
    terms = order.algo
    if terms is None:
        return None
    if order.tif is not TimeInForce.DAY:
        text = f"an algo order works within a day, not {order.tif}"
        return Refusal("unsupported_time_in_force", text, "time_in_force", "DAY", order.tif)
    if order.min_qty:
        text = "min_quantity does not apply to algo orders"
        return Refusal("min_qty", text, "min_quantity", "0", plain(order.min_qty))
    return _check_special(order.special, terms) or check_algo_terms(
        terms, order.side, order.qty, order.price, instrument, now_ns, known
    )


def _check_special(special: SpecialTerms | None, terms: AlgoTerms) -> Refusal | None:
    """Besides its algo, a parent may only carry a locate and its self-match id."""
    if special is None:
        return None
    bare = SpecialTerms(algo=special.algo, locate_id=special.locate_id, smp_id=special.smp_id)
    if special != bare or special.algo not in ("", terms.algo):
        text = "an algo order has no other special terms than a locate and a self-match id"
        return Refusal("special_not_allowed", text, "special", "locate_id, smp_id", terms.algo)
    return None


def check_algo_terms(
    terms: AlgoTerms,
    side: OrderSide,
    qty: Decimal,
    limit: Decimal | None,
    instrument: Instrument,
    now_ns: int,
    known: Container[str],
) -> Refusal | None:
    """The terms by themselves and against the order's side, quantity and limit price."""
    if terms.algo not in known:
        text = f"there is no algo {terms.algo[:32]!r}"
        return Refusal("unknown_algo", text, "algo", "", terms.algo[:32])
    return (
        _check_time(terms, now_ns)
        or _check_rates(terms)
        or _check_numbers(terms)
        or _check_clips(terms, instrument)
        or _check_would(terms, side, limit, instrument)
        or _check_shares(terms)
    )


def _refuse(code: str, field: str, limit: str, observed: object, text: str) -> Refusal:
    return Refusal(code, f"algo {field}: {text}", f"algo.{field}", limit, str(observed)[:60])


def _check_time(terms: AlgoTerms, now_ns: int) -> Refusal | None:
    start, end = terms.start_ns, terms.end_ns
    if start < 0:
        return _refuse("algo_time", "start_ns", "0", start, "must not be negative")
    if end <= start:
        return _refuse("algo_time", "end_ns", str(start), end, "must be after the start")
    if end <= now_ns:
        return _refuse("algo_time", "end_ns", str(now_ns), end, "has passed")
    if end - max(start, now_ns) > MAX_DURATION_NS or start - now_ns > MAX_DURATION_NS:
        return _refuse("algo_time", "end_ns", str(MAX_DURATION_NS), end - start, "is more than a day away")
    return None


def _check_rates(terms: AlgoTerms) -> Refusal | None:
    """Parts of the volume lie above 0 and at most at 1; floor and rate below the cap."""
    for field in ("max_participation", "min_participation", "target_rate"):
        value: Decimal | None = getattr(terms, field)
        if value is None:
            continue
        if not in_range(value) or not ZERO < value <= ONE:
            return _refuse("algo_rate", field, "0 to 1", value, "must be above 0 and at most 1")
        if field != "max_participation" and value == ONE:
            return _refuse("algo_rate", field, "1", value, "must be below 1")
    cap = terms.max_participation
    for field in ("min_participation", "target_rate"):
        value = getattr(terms, field)
        if cap is not None and value is not None and value > cap:
            return _refuse("algo_rate", field, plain(cap), value, "must not be above max_participation")
    if terms.algo == "POV" and terms.target_rate is None:
        return _refuse("algo_rate", "target_rate", "POV", "none", "POV needs it")
    if terms.algo != "POV" and terms.target_rate is not None:
        return _refuse("algo_rate", "target_rate", "POV", terms.target_rate, "is for POV alone")
    return None


def _check_numbers(terms: AlgoTerms) -> Refusal | None:
    aversion, exponent = terms.risk_aversion, terms.impact_exponent
    if aversion is not None and (not in_range(aversion) or aversion < ZERO):
        return _refuse("algo_range", "risk_aversion", "0", aversion, "must not be negative")
    if exponent is not None and (not in_range(exponent) or not ZERO < exponent <= 2):
        return _refuse("algo_range", "impact_exponent", "0 to 2", exponent, "must be above 0 and at most 2")
    if not 0 <= terms.slices <= MAX_SLICES:
        return _refuse("algo_range", "slices", str(MAX_SLICES), terms.slices, f"must be 0 to {MAX_SLICES}")
    if not 0 <= terms.seed < _MAX_SEED:
        return _refuse("algo_range", "seed", str(_MAX_SEED - 1), terms.seed, "must be 0 to 2^63 - 1")
    for field in ("randomise_time", "randomise_size"):
        value: Decimal = getattr(terms, field)
        if not in_range(value) or not ZERO <= value <= ONE:
            return _refuse("algo_range", field, "0 to 1", value, "must be 0 to 1")
    return None


def _check_clips(terms: AlgoTerms, instrument: Instrument) -> Refusal | None:
    lot = instrument.lot_size
    for field in ("min_clip", "max_clip"):
        value: Decimal | None = getattr(terms, field)
        if value is None:
            continue
        if check_number(field, value) is not None:
            return _refuse("algo_clip", field, "0", value, "must be a number above 0")
        if not is_multiple(value, lot):
            return _refuse("algo_clip", field, plain(lot), value, f"must be a multiple of {plain(lot)}")
    if terms.min_clip is not None and terms.max_clip is not None and terms.min_clip > terms.max_clip:
        return _refuse("algo_clip", "min_clip", plain(terms.max_clip), terms.min_clip, "is above max_clip")
    return None


def _check_would(
    terms: AlgoTerms, side: OrderSide, limit: Decimal | None, instrument: Instrument
) -> Refusal | None:
    """The would-price is on the tick, and no worse than the limit."""
    price = terms.would_price
    if price is None:
        return None
    if check_number("would_price", price) is not None or not instrument.on_tick(price):
        return _refuse("algo_would_price", "would_price", "", price, "must be a price on the tick")
    worse = limit is not None and (price > limit if side is OrderSide.BUY else price < limit)
    if worse and limit is not None:
        return _refuse("algo_would_price", "would_price", plain(limit), price, "is beyond the limit price")
    return None


def _check_shares(terms: AlgoTerms) -> Refusal | None:
    for field in ("open_share", "close_share"):
        value: Decimal = getattr(terms, field)
        if not in_range(value) or not ZERO <= value <= ONE:
            return _refuse("algo_share", field, "0 to 1", value, "must be 0 to 1")
    both = terms.open_share + terms.close_share
    if both > ONE:
        return _refuse("algo_share", "close_share", "1", both, "with open_share is more than 1")
    return None


def algo_special(special: SpecialTerms | None, terms: AlgoTerms) -> SpecialTerms:
    """The special terms under which a parent is approved, killed and throttled: they name its algo."""
    return msgspec.structs.replace(special or SpecialTerms(), algo=terms.algo)


def special_of(order: SubmitOrder) -> SpecialTerms | None:
    """The special terms that an order is taken under: of an algo order they name its algo."""
    return order.special if order.algo is None else algo_special(order.special, order.algo)
