"""From the state to rows: one pure function per table, its values in the order of the table's columns."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from qtinfra.core.decimals import ZERO, canonical
from qtinfra.core.events import CommandQuarantined, Entry, OrderAccepted, OrderRouted, touch_of
from qtinfra.core.legs import limit, units
from qtinfra.core.models import Order, fix_status
from qtinfra.engine.state import State
from qtinfra.repository.sortable import number_columns, optional_columns
from qtinfra.repository.touched import Touched

Values = tuple[Any, ...]

_JSON = msgspec.json.Encoder()


def _text(value: object) -> str:
    return _JSON.encode(value).decode()


_PLAIN = (str, int, bool, bytes, float, Decimal, NoneType)


def _is_plain(annotation: Any) -> bool:
    """Whether a field of this type holds neither structs nor tuples."""
    parts = get_args(annotation)
    if parts:
        return get_origin(annotation) in (Union, UnionType) and all(_is_plain(part) for part in parts)
    return annotation in _PLAIN or (isinstance(annotation, type) and issubclass(annotation, Enum))


@cache
def _nested(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields of a kind of struct that may hold others, or tuples."""
    return tuple(field.name for field in msgspec.structs.fields(kind) if not _is_plain(field.type))


def _named(record: msgspec.Struct) -> dict[str, Any]:
    """A struct's fields by name, structs inside it likewise."""
    fields = msgspec.structs.asdict(record)
    for name in _nested(type(record)):
        value = fields[name]
        if isinstance(value, tuple):
            fields[name] = [_named(part) if isinstance(part, msgspec.Struct) else part for part in value]
        elif isinstance(value, msgspec.Struct):
            fields[name] = _named(value)
    return fields


def order_values(state: State, order: Order, seq: int, touched: Touched) -> Values:
    """One row of `tables.orders`. The first client id counts for a new row only."""
    special = order.special
    code, reason = touched.reasons.get(order.order_id, (None, None))
    confidence, expected = touched.routes.get(order.order_id, (None, None))
    return (
        order.order_id,
        order.account,
        order.cl_ord_id,
        touched.first_ids.get(order.order_id, order.cl_ord_id),
        order.symbol,
        order.side._value_,
        order.order_type._value_,
        order.tif._value_,
        *number_columns(order.qty),
        *optional_columns(order.price),
        number_columns(order.min_qty)[0],
        order.capacity._value_,
        order.trader,
        order.origin._value_,
        order.status._value_,
        fix_status(order),
        *number_columns(order.cum_qty),
        *number_columns(order.leaves_qty),
        *number_columns(order.avg_px),
        number_columns(order.notional)[0],
        special.algo if special is not None else "",
        _text(special) if special is not None else None,
        _venues(state, order),
        code,
        reason,
        confidence,
        expected,
        order.order_id in state.frozen,
        order.version,
        order.created_ns,
        order.updated_ns,
        seq,
    )


def _venues(state: State, order: Order) -> str:
    """The venues it was sent to, as JSON."""
    if not order.children:
        return "[]"
    return _text(list(dict.fromkeys(state.children[child_id].venue for child_id in order.children)))


def child_values(state: State, child_id: str, seq: int, touched: Touched) -> Values:
    """One row of `tables.children`. Number and moment of sending count when the row is new."""
    child = state.children[child_id]
    number, sent_ns = touched.new_children.get(child_id, (0, 0))
    return (
        child_id,
        child.order_id,
        state.orders[child.order_id].account,
        child.venue,
        child.symbol,
        child.side._value_,
        child.order_type._value_,
        child.tif._value_,
        number_columns(child.qty)[0],
        optional_columns(child.price)[0],
        number_columns(child.min_qty)[0],
        child.cl_ord_id,
        child.venue_order_id,
        child.status._value_,
        number_columns(child.cum)[0],
        number_columns(child.leaves)[0],
        number,
        sent_ns,
        seq,
    )


def execution_values(state: State, key: str, seq: int) -> Values:
    """One row of `tables.executions`."""
    execution = state.executions[key]
    order = state.orders[execution.order_id]
    return (
        key,
        execution.exec_id,
        execution.order_id,
        execution.child_id,
        order.account,
        order.symbol,
        order.side._value_,
        execution.venue,
        execution.trade_date,
        state.instruments[order.symbol].currency._value_,
        execution.liquidity._value_,
        execution.state._value_,
        *number_columns(execution.qty),
        *number_columns(execution.px),
        number_columns(execution.value)[0],
        number_columns(execution.reported_qty)[0],
        number_columns(execution.reported_px)[0],
        number_columns(execution.fee)[0],
        number_columns(execution.commission)[0],
        execution.late,
        execution.ts_ns,
        seq,
    )


