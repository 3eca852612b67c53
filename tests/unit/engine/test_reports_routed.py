"""Reports while orders are routed by scores: decided, applied and noted in one, they end as one by one."""

from collections import Counter
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qtinfra.core import commands as cmd
from qtinfra.core.decimals import ZERO
from qtinfra.core.events import ChildAcked, ChildEnded, ChildRejected, OrderFilled, OrderRouted
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.legs import units
from qtinfra.core.reports import ReportKind, VenueNewOrder, VenueReport
from qtinfra.core.routing import BreakerTerms, RouteStyle, RoutingPolicy, VenueLimit
from qtinfra.engine import kernel as kernel_module
from qtinfra.engine import usual_reports
from qtinfra.engine.audit import audit
from qtinfra.engine.evolve_routing import held_at
from qtinfra.engine.routing_state import RoutingState
from qtinfra.engine.state import clone_state, state_hash
from qtinfra.router.stats import bucket_of
from qtinfra.router.strategies import DARK_FIRST, PLACEMENT
from tests.support.builders import (
    ALPHA,
    BETA,
    BUY,
    DAYS,
    SELL,
    Desk,
    account,
    dec,
    instrument,
    quote,
    submit,
    venue,
)

pytestmark = pytest.mark.unit

MICS = ("BATS", "DARK", "XNAS", "XNYS")
ACK, FILL = ReportKind.ACK, ReportKind.FILL

Step = tuple[Any, ...]

#: A new order: units, price, side, account.
_ORDER = st.tuples(
    st.just("order"),
    st.sampled_from(["100", "30", "250", "100.0", "1E+2"]),
    st.sampled_from(["50.01", "50.02", "49.99", "50.010", "0.01", None]),
    st.sampled_from([BUY, BUY, SELL]),
    st.sampled_from([ALPHA, BETA]),
)
#: What a venue says of an order that was sent: the place of that, kind, part of its units, price, oddity.
_SAID = st.tuples(
    st.integers(0, 7),
    st.sampled_from([ACK, ACK, FILL, FILL, FILL, ReportKind.CANCELED, ReportKind.BUST, ReportKind.REJECT]),
    st.sampled_from(["1", "1", "0.5", "0.25", "2", "0"]),
    st.sampled_from(["50.01", "50.00", "50", "-3", None]),
    st.sampled_from(["", "", "", "", "again", "session", "late", "cum"]),
)
_STEPS = st.lists(_ORDER | st.tuples(st.just("reports"), st.lists(_SAID, min_size=1, max_size=6)), max_size=8)

_NEW: Step = ("order", "250", "50.01", BUY, ALPHA)
_NEW_DARK: Step = ("order", "100", "50.01", BUY, BETA)


def _both(place: int, part: str = "1", px: str = "50.01") -> list[Any]:
    """An acknowledgement and an execution of the order at a place."""
    return [(place, ACK, "1", None, ""), (place, FILL, part, px, "")]


