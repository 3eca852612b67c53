"""The order book, and a naive reference book that obeys the same cases and judges it on random commands."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from decimal import Decimal
from typing import Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.venues.simulated.book import BookOrder, Grid, OrderBook, TickLevel, Trade
from qtinfra.venues.simulated.selfmatch import Prevented, SmpMode

pytestmark = pytest.mark.unit

Depth = tuple[tuple[TickLevel, ...], tuple[TickLevel, ...]]


class Book(Protocol):
    prevented: list[Prevented]

    def add(self, order: BookOrder) -> list[Trade]: ...
    def cancel(self, order_id: int) -> BookOrder: ...
    def amend(self, order_id: int, units: int, price: int) -> list[Trade]: ...
    def depth(self, levels: int, *, own: bool = True) -> Depth: ...
    def best_bid(self) -> int | None: ...
    def best_ask(self) -> int | None: ...
    def ahead(self, order_id: int) -> tuple[int, int]: ...
    def better_than(self, buy: bool, price: int) -> list[BookOrder]: ...


class NaiveBook:
    """One list of orders in time order; everything is looked for from the start each time."""

    def __init__(self) -> None:
        self.resting: list[BookOrder] = []
        self.prevented: list[Prevented] = []

    def _best_first(self, buy: bool) -> list[BookOrder]:
        def worse(order: BookOrder) -> tuple[int, bool]:
            return -(order.price or 0) if buy else (order.price or 0), order.hidden

        return sorted((order for order in self.resting if order.buy is buy), key=worse)

    def _opposite(self, order: BookOrder) -> list[BookOrder]:
        def crosses(price: int) -> bool:
            return order.price is None or (order.price >= price if order.buy else order.price <= price)

        return [maker for maker in self._best_first(not order.buy) if crosses(maker.price or 0)]

    def add(self, order: BookOrder) -> list[Trade]:
        if order.leaves <= 0 or any(other.order_id == order.order_id for other in self.resting):
            raise ValueError(order.order_id)
        if order.price is not None and order.price <= 0:
            raise ValueError(order.order_id)
        self.prevented = []
        if order.minimum:
            trial, terms = deepcopy(self), deepcopy(order)
            if sum(trade.units for trade in trial._match(terms)) < order.minimum:
                return []
        trades = self._match(order)
        if order.leaves and order.rests and order.price is not None and not order.blocked:
            order.reserve = max(0, order.leaves - order.display) if order.display else 0
            self.resting.append(order)
        return trades

    def _match(self, order: BookOrder) -> list[Trade]:
        trades = []
        while order.leaves and not order.blocked and self._opposite(order):
            maker = self._opposite(order)[0]
            if order.smp and maker.smp == order.smp:
                self._prevent(order, maker)
                continue
            units = min(maker.leaves - maker.reserve, order.leaves)
            maker.leaves -= units
            order.leaves -= units
            trades.append(Trade(maker.order_id, order.order_id, maker.price or 0, units))
            if maker.leaves == maker.reserve:
                self.resting.remove(maker)
                if maker.reserve:
                    maker.reserve -= min(maker.display, maker.reserve)
                    self.resting.append(maker)
        return trades

    def _prevent(self, taker: BookOrder, maker: BookOrder) -> None:
        mode, both = taker.mode, min(taker.leaves, maker.leaves)
        maker_loses = {SmpMode.CANCEL_NEWEST: 0, SmpMode.DECREMENT: both}.get(mode, maker.leaves)
        taker_loses = {SmpMode.CANCEL_OLDEST: 0, SmpMode.DECREMENT: both}.get(mode, taker.leaves)
        ends = maker_loses == maker.leaves, taker_loses == taker.leaves
        ids = maker.order_id, taker.order_id
        self.prevented.append(Prevented(*ids, maker_loses, taker_loses, *ends))
        if ends[0]:
            self.resting.remove(maker)
        else:
            maker.leaves -= maker_loses
            maker.reserve = max(0, maker.reserve - maker_loses)
        if ends[1]:
            taker.blocked = True
        else:
            taker.leaves -= taker_loses

    def cancel(self, order_id: int) -> BookOrder:
        found = [order for order in self.resting if order.order_id == order_id]
        if not found:
            raise KeyError(order_id)
        self.resting = [order for order in self.resting if order.order_id != order_id]
        return found[0]

    def amend(self, order_id: int, units: int, price: int) -> list[Trade]:
        found = [order for order in self.resting if order.order_id == order_id]
        if not found:
            raise KeyError(order_id)
        if units <= 0 or price <= 0:
            raise ValueError(order_id)
        order = found[0]
        self.prevented = []
        if order.price == price and units <= order.leaves:
            order.reserve = max(0, order.reserve - (order.leaves - units))
            order.leaves = units
            return []
        self.cancel(order_id)
        order.leaves, order.price, order.minimum = units, price, 0
        return self.add(order)

    def depth(self, levels: int, *, own: bool = True) -> Depth:
        return self._side(True, levels, own), self._side(False, levels, own)

    def _side(self, buy: bool, levels: int, own: bool) -> tuple[TickLevel, ...]:
        totals: dict[int, int] = {}
        for order in self._best_first(buy):
            if (own or not order.own) and not order.hidden:
                totals[order.price or 0] = totals.get(order.price or 0, 0) + order.leaves - order.reserve
        return tuple(totals.items())[:levels]

    def best_bid(self) -> int | None:
        return next((order.price for order in self._best_first(True) if not order.hidden), None)

    def best_ask(self) -> int | None:
        return next((order.price for order in self._best_first(False) if not order.hidden), None)

    def ahead(self, order_id: int) -> tuple[int, int]:
        mine = next((order for order in self.resting if order.order_id == order_id), None)
        if mine is None:
            raise KeyError(order_id)
        level = [o for o in self.resting if o.buy is mine.buy and o.price == mine.price]
        earlier = [o for o in self.resting[: self.resting.index(mine)] if o in level]
        same = [o for o in earlier if o.hidden is mine.hidden]
        shown = [o for o in level if not o.hidden] if mine.hidden else []
        units = sum(o.leaves - o.reserve for o in same) + sum(o.leaves for o in shown)
        return len(same) + len(shown), units

    def better_than(self, buy: bool, price: int) -> list[BookOrder]:
        orders = self._best_first(buy)
        return [o for o in orders if ((o.price or 0) > price if buy else (o.price or 0) < price)]


def buy(order_id: int, units: int, price: int | None, *, minimum: int = 0, rests: bool = True) -> BookOrder:
    return BookOrder(order_id, True, units, price, rests, minimum)


def sell(order_id: int, units: int, price: int | None, *, minimum: int = 0, rests: bool = True) -> BookOrder:
    return BookOrder(order_id, False, units, price, rests, minimum)


class BookCases:
    """What every book does. Subclasses say which book."""

    def make(self) -> Book:
        raise NotImplementedError

    def filled_with(self, orders: Sequence[BookOrder]) -> Book:
        book = self.make()
        for order in orders:
            assert book.add(order) == []
        return book

    def test_an_empty_book_has_no_best_prices_and_no_depth(self) -> None:
        book = self.make()
        assert (book.best_bid(), book.best_ask(), book.depth(5)) == (None, None, ((), ()))

    def test_the_better_price_trades_first(self) -> None:
        book = self.filled_with([sell(1, 10, 102), sell(2, 10, 101), sell(3, 10, 103)])
        assert book.add(buy(4, 25, 103)) == [Trade(2, 4, 101, 10), Trade(1, 4, 102, 10), Trade(3, 4, 103, 5)]

    def test_at_one_price_who_came_first_trades_first(self) -> None:
        book = self.filled_with([buy(1, 10, 100), buy(2, 10, 100), buy(3, 10, 100)])
        assert book.add(sell(4, 15, 100)) == [Trade(1, 4, 100, 10), Trade(2, 4, 100, 5)]
        assert book.add(sell(5, 10, 100)) == [Trade(2, 5, 100, 5), Trade(3, 5, 100, 5)]

    def test_a_trade_prints_at_the_resting_price(self) -> None:
        assert self.filled_with([sell(1, 10, 100)]).add(buy(2, 10, 105)) == [Trade(1, 2, 100, 10)]

    def test_a_limit_order_rests_with_what_it_did_not_trade(self) -> None:
        book = self.filled_with([sell(1, 10, 100)])
        order = buy(2, 30, 100)
        book.add(order)
        assert (order.leaves, book.depth(5)) == (20, (((100, 20),), ()))

    def test_a_market_order_trades_at_any_price_and_its_remainder_is_cancelled(self) -> None:
        book = self.filled_with([sell(1, 10, 100), sell(2, 10, 999)])
        order = buy(3, 50, None)
        assert len(book.add(order)) == 2
        assert (order.leaves, book.depth(5)) == (30, ((), ()))

    def test_the_rest_of_an_immediate_or_cancel_order_is_cancelled(self) -> None:
        book = self.filled_with([sell(1, 900, 100)])
        order = buy(2, 1_000, 100, rests=False)
        assert book.add(order) == [Trade(1, 2, 100, 900)]
        assert (order.leaves, book.depth(5)) == (100, ((), ()))

    def test_fill_or_kill_of_1000_against_900_does_not_trade(self) -> None:
        book = self.filled_with([sell(1, 500, 100), sell(2, 400, 101), sell(3, 400, 102)])
        order = buy(4, 1_000, 101, minimum=1_000, rests=False)
        assert book.add(order) == []
        assert (order.leaves, book.depth(1)) == (1_000, ((), ((100, 500),)))

    def test_fill_or_kill_trades_all_when_all_is_there_over_several_prices(self) -> None:
        book = self.filled_with([sell(1, 500, 100), sell(2, 500, 101)])
        assert len(book.add(buy(3, 1_000, 101, minimum=1_000, rests=False))) == 2

    @pytest.mark.parametrize(("there", "traded"), [(400, 0), (499, 0), (500, 500), (600, 600)])
    def test_a_minimum_of_500_counts_for_what_trades_at_once(self, there: int, traded: int) -> None:
        book = self.filled_with([sell(1, there, 100)])
        trades = book.add(buy(2, 1_000, 100, minimum=500, rests=False))
        assert sum(trade.units for trade in trades) == traded

    def test_a_minimum_against_an_empty_book_does_not_rest(self) -> None:
        book = self.make()
        assert book.add(buy(1, 10, 100, minimum=10)) == []
        assert book.best_bid() is None

    def test_a_cancelled_order_no_longer_trades(self) -> None:
        book = self.filled_with([sell(1, 10, 100), sell(2, 10, 100), sell(3, 10, 100)])
        assert book.cancel(2).leaves == 10
        assert book.add(buy(4, 20, 100)) == [Trade(1, 4, 100, 10), Trade(3, 4, 100, 10)]

    def test_a_price_that_empties_is_gone_and_can_come_back(self) -> None:
        book = self.filled_with([buy(1, 10, 99), buy(2, 10, 100)])
        book.cancel(2)
        assert book.best_bid() == 99
        book.add(buy(3, 5, 100))
        assert book.depth(5)[0] == ((100, 5), (99, 10))

    def test_fewer_units_at_the_same_price_keep_time_priority(self) -> None:
        book = self.filled_with([sell(1, 10, 100), sell(2, 10, 100)])
        assert book.amend(1, 6, 100) == []
        assert book.ahead(1) == (0, 0)
        assert book.add(buy(3, 8, 100)) == [Trade(1, 3, 100, 6), Trade(2, 3, 100, 2)]

    def test_more_units_lose_time_priority(self) -> None:
        book = self.filled_with([sell(1, 10, 100), sell(2, 10, 100)])
        book.amend(1, 11, 100)
        assert book.ahead(1) == (1, 10)
        assert book.add(buy(3, 12, 100)) == [Trade(2, 3, 100, 10), Trade(1, 3, 100, 2)]

    def test_another_price_loses_time_priority_even_when_it_comes_back(self) -> None:
        book = self.filled_with([sell(1, 10, 100), sell(2, 10, 100)])
        book.amend(1, 10, 101)
        book.amend(1, 10, 100)
        assert book.ahead(1) == (1, 10)

    def test_the_queue_moves_up_as_those_in_front_trade_shrink_or_leave(self) -> None:
        book = self.filled_with([sell(1, 10, 100), sell(2, 20, 100), sell(3, 30, 100), sell(4, 40, 100)])
        assert book.ahead(4) == (3, 60)
        book.add(buy(5, 15, 100))
        assert book.ahead(4) == (2, 45)
        book.amend(3, 5, 100)
        assert book.ahead(4) == (2, 20)
        book.cancel(2)
        assert (book.ahead(4), book.ahead(3)) == ((1, 5), (0, 0))

    def test_an_amendment_without_change_keeps_time_priority(self) -> None:
        book = self.filled_with([sell(1, 10, 100), sell(2, 10, 100)])
        assert book.amend(1, 10, 100) == []
        assert book.ahead(1) == (0, 0)

    def test_a_minimum_that_was_met_on_arrival_does_not_bind_an_amended_order(self) -> None:
        book = self.filled_with([sell(1, 10, 100)])
        book.add(buy(2, 30, 100, minimum=10))
        book.add(sell(3, 5, 101))
        assert book.amend(2, 20, 101) == [Trade(3, 2, 101, 5)]
        assert book.depth(5)[0] == ((101, 15),)

    def test_our_displayed_quantity_follows_amendments_fills_and_cancels(self) -> None:
        book = self.filled_with([BookOrder(1, True, 10, 100, own=True), buy(2, 7, 100)])
        for change in (
            lambda: book.amend(1, 6, 100),
            lambda: book.add(sell(3, 2, 100)),
            lambda: book.cancel(1),
        ):
            change()
            assert book.depth(5, own=False)[0] == ((100, 7),)
        assert book.depth(5)[0] == ((100, 7),)

    def test_an_amended_price_that_crosses_trades_at_once(self) -> None:
        book = self.filled_with([sell(1, 10, 101), buy(2, 30, 100)])
        assert book.amend(2, 30, 101) == [Trade(1, 2, 101, 10)]
        assert book.depth(5) == (((101, 20),), ())

    def test_depth_without_our_own_orders_skips_prices_that_only_we_quote(self) -> None:
        book = self.make()
        for order in (
            BookOrder(1, True, 10, 100, own=True),
            buy(2, 7, 99),
            BookOrder(3, True, 5, 99, own=True),
        ):
            book.add(order)
        assert book.depth(5)[0] == ((100, 10), (99, 12))
        assert book.depth(1, own=False)[0] == ((99, 7),)

    @pytest.mark.parametrize(("units", "price"), [(0, 100), (-1, 100), (10, 0), (10, -5)])
    def test_quantity_and_price_must_be_positive(self, units: int, price: int) -> None:
        book = self.filled_with([sell(1, 10, 100)])
        with pytest.raises(ValueError):
            book.add(buy(2, units, price))
        with pytest.raises(ValueError):
            book.amend(1, units, price)
        assert book.depth(5) == ((), ((100, 10),))

    def test_an_id_that_rests_cannot_come_again(self) -> None:
        book = self.filled_with([sell(1, 10, 100)])
        with pytest.raises(ValueError):
            book.add(buy(1, 10, 100))

    def test_what_does_not_rest_can_be_neither_cancelled_nor_amended_nor_located(self) -> None:
        book = self.filled_with([sell(1, 10, 100)])
        book.add(buy(2, 10, 100))
        for order_id in (1, 2, 3):
            with pytest.raises(KeyError):
                book.cancel(order_id)
            with pytest.raises(KeyError):
                book.amend(order_id, 5, 100)
            with pytest.raises(KeyError):
                book.ahead(order_id)

    def test_better_than_lists_strictly_better_orders_best_first(self) -> None:
        book = self.filled_with([sell(1, 1, 102), sell(2, 1, 101), sell(3, 1, 101), sell(4, 1, 103)])
        assert [order.order_id for order in book.better_than(False, 103)] == [2, 3, 1]
        assert book.better_than(False, 101) == []

    def test_an_iceberg_shows_its_slice_only(self) -> None:
        book = self.filled_with([BookOrder(1, False, 100, 100, display=30), sell(2, 5, 100)])
        assert book.depth(5)[1] == ((100, 35),)

    def test_a_new_slice_of_an_iceberg_goes_behind_what_is_displayed(self) -> None:
        book = self.filled_with([BookOrder(1, False, 25, 100, display=10), sell(2, 10, 100)])
        assert book.add(buy(3, 12, 100)) == [Trade(1, 3, 100, 10), Trade(2, 3, 100, 2)]
        assert book.ahead(1) == (1, 8)
        assert book.add(buy(4, 20, 100)) == [Trade(2, 4, 100, 8), Trade(1, 4, 100, 10), Trade(1, 4, 100, 2)]
        assert book.depth(5)[1] == ((100, 3),)

    def test_one_order_can_take_an_iceberg_whole_and_fill_or_kill_counts_its_reserve(self) -> None:
        book = self.filled_with([BookOrder(1, False, 25, 100, display=10)])
        trades = book.add(buy(2, 25, 100, minimum=25, rests=False))
        assert [trade.units for trade in trades] == [10, 10, 5]
        assert book.depth(5) == ((), ())

    def test_a_smaller_iceberg_gives_up_reserve_first_and_keeps_its_place(self) -> None:
        book = self.filled_with([BookOrder(1, False, 25, 100, display=10), sell(2, 10, 100)])
        book.amend(1, 12, 100)
        assert book.depth(5)[1] == ((100, 20),)
        book.amend(1, 4, 100)
        assert (book.depth(5)[1], book.ahead(1)) == (((100, 14),), (0, 0))

    def test_a_hidden_order_is_not_displayed_and_trades_after_what_is(self) -> None:
        hidden = BookOrder(1, False, 10, 100, hidden=True)
        book = self.filled_with([hidden, BookOrder(2, False, 20, 100, display=5)])
        assert (book.depth(5)[1], book.best_ask(), book.ahead(1)) == (((100, 5),), 100, (1, 20))
        trades = book.add(buy(3, 25, 100))
        assert [(trade.maker, trade.units) for trade in trades] == [(2, 5)] * 4 + [(1, 5)]

    def test_a_hidden_order_inside_the_spread_trades_first_at_its_better_price(self) -> None:
        book = self.filled_with([sell(1, 10, 102), BookOrder(2, False, 10, 101, hidden=True)])
        assert book.best_ask() == 102
        assert book.add(buy(3, 15, 102)) == [Trade(2, 3, 101, 10), Trade(1, 3, 102, 5)]

    @pytest.mark.parametrize(
        ("mode", "traded", "left", "taker_left"),
        [
            (SmpMode.CANCEL_NEWEST, [], ((100, 6), (101, 10)), 0),
            (SmpMode.CANCEL_OLDEST, [(2, 10)], (), 0),
            (SmpMode.CANCEL_BOTH, [], ((101, 10),), 0),
            (SmpMode.DECREMENT, [(2, 4)], ((101, 6),), 0),
        ],
    )
    def test_no_trade_prints_between_orders_of_one_id(
        self, mode: SmpMode, traded: list[tuple[int, int]], left: tuple[TickLevel, ...], taker_left: int
    ) -> None:
        book = self.filled_with([BookOrder(1, False, 6, 100, smp="F"), sell(2, 10, 101)])
        trades = book.add(BookOrder(3, True, 10, 101, smp="F", mode=mode))
        assert [(trade.maker, trade.units) for trade in trades] == traded
        bids, asks = book.depth(5)
        assert (asks, sum(units for _, units in bids)) == (left, taker_left)
        assert [(done.maker, done.taker) for done in book.prevented] == [(1, 3)]

    def test_a_decrement_that_ends_the_newer_order_leaves_the_rest_of_the_older(self) -> None:
        book = self.filled_with([BookOrder(1, False, 30, 100, display=5, smp="F")])
        assert book.add(BookOrder(2, True, 10, 100, smp="F", mode=SmpMode.DECREMENT)) == []
        assert book.prevented == [Prevented(1, 2, 10, 10, False, True)]
        assert (book.depth(5), book.cancel(1).leaves) == (((), ((100, 5),)), 20)

    def test_a_minimum_does_not_count_units_of_the_same_id(self) -> None:
        book = self.filled_with([BookOrder(1, False, 6, 100, smp="F"), sell(2, 4, 100)])
        order = BookOrder(3, True, 6, 100, False, 6, smp="F", mode=SmpMode.CANCEL_OLDEST)
        assert book.add(order) == []
        assert book.depth(5)[1] == ((100, 10),)


class TestOrderBook(BookCases):
    def make(self) -> Book:
        return OrderBook()


class TestNaiveBook(BookCases):
    def make(self) -> Book:
        return NaiveBook()


#: Verb, id, side, units, price, rests, minimum, own; display, hidden, id and mode of self-match prevention.
Command = tuple[str, int, bool, int, int | None, bool, int, bool, tuple[int, bool, str, SmpMode]]

VERBS = st.sampled_from(["add"] * 6 + ["cancel", "amend", "amend"])
LIMITS = st.integers(1, 4)


def command(
    verb: str,
    is_buy: bool,
    price: int | None,
    terms: tuple[int, int, bool, int, bool],
    special: tuple[int, bool, str, SmpMode],
) -> Command:
    """Bids mostly below offers, so that queues build up between the trades."""
    order_id, units, rests, minimum, own = terms
    limit = price if is_buy or price is None else price + 2
    return verb, order_id, is_buy, units, limit, rests, minimum, own, special


COMMANDS = st.lists(
    st.builds(
        command,
        VERBS,
        st.booleans(),
        st.one_of(LIMITS, LIMITS, LIMITS, LIMITS, st.none()),
        st.tuples(
            st.integers(1, 12),
            st.integers(1, 9),
            st.sampled_from([True] * 5 + [False]),
            st.sampled_from([0] * 5 + [1, 4, 9]),
            st.booleans(),
        ),
        st.tuples(
            st.sampled_from([0, 0, 0, 1, 2, 5]),
            st.sampled_from([False, False, False, True]),
            st.sampled_from(["", "", "F", "G"]),
            st.sampled_from(list(SmpMode)),
        ),
    ),
    min_size=10,
    max_size=60,
)


def play(book: Book, command: Command) -> list[Trade] | str | int:
    """The command's result, or the kind of its error."""
    verb, order_id, is_buy, units, price, rests, minimum, own, (display, hidden, smp, mode) = command
    shown = 0 if hidden else display
    minimum = min(minimum, units)
    try:
        if verb == "add":
            order = BookOrder(order_id, is_buy, units, price, rests, minimum, own, shown, hidden, smp, mode)
            return book.add(order)
        if verb == "cancel":
            return book.cancel(order_id).leaves
        return book.amend(order_id, units, price or 3)
    except (KeyError, ValueError) as error:
        return type(error).__name__


