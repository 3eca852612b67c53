"""Commissions by client schedule, and regulatory fees on executions, as effective-dated data.

A commission belongs to a *ticket*: an order, an order's trading day, or one execution, as the schedule says.
What each execution accrues is exact; minimum, maximum and rounding apply to the ticket. The ticket's
commission is rounded half-even to the minor unit of the currency, and an execution is charged the difference
between the ticket's commission after and before it. The fees of a ticket's executions therefore sum to its
commission exactly, and no execution is rounded on its own.

A bust takes an execution's accrual out of its ticket and a correction replaces it; `allocate` then says what
each execution that is left owes, as if it had been so from the start. All amounts are positive when paid and
negative when they are a rebate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from itertools import pairwise

import msgspec

from qtinfra.core.decimals import EXACT, PRECISION, ZERO, canonical
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.fees import FeeLine, FeeSchedule, FeeTier, RegulatoryFee, TicketScope
from qtinfra.core.models import AssetClass, Currency, Money, OrderSide, minor_units

__all__ = [
    "COMMISSION",
    "EMPTY_TICKET",
    "EVERY_CLIENT",
    "Accrual",
    "Charge",
    "FeeLine",
    "FeeSchedule",
    "FeeTier",
    "NoFeeSchedule",
    "RegulatoryFee",
    "Ticket",
    "TicketScope",
    "accrue",
    "allocate",
    "charge",
    "commission",
    "problems",
    "regulatory_fees",
    "schedule_for",
    "ticket_commission",
    "ticket_key",
    "to_minor_unit",
]

COMMISSION = "COMMISSION"
#: Stands for every client that has no schedule of its own.
EVERY_CLIENT = "*"

_BASIS_POINT = Decimal("0.0001")
_add, _subtract, _multiply = EXACT.add, EXACT.subtract, EXACT.multiply
_quantize = Context(prec=PRECISION, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation]).quantize
_UNITS = {places: Decimal(1).scaleb(-places) for places in (0, 2, 3)}


def to_minor_unit(amount: Decimal, currency: Currency) -> Decimal:
    """The amount in whole minor units of the currency (ISO 4217: cents for USD, yen for JPY), half-even."""
    rounded = _quantize(amount, _UNITS[minor_units(currency)])
    return rounded if rounded else ZERO


class NoFeeSchedule(msgspec.Struct, frozen=True, gc=False):
    """No schedule covers the client in the currency on the trade date."""

    client: str
    currency: Currency
    trade_date: str


class Accrual(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one execution adds to its ticket, exact: traded value, commission, regulatory fees by name."""

    value: Decimal
    commission: Decimal
    levies: tuple[tuple[str, Decimal], ...] = ()


class Ticket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The running totals of a ticket: exact accruals, and what has been charged of them."""

    executions: int = 0
    value: Decimal = ZERO
    accrued: Decimal = ZERO
    charged: Decimal = ZERO
    levies: tuple[tuple[str, Decimal], ...] = ()


class Charge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one execution is charged: (name, amount) in minor units, commission first, zeros left out."""

    currency: Currency
    fees: tuple[tuple[str, Decimal], ...]

    @property
    def total(self) -> Decimal:
        """All fees together: the execution's fee in the position book."""
        return _total(amount for _, amount in self.fees)

    def amount(self, name: str) -> Money:
        """One fee by its name, zero when it is not charged."""
        return Money(_total(amount for known, amount in self.fees if known == name), self.currency)


EMPTY_TICKET = Ticket()


# --- choosing the data -----------------------------------------------------------------------------------


def problems(schedule: FeeSchedule) -> list[str]:
    """What is wrong with a schedule, in words; empty when every execution has exactly one price."""
    found: list[str] = []
    if not schedule.lines:
        return ["a schedule needs a line"]
    last = schedule.lines[-1]
    if last.asset_classes or last.liquidity or last.sides:
        found.append("the last line must have no filter")
    for number, line in enumerate(schedule.lines, 1):
        floors = [tier.floor for tier in line.tiers]
        if not floors or floors[0]:
            found.append(f"line {number}: the first tier must begin at 0")
        if any(low >= high for low, high in pairwise(floors)):
            found.append(f"line {number}: the tiers must ascend")
    low, high = schedule.minimum, schedule.maximum
    if low is not None and high is not None and low > high:
        found.append("the minimum is above the maximum")
    if any(bound is not None and bound < ZERO for bound in (low, high, schedule.maximum_bps)):
        found.append("minimum and maximum must not be negative")
    return found


