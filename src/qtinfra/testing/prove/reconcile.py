"""Three records of the same trading, compared: the client's, the journal's and the venues' own."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from decimal import Decimal

import msgspec

from qtinfra.core.commands import AnyCommand, CancelOrder, ReplaceOrder, SubmitOrder
from qtinfra.core.decimals import ZERO
from qtinfra.core.events import (
    ChildEnded,
    ChildUnknown,
    Entry,
    OrderAccepted,
    OrderFilled,
    OrderRejected,
    OrderRouted,
)
from qtinfra.core.models import Child, ChildStatus, signed
from qtinfra.core.reports import NO_ORDER, ExecutionReport, OrderCancelReject, VenueReport
from qtinfra.engine.audit import audit
from qtinfra.engine.kernel import replay
from qtinfra.engine.state import State
from qtinfra.journal.log import LogJournal
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.venues.simulated.matching import OrderRecord

Answers = tuple[ExecutionReport | OrderCancelReject, ...]


class VenueRecord(msgspec.Struct, frozen=True):
    """What a venue's admin port dumps."""

    last_seq: int
    orders: tuple[OrderRecord, ...]
    reports: tuple[VenueReport, ...]


class Ledger(msgspec.Struct):
    """What the client knows: every command it sent, and every answer that reached it."""

    sent: dict[int, AnyCommand] = {}
    acknowledged: dict[int, list[Answers]] = {}
    fills: dict[tuple[str, str], tuple[Decimal, Decimal | None]] = {}


class Replayed(msgspec.Struct):
    """The journal, verified and replayed from its first record, with what was counted on the way.

    Attributes:
        created: by account and client id, the events that created an order.
        doubted: how often a child's outcome became unknown.
        never_received: how many of those the venue never had.
    """

    state: State = msgspec.field(default_factory=State)
    created: dict[tuple[str, str], list[OrderAccepted | OrderRejected]] = {}
    ids: Counter[str] = msgspec.field(default_factory=Counter)
    doubted: int = 0
    never_received: int = 0


def replay_all(path: str) -> Replayed:
    """Verify and replay while the engine holds the journal.

    Raises:
        JournalCorruptError: a record does not verify.
    """
    kind: type[SqliteJournal] | type[LogJournal] = LogJournal if path.endswith(".log") else SqliteJournal
    replayed = Replayed()
    with closing(kind.open_readonly(path)) as journal:
        for entry in journal.read(0):
            _count(entry, replayed)
            replay(replayed.state, entry)
    return replayed


def _count(entry: Entry, replayed: Replayed) -> None:
    for event in entry.events:
        match event:
            case OrderAccepted() | OrderRejected():
                replayed.ids[event.order_id] += 1
                replayed.created.setdefault((event.account, event.cl_ord_id), []).append(event)
            case OrderRouted(children=children):
                replayed.ids.update(child.child_id for child in children)
            case OrderFilled(key=key):
                replayed.ids[key] += 1
            case ChildUnknown():
                replayed.doubted += 1
            case ChildEnded(status=ChildStatus.NOT_RECEIVED):
                replayed.never_received += 1


class Disagreement(msgspec.Struct, frozen=True):
    """One thing on which two records differ. `kind` is one of `KINDS`."""

    kind: str
    text: str


#: acknowledged_lost: the client was told of what the journal does not have. venue_order: an order at a venue
#: that the journal does not know, has twice, or has otherwise. execution: one lost, doubled or made up, or a
#: position that is not their sum. id_reused: an id given twice. state: all else.
KINDS = ("acknowledged_lost", "venue_order", "execution", "id_reused", "state")


def reconcile(ledger: Ledger, replayed: Replayed, venues: Mapping[str, VenueRecord]) -> list[Disagreement]:
    """Every disagreement; empty when nothing was lost and nothing doubled."""
    state = replayed.state
    texts: dict[str, list[str]] = {kind: [] for kind in KINDS}
    texts["state"] += [f"audit: {text}" for text in audit(state)]
    if state.breaks:
        texts["state"].append(f"{state.breaks} breaks were raised")
    reused = (f"id {name} was given {times} times" for name, times in replayed.ids.items() if times > 1)
    texts["id_reused"] += [*reused, *_created(replayed, ledger)]
    texts["acknowledged_lost"] += lost(ledger, replayed)
    for mic, record in venues.items():
        texts["venue_order"] += _venue_orders(state, mic, record)
    texts["venue_order"] += _children(state, venues)
    texts["execution"] += _told_fills(ledger, venues)
    texts["execution"] += _executions(state, venues)
    texts["execution"] += _positions(state, venues)
    return [Disagreement(kind, text) for kind in KINDS for text in texts[kind]]


def lost(ledger: Ledger, replayed: Replayed) -> list[str]:
    """What the client was told and the journal does not have."""
    told = ledger.acknowledged.items()
    return [text for n, answers in told for text in _acknowledged(replayed, ledger.sent[n], answers)]


# -- the client's record against the journal --------------------------------------------------------


def _created(replayed: Replayed, ledger: Ledger) -> Iterator[str]:
    """One order per client id, with the content that was sent, and none that nobody sent."""
    sent = {(c.account, c.cl_ord_id): c for c in ledger.sent.values() if isinstance(c, SubmitOrder)}
    for key, events in replayed.created.items():
        if len(events) > 1:
            yield f"client id {key} has {len(events)} orders"
        asked = sent.get(key)
        for event in events:
            if asked is None:
                yield f"order {event.order_id} was never sent: {key}"
            elif _terms(event) != _terms(asked):
                yield f"order {event.order_id} is not what was sent: {_terms(event)}, {_terms(asked)}"