def position(book: Book, order_id: int) -> tuple[int, int] | None:
    try:
        return book.ahead(order_id)
    except KeyError:
        return None


@settings(max_examples=250, deadline=None)
@given(COMMANDS)
def test_random_commands_give_the_trades_depth_and_queues_of_the_naive_book(commands: list[Command]) -> None:
    book, naive = OrderBook(), NaiveBook()
    for command in commands:
        assert play(book, command) == play(naive, command)
        assert book.depth(99) == naive.depth(99)
        assert book.prevented == naive.prevented
        for buys in (True, False):
            assert [(o.order_id, o.leaves, o.reserve) for o in book.resting(buys)] == [
                (o.order_id, o.leaves, o.reserve) for o in naive._best_first(buys)
            ]
        assert book.depth(2, own=False) == naive.depth(2, own=False)
        assert [position(book, n) for n in range(13)] == [position(naive, n) for n in range(13)]


@settings(max_examples=150, deadline=None)
@given(COMMANDS)
def test_no_unit_is_lost_and_the_book_is_never_crossed(commands: list[Command]) -> None:
    book = OrderBook()

    def open_units() -> int:
        return sum(order.leaves for buys in (True, False) for order in book.resting(buys))

    for command in commands:
        resting = open_units()
        result = play(book, command)
        if isinstance(result, list) and command[0] == "add":
            traded = sum(trade.units for trade in result)
            lost = sum(done.maker_units for done in book.prevented)
            order = book.order(command[1])
            assert open_units() == resting - traded - lost + (order.leaves if order is not None else 0)
        bid, ask = book.best_bid(), book.best_ask()
        assert bid is None or ask is None or bid < ask
        assert not book.crossed


