"""A plain new order takes the short way through the engine, and ends as it would on the general way."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core import commands as cmd
from qtinfra.core.decimals import exact
from qtinfra.core.events import Entry, OrderAccepted, OrderRouted
from qtinfra.core.extended_models import AckPolicy, LimitRule, Policies, SelfMatch
from qtinfra.core.models import OrderType, Origin, TimeInForce
from qtinfra.core.reports import VenueNewOrder
from qtinfra.core.routing import BreakerTerms, RouteStyle, RoutingPolicy
from qtinfra.core.routing_events import BreakerProbed, RouteScored
from qtinfra.engine import evolve as evolve_module
from qtinfra.engine import kernel as kernel_module
from qtinfra.engine.decide import decide
from qtinfra.engine.decide import submit as submit_module
from qtinfra.engine.evolve import evolve_plain
from qtinfra.engine.evolve_routing import held_at
from qtinfra.engine.kernel import Outcome, replay
from qtinfra.engine.state import State, state_hash
from qtinfra.router.strategies import PLACEMENT, POST
from tests.support.builders import ALPHA, BETA, BUY, SELL, SYMBOL, Desk, account, dec, quote, submit

pytestmark = pytest.mark.unit

_NOW = 1_720_445_400_500_000_000

_POLICIES = st.builds(
    Policies,
    ack=st.sampled_from(AckPolicy),
    self_match=st.sampled_from([SelfMatch.NONE, SelfMatch.NONE, SelfMatch.CANCEL_NEWEST]),
)
_SUBMITTED = st.builds(
    lambda qty, price, side, tif, name, origin: submit(
        "", qty, price, side=side, tif=tif, name=name, origin=origin, trader="bob"
    ),
    st.sampled_from(["50", "50.0", "100", "150", "250", "1E+2"]),
    st.sampled_from(["48", "49", "50", "50.00", "51", "52", None]),
    st.sampled_from([BUY, SELL]),
    st.sampled_from([TimeInForce.DAY, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTC]),
    st.sampled_from([ALPHA, ALPHA, BETA]),
    st.sampled_from([Origin.CLIENT, Origin.CLIENT, Origin.STAFF]),
)
_LIMITS = st.lists(
    st.sampled_from(
        [
            (LimitRule.MAX_MESSAGES, 6),
            (LimitRule.MAX_BOOK_MESSAGES, 8),
            (LimitRule.DUPLICATE_FLOW, 2),
            (LimitRule.PRICE_COLLAR, "0.03"),
            (LimitRule.PERIOD_COLLAR, "0.1"),
            (LimitRule.POSITION_LIMIT, 400),
            (LimitRule.GROSS_EXPOSURE, 30_000),
        ]
    ),
    unique=True,
)

_ROUTINGS = st.sampled_from(
    [
        None,
        None,
        RoutingPolicy(),
        RoutingPolicy(breaker=None),
        RoutingPolicy(dark=("BATS",)),
        RoutingPolicy(accounts=((BETA, RouteStyle(PLACEMENT)),), style=RouteStyle(POST)),
    ]
)


def _desk(
    policies: Policies | None = None,
    limits: list[Any] | None = None,
    multiplier: str = "1",
    routing: RoutingPolicy | None = None,
) -> Desk:
    desk = Desk(["XNAS", "BATS"], checked=False)
    shares = desk.state.instruments[SYMBOL]
    changed = type(shares)(**{**_fields(shares), "multiplier": dec(multiplier)})
    desk.run(cmd.SetReference((changed,), (account(ALPHA, policies),)))
    desk.market.quotes["XNAS"] = quote("XNAS", [("49", 100), ("48", 50)], [("51", 100), ("52", 50)])
    desk.market.quotes["BATS"] = quote("BATS", [("48", 100)], [("52", 100)])
    for rule, value in limits or ():
        desk.limit(rule, value)
    if routing is not None:
        desk.run(cmd.SetRoutingPolicy(routing))
    return desk


def _fields(item: Any) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__struct_fields__}


@given(
    policies=_POLICIES,
    limits=_LIMITS,
    multiplier=st.sampled_from(["1", "1", "1.0", "10"]),
    routing=_ROUTINGS,
    orders=st.lists(_SUBMITTED, min_size=1, max_size=8),
)
@settings(max_examples=160, deadline=None)
def test_the_short_way_ends_in_what_the_general_way_and_replay_end_in(
    policies: Policies,
    limits: list[Any],
    multiplier: str,
    routing: RoutingPolicy | None,
    orders: list[cmd.SubmitOrder],
) -> None:
    short, general = (_desk(policies, limits, multiplier, routing) for _ in range(2))
    for place, order in enumerate(orders * 2):
        named = type(order)(**{**_fields(order), "cl_ord_id": f"O{place}"})
        outcome = short.run(named)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(submit_module, "gate_plain", lambda *_: None)
            patched.setattr(submit_module, "note_fit", lambda *_: False)
            expected = general.run(named)
        assert repr(outcome.entry) == repr(expected.entry)
        assert [repr(effect) for effect in outcome.effects] == [repr(effect) for effect in expected.effects]
        assert state_hash(short.state) == state_hash(general.state)
    again = State()
    for entry in short.entries:
        replay(again, entry)
    assert state_hash(again) == state_hash(short.state)


@given(
    limits=_LIMITS,
    routing=_ROUTINGS,
    commands=st.lists(
        st.one_of(
            _SUBMITTED.map(lambda order: ("new", order)),
            st.tuples(st.sampled_from(["again", "other", "stop", "cancel", "read"]), _SUBMITTED),
        ),
        min_size=2,
        max_size=12,
    ),
)
@settings(max_examples=80, deadline=None)
def test_a_batch_ends_in_what_its_commands_end_in_one_by_one(
    limits: list[Any], routing: RoutingPolicy | None, commands: list[tuple[str, cmd.SubmitOrder]]
) -> None:
    together, alone = (_desk(None, limits, routing=routing) for _ in range(2))
    batch = [
        (cmd.Inbound(_named(kind, place, order), "test", f"c{place}", _NOW - 1), place)
        for place, (kind, order) in enumerate([("new", commands[0][1]), *commands])
    ]
    times, results, entries = iter(range(_NOW, _NOW + len(batch))), list[tuple[Outcome, int]](), list[Entry]()
    with exact():
        last_ns = together.kernel.execute_all(
            batch, lambda: next(times), together.market, results, entries, _NOW + 2
        )
    one_by_one = [
        alone.kernel.execute(inbound, max(_NOW + 2, _NOW + place), alone.market) for inbound, place in batch
    ]
    assert [place for _, place in results] == [place for _, place in batch]
    assert repr([outcome for outcome, _ in results]) == repr(one_by_one)
    assert entries == [outcome.entry for outcome in one_by_one if outcome.entry is not None]
    assert last_ns == max(_NOW + 2, _NOW + len(batch) - 1)
    assert state_hash(together.state) == state_hash(alone.state)


def _named(kind: str, place: int, order: cmd.SubmitOrder) -> cmd.AnyCommand:
    """A command of a batch; what refers to an order refers to the first."""
    if kind == "cancel":
        return cmd.CancelOrder(ALPHA, f"O{place}", "O0")
    if kind == "read":
        return cmd.OrderStatusRequest(ALPHA, "O0")
    changes: dict[str, dict[str, Any]] = {
        "new": {"cl_ord_id": f"O{place}"},
        "again": {"cl_ord_id": "O0", "account": ALPHA},
        "other": {"cl_ord_id": "O0", "account": ALPHA, "qty": dec(7)},
        "stop": {"cl_ord_id": f"O{place}", "order_type": OrderType.STOP, "price": None},
    }
    return type(order)(**{**_fields(order), **changes[kind]})


def _planned(
    monkeypatch: pytest.MonkeyPatch, routing: RoutingPolicy | None = None
) -> tuple[Desk, list[bool]]:
    """A desk that has a plan for the next order, and whether orders were applied in one go."""
    desk, taken = _desk(routing=routing), list[bool]()

    def watched(*args: Any) -> Any:
        effects = evolve_plain(*args)
        taken.append(effects is not None)
        return effects

    desk.new("first", 100, 51)
    desk.new("second", 100, 51)
    monkeypatch.setattr(kernel_module, "evolve_plain", watched)
    return desk, taken


@pytest.mark.parametrize(
    ("qty", "price", "legs"), [(100, 51, 1), (100, 50, 1), (150, 52, 1), (200, 52, 2), (300, 52, 2)]
)
def test_a_plain_order_is_applied_in_one_go_wherever_it_is_sent(
    qty: int, price: int, legs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, taken = _planned(monkeypatch)
    for name in ("of new numbers", "plain"):
        outcome = desk.new(name, qty, price)
    assert taken == [True, True]
    assert [type(event) for event in outcome.events] == [OrderAccepted, OrderRouted]
    assert desk.state.seq == outcome.depends_on == desk.entries[-1].last_seq
    sent = [effect for effect in outcome.effects if isinstance(effect, VenueNewOrder)]
    assert sum(order.qty for order in sent) == qty
    assert len(sent) == legs


@pytest.mark.parametrize(("qty", "legs"), [(100, 1), (200, 2)])
def test_a_scored_order_is_applied_in_one_go_and_stands_at_its_venues(
    qty: int, legs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, taken = _planned(monkeypatch, RoutingPolicy())
    outcome = desk.new("scored", qty, 52, tif=TimeInForce.IOC)
    assert taken == [True]
    assert [type(event) for event in outcome.events] == [OrderAccepted, RouteScored, OrderRouted]
    assert desk.state.seq == outcome.depends_on == desk.entries[-1].last_seq
    routing, children = desk.state.routing, desk.children("scored")
    assert routing is not None
    assert len(children) == legs
    for child in children:
        assert routing.sent[child.child_id].held == child.leaves * (child.price or 0) > 0
    for mic in desk.venues:
        held = sum(sent.held for sent in routing.sent.values() if sent.venue == mic)
        assert routing.record(mic).open_notional == held == held_at(desk.state, mic)


@pytest.mark.parametrize("mics", [("XNAS", "BATS"), ("XNAS",)])
def test_an_order_that_tries_a_venue_again_takes_the_general_way(
    mics: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = BreakerTerms(failures=1, cooldown_ns=1)
    desk, taken = _planned(monkeypatch, RoutingPolicy(breaker=terms))
    if len(mics) == 1:
        desk.disconnect("BATS")
        desk.new("alone", 100, 51)
    desk.disconnect("XNAS")
    desk.connect("XNAS")
    taken.clear()
    outcome = desk.new("probe", 100, 51)
    assert BreakerProbed in [type(event) for event in outcome.events]
    assert taken == []
    desk.ack(desk.child("probe"))
    outcome = desk.new("sound", 100, 51)
    assert BreakerProbed not in [type(event) for event in outcome.events]
    assert taken == [True]


@pytest.mark.parametrize(
    ("qty", "price", "said"),
    [
        ("100", "51", [(None, None)]),
        ("50.0", "51", [(None, None)]),
        ("100", "51.0", [("51", None)]),
        ("1E+2", "51", [(None, "100")]),
        ("100", "52", [("51", None)]),
        ("100", None, [("51", None)]),
        ("150", "52", [(None, None)]),
        ("200", "52", [("52", "150"), ("52", "50")]),
    ],
)
def test_a_leg_says_what_is_not_the_order_s_own_written_alike(
    qty: str, price: str | None, said: list[tuple[str | None, str | None]]
) -> None:
    desk = _desk()
    for name in ("looked at", "remembered", "again"):
        outcome = desk.run(submit(name, qty, price))
        routed = outcome.events[-1]
        assert isinstance(routed, OrderRouted)
        assert routed.touch is None
        assert [_texts(leg.price, leg.qty) for leg in routed.children] == said
        sent = [effect for effect in outcome.effects if isinstance(effect, VenueNewOrder)]
        own = _texts(*(None if price is None else dec(price), dec(qty)))
        assert [_texts(order.price, order.qty) for order in sent] == [
            tuple(one if one is not None else other for one, other in zip(leg, own, strict=True))
            for leg in said
        ]
        for order in sent:
            child = desk.state.children[order.cl_ord_id]
            assert _texts(child.price, child.qty) == _texts(order.price, order.qty)


def _texts(*numbers: Decimal | None) -> tuple[str | None, ...]:
    return tuple(None if number is None else str(number) for number in numbers)


def test_an_order_that_no_connected_venue_takes_is_refused_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk, taken = _planned(monkeypatch)
    for mic in desk.venues:
        desk.disconnect(mic)
    desk.new("plans again", 100, 51)
    desk.new("nowhere", 100, 51)
    assert desk.order("nowhere").status == "REJECTED"
    assert taken == []


@pytest.mark.parametrize("kind", [OrderAccepted, RouteScored, OrderRouted])
def test_handlers_that_were_replaced_are_called(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, taken = _planned(monkeypatch, RoutingPolicy())
    known, seen = evolve_module._EVOLVE[kind], list[str]()

    def watched(state: State, event: Any) -> None:
        seen.append(event.order_id)
        known(state, event)

    monkeypatch.setitem(evolve_module._EVOLVE, kind, watched)
    desk.new("watched", 100, 51)
    assert taken == [False]
    assert seen == [desk.order("watched").order_id]


def test_a_decision_says_that_it_passed_the_short_way_only_when_its_two_events_are_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk, _ = _planned(monkeypatch)
    stop = submit("stop", 100, 51, order_type=OrderType.STOP)
    with exact():
        assert decide(desk.state, submit("plain", 100, 51), _NOW, desk.market).passed is not None
        assert decide(desk.state, submit("first", 100, 51), _NOW, desk.market).passed is None
        assert decide(desk.state, stop, _NOW, desk.market).passed is None


def test_orders_of_an_account_keep_its_id_as_one_object() -> None:
    desk = Desk()
    desk.new("first", 100, 50)
    for cl_ord_id in ("A", "B"):
        desk.new(cl_ord_id, 100, 50, name="".join(list(ALPHA)))
    assert desk.order("A").account is desk.order("B").account is desk.state.accounts[ALPHA].account
