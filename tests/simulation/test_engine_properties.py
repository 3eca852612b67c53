"""Random commands against venues that answer truthfully, late, twice and out of order.

After each command the desk checks audit, replay, deciding again and the written form (`Desk.run`); here come
the properties between engine and venues. When all has been delivered, nothing may pend or be in doubt.
"""

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from qtinfra.core import commands as cmd
from qtinfra.core.decimals import ZERO
from qtinfra.core.events import CommandQuarantined, OrderAccepted, ReplaceRequested
from qtinfra.core.extended_models import AckPolicy, ChainedReplace, HaltPolicy, KillScope, LimitRule, Policies
from qtinfra.core.models import ChildStatus, OrderSide, OrderStatus, OrderType, Origin, TimeInForce
from qtinfra.core.reports import ReportKind
from qtinfra.engine.kernel import Outcome
from tests.simulation.world import Held, TruthfulVenue
from tests.support.builders import ALPHA, BETA, DAYS, SYMBOL, Desk, quote

pytestmark = pytest.mark.simulation

VENUES = ("XNAS", "XNYS", "BATS")
POSITION_LIMIT = Decimal(400)
whims = st.integers(0, 10_007)


class World:
    """The engine, its venues, and the acts that hypothesis chooses from."""

    def __init__(self, policies: Policies) -> None:
        self.desk = Desk(VENUES, policies)
        self.desk.limit(LimitRule.POSITION_LIMIT, POSITION_LIMIT)
        self.venues = {mic: TruthfulVenue(mic) for mic in VENUES}
        self.connected = dict.fromkeys(VENUES, True)
        self.count = 0
        self._sent = 0
        for place in self.venues.values():
            place.trade_date = DAYS[0]
        for number, mic in enumerate(VENUES):
            self.desk.market.quotes[mic] = quote(mic, [(49, 40)], [(f"50.0{number}", 30)])

    def run(self, command: cmd.AnyCommand, whim: int = 1) -> Outcome:
        outcome = self.desk.run(command)
        failed = [event for event in outcome.events if isinstance(event, CommandQuarantined)]
        assert not failed, failed
        self._forward(whim)
        self._check(outcome)
        return outcome

    def _forward(self, whim: int) -> None:
        for message in self.desk.sent[self._sent :]:
            assert self.connected[message.venue], f"sent to a venue that is not connected: {message}"
            self.venues[message.venue].receive(message, whim)
        self._sent = len(self.desk.sent)

    def _check(self, outcome: Outcome) -> None:
        state = self.desk.state
        for event in outcome.events:
            if isinstance(event, OrderAccepted | ReplaceRequested):
                order = state.orders[event.order_id]
                open_now = state.open_quantity(order.account, SYMBOL)
                position = state.net_position(order.account, SYMBOL)
                grows = isinstance(event, OrderAccepted) or event.qty > order.qty
                if grows and order.side is OrderSide.BUY:
                    assert position + open_now.buy <= POSITION_LIMIT, "the limit counts open orders at once"
                elif grows:
                    assert position - open_now.sell >= -POSITION_LIMIT, "the limit counts open orders at once"
        held: dict[tuple[str, bool], Decimal] = {}
        for child_id, truth in self._truths():
            booked = state.children[child_id].cum
            assert booked == truth.told, f"{child_id}: booked {booked}, told {truth.told}"
            key = (truth.account, truth.side is OrderSide.BUY)
            held[key] = held.get(key, ZERO) + truth.leaves
        for (account, buys), quantity in held.items():
            exposure = state.open_quantity(account, SYMBOL)
            counted = exposure.buy if buys else exposure.sell
            assert counted >= quantity, f"venues hold {quantity} of {account}, {counted} is counted"

    def _truths(self) -> list[tuple[str, Held]]:
        return [item for place in self.venues.values() for item in place.orders.items()]

    # --- clients ---

    def submit(self, whim: int) -> None:
        self.count += 1
        tif = (TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.DAY)[whim % 5]
        market = whim % 11 == 0
        qty = Decimal(1 + whim % 150)
        price = None if market else Decimal(48 + whim % 4)
        kind = OrderType.MARKET if market else OrderType.LIMIT
        side = OrderSide.BUY if whim % 3 else OrderSide.SELL
        name = ALPHA if whim % 4 else BETA
        self.run(cmd.SubmitOrder(name, f"O{self.count}", SYMBOL, side, kind, tif, qty, price), whim // 7)

    def submit_nonsense(self, whim: int) -> None:
        odd = [Decimal("NaN"), Decimal(0), Decimal(-5), Decimal("1.5"), Decimal("1e400"), Decimal("Infinity")]
        qty, price = odd[whim % 6], [Decimal(50), Decimal("50.005"), Decimal("NaN"), None][whim % 4]
        kind = list(OrderType)[whim % len(OrderType)]
        tif = list(TimeInForce)[whim % len(TimeInForce)]
        symbol = SYMBOL if whim % 5 else "NOPE"
        name = ALPHA if whim % 7 else "nobody"
        self.count += 1
        self.run(cmd.SubmitOrder(name, f"N{self.count}", symbol, OrderSide.BUY, kind, tif, qty, price))

    def _some_id(self, whim: int) -> tuple[str, str]:
        working = [order for order in self.desk.state.orders.values() if order.open]
        if working and whim % 3:
            order = working[whim % len(working)]
            return order.account, order.cl_ord_id
        ids = [(name, cl) for name, known in self.desk.state.client_ids.items() for cl in known]
        return ids[whim % len(ids)] if ids and whim % 29 else (ALPHA, "missing")

    def cancel(self, whim: int) -> None:
        name, orig = self._some_id(whim)
        self.count += 1
        fresh = orig if whim % 23 == 0 else f"C{self.count}"
        self.run(cmd.CancelOrder(name, fresh, orig), whim // 3)

    def replace(self, whim: int) -> None:
        name, orig = self._some_id(whim)
        self.count += 1
        qty = Decimal(1 + whim % 170) if whim % 4 else None
        price = Decimal(48 + whim % 5) if whim % 3 == 0 else None
        self.run(cmd.ReplaceOrder(name, f"R{self.count}", orig, qty, price), whim // 5)

    def mass_cancel(self, whim: int) -> None:
        self.run(cmd.MassCancel((ALPHA, BETA)[whim % 2], f"M{whim}"), whim)

    # --- venues ---

    def deliver(self, whim: int) -> None:
        mic = VENUES[whim % 3]
        report = self.venues[mic].next_report(whim // 3) if self.connected[mic] else None
        if report is not None:
            self.run(cmd.RecordVenueReport(report), whim // 11)

    def _some_held(self, whim: int, live: bool = True) -> tuple[TruthfulVenue, Held] | None:
        found = [
            (place, held)
            for place in self.venues.values()
            for held in place.orders.values()
            if (held.live if live else held.prints)
        ]
        return found[whim % len(found)] if found else None

    def trade(self, whim: int) -> None:
        found = self._some_held(whim)
        if found is not None:
            place, held = found
            place.trade(held, min(held.leaves, Decimal(1 + whim % 90)))

    def unsolicited(self, whim: int) -> None:
        found = self._some_held(whim)
        if found is not None:
            found[0].end(found[1], ReportKind.CANCELED)

    def decline(self, whim: int) -> None:
        found = self._some_held(whim)
        if found is not None and not self._asked(found[1]):
            found[0].decline(found[1], Decimal(whim % 60))

    def _asked(self, held: Held) -> bool:
        """Whether a replace is out whose numbers would cross a restatement."""
        return bool(self.desk.state.children[held.first_id].replace_id)

    def staff_replace(self, whim: int) -> None:
        """Terms agreed by voice: only when nothing is under way, and the venue's clerk enters them too."""
        held = [order for order in self.desk.state.orders.values() if order.open]
        if not held or any(place.outbox or not place.reachable for place in self.venues.values()):
            return
        order = held[whim % len(held)]
        if order.status not in (OrderStatus.ROUTED, OrderStatus.PARTIALLY_FILLED):
            return
        terms = cmd.ReplaceOrder(
            order.account, "", order.cl_ord_id, Decimal(1 + whim % 160), origin=Origin.STAFF
        )
        self.desk.run(terms)
        for child_id in order.children:
            child, truth = self.desk.state.children[child_id], self._held(child_id)
            if truth is not None:
                truth.qty, truth.leaves = child.qty, child.leaves
                truth.live = child.leaves > ZERO

    def _held(self, child_id: str) -> Held | None:
        return next((truth for known, truth in self._truths() if known == child_id), None)

    def bust_or_correct(self, whim: int) -> None:
        found = self._some_held(whim, live=False)
        if found is None:
            return
        place, held = found
        item = held.prints[whim % len(held.prints)]
        if item.busted:
            return
        if whim % 2:
            place.bust(held, item)
        else:
            place.correct(held, item, item.qty + whim % 7 - 3)

    def break_line(self, whim: int) -> None:
        """Messages are lost from now on; the engine hears of it later."""
        self.venues[VENUES[whim % 3]].reachable = False

    def set_line(self, whim: int) -> None:
        mic = VENUES[whim % 3]
        if self.connected[mic]:
            self.venues[mic].reachable = False
            self.connected[mic] = False
            self.desk.disconnect(mic)
        else:
            self.venues[mic].reachable = self.connected[mic] = True
            self.desk.connect(mic)
        self._forward(whim)

    def resolve(self, whim: int) -> None:
        """A person looks at the venue's own record and tells the truth."""
        doubtful = [c for c in self.desk.state.children.values() if c.status is ChildStatus.UNKNOWN]
        if not doubtful:
            return
        child = doubtful[whim % len(doubtful)]
        place = self.venues[child.venue]
        truth = place.orders.get(child.child_id)
        if truth is None:
            self.run(cmd.ResolveUnknown(child.child_id, "NOT_RECEIVED"), whim)
        elif not truth.live:
            self.run(cmd.ResolveUnknown(child.child_id, "CANCELLED"), whim)

    # --- the desk's controls and the clock ---

    def halt(self, whim: int) -> None:
        self.run(cmd.HaltInstrument(SYMBOL, SYMBOL not in self.desk.state.halted), whim)

    def kill(self, whim: int) -> None:
        scope, value = (
            (KillScope.ACCOUNT, BETA),
            (KillScope.VENUE, VENUES[whim % 3]),
            (KillScope.SYMBOL, SYMBOL),
            (KillScope.FIRM, ""),
        )[whim % 4]
        if self.desk.state.kills:
            for key in list(self.desk.state.kills):
                engaged, _, what = key.partition(":")
                self.run(cmd.ReleaseKillSwitch(KillScope(engaged), what))
        else:
            self.run(cmd.EngageKillSwitch(scope, value), whim)

    def turn_day(self, whim: int) -> None:
        if self.desk.day + 1 >= len(DAYS):
            return
        for place in self.venues.values():
            for held in place.orders.values():
                if held.live and held.tif is not TimeInForce.GTC:
                    place.end(held, ReportKind.EXPIRED)
        self.run(cmd.TimerFired(cmd.TimerKind.DAY_CLOSE, DAYS[self.desk.day]), whim)
        self.desk.day += 1
        self.run(cmd.TimerFired(cmd.TimerKind.DAY_OPEN, DAYS[self.desk.day]), whim)
        for place in self.venues.values():
            place.trade_date = DAYS[self.desk.day]

    # --- the end ---

    def settle(self) -> None:
        """All lines up, everything delivered: engine and venues agree, nothing pends, nothing is in doubt."""
        for number, mic in enumerate(VENUES):
            if self.connected[mic]:
                self.set_line(number)
            self.set_line(number)
        for _ in range(400):
            if not any(place.outbox for place in self.venues.values()):
                break
            for number in range(len(VENUES)):
                self.deliver(number + 3)
        state = self.desk.state
        for child_id, truth in self._truths():
            child = state.children[child_id]
            assert child.working == truth.live, f"{child_id}: {child.status}, live {truth.live}"
            assert child.leaves == truth.leaves, f"{child_id}: {child.leaves} left, {truth.leaves} there"
        for order in state.orders.values():
            assert order.status not in (
                OrderStatus.PENDING_CANCEL,
                OrderStatus.PENDING_REPLACE,
                OrderStatus.UNKNOWN,
            ), f"{order.cl_ord_id} stays {order.status}"
            assert not order.queued, "no replace waits for ever"


ACTS: tuple[Callable[[World, int], None], ...] = (
    World.submit,
    World.submit_nonsense,
    World.cancel,
    World.replace,
    World.mass_cancel,
    World.deliver,
    World.trade,
    World.unsolicited,
    World.bust_or_correct,
    World.decline,
    World.staff_replace,
    World.break_line,
    World.set_line,
    World.resolve,
    World.halt,
    World.kill,
    World.turn_day,
)


class EngineMachine(RuleBasedStateMachine):
    """Hypothesis chooses the policies, then one act after the other."""

    @initialize(
        ack=st.sampled_from(AckPolicy),
        chained=st.sampled_from(ChainedReplace),
        halt=st.sampled_from(HaltPolicy),
    )
    def open(self, ack: AckPolicy, chained: ChainedReplace, halt: HaltPolicy) -> None:
        self.world = World(Policies(ack=ack, chained_replace=chained, halt=halt))

    @rule(whim=whims)
    def submit(self, whim: int) -> None:
        self.world.submit(whim)

    @rule(whim=whims)
    def replace(self, whim: int) -> None:
        self.world.replace(whim)

    @rule(whims=st.lists(whims, min_size=1, max_size=6))
    def deliver(self, whims: list[int]) -> None:
        for whim in whims:
            self.world.deliver(whim)

    @rule(act=st.sampled_from(ACTS), whim=whims)
    def act(self, act: Callable[[World, int], None], whim: int) -> None:
        act(self.world, whim)

    def teardown(self) -> None:
        self.world.settle()


EngineMachine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

#: Sound after every command, and settled when everything has been said.
TestEngineUnderTruthfulVenues = EngineMachine.TestCase