def position_values(state: State, account: str, symbol: str, at: tuple[int, int]) -> Values | None:
    """One row of `tables.positions`; None when there is no such position any more."""
    position = state.positions.get(account, symbol)
    if position is None:
        return None
    seq, updated_ns = at
    return (
        account,
        symbol,
        state.instruments[symbol].currency._value_,
        *number_columns(position.qty),
        *number_columns(position.avg_cost),
        *number_columns(position.realised),
        *(
            number_columns(value)[0]
            for value in (
                position.cost,
                position.fees,
                position.bought_qty,
                position.bought_value,
                position.sold_qty,
                position.sold_value,
                position.multiplier,
            )
        ),
        updated_ns,
        seq,
    )


def _routed(event: OrderRouted, entry: Entry, symbol: str) -> dict[str, Any]:
    """A routing with what its record says elsewhere: the touch, and terms that are the new order's own."""
    bid, ask = touch_of(event, entry, symbol)
    accepted = (one for one in entry.events if isinstance(one, OrderAccepted))
    asked = next((one.command for one in accepted if one.order_id == event.order_id), None)
    qty, price = (asked.qty, asked.price) if asked is not None else (ZERO, None)
    children = [
        {
            "child_id": leg.child_id,
            "venue": leg.venue,
            "order_type": leg.order_type,
            "tif": leg.tif,
            "qty": units(leg, qty),
            "price": limit(leg, price),
            "min_qty": leg.min_qty,
        }
        for leg in event.children
    ]
    seen = {"reason": event.reason, "best_bid": bid, "best_ask": ask, "ts_ns": event.ts_ns}
    return {"order_id": event.order_id, "children": children, **seen}


def history_values(state: State, seq: int, order_id: str, event: Any, entry: Entry) -> Values:
    """One row of `tables.history`. What went wrong inside a quarantined command stays in the journal."""
    order = state.orders[order_id]
    detail = _routed(event, entry, order.symbol) if isinstance(event, OrderRouted) else _named(event)
    if isinstance(event, CommandQuarantined):
        del detail["error"]
    return (
        entry.shard,
        seq,
        order_id,
        order.account,
        type(event).__name__,
        type(entry.command).__name__,
        entry.actor,
        entry.correlation_id,
        _text(detail),
        entry.ts_ns,
    )


def account_values(state: State, account: str, seq: int) -> Values | None:
    """One row of `tables.accounts`; None for a subject that is no known account."""
    found = state.accounts.get(account)
    if found is None:
        return None
    cash = state.cash
    held = None
    if cash is not None and account in cash.accounts:
        held = _text({money.currency: canonical(money.amount) for money in cash.balances(account)})
    return (
        account,
        found.client,
        found.base_currency._value_,
        found.desk,
        found.firm,
        found.enabled,
        account in state.frozen,
        _text(found.policies),
        held,
        seq,
    )


def venue_values(state: State, mic: str, seq: int) -> Values | None:
    """One row of `tables.venues`; None for a venue without reference data."""
    venue = state.venues.get(mic)
    if venue is None:
        return None
    return (
        mic,
        venue.name,
        venue.currency._value_,
        state.venue_status[mic]._value_,
        number_columns(venue.take_fee)[0],
        number_columns(venue.make_fee)[0],
        _text(venue.order_types),
        _text(venue.time_in_force),
        seq,
    )


def instrument_values(state: State, symbol: str, seq: int) -> Values | None:
    """One row of `tables.instruments`; None for a symbol without reference data."""
    found = state.instruments.get(symbol)
    if found is None:
        return None
    return (
        symbol,
        found.asset_class._value_,
        found.currency._value_,
        found.isin,
        found.name,
        number_columns(found.lot_size)[0],
        number_columns(found.multiplier)[0],
        _text(found.listings),
        _text(found.ticks),
        state.halted.get(symbol),
        optional_columns(state.reference_prices.get(symbol))[0],
        seq,
    )
