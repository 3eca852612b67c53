"""What accounts hold and have open: the short way of a fill agrees with the long one, whatever is done."""

from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core import commands as cmd
from qtinfra.core.decimals import ONE, ZERO, exact
from qtinfra.core.extended_models import LimitRule
from qtinfra.core.models import Child, ChildStatus, Currency, Order
from qtinfra.engine import evolve_fill
from qtinfra.engine.audit import audit
from qtinfra.engine.risk_state import SymbolPlace
from qtinfra.engine.risk_sums import (
    count_new,
    count_position,
    count_trade,
    place_in,
    place_of,
    recount,
    totals_of,
)
from qtinfra.engine.settle import count_in_order, settle
from qtinfra.engine.state import State, clone_state, decode_state, encode_state
from qtinfra.risk.ledger import Cell, Standing
from tests.support.builders import ALPHA, BUY, DAYS, SELL, SYMBOL, Desk, dec, instrument, quote, venue

pytestmark = pytest.mark.unit

_PRICES = st.sampled_from(["49.9", "50", "50.25"])
_UNITS = st.sampled_from(["0.5", "20", "30.5", "40"])
_STEPS = st.one_of(
    st.tuples(st.just("new"), st.sampled_from([BUY, SELL]), _UNITS, _PRICES),
    st.tuples(st.just("new"), st.sampled_from([BUY, SELL]), _UNITS, _PRICES),
    st.tuples(st.just("fill"), st.integers(0, 5), _UNITS, _PRICES),
    st.tuples(st.just("fill"), st.integers(0, 5), st.just("all"), _PRICES),
    st.tuples(st.just("fill"), st.integers(0, 5), st.just("all"), _PRICES),
    st.tuples(st.just("mark"), st.just(0), st.just(""), _PRICES),
    st.tuples(st.just("replace"), st.integers(0, 5), _UNITS, _PRICES),
    st.tuples(st.just("cancel"), st.integers(0, 5), st.just(""), st.just("")),
    st.tuples(st.just("restart"), st.just(0), st.just(""), st.just("")),
    st.tuples(st.just("day"), st.just(0), st.just(""), st.just("")),
)


class Floor:
    """A desk that takes the steps."""

    def __init__(self, multiplier: str, currency: Currency) -> None:
        self.desk = Desk(lot="0.5", checked=False)
        changed = instrument(
            venues=self.desk.venues, lot="0.5", multiplier=dec(multiplier), currency=currency
        )
        self.desk.run(cmd.SetReference(instruments=(changed,)))
        self.names: list[str] = []

    def take(self, number: int, step: tuple[str, Any, str, str]) -> None:
        kind, which, units, price = step
        desk, name = self.desk, f"N{number}"
        if kind == "new":
            desk.new(name, units, price, side=which)
            if desk.state.find_order(ALPHA, name) is not None:
                self.names.append(name)
                for child in desk.children(name):
                    desk.ack(child)
        elif kind == "mark":
            desk.run(cmd.SetReference(prices=((SYMBOL, dec(price)),)))
        elif kind == "restart":
            desk.restart()
        elif kind == "day":
            if desk.day + 1 < len(DAYS):
                desk.next_day()
        elif self.names:
            self._touch(kind, self.names[which % len(self.names)], name, units, price)

    def _touch(self, kind: str, of: str, name: str, units: str, price: str) -> None:
        order, desk = self.desk.order(of), self.desk
        if kind == "fill":
            for child in desk.state.working_children(order):
                if child.status is ChildStatus.LIVE and child.leaves:
                    qty = child.leaves if units == "all" else min(child.leaves, dec(units))
                    desk.fill(child, str(qty), price)
        elif kind == "replace":
            desk.replace(name, order.cl_ord_id, qty=units, price=price)
        else:
            desk.cancel(name, order.cl_ord_id)


def _only_counted(state: State, order: Order, child: Child, qty: Decimal, value: Decimal, ts_ns: int) -> None:
    del state, ts_ns  # `settle` follows for an order that is yet to be settled
    count_in_order(order, child, qty, value)


