"""Sums of clients and firms: bounds until somebody reads them, and whoever reads them has read the same."""

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
from qtinfra.risk.ledger import Amounts, Standing, WideSums, WideTotals
from tests.support.builders import ALPHA, BETA, BUY, DAYS, SELL, SYMBOL, Desk, account, dec, instrument

pytestmark = pytest.mark.unit

_CLIENT, _FIRM = f"CLIENT:client-{ALPHA}", "FIRM:firm"
_ACCOUNTS = (ALPHA, BETA)
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
    st.tuples(st.just("limit"), st.sampled_from(_SCOPED), st.sampled_from([_CLIENT, _FIRM]), _UNITS, _PRICES),
    st.tuples(st.just("day"), st.none(), st.none(), st.just(""), st.just("")),
    st.tuples(st.just("read"), st.sampled_from([_CLIENT, _FIRM]), st.none(), st.just(""), st.just("")),
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

    def sums(self, key: str) -> tuple[tuple[Decimal, ...], dict[str, Amounts]]:
        totals = self.desk.state.risk.totals_of(key)
        home = totals.home
        with exact():
            return (home.gross, home.long, home.short, home.traded, home.used), totals.foreign


@given(st.lists(_STEPS, max_size=16), st.sampled_from([Currency.USD, Currency.USD, Currency.EUR]))
@settings(max_examples=120, deadline=None)
def test_who_reads_the_sums_after_every_step_and_who_never_did_decide_and_find_the_same(
    steps: list[tuple[str, Any, Any, str, str]], currency: Currency
) -> None:
    seldom, always = Floor(currency), Floor(currency)
    for number, step in enumerate(steps):
        seldom.take(number, step)
        for key in (_CLIENT, _FIRM):
            always.sums(key)
        always.take(number, step)
        if step[0] == "read":
            assert seldom.sums(step[1]) == always.sums(step[1])
        assert audit(seldom.desk.state) == audit(always.desk.state) == []
        assert seldom.desk.entries == always.desk.entries
        assert seldom.desk.state == always.desk.state
    for key in (_CLIENT, _FIRM):
        assert seldom.sums(key) == always.sums(key)


def _home(desk: Desk, key: str) -> WideSums:
    totals = desk.state.risk.totals_of(key)
    assert isinstance(totals, WideTotals)
    return totals.home


def test_orders_far_from_the_limits_of_client_and_firm_leave_their_sums_unread() -> None:
    desk = Desk()
    for rule in _SCOPED:
        for scope in ("*", "CLIENT:*", "FIRM:*"):
            desk.limit(rule, 10_000_000, scope)
    for number in range(5):
        desk.working(f"N{number}", 100, 50)
        desk.fill(desk.child(f"N{number}"), 100)
    assert not _home(desk, _CLIENT).exact
    assert not _home(desk, _FIRM).exact
    assert _home(desk, _FIRM).bounds.traded >= 25_000


def test_a_refusal_by_a_firm_names_its_exact_sum_although_bounds_are_wider() -> None:
    desk = Desk()
    desk.working("A", 100, 50)
    desk.fill(desk.child("A"), 100)
    desk.working("B", 10, 50, name=BETA)
    assert _home(desk, _FIRM).bounds.gross > 5_500
    desk.limit(LimitRule.GROSS_EXPOSURE, 6_000, "FIRM:*")
    desk.working("C", 10, 50)
    desk.new("D", 1, 50)
    assert desk.last().text == f"gross_exposure: 6050 is beyond the limit 6000 of {_FIRM}"
    assert _home(desk, _FIRM).exact


def test_parts_of_the_bounds_are_no_less_than_the_sums_when_trades_of_before_were_taken_back() -> None:
    own, wide = Amounts(traded=dec(-300)), WideSums()
    standing = Standing(own, (wide,))
    assert standing.traded == wide.bounds.traded == 0
    with exact():
        own.traded += 350
        standing.widen()
    assert standing.traded == wide.bounds.traded == 100
    assert wide.traded == 50


def test_an_audit_finds_sums_that_outgrew_their_bounds_bounds_of_nobody_and_sums_left_behind() -> None:
    desk = Desk(checked=False)
    desk.working("A", 100, 50)
    desk.fill(desk.child("A"), 100)
    risk = desk.state.risk
    standing, firm = risk.standing(ALPHA), _home(desk, _FIRM)
    known, standing.gross = standing.gross, dec(1)
    assert audit(desk.state)[0] == f"sums of {ALPHA} are beyond its parts of the bounds above"
    standing.gross = known
    firm.bounds.gross += 1
    assert audit(desk.state) == [f"bounds of {_FIRM} are not what its accounts have in them"]
    assert firm.gross == 5_000
    assert audit(desk.state) == []
    standing.followed = ()
    assert audit(desk.state) == [f"not all exact sums above follow those of {ALPHA}"]
