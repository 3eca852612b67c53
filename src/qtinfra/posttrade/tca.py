"""Transaction cost analysis: what execution cost, by order, child, fill, venue, algo, trader and symbol.

Amounts are exact decimals: the components of an order's shortfall sum to its total to the last digit, and so
do the sums of the groups. Ratios (basis points, shares, milliseconds) are floats. Formulas and sources:
`shortfall`; docs/reference/tca.md has every column.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import polars as pl

from qtinfra.core.decimals import ONE, ZERO, canonical, exact
from qtinfra.core.exceptions import QtInfraError
from qtinfra.core.models import OrderSide, OrderStatus
from qtinfra.posttrade.shortfall import Fill, Shortfall, average_price, implementation_shortfall
from qtinfra.posttrade.tca_facts import UNKNOWN_INSTRUMENT, ChildFact, Facts, FillFact, OrderFact, midpoint
from qtinfra.posttrade.tca_fills import bps, fill_measures, fill_table, mid_after
from qtinfra.posttrade.tca_groups import COMPONENTS, REVERSION_S, order_groups, venue_groups
from qtinfra.posttrade.tca_tape import PRICE, Tape, frame, interval_volume, open_close, quote_at

#: Amounts: 18 digits before the point, 20 after it.
AMOUNT = pl.Decimal(38, 20)
_AMOUNT_PLACES, _AMOUNT_LIMIT = 20, Decimal(10) ** 18

#: What a table can be grouped by, besides currency.
ORDER_GROUPS = ("algo", "trader", "symbol", "account")

_MS = 1_000_000


class AnalysisError(QtInfraError):
    """The analysis cannot be made; context says of what."""

    code = "analysis_error"


class Tca(msgspec.Struct, frozen=True):
    """The tables of an analysis.

    Attributes:
        orders, children, fills: one row each, in the order of the journal.
        schedules: of algo orders, what should be executed or at venues from when on, one row per step.
        by_venue, by_algo, by_trader, by_symbol, by_account, total: measures by group and currency.
        summary: counts and where the market data comes from.
        prints: the market's volume that benchmarks rest on.
    """

    orders: pl.DataFrame
    children: pl.DataFrame
    fills: pl.DataFrame
    schedules: pl.DataFrame
    by_venue: pl.DataFrame
    by_algo: pl.DataFrame
    by_trader: pl.DataFrame
    by_symbol: pl.DataFrame
    by_account: pl.DataFrame
    total: pl.DataFrame
    summary: dict[str, Any]
    prints: pl.DataFrame

    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables by name, as they are exported."""
        named = {name: getattr(self, name) for name in self.__struct_fields__}
        return {
            name: table
            for name, table in named.items()
            if isinstance(table, pl.DataFrame) and name != "prints"
        }


def analyse(facts: Facts, tape: Tape) -> Tca:
    """Build all tables from what a journal says and the market of the same days.

    Raises:
        AnalysisError: an amount has more digits than the tables hold.
        decimal.Inexact: an exact amount has more than 80 digits.
    """
    fills = fill_table(facts, tape)
    children = _child_table(facts, fills)
    orders = _order_table(facts, tape, fills, children)
    groups = {name: order_groups(orders, fills, (name,)) for name in ORDER_GROUPS}
    return Tca(
        orders=orders,
        children=children,
        fills=fills,
        schedules=_schedule_table(facts),
        by_venue=venue_groups(children, fills),
        by_algo=groups["algo"],
        by_trader=groups["trader"],
        by_symbol=groups["symbol"],
        by_account=groups["account"],
        total=order_groups(orders, fills, ()),
        summary=_summary(facts, tape, orders, children, fills),
        prints=tape.prints,
    )


# --- orders ------------------------------------------------------------------------------------------------


def _order_table(facts: Facts, tape: Tape, fills: pl.DataFrame, children: pl.DataFrame) -> pl.DataFrame:
    own: dict[str, list[FillFact]] = {order_id: [] for order_id in facts.orders}
    for fill in facts.fills.values():
        own[fill.order_id].append(fill)
    ends = [_end_ns(order, own[order.order_id], facts.last_ns) for order in facts.orders.values()]
    moments = pl.DataFrame(
        {"symbol": [order.symbol for order in facts.orders.values()], "end_ns": ends},
        schema={"symbol": pl.String(), "end_ns": pl.Int64()},
    )
    final = quote_at(tape, moments, pl.col("end_ns"))
    rows = [
        _order_row(facts, order, own[order.order_id], end_ns, midpoint(bid, ask))
        for order, end_ns, bid, ask in zip(
            facts.orders.values(), ends, final["bid"].to_list(), final["ask"].to_list(), strict=True
        )
    ]
    table = frame(rows, _ORDER_SCHEMA)
    return _with_benchmarks(table, tape, fills, children)


