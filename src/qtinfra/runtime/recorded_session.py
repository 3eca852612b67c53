"""A session against a recorded order book: seeded clients, the real engine and journal, and its proof."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.commands import SetLimit, SetReference, SetVenueStatus, StartEpoch, TimerFired, TimerKind
from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.extended_models import Account, Instrument, LimitRule, TickBand, Venue, VenueStatus
from qtinfra.core.models import AssetClass, Currency
from qtinfra.core.ports import Journal
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State
from qtinfra.marketdata.lobster import official_share
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
from qtinfra.venues.simulated.recorded import LobsterMarket

#: NASDAQ's fees per share for removing and adding displayed size, as a model: 30 mils, 20 mils back.
TAKE_FEE, MAKE_FEE = Decimal("0.0030"), Decimal("-0.0020")

_SECOND_NS = 1_000_000_000


def run_recorded_session(
    market: LobsterMarket,
    journal: Journal,
    flow: RandomFlow,
    *,
    epoch: int,
    official_bbo: str | None = None,
    progress: Progress | None = None,
    on_durable: OnDurable | None = None,
) -> SessionResult:
    """Trade against a recording, then replay the journal and decide it again.

    Args:
        market: the recording, at its beginning.
        journal: an empty journal, open for writing under `epoch`.
        official_bbo: an official best-bid-and-offer file to compare the recorded book with.

    Raises:
        RecordedDataError: the recording or the official file is malformed.
    """
    start_ns, end_ns = market.span_ns
    venue = market.venue
    traders = random_traders(
        ACCOUNTS,
        (venue.symbol,),
        flow,
        start_ns=start_ns + _SECOND_NS,
        end_ns=end_ns - 60 * _SECOND_NS,
    )
    simulation = Simulation(
        market, Kernel(State()), journal, traders, batch=flow.batch, on_durable=on_durable
    )
    simulation.now_ns = start_ns - _SECOND_NS
    listed = Venue(venue.mic, "recorded order book", Currency.USD, TAKE_FEE, MAKE_FEE)
    ticks = (TickBand(ZERO, Decimal("0.01")),)
    open_recorded(simulation, venue.symbol, ticks, listed, venue.trade_date, epoch)
    play(simulation, start_ns, end_ns, progress)
    simulation.submit(TimerFired(TimerKind.DAY_CLOSE, venue.trade_date), "timer")
    simulation.run()
    share = official_share(market.bbo_states, official_bbo) if official_bbo is not None else None
    quotes = QuoteCounts(market.bbo_changes, len(dict.fromkeys(market.bbo_states)), market.bbo_crossed, share)
    terms = SessionTerms("lobster", market.symbols, venue.trade_date, flow)
    return summarise(terms, simulation, journal, traders, market.played, quotes)


def open_recorded(
    simulation: Simulation,
    symbol: str,
    ticks: tuple[TickBand, ...],
    venue: Venue,
    trade_date: str,
    epoch: int,
) -> None:
    """Reference data and limits of a recorded day, as commands like any other; the trading day begins.

    Args:
        symbol: the one instrument, listed at the one venue.
        ticks: its tick sizes by price.
    """
    mic = venue.mic
    instrument = Instrument(symbol, AssetClass.EQUITY, Currency.USD, (mic,), ticks, ONE)
    accounts = tuple(Account(name, client=f"client-{name}", base_currency=Currency.USD) for name in ACCOUNTS)
    simulation.submit(StartEpoch(epoch, "simulate"), "system")
    simulation.submit(SetReference((instrument,), accounts, (venue,)), "system")
    simulation.submit(SetLimit(LimitRule.MAX_ORDER_QTY, Decimal(1_000)), "risk")
    simulation.submit(SetLimit(LimitRule.PRICE_COLLAR, Decimal("0.05")), "risk")
    simulation.submit(SetLimit(LimitRule.POSITION_LIMIT, Decimal(20_000)), "risk")
    simulation.submit(TimerFired(TimerKind.DAY_OPEN, trade_date), "timer")
    simulation.submit(SetVenueStatus(mic, VenueStatus.CONNECTED), f"venue:{mic}")
