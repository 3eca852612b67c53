"""The JSON of the API: decimals as strings, times as RFC 3339 in UTC, the names of the specification."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, replace

from qtinfra.api.terms import AlgoTermsView, PegView, RoutingTermsView, terms_view
from qtinfra.bootstrap.routes import RouteScores
from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import ZERO, canonical
from qtinfra.core.events import AnyEvent, OrderAccepted, OrderRouted
from qtinfra.core.legs import Leg, units
from qtinfra.core.models import Child, ChildStatus, Order, OrderStatus
from qtinfra.core.routing import PPM
from qtinfra.core.routing_events import RouteScored
from qtinfra.engine.state import State
from qtinfra.repository.rows import OrderRow

_SECOND_NS = 1_000_000_000
# Members by name: looking them up in their class costs more than the rest of a view.
_VALIDATED, _ROUTED = OrderStatus.VALIDATED, OrderStatus.ROUTED

encode = msgspec.json.Encoder().encode


class _Second:
    """The text of the second that was asked for last: most times of one batch share it."""

    second = -1
    text = ""


def rfc3339(ts_ns: int) -> str:
    """A moment in UTC with microseconds."""
    second, rest = divmod(ts_ns, _SECOND_NS)
    if second != _Second.second:
        _Second.text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        _Second.second = second
    return f"{_Second.text}{str(1_000_000 + rest // 1000)[1:]}Z"


def written(value: Decimal | None) -> Decimal | None:
    """A number in its one form, `core.decimals.canonical`; None stays."""
    return None if value is None else canonical(value)


class RoutingDecision(msgspec.Struct, frozen=True, gc=False):
    """Where most of the order went.

    Attributes:
        confidence_score: probability (0 to 1) that every part executes in full, as the router reckoned it
            when it last routed the order; null when one venue alone was looked at, and when routing is not
            scored.
        expected_fill_rate: expected share (0 to 1) of the quantity routed that executes; null likewise.
    """

    selected_venue: str
    confidence_score: float | None
    expected_fill_rate: float | None


class OrderView(msgspec.Struct, frozen=True, gc=False):
    """An order as POST, PUT, DELETE and lists answer it.

    From `stop_price` on there is only what the order has. `link` and `list_id` are of the list it came in.
    """

    id: str
    status: str
    symbol: str
    side: str
    quantity: Decimal
    price: Decimal | None
    order_type: str
    created_at: str
    routing_decision: RoutingDecision | None
    client_order_id: str
    account_id: str
    time_in_force: str
    min_quantity: Decimal
    capacity: str
    trader: str
    filled_quantity: Decimal
    remaining_quantity: Decimal
    average_price: Decimal | None
    updated_at: str
    version: int
    stop_price: Decimal | UnsetType = UNSET
    trail_amount: Decimal | UnsetType = UNSET
    display_quantity: Decimal | UnsetType = UNSET
    peg: PegView | UnsetType = UNSET
    expire_at: str | UnsetType = UNSET
    locate_id: str | UnsetType = UNSET
    self_match_id: str | UnsetType = UNSET
    do_not_reduce: bool | UnsetType = UNSET
    do_not_increase: bool | UnsetType = UNSET
    routing: RoutingTermsView | UnsetType = UNSET
    link: str | UnsetType = UNSET
    list_id: str | UnsetType = UNSET
    algo: AlgoTermsView | UnsetType = UNSET


class ChildView(msgspec.Struct, frozen=True):
    """One order at one venue."""

    id: str
    venue: str
    status: str
    order_type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal | None
    filled_quantity: Decimal
    remaining_quantity: Decimal
    venue_order_id: str


class ExecutionView(msgspec.Struct, frozen=True):
    """One execution; quantity and price follow corrections."""

    id: str
    exec_id: str
    venue: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    commission: Decimal
    liquidity: str
    state: str
    trade_date: str
    executed_at: str


class Rejection(msgspec.Struct, frozen=True):
    """Why an order was refused: the rule's id and its words."""

    code: str
    message: str


class OrderDetailView(OrderView, frozen=True, kw_only=True, gc=False):
    """An order with its orders at venues and its executions."""

    children: list[ChildView]
    executions: list[ExecutionView]
    rejection: Rejection | None = None


class Measured:
    """Routing decisions with what the router expected of them."""

    def __init__(self, routes: RouteScores) -> None:
        self._routes = routes

    def decision(self, order_id: str, sent: Iterable[tuple[str, Decimal]]) -> RoutingDecision | None:
        """An order's routing decision for its quantities by venue; None when nothing was sent."""
        best = most_of(sent)
        return routing_decision(best, self._routes.of(order_id)) if best else None


