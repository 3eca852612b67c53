"""Parents in the engine: planned, looked at, capped, paused, amended, ended, restarted; it all replays."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.algo import AlgoTerms, Completion, FinishReason, Schedule, SliceKind
from qtinfra.core.algo_events import (
    AlgoFinished,
    AlgoIntervalBegan,
    AlgoPaused,
    AlgoPlanned,
    ChildrenRecalled,
    SliceSent,
)
from qtinfra.core.events import CommandRefused, OrderAccepted, OrderRejected
from qtinfra.core.extended_models import KillScope, LimitRule, PartyKind, RestrictedPolicy, RiskPolicy
from qtinfra.core.market import ConsolidatedBook
from qtinfra.core.models import Child, OrderStatus, TimeInForce
from qtinfra.core.reports import VenueCancel
from qtinfra.core.strategies.inputs import PlanInputs
from qtinfra.core.strategies.registry import registry
from qtinfra.core.strategies.twap import Twap
from qtinfra.engine.kernel import Outcome
from qtinfra.engine.lookup import use_strategies
from tests.support.builders import ALPHA, BUY, SELL, SYMBOL, Books, Desk, dec, kinds, only, quote, submit

pytestmark = pytest.mark.unit

SECOND, MINUTE = 1_000_000_000, 60_000_000_000


class Printed(Books):
    """Quotes that tests set, and the volume that has printed."""

    traded = Decimal(0)

    def book(self, symbol: str) -> ConsolidatedBook | None:
        found = super().book(symbol)
        return msgspec.structs.replace(found, traded=self.traded) if found is not None else None


class Floor(Desk):
    """A desk whose clock and tape a test moves."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.market: Printed = Printed()
        self.start_ns = self._now_ns + SECOND
        self.show()

    def show(self, bid: str = "49.98", ask: str = "50.02", size: int = 500) -> None:
        for mic in self.venues:
            self.market.quotes[mic] = quote(mic, bids=[(bid, size)], asks=[(ask, size)])

    def parent(self, algo: str = "TWAP", qty: int = 1000, price: Any = None, **terms: Any) -> Outcome:
        """An algo order over ten intervals of a minute."""
        return self.run(self.algo_order(algo, qty, price, **terms))

    def algo_order(
        self, algo: str = "TWAP", qty: int = 1000, price: Any = None, **terms: Any
    ) -> cmd.SubmitOrder:
        side = terms.pop("side", BUY)
        known = {"slices": 10, "passive": False} | terms
        asked = AlgoTerms(algo, self.start_ns, self.start_ns + 10 * MINUTE, **known)
        return submit("X", qty, price, side=side, algo=asked)

    def at(self, seconds: float) -> None:
        """Let the clock stand so many seconds after the parents' start."""
        self._now_ns = self.start_ns + int(seconds * SECOND)

    def look(self, seconds: float | None = None) -> Outcome:
        if seconds is not None:
            self.at(seconds)
        return self.run(cmd.TimerFired(cmd.TimerKind.ALGO, ""), "timer")

    def live(self) -> list[Child]:
        return self.state.working_children(self.order())

    def trade(self, children: Iterable[Child] | None = None, px: Any = 50) -> None:
        """Venues acknowledge and fill what works."""
        for child in self.live() if children is None else children:
            self.fill(child, child.leaves, px)

    def events(self, kind: type) -> list[Any]:
        return [event for entry in self.entries for event in entry.events if isinstance(event, kind)]

    @property
    def parents(self) -> int:
        return len(self.state.algos.parents)


def sent(outcome: Outcome) -> Decimal:
    return sum((event.qty for event in outcome.events if isinstance(event, SliceSent)), Decimal(0))


# --- taking and planning ----------------------------------------------------------------------------------


def test_an_accepted_algo_order_is_planned_and_not_routed() -> None:
    desk = Floor()
    outcome = desk.parent()
    assert kinds(outcome) == ["OrderAccepted", "AlgoPlanned"]
    planned = only(outcome, AlgoPlanned)
    assert planned.schedule.targets == tuple(map(dec, range(100, 1001, 100)))
    assert planned.arrival_mid == 50
    order = desk.order()
    assert (order.status, order.unallocated) == (OrderStatus.VALIDATED, dec(1000))
    assert order.special is not None
    assert order.special.algo == "TWAP"
    assert desk.sent == []


