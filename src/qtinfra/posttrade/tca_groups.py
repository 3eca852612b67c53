"""Costs by group: of orders by algo, trader, symbol or account, and of children by venue.

Amounts sum exactly; ratios weigh by traded value. Currencies are never added.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from qtinfra.core.models import OrderStatus
from qtinfra.posttrade.tca_fills import bps, fill_measures

#: The parts of an order's shortfall, in the order in which they are shown.
COMPONENTS = ("delay", "trading", "opportunity", "fees")
#: Seconds after an order's last fill at which its reversion is measured.
REVERSION_S = (60, 300)


def order_groups(orders: pl.DataFrame, fills: pl.DataFrame, by: Iterable[str]) -> pl.DataFrame:
    """Costs by some columns of the orders and by currency; amounts sum exactly, ratios weigh by value."""
    keys = [*by, "currency"]
    measured = pl.col("total").is_not_null()
    costs = orders.group_by(keys, maintain_order=True).agg(
        orders=pl.len(),
        measured=measured.sum(),
        children=pl.col("children").sum(),
        fills=pl.col("fill_count").sum(),
        notional=pl.col("notional").sum(),
        **{name: pl.col(name).filter(measured).sum() for name in COMPONENTS},
        total=pl.col("total").sum(),
        paper_value=pl.col("paper_value").sum(),
        fill_rate=pl.col("fill_rate").mean(),
        arrival_bps=_value_mean("arrival_bps"),
        vwap_bps=_value_mean("vwap_bps"),
        participation=_value_mean("participation"),
        **{f"reversion_{s}s_bps": _value_mean(f"reversion_{s}s_bps") for s in REVERSION_S},
    )
    costs = costs.with_columns(
        total_bps=bps(pl.col("total"), pl.col("paper_value")),
        **{f"{name}_bps": bps(pl.col(name), pl.col("paper_value")) for name in COMPONENTS},
    )
    measures = fills.group_by(keys).agg(fill_measures("value")).drop("quantity_px")
    return costs.join(measures, on=keys, how="left", maintain_order="left").sort(keys)


def venue_groups(children: pl.DataFrame, fills: pl.DataFrame) -> pl.DataFrame:
    """What each venue did with what it was sent, by currency. Latencies are medians and 95th percentiles."""
    keys = ["venue", "currency"]
    sent = children.group_by(keys).agg(
        children=pl.len(),
        rejected=(pl.col("ended_as") == OrderStatus.REJECTED.value).sum(),
        fills=pl.col("fill_count").sum(),
        notional=pl.col("notional").sum(),
        fees=pl.col("fees").sum(),
        fill_rate=pl.col("fill_rate").mean(),
        filled_children=(pl.col("fill_count") > 0).mean(),
        ack_ms_median=pl.col("ack_ms").median(),
        ack_ms_p95=pl.col("ack_ms").quantile(0.95),
        first_fill_ms_median=pl.col("first_fill_ms").median(),
    )
    sent = sent.with_columns(
        share=pl.col("notional").cast(float) / pl.col("notional").cast(float).sum().over("currency"),
        fee_bps=bps(pl.col("fees"), pl.col("notional")),
    )
    measures = fills.group_by(keys).agg(fill_measures("value")).drop("quantity_px")
    joined = sent.join(measures, on=keys, how="left")
    return joined.sort(["currency", "notional", "venue"], descending=[False, True, False])


def _value_mean(name: str) -> pl.Expr:
    """Mean weighted by what was traded, of the orders that have the measure."""
    weight = pl.col("notional").cast(float).filter(pl.col(name).is_not_null())
    value = (pl.col(name) * pl.col("notional").cast(float)).sum()
    return pl.when(weight.sum() > 0).then(value / weight.sum())
