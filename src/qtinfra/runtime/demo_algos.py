"""Scenes with orders that algorithms work: eight parents, and what clients, staff and venues do to them.

They belong to an account of its own, so that their sizes need no wider limits for anybody else. They run
through everything else that the script does: the venue that goes away takes children of theirs with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from qtinfra.core.algo import AlgoTerms, Completion
from qtinfra.core.calendar import CUTOFFS, TradingSession, VenueCalendar
from qtinfra.core.commands import (
    ApproveParty,
    CancelOrder,
    EngageKillSwitch,
    HaltInstrument,
    LoadPosition,
    PauseAlgo,
    ReleaseKillSwitch,
    ReplaceOrder,
    ResumeAlgo,
    SetCalendar,
    SetLimit,
    SetMarketProfile,
    SetReference,
    SetVolumeCurve,
    SubmitOrder,
)
from qtinfra.core.decimals import ZERO
from qtinfra.core.extended_models import (
    US_EQUITY_TICKS,
    Account,
    Instrument,
    KillScope,
    LimitRule,
    PartyKind,
    Venue,
)
from qtinfra.core.models import AssetClass, Currency, OrderSide, OrderType, TimeInForce
from qtinfra.core.strategies.registry import BUILT_IN
from qtinfra.runtime.demo_board import ALGO_ACCOUNT
from qtinfra.runtime.demo_controls import STAFF
from qtinfra.runtime.demo_script import (
    BUY,
    CLOSE_NS,
    MINUTES,
    MS,
    SECOND,
    SELL,
    Scene,
    Stage,
    number,
    refusal,
)
from qtinfra.runtime.expectations import activity_bins
from qtinfra.runtime.synthetic_session import OPEN_NS, TRADE_DATE
from qtinfra.venues.simulated.flow import FULL_DAY_S

#: Where the closing auction is held, and the symbol that is listed there. Its cut-offs are Nasdaq's.
LISTING, CLOSING = "XNAS", "NVDA"
#: Units that others are expected to bring to that auction.
CLOSE_VOLUME = Decimal(200_000)
_CLIENT = "west"
_LIMITS = (
    (LimitRule.MAX_ORDER_QTY, Decimal(80_000)),
    (LimitRule.MAX_ORDER_VALUE, Decimal(15_000_000)),
    (LimitRule.POSITION_LIMIT, Decimal(200_000)),
)
#: What the account holds at the open, so that its sales are of what it owns.
_HOLDINGS = (("AAPL", 100_000, "208.40"), ("JPM", 30_000, "203.10"))
_HALT_S = 45


# --- the opening --------------------------------------------------------------------------------------------


def open_algo_desk(stage: Stage) -> None:
    """The account, its limits and holdings, the listing with its calendar, curves and profiles, approvals."""
    owner = Account(ALGO_ACCOUNT, _CLIENT, Currency.USD, firm="demo")
    instrument, venue = _listed(stage)
    stage.ask("system", SetReference((instrument,), (owner,), (venue,)))
    for rule, value in _LIMITS:
        stage.ask("risk", SetLimit(rule, value, ALGO_ACCOUNT))
    for symbol, qty, cost in _HOLDINGS:
        stage.ask("staff:desk", LoadPosition(ALGO_ACCOUNT, symbol, Decimal(qty), Decimal(cost), TRADE_DATE))
    session = TradingSession(TRADE_DATE, OPEN_NS, CLOSE_NS)
    calendar = VenueCalendar(
        LISTING, TRADE_DATE, TRADE_DATE, (session,), CUTOFFS[LISTING], "the demonstration's twenty minutes"
    )
    stage.ask("system", SetCalendar(calendar))
    _expectations(stage)


def approve_algos(stage: Stage) -> None:
    """The desk's staff approve every algo that comes with the engine."""
    for algo in BUILT_IN:
        stage.ask("risk", ApproveParty(PartyKind.ALGO, algo, author=STAFF[0]))


def _listed(stage: Stage) -> tuple[Instrument, Venue]:
    """The symbol of the closing auction with its listing venue first, and that venue with on-close orders."""
    known = stage.state.instruments[CLOSING]
    others = tuple(mic for mic in known.listings if mic != LISTING)
    instrument = Instrument(
        CLOSING, AssetClass.EQUITY, Currency.USD, (LISTING, *others), US_EQUITY_TICKS, known.lot_size
    )
    venue = stage.state.venues[LISTING]
    takes = (*venue.time_in_force, TimeInForce.AT_CLOSE.value)
    return instrument, Venue(
        LISTING, LISTING, Currency.USD, venue.take_fee, venue.make_fee, time_in_force=takes
    )


