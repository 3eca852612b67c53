"""The short-sale price test that begins by itself: a covered security falls by a tenth in a day.

Source: 17 CFR 242.201(b)(1): a decrease of 10% or more from the covered security's closing price of the prior
day; the test binds for the rest of the day and the following day. What counts here is the last trade that the
feed reports, else the middle of the live market, else a reference price that is journaled during the day.
"""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.book_events import PriceTestTriggered
from qtinfra.core.decimals import canonical
from qtinfra.core.market import ConsolidatedBook
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.evolve_days import PRICE_TEST_DAYS
from qtinfra.engine.state import State

#: What is left of the previous close when the test begins.
TRIGGER = Decimal("0.9")


def has_fallen(state: State, symbol: str, px: Decimal | None) -> bool:
    """Whether a price is a tenth or more below the previous close of a covered security."""
    close = state.risk.closes.get(symbol)
    return close is not None and px is not None and px <= close * TRIGGER


def watch_fall(
    state: State,
    symbol: str,
    last_px: Decimal | None,
    book: ConsolidatedBook | None,
    now_ns: int,
    out: Decision,
) -> None:
    """Begin the test when the last price, or without one the middle of the market, has fallen so far."""
    if symbol not in state.risk.closes:
        return
    px, by = last_px, "last"
    if px is None and book is not None:
        px, by = book.mid(), "mid"
    trigger_if_fallen(state, symbol, px, by, now_ns, out)


def trigger_if_fallen(
    state: State, symbol: str, px: Decimal | None, by: str, now_ns: int, out: Decision
) -> None:
    """A fall begins the test, and a fall on its second day begins it anew; what staff have set stands."""
    risk = state.risk
    stands = symbol in risk.price_tests and symbol not in risk.falls
    if stands or risk.falls.get(symbol) == PRICE_TEST_DAYS or px is None:
        return
    if has_fallen(state, symbol, px):
        close = risk.closes[symbol]
        out.add(PriceTestTriggered(symbol, close, canonical(px), by, state.trade_date, now_ns))


def looked_at(state: State) -> tuple[str, ...]:
    """Symbols whose moves decide something: orders wait for them, or a fall would begin the price test."""
    return tuple(dict.fromkeys((*state.watched, *state.risk.closes)))
