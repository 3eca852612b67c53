"""Engines broken on purpose: each planted mutation must turn a conformance run red."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from qtinfra.core import events as ev
from qtinfra.core import models
from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.models import Order, OrderStatus
from qtinfra.core.reports import ReportKind
from qtinfra.engine import effects, evolve, settle
from qtinfra.engine.decide import amend, submit, venue
from qtinfra.engine.invariants import InvariantBrokenError
from qtinfra.engine.kernel import KernelStoppedError
from qtinfra.engine.settle import settle as settle_order
from qtinfra.engine.state import State
from qtinfra.testing.conformance import run
from qtinfra.testing.engine_rig import make_rig
from tests.support.requirements import REPO_ROOT, require_data

pytestmark = pytest.mark.simulation

BUILT_IN = REPO_ROOT / "tests" / "data" / "conformance"
SCENARIOS = "order_state_scenarios.csv"

Plant = Callable[[pytest.MonkeyPatch], None]


def published() -> Path:
    """The folder of published scripts, which lies beside the market data."""
    return require_data(Path("..") / "conformance" / SCENARIOS).parent


def failures(folder: Path) -> int:
    """How many scripts fail; an engine whose own invariants break counts as one."""
    try:
        return len(run(folder, make_rig, Path("no-market-data"), kinds={}).failures)
    except (InvariantBrokenError, KernelStoppedError):
        return 1


def altered(kind: type, change: Callable[[Any], Any]) -> Plant:
    """Evolve sees another event than the one that was decided."""
    apply = evolve._EVOLVE[kind]

    def mutated(state: State, event: Any) -> None:
        apply(state, change(event))

    return lambda planted: planted.setitem(evolve._EVOLVE, kind, mutated)


def _reporting(event: ev.OrderFilled, **numbers: Decimal) -> ev.OrderFilled:
    """The execution with other numbers in its report."""
    return replace(event, report=replace(event.report, **numbers))


def _only_the_version(state: State, event: Any) -> None:
    settle_order(state, state.orders[event.order_id], event.ts_ns)


def _bust_keeps_cum(planted: pytest.MonkeyPatch) -> None:
    planted.setitem(evolve._EVOLVE, ev.ExecutionBusted, _only_the_version)


def _cancel_forgotten(planted: pytest.MonkeyPatch) -> None:
    planted.setitem(evolve._EVOLVE, ev.CancelRequested, _only_the_version)


def _filled_before_pending(order: Order) -> OrderStatus:
    if order.cum_qty and order.closed is None:
        return OrderStatus.FILLED if order.filled else OrderStatus.PARTIALLY_FILLED
    return models.order_status(order)


def _precedence(planted: pytest.MonkeyPatch) -> None:
    planted.setattr(settle, "order_status", _filled_before_pending)
    planted.setattr("qtinfra.engine.audit.order_status", _filled_before_pending)


def _leaves_after_the_end(planted: pytest.MonkeyPatch) -> None:
    planted.setattr(Order, "leaves_qty", property(lambda order: max(ZERO, order.qty - order.cum_qty)))


def _every_report_a_new_execution(planted: pytest.MonkeyPatch) -> None:
    key = venue.execution_key
    planted.setattr(
        venue, "execution_key", lambda report, exec_id, date: f"{key(report, exec_id, date)}|{report.seq}"
    )


def _below_filled_accepted(planted: pytest.MonkeyPatch) -> None:
    check = amend._check_replace

    def lenient(*facts: Any) -> Any:
        refusal = check(*facts)
        return None if refusal is not None and refusal.code == "qty_below_filled" else refusal

    planted.setattr(amend, "_check_replace", lenient)


def _late_fill_dropped(planted: pytest.MonkeyPatch) -> None:
    book = venue._HANDLERS[ReportKind.FILL]

    def dropping(at: Any, report: Any) -> None:
        if at.order.closed is None:
            book(at, report)

    planted.setitem(venue._HANDLERS, ReportKind.FILL, dropping)


def _correction_keeps_the_price(planted: pytest.MonkeyPatch) -> None:
    apply = evolve._EVOLVE[ev.ExecutionCorrected]

    def mutated(state: State, event: Any) -> None:
        apply(state, replace(event, px=state.executions[event.key].px))

    planted.setitem(evolve._EVOLVE, ev.ExecutionCorrected, mutated)


MUTATIONS: dict[str, Plant] = {
    "the fill price is ignored": altered(ev.OrderFilled, lambda event: _reporting(event, px=Decimal(1))),
    "the fill quantity is one short": altered(
        ev.OrderFilled, lambda event: _reporting(event, qty=event.qty - 1 or ONE)
    ),
    "fills rank above pending requests": _precedence,
    "leaves are not zeroed at the end": _leaves_after_the_end,
    "a bust does not reverse what has traded": _bust_keeps_cum,
    "a repeated execution is applied twice": _every_report_a_new_execution,
    "a replace below what has traded is accepted": _below_filled_accepted,
    "a pending cancel is forgotten": _cancel_forgotten,
    "a replaced order keeps its quantity": altered(
        ev.OrderReplaced, lambda event: replace(event, qty=Decimal(10_000))
    ),
    "the ratio of a restatement is ignored": altered(
        ev.OrderRestated, lambda event: replace(event, ratio_num=ONE, ratio_den=ONE)
    ),
    "a late fill is dropped": _late_fill_dropped,
    "a correction keeps the old price": _correction_keeps_the_price,
    "a client id may come again with other content": lambda planted: planted.setattr(
        submit, "same_content", lambda state, order, command: True
    ),
    "the reason of a refused replace is wrong": lambda planted: planted.setattr(
        venue, "_cxl_reason", lambda report, child: 99
    ),
    "the order of a day is never over": altered(
        ev.OrderDoneForDay, lambda event: replace(event, closes=False)
    ),
    "executions are not told": lambda planted: planted.setitem(
        effects.EFFECTS, ev.OrderFilled, partial(lambda *_: [])
    ),
}

#: What no published script looks at.
BUILT_IN_ALONE = (
    "a correction keeps the old price",
    "the order of a day is never over",
    "a repeated execution is applied twice",
    "a replace below what has traded is accepted",
)


def test_the_engine_as_it_is_plays_every_built_in_script() -> None:
    assert failures(BUILT_IN) == 0


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_mutation_turns_the_built_in_scripts_red(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as planted:
        MUTATIONS[name](planted)
        assert failures(BUILT_IN) > 0
    assert failures(BUILT_IN) == 0, "nothing stays planted"


def test_the_engine_as_it_is_plays_every_published_script() -> None:
    assert failures(published()) == 0


@pytest.mark.parametrize("name", [name for name in MUTATIONS if name not in BUILT_IN_ALONE])
def test_a_planted_mutation_turns_the_published_scripts_red(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = published()
    with monkeypatch.context() as planted:
        MUTATIONS[name](planted)
        assert failures(folder) > 0
