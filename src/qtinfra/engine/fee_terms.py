"""An execution as the fee schedules see it: read by decide for a quote, by evolve to book it."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decimals import ZERO
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.fees import FeeLine, FeeSchedule, FeeTier
from qtinfra.core.models import Currency, Order
from qtinfra.engine.state import State
from qtinfra.positions.fee_book import Priced
from qtinfra.positions.fees import EVERY_CLIENT

#: How the ids of schedules begin that charge regulatory fees alone; no client's may.
LEVIES_ONLY = "levies only|"


def levies_only(currency: Currency) -> FeeSchedule:
    """What clients without a schedule of their own owe once there are regulatory fees: these alone."""
    no_commission = FeeLine((FeeTier(ZERO),))
    return FeeSchedule(f"{LEVIES_ONLY}{currency}", EVERY_CLIENT, currency, "", (no_commission,))


def priced(
    state: State, order: Order, key: str, qty: Decimal, px: Decimal, liquidity: Liquidity, trade_date: str
) -> Priced:
    """The execution with what its order, account and instrument say about it."""
    instrument = state.instruments[order.symbol]
    return Priced(
        key=key,
        order_id=order.order_id,
        client=state.accounts[order.account].client,
        side=order.side,
        qty=qty,
        px=px,
        multiplier=instrument.multiplier,
        currency=instrument.currency,
        asset_class=instrument.asset_class,
        liquidity=liquidity,
        trade_date=trade_date,
    )