def most_of(sent: Iterable[tuple[str, Decimal]]) -> str:
    """The venue of the largest quantity, the first of equals; empty without any."""
    best, most = "", ZERO
    for venue, qty in sent:
        if qty > most:
            best, most = venue, qty
    return best


def routing_decision(venue: str, scored: tuple[int, int] | None) -> RoutingDecision:
    """A decision from confidence and expected fill in parts of a million."""
    if scored is None:
        return RoutingDecision(venue, None, None)
    return RoutingDecision(venue, four_places(scored[0]), four_places(scored[1]))


def four_places(part_ppm: int) -> float:
    """Parts of a million as `round` has them with four places; only a tie needs its arithmetic."""
    places, rest = divmod(part_ppm, 100)
    return round(part_ppm / PPM, 4) if rest == 50 else (places + (rest > 50)) / 10_000


def kept_decision(row: OrderRow, venue: str) -> RoutingDecision:
    """The decision for the venue that most of an order went to, as the read tables keep it."""
    confidence, expected = row.confidence_ppm, row.expected_fill_ppm
    return routing_decision(
        venue, (confidence, expected) if confidence is not None and expected is not None else None
    )


def new_order_view(command: SubmitOrder, accepted: OrderAccepted, events: Sequence[AnyEvent]) -> OrderView:
    """A new order as its own events made it, whatever has happened since."""
    order_id, version, status = accepted.order_id, 0, _VALIDATED
    children: tuple[Leg, ...] = ()
    scored: tuple[int, int] | None = None
    for event in events:
        if getattr(event, "order_id", "") != order_id:
            continue
        version += 1
        if type(event) is OrderRouted:
            status = _ROUTED
            children += event.children
        elif type(event) is RouteScored:
            scored = event.confidence_ppm, event.expected_fill_ppm
    created = rfc3339(accepted.ts_ns)
    parts = ((child.venue, units(child, command.qty)) for child in children)
    one = children[0].venue if len(children) == 1 else most_of(parts)
    terms = accepted.special is not None or command.algo is not None
    view = OrderView(
        order_id,
        status,
        command.symbol,
        command.side,
        command.qty,
        command.price,
        command.order_type,
        created,
        routing_decision(one, scored) if one else None,
        command.cl_ord_id,
        command.account,
        command.tif,
        command.min_qty or ZERO,
        command.capacity,
        command.trader,
        ZERO,
        command.qty,
        None,
        created,
        version,
    )
    return replace(view, **terms_view(accepted.special, command.algo)) if terms else view


def order_view(state: State, order: Order, measured: Measured) -> OrderView:
    """An order as it stands in the state."""
    children = [state.children[child_id] for child_id in order.children]
    return OrderView(
        order.order_id,
        order.status,
        order.symbol,
        order.side,
        order.qty,
        order.price,
        order.order_type,
        rfc3339(order.created_ns),
        measured.decision(order.order_id, ((child.venue, child.qty) for child in children)),
        order.cl_ord_id,
        order.account,
        order.tif,
        order.min_qty,
        order.capacity,
        order.trader,
        canonical(order.cum_qty),
        canonical(order.leaves_qty),
        canonical(order.avg_px) if order.cum_qty else None,
        rfc3339(order.updated_ns),
        order.version,
        **terms_view(order.special, order.algo),
    )


def detail_view(
    state: State, order: Order, measured: Measured, rejection: Rejection | None = None
) -> OrderDetailView:
    """An order with what became of it, as it stands in the state."""
    return OrderDetailView(
        **asdict(order_view(state, order, measured)),
        children=[_child_view(state.children[child_id]) for child_id in order.children],
        executions=[_execution_view(state, key) for key in order.executions],
        rejection=rejection,
    )


def _child_view(child: Child) -> ChildView:
    return ChildView(
        child.child_id,
        child.venue,
        child.status,
        child.order_type,
        child.tif,
        child.qty,
        child.price,
        canonical(child.cum),
        canonical(child.leaves) if child.status is not ChildStatus.FILLED else ZERO,
        child.venue_order_id,
    )


def _execution_view(state: State, key: str) -> ExecutionView:
    item = state.executions[key]
    return ExecutionView(
        item.key,
        item.exec_id,
        item.venue,
        canonical(item.qty),
        canonical(item.px),
        canonical(item.fee),
        canonical(item.commission),
        item.liquidity,
        item.state,
        item.trade_date,
        rfc3339(item.ts_ns),
    )