def _position_and_trade(
    state: State,
    order: Order,
    cell: Cell,
    standing: Standing,
    to: SymbolPlace,
    qty: Decimal,
    px: Decimal,
    traded: Decimal,
    units: Decimal,
    left: Decimal,
) -> None:
    assert left == order.reserved
    assert units == state.net_position(order.account, order.symbol)
    assert cell is state.risk.cell(order.account, order.symbol)
    assert standing is state.risk.standings[order.account, to.instrument.currency.value]
    count_position(state, order.account, order.symbol, px)
    assert traded in {ZERO, qty * px * to.instrument.multiplier}
    if traded:
        count_trade(state, order.account, order.symbol, qty * px)


def _one_after_the_other(patch: pytest.MonkeyPatch, state: State) -> None:
    """Let an execution be counted in its order, the order be settled, and then position and trade counted."""
    count = partial(_position_and_trade, state)
    patch.setattr(evolve_fill, "_ROUTED", None)
    patch.setattr(evolve_fill, "settle_part", _only_counted)
    patch.setattr(evolve_fill, "count_bought", count)
    patch.setattr(evolve_fill, "count_sold", count)


@given(
    st.lists(_STEPS, max_size=14),
    st.sampled_from(["1", "0.5", "100"]),
    st.sampled_from([Currency.USD, Currency.EUR]),
)
@settings(max_examples=60, deadline=None)
def test_a_fill_counted_in_one_pass_leaves_what_settling_and_counting_leave(
    steps: list[tuple[str, Any, str, str]], multiplier: str, currency: Currency
) -> None:
    short, long = Floor(multiplier, currency), Floor(multiplier, currency)
    for number, step in enumerate(steps):
        short.take(number, step)
        with pytest.MonkeyPatch.context() as patch:
            _one_after_the_other(patch, long.desk.state)
            long.take(number, step)
        assert audit(short.desk.state) == []
        assert _alike(short.desk.state, long.desk.state)
    short.desk.restart(from_journal=True)


def _alike(short: State, long: State) -> bool:
    """Whether the states are equal but for what the long way never says: that nothing else has happened to an
    order than that it was sent, acknowledged and executed.
    """
    said = [(noted, dict(noted)) for state in (short, long) for noted in (state.open_orders, state.closing)]
    for noted, _ in said:
        noted.update(dict.fromkeys(noted, True))
    equal = short == long
    for noted, before in said:
        noted.update(before)
    return equal


_VALUES = st.integers(-3, 9).map(Decimal)


@given(_VALUES, st.lists(st.tuples(st.sampled_from([BUY, SELL]), _VALUES), max_size=5))
@settings(max_examples=200, deadline=None)
def test_gross_is_the_larger_outcome_whatever_is_held_and_whatever_its_sign(
    held: Decimal, opened: list[tuple[Any, Decimal]]
) -> None:
    desk = Desk(checked=False)
    desk.run(cmd.SetReference(prices=((SYMBOL, dec("1")),)))
    desk.new("X", 10, 50)
    desk.cancel("C", "X")
    state, order = desk.state, desk.order("X")
    of, to = place_of(state, ALPHA), place_in(state, SYMBOL)
    home = totals_of(state, ALPHA).home
    with exact():
        recount(state, order, ZERO)
        state.positions.load(ALPHA, SYMBOL, held, ONE, ONE)
        count_position(state, ALPHA, SYMBOL)
        for side, value in opened:
            count_new(state, ALPHA, SYMBOL, side is BUY, ONE, value, of, to)
            cell = state.open_quantity(ALPHA, SYMBOL)
            assert cell.held == held
            assert cell.gross == max(abs(cell.long), abs(cell.short)) == home.gross
            assert (cell.long, cell.short) == (home.long, home.short)


