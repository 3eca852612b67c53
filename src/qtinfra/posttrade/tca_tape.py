"""The market that executions are measured against: quotes and prints, from the journal or from a file.

A journal holds the books that decisions read: a sample of the market. A market file holds every change of the
quote. The difference is `Tape.complete`: in a complete tape a quote stands until the next one, in a sample it
says something only about moments near it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from qtinfra.marketdata.lobster import RecordedDataError
from qtinfra.posttrade.tca_facts import Facts

SECOND_NS = 1_000_000_000
#: Prices of quotes and prints: up to 10 decimal places.
PRICE = pl.Decimal(38, 10)

_QUOTES = pl.Schema({"symbol": pl.String(), "ts_ns": pl.Int64(), "bid": PRICE, "ask": PRICE})
_PRINTS = pl.Schema({"symbol": pl.String(), "ts_ns": pl.Int64(), "px": PRICE, "size": PRICE})
_COLUMNS = pl.Schema({**_QUOTES, **_PRINTS})
_MAX_FILE_BYTES = 4 << 30
#: Rows that are turned into columns together: few enough to stay in the processor's cache.
_AT_ONCE = 256


class Tape(msgspec.Struct, frozen=True):
    """Quotes (symbol, ts_ns, bid, ask) and prints (symbol, ts_ns, px, size), ascending by time.

    Attributes:
        complete: every change of the quote is there.
        days: (ts_ns, trade_date) of each trading day's begin.
        source: where it comes from, in words.
        max_age_ns: of a sample, how old a quote may be that counts for an execution.
    """

    quotes: pl.DataFrame
    prints: pl.DataFrame
    complete: bool
    days: pl.DataFrame
    source: str
    max_age_ns: int = SECOND_NS


def frame(rows: Sequence[tuple[Any, ...]], schema: pl.Schema) -> pl.DataFrame:
    """A table from its rows, column by column: exact numbers go over as text, at a quarter of the time.

    A number that its column cannot hold is null.
    """
    columns: list[list[Any]] = [[] for _ in schema]
    for at in range(0, len(rows), _AT_ONCE):
        for column, part in zip(columns, zip(*rows[at : at + _AT_ONCE], strict=True), strict=True):
            column.extend(part)
    return pl.DataFrame([_column(*one, values) for one, values in zip(schema.items(), columns, strict=True)])


def _column(name: str, kind: pl.DataType, values: Sequence[Any]) -> pl.Series:
    if not isinstance(kind, pl.Decimal):
        return pl.Series(name, values, dtype=kind)
    texts = [None if value is None else format(value, "f") for value in values]
    return pl.Series(name, texts, dtype=pl.String()).cast(kind, strict=False)


def journal_tape(facts: Facts, *, max_age_ns: int = SECOND_NS) -> Tape:
    """The books that the journal's decisions read; prints are the growth of `traded` at `last_px`."""
    quotes, prints = frame(facts.quotes, _QUOTES), frame(facts.prints, _PRINTS)
    source = "books recorded in the journal"
    return Tape(_two_sided(quotes), prints.sort("ts_ns"), False, _days(facts), source, max_age_ns)


def read_tape(path: Path, facts: Facts) -> Tape:
    """A market file: CSV or Parquet with the columns symbol, ts_ns and bid, ask or px, size, or all of them.

    A row is a quote when it has bid and ask, a print when it has px and size, and may be both. `ts_ns` is UTC
    nanoseconds. Prints count as the market's volume, our own executions included.

    Raises:
        RecordedDataError: the file is of another kind, too large, or a column is missing or malformed.
    """
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise RecordedDataError(
            f"--market {path}: at most {_MAX_FILE_BYTES} bytes, not {path.stat().st_size}"
        )
    try:
        raw = _read(path)
        columns = {name: kind for name, kind in _COLUMNS.items() if name in raw.columns}
        _check_columns(path, columns)
        rows = raw.select(pl.col(name).cast(kind) for name, kind in columns.items())
    except pl.exceptions.PolarsError as error:
        raise RecordedDataError(f"--market {path}: {str(error).splitlines()[0]}") from error
    rows = rows.drop_nulls(["symbol", "ts_ns"]).sort("ts_ns")
    quotes = rows.select(*_QUOTES) if "bid" in columns else pl.DataFrame(schema=_QUOTES)
    prints = rows.select(*_PRINTS) if "px" in columns else pl.DataFrame(schema=_PRINTS)
    return Tape(
        _two_sided(quotes), prints.filter(pl.col("size") > 0), True, _days(facts), f"market file {path.name}"
    )


def _read(path: Path) -> pl.DataFrame:
    kind = path.suffix.lower()
    if kind == ".parquet":
        return pl.read_parquet(path)
    if kind == ".csv":
        return pl.read_csv(path, infer_schema=False)
    raise RecordedDataError(f"--market {path}: .csv or .parquet, not {kind or 'no suffix'}")


def _check_columns(path: Path, columns: Mapping[str, object]) -> None:
    pairs = (("bid", "ask"), ("px", "size"))
    missing = [name for name in ("symbol", "ts_ns") if name not in columns]
    for pair in pairs:
        present = [name for name in pair if name in columns]
        missing += [name for name in pair if len(present) == 1 and name not in columns]
    if not missing and not any(pair[0] in columns for pair in pairs):
        missing = ["bid and ask, or px and size"]
    if missing:
        raise RecordedDataError(f"--market {path}: column missing: {', '.join(missing)}")