def schedule_for(
    schedules: Iterable[FeeSchedule], client: str, currency: Currency, trade_date: str
) -> FeeSchedule | NoFeeSchedule:
    """The schedule in force: the client's own before the one for every client, then the latest; of two from
    the same date the later in the sequence.
    """
    best: FeeSchedule | None = None
    for schedule in schedules:
        if schedule.currency is not currency or schedule.client not in (client, EVERY_CLIENT):
            continue
        if schedule.effective_from > trade_date:
            continue
        if best is None or _rank(schedule, client) >= _rank(best, client):
            best = schedule
    return NoFeeSchedule(client, currency, trade_date) if best is None else best


def _rank(schedule: FeeSchedule, client: str) -> tuple[bool, str]:
    return schedule.client == client, schedule.effective_from


def ticket_key(schedule: FeeSchedule, trade_date: str, key: str) -> str:
    """Which ticket of its order an execution belongs to. `key` is the execution's."""
    match schedule.scope:
        case TicketScope.ORDER:
            return ""
        case TicketScope.ORDER_DAY:
            return trade_date
        case TicketScope.EXECUTION:
            return key


# --- one execution ---------------------------------------------------------------------------------------


def accrue(
    schedule: FeeSchedule,
    side: OrderSide,
    qty: Decimal,
    px: Decimal,
    multiplier: Decimal,
    liquidity: Liquidity,
    asset_class: AssetClass,
    volume_before: Decimal = ZERO,
    levies: tuple[tuple[str, Decimal], ...] = (),
) -> Accrual:
    """What an execution accrues, exact.

    Tiers are marginal: each unit costs the rates of the tier it falls in, so that the split of a quantity
    into executions at one price does not change what they accrue together.

    Args:
        qty: units, positive.
        px: price per unit; of a negative one the absolute value counts.
        multiplier: currency value of a price move of 1 per unit.
        volume_before: units that count towards the tier already this month, before this execution.
        levies: of the execution, from `regulatory_fees`.

    Raises:
        ValueError: the quantity is not positive, or no line of the schedule fits.
    """
    if qty <= ZERO:
        raise ValueError(f"an execution needs a quantity: {qty}")
    line = _line(schedule, side, liquidity, asset_class)
    unit_value = EXACT.abs(_multiply(px, multiplier))
    value = _multiply(qty, unit_value)
    if len(line.tiers) == 1:
        return Accrual(value, _at(line.tiers[0], qty, unit_value), levies)
    return Accrual(value, _by_tier(line.tiers, volume_before, qty, unit_value), levies)


def _by_tier(tiers: tuple[FeeTier, ...], start: Decimal, qty: Decimal, unit_value: Decimal) -> Decimal:
    """What units `start` to `start + qty` of the month accrue, each at the rates of its tier."""
    total, end = ZERO, _add(start, qty)
    for index in range(len(tiers) - 1, -1, -1):
        tier = tiers[index]
        if tier.floor < end:
            lower = max(start, tier.floor)
            total = _add(total, _at(tier, _subtract(end, lower), unit_value))
            if lower == start:
                break
            end = lower
    return total


def _at(tier: FeeTier, qty: Decimal, unit_value: Decimal) -> Decimal:
    by_unit = _multiply(qty, tier.per_unit)
    if not tier.bps:
        return by_unit
    by_value = _multiply(_multiply(qty, unit_value), _multiply(tier.bps, _BASIS_POINT))
    return _add(by_unit, by_value)


def _line(schedule: FeeSchedule, side: OrderSide, liquidity: Liquidity, asset_class: AssetClass) -> FeeLine:
    for line in schedule.lines:
        if (
            (not line.asset_classes or asset_class in line.asset_classes)
            and (not line.liquidity or liquidity in line.liquidity)
            and (not line.sides or side in line.sides)
        ):
            return line
    raise ValueError(f"schedule {schedule.schedule_id!r} has no line for {asset_class} {liquidity} {side}")


