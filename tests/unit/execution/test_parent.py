"""One look at a parent at a time: sums, limits, caps, gaps, ends. A scripted tape plays the market."""

from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from qtinfra.core.algo import AlgoTerms, Completion, FinishReason, SliceKind
from qtinfra.core.decimals import ZERO
from qtinfra.core.models import OrderType, TimeInForce
from qtinfra.core.strategies.inputs import MINUTE_NS, PlanInputs, Strategy
from qtinfra.core.strategies.pov import own_volume
from qtinfra.core.strategies.registry import BUILT_IN
from qtinfra.core.strategies.steering import CATCH_UP
from qtinfra.execution.parent import (
    LOOK_NS,
    Actions,
    Inputs,
    ParentView,
    Slice,
    Working,
    catch_up_cap,
    evaluate,
)

pytestmark = pytest.mark.unit

D = Decimal
START = 1_000_000 * MINUTE_NS
END = START + 30 * MINUTE_NS
STEP_NS = 5 * LOOK_NS
SIDES = pytest.mark.parametrize("buy", [True, False], ids=["buy", "sell"])


def terms(algo: str = "TWAP", **other: object) -> AlgoTerms:
    known: dict[str, object] = {"slices": 10}
    return AlgoTerms(algo, START, END, **(known | other))  # type: ignore[arg-type]


def plan_inputs(parent_qty: Decimal, filled: Decimal, lot: Decimal, now_ns: int) -> PlanInputs:
    return PlanInputs(
        True,
        parent_qty,
        filled,
        lot,
        now_ns,
        START,
        END + 60 * MINUTE_NS,
        END + 50 * MINUTE_NS,
        0,
        tuple(map(D, (4, 2, 1, 1, 2, 5))),
        D(50_000),
        D(1_000_000),
        D("0.02"),
        D("0.02"),
        D(100),
    )


def parent(
    asked: AlgoTerms, qty: int = 1000, *, buy: bool = True, limit: str | None = None, lot: int = 1
) -> ParentView:
    schedule = BUILT_IN[asked.algo].plan(asked, plan_inputs(D(qty), D(0), D(lot), START))
    return ParentView(asked, schedule, buy, D(limit) if limit else None, D(qty), D(0), D(lot))


def quotes(bid: str = "99.98", ask: str = "100.02", **other: object) -> Inputs:
    known: dict[str, object] = {"bid_size": D(500), "ask_size": D(500)}
    return Inputs(D(bid), D(ask), **(known | other))  # type: ignore[arg-type]


def look(at: ParentView, market: Inputs, now_ns: int) -> Actions:
    return evaluate(BUILT_IN[at.terms.algo], at, market, now_ns)


def only(actions: Actions) -> Slice:
    assert len(actions.slices) == 1
    return actions.slices[0]


