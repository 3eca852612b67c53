"""The part of evolve that keeps owners, reference data, controls, links and days."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtinfra.core import events as ev
from qtinfra.core.extended_models import VenueStatus
from qtinfra.engine.evolve_days import begin_day, end_day, note_closes
from qtinfra.engine.evolve_pnl import open_ledger
from qtinfra.engine.invariants import invariant
from qtinfra.engine.lookup import forget, kill_key
from qtinfra.engine.settle import settle
from qtinfra.engine.state import State
from qtinfra.risk.limits import set_limit


def _epoch_started(state: State, event: ev.EpochStarted) -> None:
    invariant(event.epoch > state.epoch, "epochs grow", state.epoch, event.epoch)
    state.epoch = event.epoch


def _reference_set(state: State, event: ev.ReferenceSet) -> None:
    forget(state)
    for instrument in event.instruments:
        state.instruments[instrument.symbol] = instrument.as_of(state.trade_date)
    for account in event.accounts:
        state.accounts[account.account] = account
    for venue in event.venues:
        state.venues[venue.mic] = venue
        state.venue_status.setdefault(venue.mic, VenueStatus.DISCONNECTED)
    for symbol, price in event.prices:
        state.reference_prices[symbol] = price
    note_closes(state, event)
    open_ledger(state, event)


def _limit_set(state: State, event: ev.LimitSet) -> None:
    forget(state)
    set_limit(state.limits, event.rule, event.account, event.symbol, event.value)


def _symbol_restricted(state: State, event: ev.SymbolRestricted) -> None:
    accounts = state.restricted.setdefault(event.symbol, {})
    if event.restricted:
        accounts[event.account] = True
    else:
        accounts.pop(event.account, None)


def _fx_rate_set(state: State, event: ev.FxRateSet) -> None:
    state.fx_rates[f"{event.base}/{event.quote}"] = event.rate


def _instrument_halted(state: State, event: ev.InstrumentHalted) -> None:
    if event.halted:
        state.halted[event.symbol] = event.reason
    else:
        state.halted.pop(event.symbol, None)


def _venue_status_set(state: State, event: ev.VenueStatusSet) -> None:
    forget(state)
    state.venue_status[event.venue] = event.status


def _kill_engaged(state: State, event: ev.KillSwitchEngaged) -> None:
    forget(state)
    state.kills[kill_key(event.scope, event.value)] = event.reason


def _kill_released(state: State, event: ev.KillSwitchReleased) -> None:
    forget(state)
    state.kills.pop(kill_key(event.scope, event.value), None)


def _day_closed(state: State, event: ev.DayClosed) -> None:
    state.closed_days[event.venue] = event.trade_date
    end_day(state)


def _day_opened(state: State, event: ev.DayOpened) -> None:
    forget(state)
    state.trade_date = event.trade_date
    for symbol, instrument in state.instruments.items():
        if instrument.changes:
            state.instruments[symbol] = instrument.as_of(event.trade_date)
    for order_id in list(state.open_orders):
        order = state.orders[order_id]
        order.day_base_cum = order.cum_qty
        order.done_for_day = False
        settle(state, order, order.updated_ns)
    begin_day(state)


def _nothing(state: State, event: ev.CommandRefused | ev.DuplicateRefused) -> None:
    del state, event


def _quarantined(state: State, event: ev.CommandQuarantined) -> None:
    for subject in (event.order_id, event.account):
        if subject:
            state.frozen[subject] = event.error
    if event.seq:
        state.inbound[event.venue] = event.seq


def _unfrozen(state: State, event: ev.Unfrozen) -> None:
    state.frozen.pop(event.subject, None)
    if event.subject in state.orders:
        state.closing[event.subject] = True


def _break_raised(state: State, event: ev.BreakRaised) -> None:
    del event
    state.breaks += 1


CONTROLS: dict[type, Callable[[State, Any], None]] = {
    ev.EpochStarted: _epoch_started,
    ev.ReferenceSet: _reference_set,
    ev.LimitSet: _limit_set,
    ev.SymbolRestricted: _symbol_restricted,
    ev.FxRateSet: _fx_rate_set,
    ev.InstrumentHalted: _instrument_halted,
    ev.VenueStatusSet: _venue_status_set,
    ev.KillSwitchEngaged: _kill_engaged,
    ev.KillSwitchReleased: _kill_released,
    ev.DayClosed: _day_closed,
    ev.DayOpened: _day_opened,
    ev.CommandRefused: _nothing,
    ev.DuplicateRefused: _nothing,
    ev.CommandQuarantined: _quarantined,
    ev.Unfrozen: _unfrozen,
    ev.BreakRaised: _break_raised,
}
