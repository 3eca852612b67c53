"""The part of evolve that keeps what the pre-trade controls count.

`with_risk` puts it behind the handlers of `engine.evolve`: an event first changes orders and positions, then
what the controls remember is brought in line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtinfra.core import events as ev
from qtinfra.core import special_events as sp
from qtinfra.core.decimals import ZERO
from qtinfra.core.models import Order, OrderSide, Origin
from qtinfra.core.special import SpecialTerms
from qtinfra.engine.risk_state import AccountPlace, RiskState, SymbolPlace, Windows
from qtinfra.engine.risk_sums import borrow, count_position, count_trade, rebuild, recount
from qtinfra.engine.state import State
from qtinfra.risk.ledger import (
    LOOK_AT,
    AlgoRun,
    Borrowed,
    Drift,
    FlowKey,
    LimitVersion,
    LocateUse,
    Override,
    Stamps,
    window_add,
    window_shorten,
)

# Members by name: looking them up in their class costs more than comparing them.
_BUY = OrderSide.BUY
_CLIENT = Origin.CLIENT

Handler = Callable[[State, Any], None]


# --- orders ----------------------------------------------------------------------------------------------


def count_flow(
    state: State,
    event: ev.OrderAccepted,
    of: AccountPlace,
    to: SymbolPlace,
    known: FlowKey | None = None,
    times: Stamps | None = None,
) -> None:
    """A new order's message, its flow and the price it was measured against, as far as a limit reads them.

    Args:
        known, times: its flow, where that is at hand, with what the current ones have of it.
    """
    risk, ts_ns, reference = state.risk, event.ts_ns, event.reference
    messages, duplicates, period = risk.memo.windows or _windows(state)
    if messages is not None:
        stamps = of.messages or _account_messages(risk, event.account, of)
        stamps.append(ts_ns)
        if not len(stamps) & LOOK_AT:
            window_shorten(stamps, ts_ns - messages)
        stamps = to.messages or _book_messages(risk, event.symbol, to)
        stamps.append(ts_ns)
        if not len(stamps) & LOOK_AT:
            window_shorten(stamps, ts_ns - messages)
    if duplicates is not None:
        flow = risk.flow
        if known is None or ts_ns - flow.begun_ns >= duplicates:
            key = known or (event.account, event.symbol, event.side._value_, event.qty, event.price)
            flow.add(key, ts_ns, duplicates)
        elif times is None:
            flow.current[known] = ts_ns
        elif isinstance(times, int):
            flow.current[known] = [times, ts_ns]
        else:
            times.append(ts_ns)
    if period is not None and reference is not None:
        drift = to.drift or _drift(risk, event.symbol, to)
        if reference is drift.only:
            drift.last_ns = ts_ns
        else:
            drift.add(ts_ns, reference, period)


def count_special(state: State, order: Order, event: ev.OrderAccepted, special: SpecialTerms) -> None:
    """What a new order with special terms takes beyond them: its locate, an execution of its algo."""
    risk = state.risk
    if special.locate_id in risk.locates and event.side is not _BUY:
        risk.borrowed[event.order_id] = Borrowed(special.locate_id)
        borrow(state, order)
    if special.algo:
        risk.algos.setdefault(special.algo, AlgoRun()).executions += 1


def _windows(state: State) -> Windows:
    """The windows that a limit reads. Each is kept from its first limit on."""
    limits, policy = state.limits, state.risk.policy
    messages = limits.get("max_messages") or limits.get("max_book_messages")
    found = state.risk.memo.windows = (
        policy.message_window_ns if messages else None,
        policy.duplicate_window_ns if limits.get("duplicate_flow") else None,
        policy.drift_window_ns if limits.get("period_collar") else None,
    )
    return found


def _account_messages(risk: RiskState, account: str, of: AccountPlace) -> list[int]:
    of.messages = risk.messages.setdefault(account, [])
    return of.messages


def _book_messages(risk: RiskState, symbol: str, to: SymbolPlace) -> list[int]:
    to.messages = risk.book_messages.setdefault(symbol, [])
    return to.messages


def _drift(risk: RiskState, symbol: str, to: SymbolPlace) -> Drift:
    to.drift = risk.drift.setdefault(symbol, Drift())
    return to.drift


def _amend_requested(state: State, event: ev.ReplaceRequested | ev.CancelRequested) -> None:
    """A client's replace or cancel that venues hear is a message; a kill's or a halt's cancel is not."""
    risk = state.risk
    window_ns = (risk.memo.windows or _windows(state))[0]
    if event.cl_ord_id and event.origin is _CLIENT and window_ns is not None:
        order = state.orders[event.order_id]
        since = event.ts_ns - window_ns
        window_add(risk.messages.setdefault(order.account, []), event.ts_ns, since)
        window_add(risk.book_messages.setdefault(order.symbol, []), event.ts_ns, since)


