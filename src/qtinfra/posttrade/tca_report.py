"""The cost report: a page that a trading desk can read, keep and print. `tca` says what the numbers mean."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from html import escape
from typing import Any

import polars as pl

from qtinfra.posttrade import tca_charts as charts
from qtinfra.posttrade import tca_page as page
from qtinfra.posttrade.tca import Tca
from qtinfra.posttrade.tca_fills import HORIZONS_S, REALISED_S, fill_measures
from qtinfra.posttrade.tca_groups import COMPONENTS
from qtinfra.posttrade.tca_page import Column

#: How many algo parents are drawn, and how many orders the table of the costliest has.
MAX_PARENTS, MAX_ORDERS = 12, 25
_BARS, _NS = 40, 1e9
_BIN_SECONDS = (1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)

_bp = page.basis_points
_COSTS = (
    Column("orders", "orders", page.whole),
    Column("children", "children", page.whole),
    Column("traded value", "notional", page.money, bar=True),
    Column("filled, mean", "fill_rate", page.share),
    Column("shortfall, bp", "total_bps", _bp),
    Column("delay, bp", "delay_bps", _bp),
    Column("trading, bp", "trading_bps", _bp),
    Column("opportunity, bp", "opportunity_bps", _bp),
    Column("fees, bp", "fees_bps", _bp),
    Column("shortfall, amount", "total", page.money),
    Column("vs arrival, bp", "arrival_bps", _bp),
    Column("vs interval VWAP, bp", "vwap_bps", _bp),
    Column("participation", "participation", page.share),
    Column("capture", "capture", page.ratio),
    Column("markout 60 s, bp", "markout_60s_bps", _bp),
    Column("reversion 60 s, bp", "reversion_60s_bps", _bp),
)
_VENUES = (
    Column("venue", "venue", page.plain_text, text=True),
    Column("children", "children", page.whole),
    Column("rejected", "rejected", page.whole),
    Column("traded value", "notional", page.money),
    Column("share", "share", page.share, bar=True),
    Column("fill rate", "fill_rate", page.share, bar=True),
    Column("passive", "passive", page.share, bar=True),
    Column("quoted half-spread, bp", "quoted_bps", _bp),
    Column("effective, bp", "effective_bps", _bp),
    Column(f"realised {REALISED_S} s, bp", "realised_bps", _bp),
    Column("capture", "capture", page.ratio),
    Column("markout 1 s, bp", "markout_1s_bps", _bp),
    Column("markout 60 s, bp", "markout_60s_bps", _bp),
    Column("at quote or better", "inside", page.share),
    Column("fees, bp", "fee_bps", _bp),
    Column("ack median, ms", "ack_ms_median", page.milliseconds),
    Column("ack p95, ms", "ack_ms_p95", page.milliseconds),
    Column("first fill median, ms", "first_fill_ms_median", page.milliseconds),
)
_ORDERS = (
    Column("order", "cl_ord_id", page.plain_text, text=True),
    Column("account", "account", page.plain_text, text=True),
    Column("symbol", "symbol", page.plain_text, text=True),
    Column("side", "side", page.plain_text, text=True),
    Column("type", "order_type", page.plain_text, text=True),
    Column("algo", "algo", page.plain_text, text=True),
    Column("status", "status", page.plain_text, text=True),
    Column("units", "qty", page.whole),
    Column("filled", "fill_rate", page.share, bar=True),
    Column("average price", "avg_px", lambda px: f"{px:.4f}"),
    Column("arrival", "arrival_px", lambda px: f"{px:.4f}"),
    Column("shortfall, bp", "total_bps", _bp),
    Column("delay", "delay", page.money),
    Column("trading", "trading", page.money),
    Column("opportunity", "opportunity", page.money),
    Column("fees", "fees", page.money),
    Column("shortfall", "total", page.money),
)
_MEANINGS = (
    ("sign", "Costs are positive, gains negative, for buys and sells alike. 1 bp is 0.01%."),
    (
        "shortfall",
        "Delay + trading + opportunity + fees, exact in decimals, against the mid when it was decided.",
    ),
    ("delay", "The move of the mid from the decision to the first routing, on what was executed."),
    ("trading", "Fills against the mid at the first routing."),
    ("opportunity", "What was not executed, at the mid of the order's end against the decision's."),
    (
        "capture",
        "Share of the half-spread that was earned: 1 at the near side, 0 at the mid, −1 at the far side.",
    ),
    (
        "markout",
        "How the mid moved for the order after a fill; negative after passive fills is adverse selection.",
    ),
    ("reversion", "How far the mid fell back from the last fill: temporary impact."),
    ("weights", "Ratios of several orders are weighted by traded value, fill rates are plain means."),
)


def report(tca: Tca, journal: str) -> str:
    """The page as HTML, complete in itself.

    Args:
        journal: name of the journal, for the heading.
    """
    dates = sorted(set(tca.summary["trade_dates"]))
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}" if dates else "no trading day"
    heading = (
        f'<h1>Transaction costs</h1><p class="sub">{escape(journal)} · {escape(when)} · '
        f"amounts in {escape(', '.join(tca.summary['currencies']) or 'no currency')} · "
        f"as of sequence {tca.summary['last_seq']:,}</p>"
    )
    slippage = _slippage(tca)
    breakdown = _breakdown(tca)
    body = [
        heading,
        f'<div class="tiles">{"".join(_tiles(tca))}</div>',
        f'<div class="two">{breakdown}{slippage}</div>',
        f'<div class="two">{_markouts(tca)}{_by_symbol(tca)}</div>',
        _parents(tca),
        _venues(tca),
        *_groups(tca),
        _costliest(tca),
        _method(tca),
    ]
    return page.document(f"Transaction costs {when}", body)


def _tiles(tca: Tca) -> list[str]:
    facts, totals = tca.summary, tca.total.sort("notional", descending=True).to_dicts()
    main: dict[str, Any] = totals[0] if totals else {}
    filled = tca.orders.filter(pl.col("fill_rate") >= 1).height
    currency = main.get("currency", "")
    values = ", ".join(f"{row['currency']} {page.compact(row['notional'])}" for row in totals[:3]) or "–"
    return [
        page.tile(
            "Orders",
            page.whole(facts["orders"]),
            f"{filled:,} filled; {facts['orders_rejected']:,} more refused",
        ),
        page.tile("Traded value", values, f"{facts['children']:,} children, {facts['fills']:,} fills"),
        page.tile(
            "Implementation shortfall",
            _or_dash(main.get("total_bps"), "bp", signed=True),
            f"{currency} {page.money(main.get('total') or Decimal(0))}, {facts['orders_measured']:,} orders",
        ),
        page.tile(
            "Slippage against arrival", _or_dash(main.get("arrival_bps"), "bp", signed=True), "executed part"
        ),
        page.tile(
            "Effective half-spread",
            _or_dash(main.get("effective_bps"), "bp", signed=True),
            f"quoted {_or_dash(main.get('quoted_bps'), 'bp')}",
        ),
        page.tile(
            "Markout after 60 s",
            _or_dash(main.get("markout_60s_bps"), "bp", signed=True),
            "positive: the price went our way",
        ),
        page.tile(
            "Fees",
            _or_dash(main.get("fees_bps"), "bp", signed=True),
            f"{currency} {page.money(main.get('fees') or Decimal(0))}",
        ),
        page.tile(
            "Sent to acknowledged",
            _or_dash(facts["ack_ms_median"], "ms"),
            f"median; first fill {_or_dash(facts['first_fill_ms_median'], 'ms')}",
        ),
    ]


def _or_dash(value: float | None, unit: str, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    return f"{page.signed(value)} {unit}" if signed else f"{page.milliseconds(value)} {unit}"


def _breakdown(tca: Tca) -> str:
    """By the first grouping that tells orders apart."""
    groups = (("algo", tca.by_algo), ("trader", tca.by_trader), ("account", tca.by_account))
    name, chosen = next(((name, table) for name, table in groups if table[name].n_unique() > 1), groups[0])
    return _stacked(f"Where the cost comes from, by {name}", chosen, name)


def _by_symbol(tca: Tca) -> str:
    return _stacked("Where the cost comes from, by symbol", tca.by_symbol, "symbol")


def _stacked(heading: str, groups: pl.DataFrame, name: str) -> str:
    kept = groups.filter(pl.col("total_bps").is_not_null()).sort("notional", descending=True).head(10)
    rows = [
        (row[name] or f"no {name}", [row[f"{part}_bps"] or 0.0 for part in COMPONENTS], row["total_bps"])
        for row in kept.to_dicts()
    ]
    if not rows:
        return page.section(heading, note="No order could be measured.")
    return page.section(
        heading,
        page.chart(heading, charts.stacked_bars(heading, rows, COMPONENTS)),
        note="The upright line marks the total; left of zero is a gain.",
    )


def _slippage(tca: Tca) -> str:
    heading = "Slippage against the arrival mid"
    values = tca.orders["arrival_bps"].drop_nulls().to_list()
    if not values:
        return page.section(heading, note="No executed order has an arrival price.")
    note = "Executed orders, one each. The end bars hold everything beyond the 1st and 99th percentile."
    return page.section(heading, page.chart(heading, charts.histogram(heading, values, "bp")), note=note)


def _markouts(tca: Tca) -> str:
    heading = "Markouts: what the price did after our fills"
    kinds = (
        ("passive", pl.col("liquidity") == "ADDED", 3),
        ("aggressive", pl.col("liquidity") == "REMOVED", 2),
        ("all", pl.lit(True), 1),
    )
    series = []
    for name, kept, colour in kinds:
        measured = tca.fills.filter(kept).select(fill_measures("value")).to_dicts()[0]
        points = [(float(i), measured[f"markout_{s}s_bps"]) for i, s in enumerate(HORIZONS_S)]
        series.append(charts.Series(name, [(x, y) for x, y in points if y is not None], colour))
    if not any(one.points for one in series):
        return page.section(heading, note="No quote is known at these times after a fill.")
    labels = ["1 s", "10 s", "60 s", "5 min"]
    note = "Positive: the price went the order's way. Below zero after passive fills is adverse selection."
    drawn = charts.curves(heading, series, labels, "bp")
    return page.section(heading, page.chart(heading, drawn), note=note)


# --- algo parents ---


def _parents(tca: Tca) -> str:
    heading = "Algo orders: schedule, fills and the market's volume"
    planned = tca.schedules["order_id"].unique()
    parents = tca.orders.filter(pl.col("order_id").is_in(planned.implode())).sort("notional", descending=True)
    if parents.is_empty():
        return page.section(heading, note="No algo worked an order in this journal.")
    drawn = [_parent(tca, row) for row in parents.head(MAX_PARENTS).to_dicts()]
    note = (
        f"The {len(drawn)} largest of {parents.height} by traded value."
        if parents.height > MAX_PARENTS
        else ""
    )
    return page.section(heading, f'<div class="two">{"".join(drawn)}</div>', note=note)


def _parent(tca: Tca, order: dict[str, Any]) -> str:
    of_order = pl.col("order_id") == order["order_id"]
    plan = tca.schedules.filter(of_order)
    fills = tca.fills.filter(of_order).sort("ts_ns")
    begins = [*plan["start_ns"].to_list(), *fills["ts_ns"].to_list()]
    start = min(begins, default=order["decision_ns"]) / _NS
    end = max(order["end_ns"], order["last_fill_ns"] or 0) / _NS
    bin_s = next((float(size) for size in _BIN_SECONDS if (end - start) / size <= _BARS), 7200.0)
    later = (pl.col("ts_ns") / _NS) > start  # what had printed by the start is no part of it
    prints = tca.prints.filter((pl.col("symbol") == order["symbol"]) & later)
    cumulative = fills["qty"].cast(pl.Float64).cum_sum().to_list()
    title = f"{order['cl_ord_id']}: {order['algo']} {order['side']} {order['qty']:,.0f} {order['symbol']}"
    data = charts.Execution(
        start_s=start,
        end_s=end,
        qty=float(order["qty"]),
        target=_target(plan, prints, start, end, float(order["qty"])),
        done=list(zip((fills["ts_ns"] / _NS).to_list(), cumulative, strict=True)),
        market=_binned(prints, "size", start, end, bin_s),
        own=_binned(fills, "qty", start, end, bin_s),
        bin_s=bin_s,
    )
    said = [f"{order['status'].lower()}, shortfall {_or_dash(order['total_bps'], 'bp', signed=True)}"]
    if order["vwap_bps"] is not None:
        said.append(f"vs VWAP {page.signed(order['vwap_bps'])} bp")
    if order["participation"] is not None:
        said.append(f"participation {page.share(order['participation'])}")
    drawn = page.chart(title, charts.execution(title, data))
    return page.figure(f"{title} · {', '.join(said)}", drawn)


def _target(
    plan: pl.DataFrame, prints: pl.DataFrame, start: float, end: float, qty: float
) -> list[charts.Point]:
    """The plan's cumulative steps; for one that follows the market its rate of what had printed by then."""
    steps = plan.filter(pl.col("target_qty").is_not_null()).sort("release_ns")
    if steps.height:
        return list(
            zip(
                (steps["release_ns"] / _NS).to_list(),
                steps["target_qty"].cast(pl.Float64).to_list(),
                strict=True,
            )
        )
    rate = plan["rate"].drop_nulls()
    during = prints.filter((pl.col("ts_ns") / _NS).is_between(start, end))
    if rate.is_empty() or during.is_empty():
        return []
    followed = (during["size"].cast(pl.Float64).cum_sum() * float(rate[-1])).clip(upper_bound=qty)
    return list(zip((during["ts_ns"] / _NS).to_list(), followed.to_list(), strict=True))


