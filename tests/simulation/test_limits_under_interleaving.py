"""No interleaving of random flow takes a total beyond its limit; every sum stays the sum of its parts."""

from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qtinfra.core import commands as cmd
from qtinfra.core import events as ev
from qtinfra.core.decimals import ZERO, exact
from qtinfra.core.extended_models import LimitRule, Locate, RiskPolicy
from qtinfra.core.models import OrderSide
from qtinfra.core.reports import ReportKind
from qtinfra.core.special import SpecialTerms
from qtinfra.engine.audit import audit
from qtinfra.engine.risk_sums import totals_of
from qtinfra.engine.state import State, state_hash
from tests.support.builders import ALPHA, BETA, SYMBOL, Desk, account, dec

GAMMA = "gamma"
ACCOUNTS = (ALPHA, BETA, GAMMA)
PRICE = Decimal(50)
POSITION, GROSS, NET, CREDIT = Decimal(180), Decimal(20_000), Decimal(12_000), Decimal(40_000)
MESSAGES = 6

#: What may happen: an order, a replace, a cancel, an execution, a refusal, an end, a lost line, a pause.
STEPS = ("new", "new", "new", "replace", "cancel", "fill", "fill", "reject", "answer", "bust", "wait", "line")
step = st.tuples(st.sampled_from(STEPS), st.integers(0, 9_999))


def limited_desk() -> Desk:
    """Three accounts of two clients and one firm; all orders are at one price, so that value is quantity."""
    desk = Desk(checked=False)
    desk.run(cmd.SetReference(accounts=(account(GAMMA, client=f"client-{ALPHA}"),)))
    desk.limit(LimitRule.POSITION_LIMIT, POSITION)
    desk.limit(LimitRule.GROSS_EXPOSURE, GROSS / 2, "CLIENT:*")
    desk.limit(LimitRule.GROSS_EXPOSURE, GROSS, "FIRM:*")
    desk.limit(LimitRule.NET_EXPOSURE, NET, "FIRM:*")
    desk.limit(LimitRule.CREDIT_THRESHOLD, CREDIT, "FIRM:*")
    desk.limit(LimitRule.MAX_MESSAGES, MESSAGES)
    return desk


