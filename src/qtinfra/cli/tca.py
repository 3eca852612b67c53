"""`qtinfra tca`: what execution cost, from a journal. What it needs is imported when it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qtinfra.cli.output import console, note, print_json

if TYPE_CHECKING:
    from qtinfra.bootstrap.analysis import CostAnalysis

#: The groups that `--json` holds; orders, children and fills are in the Parquet files.
GROUPS = ("total", "by_algo", "by_trader", "by_symbol", "by_account", "by_venue")


def _age(value: str | float) -> float:
    """Seconds: above 0, at most an hour."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise typer.BadParameter(f"{value!r} is not a number of seconds above 0 and at most 3600")
    return seconds


def tca(
    journal: Annotated[
        Path, typer.Option(help="The journal's file.", exists=True, dir_okay=False, readable=True)
    ],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report page here.", dir_okay=False)
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write every table here.", file_okay=False)
    ] = None,
    market: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Quotes and prints, CSV or Parquet: symbol, ts_ns, bid, ask, px, size "
            "(default: the books in the journal).",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ] = None,
    quote_age: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="Without --market: how old a quote may be that counts.", parser=_age
        ),
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Analyse transaction costs: shortfall and its parts, spreads, markouts, participation, latency.

    By order, child, fill, venue, algo, trader, symbol and account. Costs are positive, gains negative.
    """
    from qtinfra.bootstrap.analysis import analyse_costs

    for path, option in ((html, "--html"), (parquet, "--parquet")):
        if path is not None and not path.absolute().parent.is_dir():
            raise typer.BadParameter(
                f"there is no directory {path.absolute().parent}", param_hint=f"'{option}'"
            )
    found = analyse_costs(journal, market=market, quote_age_s=quote_age, html=html, parquet=parquet)
    if found.recovered is not None:
        note(found.recovered)
    if as_json:
        print_json(tca_facts(found, journal))
    else:
        _show(found)


def tca_facts(found: CostAnalysis, journal: Path) -> dict[str, object]:
    """The analysis as a JSON-ready mapping: amounts as decimal text, ratios as numbers, nothing as null."""
    return {
        "journal": str(journal),
        **{name: _plain(value) for name, value in found.tca.summary.items()},
        **{name: [_row(row) for row in getattr(found.tca, name).to_dicts()] for name in GROUPS},
        "html": str(found.html) if found.html is not None else None,
        "parquet": [str(path) for path in found.parquet],
        "recovered": found.recovered,
    }


def _row(row: Mapping[str, Any]) -> dict[str, object]:
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> object:
    from qtinfra.core.decimals import canonical, plain

    if isinstance(value, Decimal):
        return plain(canonical(value))
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show(found: CostAnalysis) -> None:
    from qtinfra.cli.tables import show_facts

    out, summary = console(), found.tca.summary
    shown = ("orders", "orders_measured", "orders_rejected", "children", "fills", "fills_busted", "market")
    show_facts(out, "Transaction costs", {name: summary[name] for name in shown})
    venue = ("notional", "fill_rate", "effective_bps", "markout_60s_bps", "ack_ms_median")
    _show_groups(out, found, "by_venue", venue)
    for name in ("by_algo", "by_symbol", "total"):
        costs = ("notional", "total", "total_bps", "arrival_bps", "vwap_bps", "fill_rate")
        _show_groups(out, found, name, costs)
    out.print()
    for path in (found.html, *found.parquet):
        if path is not None:
            out.print(f"written: {path}", soft_wrap=True)


#: What a column of the tables is called on the screen.
_HEADINGS = {
    "notional": "traded value",
    "total": "shortfall",
    "total_bps": "shortfall bp",
    "arrival_bps": "vs arrival bp",
    "vwap_bps": "vs VWAP bp",
    "fill_rate": "filled",
    "effective_bps": "effective bp",
    "markout_60s_bps": "markout 60 s bp",
    "ack_ms_median": "ack median ms",
}


def _show_groups(out: Any, found: CostAnalysis, name: str, fields: tuple[str, ...]) -> None:
    """One group; the currency has a column only where there are several."""
    from qtinfra.cli.tables import grid, heading

    key = name.removeprefix("by_")
    several = ("currency",) if len(found.tca.summary["currencies"]) > 1 else ()
    numbers = tuple(_HEADINGS[field] for field in fields)
    table = grid("all" if key == "total" else key, *several, *numbers, right=numbers)
    for row in getattr(found.tca, name).to_dicts():
        label = "orders" if key == "total" else str(row.get(key)) or f"no {key}"
        table.add_row(label, *(row[field] for field in several), *(_cell(row, field) for field in fields))
    heading(out, key.capitalize() if key == "total" else f"By {key}")
    out.print(table)


def _cell(row: Mapping[str, Any], field: str) -> str:
    value = row[field]
    return f"{value:.0%}" if field == "fill_rate" and value is not None else _number(value)


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:,.2f}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(short_help="Analyse from a journal what execution cost.")(tca)
