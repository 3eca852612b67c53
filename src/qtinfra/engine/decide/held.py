"""Orders that are not plain: taken, held until their moment, placed slice by slice, re-priced.

A stop triggers when the market trades or is quoted at or through it (the bid for a sell, the offer for a
buy), as `SpecialTerms` says. It does not while its symbol is halted, outside the session of a journaled
calendar, or while no venue could take it; what happened meanwhile is not made up for: the market as it stands
afterwards decides.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.commands import MarketMoved, SubmitOrder
from qtinfra.core.decimals import ZERO, canonical
from qtinfra.core.decisions import Refusal, RiskApproved, RiskRefused
from qtinfra.core.events import CommandRefused, OrderAccepted, OrderCancelled
from qtinfra.core.extended_models import Account, Instrument
from qtinfra.core.market import MarketView
from qtinfra.core.models import Child, ChildStatus, Order, OrderSide, OrderType, TimeInForce
from qtinfra.core.special import SpecialTerms
from qtinfra.core.special_events import OrderHeld, OrderTriggered, PegLeg, PegRepriced, WatermarkMoved
from qtinfra.core.validation.rules import check_number
from qtinfra.core.validation.special import NO_TERMS, ON_AUCTION, TRIGGERED, check_auction, check_special
from qtinfra.engine.decide.ahead import Ahead
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.placing import (
    MAPPED,
    child_terms,
    child_tif,
    is_exit,
    is_mapped,
    is_trading,
    peg_price,
    placeable,
    send_whole,
    terms_of,
)
from qtinfra.engine.decide.price_test import watch_fall
from qtinfra.engine.decide.risk_gate import check_stop_risk, gate, reapprove, seen_reference, use_overrides
from qtinfra.engine.decide.routing import eligible_venues, route
from qtinfra.engine.decide.routing_desk import wrong_routing
from qtinfra.engine.state import State
from qtinfra.risk.checks import RiskPassed

_HELD = (*TRIGGERED, OrderType.PEGGED)
_IMMEDIATE = (TimeInForce.IOC, TimeInForce.FOK)


# --- taking an order --------------------------------------------------------------------------------------


def submit_special(
    state: State,
    command: SubmitOrder,
    account: Account,
    instrument: Instrument | None,
    now_ns: int,
    market: MarketView,
    out: Decision,
) -> Refusal | None:
    """Accept and hold or place a new order with special terms; the refusal when it may not be."""
    if command.special is not None and command.special.link is not None:
        text = "orders of a list come in one list"
        return Refusal("link_not_allowed", text, "link", "", command.special.link)
    verdict = check(state, command, account, instrument, now_ns, market)
    if isinstance(verdict, Refusal):
        return verdict
    terms = command.special if command.special is not None else NO_TERMS
    return accept(state, command, terms, verdict, now_ns, market, out)


def check(
    state: State,
    command: SubmitOrder,
    account: Account,
    instrument: Instrument | None,
    now_ns: int,
    market: MarketView,
    *,
    adds: Decimal | None = None,
    ahead: Ahead | None = None,
) -> RiskPassed | Refusal:
    """Rules, then risk as for any order: exposure counts from acceptance on.

    Args:
        adds: what the order adds to what is open; None for its quantity. A bracket's exits add nothing.
        ahead: the orders of the same list before this one.
    """
    if command.algo is not None:
        return Refusal("algo_not_allowed", "an order of a list has no algo", "algo", "", command.algo.algo)
    halted = command.symbol in state.halted
    refusal = (
        check_special(command, account, instrument, halted, now_ns)
        or wrong_routing(state, command.special)
        or _check_auction_venue(state, command, now_ns)
        or check_stop_risk(
            state, command.account, command.symbol, command.side, command.qty, command.price, command.special
        )
    )
    if refusal is not None:
        return refusal
    waits = command.order_type in TRIGGERED
    verdict = gate(
        state,
        market,
        account=command.account,
        trader=command.trader,
        symbol=command.symbol,
        side=command.side,
        order_type=command.order_type,
        tif=command.tif,
        qty=command.qty,
        adds=command.qty if adds is None else adds,
        price=None if waits else command.price,
        min_qty=command.min_qty or ZERO,
        now_ns=now_ns,
        special=command.special,
        worth=command.price,
        ahead=ahead,
    )
    if isinstance(verdict, RiskRefused):
        return verdict.refusal
    return msgspec.structs.replace(verdict, qty=command.qty, price=command.price)


def _check_auction_venue(state: State, command: SubmitOrder, now_ns: int) -> Refusal | None:
    """An order for an auction goes to the primary listing, which must hold auctions, before the cut-off."""
    if command.tif not in ON_AUCTION:
        return None
    mic = state.instruments[command.symbol].listings[0]
    takes = state.venues[mic].time_in_force
    if command.tif not in takes:
        text = f"the listing venue {mic} takes no {command.tif} orders"
        return Refusal("unsupported_time_in_force", text, "time_in_force", ", ".join(takes), command.tif)
    if not any(venue.mic == mic for venue in eligible_venues(state, command.symbol, [])):
        text = f"the listing venue {mic} of {command.symbol} is not connected"
        return Refusal("no_venue", text, "symbol", "", command.symbol)
    return check_auction(command, state.calendars.get(mic), now_ns)


def accept(
    state: State,
    command: SubmitOrder,
    terms: SpecialTerms,
    approved: RiskApproved,
    now_ns: int,
    market: MarketView,
    out: Decision,
    *,
    dormant: bool = False,
) -> Refusal | None:
    """The order exists; it goes to a venue that takes its type, is held, or its first part is placed.

    Args:
        dormant: nothing of it may live yet.
    """
    use_overrides(approved, command.account, command.cl_ord_id, out)
    order_id = out.order_id()
    out.add(_accepted(order_id, command, terms, now_ns, seen_reference(approved)))
    if dormant:
        return None
    mic = _mapped_venue(state, command, terms, now_ns)
    if mic:
        tif = child_tif(state, command.symbol, command.order_type, command.tif, terms.expire_ns, now_ns)
        send_whole(out, order_id, mic, command.order_type, tif, approved, f"{mic} holds it", now_ns)
        return None
    if command.order_type in _HELD:
        out.add(OrderHeld(order_id, None, now_ns))
        return None
    kind = OrderType.MARKET if command.price is None else OrderType.LIMIT
    if command.tif in ON_AUCTION:
        mic = state.instruments[command.symbol].listings[0]
        send_whole(out, order_id, mic, kind, command.tif, approved, "auction at the listing venue", now_ns)
        return None
    tif = child_tif(state, command.symbol, kind, command.tif, terms.expire_ns, now_ns)
    qty = min(command.qty, terms.display_qty) if terms.display_qty is not None else command.qty
    first = msgspec.structs.replace(approved, order_type=kind, tif=tif, qty=qty)
    if route(state, order_id, first, [], now_ns, market, out, terms.routing):
        return None
    out.events = ()
    text = f"no connected venue trades {command.symbol}"
    return Refusal("no_venue", text, "symbol", "", command.symbol)


def _accepted(
    order_id: str, command: SubmitOrder, terms: SpecialTerms, now_ns: int, reference: Decimal | None
) -> OrderAccepted:
    return OrderAccepted(
        order_id,
        command,
        now_ns,
        terms,
        reference,
    )


def _mapped_venue(state: State, command: SubmitOrder, terms: SpecialTerms, now_ns: int) -> str:
    """The first venue that takes the order with its terms; empty when the engine holds it. Orders of a list
    stay here: their quantity depends on each other's executions."""
    if command.order_type not in MAPPED or terms.link is not None:
        return ""
    tif = child_tif(state, command.symbol, command.order_type, command.tif, terms.expire_ns, now_ns)
    for terms_of_venue in eligible_venues(state, command.symbol, []):
        venue = state.venues[terms_of_venue.mic]
        if command.order_type in venue.order_types and tif in venue.time_in_force:
            return venue.mic
    return ""


