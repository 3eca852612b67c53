"""Orders that hang together: OCO and bracket lists.

What one order of a list executes, the others can execute no more: they are reduced by as much at once where
the engine holds them, and through their venues otherwise. An execution that was on its way meanwhile is
booked like any other and raises a break. A bracket's exits live for what the entry has executed, never for
more.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial

import msgspec

from qtinfra.core import events as ev
from qtinfra.core import special_events as sp
from qtinfra.core.commands import SubmitList, SubmitOrder
from qtinfra.core.decimals import ONE, ZERO, plain
from qtinfra.core.decisions import Refusal, RiskApproved
from qtinfra.core.market import MarketView
from qtinfra.core.models import ChildStatus, Order, Origin, TimeInForce, is_buy
from qtinfra.core.special import Link
from qtinfra.core.validation.special import NO_TERMS, ON_AUCTION
from qtinfra.engine.decide.ahead import Ahead, add_leg, begin
from qtinfra.engine.decide.amend import cancel_if_open, excess_legs
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.held import accept, check, work_orders
from qtinfra.engine.decide.placing import list_executed, list_live, rivals, terms_of
from qtinfra.engine.decide.risk_gate import profile_of
from qtinfra.engine.decide.submit import again, reject, same_content
from qtinfra.engine.state import OrderList, State
from qtinfra.risk.checks import RiskPassed

#: Most orders in one list.
MAX_LIST = 16

_IMMEDIATE = (TimeInForce.IOC, TimeInForce.FOK)
_FEWEST = {Link.OCO: 2, Link.BRACKET: 2}


# --- taking a list ----------------------------------------------------------------------------------------


def submit_list(state: State, command: SubmitList, now_ns: int, market: MarketView, out: Decision) -> None:
    """All or nothing: one refusal refuses every order of the list. Risk counts the orders together."""
    wrong = _unusable(state, command)
    if wrong is not None:
        first = command.orders[0] if command.orders else None
        account, cl_ord_id = (first.account, first.cl_ord_id) if first is not None else ("", "")
        out.add(
            ev.CommandRefused(
                account, cl_ord_id, wrong.code, wrong.field, wrong.limit, wrong.observed, wrong.text
            )
        )
        return
    if _known(state, command, now_ns, out):
        return
    approvals: list[RiskApproved] = []
    ahead: Ahead | None = None
    for order in command.orders:
        adds = ZERO if _is_exit(command, order) else order.qty
        verdict = _check(state, command, order, adds, now_ns, market, ahead)
        if isinstance(verdict, Refusal):
            _refuse_all(command, order, verdict, now_ns, out)
            return
        approvals.append(verdict)
        if ahead is None:
            profile = profile_of(state, order.account, order.symbol)
            ahead = begin(profile)
        add_leg(state, ahead, order, verdict, adds)
    link_id = out.order_id()
    for number, (order, approved) in enumerate(zip(command.orders, approvals, strict=True)):
        terms = msgspec.structs.replace(order.special or NO_TERMS, link=command.link, link_id=link_id)
        dormant = command.link is Link.BRACKET and number > 0
        refusal = accept(state, order, terms, approved, now_ns, market, out, dormant=dormant)
        if refusal is not None:
            out.events = ()
            _refuse_all(command, order, refusal, now_ns, out)
            return


def _unusable(state: State, command: SubmitList) -> Refusal | None:
    """Why the list as such cannot be read: its orders are not even known by name then."""
    orders = command.orders
    fewest = _FEWEST[command.link]
    if not fewest <= len(orders) <= MAX_LIST:
        text = f"a {command.link} list has {fewest} to {MAX_LIST} orders"
        return Refusal("list_length", text, "orders", str(MAX_LIST), str(len(orders)))
    account = orders[0].account
    if account not in state.accounts:
        text = f"account {account[:40]!r} is not known"
        return Refusal("unknown_account", text, "account", "", account[:40])
    if any(order.account != account for order in orders):
        return Refusal("list_account", "the orders of a list have one account", "account", account, "several")
    if len(dict.fromkeys(order.cl_ord_id for order in orders)) < len(orders):
        text = "each order of a list has its own client order id"
        return Refusal("duplicate_client_order_id", text, "client_order_id", "", "repeated")
    numbers = [number for order in orders for number in (order.qty, order.price) if number is not None]
    if not all(number.is_finite() for number in numbers):
        text = "quantity and price must be finite numbers"
        return Refusal("number_out_of_range", text, "quantity", "finite", "not finite")
    return None


def _known(state: State, command: SubmitList, now_ns: int, out: Decision) -> bool:
    """Whether a client id was used before: the same list again gets the first answers."""
    found = [(order, state.find_order(order.account, order.cl_ord_id)) for order in command.orders]
    if all(known is None for _, known in found):
        return False
    same = all(known is not None and _is_same(state, command, known, order) for order, known in found)
    for order, known in found:
        if known is not None and same:
            again(state, known, order, out)
        elif known is not None:
            text = f"client order id {order.cl_ord_id!r} belongs to order {known.order_id}"
            out.add(ev.DuplicateRefused(order.account, order.cl_ord_id, known.order_id, text))
        else:
            text = "another order of the list repeats a client order id"
            reject(order, Refusal("list_refused", text, "orders", "", order.cl_ord_id), now_ns, out)
    return True


def _is_same(state: State, command: SubmitList, known: Order, order: SubmitOrder) -> bool:
    return same_content(state, known, order) and terms_of(known).link in (command.link, None)


def _is_exit(command: SubmitList, order: SubmitOrder) -> bool:
    return command.link is Link.BRACKET and order is not command.orders[0]


def _check(
    state: State,
    command: SubmitList,
    order: SubmitOrder,
    adds: Decimal,
    now_ns: int,
    market: MarketView,
    ahead: Ahead | None,
) -> RiskPassed | Refusal:
    """Rules and risk of one order, those before it counted as open; the list is refused with it."""
    refusal = _check_place(command, order)
    if refusal is not None:
        return refusal
    instrument = state.instruments.get(order.symbol)
    account = state.accounts[order.account]
    verdict = check(state, order, account, instrument, now_ns, market, adds=adds, ahead=ahead)
    if isinstance(verdict, Refusal) or adds:
        return verdict
    return _check_exit_locate(state, order, ahead) or verdict


def _check_exit_locate(state: State, order: SubmitOrder, ahead: Ahead | None) -> Refusal | None:
    """An exit adds nothing to what is open, but it takes of the locate that it names."""
    locate_id = order.special.locate_id if order.special is not None else ""
    known = state.risk.locates.get(locate_id)
    if known is None or is_buy(order.side):
        return None
    left = known.left - (ahead.borrowed.get(locate_id, ZERO) if ahead is not None else ZERO)
    if order.qty <= left:
        return None
    text = f"locate {locate_id} has {plain(left)} left for {plain(order.qty)}"
    return Refusal("locate_insufficient", text, "locate_id", plain(left), plain(order.qty))


def _check_place(command: SubmitList, order: SubmitOrder) -> Refusal | None:
    """Whether the order fits its place in the list."""
    first = command.orders[0]
    if order.symbol != first.symbol:
        return Refusal("list_symbol", "a list has one symbol", "symbol", first.symbol, order.symbol[:24])
    if order.qty != first.qty:
        text = "the orders of a list have one quantity"
        return Refusal("list_quantity", text, "quantity", plain(first.qty), plain(order.qty))
    if order.special is not None and order.special.link is not None:
        text = "the list says how its orders are linked"
        return Refusal("link_not_allowed", text, "link", "", order.special.link)
    entry = command.link is Link.BRACKET and order is first
    if not entry and (order.tif in _IMMEDIATE or order.tif in ON_AUCTION or order.min_qty):
        text = f"an order of a {command.link} list must be able to stand"
        return Refusal("list_time_in_force", text, "time_in_force", "DAY, GTC, GTD", order.tif)
    if command.link is Link.BRACKET and not entry and is_buy(order.side) == is_buy(first.side):
        return Refusal("list_side", "the exits are on the other side", "side", first.side, order.side)
    return None


def _refuse_all(
    command: SubmitList, wrong: SubmitOrder, refusal: Refusal, now_ns: int, out: Decision
) -> None:
    for order in command.orders:
        if order is wrong:
            reject(order, refusal, now_ns, out)
            continue
        text = f"order {wrong.cl_ord_id!r} of the list was refused: {refusal.text}"
        reject(order, Refusal("list_refused", text, "orders", refusal.code, wrong.cl_ord_id), now_ns, out)


# --- one executes, the others follow ----------------------------------------------------------------------


def check_list(state: State, order: Order, change: Decimal, key: str, out: Decision) -> None:
    """Raise a break when a change of what the order has executed brings its list beyond what it may execute:
    an execution in flight, or a bust of a bracket's entry after its exits have traded.
    """
    terms = terms_of(order)
    if terms.link is None:
        return
    found = state.lists[terms.link_id]
    over = list_executed(state, found) - list_live(state, found)
    over += change if order.order_id in rivals(found) else -change
    if over > ZERO and (change > ZERO) == (order.order_id in rivals(found)):
        text = f"a {found.link} list has executed {plain(over)} more than it may"
        out.add(ev.BreakRaised("list_overfill", order.order_id, key, text))


def list_total(state: State, found: OrderList) -> Decimal:
    """What the list may execute in all: an OCO's quantity; a bracket's entry, as far as it still can."""
    if found.link is Link.OCO:
        return found.qty
    entry = state.orders[found.orders[0]]
    return max(entry.qty, entry.cum_qty) if entry.closed is None else entry.cum_qty


def review_list(state: State, link_id: str, now_ns: int, out: Decision) -> None:
    """Leave each order of the list no more than the list has left."""
    found = state.lists[link_id]
    executed = list_executed(state, found)
    room = max(ZERO, list_total(state, found) - executed)
    live = max(ZERO, list_live(state, found) - executed)
    for order_id in rivals(found):
        order = state.orders[order_id]
        if order.open and order.pending_cancel is None:
            _trim(state, order, room, live, now_ns, out)


def _trim(state: State, order: Order, room: Decimal, live: Decimal, now_ns: int, out: Decision) -> None:
    """The order may still execute `room`, and venues may hold `live` of it now."""
    if not room:
        cancel_if_open(state, order, Origin.SYSTEM, "the list is done", now_ns, out)
        return
    qty = min(order.qty, order.cum_qty + room)
    if order.pending_replace is not None:
        return  # looked at again when the venues have answered
    legs = excess_legs(state, order, order.cum_qty + min(room, live), order.price, out)
    if legs:
        asked = [state.children[leg.child_id] for leg in legs]
        if all(child.status is not ChildStatus.UNKNOWN and state.connected(child.venue) for child in asked):
            out.add(
                ev.ReplaceRequested(
                    order.order_id, "", order.cl_ord_id, Origin.SYSTEM, qty, order.price, legs, now_ns
                )
            )
    elif qty < order.qty:
        reason = "reduced with its list"
        out.add(ev.OrderRestated("", 0, order.order_id, qty, order.price, ONE, ONE, "", reason, now_ns))


# --- what events mean for orders with special terms -------------------------------------------------------

#: Events after which an order with special terms, or its list, is looked at again. Not after a corporate
#: action: the quotes known then are still those of before.
_MATTER = (
    sp.OrderHeld,
    sp.OrderTriggered,
    ev.OrderFilled,
    ev.OrderReplaced,
    ev.OrderCancelled,
    ev.OrderExpired,
    ev.OrderDoneForDay,
    ev.OrderRefusedByVenues,
    ev.OrderReinstated,
    ev.ChildReplaced,
    ev.ChildConfirmed,
    ev.ChildAmendRejected,
    ev.AmendRefused,
    ev.ExecutionBusted,
    ev.ExecutionCorrected,
)
_MATTER_TO_ALL = (ev.DayOpened, ev.VenueStatusSet, ev.InstrumentHalted)


def aftermath(state: State, events: Sequence[ev.AnyEvent], out: Decision) -> None:
    """Add the follow-ups that orders with special terms need after these events; `state` is after them."""
    touched: dict[str, None] = {}
    triggered: list[str] = []
    for event in events:
        if isinstance(event, _MATTER_TO_ALL):
            touched.update(dict.fromkeys(state.specials))
        elif isinstance(event, _MATTER):
            order = state.orders.get(event.order_id)
            if order is not None and order.special is not None:
                touched[event.order_id] = None
        if isinstance(event, sp.OrderTriggered):
            triggered.append(event.order_id)
    if not touched:
        return
    link_ids: dict[str, None] = {}
    for order_id in tuple(touched):
        terms = terms_of(state.orders[order_id])
        if terms.link is not None:
            link_ids[terms.link_id] = None
            touched.update(dict.fromkeys(state.lists[terms.link_id].orders))
    if link_ids:
        out.then(partial(_review_lists, link_ids=tuple(link_ids)))
    out.then(partial(work_orders, order_ids=tuple(touched), triggered=tuple(triggered)))


def _review_lists(
    state: State, now_ns: int, market: MarketView, out: Decision, *, link_ids: tuple[str, ...]
) -> None:
    del market
    for link_id in link_ids:
        review_list(state, link_id, now_ns, out)