def test_each_interval_sends_its_slice_and_says_why() -> None:
    desk = Floor()
    desk.parent()
    assert desk.look(-0.5).entry is None
    first = desk.look(0)
    assert kinds(first) == ["OrderRouted", "SliceSent"]
    slice_ = only(first, SliceSent)
    assert (slice_.qty, slice_.reason.kind, slice_.reason.target) == (100, SliceKind.CROSS, 100)
    assert slice_.reason.ask == dec("50.02")
    desk.trade()
    assert desk.look(1).entry is None
    assert sent(desk.look(60)) == 100


def test_twap_completes_exactly_and_says_so() -> None:
    desk = Floor()
    desk.parent(qty=1050)
    for minute in range(10):
        desk.look(60 * minute)
        desk.trade()
    assert desk.figures("X") == ("FILLED", 1050, 1050, 0)
    finished = desk.events(AlgoFinished)
    assert [event.reason for event in finished] == [FinishReason.COMPLETED]
    assert desk.parents == 0
    assert "algo_finished" in desk.alert_kinds()


def test_the_same_order_again_gets_the_first_answer_and_another_algo_is_refused() -> None:
    desk = Floor()
    command = desk.algo_order()
    desk.run(command)
    assert desk.run(command).entry is None
    assert command.algo is not None
    other = msgspec.structs.replace(command, algo=msgspec.structs.replace(command.algo, slices=5))
    assert kinds(desk.run(other)) == ["DuplicateRefused"]
    assert kinds(desk.run(msgspec.structs.replace(command, algo=None))) == ["DuplicateRefused"]


@pytest.mark.parametrize(
    ("algo", "terms", "code", "field"),
    [
        ("NONE", {}, "unknown_algo", "algo"),
        ("POV", {}, "algo_rate", "algo.target_rate"),
        ("TWAP", {"target_rate": dec("0.1")}, "algo_rate", "algo.target_rate"),
        ("TWAP", {"max_participation": dec("1.1")}, "algo_rate", "algo.max_participation"),
        ("TWAP", {"max_participation": dec("0.1"), "min_participation": dec("0.2")}, "algo_rate", None),
        ("TWAP", {"slices": 391}, "algo_range", "algo.slices"),
        ("TWAP", {"seed": 1 << 63}, "algo_range", "algo.seed"),
        ("TWAP", {"randomise_size": dec(2)}, "algo_range", "algo.randomise_size"),
        ("IS", {"risk_aversion": dec(-1)}, "algo_range", "algo.risk_aversion"),
        ("IS", {"impact_exponent": dec(0)}, "algo_range", "algo.impact_exponent"),
        ("TWAP", {"min_clip": dec(50)}, "algo_clip", "algo.min_clip"),
        ("TWAP", {"min_clip": dec(300), "max_clip": dec(200)}, "algo_clip", "algo.min_clip"),
        ("TWAP", {"would_price": dec("50.005")}, "algo_would_price", "algo.would_price"),
        ("TWAP", {"would_price": dec("50.20")}, "algo_would_price", "algo.would_price"),
        ("TWAP", {"open_share": dec("0.6"), "close_share": dec("0.6")}, "algo_share", "algo.close_share"),
        ("VWAP", {}, "algo_not_planned", "algo.weights"),
        ("IS", {}, "algo_not_planned", "algo.daily_volume"),
        ("TARGET_CLOSE", {}, "algo_not_planned", "algo.close_cutoff_ns"),
    ],
)
def test_terms_that_cannot_be_worked_are_refused_by_name(
    algo: str, terms: dict[str, Any], code: str, field: str | None
) -> None:
    desk = Floor(lot=100)
    rejected = only(desk.parent(algo, price="50.10", **terms), OrderRejected)
    assert (rejected.code, rejected.field) == (code, field or rejected.field)
    assert desk.parents == 0


def test_an_order_that_lasts_beyond_the_day_or_has_ended_is_refused() -> None:
    desk = Floor()
    lasting = msgspec.structs.replace(desk.algo_order(), tif=TimeInForce.GTC)
    assert only(desk.run(lasting), OrderRejected).code == "unsupported_time_in_force"
    desk.at(3600)
    late = msgspec.structs.replace(desk.algo_order(), cl_ord_id="Y")
    assert only(desk.run(late), OrderRejected).code == "algo_time"