def _undo_trade(state: State, event: ev.ExecutionBusted | ev.ExecutionCorrected) -> None:
    order, execution = state.orders[event.order_id], state.executions[event.key]
    if execution.trade_date >= state.trade_date:
        count_trade(state, order.account, order.symbol, -execution.value)


def _taken_back(state: State, event: ev.ExecutionBusted | ev.ExecutionCorrected) -> None:
    order, execution = state.orders[event.order_id], state.executions[event.key]
    if isinstance(event, ev.ExecutionCorrected) and execution.trade_date >= state.trade_date:
        count_trade(state, order.account, order.symbol, execution.value)
    count_position(state, order.account, order.symbol)


def _adjusted(state: State, event: sp.OrderAdjusted | ev.OrderRestated) -> None:
    order = state.orders[event.order_id]
    count_position(state, order.account, order.symbol)


def _terms_replaced(state: State, event: sp.TermsReplaced) -> None:
    """A stop without a limit is worth its trigger: a new one changes what it has open."""
    order, special = state.orders[event.order_id], event.special
    if order.reserved and order.price is None and special.stop_px is not None:
        order.open_px = special.stop_px
        recount(state, order, order.reserved)


def _day_opened(state: State, event: ev.DayOpened) -> None:
    """Credit used by yesterday's trades is free again, and algos start counting anew unless disabled.
    Instruments may have new terms."""
    del event
    risk = state.risk
    risk.forget_sums()
    for by_currency in risk.figures.values():
        for figures in by_currency.values():
            figures.traded = ZERO
    for run in risk.algos.values():
        run.executions = 0
    for order_id in [key for key in risk.borrowed if key not in state.open_orders]:
        del risk.borrowed[order_id]


# --- reference data and controls -------------------------------------------------------------------------


def _reference_set(state: State, event: ev.ReferenceSet) -> None:
    risk = state.risk
    for symbol, price in event.prices:
        risk.reference_ns[symbol] = event.ts_ns
        risk.marks[symbol] = price
    if event.instruments or event.accounts:
        rebuild(state)
    for symbol, _ in event.prices:
        for account, by_symbol in risk.cells.items():
            if symbol in by_symbol:
                count_position(state, account, symbol)
    risk.memo.clear()


def _limit_set(state: State, event: ev.LimitSet) -> None:
    key = f"{event.rule}|{event.account}|{event.symbol}"
    before = state.risk.limit_versions.get(key)
    version = before.version + 1 if before is not None else 1
    state.risk.limit_versions[key] = LimitVersion(version, event.value, event.author, event.reason)
    state.risk.memo.clear()


def _fx_rate_set(state: State, event: ev.FxRateSet) -> None:
    state.risk.fx_ns[f"{event.base}/{event.quote}"] = event.ts_ns
    state.risk.memo.clear()


def _control_changed(state: State, event: Any) -> None:
    del event
    state.risk.memo.clear()


def _policy_set(state: State, event: ev.RiskPolicySet) -> None:
    risk = state.risk
    base = risk.policy.base_currency
    risk.policy = event.policy
    if event.policy.base_currency is not base:
        rebuild(state)
    risk.memo.clear()


