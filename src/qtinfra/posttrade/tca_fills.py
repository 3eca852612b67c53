"""Every execution against the quotes around it, and what many of them say together."""

from __future__ import annotations

from typing import Any

import polars as pl

from qtinfra.core.decimals import EXACT
from qtinfra.core.models import OrderSide
from qtinfra.posttrade.tca_facts import UNKNOWN_INSTRUMENT, Facts, FillFact
from qtinfra.posttrade.tca_tape import PRICE, SECOND_NS, Tape, frame, quote_at

#: Seconds after a fill at which markouts are measured; realised spreads use `REALISED_S`.
HORIZONS_S = (1, 10, 60, 300)
REALISED_S = 60
#: The oldest sampled quote that counts for a moment after a fill.
NEWS_NS = 30 * SECOND_NS

_AMOUNT = pl.Decimal(38, 20)
_SCHEMA = pl.Schema(
    {
        "key": pl.String(),
        "order_id": pl.String(),
        "child_id": pl.String(),
        "venue": pl.String(),
        "account": pl.String(),
        "trader": pl.String(),
        "algo": pl.String(),
        "symbol": pl.String(),
        "currency": pl.String(),
        "side": pl.String(),
        "liquidity": pl.String(),
        "ts_ns": pl.Int64(),
        "qty": PRICE,
        "px": PRICE,
        "notional": _AMOUNT,
        "fees": _AMOUNT,
        "multiplier": pl.Float64(),
    }
)


def bps(amount: pl.Expr, base: pl.Expr) -> pl.Expr:
    """`amount / base` in basis points; null where the base is 0 or null."""
    below = base.cast(pl.Float64)
    return pl.when(below != 0).then(amount.cast(pl.Float64) / below * 1e4)


def fill_table(facts: Facts, tape: Tape) -> pl.DataFrame:
    """One row per execution: the quote it met, spreads, and markouts at each horizon.

    Formulas: s is 1 for a buy, -1 for a sale; `effective_bps = s (px - mid) / mid`; `realised_bps` the same
    with the mid `REALISED_S` later in the numerator; `markout_<h>s_bps = s (mid later - px) / px`, positive
    when the price went the order's way. Source: Huang and Stoll, as in `shortfall`.
    """
    rows = [_row(facts, fill) for fill in facts.fills.values()]
    table = frame(rows, _SCHEMA)
    table = pl.concat(
        [table, quote_at(tape, table, pl.col("ts_ns"), max_age_ns=tape.max_age_ns)], how="horizontal"
    )
    later = [mid_after(tape, table, "ts_ns", seconds) for seconds in HORIZONS_S]
    bid, ask, px = (pl.col(name).cast(pl.Float64) for name in ("bid", "ask", "px"))
    sign = pl.when(pl.col("side") == OrderSide.BUY.value).then(1.0).otherwise(-1.0)
    table = table.with_columns(*later, mid=(bid + ask) / 2, sign=sign)
    mid, side = pl.col("mid"), pl.col("sign")
    return table.with_columns(
        value=pl.col("notional").cast(pl.Float64),
        quoted_bps=bps((ask - bid) / 2, mid),
        effective_bps=bps(side * (px - mid), mid),
        realised_bps=bps(side * (px - pl.col(f"mid_{REALISED_S}s")), mid),
        at_or_inside=pl.when(side > 0).then(px <= ask).otherwise(px >= bid),
        **{f"markout_{s}s_bps": bps(side * (pl.col(f"mid_{s}s") - px), px) for s in HORIZONS_S},
    )


def _row(facts: Facts, fill: FillFact) -> tuple[Any, ...]:
    order = facts.orders[fill.order_id]
    currency, multiplier = facts.instruments.get(order.symbol, UNKNOWN_INSTRUMENT)
    notional = EXACT.multiply(EXACT.multiply(fill.qty, fill.px), multiplier)
    fees = EXACT.add(fill.fee, fill.commission)
    return (
        fill.key,
        fill.order_id,
        fill.child_id,
        fill.venue,
        order.account,
        order.trader,
        order.algo,
        order.symbol,
        currency,
        order.side._value_,
        fill.liquidity,
        fill.ts_ns,
        fill.qty,
        fill.px,
        notional,
        fees,
        float(multiplier),
    )


def mid_after(tape: Tape, rows: pl.DataFrame, moment: str, seconds: int) -> pl.Series:
    """The mid so many seconds after a moment of each row, as a column `mid_<seconds>s`.

    Of a sampled tape only a quote counts that is newer than half the horizon, and than `NEWS_NS`: an older
    one would say that nothing has moved.

    Args:
        moment: the column of `rows` with UTC nanoseconds.
    """
    horizon = seconds * SECOND_NS
    found = quote_at(tape, rows, pl.col(moment) + horizon, max_age_ns=min(horizon // 2, NEWS_NS))
    mid = (pl.col("bid").cast(pl.Float64) + pl.col("ask").cast(pl.Float64)) / 2
    return found.select(mid.alias(f"mid_{seconds}s")).to_series()


def fill_measures(weight: str) -> list[pl.Expr]:
    """Aggregates of a group of fills, null where none of them could be measured.

    Args:
        weight: column that spreads are weighted by: "qty" within one symbol, "value" across several.

    Returns:
        `quoted_bps`, `effective_bps`, `realised_bps`, `capture` (share of the half-spread earned: 1 at the
        near side, 0 at the mid, -1 at the far side), `markout_<h>s_bps`, `passive` (share of the weight that
        added liquidity), `quoted` (share of the weight with a quote), `inside` (share of the quoted weight at
        the far side of the quote or better), and `quantity_px`, the sum of quantity times price.
    """
    w, qty, px = (
        pl.col(weight).cast(pl.Float64),
        pl.col("qty").cast(pl.Float64),
        pl.col("px").cast(pl.Float64),
    )
    worth = qty * pl.col("multiplier")
    bid, ask = pl.col("bid").cast(pl.Float64), pl.col("ask").cast(pl.Float64)
    have, open_spread = pl.col("mid").is_not_null(), pl.col("bid") < pl.col("ask")
    earned = (worth * pl.col("sign") * (pl.col("mid") - px)).filter(open_spread).sum()
    offered = (worth * (ask - bid) / 2).filter(open_spread).sum()
    return [
        *(_mean(name, w).alias(name) for name in ("quoted_bps", "effective_bps", "realised_bps")),
        pl.when(offered > 0).then(earned / offered).alias("capture"),
        *(_markout(seconds, worth, px) for seconds in HORIZONS_S),
        _share(w.filter(pl.col("liquidity") == "ADDED").sum(), w.sum()).alias("passive"),
        _share(w.filter(have).sum(), w.sum()).alias("quoted"),
        _share(w.filter(have & pl.col("at_or_inside")).sum(), w.filter(have).sum()).alias("inside"),
        (qty * px).sum().alias("quantity_px"),
    ]


def _markout(seconds: int, worth: pl.Expr, px: pl.Expr) -> pl.Expr:
    later = pl.col(f"mid_{seconds}s")
    moved = (worth * pl.col("sign") * (later - px)).sum()
    paid = (worth * px).filter(later.is_not_null()).sum()
    return pl.when(paid > 0).then(moved / paid * 1e4).alias(f"markout_{seconds}s_bps")


def _mean(name: str, weight: pl.Expr) -> pl.Expr:
    whole = weight.filter(pl.col(name).is_not_null()).sum()
    return pl.when(whole > 0).then((pl.col(name) * weight).sum() / whole)


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then(part / whole)