def test_vwap_is_planned_from_the_journaled_curve() -> None:
    desk = Floor()
    bins = tuple(map(dec, (3, 1, 1)))
    desk.run(cmd.SetVolumeCurve(SYMBOL, "2024-07-08", desk.start_ns, desk.start_ns + 15 * MINUTE, bins))
    planned = only(desk.parent("VWAP", slices=2), AlgoPlanned)
    assert planned.schedule.targets == (dec(750), dec(1000))


def test_a_new_market_profile_has_shortfall_parents_solved_again_and_no_others() -> None:
    desk = Floor()
    profile = {"daily_volume": dec(100_000), "spread": dec("0.02")}
    desk.run(cmd.SetMarketProfile(SYMBOL, daily_volatility=dec("0.01"), **profile))
    first = only(desk.parent("IS", qty=100_000, risk_aversion=dec("0.0001")), AlgoPlanned)
    again = desk.run(cmd.SetMarketProfile(SYMBOL, daily_volatility=dec("0.2"), **profile))
    assert kinds(again) == ["MarketProfileSet", "AlgoPlanned"]
    assert only(again, AlgoPlanned).schedule.targets[0] > first.schedule.targets[0]
    desk = Floor()
    desk.parent()
    assert kinds(desk.run(cmd.SetMarketProfile(SYMBOL, daily_volume=dec(9)))) == ["MarketProfileSet"]


@pytest.mark.parametrize(
    "command",
    [
        cmd.SetVolumeCurve("NONE", "2024-07-08", 0, 1, (dec(1),)),
        cmd.SetVolumeCurve(SYMBOL, "2024-07-08", 0, 1, ()),
        cmd.SetVolumeCurve(SYMBOL, "2024-07-08", 0, 1, (dec(0),)),
        cmd.SetVolumeCurve(SYMBOL, "2024-07-08", 0, 1, (dec(-1), dec(2))),
        cmd.SetVolumeCurve(SYMBOL, "2024-07-08", 1, 1, (dec(1),)),
        cmd.SetMarketProfile("NONE"),
        cmd.SetMarketProfile(SYMBOL, daily_volume=dec(0)),
    ],
)
def test_a_bad_curve_or_profile_is_refused(command: cmd.AnyCommand) -> None:
    assert kinds(Floor().run(command)) == ["CommandRefused"]


# --- caps and rates ---------------------------------------------------------------------------------------


def test_pov_follows_the_volume_printed_own_volume_in_the_whole() -> None:
    desk = Floor()
    desk.parent("POV", target_rate=dec("0.1"), max_participation=dec("0.2"))
    assert kinds(desk.look(0)) == ["AlgoIntervalBegan"]
    desk.market.traded += 900
    assert sent(desk.look(1)) == 100
    desk.trade()
    desk.market.traded += 100
    assert desk.look(2).entry is None
    desk.market.traded += 90
    assert sent(desk.look(3)) == 10


def test_the_cap_counts_only_volume_printed_in_the_interval_by_then() -> None:
    desk = Floor()
    desk.parent(max_participation=dec("0.2"))
    desk.market.traded = dec(10_000)
    assert sent(desk.look(0)) == 0
    desk.market.traded += 80
    assert sent(desk.look(1)) == 20
    desk.trade()
    desk.market.traded += 20 + 40
    assert sent(desk.look(2)) == 10
    desk.trade()
    desk.market.traded += 10
    again = desk.look(61)
    assert (kinds(again), sent(again)) == (["AlgoIntervalBegan"], dec(0))
    assert len(desk.events(AlgoIntervalBegan)) == 2


def test_a_look_that_decides_nothing_leaves_no_record_and_keeps_no_book() -> None:
    desk = Floor()
    desk.parent()
    desk.look(0)
    desk.trade()
    assert desk.look(5).entry is None
    second = msgspec.structs.replace(desk.algo_order(), cl_ord_id="Y")
    assert len(desk.run(second).entry.market) == 1  # type: ignore[union-attr]


# --- children ---------------------------------------------------------------------------------------------