# --- the market moves -------------------------------------------------------------------------------------


def market_moved(state: State, command: MarketMoved, now_ns: int, market: MarketView, out: Decision) -> None:
    """Look at what is held in the symbol: one pass over its held orders."""
    last = command.last_px
    if last is not None:
        refusal = check_number("last_px", last)
        if refusal is not None:
            out.add(
                CommandRefused("", "", refusal.code, "last_px", refusal.limit, str(last)[:60], refusal.text)
            )
            return
    if command.symbol in state.risk.closes:
        watch_fall(state, command.symbol, last, market.book(command.symbol), now_ns, out)
    for order_id in state.watched.get(command.symbol, ()):
        order = state.orders[order_id]
        if order.pending_cancel is None and is_trading(state, order, now_ns):
            look(state, order, last, now_ns, market, out)


def look(
    state: State, order: Order, last: Decimal | None, now_ns: int, market: MarketView, out: Decision
) -> None:
    """What the market means for one held order: a trigger, a new watermark, a new price."""
    if order.order_type is OrderType.PEGGED:
        _follow(state, order, now_ns, market, out)
        return
    book = market.book(order.symbol)
    buying = order.side is OrderSide.BUY
    quote = None if book is None else book.best_ask() if buying else book.best_bid()
    seen = [(px, by) for px, by in ((last, "last"), (quote, "ask" if buying else "bid")) if px is not None]
    if not seen:
        return
    watermark = state.watched[order.symbol][order.order_id]
    stop = stop_price(order, watermark)
    px, by = max(seen) if buying else min(seen)
    if stop is not None and (px >= stop if buying else px <= stop):
        if placeable(state, order) and eligible_venues(state, order.symbol, order.refused_venues):
            out.add(OrderTriggered(order.order_id, canonical(stop), canonical(px), by, now_ns))
        return
    if order.order_type is OrderType.TRAILING_STOP:
        best = min(seen)[0] if buying else max(seen)[0]
        _trail(state, order, watermark, best, now_ns, out)


