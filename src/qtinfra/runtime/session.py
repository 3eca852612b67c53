"""What every simulated session ends with: its figures, and the proof that its journal leads to its state."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from qtinfra.core.ports import Head, Journal
from qtinfra.engine.state import state_hash
from qtinfra.runtime.replay import replay_journal
from qtinfra.runtime.simulate import Simulation
from qtinfra.runtime.traders import RandomTrader

#: Called now and then with how much is done, and of how much.
Progress = Callable[[int, int], None]
#: Gets the journal's head each time that more of it is durable.
OnDurable = Callable[[Head], None]

#: The accounts of simulated clients.
ACCOUNTS = ("alpha", "beta", "gamma")

_SLICES = 100
_FIRST_VIOLATIONS = 20


class QuoteCounts(msgspec.Struct, frozen=True):
    """How the best bid and offer changed: states in a row, different ones, those with bid at or above ask.

    `official_share` is the share (0 to 1) of the states found in order in an official file; None without one.
    """

    changes: int
    distinct: int
    crossed: int
    official_share: float | None = None


class SessionResult(msgspec.Struct, frozen=True):
    """What a session of random clients led to; `qtinfra simulate` prints it.

    `decide_equal`: every command, decided again from its recorded inputs, gives the same bytes.
    """

    feed: str
    symbols: tuple[str, ...]
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
    violations: tuple[str, ...]
    state_hash: str
    replay_state_hash: str
    chain_hash: str
    decide_equal: bool


class RandomFlow(msgspec.Struct, frozen=True):
    """What the random clients of a session do, and how it is journaled.

    Attributes:
        orders: how many new orders they plan in all.
        seed: of everything that is random about them.
        batch: most records per frame; changes nothing but the number of frames.
    """

    orders: int
    seed: int
    batch: int = 64


class SessionTerms(msgspec.Struct, frozen=True):
    """What a session was asked to be."""

    feed: str
    symbols: tuple[str, ...]
    trade_date: str
    flow: RandomFlow


def random_traders(
    accounts: Sequence[str], symbols: Sequence[str], flow: RandomFlow, *, start_ns: int, end_ns: int
) -> list[RandomTrader]:
    """One random client per account; together they send the orders of the flow."""
    share, rest = divmod(flow.orders, len(accounts))
    return [
        RandomTrader(
            account,
            symbols,
            orders=share + (number < rest),
            start_ns=start_ns,
            end_ns=end_ns,
            seed=flow.seed * 1_000 + number,
        )
        for number, account in enumerate(accounts)
    ]


def play(simulation: Simulation, start_ns: int, end_ns: int, progress: Progress | None) -> None:
    """Let a stretch of time pass, in slices so that somebody can watch, and all that follows from it."""
    for number in range(1, _SLICES + 1):
        simulation.run(start_ns + (end_ns - start_ns) * number // _SLICES)
        if progress is not None:
            progress(number, _SLICES)
    simulation.run()


def summarise(
    terms: SessionTerms,
    simulation: Simulation,
    journal: Journal,
    traders: Sequence[RandomTrader],
    messages: int,
    quotes: QuoteCounts,
) -> SessionResult:
    """The figures of a session that has ended, with a replay and a second deciding of its journal."""
    counts, broken = simulation.counts, simulation.audit()
    again = replay_journal(journal, decide=True)
    return SessionResult(
        feed=terms.feed,
        symbols=terms.symbols,
        trade_date=terms.trade_date,
        seed=terms.flow.seed,
        batch=terms.flow.batch,
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
        bbo_changes=quotes.changes,
        bbo_distinct=quotes.distinct,
        bbo_crossed=quotes.crossed,
        bbo_official_share=quotes.official_share,
        invariant_violations=len(broken),
        violations=tuple(broken[:_FIRST_VIOLATIONS]),
        state_hash=state_hash(simulation.kernel.state),
        replay_state_hash=again.state_hash,
        chain_hash=journal.head.hash.hex(),
        decide_equal=bool(again.decide_equal),
    )
