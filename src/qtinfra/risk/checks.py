"""The pre-trade controls. At the limit passes, one unit over fails.

Each control is one function from the facts to a refusal or None; `CONTROLS` lists them in the order in
which they run, and the first refusal counts.

Sources: 17 CFR 240.15c3-5 (market access), Commission Delegated Regulation (EU) 2017/589 (RTS 6) Art. 12
and 15.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ONE, plain
from qtinfra.core.decisions import Refusal, RiskApproved, RiskRefused
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import REJ_EXCEEDS_LIMIT
from qtinfra.risk.limits import Limits


class RiskFacts(msgspec.Struct, gc=False):
    """Everything the controls read about one request.

    Attributes:
        qty: quantity that the order would have open and executed (the new total for a replace).
        adds: quantity that the request adds to what is open already.
        reference: price the collar and the value of a market order are measured against; None if unknown.
        multiplier: currency value per unit and price point.
        position: net position, bought positive.
        open_buy, open_sell: quantity open in the account's other orders of the symbol, and in this one
            before the request.
        killed: the engaged kill switch that covers the order, as "SCOPE:value"; empty if none.
        restricted: whether the symbol is on a restricted list of the account.
        frozen: why the account is frozen; empty if it is not.
    """

    account: str
    symbol: str
    side: OrderSide
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    adds: Decimal
    price: Decimal | None
    min_qty: Decimal
    reference: Decimal | None
    multiplier: Decimal
    position: Decimal
    open_buy: Decimal
    open_sell: Decimal
    limits: Limits
    killed: str = ""
    restricted: bool = False
    frozen: str = ""


Control = Callable[[RiskFacts], Refusal | None]


def check_frozen(facts: RiskFacts) -> Refusal | None:
    """An account whose state our own fault made doubtful takes no new orders until a person has looked."""
    if not facts.frozen:
        return None
    return Refusal("frozen", f"frozen after a fault: {facts.frozen}", "account", "", facts.account)


def check_kill_switch(facts: RiskFacts) -> Refusal | None:
    """No new flow under an engaged kill switch (RTS 6 Art. 12)."""
    if not facts.killed:
        return None
    return Refusal("kill_switch", f"kill switch {facts.killed} is engaged", "", facts.killed, facts.symbol)


def check_restricted(facts: RiskFacts) -> Refusal | None:
    """No orders in a restricted symbol (17 CFR 240.15c3-5(c)(2)(ii))."""
    if not facts.restricted:
        return None
    return Refusal("restricted_symbol", f"{facts.symbol} is restricted", "symbol", "", facts.symbol)


def check_max_order_qty(facts: RiskFacts) -> Refusal | None:
    """Quantity of one order (RTS 6 Art. 15(1)(c))."""
    limit = facts.limits.max_order_qty
    if limit is None or facts.qty <= limit:
        return None
    return _over("max_order_qty", "quantity", limit, facts.qty)


def check_max_order_value(facts: RiskFacts) -> Refusal | None:
    """Value of one order in the instrument's currency (RTS 6 Art. 15(1)(b)); fails closed without a price."""
    limit = facts.limits.max_order_value
    if limit is None:
        return None
    price = facts.price if facts.price is not None else facts.reference
    if price is None:
        return _stale("max_order_value")
    value = facts.qty * price * facts.multiplier
    return None if value <= limit else _over("max_order_value", "quantity", limit, value)


def check_price_collar(facts: RiskFacts) -> Refusal | None:
    """A limit price within a fraction of the reference on the aggressive side (RTS 6 Art. 15(1)(a)).

    Only the side that could do harm is bounded: a buy may not be too high, a sell not too low. A market
    order needs a live reference. Without one the control fails closed.
    """
    collar = facts.limits.price_collar
    if collar is None:
        return None
    if facts.reference is None:
        return _stale("price_collar")
    if facts.price is None:
        return None
    if facts.side is OrderSide.BUY:
        bound = facts.reference * (ONE + collar)
        return None if facts.price <= bound else _over("price_collar", "price", bound, facts.price)
    bound = facts.reference * (ONE - collar)
    return None if facts.price >= bound else _over("price_collar", "price", bound, facts.price)


def check_position_limit(facts: RiskFacts) -> Refusal | None:
    """Net position if everything open on this side were executed (17 CFR 240.15c3-5(c)(1)(i)).

    Open orders count at once, on their own side only: orders of the other side may never trade. An order
    that only takes the position towards zero is within any limit that the position itself is within.
    """
    limit = facts.limits.position_limit
    if limit is None:
        return None
    if facts.side is OrderSide.BUY:
        worst = facts.position + facts.open_buy + facts.adds
        exceeded = worst > limit
    else:
        worst = facts.position - facts.open_sell - facts.adds
        exceeded = worst < -limit
    return _over("position_limit", "quantity", limit, abs(worst)) if exceeded else None


def _over(code: str, field: str, limit: Decimal, observed: Decimal) -> Refusal:
    text = f"{code}: {plain(observed)} is beyond the limit {plain(limit)}"
    return Refusal(code, text, field, plain(limit), plain(observed), REJ_EXCEEDS_LIMIT)


def _stale(rule: str) -> Refusal:
    text = f"{rule} needs a reference price and there is no live one"
    return Refusal("stale_reference", text, "price", rule, "none", REJ_EXCEEDS_LIMIT)


#: Controls on who may trade and what: they bind every child and every re-route as well.
PERMISSIONS: tuple[Control, ...] = (check_frozen, check_kill_switch, check_restricted)

#: All controls on a new order or a replace, in order.
CONTROLS: tuple[Control, ...] = (
    *PERMISSIONS,
    check_max_order_qty,
    check_max_order_value,
    check_price_collar,
    check_position_limit,
)


def approve(facts: RiskFacts, controls: tuple[Control, ...] = CONTROLS) -> RiskApproved | RiskRefused:
    """Run the controls; the approval is for `adds`, the quantity that the request would send."""
    for control in controls:
        refusal = control(facts)
        if refusal is not None:
            return RiskRefused(refusal)
    return RiskApproved(
        facts.account,
        facts.symbol,
        facts.side,
        facts.order_type,
        facts.tif,
        facts.adds,
        facts.price,
        facts.min_qty,
    )
