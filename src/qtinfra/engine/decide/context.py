"""Rules for new orders that need context: hours, type and time in force at the venues, currency.

They bind where a calendar of the listing venue is journaled. A resting order that comes outside the session
is taken for the next one: its venue queues it, and it expires with the session that it belongs to.
"""

from __future__ import annotations

import msgspec

from qtinfra.core.calendar import VenueCalendar
from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decisions import Refusal
from qtinfra.core.extended_models import Account, Instrument
from qtinfra.core.models import Currency
from qtinfra.core.validation.sessions import OrderContext, collect_errors
from qtinfra.engine.decide.routing import eligible_venues
from qtinfra.engine.lookup import open_venues
from qtinfra.engine.state import State
from qtinfra.positions.fx import Conversion, conversion
from qtinfra.risk.sheet import Fits, Hours

#: Later than any time of a decision, UTC nanoseconds.
_NO_END = 1 << 63


def check_in_context(
    state: State,
    command: SubmitOrder,
    account: Account,
    instrument: Instrument,
    now_ns: int,
    refusal: Refusal | None,
) -> Refusal | None:
    """All that is wrong with a plain order, in the order of `collect_errors`; None when it may go on to risk.

    Args:
        refusal: what the rules without context found first.

    Returns:
        The first violation; its text lists all of them.
    """
    calendar = state.calendars.get(instrument.listings[0])
    if calendar is None:
        if refusal is None:
            _note_hours(state, command, instrument, None, now_ns)
        return refusal
    context = _context_of(state, account, instrument, calendar, now_ns)
    errors = collect_errors(command, context)
    if refusal is not None and refusal.code not in [error.code for error in errors]:
        errors.append(refusal)
    if not errors:
        _note_hours(state, command, instrument, calendar, now_ns)
        return None
    return msgspec.structs.replace(errors[0], text="; ".join(error.text for error in errors))


def in_known_hours(state: State, command: SubmitOrder, at_home: bool, fits: Fits, now_ns: int) -> bool:
    """Whether a plain order, of numbers that fit, comes at a time for which `check_in_context` has
    passed one like it, and nothing that it reads has changed since.

    Args:
        at_home: the account's base currency is the shard's.
    """
    hours = fits.hours.get((command.order_type._value_, command.tif._value_))
    return (
        hours is not None
        and at_home
        and hours.since_ns <= now_ns < hours.until_ns
        and hours.calendar is state.calendars.get(hours.mic)
        and hours.venues is open_venues(state, command.symbol)
    )


def _note_hours(
    state: State, command: SubmitOrder, instrument: Instrument, calendar: VenueCalendar | None, now_ns: int
) -> None:
    """Remember until when orders like this one are taken; not in a session that has breaks."""
    to = state.risk.memo.symbols.get(command.symbol)
    if to is None:
        return
    since_ns, until_ns = 0, _NO_END
    if calendar is not None:
        session = calendar.session_at(now_ns)
        if session is None or session.breaks:
            return
        since_ns, until_ns = session.open_ns, session.close_ns
    venues = open_venues(state, command.symbol)
    hours = Hours(since_ns, until_ns, instrument.listings[0], calendar, venues)
    to.fits.hours[command.order_type._value_, command.tif._value_] = hours


def _context_of(
    state: State, account: Account, instrument: Instrument, calendar: VenueCalendar, now_ns: int
) -> OrderContext:
    """Venues count while they are connected and not killed; a plain order is held by nobody else."""
    venues = tuple(state.venues[terms.mic] for terms in eligible_venues(state, instrument.symbol, []))
    return OrderContext(
        now_ns,
        account,
        instrument,
        venues,
        calendar,
        instrument.symbol in state.halted,
        convertible=_convertible(state, account, instrument),
    )


def _convertible(state: State, account: Account, instrument: Instrument) -> tuple[Currency, ...]:
    """The instrument's currency, when a journaled rate leads from it to the account's base currency."""
    currency = instrument.currency
    if currency is account.base_currency:
        return ()
    found = conversion(state.fx_rates, currency, account.base_currency)
    return (currency,) if isinstance(found, Conversion) else ()