def _expectations(stage: Stage) -> None:
    """Volume by the minute as this market's activity has it, and what each symbol's session should bring."""
    bins = activity_bins(stage.market, OPEN_NS, CLOSE_NS, MINUTES)
    for spec in stage.market.instruments:
        stage.ask("staff:desk", SetVolumeCurve(spec.symbol, TRADE_DATE, OPEN_NS, CLOSE_NS, bins))
        profile = SetMarketProfile(
            spec.symbol,
            Decimal(spec.average_daily_volume * MINUTES * 60 // FULL_DAY_S),
            Decimal(str(spec.daily_volatility)),
            spec.spread_ticks * spec.tick,
            CLOSE_VOLUME if spec.symbol == CLOSING else None,
        )
        stage.ask("staff:desk", profile)


# --- asking -------------------------------------------------------------------------------------------------


def _work(
    stage: Stage,
    cl_ord_id: str,
    side: OrderSide,
    qty: int,
    symbol: str,
    terms: AlgoTerms,
    words: str,
) -> None:
    """Send a parent and tell how it was planned."""
    kind, tif = OrderType.MARKET, TimeInForce.DAY
    at = stage.now_ns
    command = SubmitOrder(ALGO_ACCOUNT, cl_ord_id, symbol, side, kind, tif, Decimal(qty), algo=terms)
    events = stage.ask(ALGO_ACCOUNT, command)
    asked = f"{cl_ord_id}: {terms.algo} {side} {qty:,} {symbol}, {words}"
    stage.tell(at, ALGO_ACCOUNT, asked, _planned(stage, cl_ord_id) or refusal(events))


def _planned(stage: Stage, cl_ord_id: str) -> str:
    """The plan of a parent that is worked, in words; empty when it is not."""
    order = stage.state.find_order(ALGO_ACCOUNT, cl_ord_id)
    parent = stage.state.algos.parents.get(order.order_id) if order is not None else None
    if parent is None:
        return ""
    schedule = parent.schedule
    if schedule.rate is not None and not schedule.targets:
        return f"planned: {number(schedule.rate * 100)}% of what prints"
    plan = f"planned: {len(schedule.times)} slices"
    if schedule.rate is not None:
        plan += ", the day's volume moves them"
    return f"{plan}, {number(schedule.close_qty)} for the close" if schedule.close_qty else plan


def _until(seconds: int) -> int:
    return OPEN_NS + seconds * SECOND


def _steer(stage: Stage, who: str, asked: str, cl_ord_id: str) -> Iterator[int]:
    """Wait for the venues' answers to what was just asked, then tell how the parent stands."""
    at = stage.now_ns
    yield 5 * MS
    order = stage.order(ALGO_ACCOUNT, cl_ord_id)
    done = f"{number(order.cum_qty)} of {number(order.qty)} done"
    working = sum((child.leaves for child in stage.state.working_children(order)), ZERO)
    at_venues = f"{number(working)} at venues" if working else "nothing at venues"
    parent = stage.state.algos.parents.get(order.order_id)
    if parent is None:
        state = order.status.value
    elif order.symbol in stage.state.halted:
        state = "waits for the halt to end"
    else:
        state = f"paused: {parent.paused}" if parent.paused else "working"
    stage.tell(at, who, asked, f"{state}; {done}, {at_venues}")


# --- the parents --------------------------------------------------------------------------------------------


def twap(stage: Stage) -> Iterator[int]:
    """Equal parts of the time; staff pause it for a minute and a half, and it makes no burst of it."""
    terms = AlgoTerms(
        "TWAP",
        stage.now_ns,
        _until(900),
        slices=26,
        randomise_time=Decimal("0.3"),
        randomise_size=Decimal("0.2"),
        seed=1,
        completion=Completion.CROSS,
    )
    _work(stage, "TWAP-1", BUY, 6_000, "MSFT", terms, "13 minutes")
    yield 180 * SECOND
    stage.ask("staff:desk", PauseAlgo(ALGO_ACCOUNT, "TWAP-1", "news is out"))
    yield from _steer(stage, "desk", "pauses TWAP-1: news is out", "TWAP-1")
    yield 90 * SECOND
    stage.ask("staff:desk", ResumeAlgo(ALGO_ACCOUNT, "TWAP-1", "news is read"))
    yield from _steer(stage, "desk", "resumes it; what is left is planned anew", "TWAP-1")


def vwap(stage: Stage) -> Iterator[int]:
    """The volume curve; the client adds a quarter to it on the way."""
    terms = AlgoTerms("VWAP", stage.now_ns, _until(1150), slices=34, completion=Completion.CROSS)
    _work(stage, "VWAP-1", SELL, 24_000, "AAPL", terms, "17 minutes by the volume curve")
    yield 370 * SECOND
    request = ReplaceOrder(ALGO_ACCOUNT, "VWAP-1a", "VWAP-1", Decimal(30_000))
    stage.ask(ALGO_ACCOUNT, request)
    yield from _steer(stage, ALGO_ACCOUNT, "amends VWAP-1 to 30,000", "VWAP-1")


def pov(stage: Stage) -> Iterator[int]:
    """A tenth of what prints, until it is done."""
    terms = AlgoTerms("POV", stage.now_ns, _until(940), target_rate=Decimal("0.1"))
    _work(stage, "POV-1", SELL, 20_000, "JPM", terms, "10% of the volume")
    yield SECOND


def shortfall(stage: Stage) -> Iterator[int]:
    """Fast at first: impact against the risk of waiting."""
    terms = AlgoTerms(
        "IS",
        stage.now_ns,
        _until(750),
        risk_aversion=Decimal("0.0001"),
        slices=20,
        completion=Completion.CROSS,
    )
    _work(stage, "IS-1", BUY, 12_000, "KO", terms, "risk aversion 0.0001")
    yield SECOND


def target_close(stage: Stage) -> Iterator[int]:
    """The closing auction takes what the cap allows there; the rest is bought on the way."""
    terms = AlgoTerms(
        "TARGET_CLOSE",
        stage.now_ns,
        CLOSE_NS - 30 * SECOND,
        max_participation=Decimal("0.1"),
        completion=Completion.CLOSE,
    )
    _work(stage, "CLOSE-1", BUY, 30_000, CLOSING, terms, "at most 10% of any volume")
    yield SECOND


def cancelled(stage: Stage) -> Iterator[int]:
    """A parent that the client takes back."""
    terms = AlgoTerms("TWAP", stage.now_ns, _until(800), slices=20)
    _work(stage, "TWAP-2", BUY, 5_000, "KO", terms, "10 minutes")
    yield 350 * SECOND
    stage.ask(ALGO_ACCOUNT, CancelOrder(ALGO_ACCOUNT, "TWAP-2c", "TWAP-2"))
    yield from _steer(stage, ALGO_ACCOUNT, "cancels TWAP-2", "TWAP-2")


def halted(stage: Stage) -> Iterator[int]:
    """The exchange halts the symbol in the middle of the schedule."""
    terms = AlgoTerms("VWAP", stage.now_ns, _until(1140), slices=30, completion=Completion.CROSS)
    _work(stage, "VWAP-2", BUY, 30_000, CLOSING, terms, "15 minutes by the volume curve")
    yield 490 * SECOND
    for venue in stage.market.matching.values():
        venue.halt(CLOSING, True)
    stage.ask("exchange", HaltInstrument(CLOSING, True, "volatility"))
    yield 2 * SECOND
    yield from _steer(stage, "exchange", f"halts {CLOSING}, where VWAP-2 works", "VWAP-2")
    yield _HALT_S * SECOND
    for venue in stage.market.matching.values():
        venue.halt(CLOSING, False)
    stage.ask("exchange", HaltInstrument(CLOSING, False, "over"))
    yield 2 * SECOND
    yield from _steer(stage, "exchange", f"resumes {CLOSING}; VWAP-2 goes on by itself", "VWAP-2")


def killed(stage: Stage) -> Iterator[int]:
    """Risk staff stop an algo wherever it works, and new orders by it."""
    terms = AlgoTerms("POV", stage.now_ns, _until(1190), target_rate=Decimal("0.05"))
    _work(stage, "POV-2", SELL, 60_000, "AAPL", terms, "5% of the volume")
    yield 210 * SECOND
    stage.ask("risk", EngageKillSwitch(KillScope.ALGO, "POV", "drill"))
    yield from _steer(stage, "risk", "kill switch for the algo POV, which works POV-2", "POV-2")
    yield SECOND
    again = AlgoTerms("POV", stage.now_ns, _until(1190), target_rate=Decimal("0.05"))
    _work(stage, "POV-3", SELL, 60_000, "AAPL", again, "the rest of it")
    yield 20 * SECOND
    stage.ask("risk", ReleaseKillSwitch(KillScope.ALGO, "POV", "drill over"))


#: When each scene begins, in seconds after the open.
ALGO_SCENES: tuple[tuple[int, Scene], ...] = (
    (120, twap),
    (130, vwap),
    (140, pov),
    (150, shortfall),
    (160, target_close),
    (205, cancelled),
    (215, halted),
    (770, killed),
)
