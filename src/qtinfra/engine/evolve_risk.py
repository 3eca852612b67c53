"""The part of evolve that keeps what the pre-trade controls count.

`with_risk` puts it behind the handlers of `engine.evolve`: an event first changes orders and positions, then
what the controls remember is brought in line.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from qtinfra.core import events as ev
from qtinfra.core import special_events as sp
from qtinfra.core.decimals import ZERO
from qtinfra.core.models import Order, OrderSide, Origin
from qtinfra.engine.state import State
from qtinfra.risk.ledger import (
    AlgoRun,
    Amounts,
    Borrowed,
    Cell,
    Drift,
    LimitVersion,
    LocateUse,
    OpenRisk,
    Override,
    Totals,
    window_add,
)

# Members by name: looking them up in their class costs more than comparing them.
_BUY = OrderSide.BUY
_CLIENT = Origin.CLIENT

Handler = Callable[[State, Any], None]


# --- totals ----------------------------------------------------------------------------------------------


def scope_keys(state: State, account: str) -> tuple[str, str, str]:
    """Where an account's figures are counted: itself, its client, its firm."""
    known = state.accounts[account]
    return account, f"CLIENT:{known.client}", f"FIRM:{known.firm}"


def _amounts(state: State, account: str, symbol: str) -> list[Amounts]:
    """The sums that the account's figures in the symbol belong to, in the symbol's currency."""
    risk = state.risk
    currency = state.instruments[symbol].currency
    home = currency is risk.policy.base_currency
    if home:
        known = risk.memo.sums.get(account)
        if known is not None:
            return known
    found = []
    for key in (account, *risk.members[account]):
        totals = risk.totals[key]
        found.append(totals.home if home else totals.foreign.setdefault(currency.value, Amounts()))
    if home:
        risk.memo.sums[account] = found
    return found


def _cell(state: State, account: str, symbol: str) -> Cell:
    risk = state.risk
    by_symbol = risk.cells.get(account)
    if by_symbol is None:
        by_symbol = risk.cells[account] = {}
    cell = by_symbol.get(symbol)
    if cell is None:
        cell = by_symbol[symbol] = Cell()
        profile = risk.memo.profiles.get((account, symbol))
        if profile is not None:
            profile.cell = cell
    return cell


def _shift(
    state: State,
    account: str,
    symbol: str,
    cell: Cell,
    buying: bool,
    opened: Decimal,
    held: Decimal = ZERO,
    traded: Decimal = ZERO,
) -> None:
    """Add changes of value to the account's cell in the symbol and to the sums above it.

    Args:
        opened: what is open more on the side that `buying` names.
    """
    if held:
        cell.held = cell.held + held or ZERO
    if not opened:
        long, short = held, -held
    elif buying:
        cell.buy = cell.buy + opened or ZERO
        long, short = (held + opened, -held) if held else (opened, ZERO)
    else:
        cell.sell = cell.sell + opened or ZERO
        long, short = (held, opened - held) if held else (ZERO, opened)
    used = opened + traded if traded else opened
    change = _regross(cell)
    for sums in _amounts(state, account, symbol):
        if change:
            sums.gross += change
        if long:
            sums.long += long
        if short:
            sums.short += short
        if used:
            sums.used += used
        if traded:
            sums.traded += traded


def _regross(cell: Cell) -> Decimal:
    """The largest absolute value that the position may take now, noted; how it has changed."""
    held = cell.held
    if cell.buy or cell.sell:
        if_bought, if_sold = abs(held + cell.buy), abs(held - cell.sell)
        gross = if_bought if if_bought >= if_sold else if_sold
    else:  # the same object where it can be: most cells have nothing open
        gross = held if held >= ZERO else -held
    change = gross - cell.gross
    cell.gross = gross
    return change


def open_price(order: Order, before: OpenRisk) -> Decimal:
    """What an open order's units are valued at: the limit, the larger of two while a replace is out; without
    a limit what it was accepted at.
    """
    price = order.price if order.price is not None else before.price
    pending = order.pending_replace
    if pending is not None and pending.price is not None and pending.price > price:
        return pending.price
    return price


def count_order(state: State, order: Order) -> None:
    """Bring the sums, and the locate, in line with what the order has open."""
    change = _reopened(state, order)
    if change:
        account, symbol = order.account, order.symbol
        _shift(state, account, symbol, _cell(state, account, symbol), order.side is _BUY, change)


def _reopened(state: State, order: Order) -> Decimal:
    """Bring what is counted of the order, and its locate, in line with it; the change of its open value."""
    risk = state.risk
    before = risk.open.get(order.order_id)
    if before is None:
        if order.reserved:
            before = risk.open[order.order_id] = OpenRisk(price=_first_price(state, order))
        elif order.special is None:
            return ZERO
    if risk.borrowed and order.order_id in risk.borrowed:
        _borrow(state, order)
    if before is None:
        return ZERO
    price = open_price(order, before)
    reserved = order.reserved
    if reserved is before.reserved and price is before.price:
        return ZERO
    if not reserved:
        del risk.open[order.order_id]
        return -before.value
    value = reserved * price * state.instruments[order.symbol].multiplier
    change = value - before.value
    before.reserved, before.price, before.value = reserved, price, value
    return change


