"""Sums of accounts, clients and firms: bounds until somebody reads them, exact whenever somebody does."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core import commands as cmd
from qtinfra.core.decimals import exact
from qtinfra.core.extended_models import LimitRule
from qtinfra.core.models import ChildStatus, Currency
from qtinfra.engine.audit import audit
from qtinfra.engine.risk_sums import totals_of
from qtinfra.risk.ledger import Figures, Standing, Sums
from tests.support.builders import ALPHA, BETA, BUY, DAYS, SELL, SYMBOL, Desk, account, dec, instrument

pytestmark = pytest.mark.unit

_CLIENT, _FIRM = f"CLIENT:client-{ALPHA}", "FIRM:firm"
_ACCOUNTS = (ALPHA, BETA)
_SCOPES = (ALPHA, BETA, _CLIENT, _FIRM)
_SCOPED = (LimitRule.GROSS_EXPOSURE, LimitRule.NET_EXPOSURE, LimitRule.CREDIT_THRESHOLD)

_UNITS = st.sampled_from(["1", "20", "30", "200"])
_PRICES = st.sampled_from(["49.9", "50", "50.25"])
_STEPS = st.one_of(
    st.tuples(st.just("new"), st.sampled_from(_ACCOUNTS), st.sampled_from([BUY, SELL]), _UNITS, _PRICES),
    st.tuples(st.just("new"), st.sampled_from(_ACCOUNTS), st.sampled_from([BUY, SELL]), _UNITS, _PRICES),
    st.tuples(st.just("fill"), st.integers(0, 5), st.none(), _UNITS, _PRICES),
    st.tuples(st.just("fill"), st.integers(0, 5), st.none(), st.just("200"), _PRICES),
    st.tuples(st.just("bust"), st.integers(0, 5), st.none(), st.just(""), st.just("")),
    st.tuples(st.just("cancel"), st.integers(0, 5), st.none(), st.just(""), st.just("")),
    st.tuples(st.just("mark"), st.none(), st.none(), st.just(""), _PRICES),
    st.tuples(st.just("limit"), st.sampled_from(_SCOPED), st.sampled_from(_SCOPES), _UNITS, _PRICES),
    st.tuples(st.just("day"), st.none(), st.none(), st.just(""), st.just("")),
    st.tuples(st.just("read"), st.sampled_from(_SCOPES), st.none(), st.just(""), st.just("")),
)


class Floor:
    """A desk of two accounts of one client that takes the steps."""

    def __init__(self, currency: Currency) -> None:
        self.desk = Desk(checked=False)
        changed = instrument(venues=self.desk.venues, currency=currency)
        both = (account(ALPHA), account(BETA, client=f"client-{ALPHA}"))
        self.desk.run(cmd.SetReference(instruments=(changed,), accounts=both))
        self.desk.run(cmd.SetFxRate(Currency.EUR, Currency.USD, dec("1.1")))
        self.orders: list[tuple[str, str]] = []

    def take(self, number: int, step: tuple[str, Any, Any, str, str]) -> None:
        kind, which, more, units, price = step
        desk, name = self.desk, f"N{number}"
        if kind == "new":
            desk.new(name, units, price, side=more, name=which)
            if desk.state.find_order(which, name) is not None:
                self.orders.append((name, which))
                for child in desk.children(name, which):
                    desk.ack(child)
        elif kind == "mark":
            desk.run(cmd.SetReference(prices=((SYMBOL, dec(price)),)))
        elif kind == "limit":
            desk.limit(which, dec(units) * dec(price) * 10, more)
        elif kind == "day" and desk.day + 1 < len(DAYS):
            desk.next_day()
        elif kind in {"fill", "bust", "cancel"} and self.orders:
            self._touch(kind, self.orders[which % len(self.orders)], f"{name}C", units, price)

    def _touch(self, kind: str, named: tuple[str, str], name: str, units: str, price: str) -> None:
        desk, (of, owner) = self.desk, named
        order = desk.order(of, owner)
        if kind == "cancel":
            desk.cancel(name, of, name=owner)
        elif kind == "bust" and order.executions:
            execution = desk.state.executions[order.executions[-1]]
            desk.bust(desk.state.children[execution.child_id], execution.exec_id)
        elif kind == "fill":
            for child in desk.state.working_children(order):
                if child.status is ChildStatus.LIVE and child.leaves:
                    desk.fill(child, str(min(child.leaves, dec(units))), price)

    def sums(self, key: str) -> list[tuple[Decimal, ...]]:
        totals = totals_of(self.desk.state, key)
        with exact():
            return [
                (of.gross, of.long, of.short, of.traded, of.used)
                for of in (totals.home, *totals.foreign.values())
            ]

    def accounts_wrongly_clear(self) -> list[str]:
        """Accounts that are noted to be clear of their limits while the bounds of a sum are not."""
        return [
            name
            for name, place in self.desk.state.risk.memo.of_accounts.items()
            if place.plans is not None and place.standing.clear
            for sheet in place.scopes
            if sheet.home.bounds.gross > sheet.clear_gross or sheet.home.bounds.traded > sheet.clear_traded
        ]


@given(st.lists(_STEPS, max_size=16), st.sampled_from([Currency.USD, Currency.USD, Currency.EUR]))
@settings(max_examples=120, deadline=None)
def test_who_reads_the_sums_after_every_step_and_who_never_did_decide_and_find_the_same(
    steps: list[tuple[str, Any, Any, str, str]], currency: Currency
) -> None:
    seldom, always = Floor(currency), Floor(currency)
    for number, step in enumerate(steps):
        seldom.take(number, step)
        for key in _SCOPES:
            always.sums(key)
        always.take(number, step)
        if step[0] == "read":
            assert seldom.sums(step[1]) == always.sums(step[1])
        assert audit(seldom.desk.state) == audit(always.desk.state) == []
        assert seldom.desk.entries == always.desk.entries
        assert seldom.desk.state == always.desk.state
        for floor in (seldom, always):
            assert floor.accounts_wrongly_clear() == []
    for key in _SCOPES:
        assert seldom.sums(key) == always.sums(key)


def _home(desk: Desk, key: str) -> Sums:
    return totals_of(desk.state, key).home


def test_orders_far_from_all_limits_leave_the_sums_unread() -> None:
    desk = Desk()
    for rule in _SCOPED:
        for scope in ("*", "CLIENT:*", "FIRM:*"):
            desk.limit(rule, 10_000_000, scope)
    for number in range(5):
        desk.working(f"N{number}", 100, 50)
        desk.fill(desk.child(f"N{number}"), 100)
    assert not any(_home(desk, key).exact for key in (ALPHA, _CLIENT, _FIRM))
    assert _home(desk, _FIRM).bounds.traded >= 25_000


def test_a_refusal_by_a_firm_names_its_exact_sum_and_asks_for_no_other() -> None:
    desk = Desk()
    desk.working("A", 100, 50)
    desk.fill(desk.child("A"), 100)
    desk.working("B", 10, 50, name=BETA)
    assert _home(desk, _FIRM).bounds.gross > 5_500
    desk.limit(LimitRule.GROSS_EXPOSURE, 6_000, "FIRM:*")
    desk.working("C", 10, 50)
    desk.new("D", 1, 50)
    assert desk.last().text == f"gross_exposure: 6050 is beyond the limit 6000 of {_FIRM}"
    assert [_home(desk, key).exact for key in (ALPHA, _CLIENT, _FIRM)] == [False, False, True]


def test_what_is_traded_has_no_less_a_part_of_the_bounds_when_trades_of_before_were_taken_back() -> None:
    own, of_firm = Figures(traded=dec(-300)), Sums()
    standing = Standing(own, Sums(own), (of_firm,))
    assert of_firm.bounds.traded == 0
    own.traded += 350
    standing.widen()
    assert standing.traded == of_firm.bounds.traded == 64
    assert of_firm.traded == 50


def _clear(*standings: Standing) -> list[bool | None]:
    return [standing.clear for standing in standings]


def test_an_account_is_clear_of_its_limits_until_a_bound_outgrows_one_or_a_sum_is_read() -> None:
    firm, own, other = Sums(), Figures(gross=dec(100)), Figures(gross=dec(10))
    sums_of_own = Sums(own)
    standing, beside = Standing(own, sums_of_own, (firm,)), Standing(other, Sums(other), (firm,))
    assert _clear(standing) == [None]
    assert not standing.note_clear([(sums_of_own, dec(127), dec(0))]), "figures may become 128 unnoticed"
    assert standing.note_clear([(sums_of_own, dec(128), dec(0)), (firm, dec(230), dec(0))])
    assert beside.note_clear([(firm, dec(300), dec(0))])
    other.gross = dec(65)
    beside.widen()
    assert _clear(standing, beside) == [None, None], "the firm's bound is 256"
    assert not standing.note_clear([(firm, dec(230), dec(0))])
    assert standing.note_clear([(sums_of_own, dec(450), dec(0)), (firm, dec(1000), dec(2))])
    assert beside.note_clear([(firm, dec(1000), dec(2))])
    own.gross = dec(210)
    standing.widen()
    assert _clear(standing, beside) == [True, True], "the bounds are 256 and 384"
    own.gross = dec(430)
    standing.widen()
    assert _clear(standing, beside) == [False, True], "512 is more than 450"
    assert standing.note_clear([(sums_of_own, dec(512), dec(0)), (firm, dec(1000), dec(2))])
    own.traded = dec(1)
    standing.widen()
    assert _clear(standing, beside) == [False, True], "nothing may be traded"
    other.traded = dec(1)
    beside.widen()
    assert _clear(standing, beside) == [None, None], "4 is more than 2"
    assert beside.note_clear([(firm, dec(1000), dec(4))])
    assert firm.gross == 495
    assert _clear(beside) == [None], "exact sums change with every order"
    assert not beside.note_clear([(firm, dec(1000), dec(4))])
    assert standing.note_clear([])
    assert not standing.note_clear([(Sums(), dec(1), dec(1))]), "nothing is known of the sums of others"


def test_an_audit_finds_figures_that_outgrew_their_parts_bounds_of_nobody_and_sums_left_behind() -> None:
    desk = Desk(checked=False)
    desk.working("A", 100, 50)
    desk.fill(desk.child("A"), 100)
    firm, standing = _home(desk, _FIRM), desk.state.risk.standings[ALPHA, "USD"]
    known, standing.gross = standing.gross, dec(4_999)
    assert f"figures of {ALPHA} in USD are beyond their parts of the bounds" in audit(desk.state)
    standing.gross = known
    firm.kept.gross += 1
    assert audit(desk.state) == [f"totals of {_FIRM} are not the sums of its cells and accounts"]
    assert firm.gross == 5_000
    assert audit(desk.state) == []
    standing.followed = ()
    assert audit(desk.state) == [f"not all exact sums follow the figures of {ALPHA} in USD"]
    standing.cells.clear()
    assert f"not all figures of {ALPHA} in USD are counted" in audit(desk.state)
    standing.own.gross += 1
    assert f"gross exposure of {ALPHA} in USD is not the sum over its cells" in audit(desk.state)


def test_a_day_begins_with_bounds_of_what_is_there_and_credit_anew() -> None:
    desk = Desk()
    for number in range(3):
        desk.working(f"N{number}", 100, 50)
        desk.fill(desk.child(f"N{number}"), 100)
    desk.working("S", 290, 50, side=SELL)
    desk.fill(desk.child("S"), 290)
    before = _home(desk, _FIRM).bounds
    assert (before.gross, before.traded) == (dec(16_384), dec(32_768))
    desk.close_day()
    desk.next_day()
    bounds = _home(desk, _FIRM).bounds
    assert (bounds.gross, bounds.traded) == (dec(512), dec(0))


@given(st.decimals("0.001", "1e40", places=3), st.decimals("0.001", "1e25", places=3))
def test_the_parts_of_accounts_in_the_bounds_are_no_less_than_figures_and_at_most_twice_as_much(
    gross: Decimal, traded: Decimal
) -> None:
    with exact():
        own = Figures(gross, traded)
        standing = Standing(own, Sums(own), ())
        for figure, part in ((gross, standing.gross), (traded, standing.traded)):
            assert figure < part <= max(figure + figure, dec(1))


def test_accounts_share_the_objects_that_bound_them() -> None:
    standings = [
        Standing(own, Sums(own), ()) for own in (Figures(dec(130), dec(9)), Figures(dec(255), dec(15)))
    ]
    assert standings[0].gross is standings[1].gross
    assert standings[0].traded is standings[1].traded
