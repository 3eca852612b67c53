"""Client fee schedules and regulatory fees as data; `positions.fees` does the reckoning."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import ZERO
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import SELL_SIDES, AssetClass, Currency, OrderSide


class TicketScope(StrEnum):
    """What one minimum, one maximum and one rounding apply to."""

    ORDER = "ORDER"
    ORDER_DAY = "ORDER_DAY"
    EXECUTION = "EXECUTION"


class FeeTier(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Rates from a monthly volume `floor` (units, inclusive) up to the next tier's.

    `per_unit` is an amount in the schedule's currency, `bps` hundredths of a percent of the traded value;
    both are charged, and negative ones are rebates.
    """

    floor: Decimal
    per_unit: Decimal = ZERO
    bps: Decimal = ZERO


class FeeLine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Rates for some executions. An empty filter admits all; the first line that fits counts."""

    tiers: tuple[FeeTier, ...]
    asset_classes: tuple[AssetClass, ...] = ()
    liquidity: tuple[Liquidity, ...] = ()
    sides: tuple[OrderSide, ...] = ()


class FeeSchedule(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a client pays for executions in one currency, from a trade date on until a later schedule.

    Attributes:
        client: whose it is; "*" for every client without one of its own.
        currency: of all its amounts, and of the instruments it is for.
        effective_from: first trade date, ISO 8601.
        lines: the last one has no filter, so that every execution has a line.
        scope: what counts as one ticket.
        minimum: least commission of a ticket, None for none (a rebate is then paid out).
        maximum: most commission of a ticket.
        maximum_bps: most commission of a ticket by its traded value. A maximum goes before the minimum.
    """

    schedule_id: str
    client: str
    currency: Currency
    effective_from: str
    lines: tuple[FeeLine, ...]
    scope: TicketScope = TicketScope.ORDER
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    maximum_bps: Decimal | None = None


class RegulatoryFee(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A fee that a regulator or self-regulator collects, from a trade date on until the next of its name.

    Attributes:
        name: "SEC_31" (Securities Exchange Act of 1934, section 31), "FINRA_TAF" (FINRA By-Laws, Schedule A,
            section 1), or what else the data brings.
        per_value: fraction of the traded value; a section 31 rate in dollars per million, divided by 10**6.
        per_unit: amount per unit traded.
        cap: most for one execution, before rounding; None for none.
    """

    name: str
    currency: Currency
    effective_from: str
    per_value: Decimal = ZERO
    per_unit: Decimal = ZERO
    cap: Decimal | None = None
    sides: tuple[OrderSide, ...] = SELL_SIDES
    asset_classes: tuple[AssetClass, ...] = (AssetClass.EQUITY, AssetClass.ETF)