def test_a_resting_child_is_recalled_late_in_its_interval_and_the_slice_crosses() -> None:
    desk = Floor()
    desk.parent(passive=True)
    desk.look(0)
    (resting,) = desk.live()
    assert (resting.price, resting.tif) == (dec("49.98"), TimeInForce.DAY)
    desk.ack(resting)
    desk.fill(resting, 30, "49.98")
    recalled = desk.look(50)
    assert kinds(recalled) == ["ChildrenRecalled"]
    assert isinstance(desk.sent[-1], VenueCancel)
    assert desk.look(51).entry is None, "one cancel is enough"
    desk.canceled(resting)
    assert desk.order().open
    crossing = only(desk.look(52), SliceSent)
    assert (crossing.qty, crossing.reason.kind) == (70, SliceKind.CROSS)


def test_a_child_that_a_venue_refuses_or_cancels_does_not_end_the_parent() -> None:
    desk = Floor(("XNAS", "BATS"))
    desk.parent(passive=True)
    desk.look(0)
    desk.reject(desk.live()[0])
    again = desk.look(1)
    assert sent(again) == 100
    (child,) = desk.live()
    desk.canceled(child, "unsolicited")
    assert desk.order().open
    assert sent(desk.look(2)) == 100
    assert {item.venue for item in desk.children("X")} == {"XNAS", "BATS"}


def test_where_every_venue_refuses_the_slice_is_tried_again_once_a_look() -> None:
    desk = Floor()
    desk.parent()
    for second in range(5):
        assert sent(desk.look(second)) == 100
        desk.reject(desk.live()[0])
    desk.disconnect("XNAS")
    assert desk.look(6).entry is None


def test_the_limit_of_the_parent_binds_its_children() -> None:
    desk = Floor()
    desk.parent(price="50.00")
    desk.look(0)
    (child,) = desk.live()
    assert (child.price, child.tif) == (dec("49.98"), TimeInForce.DAY)
    desk.show("50.05", "50.07")
    assert kinds(desk.look(1)) == ["ChildrenRecalled"], "it may follow up to the limit"
    desk.canceled(child)
    desk.look(2)
    assert desk.live()[0].price == dec("50.00")


def test_a_sell_is_the_mirror_image() -> None:
    desk = Floor()
    desk.parent(side=SELL, passive=True)
    desk.look(0)
    assert desk.live()[0].price == dec("50.02")


def test_undisplayed_venues_are_asked_first() -> None:
    desk = Floor(("XNAS", "DARK"))
    del desk.market.quotes["DARK"]
    desk.parent(dark_first=True)
    dark = only(desk.look(0), SliceSent)
    assert (dark.reason.kind, desk.live()[0].venue) == (SliceKind.DARK, "DARK")
    desk.canceled(desk.live()[0])
    lit = only(desk.look(1), SliceSent)
    assert (lit.reason.kind, desk.live()[0].venue) == (SliceKind.CROSS, "XNAS")


def test_without_a_market_nothing_is_sent_and_nothing_is_caught_up_at_once() -> None:
    desk = Floor()
    desk.parent()
    desk.market.quotes.clear()
    for minute in range(5):
        assert desk.look(60 * minute).entry is None
    desk.show()
    assert kinds(desk.look(300)) == ["AlgoPlanned"]
    assert sent(desk.look(301)) == 200


# --- pause, halt, restart ---------------------------------------------------------------------------------


def test_a_pause_takes_children_back_at_once_and_a_resume_spreads_what_is_left() -> None:
    desk = Floor()
    desk.parent(passive=True)
    desk.look(0)
    paused = desk.run(cmd.PauseAlgo(ALPHA, "X", "lunch"))
    assert kinds(paused) == ["AlgoPaused", "ChildrenRecalled"]
    desk.canceled(desk.live()[0])
    for minute in range(1, 5):
        assert desk.look(60 * minute).entry is None
    desk.at(300)
    resumed = desk.run(cmd.ResumeAlgo(ALPHA, "X"))
    assert kinds(resumed) == ["AlgoResumed", "AlgoPlanned"]
    assert sent(desk.look(301)) == 200


def test_pausing_twice_changes_nothing_and_only_a_worked_parent_can_be_paused() -> None:
    desk = Floor()
    desk.parent()
    desk.run(cmd.PauseAlgo(ALPHA, "X"))
    assert desk.run(cmd.PauseAlgo(ALPHA, "X")).entry is None
    desk.new("PLAIN")
    refused = only(desk.run(cmd.PauseAlgo(ALPHA, "PLAIN")), CommandRefused)
    assert (refused.code, refused.field) == ("not_worked", "client_order_id")
    assert only(desk.run(cmd.ResumeAlgo(ALPHA, "NONE")), CommandRefused).code == "not_worked"