class World:
    """A desk under a routing policy, the venues' counters, and what they were sent."""

    def __init__(self, breaker: BreakerTerms | None, multiplier: str) -> None:
        self.desk = Desk([venue(mic, "0.003", "-0.002") for mic in MICS], checked=False)
        self.desk.run(
            cmd.SetReference(
                (instrument(venues=MICS, multiplier=dec(multiplier)),), (account(ALPHA), account(BETA))
            )
        )
        style = ((BETA, RouteStyle(DARK_FIRST)), (ALPHA, RouteStyle(PLACEMENT, ZERO)))
        policy = RoutingPolicy(
            accounts=style if multiplier == "1" else style[:1], dark=("DARK",), breaker=breaker
        )
        self.desk.run(cmd.SetRoutingPolicy(policy))
        self.desk.run(cmd.SetVenueLimit("XNAS", VenueLimit(dec(30_000), dec(60_000))))
        for mic in ("BATS", "XNAS", "XNYS"):
            self.desk.market.quotes[mic] = quote(mic, [("49.99", 100)], [("50.01", 100)])
        self.seqs: dict[str, int] = {}
        self.sessions: dict[str, str] = {}
        self.said = self.orders = 0

    @property
    def routing(self) -> RoutingState:
        routing = self.desk.state.routing
        assert routing is not None
        return routing

    def sent(self) -> list[VenueNewOrder]:
        return [message for message in self.desk.sent if isinstance(message, VenueNewOrder)]

    def take(self, step: Step) -> tuple[list[str], list[str]]:
        """What a step leads to: events and effects, in words."""
        if step[0] == "order":
            self.orders += 1
            _, qty, price, side, name = step
            outcome = self.desk.run(submit(f"O{self.orders}", qty, price, side=side, name=name))
        else:
            outcome = self.desk.run(cmd.RecordVenueReports(self.reports(step[1])))
        return list(map(repr, outcome.events)), list(map(repr, outcome.effects))

    def reports(self, said: list[Any]) -> tuple[VenueReport, ...]:
        sent = self.sent()
        return tuple(self._report(sent[words[0] % len(sent)], *words[1:]) for words in said if sent)

    def _report(
        self, message: VenueNewOrder, kind: ReportKind, part: str, px: str | None, unusual: str
    ) -> VenueReport:
        mic = message.venue
        self.said += 1
        if unusual == "session":
            self.sessions[mic], self.seqs[mic] = f"S{self.said}", 0
        seq = self.seqs[mic] = self.seqs.get(mic, 0) + (unusual != "again")
        report = VenueReport(
            kind, mic, message.cl_ord_id, seq, self.sessions.get(mic, "S"), DAYS[0], exec_id=f"E{self.said}",
            ref_exec_id=f"E{self.said - 1}", venue_order_id=f"V{self.said}",
            liquidity=Liquidity.ADDED if self.said % 3 == 0 else Liquidity.REMOVED,
        )  # fmt: skip
        if kind is FILL:
            qty = message.qty if part == "1" else message.qty * Decimal(part)
            report = msgspec.structs.replace(report, qty=qty, px=None if px is None else Decimal(px))
        if unusual == "cum":
            report = msgspec.structs.replace(report, cum_qty=dec(1))
        return report


@settings(deadline=None)
@given(
    steps=_STEPS,
    breaker=st.sampled_from([None, BreakerTerms(), BreakerTerms(2, cooldown_ns=3_000_000)]),
    multiplier=st.sampled_from(["1", "1", "1.0", "100"]),
)
@example(steps=[_NEW, ("reports", _both(0) + _both(1)), _NEW], breaker=BreakerTerms(), multiplier="1")
@example(steps=[_NEW, ("reports", _both(0, "0.5") + _both(1, "0.5"))], breaker=None, multiplier="100")
@example(
    steps=[_NEW_DARK, ("reports", [*_both(0), (0, FILL, "0.5", "50", "")]), _NEW_DARK],
    breaker=None,
    multiplier="1",
)
@example(
    steps=[_NEW, ("reports", [(0, ReportKind.REJECT, "1", None, ""), *_both(1), *_both(2)]), _NEW],
    breaker=BreakerTerms(2),
    multiplier="1",
)
@example(
    steps=[_NEW, ("reports", [*_both(0, "0.5"), (0, ReportKind.BUST, "0", None, ""), *_both(0, "0.5")])],
    breaker=None,
    multiplier="1",
)
def test_reports_end_in_what_they_end_in_when_each_is_performed_alone(
    steps: list[Step], breaker: BreakerTerms | None, multiplier: str
) -> None:
    short, general = World(breaker, multiplier), World(breaker, multiplier)
    for step in [_NEW, _NEW_DARK, *steps]:
        found = short.take(step)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(kernel_module, "take_usual", lambda *_: None)
            assert found == general.take(step)
        assert repr(short.routing) == repr(general.routing)
        assert state_hash(short.desk.state) == state_hash(general.desk.state)
    assert short.desk.state.packing.rows == general.desk.state.packing.rows
    assert audit(short.desk.state) == []
    _check_statistics(short, Decimal(multiplier))


class _Known:
    """What is known of one venue, reckoned anew."""

    def __init__(self) -> None:
        self.executed = self.qty = self.fees = self.rebates = self.slippage = ZERO
        self.delays: Counter[int] = Counter()
        self.ended = 0


def _check_statistics(world: World, multiplier: Decimal) -> None:
    """Compare what is known of venues with what the events say."""
    state, routing = world.desk.state, world.routing
    known, working = _reckoned(world, multiplier)
    assert set(routing.sent) == set(working)
    assert sum(counted.trials for counted in routing.reliability.values()) == sum(
        one.ended for one in known.values()
    )
    for mic, record in routing.venues.items():
        own = known[mic]
        assert record.executed == record.traded == own.executed
        assert (record.qty, record.fees, record.rebates) == (own.qty, own.fees, own.rebates)
        assert record.slippage == own.slippage
        assert record.delays == own.delays
        assert record.open_notional == held_at(state, mic)
        assert sum(tally.ended for tally in record.tallies.values()) == own.ended


