"""From the outcome of a command to the answer of a request. What is answered is durable by then.

new order        201 · 200 the first answer again · 409 other content · 422 refused (429 max_messages)
replace, cancel  200 done · 202 on its way to the venues · 409 by state · 422 by rule
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from qtinfra.api.errors import Problem, Wrong, refusal
from qtinfra.api.views import OrderDetailView, OrderView, encode, new_order_view
from qtinfra.core.commands import SubmitOrder
from qtinfra.core.events import (
    AmendRefused,
    AnyEvent,
    CommandQuarantined,
    CommandRefused,
    DuplicateRefused,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    OrderReplaced,
)
from qtinfra.core.exceptions import Severity
from qtinfra.core.reports import CXL_OTHER, OrderCancelReject
from qtinfra.core.validation.wire_special import NAMES
from qtinfra.engine.kernel import Outcome

JSON = (b"content-type", b"application/json")
#: Refusals that are about the state of things although the engine gives them no FIX code of their own.
CONFLICTS = ("qty_below_filled", "venue_disconnected", "outcome_unknown", "duplicate_client_order_id")

Header = tuple[bytes, bytes]


class Reply(msgspec.Struct, frozen=True):
    """One answer: status, headers of its own, body."""

    status: int
    headers: Sequence[Header]
    body: bytes


def etag(version: int) -> bytes:
    """The entity tag of an order's version."""
    return b'"%d"' % version


def order_reply(status: int, view: OrderView) -> Reply:
    """An order as the answer."""
    headers = [JSON, (b"etag", etag(view.version)), (b"location", f"/orders/{view.id}".encode())]
    return Reply(status, headers, encode(view))


def detail_reply(view: OrderDetailView) -> Reply:
    """An order in full as the answer."""
    return Reply(200, [JSON, (b"etag", etag(view.version))], encode(view))


def new_order(command: SubmitOrder, outcome: Outcome) -> OrderView | str:
    """The new order, or the id of the one that the same request made before.

    Raises:
        Problem: it was refused; an order refused by a rule or by risk exists as REJECTED.
    """
    events = outcome.events
    if events and type(events[0]) is OrderAccepted and not outcome.answers:
        return new_order_view(command, events[0], events)
    for answer in outcome.answers:
        return answer.order_id
    for event in events:
        match event:
            case OrderAccepted():
                return new_order_view(command, event, events)
            case OrderRejected():
                raise rejected(event)
            case _:
                raise_refused(event)
    raise _no_answer()


def rejected(event: OrderRejected, within: str = "") -> Problem:
    """The answer to an order that a rule or a control refused.

    Args:
        within: stands before the field, such as "orders[1]." for an order of a list.
    """
    wrong = Wrong(
        within + NAMES.get(event.field, event.field), event.code, event.limit, event.observed, event.text
    )
    slow_down = event.code == "max_messages"
    return Problem(
        429 if slow_down else 422,
        event.code,
        event.text,
        errors=[wrong],
        severity=Severity.WARNING,
        retry_after_s=1 if slow_down else None,
        order_id=event.order_id,
    )


def raise_refused(event: AnyEvent) -> None:
    """Raise what an event says if it is a refusal; else return.

    Raises:
        Problem: the refusal.
    """
    match event:
        case DuplicateRefused():
            raise Problem(409, "duplicate_client_order_id", event.text, order_id=event.order_id)
        case CommandRefused():
            field, limit, value = NAMES.get(event.field, event.field), event.limit, event.observed
            raise refusal(422, event.code, event.text, field=field, limit=limit, value=value)
        case AmendRefused():
            status, text = _amend_status(event.reason, event.code), event.text
            field, limit, value = NAMES.get(event.field, event.field), event.limit, event.observed
            raise refusal(status, event.code, text, field=field, limit=limit, value=value)
        case CommandQuarantined():
            text = "a fault of ours stopped this request; a person looks at it"
            raise Problem(500, "quarantined", text, severity=Severity.CRITICAL)


def amended(cl_ord_id: str, outcome: Outcome) -> int:
    """The status of a replace or cancel: 200 when it is done, 202 when venues have to say.

    Args:
        cl_ord_id: the id of the request.

    Raises:
        Problem: it was refused, now or when it was first made.
    """
    for effect in outcome.effects:
        if isinstance(effect, OrderCancelReject) and effect.cl_ord_id == cl_ord_id and outcome.answers:
            raise refusal(_amend_status(effect.reason, effect.code), effect.code, effect.text)
    for event in outcome.events:
        if not isinstance(event, AmendRefused) or event.cl_ord_id == cl_ord_id:
            raise_refused(event)
    done = any(isinstance(event, OrderReplaced | OrderCancelled) for event in outcome.events)
    return 200 if done else 202


def _amend_status(reason: int, code: str) -> int:
    return 409 if reason != CXL_OTHER or code in CONFLICTS else 422


def _no_answer() -> Problem:
    return Problem(500, "internal_error", "the engine gave no answer", severity=Severity.CRITICAL)
