"""The cost analysis on what the engine itself journals of an algo order."""

from __future__ import annotations

from decimal import Decimal

import pytest

from qtinfra.posttrade.tca import analyse
from qtinfra.posttrade.tca_facts import gather
from qtinfra.posttrade.tca_groups import COMPONENTS
from qtinfra.posttrade.tca_report import report
from qtinfra.posttrade.tca_tape import journal_tape
from tests.unit.engine.test_algos import Floor

pytestmark = pytest.mark.unit


def test_an_algo_order_of_the_engine_is_measured_by_slice_and_against_its_schedule() -> None:
    desk = Floor()
    desk.parent("TWAP", 1000)
    for minute in range(10):
        desk.market.traded = Decimal(10_000 + 500 * minute)
        desk.look(60 * minute + 1)
        desk.trade(px="50.02")
    facts = gather(desk.entries)
    tca = analyse(facts, journal_tape(facts))
    (order,) = tca.orders.to_dicts()
    assert (order["algo"], order["status"], order["filled_qty"]) == ("TWAP", "FILLED", 1000)
    assert (order["decision_px"], order["trading"]) == (50, 20)
    assert sum(order[name] for name in COMPONENTS) == order["total"]
    assert tca.schedules["target_qty"].to_list() == list(range(100, 1001, 100))
    assert set(tca.children["slice"]) == {"CROSS"}
    assert "TWAP BUY 1,000" in report(tca, "engine")
