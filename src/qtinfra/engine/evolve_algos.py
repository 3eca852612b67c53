"""Evolve for parents that algorithms work: `engine.evolve` has these functions in its table."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from qtinfra.core import algo_events as al
from qtinfra.core.algo import SliceKind
from qtinfra.engine.algo_state import ParentState
from qtinfra.engine.settle import name_request, settle
from qtinfra.engine.state import State


def _curve_set(state: State, event: al.VolumeCurveSet) -> None:
    state.algos.curves[event.symbol] = event


def _profile_set(state: State, event: al.MarketProfileSet) -> None:
    state.algos.profiles[event.symbol] = event


def _planned(state: State, event: al.AlgoPlanned) -> None:
    """A new schedule; what belongs to the parent and not to its plan stays."""
    order, algos = state.orders[event.order_id], state.algos
    before = algos.parents.get(event.order_id)
    parent = ParentState(
        algos.accepted,
        event.schedule,
        event.arrival_mid,
        event.traded,
        order.cum_qty,
        interval_cum=order.cum_qty,
    )
    if before is None:
        algos.accepted += 1
    else:
        parent.number, parent.children, parent.paused = before.number, before.children, before.paused
        parent.arrival_mid = before.arrival_mid if before.arrival_mid is not None else event.arrival_mid
    algos.parents[event.order_id] = parent
    order.algo = event.terms


def _terms_replaced(state: State, event: al.AlgoTermsReplaced) -> None:
    order = state.orders[event.order_id]
    if order.algo is not None:
        state.algos.submitted.setdefault(event.order_id, order.algo)
    order.algo = event.terms


def _interval_began(state: State, event: al.AlgoIntervalBegan) -> None:
    parent, order = state.algos.parents[event.order_id], state.orders[event.order_id]
    parent.interval, parent.interval_traded, parent.interval_cum = event.interval, event.traded, order.cum_qty
    if parent.base_traded is None:
        parent.base_traded, parent.base_cum = event.traded, order.cum_qty


def _slice_sent(state: State, event: al.SliceSent) -> None:
    parent, kind = state.algos.parents[event.order_id], event.reason.kind
    parent.children = {
        child_id: known for child_id, known in parent.children.items() if state.children[child_id].working
    }
    parent.children.update(dict.fromkeys(event.children, kind))
    parent.crossed = parent.crossed or kind is SliceKind.FINAL
    parent.open_sent = parent.open_sent or kind is SliceKind.OPEN
    parent.close_sent = parent.close_sent or kind is SliceKind.CLOSE
    if kind is SliceKind.DARK:
        parent.dark_interval = interval_of(parent, event.ts_ns)


def interval_of(parent: ParentState, now_ns: int) -> int:
    """Number of the schedule's interval at a moment; -1 before the first one."""
    return bisect_right(parent.schedule.times, now_ns) - 1


def _recalled(state: State, event: al.ChildrenRecalled) -> None:
    for leg in event.legs:
        state.children[leg.child_id].cancel_id = leg.cl_ord_id
        name_request(state, leg.child_id, leg.cl_ord_id)
    settle(state, state.orders[event.order_id], event.ts_ns)


def _paused(state: State, event: al.AlgoPaused) -> None:
    state.algos.parents[event.order_id].paused = event.reason


def _resumed(state: State, event: al.AlgoResumed) -> None:
    state.algos.parents[event.order_id].paused = ""


def _finished(state: State, event: al.AlgoFinished) -> None:
    del state.algos.parents[event.order_id]


ALGOS: dict[type, Callable[[State, Any], None]] = {
    al.VolumeCurveSet: _curve_set,
    al.MarketProfileSet: _profile_set,
    al.AlgoPlanned: _planned,
    al.AlgoTermsReplaced: _terms_replaced,
    al.AlgoIntervalBegan: _interval_began,
    al.SliceSent: _slice_sent,
    al.ChildrenRecalled: _recalled,
    al.AlgoPaused: _paused,
    al.AlgoResumed: _resumed,
    al.AlgoFinished: _finished,
}