_ORDER_SCHEMA = pl.Schema(
    {
        "order_id": pl.String(),
        "account": pl.String(),
        "cl_ord_id": pl.String(),
        "trader": pl.String(),
        "algo": pl.String(),
        "symbol": pl.String(),
        "currency": pl.String(),
        "trade_date": pl.String(),
        "side": pl.String(),
        "order_type": pl.String(),
        "tif": pl.String(),
        "status": pl.String(),
        "note": pl.String(),
        "decision_ns": pl.Int64(),
        "routed_ns": pl.Int64(),
        "last_fill_ns": pl.Int64(),
        "end_ns": pl.Int64(),
        "qty": PRICE,
        "filled_qty": PRICE,
        "fill_count": pl.Int64(),
        "avg_px": PRICE,
        "last_px": PRICE,
        "decision_px": PRICE,
        "arrival_px": PRICE,
        "end_px": PRICE,
        "notional": AMOUNT,
        "delay": AMOUNT,
        "trading": AMOUNT,
        "opportunity": AMOUNT,
        "fees": AMOUNT,
        "total": AMOUNT,
        "paper_value": AMOUNT,
    }
)


def _order_row(
    facts: Facts, order: OrderFact, fills: list[FillFact], end_ns: int, end_px: Decimal | None
) -> tuple[Any, ...]:
    currency, multiplier = facts.instruments.get(order.symbol, UNKNOWN_INSTRUMENT)
    pairs = [(fill.qty, fill.px) for fill in fills]
    with exact():
        filled = sum((qty for qty, _ in pairs), ZERO)
        notional = sum((qty * px for qty, px in pairs), ZERO) * multiplier
        fees = sum((fill.fee + fill.commission for fill in fills), ZERO)
    note = _why_not_measured(order, filled, end_px)
    cost = _shortfall(order, pairs, filled, end_px, fees, multiplier) if not note else None
    parts = (cost.delay, cost.trading, cost.opportunity) if cost is not None else (None, None, None)
    return (
        order.order_id,
        order.account,
        order.cl_ord_id,
        order.trader,
        order.algo,
        order.symbol,
        currency,
        order.trade_date,
        order.side._value_,
        order.order_type,
        order.tif,
        _status(order, filled).value,
        note,
        order.decision_ns,
        order.routed_ns,
        fills[-1].ts_ns if fills else None,
        end_ns,
        order.qty,
        filled,
        len(fills),
        average_price(pairs) if pairs else None,
        fills[-1].px if fills else None,
        order.decision_px,
        order.arrival_px,
        end_px,
        _amount(order, "notional", notional),
        *(_amount(order, name, part) for name, part in zip(COMPONENTS[:3], parts, strict=True)),
        _amount(order, "fees", fees),
        _amount(order, "total", cost.total if cost is not None else None),
        _amount(order, "paper_value", cost.paper_value if cost is not None else None),
    )


def _shortfall(
    order: OrderFact,
    fills: Sequence[Fill],
    filled: Decimal,
    end_px: Decimal | None,
    fees: Decimal,
    multiplier: Decimal,
) -> Shortfall:
    """Delay on what was executed, opportunity from the decision price: the pairing that sums to the total.

    An order of a list is measured on what it filled, since its siblings stand in for the rest; an overfilled
    one on all that it bought or sold.
    """
    decision = order.decision_px if order.decision_px is not None else ZERO
    arrival = order.arrival_px if order.arrival_px is not None else decision
    end = end_px if end_px is not None else arrival
    qty = filled if order.linked else max(order.qty, filled)
    if multiplier != ONE:
        with exact():
            decision, arrival, end = decision * multiplier, arrival * multiplier, end * multiplier
            fills = [(units, px * multiplier) for units, px in fills]
    return implementation_shortfall(order.side, qty, decision, arrival, fills, end, fees)


def _why_not_measured(order: OrderFact, filled: Decimal, end_px: Decimal | None) -> str:
    if order.scaled:
        return "its units changed by a split"
    if order.decision_px is None:
        return "no two-sided quote when it was decided"
    if order.linked and not filled:
        return "one of a list, not executed"
    if end_px is None and filled < order.qty:
        return "no quote at its end"
    return ""