def stop_price(order: Order, watermark: Decimal | None) -> Decimal | None:
    """Where the order triggers: its stop, or its distance behind the best price seen."""
    terms = terms_of(order)
    if order.order_type is not OrderType.TRAILING_STOP:
        return terms.stop_px
    if watermark is None or terms.trail is None:
        return None
    return watermark + terms.trail if order.side is OrderSide.BUY else watermark - terms.trail


def _trail(
    state: State, order: Order, watermark: Decimal | None, best: Decimal, now_ns: int, out: Decision
) -> None:
    if watermark is not None:
        gain = watermark - best if order.side is OrderSide.BUY else best - watermark
        if gain < state.instruments[order.symbol].tick_at(best):
            return
    out.add(WatermarkMoved(order.order_id, canonical(best), now_ns))


def _follow(state: State, order: Order, now_ns: int, market: MarketView, out: Decision) -> None:
    """Place a pegged order at its price, or let its children follow it there."""
    book = market.book(order.symbol)
    terms, instrument = terms_of(order), state.instruments[order.symbol]
    price = peg_price(order.side, terms, order.price, book, instrument)
    if price is None or order.pending_replace is not None:
        return
    working = state.working_children(order)
    if not working:
        _place(state, order, now_ns, market, out)
        return
    moving = [child for child in working if _may_move(state, child) and child.price != price]
    if not moving:
        return
    legs = tuple(
        PegLeg(child.child_id, out.venue_id(number), child.qty, price) for number, child in enumerate(moving)
    )
    bid = book.best_bid() if book is not None else None
    ask = book.best_ask() if book is not None else None
    out.add(PegRepriced(order.order_id, legs, bid, ask, now_ns))


def _may_move(state: State, child: Child) -> bool:
    """Whether a child rests, is known to, and nothing else is asked of it."""
    busy = child.replace_id or child.cancel_id or child.tif in _IMMEDIATE
    return child.status is ChildStatus.LIVE and not busy and state.connected(child.venue)


# --- placing ----------------------------------------------------------------------------------------------


def _place(
    state: State, order: Order, now_ns: int, market: MarketView, out: Decision, *, triggered: bool = False
) -> None:
    """Send what may go now. Permissions bind again: an order that has lost them is cancelled; without a venue
    it waits."""
    qty = placeable(state, order)
    if not qty:
        return
    verdict = reapprove(state, order, qty)
    if isinstance(verdict, RiskRefused):
        if not state.working_children(order):
            out.add(OrderCancelled(order.order_id, "", verdict.refusal.text, now_ns))
        return
    part = child_terms(state, order, verdict, now_ns, market, triggered=triggered)
    if part is not None:
        route(state, order.order_id, part, order.refused_venues, now_ns, market, out)


def work_orders(
    state: State,
    now_ns: int,
    market: MarketView,
    out: Decision,
    *,
    order_ids: tuple[str, ...],
    triggered: tuple[str, ...] = (),
) -> None:
    """Follow-up: bring what venues hold in line with the orders' terms, after something has happened."""
    for order_id in order_ids:
        order = state.orders[order_id]
        busy = order.pending_cancel is not None or order.pending_replace is not None
        if order.open and not busy and is_trading(state, order, now_ns):
            _work(state, order, order_id in triggered, now_ns, market, out)


def _work(
    state: State, order: Order, triggered: bool, now_ns: int, market: MarketView, out: Decision
) -> None:
    watched = order.order_id in state.watched.get(order.symbol, {})
    exits = is_exit(state, order)
    if triggered:
        _place(state, order, now_ns, market, out, triggered=True)
    elif watched:
        look(state, order, None, now_ns, market, out)
    elif exits and order.order_type in _HELD and not order.children:
        if placeable(state, order):
            out.add(OrderHeld(order.order_id, None, now_ns))
    elif is_mapped(state, order) or not _places_itself(order, exits):
        return
    elif exits or not state.working_children(order):
        _place(state, order, now_ns, market, out)


def _places_itself(order: Order, exits: bool) -> bool:
    """Whether the engine sends more of the order without being asked: slices, pegs, exits that come alive."""
    return exits or order.order_type in (OrderType.ICEBERG, OrderType.PEGGED)
