"""Special terms and algo terms of an order in the JSON of the API, under the names they are sent with."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, astuple

from qtinfra.core.algo import AlgoTerms
from qtinfra.core.special import SpecialTerms

_SECOND_NS = 1_000_000_000


class PegView(msgspec.Struct, frozen=True):
    """What a PEGGED order follows; an offset above 0 is better (towards the own side)."""

    type: str
    offset: Decimal


class RoutingTermsView(msgspec.Struct, frozen=True):
    """How an order asked to be routed; urgency is 0 to 1."""

    strategy: str
    urgency: Decimal


class AlgoTermsView(msgspec.Struct, frozen=True):
    """How an algorithm works the order; only what was asked for or has a default."""

    name: str
    start_time: str
    end_time: str
    open_share: Decimal
    close_share: Decimal
    randomise_time: Decimal
    randomise_size: Decimal
    seed: int
    slices: int
    completion: str
    passive: bool
    dark_first: bool
    max_participation: Decimal | UnsetType = UNSET
    min_participation: Decimal | UnsetType = UNSET
    target_rate: Decimal | UnsetType = UNSET
    risk_aversion: Decimal | UnsetType = UNSET
    impact_exponent: Decimal | UnsetType = UNSET
    min_clip: Decimal | UnsetType = UNSET
    max_clip: Decimal | UnsetType = UNSET
    would_price: Decimal | UnsetType = UNSET


def moment(ts_ns: int) -> str:
    """UTC nanoseconds as RFC 3339, exactly, with no more decimals than needed."""
    second, rest = divmod(ts_ns, _SECOND_NS)
    whole = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{whole}{fraction}Z"


def terms_view(special: SpecialTerms | None, algo: AlgoTerms | None) -> dict[str, Any]:
    """The members of an order's JSON that its terms add; nothing for a plain order."""
    found: dict[str, Any] = {}
    if special is not None:
        found = {
            "stop_price": special.stop_px,
            "trail_amount": special.trail,
            "display_quantity": special.display_qty,
            "peg": PegView(special.peg, special.peg_offset) if special.peg is not None else None,
            "expire_at": moment(special.expire_ns) if special.expire_ns else None,
            "locate_id": special.locate_id or None,
            "self_match_id": special.smp_id or None,
            "do_not_reduce": special.do_not_reduce or None,
            "do_not_increase": special.do_not_increase or None,
            "routing": RoutingTermsView(*astuple(special.routing)) if special.routing is not None else None,
            "link": special.link,
            "list_id": special.link_id or None,
        }
    if algo is not None:
        found["algo"] = _algo_view(algo)
    return {name: value for name, value in found.items() if value is not None}


def _algo_view(terms: AlgoTerms) -> AlgoTermsView:
    values = {name: value for name, value in asdict(terms).items() if value is not None}
    start, end = moment(values.pop("start_ns")), moment(values.pop("end_ns"))
    return AlgoTermsView(values.pop("algo"), start, end, **values)
