"""A session on the synthetic market: the desk it is opened with, and random clients without a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from qtinfra.core.commands import (
    SetLimit,
    SetReference,
    SetRoutingPolicy,
    SetVenueStatus,
    StartEpoch,
    TimerFired,
    TimerKind,
)
from qtinfra.core.extended_models import (
    US_EQUITY_TICKS,
    Account,
    Instrument,
    LimitRule,
    Venue,
    VenueStatus,
)
from qtinfra.core.market import VenueQuote
from qtinfra.core.models import AssetClass, Currency
from qtinfra.core.ports import Journal
from qtinfra.core.reports import VenueReport
from qtinfra.core.routing import RoutingPolicy
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State
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
from qtinfra.venues.simulated.flow import SyntheticMarket
from qtinfra.venues.simulated.model import VenueSession

#: Monday, 3 March 2025: a full session in New York, which opens at 14:30:00Z.
TRADE_DATE = "2025-03-03"
OPEN_NS = 1_741_012_200_000_000_000
SECOND_NS = 1_000_000_000

#: Two clients own the three accounts.
CLIENTS = {"alpha": "north", "beta": "north", "gamma": "south"}
#: The limits that a synthetic session is opened with, for every account and symbol.
LIMITS = (
    (LimitRule.MAX_ORDER_QTY, Decimal(6_000)),
    (LimitRule.MAX_ORDER_VALUE, Decimal(1_500_000)),
    (LimitRule.PRICE_COLLAR, Decimal("0.03")),
    (LimitRule.POSITION_LIMIT, Decimal(10_000)),
)

#: Called once with the state that a session ends in.
OnEnd = Callable[[State], None]


class WatchedMarket:
    """Passes a synthetic market through and counts how the best bid and offer of its symbols change.

    The best quote of a symbol is the consolidated one; our own orders are left out.
    """

    def __init__(self, market: SyntheticMarket) -> None:
        self.market = market
        self.messages = 0
        self.changes = 0
        self.crossed = 0
        self._states: dict[tuple[str, Decimal, Decimal], None] = {}
        self._last: dict[str, tuple[Decimal, Decimal]] = {}
        self._quotes: dict[str, tuple[VenueQuote | None, ...]] = {}
        self._models = [market.sessions[mic].model for mic in market.sessions]

    @property
    def sessions(self) -> Mapping[str, VenueSession]:
        return self.market.sessions

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.market.symbols

    def next_ns(self) -> int | None:
        return self.market.next_ns()

    def step(self) -> list[VenueReport]:
        """Let the next market event happen and look at the quotes it leaves."""
        reports = self.market.step()
        self.messages += 1
        for symbol in self.market.symbols:
            self._look(symbol)
        return reports

    def counts(self) -> QuoteCounts:
        return QuoteCounts(self.changes, len(self._states), self.crossed)

    def _look(self, symbol: str) -> None:
        quotes = tuple(model.quote(symbol, 0) for model in self._models)
        before = self._quotes.get(symbol, ())
        if len(before) == len(quotes) and all(a is b for a, b in zip(before, quotes, strict=True)):
            return
        self._quotes[symbol] = quotes
        bid = max((quote.bids[0][0] for quote in quotes if quote and quote.bids), default=None)
        ask = min((quote.asks[0][0] for quote in quotes if quote and quote.asks), default=None)
        if bid is None or ask is None or self._last.get(symbol) == (bid, ask):
            return
        self._last[symbol] = (bid, ask)
        self._states[symbol, bid, ask] = None
        self.changes += 1
        self.crossed += bid >= ask


def open_session(
    simulation: Simulation, market: SyntheticMarket, *, epoch: int, round_lots: Sequence[str] = ()
) -> None:
    """Reference data, limits and the opening of the day, as commands like any other.

    Args:
        round_lots: symbols that are traded in lots of 100.
    """
    mics = tuple(sorted(market.sessions))
    venues = tuple(Venue(v.mic, v.mic, Currency.USD, v.take_fee, v.make_fee) for v in market.venues)
    instruments = tuple(
        Instrument(
            spec.symbol,
            AssetClass.EQUITY,
            Currency.USD,
            mics,
            US_EQUITY_TICKS,
            Decimal(100) if spec.symbol in round_lots else spec.lot,
        )
        for spec in market.instruments
    )
    accounts = tuple(Account(name, client, Currency.USD, firm="demo") for name, client in CLIENTS.items())
    prices = tuple((spec.symbol, spec.start_price) for spec in market.instruments)
    simulation.submit(StartEpoch(epoch, "simulation"), "system")
    simulation.submit(SetReference(instruments, accounts, venues, prices), "system")
    for rule, value in LIMITS:
        simulation.submit(SetLimit(rule, value), "risk")
    simulation.submit(TimerFired(TimerKind.DAY_OPEN, TRADE_DATE), "timer")
    for mic in mics:
        simulation.submit(SetVenueStatus(mic, VenueStatus.CONNECTED), f"venue:{mic}")


def run_synthetic_session(
    market: SyntheticMarket,
    journal: Journal,
    flow: RandomFlow,
    *,
    epoch: int,
    minutes: int,
    progress: Progress | None = None,
    on_durable: OnDurable | None = None,
    routing: RoutingPolicy | None = None,
    on_end: OnEnd | None = None,
) -> SessionResult:
    """Trade random flow on the synthetic market, then replay the journal and decide it again.

    Args:
        market: at its opening, `minutes` before its close.
        journal: an empty journal, open for writing under `epoch`.
        routing: how orders are routed; None routes by fees alone and counts nothing.
        on_end: gets the state after the close.
    """
    close_ns = OPEN_NS + minutes * 60 * SECOND_NS
    traders = random_traders(
        ACCOUNTS,
        market.symbols,
        flow,
        start_ns=OPEN_NS + SECOND_NS,
        end_ns=close_ns - 10 * SECOND_NS,
    )
    watched = WatchedMarket(market)
    simulation = Simulation(
        watched, Kernel(State()), journal, traders, batch=flow.batch, on_durable=on_durable
    )
    simulation.now_ns = OPEN_NS
    open_session(simulation, market, epoch=epoch)
    if routing is not None:
        simulation.submit(SetRoutingPolicy(routing, "desk", "scored routing"), "desk")
    play(simulation, OPEN_NS, close_ns, progress)
    simulation.submit(TimerFired(TimerKind.DAY_CLOSE, TRADE_DATE), "timer")
    simulation.run()
    if on_end is not None:
        on_end(simulation.kernel.state)
    terms = SessionTerms("synthetic", market.symbols, TRADE_DATE, flow)
    return summarise(terms, simulation, journal, traders, watched.messages, watched.counts())