@dataclass
class Tape:
    """Plays looks against random volume and fills, and checks after each what must always hold."""

    view: ParentView
    random: Random
    fill: float = 0.6
    quiet: float = 0.0
    volume: int = 2000
    now_ns: int = START
    others: int = 0
    base_others: int = 0
    seen: int = 0
    missed: int = 0
    interval: int = 0
    interval_others: int = 0
    interval_own: Decimal = ZERO
    sent: list[tuple[int, Slice]] = field(default_factory=list)
    finished: FinishReason | None = None
    replans: int = 0

    @property
    def strategy(self) -> Strategy:
        return BUILT_IN[self.view.terms.algo]

    def cap(self) -> Decimal | None:
        asked = self.view.terms
        if asked.max_participation is None and asked.target_rate is not None:
            return catch_up_cap(asked.target_rate)
        return asked.max_participation

    def run(self, until_ns: int = END + 10 * MINUTE_NS) -> None:
        while self.finished is None and self.now_ns < until_ns:
            self.step()

    def step(self) -> None:
        place = sum(begin <= self.now_ns for begin in self.view.schedule.times)
        self.missed = max(0, place - self.interval - 1)
        if place != self.interval:
            self.seen = self.others - self.base_others
            self.interval, self.interval_others, self.interval_own = place, 0, D(0)
            self.view.dark_sent = False
        if self.random.random() >= self.quiet:
            printed = self.random.randrange(self.volume)
            self.others += printed
            self.interval_others += printed
        self.fills()
        self.act(evaluate(self.strategy, self.view, self.market(), self.now_ns))
        self.now_ns += STEP_NS

    def market(self) -> Inputs:
        bid = 100 + D(self.random.randrange(-20, 20)) / 100
        return Inputs(
            bid,
            bid + D("0.02"),
            D(self.random.randrange(1, 900)),
            D(self.random.randrange(1, 900)),
            D(self.others - self.base_others),
            D(self.interval_others),
            self.interval_own,
            dark=self.view.terms.dark_first,
            seen=D(self.seen),
            missed=self.missed,
        )

    def fills(self) -> None:
        kept = []
        for child in self.view.working:
            part = (
                D(int(child.leaves * D(str(self.random.random()))))
                if self.random.random() < self.fill
                else D(0)
            )
            self.view.filled += part
            self.interval_own += part
            left = child.leaves - part
            over = child.cancelling or child.kind is not SliceKind.PASSIVE
            if left and not over:
                kept.append(replace(child, leaves=left))
        self.view.working = tuple(kept)

    def act(self, actions: Actions) -> None:
        asked = set(actions.cancels)
        assert asked <= {child.child_id for child in self.view.working if not child.cancelling}
        self.view.working = tuple(
            replace(child, cancelling=child.cancelling or child.child_id in asked)
            for child in self.view.working
        )
        for one in actions.slices:
            self.send(one)
        self.check()
        if actions.replan:
            self.replans += 1
            inputs = plan_inputs(self.view.qty, self.view.filled, self.view.lot, self.now_ns)
            self.view.schedule = self.strategy.plan(self.view.terms, inputs)
            self.base_others, self.seen, self.interval = self.others, 0, 0
        self.finished = actions.finished

    def send(self, one: Slice) -> None:
        limit = self.view.limit
        if limit is not None:
            assert one.price is not None
            assert one.price <= limit if self.view.buy else one.price >= limit
        if one.qty != self.view.qty - self.view.filled - self.leaves():
            assert one.qty % self.view.lot == 0
            clip = self.view.terms.max_clip
            assert clip is None or one.qty <= clip or one.reason.kind is SliceKind.FINAL
        child = Working(f"C{len(self.sent)}", one.reason.kind, one.price, one.qty, self.now_ns)
        self.view.working += (child,)
        self.sent.append((self.now_ns, one))
        self.view.crossed = self.view.crossed or one.reason.kind is SliceKind.FINAL
        self.view.dark_sent = self.view.dark_sent or one.reason.kind is SliceKind.DARK
        cap = self.cap()
        if cap is not None and cap < 1:
            own = self.interval_own + self.leaves()
            assert own * (1 - cap) <= cap * self.interval_others, "the cap holds on the interval"

    def leaves(self) -> Decimal:
        return sum((child.leaves for child in self.view.working), D(0))

    def check(self) -> None:
        assert self.view.filled + self.leaves() <= self.view.qty, "children never exceed the parent"


ALGOS = st.sampled_from(["TWAP", "VWAP", "POV", "IS"])
CAPS = st.sampled_from([None, D("0.05"), D("0.2"), D("0.5"), D(1)])


@settings(max_examples=400, deadline=None)
@given(
    algo=ALGOS,
    cap=CAPS,
    floor=st.sampled_from([None, D("0.02")]),
    qty=st.integers(1, 60_000),
    lot=st.sampled_from([1, 100]),
    buy=st.booleans(),
    limit=st.sampled_from([None, "100.00", "99.90", "100.10"]),
    clip=st.sampled_from([None, D(300)]),
    would=st.sampled_from([None, D("99.90"), D("100.10")]),
    completion=st.sampled_from([Completion.CANCEL, Completion.CROSS]),
    fill=st.sampled_from([0.0, 0.3, 0.9]),
    quiet=st.sampled_from([0.0, 0.9]),
    random_size=st.sampled_from([D(0), D("0.5")]),
    flags=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 2**32),
)
def test_any_parent_keeps_its_sum_its_limit_and_its_cap_and_never_ends_in_silence(
    algo: str,
    cap: Decimal | None,
    floor: Decimal | None,
    qty: int,
    lot: int,
    buy: bool,
    limit: str | None,
    clip: Decimal | None,
    would: Decimal | None,
    completion: Completion,
    fill: float,
    quiet: float,
    random_size: Decimal,
    flags: tuple[bool, bool],
    seed: int,
) -> None:
    asked = terms(
        algo,
        max_participation=cap,
        min_participation=floor,
        target_rate=D("0.1") if algo == "POV" else None,
        max_clip=clip,
        would_price=would,
        completion=completion,
        randomise_size=random_size,
        randomise_time=random_size,
        seed=seed,
        passive=flags[0],
        dark_first=flags[1],
    )
    tape = Tape(parent(asked, qty, buy=buy, limit=limit, lot=lot), Random(seed), fill, quiet)
    tape.run()
    assert tape.finished is not None
    assert not tape.view.working
    over = tape.view.filled == qty
    assert over == (tape.finished in (FinishReason.COMPLETED, FinishReason.CROSSED))


