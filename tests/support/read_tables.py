"""The read tables as plain dictionaries, and what they must say of a state: told by the state alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine, select

from qtinfra.core.decimals import canonical, exact
from qtinfra.core.events import Entry
from qtinfra.core.models import fix_status
from qtinfra.core.ports import Head
from qtinfra.engine.state import State
from qtinfra.journal.memory import MemoryJournal
from qtinfra.repository import tables
from qtinfra.repository.progress import Progress
from qtinfra.repository.projector import Projector
from qtinfra.repository.rows import (
    AccountRow,
    ChildRow,
    ExecutionRow,
    HistoryRow,
    InstrumentRow,
    OrderRow,
    PositionRow,
    VenueRow,
)

ROWS: dict[str, type[msgspec.Struct]] = {
    "orders": OrderRow,
    "children": ChildRow,
    "executions": ExecutionRow,
    "positions": PositionRow,
    "history": HistoryRow,
    "accounts": AccountRow,
    "venues": VenueRow,
    "instruments": InstrumentRow,
}

Table = dict[object, dict[str, Any]]


def stored(engine: Engine) -> dict[str, Table]:
    """Every row of every table, by its primary key."""
    found: dict[str, Table] = {}
    with engine.connect() as connection:
        for table in tables.PROJECTED:
            name = str(table.name)
            key = [column.name for column in table.primary_key.columns]
            kind = ROWS.get(name)
            found[name] = {}
            for raw in connection.execute(select(table)).mappings():
                row: dict[str, Any] = {str(column): value for column, value in raw.items()}
                if kind is not None:
                    typed = msgspec.convert(row, kind, strict=False)
                    assert set(row) - set(typed.__struct_fields__) == {
                        f"{number}_key" for number in tables.number_names(table)
                    }
                    row |= msgspec.structs.asdict(typed)
                found[name][tuple(row[part] for part in key)] = row
    return found


def compare(engine: Engine, state: State) -> None:
    """Each order, child, execution, position, account, venue and instrument stands there as in the state.

    Raises:
        AssertionError: names the row and its fields.
    """
    rows = stored(engine)
    with exact():
        for name, wanted in expected(state).items():
            assert rows[name].keys() == wanted.keys(), f"{name}: other rows than in the state"
            for key, fields in wanted.items():
                there = rows[name][key]
                wrong = {
                    field: (there[field], value)
                    for field, value in fields.items()
                    if there[field] != value and str(there[field]) != str(value)
                }
                assert not wrong, f"{name} {key}: {wrong}"


def expected(state: State) -> dict[str, Table]:
    """What the tables must hold, without what only the journal knows (sequences, reasons)."""
    return {
        "orders": {(key,): _order(state, key) for key in state.orders},
        "children": {(key,): _child(state, key) for key in state.children},
        "executions": {(key,): _execution(state, key) for key in state.executions},
        "positions": {key: _position(state, *key) for key, _ in state.positions.positions()},
        "accounts": {(key,): _account(state, key) for key in state.accounts},
        "venues": {(key,): _venue(state, key) for key in state.venues},
        "instruments": {(key,): _instrument(state, key) for key in state.instruments},
    }


def _same(record: msgspec.Struct, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def _order(state: State, key: str) -> dict[str, Any]:
    order = state.orders[key]
    same = "order_id account cl_ord_id symbol side order_type tif qty price min_qty capacity trader origin"
    more = "status cum_qty leaves_qty avg_px notional special version created_ns updated_ns"
    first = [
        cl_ord_id for cl_ord_id, named in state.client_ids.get(order.account, {}).items() if named == key
    ][:1]
    return {
        **_same(order, *same.split(), *more.split()),
        "fix_status": fix_status(order),
        "first_cl_ord_id": first[0] if first else order.cl_ord_id,
        "venues": tuple(dict.fromkeys(state.children[child].venue for child in order.children)),
        "frozen": key in state.frozen,
        "algo": order.special.algo if order.special else "",
    }


def _child(state: State, key: str) -> dict[str, Any]:
    child = state.children[key]
    order = state.orders[child.order_id]
    same = (
        "child_id order_id venue symbol side order_type tif qty price min_qty cl_ord_id venue_order_id status"
    )
    return {
        **_same(child, *same.split()),
        "cum_qty": child.cum,
        "leaves_qty": child.leaves,
        "account": order.account,
        "number": order.children.index(key),
    }


def _execution(state: State, key: str) -> dict[str, Any]:
    execution = state.executions[key]
    order = state.orders[execution.order_id]
    same = (
        "key exec_id order_id child_id venue trade_date liquidity state qty px value reported_qty reported_px"
    )
    return {
        **_same(execution, *same.split(), "fee", "commission", "late", "ts_ns"),
        **_same(order, "account", "symbol", "side"),
        "currency": state.instruments[order.symbol].currency,
    }


def _position(state: State, account: str, symbol: str) -> dict[str, Any]:
    position = state.positions.get(account, symbol)
    assert position is not None
    figures = "qty avg_cost realised cost fees bought_qty bought_value sold_qty sold_value multiplier"
    return _same(position, *figures.split())


def _account(state: State, key: str) -> dict[str, Any]:
    account = state.accounts[key]
    cash = None
    if state.cash is not None and key in state.cash.accounts:
        cash = {money.currency: canonical(money.amount) for money in state.cash.balances(key)}
    same = "account client base_currency desk firm enabled policies"
    return {**_same(account, *same.split()), "cash": cash, "frozen": key in state.frozen}


def _venue(state: State, key: str) -> dict[str, Any]:
    venue = state.venues[key]
    same = "mic name currency take_fee make_fee order_types time_in_force"
    return {**_same(venue, *same.split()), "status": state.venue_status[key]}


def _instrument(state: State, key: str) -> dict[str, Any]:
    instrument = state.instruments[key]
    same = "symbol asset_class currency isin name lot_size multiplier listings ticks"
    return {
        **_same(instrument, *same.split()),
        "halted": state.halted.get(key),
        "reference_price": state.reference_prices.get(key),
    }


def journal_of(entries: Sequence[Entry], frame: int = 16) -> MemoryJournal:
    """The records in a journal in memory, `frame` to a frame. Close it."""
    journal = MemoryJournal.fresh()
    for start in range(0, len(entries), frame):
        journal.append(entries[start : start + frame])
    return journal


def projector_on(path: Path) -> Projector:
    """A projector on the tables in a file; made when there are none. Close it."""
    return Projector(tables.writing_engine(path), Progress())


def head_after(journal: MemoryJournal, entries: Sequence[Entry]) -> Head:
    """The journal's head at the end of the last of the entries."""
    last = entries[-1]
    return Head(last.shard, last.epoch, last.last_seq, journal.head_at(last.last_seq))
