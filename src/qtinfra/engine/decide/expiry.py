"""When orders end: a DAY order at its listing venue's close, a GTD order at its own time.

Closes are those of journaled calendars, half days and daylight saving included; a venue without one ends its
day by the DAY_CLOSE timer alone.
"""

from __future__ import annotations

from qtinfra.core.events import DayClosed, OrderExpired
from qtinfra.core.models import Order, Origin, TimeInForce
from qtinfra.core.validation.sessions import target_session
from qtinfra.engine.decide.amend import cancel_if_open
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.state import State

#: Reason of a cancel that the engine sends because the order's time is over: it ends as EXPIRED.
EXPIRED = "expired"

_LASTING = (TimeInForce.GTC, TimeInForce.GTD)


def expires_at(state: State, order: Order) -> int | None:
    """When the order ends by itself, UTC nanoseconds; None when it does not or no calendar says.

    A DAY order belongs to the session it came in, or to the next one when it came between sessions.
    """
    if order.tif is TimeInForce.GTD:
        return order.special.expire_ns if order.special is not None else None
    if order.tif is TimeInForce.GTC:
        return None
    calendar = state.calendars.get(state.instruments[order.symbol].listings[0])
    session = target_session(order.tif, calendar, order.created_ns) if calendar is not None else None
    return session.close_ns if session is not None else None


def newly_closed(state: State, now_ns: int) -> list[str]:
    """Venues whose session of the current trading date has closed by now and is not marked as closed."""
    closed = []
    for mic, calendar in state.calendars.items():
        close_ns = calendar.close_of(state.trade_date)
        marked = state.trade_date in (state.closed_days.get(mic), state.closed_days.get(""))
        if close_ns is not None and close_ns <= now_ns and not marked:
            closed.append(mic)
    return closed


def next_expiry_ns(state: State, after_ns: int = -1) -> int | None:
    """When the EXPIRY timer should fire next: the earliest end of an open order or of a venue's session.

    One pass over the open orders. What is due already and could not end yet (an order in doubt, one whose
    venue has not answered the cancel) counts as well.

    Args:
        after_ns: look only at moments later than this one, UTC nanoseconds.

    Returns:
        UTC nanoseconds; None when nothing ends by itself.
    """
    found: int | None = None
    for mic, calendar in state.calendars.items():
        close_ns = calendar.close_of(state.trade_date)
        marked = state.trade_date in (state.closed_days.get(mic), state.closed_days.get(""))
        if close_ns is not None and not marked and close_ns > after_ns:
            found = close_ns if found is None else min(found, close_ns)
    for order_id in state.open_orders:
        order = state.orders[order_id]
        at_ns = expires_at(state, order) if order.open else None
        if at_ns is not None and at_ns > after_ns and (found is None or at_ns < found):
            found = at_ns
    return found


def close_days(state: State, venues: list[str], out: Decision) -> None:
    """Mark the trading date as over at the venues."""
    for mic in venues:
        out.add(DayClosed(state.trade_date, mic))


def rests_after_close(state: State, order: Order, venues: list[str]) -> bool:
    """Whether a lasting order is done for the day because its venue has just closed."""
    return order.tif in _LASTING and state.instruments[order.symbol].listings[0] in venues


def expire(state: State, order: Order, now_ns: int, out: Decision) -> None:
    """A GTD order's time has come: at once when no venue holds a part, else when the venues have let it go.

    One for which a cancel is out ends by its answer.
    """
    if state.working_children(order):
        cancel_if_open(state, order, Origin.SYSTEM, EXPIRED, now_ns, out)
    else:
        out.add(OrderExpired("", 0, order.order_id, EXPIRED, now_ns))