class Play:
    """Turns drawn numbers into commands; most are possible, some are refused, and that is the point."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.count = 0
        self.sent: dict[str, list[int]] = {name: [] for name in ACCOUNTS}
        self.executed: list[tuple[str, str]] = []

    def play(self, kind: str, number: int) -> None:
        self.count += 1
        if kind == "new":
            self._new(number)
        elif kind == "wait":
            self.desk._now_ns += number * 100_000
        elif kind == "line":
            (self.desk.disconnect if number % 2 else self.desk.connect)("XNAS")
        else:
            self._on_order(kind, number)

    def _new(self, number: int) -> None:
        name = ACCOUNTS[number % 3]
        side = (OrderSide.BUY, OrderSide.SELL)[number // 3 % 2]
        outcome = self.desk.new(f"N{self.count}", 10 * (1 + number // 6 % 20), PRICE, side=side, name=name)
        if any(isinstance(event, ev.OrderAccepted) for event in outcome.events):
            self.sent[name].append(self.desk._now_ns)

    def _on_order(self, kind: str, number: int) -> None:
        state = self.desk.state
        orders = [order for order in state.orders.values() if order.children]
        if not orders:
            return
        order = orders[number % len(orders)]
        child = state.children[order.children[-1]]
        if kind == "replace":
            qty = Decimal(10 * (1 + number // 7 % 30))
            self.desk.run(cmd.ReplaceOrder(order.account, f"R{self.count}", order.cl_ord_id, qty, None))
        elif kind == "cancel":
            self.desk.cancel(f"C{self.count}", order.cl_ord_id, name=order.account)
        elif kind == "fill" and child.working and child.leaves:
            qty = min(child.leaves, Decimal(10 * (1 + number % 5)))
            self.desk.fill(child, qty, PRICE, exec_id=f"E{self.count}")
        elif kind == "reject":
            self.desk.reject(child)
        elif kind == "bust" and order.executions:
            self.desk.bust(child, state.executions[order.executions[-1]].exec_id)
        elif kind == "answer" and child.replace_id:
            whim = self.desk.replaced if number % 2 else self.desk.replace_refused
            whim(child)
        elif kind == "answer" and child.working:
            self.desk.say(ReportKind.CANCELED, child.venue, child.cancel_id or child.cl_ord_id)


def beyond(state: State) -> list[str]:
    """Every total that is beyond its limit."""
    found = []
    for key in {key for keys in state.risk.members.values() for key in keys}:
        home = totals_of(state, key).home
        if key.startswith("CLIENT:") and home.gross > GROSS / 2:
            found.append(f"gross {home.gross} of {key}")
        if key.startswith("FIRM:") and (
            home.gross > GROSS or max(home.long, home.short) > NET or home.used > CREDIT
        ):
            found.append(f"{home} of {key}")
    for name in ACCOUNTS:
        net, open_now = state.net_position(name, SYMBOL), state.open_quantity(name, SYMBOL)
        if net + open_now.buy > POSITION or net - open_now.sell < -POSITION:
            found.append(f"position of {name}")
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(step, min_size=10, max_size=80))
def test_random_concurrent_flow_never_takes_any_total_beyond_its_limit(steps: list[tuple[str, int]]) -> None:
    desk = limited_desk()
    play = Play(desk)
    for kind, number in steps:
        play.play(kind, number)
        with exact():
            busted = any(execution.state == "BUSTED" for execution in desk.state.executions.values())
            assert busted or beyond(desk.state) == []
        assert audit(desk.state) == []
    for name, stamps in play.sent.items():
        for index in range(MESSAGES, len(stamps)):
            assert stamps[index] - stamps[index - MESSAGES] >= 1_000_000_000, name
    before = state_hash(desk.state)
    desk.restart(from_journal=True)
    assert state_hash(desk.state) == before


@settings(max_examples=60, deadline=None)
@given(st.permutations([(name, qty) for name in ACCOUNTS for qty in (40, 60, 100)]))
def test_whatever_the_order_of_arrival_the_limit_is_filled_to_what_fits_and_never_beyond(
    arrivals: list[tuple[str, int]],
) -> None:
    desk = Desk(checked=False)
    desk.run(cmd.SetReference(accounts=(account(GAMMA),)))
    desk.limit(LimitRule.CREDIT_THRESHOLD, PRICE * 250, "FIRM:*")
    room = 250
    for number, (name, qty) in enumerate(arrivals):
        outcome = desk.new(f"X{number}", qty, PRICE, name=name)
        accepted = any(isinstance(event, ev.OrderAccepted) for event in outcome.events)
        assert accepted == (qty <= room)
        room -= qty if accepted else 0
    assert totals_of(desk.state, "FIRM:firm").home.used == PRICE * (250 - room)


@settings(max_examples=60, deadline=None)
@given(st.permutations((ALPHA, BETA)), st.integers(51, 100), st.integers(51, 100))
def test_of_a_pair_that_each_fit_alone_exactly_one_passes(names: list[str], first: int, second: int) -> None:
    desk = Desk(checked=False)
    desk.limit(LimitRule.GROSS_EXPOSURE, PRICE * 100, "FIRM:*")
    for name, qty in zip(names, (first, second), strict=True):
        desk.new("P", qty, PRICE, name=name)
    assert [desk.order("P", name).status.value for name in names] == ["ROUTED", "REJECTED"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("new", "fill", "cancel")), st.integers(1, 40)), max_size=40))
def test_a_locate_is_never_used_for_more_than_it_was_granted(steps: list[tuple[str, int]]) -> None:
    desk = Desk(checked=False)
    desk.run(cmd.SetRiskPolicy(RiskPolicy(short_sale=True)))
    desk.run(cmd.GrantLocate(Locate("L", ALPHA, SYMBOL, dec(100))))
    for number, (kind, qty) in enumerate(steps):
        working = [order for order in desk.state.orders.values() if order.open and order.children]
        if kind == "new":
            terms = SpecialTerms(locate_id="L")
            desk.new(f"S{number}", qty, PRICE, side=OrderSide.SELL_SHORT, special=terms)
        elif working:
            child = desk.state.children[working[qty % len(working)].children[0]]
            if kind == "fill":
                desk.fill(child, min(child.leaves, Decimal(qty)), PRICE, exec_id=f"F{number}")
            else:
                desk.say(ReportKind.CANCELED, child.venue, child.cl_ord_id)
        sold = sum((order.cum_qty + order.reserved for order in desk.state.orders.values()), ZERO)
        assert desk.state.risk.locates["L"].left == 100 - sold >= 0
        assert audit(desk.state) == []
