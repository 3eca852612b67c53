"""The kinds of algorithm cases with other values than the known ones: sells, lots, edges, unknown words."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from qtinfra.testing.algo_cases import ALGO_KINDS
from tests.support.requirements import require_data

pytestmark = pytest.mark.unit

NOWHERE = Path()
D = Decimal


def result(kind: str, inputs: Mapping[str, Any], data_root: Path = NOWHERE) -> Mapping[str, Any]:
    return ALGO_KINDS[kind](inputs, data_root)


LIQUIDATION = {
    "shares": 1_000_000,
    "horizon_days": 5,
    "periods": 5,
    "sigma": D("0.95"),
    "epsilon": D("0.0625"),
    "gamma": D("2.5e-7"),
    "eta": D("2.5e-6"),
    "risk_aversion": D("1e-6"),
}


def test_the_kinds_that_are_asked_for_exist_and_those_of_value_at_risk_do_not() -> None:
    assert sorted(ALGO_KINDS) == [
        "almgren_chriss",
        "almgren_chriss_lots",
        "almgren_chriss_resolve",
        "athl_impact",
        "cont_kukanov",
        "lot_rounding",
        "obizhaeva_wang",
        "pov",
        "shortfall",
        "sweep",
        "tca_ticks",
        "volume_kalman",
        "vwap_schedule",
    ]


def test_lots_of_a_straight_line_are_rounded_half_up_exactly() -> None:
    even = {**LIQUIDATION, "shares": 1000, "periods": 8, "risk_aversion": 0, "lot": 50}
    assert result("almgren_chriss_lots", even)["children"] == (150, 100, 150, 100, 150, 100, 150, 100)
    bought = result("almgren_chriss_lots", {**LIQUIDATION, "shares": -1_000_000, "lot": 100})
    assert bought["children"] == (458_000, 252_100, 142_000, 85_800, 62_100)
    assert result("almgren_chriss_lots", {**LIQUIDATION, "shares": 0})["children"] == (0,) * 5


def test_a_plan_is_solved_again_from_any_period() -> None:
    whole = result("almgren_chriss", LIQUIDATION)["holdings"]
    for after in range(5):
        again = result("almgren_chriss_resolve", {**LIQUIDATION, "resolve_after_periods": after})
        assert again["holdings"] == pytest.approx(whole[after:])


def test_a_cap_is_held_in_lots_and_what_is_left_is_told() -> None:
    inputs = {
        "quantity": 1000,
        "curve": [1, 1],
        "market_volume": [1500, 1990],
        "participation_cap": D("0.2"),
        "lot": 100,
    }
    assert result("vwap_schedule", inputs) == {"children": (300, 300), "unfilled": 400}
    assert result("vwap_schedule", {"quantity": 5, "curve": [1, 1]})["children"] == (3, 2)
    with pytest.raises(ValueError, match="cap_basis"):
        result("vwap_schedule", {**inputs, "cap_basis": "something"})


VENUES = [
    {"venue": "A", "price": "10.00", "size": 300, "take_fee_per_share": "0.003"},
    {"venue": "B", "price": "9.99", "size": 500, "take_fee_per_share": "-0.002"},
    {"venue": "C", "price": "10.00", "size": 200},
]


def test_a_sale_goes_to_the_highest_proceeds_after_fees() -> None:
    found = result("sweep", {"side": "SELL", "quantity": 600, "venues": VENUES})
    assert found["route"] == [("C", 200), ("A", 300), ("B", 100)]
    assert found["net_cost"] == D("2000") + D("3000") - D("0.9") + D("999") + D("0.2")


def test_what_is_not_displayed_or_beyond_the_limit_is_not_routed() -> None:
    buy = {"side": "BUY", "quantity": 5000, "venues": VENUES}
    found = result("sweep", buy)
    assert (found["route"], found["unfilled"]) == ([("B", 500), ("C", 200), ("A", 300)], 4000)
    limited = result("sweep", {**buy, "limit_price": "9.99"})
    assert (limited["route"], limited["unfilled"]) == ([("B", 500)], 4500)
    alone = result("sweep", {**buy, "venues": VENUES[:1], "limit_price": "9.99"})
    assert (alone["route"], alone["net_cost"]) == ([], 0)


def test_the_levels_of_one_venue_are_taken_in_order_of_price() -> None:
    deep = [{"venue": "A", "price": price, "size": 100} for price in ("10.02", "10.00")]
    found = result(
        "sweep", {"side": "BUY", "quantity": 150, "venues": [*deep, {**VENUES[1], "price": "10.01"}]}
    )
    assert found["route"] == [("A", 100), ("B", 50)]


def test_a_placement_takes_any_known_outflow_and_names_an_unknown_one() -> None:
    inputs = {
        "quantity": 1000,
        "half_spread": D("0.02"),
        "market_fee": D("0.003"),
        "theta": D("0.0005"),
        "lambda_under": D("0.05"),
        "lambda_over": D("0.05"),
    }
    for outflow in (
        {"distribution": "normal", "mean": 2500, "std": 400},
        {"distribution": "pareto", "scale": 1500, "shape": 2},
        {"distribution": "uniform", "low": 2000, "high": 2800},
        {"distribution": "empirical", "samples": [2000, 2400, 2600]},
    ):
        venue = {"queue": 2000, "rebate": D("0.002"), "outflow": outflow}
        found = result("cont_kukanov", {**inputs, "venues": [venue]})
        assert found["market"] + sum(found["limits"]) == pytest.approx(1000)
        assert 0 < found["limits"][0] < 1000
    venue = {"queue": 1, "rebate": 0, "outflow": {"distribution": "gamma", "mean": 1}}
    with pytest.raises(ValueError, match="outflow: no distribution 'gamma'"):
        result("cont_kukanov", {**inputs, "venues": [venue]})


def test_a_shortfall_of_a_sale_has_the_signs_turned() -> None:
    inputs = {
        "quantity": 1000,
        "decision_price": "10.00",
        "arrival_price": "10.05",
        "fills": [[700, "10.07"]],
        "fees": "14",
        "end_price": "10.08",
    }
    bought, sold = (result("shortfall", {**inputs, "side": side}) for side in ("BUY", "SELL"))
    assert (bought["total"], bought["total_pct"]) == (D(87), D("0.87"))
    assert (sold["delay"], sold["trading"], sold["opportunity"], sold["total"]) == (-35, -14, -24, -59)


TICKS = {
    "files": "nbbo_ticks/ibm_20131008",
    "suspicious": False,
    "child_quantity": 100,
    "first": "10:00:00",
    "last": "14:55:00",
    "every_s": 300,
    "arrival": "mid at 10:00:00",
    "vwap_window": ["10:00:00", "15:00:00"],
    "markout_s": 300,
}


def test_selling_at_the_bid_costs_the_other_half_of_the_spread() -> None:
    root = require_data("nbbo_ticks").parent
    rule = "national {} of the last quote strictly before the time"
    bought = result("tca_ticks", {**TICKS, "side": "BUY", "price": rule.format("ask")}, root)
    sold = result("tca_ticks", {**TICKS, "side": "SELL", "price": rule.format("bid")}, root)
    assert sold["effective_half_spread_bp"] == pytest.approx(
        bought["effective_half_spread_bp"], rel=D("1e-3")
    )
    assert sold["average_price"] < bought["average_price"]
    assert sold["slippage_vs_arrival_bp"] == pytest.approx(D("52.1"), abs=D("0.1"))
    at_mid = result("tca_ticks", {**TICKS, "side": "BUY", "price": rule.format("mid")}, root)
    assert at_mid["effective_half_spread_bp"] == 0


def test_words_that_are_not_understood_are_refused() -> None:
    root = require_data("nbbo_ticks").parent
    for change, message in (
        ({"price": "any"}, "price: national ask, bid or mid"),
        ({"arrival": "open"}, "arrival: 'mid at HH:MM:SS'"),
        ({"suspicious": True}, "suspicious: one of"),
        ({"arrival": "mid at 03:00:00"}, "no quote before"),
    ):
        rule = "national ask of the last quote at or before the time"
        with pytest.raises(ValueError, match=message):
            result("tca_ticks", {**TICKS, "side": "BUY", "price": rule, "last": "10:00:00", **change}, root)


def test_a_symbol_without_published_parameters_is_fitted_on_its_warm_up() -> None:
    root = require_data("intraday_volume_15m").parent
    inputs = {"symbol": "AAPL", "warmup_days": 50, "files": "intraday_volume_15m"}
    found = result("volume_kalman", inputs, root)
    assert 0 < found["log_mae"] < found["log_rmse"]
    assert found["log_mae"] < found["rolling_mean20_log_mae"]
