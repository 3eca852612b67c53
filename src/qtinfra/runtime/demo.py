"""The demonstration: twenty minutes of a synthetic market, random clients, algo orders, and a script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import msgspec

from qtinfra.core.commands import (
    RestrictSymbol,
    SetLimit,
    SetOrderProtection,
    SetRoutingPolicy,
    TimerFired,
    TimerKind,
)
from qtinfra.core.events import Entry
from qtinfra.core.extended_models import LimitRule
from qtinfra.core.market import MarketView
from qtinfra.core.ports import Journal
from qtinfra.core.reports import Alert
from qtinfra.core.routing import OrderProtection, RoutingPolicy
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State, state_hash
from qtinfra.runtime.blotter import Blotter, RefusalLine, blotter, refusals_in
from qtinfra.runtime.demo_algos import ALGO_SCENES, approve_algos, open_algo_desk
from qtinfra.runtime.demo_auction import CUTOFF_NS, closing_auction, hold_auctions
from qtinfra.runtime.demo_board import AlgoBoard, AlgoLine, Watch
from qtinfra.runtime.demo_controls import CONTROL_SCENES, designate
from qtinfra.runtime.demo_orders import ORDER_SCENES
from qtinfra.runtime.demo_script import (
    CLOSE_NS,
    LIMITED,
    LIMITED_TO,
    RESTRICTED,
    ROUND_LOTS,
    SCENES,
    Moment,
    Stage,
    tell_close,
)
from qtinfra.runtime.replay import replay_journal
from qtinfra.runtime.session import ACCOUNTS, OnDurable, play
from qtinfra.runtime.simulate import Simulation, VenueQuotes
from qtinfra.runtime.synthetic_session import LIMITS, OPEN_NS, SECOND_NS, TRADE_DATE, open_session
from qtinfra.runtime.traders import RandomTrader
from qtinfra.venues.simulated.flow import SyntheticMarket

__all__ = ["CLOSE_NS", "DemoResult", "marks", "run_demo"]

#: The first seconds, in which the controls are tried; then the random clients begin.
DRILLS_S = 95
#: What the random clients trade; the script needs the other symbols for itself.
SYMBOLS: dict[str, tuple[str, ...]] = {
    "alpha": ("AAPL", "MSFT", "JPM", "KO"),
    "beta": ("AAPL", "MSFT", "JPM", "KO"),
    "gamma": ("MSFT", "JPM", "KO"),
}

_SIZES = (100, 100, 200, 300, 500)


class DemoResult(msgspec.Struct, frozen=True):
    """What the demonstration did, told and left behind.

    Attributes:
        orders: client orders, refused ones included; `refused` counts requests of every kind.
        doubtful: children whose outcome was unknown at some time; `unresolved` those that still are.
        frames: durable appends. `chain_hash` is the journal's head.
        decide_equal: every command, decided again from its recorded inputs, gave the same bytes.
        algos: the algo orders as they ended.
    """

    seed: int
    trade_date: str
    orders: int
    fills: int
    passive_fills: int
    refused: int
    refusal_rules: tuple[str, ...]
    replaced: int
    cancelled: int
    busted: int
    corrected: int
    doubtful: int
    unresolved: int
    alerts: dict[str, int]
    commands: int
    records: int
    events: int
    frames: int
    invariant_violations: int
    violations: tuple[str, ...]
    state_hash: str
    replay_state_hash: str
    chain_hash: str
    decide_equal: bool
    timeline: tuple[Moment, ...]
    blotter: Blotter
    algos: tuple[AlgoLine, ...]


class _Listener:
    """Keeps what the tables need of records and alerts."""

    def __init__(self) -> None:
        self.refusals: list[RefusalLine] = []
        self.alerts: Counter[str] = Counter()
        self.board = AlgoBoard()

    def entry(self, entry: Entry) -> None:
        self.refusals.extend(refusals_in(entry))
        self.board.entry(entry)

    def alert(self, alert: Alert) -> None:
        self.alerts[alert.kind] += 1


def run_demo(
    market: SyntheticMarket,
    journal: Journal,
    *,
    epoch: int,
    orders: int,
    seed: int,
    batch: int = 64,
    on_durable: OnDurable | None = None,
    watch: Watch | None = None,
) -> DemoResult:
    """Run the session to its close, then replay the journal and decide it again.

    Args:
        market: the six US symbols on three venues, open from `OPEN_NS` to `CLOSE_NS`.
        journal: an empty journal, open for writing under `epoch`.
        orders: how many orders the random clients send; the script adds its own.
        seed: of the random clients.
        batch: most records per frame; changes nothing but the number of frames.
        watch: shown the algo orders now and then.
    """
    listener, state = _Listener(), State()
    simulation = Simulation(
        market,
        Kernel(state),
        journal,
        _traders(orders, seed),
        batch=batch,
        on_alert=listener.alert,
        on_entry=listener.entry,
        on_durable=on_durable,
    )
    stage = Stage(simulation, market)
    _open(stage, epoch)
    for at_s, scene in (*SCENES, *ORDER_SCENES, *CONTROL_SCENES, *ALGO_SCENES):
        stage.schedule(OPEN_NS + at_s * SECOND_NS, scene)
    stage.schedule(CUTOFF_NS, closing_auction(seed))
    stage.schedule(CLOSE_NS + SECOND_NS, _close)
    view = VenueQuotes(market)
    view.prints = True

    def look(_: int, __: int) -> None:
        if watch is not None:
            watch(simulation.now_ns, listener.board.lines(state, view, simulation.now_ns))

    play(simulation, OPEN_NS, CLOSE_NS, look)
    tables = blotter(state, marks(view, market.symbols), listener.refusals)
    algos = listener.board.lines(state, view, simulation.now_ns)
    return _result(seed, simulation, journal, stage, listener, tables, algos)


def _traders(orders: int, seed: int) -> list[RandomTrader]:
    share, rest = divmod(orders, len(ACCOUNTS))
    return [
        RandomTrader(
            account,
            SYMBOLS[account],
            orders=share + (number < rest),
            start_ns=OPEN_NS + DRILLS_S * SECOND_NS,
            end_ns=CLOSE_NS - 20 * SECOND_NS,
            seed=seed * 1_000 + number,
            sizes=_SIZES,
            lifetime_ns=45 * SECOND_NS,
        )
        for number, account in enumerate(ACCOUNTS)
    ]


def _open(stage: Stage, epoch: int) -> None:
    """The desk of the synthetic session, with the sizes of limits set by account; then the algos' own."""
    simulation, market = stage.simulation, stage.market
    simulation.now_ns = OPEN_NS
    hold_auctions(stage, TRADE_DATE)
    open_session(simulation, market, epoch=epoch, round_lots=(ROUND_LOTS,))
    protected = OrderProtection("611", "US", tuple(sorted(market.sessions)), TRADE_DATE)
    simulation.submit(SetRoutingPolicy(RoutingPolicy(), "desk", "scored routing"), "desk")
    simulation.submit(SetOrderProtection(protected, "desk"), "desk")
    for rule, value in LIMITS:
        if rule is not LimitRule.PRICE_COLLAR:
            simulation.submit(SetLimit(rule, None), "risk")
            for account in ACCOUNTS:
                simulation.submit(SetLimit(rule, value, account), "risk")
    simulation.submit(SetLimit(LimitRule.POSITION_LIMIT, LIMITED_TO, "gamma", LIMITED), "risk")
    simulation.submit(RestrictSymbol(RESTRICTED), "compliance")
    open_algo_desk(stage)
    designate(stage)
    approve_algos(stage)


