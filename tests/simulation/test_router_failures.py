"""Venues that die in mid-sweep, flap or refuse everything: the order completes elsewhere, none is overfilled.

After every command the desk audits the state, replays the record and decides it again.
"""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from random import Random

import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.decimals import ZERO
from qtinfra.core.decisions import RouteLeg, RoutePlan
from qtinfra.core.events import OrderRouted
from qtinfra.core.models import ChildStatus, OrderStatus, TimeInForce
from qtinfra.core.reports import ReportKind, VenueNewOrder
from qtinfra.core.routing import (
    Activity,
    BreakerTerms,
    OrderProtection,
    RouteStyle,
    RoutingPolicy,
    VenueLimit,
)
from qtinfra.core.routing_events import BreakerClosed, BreakerOpened, BreakerProbed, RouteScored
from qtinfra.core.special import SpecialTerms
from qtinfra.engine.decide.routing import MAX_ROUTE_ATTEMPTS
from qtinfra.engine.evolve_routing import held_at
from qtinfra.engine.lookup import use_routing
from qtinfra.engine.routing_analytics import reliability_table, routing_analytics
from qtinfra.router.breaker import BreakerPhase
from qtinfra.router.scoring import RouteRequest
from qtinfra.router.stats import interval
from qtinfra.router.strategies import BUILT_IN_ROUTING, DARK_FIRST, PLACEMENT, POST, routing_registry
from tests.support.builders import DAYS, Desk, dec, kinds, quote, venue

pytestmark = pytest.mark.simulation

MICS = ("XNAS", "XNYS", "BATS")
_IMMEDIATE = (TimeInForce.IOC, TimeInForce.FOK)

#: What a venue does with a new order.
Behaviour = Callable[["Street", VenueNewOrder], None]


class Street:
    """A desk over venues that behave as told; each shows 100 at 50.01 against a bid of 49.99."""

    def __init__(self, policy: RoutingPolicy | None = None, mics: tuple[str, ...] = MICS) -> None:
        self.desk = Desk([venue(mic, "0.003", "-0.002") for mic in mics])
        self.behaviour: dict[str, Behaviour] = {}
        self.arrived: list[VenueNewOrder] = []
        self.answered = 0
        self.run(cmd.SetRoutingPolicy(policy or RoutingPolicy(breaker=BreakerTerms(3))))
        for mic in mics:
            self.show(mic)

    def run(self, command: cmd.AnyCommand) -> None:
        assert self.desk.run(command).events

    def show(self, mic: str, size: int = 100, ask: str = "50.01") -> None:
        self.desk.market.quotes[mic] = quote(mic, [("49.99", 100)], [(ask, size)] if size else [])

    def settle(self) -> None:
        """Let the venues answer until nothing is new."""
        for _ in range(200):
            waiting = self.desk.sent[self.answered :]
            if not waiting:
                return
            for message in waiting:
                self.answered += 1
                if isinstance(message, VenueNewOrder):
                    self.arrived.append(message)
                    self.behaviour.get(message.venue, execute)(self, message)
        raise AssertionError("orders go round in circles")

    def send(self, cl_ord_id: str, qty: int = 250, price: str = "50.01", **more: object) -> None:
        self.desk.new(cl_ord_id, qty, price, **more)
        self.settle()
        self.check(cl_ord_id)

    def check(self, cl_ord_id: str) -> None:
        """Nothing is overfilled, whatever venues hold, and the running figures are the orders'."""
        order = self.desk.order(cl_ord_id)
        held = sum((child.leaves for child in self.desk.state.working_children(order)), ZERO)
        assert order.cum_qty + held <= order.qty
        assert set(self.desk.alert_kinds()) <= {"outcome_unknown"}
        routing = self.desk.state.routing
        assert routing is not None
        for mic in self.desk.venues:
            record = routing.venues.get(mic)
            assert (record.open_notional if record else ZERO) == held_at(self.desk.state, mic)

    def say(self, kind: ReportKind, message: VenueNewOrder, **fields: object) -> None:
        self.desk.say(kind, message.venue, message.cl_ord_id, **fields)

    def sends(self) -> Counter[str]:
        return Counter(message.venue for message in self.arrived)

    def events(self, kind: type) -> list[object]:
        return [event for entry in self.desk.entries for event in entry.events if isinstance(event, kind)]


def execute(street: Street, message: VenueNewOrder) -> None:
    """Acknowledge and execute in full."""
    street.say(ReportKind.ACK, message, venue_order_id="V")
    street.desk.fill(street.desk.state.children[message.cl_ord_id], message.qty, "50.01")


def refuse(street: Street, message: VenueNewOrder) -> None:
    street.say(ReportKind.REJECT, message, reason="refused")


