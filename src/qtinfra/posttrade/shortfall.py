"""What an order's execution cost, as exact arithmetic on plain inputs.

Costs are positive, gains negative, for buys and sells alike. Amounts are sums and products of decimals and
exact; ratios are rounded half-even to 8 places.

Source: A. Perold, "The implementation shortfall", Journal of Portfolio Management 14 (1988), 4-9; R. Kissell,
M. Glantz, "Optimal trading strategies" (2003), chapter 3 (expanded shortfall); for spreads and markouts
R. Huang, H. Stoll, "Dealer versus auction markets", Journal of Financial Economics 41 (1996), 313-357.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import ZERO, average, exact, quotient
from qtinfra.core.models import OrderSide

#: A fill: quantity in units, price per unit.
Fill = tuple[Decimal, Decimal]

_BPS = Decimal(10_000)


class DelayBasis(StrEnum):
    """Which quantity the move from decision to arrival is charged on."""

    EXECUTED = "executed_quantity"
    ORDERED = "ordered_quantity"


class OpportunityFrom(StrEnum):
    """The price from which the move that was missed is measured."""

    DECISION = "decision_price"
    ARRIVAL = "arrival_price"


class Shortfall(msgspec.Struct, frozen=True, gc=False):
    """Implementation shortfall of an order, currency of its prices.

    Attributes:
        delay: the move from decision to arrival.
        trading: fills against the arrival price.
        opportunity: what was not filled, at the end price.
        fees: commissions, fees and taxes, rebates negative.
        paper_minus_real: gain of the paper portfolio less that of the real one. The components sum to it
            when delay on executed quantity goes with opportunity from the decision price, or delay on ordered
            quantity with opportunity from the arrival price; the other pairings leave out, or count twice,
            the delay of what was not filled.
        paper_value: ordered quantity at the decision price.
    """

    delay: Decimal
    trading: Decimal
    opportunity: Decimal
    fees: Decimal
    paper_minus_real: Decimal
    paper_value: Decimal

    @property
    def total(self) -> Decimal:
        """The sum of the four components, exactly."""
        with exact():
            return self.delay + self.trading + self.opportunity + self.fees

    @property
    def total_bps(self) -> Decimal:
        """The total in basis points of the paper value, 8 places."""
        return _bps(self.total, self.paper_value)


def sign_of(side: OrderSide) -> int:
    """1 for a buy, -1 for a sell of any kind."""
    return 1 if side is OrderSide.BUY else -1


def implementation_shortfall(
    side: OrderSide,
    quantity: Decimal,
    decision_price: Decimal,
    arrival_price: Decimal,
    fills: Sequence[Fill],
    end_price: Decimal,
    fees: Decimal = ZERO,
    delay_basis: DelayBasis = DelayBasis.EXECUTED,
    opportunity_from: OpportunityFrom = OpportunityFrom.DECISION,
) -> Shortfall:
    """Split the cost of an order against the moment it was decided.

    `delay = s q (arrival - decision)`, `trading = s sum f (price - arrival)`,
    `opportunity = s (Q - F) (end - reference)`, with side s, fills f of total F, ordered Q, and q and the
    reference as chosen.

    Args:
        quantity: units ordered, above 0.
        end_price: price at which what was not filled is valued.
        fees: currency.

    Raises:
        ValueError: quantity or a fill is not above 0, or more was filled than ordered.
        decimal.Inexact: the exact result has more than 80 digits.
    """
    if quantity <= 0:
        raise ValueError(f"quantity: above 0, not {quantity}")
    for number, (filled, _) in enumerate(fills):
        if filled <= 0:
            raise ValueError(f"fill {number}: above 0, not {filled}")
    side_sign = sign_of(side)
    with exact():
        done = sum((filled for filled, _ in fills), ZERO)
        if done > quantity:
            raise ValueError(f"fills: at most the {quantity} ordered, not {done}")
        paid = sum((filled * price for filled, price in fills), ZERO)
        base = quantity if delay_basis is DelayBasis.ORDERED else done
        reference = decision_price if opportunity_from is OpportunityFrom.DECISION else arrival_price
        delay = side_sign * base * (arrival_price - decision_price)
        trading = side_sign * (paid - done * arrival_price)
        opportunity = side_sign * (quantity - done) * (end_price - reference)
        paper = side_sign * quantity * (end_price - decision_price)
        real = side_sign * (done * end_price - paid) - fees
        return Shortfall(delay, trading, opportunity, fees, paper - real, quantity * decision_price)


def average_price(fills: Iterable[Fill]) -> Decimal:
    """Price paid per unit, half-even to 8 places; 0 without fills. It is also the VWAP of prints."""
    quantity, notional = _sums(fills)
    return average(notional, quantity)


def interval_vwap(
    prints: Iterable[tuple[int, Decimal, Decimal]], start_ns: int, end_ns: int
) -> tuple[Decimal, Decimal]:
    """Volume and volume-weighted price of the prints from `start_ns` up to, not including, `end_ns`.

    Args:
        prints: (UTC nanoseconds, quantity, price) of what counts as volume.

    Returns:
        Quantity, and price to 8 places (0 without volume).
    """
    quantity, notional = _sums((size, price) for ts_ns, size, price in prints if start_ns <= ts_ns < end_ns)
    return quantity, average(notional, quantity)


def slippage_bps(side: OrderSide, price: Decimal, benchmark: Decimal) -> Decimal:
    """Cost of a price against a benchmark in basis points of the benchmark, 8 places."""
    return _bps(sign_of(side) * (price - benchmark), benchmark)


def effective_half_spread_bps(side: OrderSide, fills: Sequence[Fill], mids: Sequence[Decimal]) -> Decimal:
    """Mean of `s (price - mid) / mid` in basis points, weighted by quantity, 8 places.

    Args:
        mids: the mid at the moment of each fill.
    """
    _same_length(fills, mids)
    quantity, weighted = ZERO, ZERO
    for (filled, price), mid in zip(fills, mids, strict=True):
        quantity += filled
        weighted += filled * slippage_bps(side, price, mid)
    return quotient(weighted, quantity) if quantity else ZERO


def spread_capture(
    side: OrderSide, fills: Sequence[Fill], quotes: Sequence[tuple[Decimal, Decimal]]
) -> Decimal:
    """Share of the half-spread that was earned: 1 at the near side, 0 at the mid, -1 at the far side.

    `sum f s (mid - price) / sum f (ask - bid) / 2`; locked and crossed quotes earn and cost nothing.

    Args:
        quotes: (bid, ask) at the moment of each fill.
    """
    _same_length(fills, quotes)
    earned, offered = ZERO, ZERO
    for (filled, price), (bid, ask) in zip(fills, quotes, strict=True):
        if bid < ask:
            earned += filled * sign_of(side) * (bid + ask - 2 * price)
            offered += filled * (ask - bid)
    return quotient(earned, offered) if offered else ZERO


def markout_bps(side: OrderSide, fills: Sequence[Fill], later_mids: Sequence[Decimal]) -> Decimal:
    """How the mid moved for the order after its fills: `s sum f (mid - price) / sum f price`, basis points.

    Positive is a gain: the price went the order's way. Negative right after passive fills is adverse
        selection.

    Args:
        later_mids: the mid at the markout's horizon after each fill.
    """
    _same_length(fills, later_mids)
    moved, paid = ZERO, ZERO
    for (filled, price), mid in zip(fills, later_mids, strict=True):
        moved += filled * sign_of(side) * (mid - price)
        paid += filled * price
    return _bps(moved, paid)


def reversion_bps(side: OrderSide, last_price: Decimal, later_mid: Decimal) -> Decimal:
    """How far the price fell back after the order, in basis points of its last price: temporary impact."""
    return _bps(sign_of(side) * (last_price - later_mid), last_price)


def participation(own: Decimal, market: Decimal) -> Decimal:
    """Own share of the volume, own included in the market's, 8 places; 0 without volume.

    Raises:
        ValueError: more own volume than the market's.
    """
    if own > market:
        raise ValueError(f"own volume: at most the market's {market}, not {own}")
    return quotient(own, market) if market else ZERO


def _sums(fills: Iterable[Fill]) -> tuple[Decimal, Decimal]:
    quantity, notional = ZERO, ZERO
    with exact():
        for filled, price in fills:
            quantity += filled
            notional += filled * price
    return quantity, notional


def _bps(amount: Decimal, base: Decimal) -> Decimal:
    return quotient(amount * _BPS, base) if base else ZERO


def _same_length(fills: Sequence[object], others: Sequence[object]) -> None:
    if len(fills) != len(others):
        raise ValueError(f"a value for each of {len(fills)} fills, not {len(others)}")
