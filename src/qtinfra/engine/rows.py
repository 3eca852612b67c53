"""The state's tables of orders, children and executions: live ones in a dictionary, packed ones behind it.

To read a packed order is to look it up like any other. Evolve, the only writer, gets it back for good: while
an event is applied (`Tables.writing`), a look-up brings the whole order back among the live ones, so that no
change can be lost. What is encoded, hashed and compared is the live part; `Packing` stands for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, TypeVar, overload

from qtinfra.core.extended_models import Execution
from qtinfra.core.models import Child, Order
from qtinfra.engine.archive import Archive, Ids
from qtinfra.engine.rowform import Leaving, Row

V = TypeVar("V")
D = TypeVar("D")

_UUID_LENGTH, _UUID_DASHES = 36, 4


class Tables:
    """The live tables of one state and its archive."""

    __slots__ = (
        "archive",
        "children",
        "client_ids",
        "closing",
        "executions",
        "may_know",
        "orders",
        "venue_ids",
        "writing",
    )

    def __init__(
        self,
        archive: Archive,
        closing: dict[str, bool],
        client_ids: dict[str, dict[str, str]],
        orders: dict[str, Order],
        children: dict[str, Child],
        venue_ids: dict[str, str],
        executions: dict[str, Execution],
    ) -> None:
        self.writing = False
        self.archive = archive
        self.closing = closing
        self.client_ids = client_ids
        self.orders = OrderTable(self, orders)
        self.children = ChildTable(self, children)
        self.venue_ids = VenueIdTable(self, venue_ids)
        self.executions = ExecutionTable(self, executions)
        self.may_know = archive.index.rows_of_client

    def reach(self, number: int) -> Row:
        """The packed row, for reading; while an event is applied it comes back among the live ones."""
        if not self.writing:
            return self.archive.row(number)
        row = self.archive.take(number)
        order = row.order
        dict.__setitem__(self.orders, order.order_id, order)
        names = self.client_ids.setdefault(order.account, {})
        for cl_ord_id in row.client_ids:
            names[cl_ord_id] = order.order_id
        for child in row.children:
            self.children[child.child_id] = child
            for venue_id in child.requests or ():
                self.venue_ids[venue_id] = child.child_id
        for execution in row.executions:
            self.executions[execution.key] = execution
        self.closing[order.order_id] = True
        return row

    def leave(self, order_ids: list[str]) -> tuple[Leaving, Ids]:
        """Take live orders that have ended, and all of their own, out of the tables, to be packed."""
        orders = [*map(self.orders.pop, order_ids)]
        changed = [*map(self.closing.pop, order_ids)]
        live, clients = self.client_ids, []
        unusual: list[int] = []
        for order_id, order in zip(order_ids, orders, strict=True):
            account, cl_ord_id = order.account, order.cl_ord_id
            clients.append(account + cl_ord_id)
            names = live[account]
            if names.get(cl_ord_id) == order_id and not order.amends:
                del names[cl_ord_id]
            else:
                unusual.append(len(clients) - 1)
        client_ids: dict[int, list[str]] = {}
        for place in unusual:
            order, changed[place] = orders[place], True
            names = live[order.account]
            own = client_ids[place] = [name for name in _asked(order) if names.get(name) == order.order_id]
            for name in own:
                del names[name]
            clients += [order.account + name for name in own if name != order.cl_ord_id]
        sent = [*chain.from_iterable([order.children for order in orders])]
        children = [*map(self.children.pop, sent)]
        asked: list[str] = []
        for requests in [child.requests for child in children if child.requests is not None]:
            asked += requests
            for venue_id in requests:
                del self.venue_ids[venue_id]
        keys = [*chain.from_iterable([order.executions for order in orders])]
        executions = [*map(self.executions.pop, keys)]
        ids = Ids(order_ids, clients, sent, asked, keys)
        return Leaving(orders, children, executions, changed, client_ids), ids


def _asked(order: Order) -> list[str]:
    """The client ids of an order that has had requests, each once."""
    asked = [order.cl_ord_id]
    for amend in order.amends:
        asked += (amend.cl_ord_id, amend.orig_cl_ord_id)
    return list(dict.fromkeys(asked))


class Table(dict[str, V]):
    """A dictionary of what is live, with what is packed behind it. Iteration has both."""

    __slots__ = ("_tables",)

    def __init__(self, tables: Tables, live: dict[str, V]) -> None:
        super().__init__(dict.items(live))
        self._tables = tables

    def packed(self, key: str) -> V | None:
        """The entry of a packed order, if there is one."""
        raise NotImplementedError

    def of_row(self, row: Row) -> Iterator[tuple[str, V]]:
        """The entries that a packed row has."""
        raise NotImplementedError

    @property
    def archive(self) -> Archive:
        """What is behind it."""
        return self._tables.archive

    def live(self) -> dict[str, V]:
        """A copy of the live part."""
        return dict(dict.items(self))

    def __missing__(self, key: str) -> V:
        if self._tables.archive.packing.rows:
            found = self.packed(key)
            if found is not None:
                return found
        raise KeyError(key)

    @overload
    def get(self, key: str, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: str, default: V, /) -> V: ...
    @overload
    def get(self, key: str, default: D, /) -> V | D: ...
    def get(self, key: str, default: Any = None, /) -> Any:
        """The entry, live or packed."""
        found = dict.get(self, key)
        if found is None and key and self._tables.archive.packing.rows:
            found = self.packed(key)
        return default if found is None else found

    def __contains__(self, key: object) -> bool:
        return dict.__contains__(self, key) or (isinstance(key, str) and self.get(key) is not None)

    def __len__(self) -> int:
        return dict.__len__(self) + sum(1 for _ in self._behind())

    def _behind(self) -> Iterator[tuple[str, V]]:
        if self._tables.archive.packing.rows:
            for row in self._tables.archive.all_rows():
                yield from self.of_row(row)

    def _all(self) -> dict[str, V]:
        """Everything, in the order in which it came to be."""
        live = self.live()
        if not self._tables.archive.packing.rows:
            return live
        found = dict(self._behind())
        found.update(live)
        return {key: found[key] for key in sorted(found, key=age)}

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def keys(self) -> Any:
        return self._all().keys()

    def values(self) -> Any:
        return self._all().values()

    def items(self) -> Any:
        return self._all().items()


def age(key: str) -> tuple[int, ...]:
    """Sorts ids by when they were made: order ids and venue ids hold epoch and sequence (`core.ids`).

    Keys that others make, as those of executions are, say nothing of it: they stay in the order found.
    """
    try:
        if len(key) == _UUID_LENGTH and key.count("-") == _UUID_DASHES:
            return (int(key.replace("-", ""), 16),)
        return tuple(int(part, 36) for part in key.split("-"))
    except ValueError:
        return ()


class OrderTable(Table[Order]):
    """Orders by order id."""

    __slots__ = ()

    def packed(self, key: str) -> Order | None:
        number = self._tables.archive.of_order(key)
        return self._tables.reach(number).order if number is not None else None

    def of_row(self, row: Row) -> Iterator[tuple[str, Order]]:
        yield row.order.order_id, row.order

    def __len__(self) -> int:
        return dict.__len__(self) + len(self._tables.archive)


class ChildTable(Table[Child]):
    """Children by child id."""

    __slots__ = ()

    def packed(self, key: str) -> Child | None:
        found = self._tables.archive.of_venue_id(key)
        if found is None or found[1].child_id != key:
            return None
        children = self._tables.reach(found[0]).children
        return next(child for child in children if child.child_id == key)

    def of_row(self, row: Row) -> Iterator[tuple[str, Child]]:
        for child in row.children:
            yield child.child_id, child


class ExecutionTable(Table[Execution]):
    """Executions by key."""

    __slots__ = ("_rows_of",)

    def __init__(self, tables: Tables, live: dict[str, Execution]) -> None:
        super().__init__(tables, live)
        self._rows_of = tables.archive.index.rows_of

    def get(self, key: str, default: Any = None, /) -> Any:
        """As `Table.get`, the short way to none: every execution is looked up, nearly all are new."""
        if dict.__contains__(self, key):
            return self[key]
        found = self.packed(key) if self._rows_of(key) else None
        return default if found is None else found

    def packed(self, key: str) -> Execution | None:
        number = self._tables.archive.of_execution(key)
        if number is None:
            return None
        return next(item for item in self._tables.reach(number).executions if item.key == key)

    def of_row(self, row: Row) -> Iterator[tuple[str, Execution]]:
        for execution in row.executions:
            yield execution.key, execution


class VenueIdTable(Table[str]):
    """Child ids by every client order id that venues know the child by. A child goes out under its own id, so
    what is live here is the ids of requests on it.
    """

    __slots__ = ()

    def __missing__(self, key: str) -> str:
        if dict.__contains__(self._tables.children, key):
            return key
        return super().__missing__(key)

    def get(self, key: str, default: Any = None, /) -> Any:
        """As `Table.get`; the children's own ids are found too."""
        if dict.__contains__(self._tables.children, key):
            return key
        return super().get(key, default)

    def packed(self, key: str) -> str | None:
        found = self._tables.archive.of_venue_id(key)
        return found[1].child_id if found is not None else None

    def of_row(self, row: Row) -> Iterator[tuple[str, str]]:
        for child in row.children:
            for venue_id in (child.child_id, *(child.requests or ())):
                yield venue_id, child.child_id

    def live(self) -> dict[str, str]:
        """A copy of the live part, with the children's own ids."""
        own = dict.keys(self._tables.children)
        return {**dict(zip(own, own, strict=True)), **super().live()}

    def __len__(self) -> int:
        return len(self._all())