def test_a_halt_pauses_the_parent_and_trading_resumes_without_a_burst() -> None:
    desk = Floor()
    desk.parent(passive=True)
    desk.look(0)
    halted = desk.halt()
    assert kinds(halted) == ["InstrumentHalted", "OrderSuspended", "ChildrenRecalled"]
    desk.canceled(desk.live()[0])
    assert desk.look(120).entry is None
    desk.at(300)
    assert kinds(desk.halt(False)) == ["InstrumentHalted", "OrderReinstated", "AlgoPlanned"]
    assert sent(desk.look(301)) == 200


@pytest.mark.parametrize("from_journal", [False, True], ids=["snapshot", "journal"])
def test_a_restart_in_mid_schedule_resumes_without_a_burst(from_journal: bool) -> None:
    desk = Floor()
    desk.parent(randomise_size=dec("0.4"), seed=7)
    for minute in range(3):
        desk.look(60 * minute)
        desk.trade()
    before = desk.order().cum_qty
    desk.restart(from_journal)
    desk.at(420)
    assert kinds(desk.look()) == ["AlgoPlanned"]
    late = []
    for second in range(421, 600, 10):
        late.append(sent(desk.look(second)))
        desk.trade()
    assert max(late) <= (1000 - before) / 3 * dec("1.4") + 1
    assert sum(late) == 1000 - before
    assert desk.order().filled


def test_a_restart_that_missed_nothing_goes_on_with_the_plan_it_had() -> None:
    desk = Floor()
    desk.parent()
    desk.look(0)
    desk.trade()
    desk.restart()
    assert sent(desk.look(60)) == 100
    assert len(desk.events(AlgoPlanned)) == 1


# --- amend and cancel -------------------------------------------------------------------------------------


def test_a_cancel_takes_the_children_back_and_ends_the_schedule() -> None:
    desk = Floor()
    desk.parent(passive=True)
    desk.look(0)
    assert kinds(desk.cancel("C")) == ["CancelRequested"]
    assert desk.look(60).entry is None
    ended = desk.canceled(desk.live()[0])
    assert kinds(ended) == ["ChildEnded", "OrderCancelled", "AlgoFinished"]
    assert only(ended, AlgoFinished).reason is FinishReason.ORDER_ENDED
    assert desk.parents == 0


def test_a_cancel_between_slices_ends_at_once() -> None:
    desk = Floor()
    desk.parent()
    assert kinds(desk.cancel("C")) == ["OrderCancelled", "AlgoFinished"]


def test_a_larger_quantity_is_planned_at_once() -> None:
    desk = Floor()
    desk.parent()
    desk.look(0)
    desk.trade()
    outcome = desk.replace("R", qty=1900)
    assert kinds(outcome) == ["OrderReplaced", "AlgoPlanned"]
    assert only(outcome, AlgoPlanned).schedule.targets[-1] == 1900


def test_a_quantity_below_what_venues_hold_is_taken_from_them_first() -> None:
    desk = Floor()
    desk.parent(qty=1000, passive=True, slices=1)
    desk.look(0)
    (child,) = desk.live()
    desk.ack(child)
    asked = desk.replace("R", qty=400)
    assert kinds(asked) == ["ReplaceRequested"]
    assert (child.replace_qty, child.replace_price) == (dec(400), dec("49.98"))
    done = desk.replaced(child)
    assert kinds(done) == ["ChildReplaced", "OrderReplaced", "AlgoPlanned"]
    assert desk.figures("X")[1:] == (400, 0, 400)
    assert desk.look(1).entry is None


def test_a_safer_limit_takes_back_what_is_through_it() -> None:
    desk = Floor()
    desk.parent(price="50.10", passive=True)
    desk.look(0)
    outcome = desk.replace("R", price="49.90")
    assert kinds(outcome) == ["ChildrenRecalled", "OrderReplaced", "AlgoPlanned"]


