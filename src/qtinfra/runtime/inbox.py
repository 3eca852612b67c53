"""The bounded inbox of a shard, in lanes.

Venue reports, changes of a venue's link and timers keep their order and are never refused. Behind them comes
news of the market, at most one item for each symbol: a newer one takes the place of one that waits. Cancels
and controls go before new orders, but a cancel never passes an earlier command of its own order, under
whichever of the order's ids. When the order lane is full, new orders are refused before they are journaled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Generic, TypeVar

from qtinfra.core.commands import (
    MAX_REPORTS,
    AnyCommand,
    CancelOrder,
    EngageKillSwitch,
    Inbound,
    MarketMoved,
    MassCancel,
    OrderStatusRequest,
    PauseAlgo,
    RecordVenueReport,
    RecordVenueReports,
    ReplaceOrder,
    ResumeAlgo,
    SetVenueStatus,
    StartEpoch,
    SubmitOrder,
    TimerFired,
)
from qtinfra.core.exceptions import OverloadedError
from qtinfra.core.reports import VenueReport

T = TypeVar("T")

#: Commands that wait in the order lane; cancels join them there behind a command of their own order.
_ORDER_LANE = frozenset((SubmitOrder, ReplaceOrder, OrderStatusRequest))
#: A link's status stays in line with the venue's reports: CONNECTED comes after all that was missed.
_NEVER_REFUSED = frozenset((RecordVenueReport, RecordVenueReports, SetVenueStatus, TimerFired, StartEpoch))
#: Commands that look whether an earlier one of their order, or account, still waits.
_FOLLOWS = frozenset((CancelOrder, MassCancel, PauseAlgo, ResumeAlgo))

Item = tuple[Inbound, T]
#: From account and client id to what names the order for good (its order id); "" when not known.
OrderName = Callable[[str, str], str]
_Id = tuple[str, str]
#: Cancels that name each other's ids are followed so far.
_MAX_HOPS = 16


#: Who is responsible for a record of reports of several venues.
VENUES = "venues"


def joined(items: Iterable[Item[T]]) -> list[Item[T]]:
    """The items, reports that follow each other joined into one command with at most `MAX_REPORTS` of them.

    They are decided one after the other as before and share a record, which has the moment at which the
    first of them came in. Only reports with one and the same token are joined: nobody waits for one of them.
    """
    found: list[Item[T]] = []
    run: list[Item[T]] = []
    size = 0
    for item in items:
        count = len(_reports_of(item))
        if run and (not count or size + count > MAX_REPORTS or run[0][1] is not item[1]):
            found += _in_one(run)
            run, size = [], 0
        if count:
            run.append(item)
            size += count
        else:
            found.append(item)
    return found + _in_one(run)


def _reports_of(item: Item[T]) -> tuple[VenueReport, ...]:
    """The reports that an item records; none if it is something else."""
    command = item[0].command
    kind = type(command)
    if kind is RecordVenueReports:
        return command.reports  # type: ignore[union-attr]
    return (command.report,) if kind is RecordVenueReport else ()  # type: ignore[union-attr]


def _in_one(run: list[Item[T]]) -> list[Item[T]]:
    """A run of reports as one item, unless it is of one or none."""
    if len(run) < 2:
        return run
    first, token = run[0]
    actor = first.actor
    reports: list[VenueReport] = []
    for item in run:
        reports += _reports_of(item)
        if item[0].actor != actor:
            actor = VENUES
    return [(Inbound(RecordVenueReports(tuple(reports)), actor, "", first.received_ns), token)]


def _no_name(account: str, cl_ord_id: str) -> str:
    del account, cl_ord_id
    return ""


class _Waiting:
    """Which orders have commands in the order lane, by any of the ids that those commands use.

    It is filled when a command of an order that may be known comes (a replace, a cancel, a read), and kept up
    from then until the lane is empty: while only new orders wait, nobody pays for it.
    """

    def __init__(self, name_of: OrderName) -> None:
        self._name_of = name_of
        self._order_of: dict[_Id, _Id] = {}
        self._ids: dict[_Id, list[_Id]] = {}
        self._commands: dict[_Id, int] = {}
        self._accounts: dict[str, int] = {}
        self._cancelled: dict[_Id, str] = {}

    def note_cancel(self, cancel: CancelOrder) -> None:
        """A cancel waits before the orders: until it is decided only we know which order its own id names."""
        self._cancelled[cancel.account, cancel.cl_ord_id] = cancel.orig_cl_ord_id

    def forget_cancel(self, cancel: CancelOrder) -> None:
        """It waits no more."""
        self._cancelled.pop((cancel.account, cancel.cl_ord_id), None)

    def concerns(self, account: str, cl_ord_id: str) -> bool:
        """Whether a command of the order that this id names waits."""
        return self._order(account, cl_ord_id) in self._commands

    def of_account(self, account: str) -> bool:
        return account in self._accounts

    def add(self, command: AnyCommand) -> _Id:
        """Count a command in; the key to count it out with."""
        account = getattr(command, "account", "")
        cl_ord_id = getattr(command, "cl_ord_id", "")
        order = self._order(account, getattr(command, "orig_cl_ord_id", "") or cl_ord_id)
        self._commands[order] = self._commands.get(order, 0) + 1
        self._accounts[account] = self._accounts.get(account, 0) + 1
        for name in (cl_ord_id, getattr(command, "orig_cl_ord_id", "")):
            key = (account, name)
            if name and key not in self._order_of:
                self._order_of[key] = order
                self._ids.setdefault(order, []).append(key)
        return order

    def remove(self, account: str, order: _Id | None) -> None:
        """Count out what was counted in under this key; None is a command that never was."""
        if order is None:
            return
        self._accounts[account] -= 1
        if not self._accounts[account]:
            del self._accounts[account]
        self._commands[order] -= 1
        if not self._commands[order]:
            del self._commands[order]
            for key in self._ids.pop(order, []):
                del self._order_of[key]

    def _order(self, account: str, cl_ord_id: str) -> _Id:
        """What the order goes by here: as its waiting commands do, else by its name, else by this id."""
        for _ in range(_MAX_HOPS):
            known = self._order_of.get((account, cl_ord_id))
            if known is not None:
                return known
            meant = self._cancelled.get((account, cl_ord_id))
            if meant is None:
                break
            cl_ord_id = meant
        name = self._name_of(account, cl_ord_id)
        return ("", name) if name else (account, cl_ord_id)


_Queued = TypeVar("_Queued")


def _first(queue: deque[_Queued], most: int) -> list[_Queued]:
    """Take what is at the front, at most so many."""
    if len(queue) > most:
        return [queue.popleft() for _ in range(most)]
    found = list(queue)
    queue.clear()
    return found


def _first_reports(queue: deque[Item[T]], most: int) -> tuple[list[Item[T]], int]:
    """As `_first`, with reports that wait as one item counted each, and how many these were. Such an item is
    not taken apart: a single one may hold more.
    """
    found: list[Item[T]] = []
    size = 0
    while queue and size < most:
        count = len(_reports_of(queue[0])) or 1
        if found and size + count > most:
            break
        found.append(queue.popleft())
        size += count
    return found, size


class Inbox(Generic[T]):
    """Waiting commands, each with a token that says whom to answer.

    Args:
        capacity: how many new orders, replaces and reads may wait; as many cancels and controls again.
        name_of: names an order that the engine knows, by any of its client ids.
    """

    def __init__(self, capacity: int = 10_000, name_of: OrderName = _no_name) -> None:
        self._capacity = capacity
        self._reports: deque[Item[T]] = deque()
        self._moves: dict[str, Item[T]] = {}
        self._fast: deque[Item[T]] = deque()
        self._orders: deque[tuple[Item[T], _Id | None]] = deque()
        self._cancels_behind = 0
        self._waiting = _Waiting(name_of)
        self._indexed = False

    def __len__(self) -> int:
        return len(self._reports) + len(self._moves) + len(self._fast) + len(self._orders)

    def __bool__(self) -> bool:
        return bool(self._orders or self._reports or self._fast or self._moves)

    def put(self, inbound: Inbound, token: T) -> None:
        """Queue a command in its lane.

        Raises:
            OverloadedError: its kind has no room; nothing was taken, the sender may try again later.
        """
        command = inbound.command
        kind = type(command)
        if kind is SubmitOrder and not self._indexed:
            if len(self._orders) - self._cancels_behind >= self._capacity:
                raise self.overloaded()
            self._orders.append(((inbound, token), None))
        elif kind in _NEVER_REFUSED:
            self._reports.append((inbound, token))
        elif kind in _ORDER_LANE:
            if len(self._orders) - self._cancels_behind >= self._capacity:
                raise self.overloaded()
            if kind is not SubmitOrder:
                self._index()
            self._orders.append(((inbound, token), self._waiting.add(command) if self._indexed else None))
        else:
            self._put_control(inbound, token)

    @property
    def room(self) -> int:
        """How many more new orders, replaces and reads may wait."""
        return max(0, self._capacity - len(self._orders) + self._cancels_behind)

    def overloaded(self) -> OverloadedError:
        """The refusal of a new order when there is no room."""
        waiting = len(self._orders) - self._cancels_behind
        return OverloadedError("too many orders wait; try again later", context={"waiting": waiting})

    def put_orders(self, inbounds: Sequence[Inbound], token: T) -> None:
        """Queue new orders, no more than there is room for, all under one token."""
        if self._indexed:
            for inbound in inbounds:
                self._orders.append(((inbound, token), self._waiting.add(inbound.command)))
        else:
            self._orders.extend([((inbound, token), None) for inbound in inbounds])

    def put_reports(self, reports: Sequence[VenueReport], actor: str, received_ns: int, token: T) -> None:
        """Queue venue reports that came together, which are never refused, all under one token."""
        for at in range(0, len(reports), MAX_REPORTS):
            part = tuple(reports[at : at + MAX_REPORTS])
            command = RecordVenueReports(part) if len(part) > 1 else RecordVenueReport(part[0])
            self._reports.append((Inbound(command, actor, "", received_ns), token))

    def _put_control(self, inbound: Inbound, token: T) -> None:
        command = inbound.command
        waiting = len(self._fast) + self._cancels_behind
        if waiting >= self._capacity and not isinstance(command, EngageKillSwitch):
            raise OverloadedError("too many cancels and controls wait", context={"waiting": waiting})
        if self._must_queue_behind(command):
            self._orders.append(((inbound, token), self._waiting.add(command)))
            self._cancels_behind += 1
        else:
            self._fast.append((inbound, token))
            if isinstance(command, CancelOrder) and command.cl_ord_id:
                self._waiting.note_cancel(command)

    def put_move(self, symbol: str, last_px: Decimal | None, token: T, received_ns: int, actor: str) -> None:
        """Queue that a symbol's market has moved; never refused.

        It replaces an item of the symbol that waits, in its place, so that a fast market takes no more room
        than a slow one. The last trade stays known when the newer news has none.
        """
        waiting = self._moves.get(symbol)
        if waiting is not None and last_px is None and isinstance(waiting[0].command, MarketMoved):
            last_px = waiting[0].command.last_px
        self._moves[symbol] = (Inbound(MarketMoved(symbol, last_px), actor, "", received_ns), token)

    def take(self, most: int) -> list[Item[T]]:
        """The next commands, at most `most`: reports first, `joined` where they follow each other, then moves
        of the market, then cancels and controls, then orders. Moves take half of what reports leave while
        others wait. Each report counts as a command.
        """
        taken: list[Item[T]] = []
        if self._reports:
            found, count = _first_reports(self._reports, most)
            taken, most = joined(found), max(0, most - count)
        room = most
        if self._moves and room:
            if self._fast or self._orders:
                room = (room + 1) // 2
            moved = min(room, len(self._moves))
            for _ in range(moved):
                taken.append(self._moves.pop(next(iter(self._moves))))
            most -= moved
        if self._fast:
            fast = _first(self._fast, most)
            taken += fast
            most -= len(fast)
            for inbound, _ in fast:
                if isinstance(inbound.command, CancelOrder):
                    self._waiting.forget_cancel(inbound.command)
        if self._orders:
            taken += self._take_orders(most)
        return taken

    def _take_orders(self, most: int) -> list[Item[T]]:
        found = _first(self._orders, most)
        if self._indexed:
            for (inbound, _), order in found:
                command = inbound.command
                self._waiting.remove(getattr(command, "account", ""), order)
                self._cancels_behind -= type(command) not in _ORDER_LANE
            self._indexed = bool(self._orders)
        return [item for item, _ in found]

    def _index(self) -> None:
        """Count the waiting new orders in, which until now were counted by nobody."""
        if not self._indexed:
            self._indexed = True
            self._orders = deque((item, self._waiting.add(item[0].command)) for item, _ in self._orders)

    def _must_queue_behind(self, command: AnyCommand) -> bool:
        """Whether an earlier command of the same order, or account, still waits."""
        if not self._orders or type(command) not in _FOLLOWS:
            return False
        self._index()
        if isinstance(command, CancelOrder):
            return self._waiting.concerns(command.account, command.orig_cl_ord_id)
        if isinstance(command, PauseAlgo | ResumeAlgo):
            return self._waiting.concerns(command.account, command.cl_ord_id)
        return isinstance(command, MassCancel) and self._waiting.of_account(command.account)
