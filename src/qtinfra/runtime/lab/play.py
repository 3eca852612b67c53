"""One parent order through one recorded day, by the engine's own planners and the same `evaluate`.

The decision sees a `Past`; what it sends goes to the `Street`. Slices cross at once: minute bars cannot say
whether a resting one would have been filled. The parent has no limit; what is left at the end is cancelled.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from qtinfra.core.algo import AlgoTerms, FinishReason, Schedule, SliceKind
from qtinfra.core.decimals import ONE, ZERO, exact
from qtinfra.core.impact.power_law import impact
from qtinfra.core.strategies.inputs import PlanInputs, Strategy
from qtinfra.execution.parent import Actions, Inputs, ParentView, Slice, evaluate
from qtinfra.marketdata.bars import MINUTE_NS
from qtinfra.marketdata.estimators import DAY_MINUTES
from qtinfra.runtime.lab.days import LabDay, Past, Quote
from qtinfra.runtime.lab.fills import LabFill, Street
from qtinfra.runtime.lab.history import DayFacts, Params

#: How often a schedule may be planned anew in one day.
MAX_PLANS = 400
_BPS = 10_000
#: Volume of a whole curve as the planners get it: whole numbers keep their exact arithmetic short.
CURVE_UNITS = 1_000_000


class LabOrder(msgspec.Struct, frozen=True):
    """A parent order: shares, and when it works, UTC nanoseconds, on whole minutes; the end is exclusive."""

    buy: bool
    qty: int
    start_ns: int
    end_ns: int


class Setup(msgspec.Struct, frozen=True):
    """An algorithm and how it is set.

    Attributes:
        algo: its registered name.
        rate: of POV, own / (own + others).
        urgency: of IS, risk aversion per basis point of standard deviation, as `estimate_cost` takes it.
        cap: participation cap on every interval of the schedule; None for none beyond the street's tenth.
    """

    algo: str
    params: Params = Params()
    rate: Decimal = Decimal("0.05")
    urgency: float = 1e-3
    cap: Decimal | None = None


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What a look decided: when, how much was sent, and whether it was planned anew."""

    ts_ns: int
    sent: int
    replanned: bool


class Played(msgspec.Struct, frozen=True):
    """An order's day: the mid it began at, its first schedule, its fills and decisions, how it ended."""

    arrival: Decimal
    planned: Schedule
    fills: tuple[LabFill, ...]
    decisions: tuple[Decision, ...]
    finish: FinishReason
    over_ns: int

    @property
    def filled(self) -> int:
        """Shares executed."""
        return sum(fill.qty for fill in self.fills)


def risk_aversion(setup: Setup, order: LabOrder, arrival: Decimal, facts: DayFacts) -> Decimal:
    """The planner's risk aversion, per dollar, that gives the trajectory of the forecast's urgency.

    The planner takes its impact from the spread, the forecast from the power law; the urgency of either is
    risk aversion over impact, so that the ratio of the impacts at an even rate turns one into the other.
    """
    horizon = (order.end_ns - order.start_ns) / (DAY_MINUTES * MINUTE_NS)
    size = order.qty / facts.daily_volume
    planned = facts.spread_bps * size / 0.01 / horizon
    law = impact(size, horizon, facts.volatility, 1.0).temporary * _BPS
    ratio = planned / law if law else 1.0
    return Decimal(f"{setup.urgency * _BPS / (float(arrival) * order.qty) * ratio:.12g}")