def regulatory_fees(
    table: Iterable[RegulatoryFee],
    side: OrderSide,
    qty: Decimal,
    px: Decimal,
    multiplier: Decimal,
    asset_class: AssetClass,
    currency: Currency,
    trade_date: str,
) -> tuple[tuple[str, Decimal], ...]:
    """The regulatory fees of one execution by name, exact and capped, not yet rounded; in the table's order.

    Of each name the row with the latest `effective_from` not after the trade date counts, and only if its
    side, asset class and currency are the execution's.
    """
    in_force: dict[str, RegulatoryFee] = {}
    for row in table:
        known = in_force.get(row.name)
        if row.effective_from <= trade_date and (known is None or row.effective_from >= known.effective_from):
            in_force[row.name] = row
    found: list[tuple[str, Decimal]] = []
    for name, row in in_force.items():
        if side in row.sides and asset_class in row.asset_classes and currency is row.currency:
            amount = _levy(row, qty, px, multiplier)
            if amount:
                found.append((name, amount))
    return tuple(found)


def _levy(row: RegulatoryFee, qty: Decimal, px: Decimal, multiplier: Decimal) -> Decimal:
    value = _multiply(qty, EXACT.abs(_multiply(px, multiplier)))
    amount = _add(_multiply(value, row.per_value), _multiply(qty, row.per_unit))
    return amount if row.cap is None else min(amount, row.cap)


# --- tickets ---------------------------------------------------------------------------------------------


def ticket_commission(schedule: FeeSchedule, executions: int, value: Decimal, accrued: Decimal) -> Decimal:
    """The commission of a whole ticket from its totals, in minor units; 0 when it has no execution."""
    if not executions:
        return ZERO
    due = accrued
    if schedule.minimum is not None:
        due = max(due, schedule.minimum)
    if schedule.maximum is not None:
        due = min(due, schedule.maximum)
    if schedule.maximum_bps is not None:
        share = _multiply(value, _multiply(schedule.maximum_bps, _BASIS_POINT))
        due = min(due, share)
    return to_minor_unit(due, schedule.currency)


def charge(schedule: FeeSchedule, ticket: Ticket, accrual: Accrual) -> tuple[Ticket, Charge]:
    """Add one execution to a ticket: the ticket after it, and what the execution is charged.

    The charge is what the ticket owes more than before, commission and each regulatory fee apart. It may be 0
    (a minimum is not used up yet) or negative (a rebate; a maximum by value that a cheap execution lowers).
    """
    executions = ticket.executions + 1
    value = _add(ticket.value, accrual.value)
    accrued = _add(ticket.accrued, accrual.commission)
    charged = ticket_commission(schedule, executions, value, accrued)
    fees = [(COMMISSION, _subtract(charged, ticket.charged))]
    levies = dict(ticket.levies)
    for name, amount in accrual.levies:
        before = levies.get(name, ZERO)
        levies[name] = after = _add(before, amount)
        owed, paid = to_minor_unit(after, schedule.currency), to_minor_unit(before, schedule.currency)
        fees.append((name, _subtract(owed, paid)))
    grown = Ticket(executions, value, accrued, charged, tuple(levies.items()))
    return grown, Charge(schedule.currency, tuple(fee for fee in fees if fee[1]))


def allocate(schedule: FeeSchedule, accruals: Sequence[Accrual]) -> tuple[Ticket, list[Charge]]:
    """A ticket from its executions in their order: what charging them one by one gives.

    After a bust or a correction this is what the executions that are left owe. Nothing is left, nothing owed.
    """
    ticket, charges = EMPTY_TICKET, []
    for accrual in accruals:
        ticket, owed = charge(schedule, ticket, accrual)
        charges.append(owed)
    return ticket, charges


def commission(
    schedule: FeeSchedule,
    side: OrderSide,
    qty: Decimal,
    px: Decimal,
    multiplier: Decimal,
    liquidity: Liquidity,
    asset_class: AssetClass,
    volume_before: Decimal = ZERO,
    ticket: Ticket = EMPTY_TICKET,
) -> Money:
    """The commission of one execution, given what its ticket holds already: whole minor units, half-even.

    Raises:
        ValueError: as `accrue`.
    """
    accrual = accrue(schedule, side, qty, px, multiplier, liquidity, asset_class, volume_before)
    _, owed = charge(schedule, ticket, accrual)
    return owed.amount(COMMISSION)


def _total(amounts: Iterable[Decimal]) -> Decimal:
    total = ZERO
    for amount in amounts:
        total = _add(total, amount)
    return canonical(total)