@settings(max_examples=25, deadline=None)
@given(
    algo=st.sampled_from(["TWAP", "VWAP", "IS"]), seed=st.integers(0, 2**32), lot=st.sampled_from([1, 100])
)
def test_where_all_trades_the_parent_completes_and_its_slices_sum_to_it(
    algo: str, seed: int, lot: int
) -> None:
    tape = Tape(parent(terms(algo, passive=False), 5_050, lot=lot), Random(seed), fill=1.0)
    tape.fills = lambda: _fill_all(tape)  # type: ignore[method-assign]
    tape.run()
    assert tape.finished is FinishReason.COMPLETED
    assert sum(one.qty for _, one in tape.sent) == 5_050
    assert tape.replans == 0


def _fill_all(tape: Tape) -> None:
    tape.interval_own += tape.leaves()
    tape.view.filled += tape.leaves()
    tape.view.working = ()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), rate=st.sampled_from([D("0.05"), D("0.1"), D("0.25")]))
def test_pov_keeps_its_rate_of_all_volume(seed: int, rate: Decimal) -> None:
    tape = Tape(parent(terms("POV", target_rate=rate, passive=False), 10**7), Random(seed), fill=1.0)

    tape.fills = lambda: _fill_all(tape)  # type: ignore[method-assign]
    tape.run(END)
    own = tape.view.filled
    assert abs(own / (own + tape.others) - rate) < D("0.01")


# --- gaps -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["TWAP", "VWAP", "IS"])
@pytest.mark.parametrize("missed", [5, 15, 25])
def test_after_a_gap_what_was_missed_is_spread_over_what_is_left_of_the_time(algo: str, missed: int) -> None:
    """A pause, a halt, a restart and a jump of the clock look alike: time has passed without a look."""
    tape = Tape(parent(terms(algo, passive=False, slices=30), 30_000), Random(1))
    tape.fills = lambda: _fill_all(tape)  # type: ignore[method-assign]
    tape.run(START + 3 * MINUTE_NS)
    before = tape.view.filled
    tape.now_ns += missed * MINUTE_NS
    resumed = tape.now_ns
    tape.step()
    assert tape.replans == 1
    assert tape.view.filled == before
    tape.run()
    fresh = BUILT_IN[algo].plan(tape.view.terms, plan_inputs(D(30_000), before, D(1), resumed))
    largest = max(
        after - start for start, after in zip((before, *fresh.targets), fresh.targets, strict=False)
    )
    late = [one.qty for at_ns, one in tape.sent if at_ns > resumed]
    assert max(late) <= (CATCH_UP * largest if algo == "VWAP" else largest)
    assert tape.finished is FinishReason.COMPLETED


def test_volume_printed_in_a_gap_is_not_caught_up_beyond_the_cap() -> None:
    at = parent(terms("POV", target_rate=D("0.1"), passive=False), 10**6)
    market = quotes(others=D(900_000), interval_others=D(900))
    assert only(look(at, market, START + MINUTE_NS)).qty == own_volume(catch_up_cap(D("0.1")), D(900), D(1))


def test_a_paused_parent_asks_all_its_children_back_and_sends_nothing() -> None:
    at = parent(terms())
    at.paused = True
    at.working = (
        Working("A", SliceKind.PASSIVE, D("99.98"), D(10), START),
        Working("B", SliceKind.PASSIVE, D("99.98"), D(10), START, cancelling=True),
        Working("C", SliceKind.CLOSE, None, D(10), START),
    )
    actions = look(at, quotes(), START + 5 * MINUTE_NS)
    assert (actions.slices, actions.cancels, actions.finished) == ((), ("A", "C"), None)


def test_a_halt_takes_children_back_and_the_next_look_comes_soon() -> None:
    at = parent(terms())
    at.working = (Working("A", SliceKind.PASSIVE, D("99.98"), D(10), START),)
    actions = look(at, quotes(trading=False), START + MINUTE_NS)
    assert (actions.slices, actions.cancels) == ((), ("A",))
    assert actions.wake_ns == START + MINUTE_NS + LOOK_NS


@pytest.mark.parametrize("market", [Inputs(), quotes("100.03", "100.02")], ids=["no quote", "crossed"])
def test_without_a_sound_quote_nothing_is_sent_and_nothing_is_planned_anew(market: Inputs) -> None:
    actions = look(parent(terms()), market, START + 20 * MINUTE_NS)
    assert actions.idle