def terms_of(setup: Setup, order: LabOrder, arrival: Decimal, facts: DayFacts) -> AlgoTerms:
    """The order's terms; what belongs to one algorithm is left out of the others'."""
    params = setup.params
    length = params.slice_minutes * MINUTE_NS
    clip = max(1, round(params.clip_share * order.qty)) if params.clip_share else None
    return AlgoTerms(
        setup.algo,
        order.start_ns,
        order.end_ns,
        max_participation=setup.cap,
        target_rate=setup.rate if setup.algo == "POV" else None,
        risk_aversion=risk_aversion(setup, order, arrival, facts) if setup.algo == "IS" else None,
        max_clip=Decimal(clip) if clip is not None else None,
        slices=max(1, (order.end_ns - order.start_ns) // length),
        passive=False,
    )


def arrival_mid(past: Past) -> Decimal | None:
    """The mid that was known, or the last price where the feed has no quotes; None before either."""
    quote = past.quote
    price = (quote.bid + quote.ask) / 2 if quote is not None else past.last
    return None if price is None else Decimal(f"{price:.6f}")


def play(strategy: Strategy, setup: Setup, order: LabOrder, day: LabDay, facts: DayFacts) -> Played | None:
    """Work an order through a day; None when no price is known at its start.

    Raises:
        ScheduleError: the strategy cannot plan from what is known.
    """
    arrival = arrival_mid(Past(day, order.start_ns))
    if arrival is None:
        return None
    with exact():
        return _Parent(strategy, setup, order, day, facts, arrival).run()


def other_side(bought: Played, day: LabDay, facts: DayFacts) -> Played:
    """A sell order's day from the buy order's, on a day without quotes.

    Without quotes and a limit the side decides no quantity and no moment, only what a fill pays.
    """
    street = Street(day, False, facts.volatility, facts.spread_bps)
    with exact():
        fills = tuple(
            sold for fill in bought.fills if (sold := street.take(fill.ts_ns, fill.qty, None)) is not None
        )
    return msgspec.structs.replace(bought, fills=fills)


class _Parent:
    """The parent's state between looks."""

    def __init__(
        self,
        strategy: Strategy,
        setup: Setup,
        order: LabOrder,
        day: LabDay,
        facts: DayFacts,
        arrival: Decimal,
    ) -> None:
        self._strategy, self._order, self._facts, self._arrival = strategy, order, facts, arrival
        self._terms = terms_of(setup, order, arrival, facts)
        self._day = day
        self._street = Street(day, order.buy, facts.volatility, facts.spread_bps)
        self._fills: list[LabFill] = []
        self._decisions: list[Decision] = []
        self._filled, self._plans, self._crossed = 0, 0, False
        self._curve = in_units(facts.curve)
        self._schedule = self._planned = self._plan(Past(day, order.start_ns))

    def run(self) -> Played:
        """Look again and again until the schedule says how it ended."""
        order, step = self._order, self._day.step_ns
        now = order.start_ns
        while True:
            past = Past(self._day, now)
            actions = self._look(past)
            if actions.finished is not None:
                return Played(
                    self._arrival,
                    self._planned,
                    tuple(self._fills),
                    tuple(self._decisions),
                    actions.finished,
                    min(now, order.end_ns),
                )
            wake = max(now + 1, actions.wake_ns)
            now = order.start_ns - (order.start_ns - wake) // step * step

    def _look(self, past: Past) -> Actions:
        now, replanned = past.now_ns, False
        actions = self._evaluate(past)
        if actions.replan and self._plans < MAX_PLANS:
            self._schedule, replanned = self._plan(past), True
            actions = self._evaluate(past)
        for slice_ in actions.slices:
            self._send(slice_, now)
        sent = sum(int(slice_.qty) for slice_ in actions.slices)
        if sent or replanned:
            self._decisions.append(Decision(now, sent, replanned))
        return actions

    def _send(self, slice_: Slice, now: int) -> None:
        fill = self._street.take(now, int(slice_.qty), slice_.price)
        self._crossed = self._crossed or slice_.reason.kind is SliceKind.FINAL
        if fill is not None:
            self._fills.append(fill)
            self._filled += fill.qty

    def _evaluate(self, past: Past) -> Actions:
        order, schedule = self._order, self._schedule
        parent = ParentView(
            self._terms,
            schedule,
            order.buy,
            None,
            Decimal(order.qty),
            Decimal(self._filled),
            ONE,
            arrival_mid=self._arrival,
            crossed=self._crossed,
        )
        begin = interval_begin(schedule, past.now_ns)
        own = own_since(self._fills, begin)
        market = market_inputs(past, self._facts.spread_bps, schedule.times[0], begin, own)
        return evaluate(self._strategy, parent, market, past.now_ns)

    # -- plans

    def _plan(self, past: Past) -> Schedule:
        self._plans += 1
        day, facts, order = self._day, self._facts, self._order
        inputs = PlanInputs(
            order.buy,
            Decimal(order.qty),
            Decimal(self._filled),
            ONE,
            past.now_ns,
            day.open_ns,
            day.close_ns,
            curve=self._curve,
            daily_volume=Decimal(f"{facts.daily_volume:.3f}"),
            daily_volatility=Decimal(f"{facts.volatility:.9f}"),
            spread=Decimal(f"{facts.spread_bps * float(self._arrival) / _BPS:.6f}"),
            price=self._arrival,
        )
        return self._strategy.plan(self._terms, inputs)


def in_units(curve: Sequence[float]) -> tuple[Decimal, ...]:
    """A curve of shares as whole numbers that sum to `CURVE_UNITS`, rounding left out."""
    return tuple(Decimal(round(share * CURVE_UNITS)) for share in curve)


def interval_begin(schedule: Schedule, now_ns: int) -> int:
    """The begin of the schedule's interval that runs."""
    return schedule.times[max(0, bisect_right(schedule.times, now_ns) - 1)]


def own_since(fills: Sequence[LabFill], begin_ns: int) -> int:
    """Shares filled since a moment; fills ascend in time."""
    own = 0
    for fill in reversed(fills):
        if fill.ts_ns < begin_ns:
            break
        own += fill.qty
    return own


def market_inputs(past: Past, spread_bps: float, planned_ns: int, begin_ns: int, own: int) -> Inputs:
    """The market as a look may see it, from a view of the past alone.

    Args:
        spread_bps: where the feed has no quotes, they stand this far apart around the last price.
        planned_ns: when the schedule began. begin_ns: when its running interval began.
        own: shares that the parent has executed in that interval.
    """
    quote = past.quote or _around(past.last, spread_bps)
    if quote is None:
        return Inputs(trading=True)
    return Inputs(
        Decimal(f"{quote.bid:.4f}"),
        Decimal(f"{quote.ask:.4f}"),
        Decimal(quote.bid_size),
        Decimal(quote.ask_size),
        Decimal(past.volume(planned_ns)),
        Decimal(past.volume(begin_ns)),
        Decimal(own) if own else ZERO,
        seen=Decimal(past.volume(planned_ns, max(planned_ns, begin_ns))),
    )


def _around(last: float | None, spread_bps: float) -> Quote | None:
    if last is None:
        return None
    half = last * spread_bps / 2 / _BPS
    return Quote(last - half, last + half)