def _first_price(state: State, order: Order) -> Decimal:
    """For an order that is counted again without a limit: the mark, else what it traded at on average."""
    if order.price is not None:
        return order.price
    if order.special is not None and order.special.stop_px is not None:
        return order.special.stop_px
    mark = state.risk.marks.get(order.symbol)
    return mark if mark is not None else order.avg_px


def count_position(state: State, account: str, symbol: str, px: Decimal | None = None) -> None:
    """Value the position: at the journaled reference price, else at the account's last execution."""
    cell = _cell(state, account, symbol)
    change = _revalued(state, account, symbol, cell, px)
    if change:
        _shift(state, account, symbol, cell, True, ZERO, change)


def _revalued(state: State, account: str, symbol: str, cell: Cell, px: Decimal | None) -> Decimal:
    """Note units and mark of the position; the change of its value, which `_shift` has still to add."""
    position = state.positions.get(account, symbol)
    units = position.qty if position is not None else ZERO
    mark = state.risk.marks.get(symbol)
    if mark is None:
        mark = px if px is not None else cell.mark
    if units == cell.position and mark == cell.mark:
        return ZERO
    cell.position, cell.mark = units, mark
    return units * mark * state.instruments[symbol].multiplier - cell.held


def _trade(state: State, account: str, symbol: str, value: Decimal) -> None:
    traded = value * state.instruments[symbol].multiplier
    _shift(state, account, symbol, _cell(state, account, symbol), True, ZERO, ZERO, traded)


def rebuild(state: State) -> None:
    """Sum everything anew: reference data have changed accounts, currencies, multipliers or the base."""
    risk = state.risk
    traded: list[tuple[str, str, Decimal]] = []
    for account in risk.members:
        totals = risk.totals[account]
        traded.append((account, "", totals.home.traded))
        traded += [(account, name, amounts.traded) for name, amounts in totals.foreign.items()]
    risk.totals, risk.members = {}, {}
    risk.memo.clear()
    cells, risk.cells = risk.cells, {}
    for account in state.accounts:
        _, client, firm = scope_keys(state, account)
        risk.members[account] = (client, firm)
        for key in (account, client, firm):
            risk.totals.setdefault(key, Totals())
    _carry(state, traded)
    for account, by_symbol in cells.items():
        for symbol, cell in by_symbol.items():
            count_position(state, account, symbol, cell.mark)
    for order_id in list(risk.open):
        counted = risk.open[order_id]
        counted.reserved = counted.value = ZERO
        count_order(state, state.orders[order_id])
    risk.memo.clear()


def _carry(state: State, traded: list[tuple[str, str, Decimal]]) -> None:
    """Put what was traded today back, by currency."""
    for account, currency, amount in traded:
        for key in (account, *state.risk.members[account]):
            totals = state.risk.totals[key]
            sums = totals.foreign.setdefault(currency, Amounts()) if currency else totals.home
            sums.traded += amount
            sums.used += amount


# --- locates ---------------------------------------------------------------------------------------------


def _borrow(state: State, order: Order) -> None:
    """A short sale takes what is executed and may still be; the rest goes back when the order ends."""
    borrowed = state.risk.borrowed[order.order_id]
    taken = order.cum_qty + order.reserved
    state.risk.locates[borrowed.locate_id].left -= taken - borrowed.taken
    borrowed.taken = taken


# --- orders ----------------------------------------------------------------------------------------------


def _of_order(state: State, event: Any) -> None:
    order = state.orders.get(event.order_id)
    if order is not None:
        count_order(state, order)


def count_accepted(state: State, order: Order, event: ev.OrderAccepted) -> None:
    """A new order: what it may execute, its message, its flow and the price it was measured against."""
    risk, special = state.risk, event.special
    price = event.price
    if price is None:
        price = special.stop_px if special is not None else None
        price = price if price is not None else event.reference
        price = price if price is not None else _first_price(state, order)
    if special is None:
        _open_plain(state, order, price)
    else:
        risk.open[event.order_id] = OpenRisk(ZERO, price, ZERO)
        if special.locate_id in risk.locates and event.side is not _BUY:
            risk.borrowed[event.order_id] = Borrowed(special.locate_id)
        if special.algo:
            risk.algos.setdefault(special.algo, AlgoRun()).executions += 1
        count_order(state, order)
        if not order.reserved:
            risk.open.pop(event.order_id, None)
    _message(state, event.account, event.symbol, event.ts_ns)
    limits = state.limits
    if limits.get("duplicate_flow"):
        key = (event.account, event.symbol, event.side._value_, event.qty, event.price)
        risk.flow.add(key, event.ts_ns, risk.policy.duplicate_window_ns)
    if limits.get("period_collar") and event.reference is not None:
        drift = risk.drift.get(event.symbol)
        if drift is None:
            drift = risk.drift[event.symbol] = Drift()
        drift.add(event.ts_ns, event.reference, risk.policy.drift_window_ns)