def _party_approved(state: State, event: ev.PartyApproved) -> None:
    parties = state.risk.approved.setdefault(event.kind.value, {})
    if event.approved:
        parties[event.party] = True
    else:
        parties.pop(event.party, None)
    state.risk.memo.clear()


def _locate_granted(state: State, event: ev.LocateGranted) -> None:
    locate = event.locate
    state.risk.locates[locate.locate_id] = LocateUse(
        locate.account, locate.symbol, locate.qty, locate.qty, locate.trade_date, locate.source
    )


def _price_test_set(state: State, event: ev.PriceTestSet) -> None:
    """What staff set stands until they lift it."""
    state.risk.falls.pop(event.symbol, None)
    if event.active:
        state.risk.price_tests[event.symbol] = event.reason
    else:
        state.risk.price_tests.pop(event.symbol, None)


def _algo_disabled(state: State, event: ev.AlgoDisabled) -> None:
    state.risk.algos.setdefault(event.algo, AlgoRun()).disabled = True


def _algo_enabled(state: State, event: ev.AlgoEnabled) -> None:
    state.risk.algos[event.algo] = AlgoRun()


def _override_requested(state: State, event: ev.OverrideRequested) -> None:
    state.risk.overrides[event.override_id] = Override(
        event.rule.value, event.account, event.symbol, event.value, event.expires_ns, event.staff
    )


def _override_approved(state: State, event: ev.OverrideApproved) -> None:
    state.risk.overrides[event.override_id].approved_by = event.staff


def _override_used(state: State, event: ev.OverrideUsed) -> None:
    state.risk.overrides.pop(event.override_id, None)


#: Events that only the controls know.
_OWN: dict[type, Handler] = {
    ev.RiskPolicySet: _policy_set,
    ev.PartyApproved: _party_approved,
    ev.LocateGranted: _locate_granted,
    ev.PriceTestSet: _price_test_set,
    ev.AlgoDisabled: _algo_disabled,
    ev.AlgoEnabled: _algo_enabled,
    ev.OverrideRequested: _override_requested,
    ev.OverrideApproved: _override_approved,
    ev.OverrideUsed: _override_used,
}

_BEFORE: dict[type, Handler] = {
    ev.ExecutionBusted: _undo_trade,
    ev.ExecutionCorrected: _undo_trade,
}

_AFTER: dict[type, Handler] = {
    ev.ReferenceSet: _reference_set,
    ev.LimitSet: _limit_set,
    ev.FxRateSet: _fx_rate_set,
    ev.SymbolRestricted: _control_changed,
    ev.KillSwitchEngaged: _control_changed,
    ev.KillSwitchReleased: _control_changed,
    ev.CommandQuarantined: _control_changed,
    ev.Unfrozen: _control_changed,
    ev.DayOpened: _day_opened,
    ev.CancelRequested: _amend_requested,
    ev.ReplaceRequested: _amend_requested,
    ev.ExecutionBusted: _taken_back,
    ev.ExecutionCorrected: _taken_back,
    ev.OrderRestated: _adjusted,
    sp.OrderAdjusted: _adjusted,
    sp.TermsReplaced: _terms_replaced,
}


def with_risk(handlers: dict[type, Handler]) -> dict[type, Handler]:
    """The handlers of evolve, each followed by what the controls make of its event."""
    found = {**handlers, **_OWN}
    for kind, handler in handlers.items():
        after = _AFTER.get(kind)
        if after is not None:
            found[kind] = _joined(_BEFORE.get(kind), handler, after)
    return found


def _joined(before: Handler | None, handler: Handler, after: Handler) -> Handler:
    if before is None:

        def joined(state: State, event: Any) -> None:
            handler(state, event)
            after(state, event)

        return joined

    def enclosed(state: State, event: Any) -> None:
        before(state, event)
        handler(state, event)
        after(state, event)

    return enclosed