def _status(order: OrderFact, filled: Decimal) -> OrderStatus:
    if order.ended_as is not None:
        return order.ended_as
    if filled >= order.qty:
        return OrderStatus.FILLED
    if filled:
        return OrderStatus.PARTIALLY_FILLED
    return OrderStatus.ROUTED if order.routed_ns is not None else OrderStatus.VALIDATED


def _end_ns(order: OrderFact, fills: list[FillFact], last_ns: int) -> int:
    """When it was over: cancelled or expired, else filled, else still open at the journal's end."""
    if order.ended_ns is not None:
        return order.ended_ns
    if fills and sum((fill.qty for fill in fills), ZERO) >= order.qty:
        return fills[-1].ts_ns
    return last_ns


def _amount(order: OrderFact, name: str, value: Decimal | None) -> Decimal | None:
    """The amount if the tables can hold it exactly."""
    if value is None:
        return None
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -_AMOUNT_PLACES:
        value = canonical(value)
        exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_AMOUNT_PLACES or abs(value) >= _AMOUNT_LIMIT:
        raise AnalysisError(
            f"{name} of order {order.order_id}: at most 18 digits before and {_AMOUNT_PLACES} after the "
            f"point, not {value}",
            context={"field": name, "order_id": order.order_id},
        )
    return value


def _with_benchmarks(
    table: pl.DataFrame, tape: Tape, fills: pl.DataFrame, children: pl.DataFrame
) -> pl.DataFrame:
    """Add prices of the market, slippage against them, and what fills and children say of the order."""
    count = children.group_by("order_id").agg(children=pl.len(), venues=pl.col("venue").n_unique())
    table = pl.concat([table, interval_volume(tape, table, "decision_ns", "end_ns")], how="horizontal")
    table = table.join(open_close(tape), on=["symbol", "trade_date"], how="left", maintain_order="left")
    table = table.join(count, on="order_id", how="left", maintain_order="left")
    measured = fills.group_by("order_id").agg(fill_measures("qty")).drop("quantity_px")
    table = table.join(measured, on="order_id", how="left", maintain_order="left")
    later = [mid_after(tape, table, "last_fill_ns", seconds) for seconds in REVERSION_S]
    table = table.with_columns(pl.col("children", "venues").fill_null(0), *later)
    own, market = pl.col("filled_qty").cast(float), pl.col("volume")
    sign = pl.when(pl.col("side") == OrderSide.BUY.value).then(1.0).otherwise(-1.0)
    return table.with_columns(
        fill_rate=own / pl.col("qty").cast(float),
        participation=pl.when(market >= own).then(own / market),
        total_bps=bps(pl.col("total"), pl.col("paper_value")),
        arrival_bps=_slippage(sign, "arrival_px"),
        vwap_bps=_slippage(sign, "vwap"),
        open_bps=_slippage(sign, "open_px"),
        close_bps=_slippage(sign, "close_px"),
        **{
            f"reversion_{seconds}s_bps": bps(
                sign * (pl.col("last_px").cast(float) - pl.col(f"mid_{seconds}s")), pl.col("last_px")
            )
            for seconds in REVERSION_S
        },
    ).drop([f"mid_{seconds}s" for seconds in REVERSION_S])


def _slippage(sign: pl.Expr, benchmark: str) -> pl.Expr:
    price, against = pl.col("avg_px").cast(float), pl.col(benchmark).cast(float)
    return sign * bps(price - against, against)


# --- children ----------------------------------------------------------------------------------------------


_CHILD_SCHEMA = pl.Schema(
    {
        "child_id": pl.String(),
        "order_id": pl.String(),
        "venue": pl.String(),
        "account": pl.String(),
        "trader": pl.String(),
        "algo": pl.String(),
        "symbol": pl.String(),
        "currency": pl.String(),
        "side": pl.String(),
        "order_type": pl.String(),
        "tif": pl.String(),
        "slice": pl.String(),
        "ended_as": pl.String(),
        "sent_ns": pl.Int64(),
        "ack_ns": pl.Int64(),
        "ended_ns": pl.Int64(),
        "qty": PRICE,
        "price": PRICE,
        "bid": PRICE,
        "ask": PRICE,
    }
)