@pytest.mark.parametrize("leaves", ["0", "60", "100", "150"])
@pytest.mark.parametrize("status", [ChildStatus.SENT, ChildStatus.LIVE, ChildStatus.CANCELLED])
def test_an_execution_of_all_of_an_order_is_settled_by_what_its_child_still_has(
    leaves: str, status: ChildStatus
) -> None:
    states = []
    for patched in (False, True):
        desk = Desk(checked=False)
        desk.new("X", 100)
        child = desk.child("X")
        child.leaves, child.status = dec(leaves), status
        with exact():
            settle(desk.state, desk.order("X"), 1)
        with pytest.MonkeyPatch.context() as patch:
            if patched:
                _one_after_the_other(patch, desk.state)
            desk.fill(child, "100", "50")
        states.append(desk.state)
    assert _alike(*states)


def _sweep() -> Desk:
    """An order of 90 that three venues get 30 of each; nothing is acknowledged."""
    desk = Desk((venue("XNAS"), venue("XNYS"), venue("BATS")), checked=False)
    for mic in ("XNAS", "XNYS", "BATS"):
        desk.market.quotes[mic] = quote(mic, [("49.90", 50)], [("50.00", 30)])
    desk.new("X", 90, "50.00")
    assert [child.leaves for child in desk.children()] == [dec(30)] * 3
    return desk


def _report(desk: Desk, number: int, kind: str, which: int, units: int) -> None:
    child, name = desk.child(index=which), f"E{number - units % 3 - 1}"
    if kind == "ack":
        desk.ack(child)
    elif kind == "fill":
        desk.fill(child, units, "50", exec_id=f"E{number}")
    elif kind == "bust":
        desk.bust(child, name)
    elif kind == "correct":
        desk.correct(child, name, units, "49")
    else:
        desk.canceled(child)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ack", "fill", "fill", "fill", "bust", "correct", "end"]),
            st.integers(0, 2),
            st.sampled_from([10, 15, 29, 30, 30, 40]),
        ),
        max_size=10,
    )
)
@settings(max_examples=150, deadline=None)
def test_executions_of_several_children_take_from_what_is_reserved_what_settling_finds_by_walking_them(
    said: list[tuple[str, int, int]],
) -> None:
    short, long = _sweep(), _sweep()
    for number, step in enumerate(said):
        _report(short, number, *step)
        with pytest.MonkeyPatch.context() as patch:
            _one_after_the_other(patch, long.state)
            _report(long, number, *step)
        assert audit(short.state) == []
        assert _alike(short.state, long.state)


def test_an_execution_after_the_only_one_was_taken_back_begins_the_position_anew() -> None:
    desk = Desk(checked=False)
    desk.new("X", 100)
    desk.ack(desk.child())
    desk.fill(desk.child(), 40, exec_id="E1")
    desk.bust(desk.child(), "E1")
    assert ALPHA not in desk.state.positions.accounts
    desk.fill(desk.child(), 30, exec_id="E2")
    assert desk.state.net_position(ALPHA, SYMBOL) == dec(30)
    assert audit(desk.state) == []


def test_an_execution_of_all_of_an_order_leaves_open_what_other_venues_hold_besides() -> None:
    states = []
    for patched in (False, True):
        desk = _sweep()
        child = desk.child()
        child.leaves, child.status = dec(90), ChildStatus.LIVE
        with exact():
            settle(desk.state, desk.order(), 1)
        with pytest.MonkeyPatch.context() as patch:
            if patched:
                _one_after_the_other(patch, desk.state)
            desk.fill(child, "90", "50")
        assert desk.order().reserved == dec(60)
        states.append(desk.state)
    assert states[0] == states[1]


def _loaded(desk: Desk, qty: int) -> None:
    desk.run(cmd.LoadPosition(ALPHA, SYMBOL, dec(qty), dec(40), DAYS[0]))


