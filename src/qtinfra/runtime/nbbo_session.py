"""A session against recorded trades and the national best bid and offer, and its proof."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.commands import SetLimit, SetReference, SetVenueStatus, StartEpoch, TimerFired, TimerKind
from qtinfra.core.decimals import ONE
from qtinfra.core.extended_models import (
    US_EQUITY_TICKS,
    Account,
    Instrument,
    LimitRule,
    Venue,
    VenueStatus,
)
from qtinfra.core.models import AssetClass, Currency
from qtinfra.core.ports import Journal
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State
from qtinfra.runtime.session import (
    ACCOUNTS,
    OnDurable,
    Progress,
    QuoteCounts,
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
    *,
    epoch: int,
    orders: int,
    seed: int,
    batch: int = 64,
    progress: Progress | None = None,
    on_durable: OnDurable | None = None,
) -> NbboSessionResult:
    """Trade against recorded ticks for one day, then replay the journal and decide it again.

    Args:
        market: the recording, at its beginning.
        journal: an empty journal, open for writing under `epoch`.
        orders: how many new orders the clients plan in all; while the quote is not live they send none.
        seed: of the clients' flow.
        batch: most records per frame; changes nothing but the number of frames.
    """
    open_ns, close_ns = market.hours
    venue = market.venue
    traders = random_traders(
        ACCOUNTS,
        market.symbols,
        orders=orders,
        seed=seed,
        start_ns=open_ns + _SECOND_NS,
        end_ns=close_ns - 60 * _SECOND_NS,
    )
    simulation = Simulation(market, Kernel(State()), journal, traders, batch=batch, on_durable=on_durable)
    simulation.now_ns = open_ns - _SECOND_NS
    _open(simulation, venue.symbol, venue.mic, venue.trade_date, epoch)
    play(simulation, open_ns, close_ns, progress)
    simulation.submit(TimerFired(TimerKind.DAY_CLOSE, venue.trade_date), "timer")
    simulation.run()
    bbo = market.bbo
    states = QuoteCounts(bbo.changes, len(dict.fromkeys(bbo.states)), bbo.crossed)
    terms = SessionTerms("nbbo", market.symbols, venue.trade_date, seed, batch)
    common = summarise(terms, simulation, journal, traders, market.played, states)
    return NbboSessionResult(
        **msgspec.structs.asdict(common),
        quotes=market.quotes,
        trades=market.trades,
        locked=market.locked,
        crossed=market.crossed,
    )


def _open(simulation: Simulation, symbol: str, mic: str, trade_date: str, epoch: int) -> None:
    """Reference data and limits, as commands like any other; the trading day begins."""
    instrument = Instrument(symbol, AssetClass.EQUITY, Currency.USD, (mic,), US_EQUITY_TICKS, ONE)
    accounts = tuple(Account(name, client=f"client-{name}", base_currency=Currency.USD) for name in ACCOUNTS)
    venue = Venue(mic, "recorded national best bid and offer", Currency.USD, TAKE_FEE, MAKE_FEE)
    simulation.submit(StartEpoch(epoch, "simulate"), "system")
    simulation.submit(SetReference((instrument,), accounts, (venue,)), "system")
    simulation.submit(SetLimit(LimitRule.MAX_ORDER_QTY, Decimal(1_000)), "risk")
    simulation.submit(SetLimit(LimitRule.PRICE_COLLAR, Decimal("0.05")), "risk")
    simulation.submit(SetLimit(LimitRule.POSITION_LIMIT, Decimal(20_000)), "risk")
    simulation.submit(TimerFired(TimerKind.DAY_OPEN, trade_date), "timer")
    simulation.submit(SetVenueStatus(mic, VenueStatus.CONNECTED), f"venue:{mic}")