def _child_table(facts: Facts, fills: pl.DataFrame) -> pl.DataFrame:
    rows = [_child_row(facts, child, facts.orders[child.order_id]) for child in facts.children.values()]
    table = frame(rows, _CHILD_SCHEMA)
    measured = fills.group_by("child_id").agg(
        pl.col("qty").sum().alias("filled_qty"),
        pl.len().alias("fill_count"),
        pl.col("ts_ns").min().alias("first_fill_ns"),
        pl.col("ts_ns").max().alias("last_fill_ns"),
        pl.col("notional", "fees").sum(),
        *fill_measures("qty"),
    )
    table = table.join(measured, on="child_id", how="left", maintain_order="left")
    filled = pl.col("filled_qty").fill_null(ZERO).cast(PRICE)
    mid = (pl.col("bid").cast(float) + pl.col("ask").cast(float)) / 2
    sign = pl.when(pl.col("side") == OrderSide.BUY.value).then(1.0).otherwise(-1.0)
    table = table.with_columns(
        pl.col("fill_count").fill_null(0),
        pl.col("notional", "fees").fill_null(ZERO).cast(AMOUNT),
        filled_qty=filled,
    ).with_columns(
        avg_px=pl.when(pl.col("filled_qty") > 0).then(
            pl.col("quantity_px") / pl.col("filled_qty").cast(float)
        ),
        fill_rate=pl.col("filled_qty").cast(float) / pl.col("qty").cast(float),
        ack_ms=(pl.col("ack_ns") - pl.col("sent_ns")) / _MS,
        first_fill_ms=(pl.col("first_fill_ns") - pl.col("sent_ns")) / _MS,
    )
    return table.with_columns(sent_bps=bps(sign * (pl.col("avg_px") - mid), mid)).drop("quantity_px")


def _child_row(facts: Facts, child: ChildFact, order: OrderFact) -> tuple[Any, ...]:
    return (
        child.child_id,
        child.order_id,
        child.venue,
        order.account,
        order.trader,
        order.algo,
        order.symbol,
        facts.instruments.get(order.symbol, UNKNOWN_INSTRUMENT)[0],
        order.side._value_,
        child.order_type,
        child.tif,
        child.kind,
        child.ended_as,
        child.sent_ns,
        child.ack_ns,
        child.ended_ns,
        child.qty,
        child.price,
        child.bid,
        child.ask,
    )


def _schedule_table(facts: Facts) -> pl.DataFrame:
    """Steps of every plan that counted; a plan's steps after the next plan was made never did.

    A plan that follows the market has one row, with its rate instead of a target.
    """
    rows: list[tuple[Any, ...]] = []
    for order in facts.orders.values():
        for number, plan in enumerate(order.plans):
            later = order.plans[number + 1].ts_ns if number + 1 < len(order.plans) else None
            schedule, terms = plan.schedule, plan.terms
            steps: list[tuple[int, Decimal | None]] = [
                *zip(schedule.releases, schedule.targets, strict=False)
            ]
            steps = steps or [(terms.start_ns, None)]
            rows += [
                (order.order_id, number, plan.reason, at, target, schedule.rate, terms.start_ns, terms.end_ns)
                for at, target in steps
                if later is None or at < later
            ]
    schema = pl.Schema(
        {
            "order_id": pl.String(),
            "plan": pl.Int64(),
            "reason": pl.String(),
            "release_ns": pl.Int64(),
            "target_qty": PRICE,
            "rate": PRICE,
            "start_ns": pl.Int64(),
            "end_ns": pl.Int64(),
        }
    )
    return frame(rows, schema)


# --- summary ---------------------------------------------------------------------------------------------


def _summary(
    facts: Facts, tape: Tape, orders: pl.DataFrame, children: pl.DataFrame, fills: pl.DataFrame
) -> dict[str, Any]:
    value = float(fills["value"].sum())
    quoted = float(fills.filter(pl.col("mid").is_not_null())["value"].sum())
    return {
        "records": facts.records,
        "last_seq": facts.last_seq,
        "trade_dates": [date for _, date in facts.days],
        "orders": orders.height,
        "orders_measured": orders["total"].count(),
        "orders_rejected": facts.rejected,
        "children": children.height,
        "fills": fills.height,
        "fills_busted": facts.busted,
        "currencies": sorted(orders["currency"].unique().to_list()),
        "market": tape.source,
        "quotes": tape.quotes.height,
        "prints": tape.prints.height,
        "quoted_share": quoted / value if value else None,
        "ack_ms_median": children["ack_ms"].median(),
        "first_fill_ms_median": children["first_fill_ms"].median(),
    }
