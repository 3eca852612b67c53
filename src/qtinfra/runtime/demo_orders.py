"""Scenes with orders that are not plain: triggers, hidden size, pegs, lists, an order with its own end.

The synthetic venues take limit and market orders only, so the engine holds all of these and follows the
market. A scene waits for what it tells of, up to a limit, and says so when it did not come about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

from qtinfra.core.commands import CancelOrder, SubmitList, SubmitOrder, TimerFired, TimerKind
from qtinfra.core.models import Order, OrderSide, OrderType, TimeInForce
from qtinfra.core.special import Link, Peg, SpecialTerms
from qtinfra.runtime.demo_script import BUY, CENT, MS, SECOND, SELL, Scene, Stage, describe, number

#: The longest that a scene waits for the market, in seconds.
PATIENCE_S = 200


def special(
    account: str,
    cl_ord_id: str,
    symbol: str,
    side: OrderSide,
    kind: OrderType,
    qty: int,
    price: Decimal | None = None,
    terms: SpecialTerms | None = None,
    tif: TimeInForce = TimeInForce.DAY,
) -> SubmitOrder:
    """A client order with terms of its own."""
    return SubmitOrder(account, cl_ord_id, symbol, side, kind, tif, Decimal(qty), price, special=terms)


def _until(done: Callable[[], bool]) -> Iterator[int]:
    """Wait second by second until something has come about, or patience ends."""
    for _ in range(PATIENCE_S):
        if done():
            return
        yield SECOND


def _waiting(stage: Stage, order: Order) -> bool:
    """Whether the engine still watches the market for the order."""
    return order.order_id in stage.state.watched.get(order.symbol, {})


def stop(stage: Stage) -> Iterator[int]:
    """A stop above the market waits in the engine and goes out when the offer reaches it."""
    stop_px = stage.touch("JPM")[1] + 2 * CENT
    at = stage.now_ns
    command = special("alpha", "S100", "JPM", BUY, OrderType.STOP, 200, terms=SpecialTerms(stop_px=stop_px))
    stage.ask("alpha", command)
    order = stage.order("alpha", "S100")
    asked = f"BUY 200 JPM, stop at {number(stop_px)}"
    stage.tell(
        at, "alpha", asked, "held by the engine" if not order.children else stage.outcome("alpha", "S100")
    )
    yield from _until(lambda: not _waiting(stage, order))
    at = stage.now_ns
    yield 5 * MS
    stage.tell(at, "market", f"the offer in JPM and the stop at {number(stop_px)}", _came(stage, order))


def trailing_stop(stage: Stage) -> Iterator[int]:
    """A sell stop that follows the bid up and never down."""
    at, trail = stage.now_ns, 4 * CENT
    command = special(
        "beta", "S110", "MSFT", SELL, OrderType.TRAILING_STOP, 100, terms=SpecialTerms(trail=trail)
    )
    stage.ask("beta", command)
    order = stage.order("beta", "S110")
    first = best = stage.state.watched["MSFT"][order.order_id]
    asked = f"SELL 100 MSFT, trailing stop {number(trail)} behind"
    began = "waits for a bid" if first is None else f"begins at the bid of {number(first)}"
    stage.tell(at, "beta", asked, f"held by the engine; {began}")
    for _ in range(PATIENCE_S):
        if not _waiting(stage, order):
            break
        best = stage.state.watched["MSFT"][order.order_id]
        yield SECOND
    at = stage.now_ns
    yield 5 * MS
    seen = "the trailing stop" if best is None else f"the bid has been {number(best)}"
    stage.tell(at, "market", f"{seen}, then fell", _came(stage, order))


def _came(stage: Stage, order: Order) -> str:
    words = describe(stage.state, order)
    return f"not triggered yet; {words}" if _waiting(stage, order) else f"triggered; {words}"


def iceberg(stage: Stage) -> Iterator[int]:
    """A thousand shares of which venues never see more than two hundred."""
    at, price = stage.now_ns, stage.touch("JPM")[1] + CENT
    command = special(
        "alpha", "S120", "JPM", BUY, OrderType.ICEBERG, 1_000, price, SpecialTerms(display_qty=Decimal(200))
    )
    stage.ask("alpha", command)
    order = stage.order("alpha", "S120")
    yield from _until(lambda: not order.open)
    parts = [stage.state.children[child_id].qty for child_id in order.children]
    sent = f"{len(parts)} parts of at most {number(max(parts))}"
    asked = f"BUY 1,000 JPM at {number(price)}, showing 200"
    stage.tell(at, "alpha", asked, f"{sent}; {stage.outcome('alpha', 'S120')}")


def pegged(stage: Stage) -> Iterator[int]:
    """A buy pegged five cents below the best bid follows it for half a minute, then is cancelled."""
    at = stage.now_ns
    command = special(
        "gamma",
        "S130",
        "MSFT",
        BUY,
        OrderType.PEGGED,
        300,
        terms=SpecialTerms(peg=Peg.PRIMARY, peg_offset=5 * CENT),
    )
    stage.ask("gamma", command)
    order = stage.order("gamma", "S130")
    prices: dict[Decimal, None] = {}
    for _ in range(30):
        for child in stage.state.working_children(order):
            if child.price is not None:
                prices[child.price] = None
        yield SECOND
    seen = list(prices)
    followed = f"{len(seen)} prices from {number(min(seen))} to {number(max(seen))}" if seen else "not placed"
    stage.tell(at, "gamma", "BUY 300 MSFT pegged 0.05 below the best bid", f"in 30 s it stood at {followed}")
    at = stage.now_ns
    stage.ask("gamma", CancelOrder("gamma", "S131", "S130"))
    yield 5 * MS
    stage.tell(at, "gamma", "cancel it", stage.outcome("gamma", "S130"))


def one_cancels_other(stage: Stage) -> Iterator[int]:
    """A profit target above and a stop below: whichever executes ends the other."""
    at, (bid, ask) = stage.now_ns, stage.touch("KO")
    target, stop_px = ask + 2 * CENT, bid - 2 * CENT
    orders = (
        special("alpha", "S140", "KO", SELL, OrderType.LIMIT, 200, target),
        special("alpha", "S141", "KO", SELL, OrderType.STOP, 200, terms=SpecialTerms(stop_px=stop_px)),
    )
    stage.ask("alpha", SubmitList(Link.OCO, orders))
    both = [stage.order("alpha", name) for name in ("S140", "S141")]
    asked = f"OCO: SELL 200 KO at {number(target)}, or stop {number(stop_px)}"
    stage.tell(at, "alpha", asked, f"both accepted, 200 between them; target: {both[0].status}")
    yield from _until(lambda: not any(order.open for order in both))
    _tell_list(stage, "alpha", "the pair", ("target", "stop"), both)


def bracket(stage: Stage) -> Iterator[int]:
    """An entry and its two exits; the exits live for what the entry has executed."""
    at, (bid, ask) = stage.now_ns, stage.touch("JPM")
    target, stop_px = ask + 3 * CENT, bid - 3 * CENT
    orders = (
        special("beta", "S150", "JPM", BUY, OrderType.LIMIT, 300, ask),
        special("beta", "S151", "JPM", SELL, OrderType.LIMIT, 300, target),
        special("beta", "S152", "JPM", SELL, OrderType.STOP, 300, terms=SpecialTerms(stop_px=stop_px)),
    )
    stage.ask("beta", SubmitList(Link.BRACKET, orders))
    three = [stage.order("beta", name) for name in ("S150", "S151", "S152")]
    sent = sum(len(order.children) for order in three[1:])
    yield 5 * MS
    asked = f"bracket: BUY 300 JPM at {number(ask)}, target {number(target)}, stop {number(stop_px)}"
    answered = f"exits at venues before the entry traded: {sent}; entry {stage.outcome('beta', 'S150')}"
    stage.tell(at, "beta", asked, answered)
    yield from _until(lambda: not any(order.open for order in three))
    _tell_list(stage, "beta", "the exits", ("target", "stop"), three[1:])


def _tell_list(stage: Stage, who: str, what: str, names: tuple[str, ...], orders: list[Order]) -> None:
    told = "; ".join(
        f"{name} {describe(stage.state, order)}" for name, order in zip(names, orders, strict=True)
    )
    stage.tell(stage.now_ns, who, f"{what}: what came of it?", told)


def good_till_date(stage: Stage) -> Iterator[int]:
    """An order that ends at its own time, by the expiry timer."""
    at, price = stage.now_ns, stage.touch("KO")[0] - 60 * CENT
    ends = at + 30 * SECOND
    command = special(
        "gamma",
        "S160",
        "KO",
        BUY,
        OrderType.LIMIT,
        200,
        price,
        SpecialTerms(expire_ns=ends),
        TimeInForce.GTD,
    )
    stage.ask("gamma", command)
    yield 5 * MS
    asked = f"BUY 200 KO at {number(price)}, good for 30 seconds"
    stage.tell(at, "gamma", asked, stage.outcome("gamma", "S160"))
    yield ends - stage.now_ns
    at = stage.now_ns
    stage.ask("timer", TimerFired(TimerKind.EXPIRY, stage.state.trade_date))
    yield 5 * MS
    stage.tell(at, "timer", "the time of the GTD order has come", stage.outcome("gamma", "S160"))


#: When each scene begins, in seconds after the open.
ORDER_SCENES: tuple[tuple[int, Scene], ...] = (
    (110, stop),
    (200, trailing_stop),
    (290, iceberg),
    (380, pegged),
    (430, one_cancels_other),
    (660, bracket),
    (830, good_till_date),
)