# --- passive, then cross ----------------------------------------------------------------------------------


@SIDES
def test_a_slice_rests_at_its_own_side_first(buy: bool) -> None:
    one = only(look(parent(terms(), buy=buy), quotes(), START))
    assert (one.reason.kind, one.tif, one.qty) == (SliceKind.PASSIVE, TimeInForce.DAY, D(100))
    assert one.price == (D("99.98") if buy else D("100.02"))


@SIDES
def test_late_in_its_interval_a_resting_slice_is_asked_back_and_crosses(buy: bool) -> None:
    at = parent(terms(), buy=buy)
    late = START + 150 * LOOK_NS
    at.working = (Working("A", SliceKind.PASSIVE, D("99.98") if buy else D("100.02"), D(100), START),)
    assert look(at, quotes(), START + 60 * LOOK_NS).idle
    assert look(at, quotes(), late).cancels == ("A",)
    at.working = ()
    one = only(look(at, quotes(), late + LOOK_NS))
    assert (one.reason.kind, one.tif) == (SliceKind.CROSS, TimeInForce.IOC)
    assert one.price == (D("100.02") if buy else D("99.98"))


@SIDES
def test_a_slice_crosses_at_once_when_the_microprice_says_the_market_is_leaving(buy: bool) -> None:
    sizes = (D(900), D(100)) if buy else (D(100), D(900))
    market = quotes(bid_size=sizes[0], ask_size=sizes[1])
    assert only(look(parent(terms(), buy=buy), market, START)).reason.kind is SliceKind.CROSS


@SIDES
def test_a_resting_slice_follows_the_market_but_not_beyond_the_limit(buy: bool) -> None:
    at = parent(terms(), buy=buy, limit="100.00")
    at.working = (Working("A", SliceKind.PASSIVE, D("99.98") if buy else D("100.02"), D(100), START),)
    away = quotes("99.99", "100.03") if buy else quotes("99.97", "100.01")
    assert look(at, away, START + LOOK_NS).cancels == ("A",)
    at.working = (replace(at.working[0], price=D("100.00")),)
    gone = quotes("100.10", "100.12") if buy else quotes("99.88", "99.90")
    assert look(at, gone, START + LOOK_NS).idle


@SIDES
def test_a_slice_that_the_limit_keeps_from_crossing_rests_at_the_limit(buy: bool) -> None:
    at = parent(terms(passive=False), buy=buy, limit="100.00")
    gone = quotes("100.10", "100.12") if buy else quotes("99.88", "99.90")
    one = only(look(at, gone, START))
    assert (one.price, one.tif, one.reason.kind) == (D("100.00"), TimeInForce.DAY, SliceKind.PASSIVE)


def test_undisplayed_venues_are_asked_first_and_once_an_interval() -> None:
    at = parent(terms(dark_first=True))
    assert only(look(at, quotes(dark=True), START)).reason.kind is SliceKind.DARK
    at.dark_sent = True
    assert only(look(at, quotes(dark=True), START + LOOK_NS)).reason.kind is SliceKind.PASSIVE
    at.dark_sent = False
    assert only(look(at, quotes(dark=False), START)).reason.kind is SliceKind.PASSIVE


# --- would price, clips, floors ---------------------------------------------------------------------------


@SIDES
def test_at_the_would_price_all_of_it_is_taken_within_the_cap(buy: bool) -> None:
    would = D("100.02") if buy else D("99.98")
    at = parent(terms(would_price=would), buy=buy)
    one = only(look(at, quotes(), START))
    assert (one.qty, one.price, one.reason.kind, one.tif) == (
        D(1000),
        would,
        SliceKind.WOULD,
        TimeInForce.IOC,
    )
    at.terms = replace(at.terms, max_participation=D("0.2"))
    assert only(look(at, quotes(interval_others=D(400)), START)).qty == 100
    worse = quotes("99.99", "100.03") if buy else quotes("99.97", "100.01")
    assert only(look(at, replace(worse, interval_others=D(40_000)), START)).reason.kind is SliceKind.PASSIVE


def test_a_slice_below_the_least_clip_waits_and_one_above_the_most_is_cut() -> None:
    small = parent(terms(min_clip=D(250)))
    assert look(small, quotes(), START).idle
    assert only(look(small, quotes(), START + 6 * MINUTE_NS)).qty == 300
    assert only(look(parent(terms(max_clip=D(30))), quotes(), START)).qty == 30