def _open_plain(state: State, order: Order, price: Decimal) -> None:
    """Count a new order that borrows nothing."""
    account, symbol = order.account, order.symbol
    value = order.reserved * price * state.instruments[symbol].multiplier
    state.risk.open[order.order_id] = OpenRisk(order.reserved, price, value)
    cell, buying = _cell(state, account, symbol), order.side is _BUY
    if not value:
        return
    if buying:
        cell.buy += value
    else:
        cell.sell += value
    change = _regross(cell)
    for sums in _amounts(state, account, symbol):
        if change:
            sums.gross += change
        if buying:
            sums.long += value
        else:
            sums.short += value
        sums.used += value


def _message(state: State, account: str, symbol: str, ts_ns: int) -> None:
    """Count a message, from when a limit on messages was first set."""
    if not (state.limits.get("max_messages") or state.limits.get("max_book_messages")):
        return
    risk = state.risk
    window_ns = risk.policy.message_window_ns
    for windows, key in ((risk.messages, account), (risk.book_messages, symbol)):
        stamps = windows.get(key)
        if stamps is None:
            stamps = windows[key] = []
        window_add(stamps, ts_ns, window_ns)


def _amend_requested(state: State, event: ev.ReplaceRequested | ev.CancelRequested) -> None:
    """A client's replace or cancel that venues hear is a message; a kill's or a halt's cancel is not."""
    order = state.orders[event.order_id]
    count_order(state, order)
    if event.cl_ord_id and event.origin is _CLIENT:
        _message(state, order.account, order.symbol, event.ts_ns)


def count_fill(state: State, order: Order, event: ev.OrderFilled, value: Decimal) -> None:
    """What was traded, the position and what is still open: one change of the sums.

    Args:
        value: quantity times price of the execution, per multiplier.
    """
    account, symbol = event.account, event.symbol
    cell = _cell(state, account, symbol)
    held = _revalued(state, account, symbol, cell, event.px)
    change, traded = _reopened(state, order), ZERO
    if event.trade_date >= state.trade_date:
        traded = value * state.instruments[symbol].multiplier
    _shift(state, account, symbol, cell, event.side is _BUY, change, held, traded)


def _undo_trade(state: State, event: ev.ExecutionBusted | ev.ExecutionCorrected) -> None:
    order, execution = state.orders[event.order_id], state.executions[event.key]
    if execution.trade_date >= state.trade_date:
        _trade(state, order.account, order.symbol, -execution.value)


def _taken_back(state: State, event: ev.ExecutionBusted | ev.ExecutionCorrected) -> None:
    order, execution = state.orders[event.order_id], state.executions[event.key]
    if isinstance(event, ev.ExecutionCorrected) and execution.trade_date >= state.trade_date:
        _trade(state, order.account, order.symbol, execution.value)
    count_position(state, order.account, order.symbol)
    count_order(state, order)


def _adjusted(state: State, event: sp.OrderAdjusted | ev.OrderRestated) -> None:
    order = state.orders[event.order_id]
    count_order(state, order)
    count_position(state, order.account, order.symbol)


def _terms_replaced(state: State, event: sp.TermsReplaced) -> None:
    """A stop without a limit is worth its trigger: a new one changes what it has open."""
    order, counted = state.orders[event.order_id], state.risk.open.get(event.order_id)
    stop_px = event.special.stop_px
    if counted is not None and order.price is None and stop_px is not None:
        counted.price = stop_px
        counted.reserved = ZERO
    count_order(state, order)


def _day_opened(state: State, event: ev.DayOpened) -> None:
    """Credit used by yesterday's trades is free again, and algos start counting anew unless disabled.
    Instruments may have new terms."""
    del event
    risk = state.risk
    risk.memo.clear()
    for totals in risk.totals.values():
        for amounts in (totals.home, *totals.foreign.values()):
            amounts.used -= amounts.traded
            amounts.traded = ZERO
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
    if event.policy.base_currency is not base:
        for totals in risk.totals.values():  # what counts as foreign changes, amounts do not
            totals.foreign.setdefault(base.value, Amounts()).traded += totals.home.traded
            now_home = totals.foreign.pop(event.policy.base_currency.value, Amounts())
            totals.home = now_home
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

#: Events that do not change what is open, and those whose handlers count it themselves.
_QUIET: tuple[type, ...] = (
    ev.OrderAccepted,
    ev.OrderFilled,
    ev.OrderRejected,
    ev.DuplicateRefused,
    ev.BreakRaised,
    ev.OrderRouted,
    ev.ChildAcked,
)


def with_risk(handlers: dict[type, Handler]) -> dict[type, Handler]:
    """The handlers of evolve, each followed by what the controls make of its event."""
    found = {**handlers, **_OWN}
    for kind, handler in handlers.items():
        after = _AFTER.get(kind)
        if after is None and kind not in _QUIET and "order_id" in getattr(kind, "__struct_fields__", ()):
            after = _of_order
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
