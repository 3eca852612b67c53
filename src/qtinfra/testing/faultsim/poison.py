"""Commands that our own code fails on: the faults in the engine that quarantine is for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qtinfra.core.commands import SubmitOrder
from qtinfra.core.events import OrderAccepted
from qtinfra.engine import decide, evolve

#: Client ids that begin with these make deciding, or applying, fail.
DECIDE_FAILS, EVOLVE_FAILS = "PD", "PE"


@contextmanager
def poisonous() -> Iterator[None]:
    """While it lasts, orders with such ids bring down the function that handles them."""
    deciding, applying = decide.DECIDE[SubmitOrder], evolve._EVOLVE[OrderAccepted]

    def decide_order(state: Any, command: Any, now_ns: int, market: Any, out: Any) -> None:
        if command.cl_ord_id.startswith(DECIDE_FAILS):
            raise ZeroDivisionError(f"poison: {command.cl_ord_id}")
        deciding(state, command, now_ns, market, out)

    def accept(state: Any, event: Any) -> None:
        if event.cl_ord_id.startswith(EVOLVE_FAILS):
            raise ZeroDivisionError(f"poison: {event.cl_ord_id}")
        applying(state, event)

    decide.DECIDE[SubmitOrder] = decide_order
    evolve._EVOLVE[OrderAccepted] = accept
    try:
        yield
    finally:
        decide.DECIDE[SubmitOrder] = deciding
        evolve._EVOLVE[OrderAccepted] = applying