def test_the_floor_pulls_quantity_forward_but_not_past_the_cap() -> None:
    at = parent(terms(min_participation=D("0.1")))
    assert only(look(at, quotes(others=D(4500), interval_others=D(4500)), START)).qty == 500
    at.terms = replace(at.terms, max_participation=D("0.2"))
    assert only(look(at, quotes(others=D(4500), interval_others=D(800)), START)).qty == 200


def test_what_venues_hold_beyond_the_cap_is_asked_back() -> None:
    at = parent(terms(max_participation=D("0.5")))
    at.working = (Working("A", SliceKind.PASSIVE, D("99.98"), D(100), START),)
    assert look(at, quotes(interval_others=D(100)), START + LOOK_NS).idle
    assert look(at, quotes(interval_others=D(99)), START + LOOK_NS).cancels == ("A",)


# --- auctions and the end ---------------------------------------------------------------------------------


def test_the_auctions_get_their_parts_once() -> None:
    asked = terms(open_share=D("0.2"), close_share=D("0.3"), passive=False)
    inputs = replace(plan_inputs(D(1000), D(0), D(1), START), open_cutoff_ns=START + 1)
    schedule = BUILT_IN["TWAP"].plan(asked, inputs)
    at = ParentView(asked, schedule, True, None, D(1000), D(0), D(1))
    opening = only(look(at, Inputs(trading=False, open_auction=True), START))
    assert (opening.qty, opening.tif, opening.order_type) == (D(200), TimeInForce.AT_OPEN, OrderType.MARKET)
    at.open_sent, at.working = True, (Working("O", SliceKind.OPEN, None, D(200), START),)
    assert only(look(at, quotes(), START)).qty == 50
    at.schedule = replace(schedule, close_ns=START + MINUTE_NS)
    closing = only(look(at, quotes(close_auction=True), START + MINUTE_NS))
    assert (closing.qty, closing.tif) == (D(300), TimeInForce.AT_CLOSE)


@pytest.mark.parametrize(
    ("completion", "auction", "kind", "finished"),
    [
        (Completion.CANCEL, True, None, FinishReason.RESIDUAL_CANCELLED),
        (Completion.CROSS, True, SliceKind.FINAL, None),
        (Completion.CLOSE, True, SliceKind.CLOSE, FinishReason.HANDED_TO_CLOSE),
        (Completion.CLOSE, False, None, FinishReason.RESIDUAL_CANCELLED),
    ],
)
def test_at_the_end_what_is_left_follows_the_completion_policy(
    completion: Completion, auction: bool, kind: SliceKind | None, finished: FinishReason | None
) -> None:
    at = parent(terms(completion=completion), limit="100.00")
    market = quotes(close_auction=auction)
    at.working = (Working("A", SliceKind.PASSIVE, D("99.98"), D(100), START),)
    first = look(at, market, END)
    assert (first.cancels, first.slices, first.finished) == (("A",), (), None)
    at.working = ()
    actions = look(at, market, END + LOOK_NS)
    assert actions.finished is finished
    assert [one.reason.kind for one in actions.slices] == ([kind] if kind else [])
    assert all((one.qty, one.price) == (D(1000), D("100.00")) for one in actions.slices)


def test_the_final_cross_stays_within_the_cap_and_the_rest_is_cancelled() -> None:
    at = parent(terms(completion=Completion.CROSS, max_participation=D("0.5")))
    assert only(look(at, quotes(interval_others=D(300)), END)).qty == 300
    at.crossed, at.filled = True, D(300)
    assert look(at, quotes(interval_others=D(9000)), END).finished is FinishReason.RESIDUAL_CANCELLED


def test_a_parent_that_is_paused_over_its_end_ends_and_says_so() -> None:
    at = parent(terms(completion=Completion.CROSS))
    at.paused = True
    actions = look(at, quotes(), END)
    assert (actions.finished, actions.slices) == (FinishReason.RESIDUAL_CANCELLED, ())


def test_a_slice_says_why_it_was_sent() -> None:
    at = parent(terms(max_participation=D("0.5")))
    at.filled, at.arrival_mid = D(50), D("100.01")
    why = only(look(at, quotes(interval_others=D(5000), interval_own=D(50)), START + LOOK_NS)).reason
    assert (why.arrival_mid, why.target, why.filled, why.working, why.left) == (
        D("100.01"),
        D(100),
        D(50),
        D(0),
        D(950),
    )
    assert (why.bid, why.ask, why.room, why.urgency) == (D("99.98"), D("100.02"), D(4950), 5)


def test_with_nothing_to_do_the_next_look_is_at_the_next_release() -> None:
    at = parent(terms())
    at.filled = D(100)
    assert look(at, quotes(), START + LOOK_NS).wake_ns == at.schedule.releases[1]