def _reckoned(world: World, multiplier: Decimal) -> tuple[dict[str, _Known], dict[str, Decimal]]:
    """What the events say of each venue, and what is left of the children that have not ended."""
    known = {mic: _Known() for mic in MICS}
    routed: dict[str, OrderRouted] = {}
    working: dict[str, Decimal] = {}
    answered: list[str] = []
    for event in (event for entry in world.desk.entries for event in entry.events):
        if isinstance(event, OrderRouted):
            for leg in event.children:
                routed[leg.child_id] = event
                working[leg.child_id] = units(leg, world.desk.state.orders[event.order_id].qty)
        if not isinstance(event, ChildAcked | OrderFilled | ChildRejected | ChildEnded):
            continue
        own, child_id = known[event.venue], event.child_id
        if not isinstance(event, ChildEnded) and child_id in working and child_id not in answered:
            answered.append(child_id)
            own.delays[bucket_of(event.ts_ns - routed[child_id].ts_ns)] += 1
        if isinstance(event, OrderFilled):
            buying = world.desk.state.orders[event.order_id].side is BUY
            own.executed += event.qty * event.px * multiplier
            own.qty += event.qty
            own.fees += max(event.fee, ZERO)
            own.rebates -= min(event.fee, ZERO)
            touch = (routed[child_id].touch or (None, None))[buying]
            if touch is not None and child_id in working:
                worse = event.px - touch if buying else touch - event.px
                own.slippage += worse * event.qty * multiplier
        if child_id in working and not isinstance(event, ChildAcked):
            working[child_id] -= event.qty if isinstance(event, OrderFilled) else working[child_id]
            if working[child_id] <= ZERO:
                del working[child_id]
                own.ended += 1
    return known, working


def _routed_world() -> World:
    world = World(BreakerTerms(), "1")
    world.take(_NEW)
    for mic in MICS:  # begins the sessions
        world.seqs[mic] = 1
        world.desk.run(cmd.RecordVenueReport(VenueReport(ACK, mic, "nobody", 1, "S")))
    return world


def _taken(world: World, said: list[Any]) -> list[str]:
    """The events of those reports that are usual; the desk stays as it is."""
    events: list[Any] = []
    usual_reports.take_usual(clone_state(world.desk.state), world.reports(said), 1, [], events)
    return [type(event).__name__ for event in events]


def test_usual_reports_take_the_short_way_under_a_routing_policy() -> None:
    world = _routed_world()
    assert len(world.sent()) > 1, "two venues at least"
    assert _taken(world, _both(0) + _both(1)) == ["ChildAcked", "OrderFilled"] * 2
    assert _taken(world, [*_both(0, "0.5"), (0, FILL, "0.5", "50.00", "")])[1:] == ["OrderFilled"] * 2


def test_reports_of_a_venue_that_has_failed_lately_are_not_usual_and_those_of_others_are() -> None:
    world = _routed_world()
    first, second = (message.venue for message in world.sent()[:2])
    assert first != second
    world.take(_NEW)
    again = [place for place, message in enumerate(world.sent()) if message.venue == first][-1]
    assert _taken(world, _both(again)) == ["ChildAcked", "OrderFilled"]
    world.take(("reports", [(0, ReportKind.REJECT, "1", None, "")]))
    assert list(world.routing.breakers) == [first]
    assert _taken(world, _both(1)) == ["ChildAcked", "OrderFilled"]
    assert _taken(world, _both(again)) == []
    assert _taken(world, _both(1) + _both(again) + _both(1)) == ["ChildAcked", "OrderFilled"]


def test_the_answer_of_a_probe_closes_the_breaker_in_the_midst_of_others_reports() -> None:
    world = World(BreakerTerms(1, cooldown_ns=2_000_000), "1")
    world.take(_NEW)
    failed = world.sent()[0].venue
    world.take(("reports", [(0, ReportKind.REJECT, "1", None, "")]))
    while not world.routing.breakers[failed].probe:
        world.take(_NEW)
    places = [place for place, message in enumerate(world.sent()) if message.venue == failed]
    other = next(place for place, message in enumerate(world.sent()) if message.venue != failed)
    events, _ = world.take(("reports", [*_both(other), *_both(places[-1])]))
    names = [event.partition("(")[0] for event in events if "SessionStarted" not in event]
    assert names == ["ChildAcked", "OrderFilled", "ChildAcked", "BreakerClosed", "OrderFilled"]
    assert failed not in world.routing.breakers