def die(street: Street, message: VenueNewOrder) -> None:
    """The link breaks before an answer."""
    street.desk.disconnect(message.venue)


def rest(street: Street, message: VenueNewOrder) -> None:
    """Acknowledge; an order that may not rest comes back."""
    street.say(ReportKind.ACK, message, venue_order_id="V")
    if message.tif in _IMMEDIATE:
        street.desk.canceled(street.desk.state.children[message.cl_ord_id])


def part(street: Street, message: VenueNewOrder) -> None:
    """Execute half, return the rest."""
    street.say(ReportKind.ACK, message, venue_order_id="V")
    child = street.desk.state.children[message.cl_ord_id]
    street.desk.fill(child, message.qty // 2, "50.01")
    street.desk.canceled(child)


def test_a_venue_dies_in_mid_sweep_and_the_order_completes_elsewhere() -> None:
    street = Street()
    street.behaviour["XNYS"] = die
    street.send("X")
    desk = street.desk
    lost = next(child for child in desk.children() if child.venue == "XNYS")
    assert (lost.status, desk.order().cum_qty) == (ChildStatus.UNKNOWN, dec(250) - lost.qty)
    desk.connect("XNYS")
    street.behaviour["XNYS"] = refuse
    desk.unknown_order(lost)
    street.settle()
    street.check("X")
    assert desk.figures() == ("FILLED", 250, 250, 0)
    assert {child.venue for child in desk.children() if child.status is ChildStatus.FILLED} == {
        "XNAS",
        "BATS",
    }


def test_what_a_dead_venue_had_executed_is_not_bought_twice() -> None:
    street = Street()
    street.behaviour["XNYS"] = die
    street.send("X")
    desk = street.desk
    lost = next(child for child in desk.children() if child.venue == "XNYS")
    desk.connect("XNYS")
    desk.fill(lost, lost.qty, "50.01")
    street.settle()
    street.check("X")
    assert desk.figures() == ("FILLED", 250, 250, 0)


def test_a_venue_that_refuses_everything_gets_no_more_than_its_failures() -> None:
    street = Street()
    street.show("XNAS", ask="50.00")
    street.behaviour["XNAS"] = refuse
    for number in range(12):
        street.send(f"X{number}", 100)
        assert street.desk.figures(f"X{number}")[0] == "FILLED"
    assert street.sends()["XNAS"] == 3
    assert len(street.events(BreakerOpened)) == 1


def test_fm_24_sends_to_a_flapping_venue_are_bounded_by_failures_and_probes() -> None:
    terms = BreakerTerms(failures=3, cooldown_ns=40_000_000, max_doublings=1)
    street = Street(RoutingPolicy(breaker=terms))
    street.show("XNAS", ask="50.00")  # the best price is at the venue that flaps

    def flap(on: Street, message: VenueNewOrder) -> None:
        on.say(ReportKind.ACK, message, venue_order_id="V")
        on.desk.disconnect("XNAS")
        on.desk.connect("XNAS")
        on.say(ReportKind.CANCELED, message, reason="connection lost")

    street.behaviour["XNAS"] = flap
    for number in range(60):
        street.send(f"X{number}", 100)
        assert street.desk.figures(f"X{number}")[0] == "FILLED"
    probes = len(street.events(BreakerProbed))
    assert probes > 0
    assert street.sends()["XNAS"] <= terms.failures + probes


def test_one_probe_closes_the_breaker_when_the_venue_is_well_again() -> None:
    street = Street(RoutingPolicy(breaker=BreakerTerms(failures=2, cooldown_ns=20_000_000)))
    street.show("XNAS", ask="50.00")
    street.behaviour["XNAS"] = refuse
    street.send("A", 100)
    street.send("B", 100)
    routing = street.desk.state.routing
    assert routing is not None
    assert routing.breakers["XNAS"].phase is BreakerPhase.OPEN
    street.behaviour["XNAS"] = execute
    for number in range(20):
        street.send(f"X{number}", 100)
    assert len(street.events(BreakerProbed)) == len(street.events(BreakerClosed)) == 1
    assert "XNAS" not in routing.breakers
    assert street.sends()["XNAS"] > 3


def test_while_a_probe_is_out_the_venue_gets_nothing_else() -> None:
    street = Street(RoutingPolicy(breaker=BreakerTerms(failures=1, cooldown_ns=5_000_000)))
    street.show("XNAS", ask="50.00")
    street.behaviour["XNAS"] = refuse
    street.send("A", 100)
    street.behaviour["XNAS"] = lambda on, message: None
    sent = street.sends()["XNAS"]
    for number in range(8):
        street.send(f"X{number}", 100)
        if street.events(BreakerProbed):
            break
    for number in range(3):
        street.send(f"Y{number}", 100)
    assert street.sends()["XNAS"] == sent + 1


def test_when_every_venue_refuses_the_order_ends_and_says_so() -> None:
    street = Street()
    street.behaviour = dict.fromkeys(MICS, refuse)
    street.send("X")
    assert street.desk.order().status is OrderStatus.REJECTED
    assert len(street.arrived) <= MAX_ROUTE_ATTEMPTS


def test_what_comes_back_from_a_sweep_goes_on_to_venues_that_are_left() -> None:
    street = Street()
    street.behaviour = {"XNAS": part, "XNYS": part}
    street.send("X")
    desk = street.desk
    for _ in range(8):
        for child in desk.state.working_children(desk.order()):
            desk.fill(child, child.leaves, "50.01")
        street.settle()
    street.check("X")
    assert desk.figures() == ("FILLED", 250, 250, 0)


def test_children_that_rest_on_several_venues_never_overfill() -> None:
    policy = RoutingPolicy(style=RouteStyle(PLACEMENT, ZERO))
    street = Street(policy)
    street.behaviour = dict.fromkeys(MICS, rest)
    street.send("X", 900, "50.01")
    desk = street.desk
    resting = desk.state.working_children(desk.order())
    assert len({child.venue for child in resting}) > 1
    assert sum(child.leaves for child in resting) <= 900
    for child in resting:
        desk.fill(child, child.leaves, "49.99")
    street.settle()
    street.check("X")


def test_the_dark_is_asked_once_each_and_the_rest_is_swept() -> None:
    policy = RoutingPolicy(style=RouteStyle(DARK_FIRST), dark=("XDRK", "YDRK"), dark_min_qty=dec(50))
    street = Street(policy, (*MICS, "XDRK", "YDRK"))
    for mic in ("XDRK", "YDRK"):
        del street.desk.market.quotes[mic]
        street.behaviour[mic] = rest
    street.send("X", 200)
    pings = [message for message in street.arrived if message.venue in ("XDRK", "YDRK")]
    assert [message.venue for message in street.arrived[:2]] == ["XDRK", "YDRK"]
    assert [(ping.price, ping.min_qty, ping.tif) for ping in pings] == [
        (dec("50"), dec(50), TimeInForce.IOC)
    ] * 2
    assert street.desk.figures() == ("FILLED", 200, 200, 0)


def test_a_venue_never_holds_more_than_its_limit() -> None:
    street = Street()
    street.behaviour = dict.fromkeys(MICS, rest)
    street.run(cmd.SetVenueLimit("XNAS", VenueLimit(open_notional=dec(3_000))))
    street.run(cmd.SetVenueLimit("XNYS", VenueLimit(credit=dec(6_000))))
    for number in range(6):
        street.send(f"X{number}", 100, "49.00")
    routing = street.desk.state.routing
    assert routing is not None
    assert 0 < routing.venues["XNAS"].open_notional <= 3_000
    assert 0 < routing.venues["XNYS"].open_notional <= 6_000


def test_an_order_that_no_limit_leaves_room_for_is_refused() -> None:
    street = Street()
    for mic in MICS:
        street.run(cmd.SetVenueLimit(mic, VenueLimit(open_notional=dec(100))))
    street.desk.new("X", 10, "50.01")
    assert street.desk.order().status is OrderStatus.REJECTED
    street.run(cmd.SetVenueLimit("XNAS", VenueLimit()))
    street.send("Y", 10)
    assert street.desk.figures("Y")[0] == "FILLED"


def test_protected_quotes_are_not_traded_through_while_the_rule_is_in_force() -> None:
    street = Street()
    desk = street.desk
    cheap = [venue("XNAS", "0.02"), venue("XNYS", "-0.02"), venue("BATS", "0")]
    desk.run(cmd.SetReference(venues=tuple(cheap)))
    street.show("XNAS", 100, "50.00")
    street.show("XNYS", 500, "50.01")
    street.send("BEFORE", 100)
    assert street.arrived[-1].venue == "XNYS"  # cheaper all in, at a worse price
    rule = OrderProtection("17 CFR 242.611", "US", ("XNAS", "XNYS", "BATS"), DAYS[1])
    street.run(cmd.SetOrderProtection(rule))
    street.send("NOT_YET", 100)
    assert street.arrived[-1].venue == "XNYS"
    desk.next_day()
    street.send("AFTER", 300)
    legs = {message.venue: message.qty for message in street.arrived[-2:]}
    assert legs == {"XNAS": dec(100), "XNYS": dec(200)}
    scored = street.events(RouteScored)[-1]
    assert isinstance(scored, RouteScored)
    assert scored.iso


def test_predicted_probabilities_are_those_that_come_true() -> None:
    """Each venue fills with a probability of its own; after learning, predictions match by tenths."""
    street = Street(RoutingPolicy(breaker=None, miss_ticks=ZERO))
    street.desk.checked = False
    truth, dice = {"XNAS": 95, "XNYS": 60, "BATS": 25}, Random(7)

    def by_chance(on: Street, message: VenueNewOrder) -> None:
        (execute if dice.randrange(100) < truth[message.venue] else refuse)(on, message)

    street.behaviour = dict.fromkeys(MICS, by_chance)
    for number in range(900):
        street.show(MICS[number % 3], ask="50.00")
        street.desk.new(f"X{number}", 100, "50.01")
        street.settle()
        street.show(MICS[number % 3])
    analytics = routing_analytics(street.desk.state)
    assert analytics.calibration_error is not None
    assert analytics.calibration_error < Decimal("0.06")
    table = reliability_table(analytics).splitlines()
    assert len(table) == len(analytics.reliability) + 2
    assert sum(item.trials for item in analytics.reliability) > 900
    routing = street.desk.state.routing
    assert routing is not None
    for mic, percent in truth.items():
        low, high = interval(routing.venues[mic].tallies[Activity.TAKE], Activity.TAKE, dec("0.999"))
        assert low <= percent * 10_000 <= high


def test_a_snapshot_restores_what_routing_has_learned() -> None:
    street = Street()
    street.show("XNAS", ask="50.00")
    street.behaviour["XNAS"] = refuse
    for number in range(4):
        street.send(f"X{number}", 100)
    before = routing_analytics(street.desk.state)
    street.desk.restart()
    assert routing_analytics(street.desk.state) == before
    street.desk.restart(from_journal=True)
    assert routing_analytics(street.desk.state) == before
    assert before.venues[-1].venue == "XNAS"
    assert before.venues[-1].breaker is BreakerPhase.OPEN


class Astray:
    """A user's strategy that plans what it may not: the limit is passed."""

    name = "ASTRAY"

    def plan(self, ask: RouteRequest) -> RoutePlan:
        order = ask.order
        leg = RouteLeg("XNAS", order.order_type, order.tif, order.qty, dec("99"), ZERO)
        return RoutePlan((leg,), "astray")


def test_a_plan_that_breaks_the_order_is_replaced_by_a_sweep_that_says_so() -> None:
    street = Street()
    street.desk.checked = False
    use_routing(street.desk.state, routing_registry((*BUILT_IN_ROUTING.values(), Astray())))
    street.run(cmd.SetRoutingPolicy(RoutingPolicy(style=RouteStyle("ASTRAY"))))
    street.send("X")
    (routed,) = street.events(OrderRouted)
    assert isinstance(routed, OrderRouted)
    assert routed.reason.startswith("ASTRAY: a leg to XNAS is beyond the limit; sweep")
    assert street.desk.figures() == ("FILLED", 250, 250, 0)


def test_an_order_names_its_own_strategy_and_an_unknown_one_is_refused() -> None:
    street = Street()
    street.behaviour = dict.fromkeys(MICS, rest)
    street.send("X", special=SpecialTerms(routing=RouteStyle(POST)))
    assert [message.price for message in street.arrived] == [dec("49.99")]
    street.desk.new("Y", special=SpecialTerms(routing=RouteStyle("NOWHERE")))
    assert street.desk.order("Y").status is OrderStatus.REJECTED
    assert street.desk.last().text.startswith("strategy 'NOWHERE' is not installed")


@pytest.mark.parametrize(
    "command",
    [
        cmd.SetRoutingPolicy(RoutingPolicy(style=RouteStyle("NOWHERE"))),
        cmd.SetRoutingPolicy(RoutingPolicy(accounts=(("alpha", RouteStyle(POST, dec(2))),))),
        cmd.SetRoutingPolicy(RoutingPolicy(miss_ticks=dec(-1))),
        cmd.SetRoutingPolicy(RoutingPolicy(breaker=BreakerTerms(failures=0))),
        cmd.SetRoutingPolicy(RoutingPolicy(dark=("XXXX",))),
        cmd.SetVenueLimit("XXXX", VenueLimit()),
        cmd.SetVenueLimit("XNAS", VenueLimit(credit=dec(-1))),
        cmd.SetOrderProtection(OrderProtection("rule", "US", ("XXXX",), DAYS[0])),
        cmd.SetOrderProtection(OrderProtection("rule", "US", ("XNAS",), "soon")),
    ],
)
def test_the_desk_refuses_what_cannot_be_meant(command: cmd.AnyCommand) -> None:
    desk = Desk(MICS)
    assert kinds(desk.run(command)) == ["CommandRefused"]
    assert desk.state.routing is None