def _close(stage: Stage) -> Iterator[int]:
    stage.ask("timer", TimerFired(TimerKind.DAY_CLOSE, TRADE_DATE))
    yield SECOND_NS
    tell_close(stage, CLOSE_NS)


def marks(view: MarketView, symbols: tuple[str, ...]) -> dict[str, Decimal]:
    """The midpoint of each symbol that is quoted on both sides."""
    found: dict[str, Decimal] = {}
    for symbol in symbols:
        book = view.book(symbol)
        mid = book.mid() if book is not None else None
        if mid is not None:
            found[symbol] = mid
    return found


def _result(
    seed: int,
    simulation: Simulation,
    journal: Journal,
    stage: Stage,
    listener: _Listener,
    tables: Blotter,
    algos: tuple[AlgoLine, ...],
) -> DemoResult:
    counts, state, broken = simulation.counts, simulation.kernel.state, simulation.audit()
    again = replay_journal(journal, decide=True)
    kinds = counts.kinds
    return DemoResult(
        seed=seed,
        trade_date=state.trade_date,
        orders=len(state.orders),
        fills=counts.fills,
        passive_fills=counts.passive_fills,
        refused=len(tables.refusals),
        refusal_rules=tuple(dict.fromkeys(line.rule for line in tables.refusals)),
        replaced=kinds.get("OrderReplaced", 0),
        cancelled=kinds.get("OrderCancelled", 0),
        busted=kinds.get("ExecutionBusted", 0),
        corrected=kinds.get("ExecutionCorrected", 0),
        doubtful=kinds.get("ChildUnknown", 0),
        unresolved=sum(order.unknown_children for order in state.orders.values()),
        alerts=dict(sorted(listener.alerts.items())),
        commands=counts.commands,
        records=counts.records,
        events=counts.events,
        frames=counts.frames,
        invariant_violations=len(broken),
        violations=tuple(broken[:20]),
        state_hash=state_hash(state),
        replay_state_hash=again.state_hash,
        chain_hash=journal.head.hash.hex(),
        decide_equal=bool(again.decide_equal),
        timeline=tuple(sorted(stage.moments, key=lambda moment: moment.ts_ns)),
        blotter=tables,
        algos=algos,
    )
