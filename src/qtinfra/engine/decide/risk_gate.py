"""From state and request to the facts that the risk controls read, and to their verdict."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decisions import RiskApproved, RiskRefused
from qtinfra.core.extended_models import ANY, KillScope
from qtinfra.core.market import MarketView
from qtinfra.core.models import Order, OrderSide, OrderType, TimeInForce
from qtinfra.engine.lookup import kill_key, limits_of
from qtinfra.engine.state import State
from qtinfra.risk.checks import CONTROLS, PERMISSIONS, RiskFacts, approve
from qtinfra.risk.limits import limits_for


def reference_price(state: State, market: MarketView, symbol: str) -> Decimal | None:
    """The market's midpoint; without a live market the last reference price that was set."""
    book = market.book(symbol)
    mid = book.mid() if book is not None else None
    return mid if mid is not None else state.reference_prices.get(symbol)


def engaged_kill(state: State, account: str, symbol: str, trader: str) -> str:
    """The kill switch that covers such an order, as filed; empty when none does."""
    if not state.kills:
        return ""
    if _FIRM in state.kills:
        return _FIRM
    known = state.accounts.get(account)
    for prefix, value in (
        ("ACCOUNT:", account),
        ("SYMBOL:", symbol),
        ("TRADER:", trader),
        ("CLIENT:", known.client if known is not None else ""),
        ("DESK:", known.desk if known is not None else ""),
    ):
        if value and prefix + value in state.kills:
            return prefix + value
    return ""


_FIRM = kill_key(KillScope.FIRM, "")


def gate(
    state: State,
    market: MarketView,
    *,
    account: str,
    trader: str,
    symbol: str,
    side: OrderSide,
    order_type: OrderType,
    tif: TimeInForce,
    qty: Decimal,
    adds: Decimal,
    price: Decimal | None,
    min_qty: Decimal,
) -> RiskApproved | RiskRefused:
    """Run every control on a request that adds `adds` to what is open and makes `qty` in total."""
    limits = limits_of(state, account, symbol)
    needs_price = limits.price_collar is not None or limits.max_order_value is not None
    open_now = state.open_quantity(account, symbol)
    facts = RiskFacts(
        account,
        symbol,
        side,
        order_type,
        tif,
        qty,
        adds,
        price,
        min_qty,
        reference_price(state, market, symbol) if needs_price else None,
        state.instruments[symbol].multiplier,
        state.net_position(account, symbol),
        open_now.buy,
        open_now.sell,
        limits,
        engaged_kill(state, account, symbol, trader),
        state.is_restricted(account, symbol),
        state.frozen.get(account, ""),
    )
    return approve(facts, CONTROLS)


def reapprove(state: State, order: Order, qty: Decimal) -> RiskApproved | RiskRefused:
    """For quantity that is counted already and goes to another venue: permissions bind children alike."""
    limits = limits_for({}, ANY, ANY)
    facts = RiskFacts(
        order.account,
        order.symbol,
        order.side,
        order.order_type,
        order.tif,
        order.qty,
        qty,
        order.price,
        order.min_qty,
        None,
        state.instruments[order.symbol].multiplier,
        Decimal(0),
        Decimal(0),
        Decimal(0),
        limits,
        engaged_kill(state, order.account, order.symbol, order.trader),
        state.is_restricted(order.account, order.symbol),
        state.frozen.get(order.account, "") or state.frozen.get(order.order_id, ""),
    )
    return approve(facts, PERMISSIONS)
