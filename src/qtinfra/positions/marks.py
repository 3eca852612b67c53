"""Which price values a position: a policy as data, and the mark with its source and age, or why not.

A policy is a list of sources in order of preference, each with the age it may have at most. The first source
that has a price young enough gives the mark; when none has, the answer says for each why not. Nothing here
guesses: a position without a mark has no unrealised P&L, rather than a wrong one.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import EXACT, ZERO, canonical
from qtinfra.core.market import ConsolidatedBook
from qtinfra.core.marking import DEFAULT_POLICY, MarkPolicy, MarkRule, MarkSource, Observed
from qtinfra.positions.position import CostMethod, PnlLine, Position, pnl

__all__ = [
    "DEFAULT_POLICY",
    "Mark",
    "MarkInputs",
    "MarkPolicy",
    "MarkRule",
    "MarkSource",
    "MarkedPnl",
    "NoMark",
    "NoMarkReason",
    "Observed",
    "mark",
    "marked_pnl",
]

_TWO = Decimal(2)


class NoMarkReason(StrEnum):
    """Why a source gives no mark."""

    ABSENT = "ABSENT"
    NOT_LIVE = "NOT_LIVE"
    ONE_SIDED = "ONE_SIDED"
    CROSSED = "CROSSED"
    STALE = "STALE"


class MarkInputs(msgspec.Struct, frozen=True, gc=False):
    """What is known about one instrument's price; what is not known is None."""

    symbol: str
    book: ConsolidatedBook | None = None
    last: Observed | None = None
    close: Observed | None = None
    manual: Observed | None = None


class Mark(msgspec.Struct, frozen=True, gc=False):
    """The price that values a position, where it is from and how old it was (nanoseconds, never negative).

    A mid is as old as the older of the two quotes that make it.
    """

    px: Decimal
    source: MarkSource
    age_ns: int


class NoMark(msgspec.Struct, frozen=True, gc=False):
    """No source gave a price: each source of the policy, in order, with its reason."""

    symbol: str
    reasons: tuple[tuple[MarkSource, NoMarkReason], ...]


def mark(inputs: MarkInputs, policy: MarkPolicy, now_ns: int) -> Mark | NoMark:
    """The mark of an instrument by a policy at a moment; a price from after `now_ns` has age 0."""
    reasons: list[tuple[MarkSource, NoMarkReason]] = []
    for rule in policy.rules:
        found = _observed(rule.source, inputs)
        if isinstance(found, Observed):
            age_ns = max(0, now_ns - found.ts_ns)
            if rule.max_age_ns is None or age_ns <= rule.max_age_ns:
                return Mark(found.px, rule.source, age_ns)
            found = NoMarkReason.STALE
        reasons.append((rule.source, found))
    return NoMark(inputs.symbol, tuple(reasons))


def _observed(source: MarkSource, inputs: MarkInputs) -> Observed | NoMarkReason:
    match source:
        case MarkSource.MID:
            return _mid(inputs.book)
        case MarkSource.LAST:
            found = inputs.last
        case MarkSource.CLOSE:
            found = inputs.close
        case MarkSource.MANUAL:
            found = inputs.manual
    return NoMarkReason.ABSENT if found is None else found


def _mid(book: ConsolidatedBook | None) -> Observed | NoMarkReason:
    """The middle of the best live bid and offer; locked is a price, crossed is none."""
    if book is None or not book.quotes:
        return NoMarkReason.ABSENT
    if not any(quote.live for quote in book.quotes):
        return NoMarkReason.NOT_LIVE
    bid, ask = book.best_bid(), book.best_ask()
    if bid is None or ask is None:
        return NoMarkReason.ONE_SIDED
    if bid > ask:
        return NoMarkReason.CROSSED
    bid_ns = max(q.ts_ns for q in book.quotes if q.live and q.bids and q.bids[0][0] == bid)
    ask_ns = max(q.ts_ns for q in book.quotes if q.live and q.asks and q.asks[0][0] == ask)
    return Observed(canonical(EXACT.divide(EXACT.add(bid, ask), _TWO)), min(bid_ns, ask_ns))


class MarkedPnl(msgspec.Struct, frozen=True, gc=False):
    """A position's blotter line together with the mark that values it.

    A flat position needs none: when there is none, `mark` is None and the line shows 0.
    """

    mark: Mark | None
    line: PnlLine


def marked_pnl(
    position: Position,
    inputs: MarkInputs,
    policy: MarkPolicy,
    now_ns: int,
    method: CostMethod = CostMethod.AVERAGE,
) -> MarkedPnl | NoMark:
    """Realised and unrealised P&L of a position valued by the policy, in the instrument's currency, exact."""
    found = mark(inputs, policy, now_ns)
    if isinstance(found, NoMark):
        return found if position.qty else MarkedPnl(None, pnl(position, ZERO, method))
    return MarkedPnl(found, pnl(position, found.px, method))