def _two_sided(quotes: pl.DataFrame) -> pl.DataFrame:
    """Quotes that have a mid: both sides, not crossed; one per symbol and moment, the last one."""
    kept = quotes.filter(
        pl.col("bid").is_not_null() & pl.col("ask").is_not_null() & (pl.col("bid") <= pl.col("ask"))
    )
    return kept.unique(["symbol", "ts_ns"], keep="last", maintain_order=True).sort("ts_ns")


def _days(facts: Facts) -> pl.DataFrame:
    schema = pl.Schema({"ts_ns": pl.Int64(), "trade_date": pl.String()})
    return frame(facts.days, schema).sort("ts_ns")


def quote_at(tape: Tape, rows: pl.DataFrame, at: pl.Expr, *, max_age_ns: int | None = None) -> pl.DataFrame:
    """The quote in force at a moment of each row.

    Args:
        rows: with a column `symbol`.
        at: UTC nanoseconds; null gives no quote.
        max_age_ns: how old a sampled quote may be. A complete tape takes any, but says nothing of moments
            after its own end. None takes the last one known in either.

    Returns:
        `bid` and `ask`, null where none is known, in the order of the rows.
    """
    wanted = rows.select("symbol", at.cast(pl.Int64).alias("at")).with_row_index("row")
    quotes = tape.quotes.with_columns(seen_ns=pl.col("ts_ns"))
    found = _asof(wanted.filter(pl.col("at").is_not_null()), quotes)
    if tape.complete and max_age_ns is not None:
        ends = tape.quotes.group_by("symbol").agg(end_ns=pl.col("ts_ns").max())
        found = found.join(ends, on="symbol", how="left").filter(pl.col("at") <= pl.col("end_ns"))
    elif max_age_ns is not None:
        found = found.filter(pl.col("at") - pl.col("seen_ns") <= max_age_ns)
    joined = wanted.select("row").join(found.select("row", "bid", "ask"), on="row", how="left")
    return joined.sort("row").select("bid", "ask")


def interval_volume(tape: Tape, rows: pl.DataFrame, start: str, end: str) -> pl.DataFrame:
    """Volume and VWAP of the prints from `start` to `end`, both inclusive.

    A sampled tape's print at `start` is what had traded until then, so it does not count.

    Args:
        rows: with a column `symbol`; `start` and `end` name its columns of UTC nanoseconds.

    Returns:
        `volume` in units and `vwap`, null where nothing printed, in the order of the rows.
    """
    size, notional = pl.col("size").cast(pl.Float64), pl.col("px").cast(pl.Float64)
    sums = tape.prints.with_columns(
        sum_size=size.cum_sum().over("symbol"), sum_notional=(size * notional).cum_sum().over("symbol")
    ).select("symbol", "ts_ns", "sum_size", "sum_notional")
    wanted = rows.select("symbol", start=pl.col(start), end=pl.col(end)).with_row_index("row")
    parts = []
    before = pl.col("start") - 1 if tape.complete else pl.col("start")
    for name, moment in (("before", before), ("after", pl.col("end"))):
        found = _asof(wanted.with_columns(at=moment).filter(pl.col("at").is_not_null()), sums)
        parts.append(
            found.select(
                "row", pl.col("sum_size").alias(f"q_{name}"), pl.col("sum_notional").alias(f"n_{name}")
            )
        )
    joined = wanted.join(parts[0], on="row", how="left").join(parts[1], on="row", how="left").sort("row")
    volume = pl.col("q_after") - pl.col("q_before").fill_null(0.0)
    traded = pl.col("n_after") - pl.col("n_before").fill_null(0.0)
    return joined.select(
        volume=pl.when(volume > 0).then(volume), vwap=pl.when(volume > 0).then(traded / volume)
    )


def open_close(tape: Tape) -> pl.DataFrame:
    """First and last price per symbol and trade date: of the prints, else the mids where nothing printed."""
    mids = tape.quotes.select(
        "symbol", "ts_ns", px=(pl.col("bid").cast(float) + pl.col("ask").cast(float)) / 2
    )
    prints = tape.prints.select("symbol", "ts_ns", pl.col("px").cast(float))
    parts = [
        _dated(tape, part)
        .group_by("symbol", "trade_date", maintain_order=True)
        .agg(open_px=pl.col("px").first(), close_px=pl.col("px").last())
        for part in (prints, mids)
    ]
    return pl.concat(parts).unique(["symbol", "trade_date"], keep="first", maintain_order=True)


def _dated(tape: Tape, rows: pl.DataFrame) -> pl.DataFrame:
    if tape.days.is_empty():
        return rows.with_columns(trade_date=pl.lit(""))
    first = tape.days["trade_date"][0]
    dated = rows.sort("ts_ns").join_asof(tape.days, on="ts_ns", strategy="backward")
    return dated.with_columns(pl.col("trade_date").fill_null(first))


def _asof(wanted: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The last known row of the symbol at or before `at`; both are sorted here, which polars cannot see."""
    return wanted.sort("at").join_asof(
        known.sort("ts_ns"),
        left_on="at",
        right_on="ts_ns",
        by="symbol",
        strategy="backward",
        check_sortedness=False,
    )