def _binned(rows: pl.DataFrame, name: str, start: float, end: float, bin_s: float) -> list[float]:
    bins = [0.0] * (int((end - start) / bin_s) + 1)
    for ts_ns, units in rows.select("ts_ns", pl.col(name).cast(pl.Float64)).iter_rows():
        moment = ts_ns / _NS
        if start <= moment <= end:
            bins[int((moment - start) / bin_s)] += units
    return bins


# --- tables ---


def _venues(tca: Tca) -> str:
    heading = "Venues"
    note = "Latencies from sending to the venue's answer, in the journal's time."
    return page.section(
        heading,
        page.table(heading, (_VENUES[0], *_currency(tca), *_VENUES[1:]), tca.by_venue.to_dicts()),
        note=note,
    )


def _groups(tca: Tca) -> list[str]:
    found = []
    for heading, name, groups in (
        ("By algo", "algo", tca.by_algo),
        ("By trader", "trader", tca.by_trader),
        ("By symbol", "symbol", tca.by_symbol),
        ("By account", "account", tca.by_account),
    ):
        if name in ("algo", "trader") and groups[name].unique().to_list() == [""]:
            continue
        columns = (
            Column(name, name, page.named(name), text=True),
            *_currency(tca),
            *_COSTS,
        )
        rows = groups.sort("notional", descending=True).head(100).to_dicts()
        found.append(page.section(heading, page.table(heading, columns, rows)))
    return found