def test_another_end_is_planned_and_another_algo_refused() -> None:
    desk = Floor()
    desk.parent()
    terms = desk.algo_order().algo
    assert terms is not None
    later = msgspec.structs.replace(terms, end_ns=terms.end_ns + 10 * MINUTE)
    outcome = desk.run(cmd.ReplaceOrder(ALPHA, "R", "X", algo=later))
    assert kinds(outcome) == ["AlgoTermsReplaced", "OrderReplaced", "AlgoPlanned"]
    assert only(outcome, AlgoPlanned).schedule.end_ns == later.end_ns
    other = msgspec.structs.replace(terms, algo="VWAP")
    assert kinds(desk.run(cmd.ReplaceOrder(ALPHA, "S", "X", algo=other))) == ["AmendRefused"]
    assert kinds(desk.run(desk.algo_order())) == [], "the first terms are remembered"
    desk.new("PLAIN")
    assert kinds(desk.run(cmd.ReplaceOrder(ALPHA, "T", "PLAIN", algo=terms))) == ["AmendRefused"]


# --- the end ----------------------------------------------------------------------------------------------


def test_at_the_end_the_rest_is_cancelled_and_said_so() -> None:
    desk = Floor()
    desk.parent(passive=True)
    desk.look(0)
    (child,) = desk.live()
    assert kinds(desk.look(600)) == ["ChildrenRecalled"]
    desk.canceled(child)
    ended = desk.look(601)
    assert kinds(ended) == ["AlgoFinished", "OrderCancelled"]
    finished = only(ended, AlgoFinished)
    assert (finished.reason, finished.left) == (FinishReason.RESIDUAL_CANCELLED, 1000)
    assert desk.order().status is OrderStatus.CANCELLED


def test_at_the_end_the_rest_is_crossed_and_said_so() -> None:
    desk = Floor()
    desk.parent(completion=Completion.CROSS)
    final = desk.look(600)
    assert only(final, SliceSent).reason.kind is SliceKind.FINAL
    desk.trade()
    assert desk.events(AlgoFinished)[0].reason is FinishReason.CROSSED
    desk = Floor()
    desk.parent(completion=Completion.CROSS)
    desk.look(600)
    desk.canceled(desk.live()[0])
    assert only(desk.look(601), AlgoFinished).reason is FinishReason.RESIDUAL_CANCELLED


def test_a_parent_paused_over_its_end_ends_and_says_so() -> None:
    desk = Floor()
    desk.parent()
    desk.run(cmd.PauseAlgo(ALPHA, "X"))
    assert kinds(desk.look(600)) == ["AlgoFinished", "OrderCancelled"]


def test_the_end_of_the_day_ends_the_schedule_and_says_so() -> None:
    desk = Floor()
    desk.parent()
    ended = desk.close_day()
    assert kinds(ended) == ["DayClosed", "OrderExpired", "AlgoFinished"]


# --- controls ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "value"),
    [(KillScope.ALGO, "TWAP"), (KillScope.FIRM, ""), (KillScope.ACCOUNT, ALPHA), (KillScope.SYMBOL, SYMBOL)],
)
def test_a_kill_switch_ends_parents_and_their_children(scope: KillScope, value: str) -> None:
    desk = Floor()
    desk.parent(passive=True)
    desk.look(0)
    assert "CancelRequested" in kinds(desk.kill(scope, value))
    assert "AlgoFinished" in kinds(desk.canceled(desk.live()[0]))
    again = msgspec.structs.replace(desk.algo_order(), cl_ord_id="Y")
    assert only(desk.run(again), OrderRejected).code == "kill_switch"


def test_an_algo_without_approval_is_refused_and_one_that_lost_it_pauses() -> None:
    desk = Floor()
    desk.run(cmd.SetRiskPolicy(RiskPolicy(approved_only=(PartyKind.ALGO,))))
    assert kinds(desk.parent()) == ["OrderRejected"]
    desk.run(cmd.ApproveParty(PartyKind.ALGO, "TWAP"))
    desk.run(msgspec.structs.replace(desk.algo_order(), cl_ord_id="Y"))
    assert desk.parents == 1
    desk.run(cmd.ApproveParty(PartyKind.ALGO, "TWAP", approved=False))
    assert kinds(desk.look(0)) == ["AlgoPaused"]
    assert desk.look(1).entry is None


