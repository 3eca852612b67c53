"""A session against recorded trades and the national best bid and offer, and its proof."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.commands import TimerFired, TimerKind
from qtinfra.core.extended_models import US_EQUITY_TICKS, Venue
from qtinfra.core.models import Currency
from qtinfra.core.ports import Journal
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State
from qtinfra.runtime.recorded_session import open_recorded
from qtinfra.runtime.session import (
    ACCOUNTS,
    OnDurable,
    Progress,
    QuoteCounts,
    RandomFlow,
    SessionResult,
    SessionTerms,
    play,
    random_traders,
    summarise,
)
from qtinfra.runtime.simulate import Simulation
from qtinfra.venues.simulated.nbbo import NbboMarket

#: The most that an exchange may charge for taking a protected quote, 30 mils a share (17 CFR 242.610(c)), and
#: a rebate of 20 for providing one, as a model.
TAKE_FEE, MAKE_FEE = Decimal("0.0030"), Decimal("-0.0020")

_SECOND_NS = 1_000_000_000


class NbboSessionResult(SessionResult, frozen=True):
    """What a session against recorded ticks led to; `qtinfra simulate --feed nbbo` prints it.

    `quotes` and `trades` are rows within regular hours; after `locked` and `crossed` of the quotes, the bid,
    filled forward, equalled the ask or was above it.
    """

    quotes: int
    trades: int
    locked: int
    crossed: int


def run_nbbo_session(
    market: NbboMarket,
    journal: Journal,
    flow: RandomFlow,
    *,
    epoch: int,
    progress: Progress | None = None,
    on_durable: OnDurable | None = None,
) -> NbboSessionResult:
    """Trade against recorded ticks for one day, then replay the journal and decide it again.

    Args:
        market: the recording, at its beginning.
        journal: an empty journal, open for writing under `epoch`.
        flow: what the clients plan; while the quote is not live they send nothing.
    """
    open_ns, close_ns = market.hours
    venue = market.venue
    traders = random_traders(
        ACCOUNTS,
        market.symbols,
        flow,
        start_ns=open_ns + _SECOND_NS,
        end_ns=close_ns - 60 * _SECOND_NS,
    )
    simulation = Simulation(
        market, Kernel(State()), journal, traders, batch=flow.batch, on_durable=on_durable
    )
    simulation.now_ns = open_ns - _SECOND_NS
    name = "recorded national best bid and offer"
    listed = Venue(venue.mic, name, Currency.USD, TAKE_FEE, MAKE_FEE)
    open_recorded(simulation, venue.symbol, US_EQUITY_TICKS, listed, venue.trade_date, epoch)
    play(simulation, open_ns, close_ns, progress)
    simulation.submit(TimerFired(TimerKind.DAY_CLOSE, venue.trade_date), "timer")
    simulation.run()
    bbo = market.bbo
    states = QuoteCounts(bbo.changes, len(dict.fromkeys(bbo.states)), bbo.crossed)
    terms = SessionTerms("nbbo", market.symbols, venue.trade_date, flow)
    common = summarise(terms, simulation, journal, traders, market.played, states)
    return NbboSessionResult(
        **msgspec.structs.asdict(common),
        quotes=market.quotes,
        trades=market.trades,
        locked=market.locked,
        crossed=market.crossed,
    )