def _terms(order: OrderAccepted | OrderRejected | SubmitOrder) -> tuple[object, ...]:
    return order.symbol, order.side, order.order_type, order.tif, order.qty, order.price


def _acknowledged(replayed: Replayed, command: AnyCommand, answers: list[Answers]) -> Iterator[str]:
    """What was acknowledged is in the journal, the same each time it was."""
    match command:
        case SubmitOrder(account=account, cl_ord_id=cl_ord_id):
            created = replayed.created.get((account, cl_ord_id), [])
            told = [a.order_id for reports in answers for a in reports if a.cl_ord_id == cl_ord_id]
            if not created:
                yield f"acknowledged order {cl_ord_id} is lost"
            elif not told or any(order_id != created[0].order_id for order_id in told):
                yield f"order {cl_ord_id} is {created[0].order_id}, the client was told {told}"
        case CancelOrder() | ReplaceOrder():
            asked = replayed.state.find_order(command.account, command.cl_ord_id)
            order = replayed.state.find_order(command.account, command.orig_cl_ord_id)
            refused = all(a.order_id == NO_ORDER for reports in answers for a in reports)
            if asked is not order and not (refused and asked is None):
                yield f"acknowledged request {command.cl_ord_id} is lost"


def _told_fills(ledger: Ledger, venues: Mapping[str, VenueRecord]) -> Iterator[str]:
    """Every execution that the client heard of is one of the venue's."""
    real = {
        (mic, e.exec_id): (e.qty, e.px) for mic, r in venues.items() for o in r.orders for e in o.executions
    }
    for key, told in ledger.fills.items():
        if real.get(key) != told:
            yield f"the client was told of execution {key} {told}, the venue has {real.get(key)}"


# -- the journal against the venues -----------------------------------------------------------------


def _venue_orders(state: State, mic: str, record: VenueRecord) -> Iterator[str]:
    """Every order at the venue is one child's, and no child has two."""
    if state.inbound.get(mic, 0) != record.last_seq:
        yield f"{mic} has sent {record.last_seq} reports, journaled are {state.inbound.get(mic, 0)}"
    owners: Counter[str] = Counter()
    for order in record.orders:
        children = {state.venue_ids.get(cl_ord_id, "") for cl_ord_id in order.cl_ord_ids}
        child = state.children.get(order.cl_ord_ids[0])
        if children != {order.cl_ord_ids[0]} or child is None or child.venue != mic:
            yield f"{mic} has order {order.cl_ord_ids}, which the journal does not know"
            continue
        owners[child.child_id] += 1
        yield from _compare(child, order)
    yield from (f"child {child_id} has {n} orders at {mic}" for child_id, n in owners.items() if n > 1)


def _compare(child: Child, order: OrderRecord) -> Iterator[str]:
    if order.rejected != (child.status is ChildStatus.REJECTED):
        yield f"child {child.child_id} is {child.status}, rejected at the venue: {order.rejected}"
    ours = (child.status is ChildStatus.LIVE, child.cum, child.leaves, child.cl_ord_id)
    theirs = (order.live, order.cum_qty, order.leaves_qty, order.cl_ord_ids[-1])
    if ours != theirs:
        yield f"child {child.child_id}: live, cum, leaves, id are {ours}, at the venue {theirs}"
    if (child.side, child.symbol) != (order.side, order.symbol):
        yield f"child {child.child_id} is another order at the venue"
    if order.live and (child.qty, child.price) != (order.qty, order.price):
        yield f"child {child.child_id} is {child.qty}@{child.price}, at the venue {order.qty}@{order.price}"


def _children(state: State, venues: Mapping[str, VenueRecord]) -> Iterator[str]:
    """Every child is at its venue, unless it never arrived; none is in doubt."""
    there = {order.cl_ord_ids[0] for record in venues.values() for order in record.orders}
    for child in state.children.values():
        if (child.child_id in there) == (child.status is ChildStatus.NOT_RECEIVED):
            yield f"child {child.child_id} is {child.status}, at the venue: {child.child_id in there}"
        if child.status in (ChildStatus.SENT, ChildStatus.UNKNOWN):
            yield f"child {child.child_id} is still {child.status}"


def _executions(state: State, venues: Mapping[str, VenueRecord]) -> Iterator[str]:
    ours = {(e.venue, e.exec_id): (e.child_id, e.qty, e.px) for e in state.executions.values()}
    theirs = {
        (mic, e.exec_id): (order.cl_ord_ids[0], e.qty, e.px)
        for mic, record in venues.items()
        for order in record.orders
        for e in order.executions
    }
    if len(ours) != len(state.executions):
        yield "an execution is booked twice"
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            yield f"execution {key}: booked {ours.get(key)}, the venue has {theirs.get(key)}"


def _positions(state: State, venues: Mapping[str, VenueRecord]) -> Iterator[str]:
    """Each position is the sum of the venues' executions for that account."""
    expected: dict[tuple[str, str], Decimal] = {}
    for record in venues.values():
        for order in record.orders:
            child = state.children.get(order.cl_ord_ids[0])
            if child is not None:
                key = (state.orders[child.order_id].account, order.symbol)
                expected[key] = expected.get(key, ZERO) + signed(order.side, order.cum_qty)
    for key, qty in expected.items():
        if state.net_position(*key) != qty:
            yield f"position of {key} is {state.net_position(*key)}, the venues' executions make {qty}"