def test_a_restricted_symbol_takes_parents_or_pauses_them_by_policy() -> None:
    desk = Floor()
    desk.run(cmd.SetRiskPolicy(RiskPolicy(restricted_orders=RestrictedPolicy.CANCEL)))
    desk.parent()
    assert kinds(desk.run(cmd.RestrictSymbol(SYMBOL)))[-1] == "AlgoFinished"
    desk = Floor()
    desk.run(cmd.SetRiskPolicy(RiskPolicy(restricted_orders=RestrictedPolicy.FLAG)))
    desk.parent()
    desk.run(cmd.RestrictSymbol(SYMBOL))
    assert kinds(desk.look(0)) == ["AlgoPaused"]


def test_the_execution_throttle_stops_every_parent_of_the_algo() -> None:
    desk = Floor()
    desk.limit(LimitRule.ALGO_EXECUTIONS, 1, "ALGO:TWAP")
    desk.parent(passive=True)
    desk.look(0)
    again = msgspec.structs.replace(desk.algo_order(), cl_ord_id="Y")
    assert kinds(desk.run(again)) == ["AlgoDisabled", "OrderRejected"]
    assert kinds(desk.look(1)) == ["AlgoPaused", "ChildrenRecalled"]


def test_a_bust_pauses_the_parent_what_it_re_opens_is_for_staff() -> None:
    desk = Floor()
    desk.parent()
    desk.look(0)
    (child,) = desk.live()
    desk.fill(child, 100, exec_id="E1")
    assert only(desk.bust(child, "E1"), AlgoPaused).reason.startswith("an execution was taken back")
    assert desk.look(60).entry is None


def test_a_child_in_doubt_is_counted_and_never_sent_again() -> None:
    desk = Floor()
    desk.parent(passive=True)
    desk.look(0)
    desk.disconnect("XNAS")
    desk.connect("XNAS")
    assert desk.look(55).entry is None
    assert desk.look(600).entry is None, "the end waits for the venue's word"
    desk.unknown_order(desk.live()[0])
    assert only(desk.look(602), AlgoFinished).reason is FinishReason.RESIDUAL_CANCELLED


def test_timers_share_the_parents_out() -> None:
    desk = Floor()
    for name in ("A", "B", "C"):
        desk.run(msgspec.structs.replace(desk.algo_order(), cl_ord_id=name))
    desk.at(0)
    parts = [desk.run(cmd.TimerFired(cmd.TimerKind.ALGO, "", "", part, 2)) for part in (0, 1)]
    assert [sent(outcome) for outcome in parts] == [200, 100]


def test_plain_orders_carry_nothing_of_it() -> None:
    desk = Floor()
    accepted = only(desk.new(), OrderAccepted)
    assert (accepted.algo, accepted.special) == (None, None)
    assert desk.events(ChildrenRecalled) == []


def test_a_killed_venue_loses_its_children_and_the_parent_goes_on_elsewhere() -> None:
    desk = Floor(("XNAS", "BATS"))
    desk.parent(passive=True)
    desk.look(0)
    (child,) = desk.live()
    assert kinds(desk.kill(KillScope.VENUE, child.venue)) == ["KillSwitchEngaged", "ChildrenRecalled"]
    desk.canceled(child)
    assert sent(desk.look(1)) == 100
    assert desk.live()[0].venue != child.venue


def test_an_algo_that_is_not_installed_any_more_pauses_and_ends_aloud() -> None:
    desk = Floor()
    desk.parent(passive=True)
    desk.look(0)
    desk.checked = False  # deciding again needs the strategies that decided
    use_strategies(desk.state, {})
    assert kinds(desk.look(1)) == ["AlgoPaused", "ChildrenRecalled"]
    desk.canceled(desk.live()[0])
    assert kinds(desk.look(600)) == ["AlgoFinished", "OrderCancelled"]
    assert only(desk.run(msgspec.structs.replace(desk.algo_order(), cl_ord_id="Y")), OrderRejected).code


def test_a_strategy_of_ones_own_plans_parents_by_its_name() -> None:
    class AllAtOnce(Twap):
        name = "ALL"

        def plan(self, terms: AlgoTerms, inputs: PlanInputs) -> Schedule:
            return super().plan(msgspec.structs.replace(terms, slices=1), inputs)

    desk = Floor(checked=False)
    use_strategies(desk.state, registry((AllAtOnce(),)))
    desk.parent("ALL")
    assert sent(desk.look(0)) == 1000
