"""Short sales of shares and ETFs: marking, locates, the price test (17 CFR 242.200(g), 201, 203(b)(1)).

What an account owns is its net position; sells that are open already are counted against it.
"""

from __future__ import annotations

from qtinfra.core.decimals import ZERO, plain
from qtinfra.core.decisions import Refusal
from qtinfra.core.models import OrderSide
from qtinfra.risk.facts import RiskFacts

_SHORT = (OrderSide.SELL_SHORT, OrderSide.SELL_SHORT_EXEMPT)


def check_short_mark(facts: RiskFacts) -> Refusal | None:
    """A sell beyond what the account owns must be marked short (17 CFR 242.200(g)).

    Of several sells that share one quantity (one cancels the other) only one can deliver the shares.
    """
    if facts.side is not OrderSide.SELL or not facts.adds:
        return None
    owned = max(ZERO, facts.position - facts.open_sell + facts.rival_sell)
    if facts.adds <= owned:
        return None
    text = f"a sell of {plain(facts.adds)} with {plain(owned)} owned must be marked short (Reg SHO 200(g))"
    return Refusal("short_sale_mark", text, "side", plain(owned), plain(facts.adds))


def check_locate(facts: RiskFacts) -> Refusal | None:
    """A short sale needs shares located before, and each is used once (17 CFR 242.203(b)(1))."""
    short = facts.short
    if short is None or facts.side not in _SHORT or not facts.adds:
        return None
    locate = short.locate
    if locate is None or (locate.account, locate.symbol) != (facts.profile.account, facts.profile.symbol):
        text = "a short sale needs a locate of the account for the symbol (Reg SHO 203(b)(1))"
        return Refusal("locate_missing", text, "locate_id", "", short.locate_id)
    if locate.trade_date and locate.trade_date != short.trade_date:
        text = f"locate {short.locate_id} is good for {locate.trade_date} only"
        return Refusal("locate_expired", text, "locate_id", locate.trade_date, short.trade_date)
    if facts.adds <= locate.left:
        return None
    text = f"locate {short.locate_id} has {plain(locate.left)} left for {plain(facts.adds)}"
    return Refusal("locate_insufficient", text, "locate_id", plain(locate.left), plain(facts.adds))


def check_price_test(facts: RiskFacts) -> Refusal | None:
    """With the price test on, no short sale at or below the best bid, unless exempt (17 CFR 242.201(b)).

    A market order could execute there. Without a live bid the control fails closed.
    """
    short = facts.short
    if short is None or not short.price_test or facts.side is not OrderSide.SELL_SHORT:
        return None
    if short.best_bid is None:
        text = "the short-sale price test needs a live best bid and there is none"
        return Refusal("stale_reference", text, "price", "price_test", "none")
    if facts.price is not None and facts.price > short.best_bid:
        return None
    observed = plain(facts.price) if facts.price is not None else "market"
    text = f"short sale at {observed}, best bid {plain(short.best_bid)} (Reg SHO 201(b))"
    return Refusal("price_test", text, "price", plain(short.best_bid), observed)
