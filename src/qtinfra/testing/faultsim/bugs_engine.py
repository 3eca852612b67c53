"""Bugs to plant in the engine: wrong books, wrong doubt, wrong identity."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import count
from typing import Any

import msgspec

from qtinfra.core import events as ev
from qtinfra.core.commands import EngageKillSwitch, RecordVenueReport, SubmitOrder
from qtinfra.core.decimals import ZERO
from qtinfra.core.ids import order_id as made_id
from qtinfra.core.models import ChildStatus, Order
from qtinfra.core.reports import ReportKind, VenueNewOrder
from qtinfra.engine import decide as decide_module
from qtinfra.engine import effects, evolve, evolve_control
from qtinfra.engine.decide import quick_gate, submit, venue
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.lookup import kill_key
from qtinfra.engine.settle import release
from qtinfra.engine.state import State
from qtinfra.testing.faultsim.bugs_runtime import Plant, swap


def _every_report_new(original: Any) -> Any:
    return lambda report, exec_id, date: f"{original(report, exec_id, date)}|{report.seq}"


def _ignored(original: Any) -> Any:
    del original
    return lambda at, report: venue._ignore(report, "not handled", at.out)


def _late_fill_dropped(original: Any) -> Any:
    def fill(at: Any, report: Any) -> None:
        if at.order.closed is None and at.child.working:
            original(at, report)
        else:
            venue._ignore(report, "order has ended", at.out)

    return fill


def _average_kept(original: Any) -> Any:
    def busted(state: State, event: Any) -> None:
        value = state.executions[event.key].value
        original(state, event)
        state.orders[event.order_id].notional += value

    return busted


def _position_kept(original: Any) -> Any:
    del original
    return lambda *_: None


def _reporting(event: Any, **numbers: Decimal) -> Any:
    """The event with other numbers in its report."""
    replace = msgspec.structs.replace
    return replace(event, report=replace(event.report, **numbers))


def _one_short(original: Any) -> Any:
    return lambda state, event: original(state, _reporting(event, qty=event.qty - 1 or event.qty))


def _nothing_open(original: Any) -> Any:
    del original
    return lambda *_: True


def _no_position(original: Any) -> Any:
    del original
    return lambda state, account, symbol: ZERO


def _doubt_frees(original: Any) -> Any:
    def unknown(state: State, event: Any) -> None:
        original(state, event)
        order = state.orders[event.order_id]
        held = state.children[event.child_id].leaves
        cell = state.risk.cells[order.account][order.symbol]
        if order.side == "BUY":
            cell.buy -= held
        else:
            cell.sell -= held
        order.reserved -= held

    return unknown


def _doubt_ends(original: Any) -> Any:
    """A child whose line broke counts as never received."""

    def unknown(state: State, event: Any) -> None:
        original(state, event)
        order, child = state.orders[event.order_id], state.children[event.child_id]
        if not child.venue_order_id and not child.cum:
            release(order, child, ChildStatus.NOT_RECEIVED)

    return unknown


def _asks_nobody(original: Any) -> Any:
    del original
    return lambda state, event: []


def _sends_again(original: Any) -> Any:
    def status(state: State, event: Any) -> list[Any]:
        asked = original(state, event)
        again = []
        for request in asked:
            child = state.children[state.venue_ids[request.cl_ord_id]]
            order = state.orders[child.order_id]
            terms = (child.symbol, child.side, child.order_type, child.tif, child.leaves, child.price)
            again.append(VenueNewOrder(child.venue, child.cl_ord_id + "r", *terms, account=order.account))
        return [*asked, *again]

    return status


def _leaves_stay(original: Any) -> Any:
    del original
    return property(lambda order: max(ZERO, order.qty - order.cum_qty))


def _ids_from_memory(original: Any) -> Any:
    del original
    numbers: dict[int, Any] = {}

    def order_id(decision: Decision) -> str:
        number = next(numbers.setdefault(decision.state.epoch, count(1)))
        return made_id(decision.state.shard, 1, number)

    return order_id


def _kill_in_memory(original: Any) -> Any:
    def engage(state: State, command: Any, now_ns: int, market: Any, out: Decision) -> None:
        original(state, command, now_ns, market, out)
        state.kills[kill_key(command.scope, command.value)] = command.reason
        out.events = tuple(event for event in out.events if not isinstance(event, ev.KillSwitchEngaged))

    return engage


def _process_clock(original: Any) -> Any:
    ticks = count(1)

    def accepted(state: State, event: Any) -> None:
        original(state, event)
        state.orders[event.order_id].created_ns += next(ticks)

    return accepted


def _same_session(original: Any) -> Any:
    def record(state: State, command: Any, now_ns: int, market: Any, out: Decision) -> None:
        known = state.sessions.get(command.report.venue)
        if known:
            report = msgspec.structs.replace(command.report, session=known)
            command = RecordVenueReport(report)
        original(state, command, now_ns, market, out)

    return record


def _sequence_kept(original: Any) -> Any:
    """An ignored report does not advance the inbound number, so that a repetition is taken again."""

    def filled(state: State, event: Any) -> None:
        before = state.inbound.get(event.venue, 0)
        original(state, event)
        state.inbound[event.venue] = before

    return filled


def _content_unseen(original: Any) -> Any:
    del original
    return lambda state, order, command: True


def _anew(original: Any) -> Any:
    """An id that was used before makes another order."""

    def submit_order(state: State, command: Any, now_ns: int, market: Any, out: Decision) -> None:
        ids = state.client_ids.get(command.account, {})
        used = ids.pop(command.cl_ord_id, None)
        original(state, command, now_ns, market, out)
        if used is not None and not out.events:
            ids[command.cl_ord_id] = used

    return submit_order


def _replace_never_over(original: Any) -> Any:
    del original
    return lambda at, report: None


def _cancel_answer_lost(original: Any) -> Any:
    def canceled(at: Any, report: Any) -> None:
        if at.child.status is ChildStatus.UNKNOWN:
            venue._ignore(report, "in doubt", at.out)
        else:
            original(at, report)

    return canceled


def _priced_at_limit(original: Any) -> Any:
    def filled(state: State, event: Any) -> None:
        limit = state.orders[event.order_id].price
        original(state, _reporting(event, px=limit if limit is not None else Decimal(50)))

    return filled


_Apply = Callable[[State, Any], None]
_EVOLVE: dict[type, _Apply] = evolve._EVOLVE
_DECIDE, _HANDLERS = decide_module.DECIDE, venue._HANDLERS

#: Name, fault id, what is wrong, how to plant it.
BUGS: tuple[tuple[str, str, str, Plant], ...] = (
    (
        "execution_applied_twice",
        "FM-15",
        "the same execution under another number is booked again",
        swap(vars(venue), "execution_key", _every_report_new),
    ),
    (
        "bust_ignored",
        "FM-17",
        "a busted execution stays in the books",
        swap(_HANDLERS, ReportKind.BUST, _ignored),
    ),
    (
        "correction_ignored",
        "FM-17",
        "a corrected execution keeps its price",
        swap(_HANDLERS, ReportKind.CORRECT, _ignored),
    ),
    (
        "average_after_bust",
        "FM-17",
        "a bust leaves the traded value as it was",
        swap(_EVOLVE, ev.ExecutionBusted, _average_kept),
    ),
    (
        "late_fill_dropped",
        "FM-16",
        "an execution after the order's end is not booked",
        swap(_HANDLERS, ReportKind.FILL, _late_fill_dropped),
    ),
    (
        "position_one_short",
        "FM-15",
        "an execution is booked with one unit less",
        swap(_EVOLVE, ev.OrderFilled, _one_short),
    ),
    (
        "executed_at_limit",
        "FM-16",
        "an execution is booked at the order's limit",
        swap(_EVOLVE, ev.OrderFilled, _priced_at_limit),
    ),
    (
        "limit_race",
        "FM-21",
        "what is open does not count against the limit",
        swap(quick_gate, "_in_limits", _nothing_open),
    ),
    (
        "position_not_counted",
        "FM-21",
        "what is held does not count against the limit",
        swap(State, "net_position", _no_position),
    ),
    (
        "doubt_counts_as_free",
        "FM-13",
        "a child in doubt is no exposure",
        swap(_EVOLVE, ev.ChildUnknown, _doubt_frees),
    ),
    (
        "doubt_taken_for_refusal",
        "FM-13",
        "a child whose line broke counts as never received",
        swap(_EVOLVE, ev.ChildUnknown, _doubt_ends),
    ),
    (
        "nobody_asked",
        "FM-13",
        "a venue that is back is not asked about what is in doubt",
        swap(effects.EFFECTS, ev.VenueStatusSet, _asks_nobody),
    ),
    (
        "blind_resend",
        "FM-13",
        "what is in doubt is sent again when the line is back",
        swap(effects.EFFECTS, ev.VenueStatusSet, _sends_again),
    ),
    (
        "leaves_not_zeroed",
        "FM-16",
        "an order that has ended keeps leaves",
        swap(Order, "leaves_qty", _leaves_stay),
    ),
    (
        "id_reuse_after_crash",
        "FM-26",
        "order ids are counted in memory",
        swap(Decision, "order_id", _ids_from_memory),
    ),
    (
        "kill_switch_not_durable",
        "FM-01",
        "a kill switch is engaged in memory only",
        swap(_DECIDE, EngageKillSwitch, _kill_in_memory),
    ),
    (
        "replay_reads_a_clock",
        "FM-27",
        "applying an event reads a clock of the process",
        swap(_EVOLVE, ev.OrderAccepted, _process_clock),
    ),
    (
        "session_reset_unseen",
        "FM-14",
        "the reports of a new session are taken for those of the old",
        swap(_DECIDE, RecordVenueReport, _same_session),
    ),
    (
        "sequence_not_advanced",
        "FM-15",
        "a booked execution does not advance the inbound number",
        swap(_EVOLVE, ev.OrderFilled, _sequence_kept),
    ),
    (
        "other_content_accepted",
        "FM-25",
        "an id used before is answered, whatever the content",
        swap(vars(submit), "same_content", _content_unseen),
    ),
    (
        "repeated_order_made_anew",
        "FM-25",
        "an order that is sent again is another order",
        swap(_DECIDE, SubmitOrder, _anew),
    ),
    (
        "replace_never_over",
        "FM-13",
        "a replace that was lost on the way pends for ever",
        swap(vars(venue), "_replace_never_arrived", _replace_never_over),
    ),
    (
        "cancel_in_doubt_unheard",
        "FM-16",
        "a cancelled child that was in doubt stays there",
        swap(_HANDLERS, ReportKind.CANCELED, _cancel_answer_lost),
    ),
    (
        "unfrozen_not_noticed",
        "FM-23",
        "the controls do not notice that an account is free again",
        swap(_EVOLVE, ev.Unfrozen, lambda _: evolve_control._unfrozen),
    ),
    (
        "reject_ignored",
        "FM-16",
        "a venue's refusal of an order is not heard",
        swap(_HANDLERS, ReportKind.REJECT, _ignored),
    ),
)
