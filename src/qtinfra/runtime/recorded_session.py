"""A session against a recorded order book: seeded clients, the real engine and journal, and its proof."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec

from qtinfra.core.commands import (
    SetLimit,
    SetReference,
    SetVenueStatus,
    StartEpoch,
    TimerFired,
    TimerKind,
)
from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.extended_models import Account, Instrument, LimitRule, TickBand, Venue, VenueStatus
from qtinfra.core.models import AssetClass, Currency
from qtinfra.core.ports import Journal
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State, state_hash
from qtinfra.marketdata.lobster import official_share
from qtinfra.runtime.replay import replay_journal
from qtinfra.runtime.simulate import Simulation
from qtinfra.runtime.traders import RandomTrader
from qtinfra.venues.simulated.recorded import LobsterMarket

ACCOUNTS = ("alpha", "beta", "gamma")
#: NASDAQ's fees per share for removing and adding displayed size, as a model: 30 mils, 20 mils back.
TAKE_FEE, MAKE_FEE = Decimal("0.0030"), Decimal("-0.0020")


class RecordedSession(msgspec.Struct, frozen=True):
    """What a session against recorded data led to; `qtinfra simulate --feed lobster` prints it."""

    feed: str
    symbol: str
    trade_date: str
    seed: int
    batch: int
    orders: int
    fills: int
    passive_fills: int
    queued_fills: int
    refused: int
    cancelled: int
    replaced: int
    messages: int
    commands: int
    records: int
    events: int
    frames: int
    bbo_changes: int
    bbo_distinct: int
    bbo_crossed: int
    bbo_official_share: float | None
    invariant_violations: int
    violations: list[str]
    state_hash: str
    replay_state_hash: str
    chain_hash: str
    decide_equal: bool | None


def run_recorded_session(
    market: LobsterMarket,
    journal: Journal,
    *,
    epoch: int,
    orders: int,
    seed: int,
    batch: int = 64,
    official_bbo: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> RecordedSession:
    """Trade against a recording, then replay the journal and decide it again.

    Args:
        market: the recording, at its beginning.
        journal: an empty journal, open for writing under `epoch`.
        orders: how many new orders the clients send in all.
        seed: of the clients' flow.
        batch: most records per frame; changes nothing but the number of frames.
        official_bbo: an official best-bid-and-offer file to compare the recorded book with.
        progress: called now and then with the number of messages played.
    """
    simulation, traders = _open_session(market, journal, epoch, orders, seed, batch)
    messages = _play(simulation, market, progress)
    simulation.submit(TimerFired(TimerKind.DAY_CLOSE, market.venue.trade_date), "timer")
    counts = simulation.run()
    broken = simulation.audit()
    again = replay_journal(journal, decide=True)
    share = official_share(market.bbo_states, official_bbo) if official_bbo is not None else None
    return RecordedSession(
        feed="lobster",
        symbol=market.venue.symbol,
        trade_date=market.venue.trade_date,
        seed=seed,
        batch=batch,
        orders=sum(trader.sent for trader in traders),
        fills=counts.fills,
        passive_fills=counts.passive_fills,
        queued_fills=counts.queued_fills,
        refused=counts.kinds.get("OrderRejected", 0),
        cancelled=counts.kinds.get("OrderCancelled", 0),
        replaced=counts.kinds.get("OrderReplaced", 0),
        messages=messages,
        commands=counts.commands,
        records=counts.records,
        events=counts.events,
        frames=counts.frames,
        bbo_changes=market.bbo_changes,
        bbo_distinct=len(dict.fromkeys(market.bbo_states)),
        bbo_crossed=market.bbo_crossed,
        bbo_official_share=share,
        invariant_violations=len(broken),
        violations=broken[:20],
        state_hash=state_hash(simulation.kernel.state),
        replay_state_hash=again.state_hash,
        chain_hash=journal.head.hash.hex(),
        decide_equal=again.decide_equal,
    )


def _open_session(
    market: LobsterMarket, journal: Journal, epoch: int, orders: int, seed: int, batch: int
) -> tuple[Simulation, list[RandomTrader]]:
    start_ns, end_ns = market.span_ns
    symbol, mic = market.venue.symbol, market.venue.mic
    share, rest = divmod(orders, len(ACCOUNTS))
    traders = [
        RandomTrader(
            account,
            (symbol,),
            orders=share + (number < rest),
            start_ns=start_ns + 1_000_000_000,
            end_ns=end_ns - 60_000_000_000,
            seed=seed * 1_000 + number,
        )
        for number, account in enumerate(ACCOUNTS)
    ]
    simulation = Simulation(market, Kernel(State()), journal, traders, batch=batch)
    simulation.now_ns = start_ns - 1_000_000_000
    instrument = Instrument(
        symbol, AssetClass.EQUITY, Currency.USD, (mic,), (TickBand(ZERO, Decimal("0.01")),), ONE
    )
    accounts = tuple(Account(name, client=f"client-{name}", base_currency=Currency.USD) for name in ACCOUNTS)
    venue = Venue(mic, "recorded order book", Currency.USD, TAKE_FEE, MAKE_FEE)
    simulation.submit(StartEpoch(epoch, "simulate"), "system")
    simulation.submit(SetReference((instrument,), accounts, (venue,)), "system")
    simulation.submit(SetLimit(LimitRule.MAX_ORDER_QTY, Decimal(1_000)), "risk")
    simulation.submit(SetLimit(LimitRule.PRICE_COLLAR, Decimal("0.05")), "risk")
    simulation.submit(SetLimit(LimitRule.POSITION_LIMIT, Decimal(20_000)), "risk")
    simulation.submit(TimerFired(TimerKind.DAY_OPEN, market.venue.trade_date), "timer")
    simulation.submit(SetVenueStatus(mic, VenueStatus.CONNECTED), f"venue:{mic}")
    return simulation, traders


def _play(simulation: Simulation, market: LobsterMarket, progress: Callable[[int], None] | None) -> int:
    """Let the whole recording happen, in slices so that somebody can watch; the number of messages."""
    start_ns, end_ns = market.span_ns
    slices = 100
    for number in range(1, slices + 1):
        simulation.run(start_ns + (end_ns - start_ns) * number // slices)
        if progress is not None:
            progress(market.played)
    simulation.run()
    return market.played