def test_executions_go_to_the_position_that_stands_whatever_became_of_the_one_before() -> None:
    desk = Desk(checked=False)
    desk.new("X", 100)
    desk.ack(desk.child())
    _loaded(desk, 500)
    before = desk.state.positions.get(ALPHA, SYMBOL)
    _loaded(desk, 300)
    assert desk.state.positions.get(ALPHA, SYMBOL) is not before
    desk.fill(desk.child(), 40, exec_id="E1")
    assert desk.state.net_position(ALPHA, SYMBOL) == dec(340)
    desk.correct(desk.child(), "E1", 30, 50)
    desk.run(cmd.SetReference(instruments=(instrument(venues=desk.venues),)))  # all cells are made anew
    desk.fill(desk.child(), 10, exec_id="E2")
    assert desk.state.net_position(ALPHA, SYMBOL) == dec(340)
    assert audit(desk.state) == []


def test_a_position_that_is_taken_back_is_not_what_later_executions_find() -> None:
    desk = Desk(checked=False)
    desk.new("X", 100)
    desk.ack(desk.child())
    _loaded(desk, 500)
    _loaded(desk, 0)
    assert desk.state.positions.get(ALPHA, SYMBOL) is None
    desk.fill(desk.child(), 40, exec_id="E1")
    assert desk.state.net_position(ALPHA, SYMBOL) == dec(40)
    assert audit(desk.state) == []


def test_a_copied_state_books_to_its_own_positions() -> None:
    desk = Desk(checked=False)
    desk.new("X", 100)
    desk.ack(desk.child())
    desk.fill(desk.child(), 40)
    state = desk.state
    for copy in (clone_state(state), decode_state(encode_state(state))):
        cell = copy.risk.cell(ALPHA, SYMBOL)
        assert cell is not None
        assert cell.holding is None
    cell = state.risk.cell(ALPHA, SYMBOL)
    assert cell is not None
    assert cell.holding is state.positions.get(ALPHA, SYMBOL)
    cell.holding = clone_state(state).positions.get(ALPHA, SYMBOL)
    assert "another position" in audit(state)[0]


def test_an_order_is_counted_in_the_figures_that_stand_whatever_it_has_noted() -> None:
    desk = Desk(checked=False)
    desk.new("X", 100)
    desk.ack(desk.child())
    order = desk.order()
    first, of_first = order.cell, order.standing
    desk.fill(desk.child(), 10)
    assert (order.cell, order.standing) == (first, of_first)
    desk.run(cmd.SetReference(instruments=(instrument(venues=desk.venues),)))  # all cells are made anew
    assert of_first.forgotten
    assert audit(desk.state) == []
    desk.fill(desk.child(), 20)
    assert order.cell is not first
    assert order.cell is desk.state.risk.cell(ALPHA, SYMBOL)
    desk.next_day()
    desk.limit(LimitRule.MAX_ORDER_QTY, 500)
    desk.fill(desk.child(), 30)
    assert desk.state.net_position(ALPHA, SYMBOL) == dec(60)
    assert audit(desk.state) == []
    order.cell = first
    assert "other figures" in audit(desk.state)[0]


def test_an_order_that_was_read_from_bytes_finds_its_figures_with_its_next_execution() -> None:
    desk = Desk(checked=False)
    desk.new("X", 100)
    desk.ack(desk.child())
    desk.restart()
    assert not hasattr(desk.order(), "cell")
    desk.fill(desk.child(), 10)
    assert desk.order().cell is desk.state.risk.cell(ALPHA, SYMBOL)
    desk.fill(desk.child(), 90)
    assert desk.state.net_position(ALPHA, SYMBOL) == dec(100)
    assert audit(desk.state) == []


def test_an_order_that_was_executed_at_once_finds_its_figures_again_for_what_comes_late() -> None:
    desk = Desk(checked=False)
    desk.new("W", 100)
    desk.new("X", 100)
    desk.ack(desk.child())
    desk.fill(desk.child(), 100, exec_id="E1")
    assert desk.order().cell is desk.order().standing is None
    desk.bust(desk.child(), "E1")
    desk.fill(desk.child(), 5, exec_id="E2")
    assert desk.order().cell is desk.state.risk.cell(ALPHA, SYMBOL)
    assert desk.state.net_position(ALPHA, SYMBOL) == dec(5)
    assert audit(desk.state) == []