def test_the_counters_follow_the_trades() -> None:
    book = OrderBook()
    book.add(sell(1, 10, 100))
    book.add(sell(2, 10, 101))
    before = book.version
    book.add(buy(3, 15, 101))
    assert (book.trades, book.traded_units, book.last_price) == (2, 15, 101)
    assert book.version > before
    assert (book.level_count(True), book.level_count(False)) == (0, 1)
    assert (book.units_at(False, 101), book.units_at(False, 100)) == (5, 0)


@pytest.mark.parametrize(
    ("price", "ticks"),
    [
        ("10.01", 1001),
        ("10.010", 1001),
        ("0.01", 1),
        ("10.005", None),
        ("0", None),
        ("-1", None),
        ("NaN", None),
    ],
)
def test_a_price_is_a_positive_multiple_of_the_tick_or_nothing(price: str, ticks: int | None) -> None:
    assert Grid(Decimal("0.01")).ticks(Decimal(price)) == ticks


@given(st.integers(1, 10**12), st.sampled_from(["0.01", "0.0001", "0.05", "1", "0.25"]))
def test_ticks_and_prices_convert_exactly_both_ways(ticks: int, tick: str) -> None:
    grid = Grid(Decimal(tick), Decimal("0.001"))
    assert grid.ticks(grid.price(ticks)) == ticks
    assert grid.units(grid.quantity(ticks)) == ticks
    assert grid.price(ticks) == Decimal(tick) * ticks


def test_a_grid_needs_positive_steps() -> None:
    with pytest.raises(ValueError):
        Grid(Decimal(0))