def _currency(tca: Tca) -> tuple[Column, ...]:
    """The currency as a column, where there are several; the heading of the page names a single one."""
    several = len(tca.summary["currencies"]) > 1
    return (Column("currency", "currency", page.plain_text, text=True),) if several else ()


def _costliest(tca: Tca) -> str:
    worst = tca.orders.filter(pl.col("total").is_not_null()).sort("total", descending=True).head(MAX_ORDERS)
    heading = "The costliest orders"
    note = f"{worst.height} of {tca.orders.height:,}; all of them are in the Parquet tables."
    return page.section(
        heading, page.table(heading, (*_ORDERS, *_currency(tca)), worst.to_dicts()), note=note
    )


def _method(tca: Tca) -> str:
    facts = tca.summary
    notes = tca.orders.filter(pl.col("note") != "").group_by("note").len().sort("note").to_dicts()
    left_out = "; ".join(f"{row['len']:,} orders: {row['note']}" for row in notes) or "none"
    quoted = page.share(facts["quoted_share"]) if facts["quoted_share"] is not None else "–"
    rows: Sequence[tuple[str, str]] = (
        *_MEANINGS,
        (
            "market",
            f"{facts['market']}: {facts['quotes']:,} quotes, {facts['prints']:,} prints. {quoted} of the "
            "traded value met a quote that could be used.",
        ),
        ("not measured", left_out),
        ("busted", f"{facts['fills_busted']:,} of the fills; they count nowhere"),
    )
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return page.section("How to read this", f"<dl>{listed}</dl>")
