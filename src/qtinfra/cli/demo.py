"""The demonstration for a terminal: the algo orders while they are worked, and everything else at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from qtinfra.bootstrap import DemoOutcome
from qtinfra.cli.output import program
from qtinfra.cli.tables import QUIET, grid, heading, show_facts
from qtinfra.core.models import OrderStatus
from qtinfra.runtime.blotter import AccountLine, Blotter, OrderLine
from qtinfra.runtime.demo_board import AlgoLine, Watch
from qtinfra.runtime.demo_script import CLOSE_NS, Moment
from qtinfra.runtime.synthetic_session import OPEN_NS

if TYPE_CHECKING:
    from qtinfra.bootstrap.analysis import CostAnalysis

_LAST_ORDERS = 14
_TONES = {"refused": "yellow", "REJECTED": "yellow", "UNKNOWN": "magenta"}
#: Width of a bar on a terminal of a hundred columns, on one wider than `_WIDE`, and on a narrow one.
_BAR, _LONG_BAR, _SHORT_BAR, _WIDE = 16, 40, 8, 124
#: A terminal that is narrower gets amounts in whole units, hashes by their ends, and fewer columns.
_NARROW = 96


def costs_of(journal: Path) -> tuple[CostAnalysis | None, str]:
    """Analyse what a session cost and write the page beside its journal.

    Returns:
        The analysis and the path of the page; or None and how to get what is not installed.
    """
    from qtinfra.bootstrap.analysis import MissingExtraError, analyse_costs

    path = journal.with_name("tca.html")
    try:
        return analyse_costs(journal, html=path), str(path)
    except MissingExtraError as error:
        return None, f"not written: {error.message}"


# --- while it runs ------------------------------------------------------------------------------------------


@contextmanager
def watching() -> Iterator[Watch | None]:
    """A picture of the algo orders on standard error while the session lasts, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    console = Console(stderr=True, highlight=False)
    bar = bar_width(console.width)
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def watch(now_ns: int, lines: tuple[AlgoLine, ...]) -> None:
            live.update(picture(now_ns, lines, bar), refresh=True)

        yield watch


def bar_width(columns: int) -> int:
    """How wide a bar may be, so that what stands behind it can be read."""
    if columns < _NARROW:
        return _SHORT_BAR
    return _LONG_BAR if columns > _WIDE else _BAR


def picture(now_ns: int, lines: tuple[AlgoLine, ...], bar: int = _BAR) -> RenderableType:
    """The market's clock and a bar for each algo order, `bar` columns wide."""
    clock = Table.grid(padding=(0, 1))
    clock.add_row(
        f"{_time(now_ns)} UTC", ProgressBar(CLOSE_NS - OPEN_NS, now_ns - OPEN_NS, 40), "20 minutes of market"
    )
    numbers = ("done", "target", "units", "market", "share")
    table = grid("order", "", *numbers, "", right=numbers)
    for column in table.columns:
        column.no_wrap = True
    for line in lines:
        table.add_row(
            Text(f"{line.cl_ord_id} {line.symbol}"),
            ProgressBar(float(line.qty), float(line.filled), bar),
            _qty(line.filled),
            _qty(line.target) if line.working else "",
            _qty(line.qty),
            _qty(line.market_volume),
            _share(line),
            _standing(line),
        )
    return Group(clock, table)


def _share(line: AlgoLine) -> str:
    return "" if line.participation is None else f"{line.participation:.1%}"


def _standing(line: AlgoLine) -> Text:
    if not line.working:
        tone = "red" if line.state.startswith("cancelled") else "green"
    else:
        tone = "yellow" if line.state != "working" else QUIET
    return Text(line.state, style=tone, overflow="ellipsis")


# --- at the end ---------------------------------------------------------------------------------------------


def show_demo(out: Console, outcome: DemoOutcome) -> None:
    """The session: timeline, algo orders, blotter, P&L, refusals, venues."""
    demo, tables = outcome.demo, outcome.demo.blotter
    heading(out, f"Session of {demo.trade_date}, 14:30 to 14:50 UTC, synthetic market, seed {demo.seed}")
    out.print(
        f"{demo.orders} orders  {len(demo.algos)} by algos  {demo.fills} fills  {demo.refused} refusals  "
        f"{demo.replaced} replaces  {demo.cancelled} cancels  {demo.busted} bust  {demo.corrected} correction"
        f"  {demo.doubtful} in doubt",
        style=QUIET,
    )
    _timeline(out, demo.timeline)
    _algos(out, demo.algos)
    _statuses(out, tables)
    _orders(out, tables.orders)
    _positions(out, tables)
    _accounts(out, tables.accounts)
    _venues(out, tables)
    _refusals(out, tables)


def _time(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).strftime("%H:%M:%S")


def _qty(value: Decimal) -> str:
    return f"{value:,.4f}".rstrip("0").rstrip(".")


def _price(value: Decimal | None) -> str:
    return "" if value is None else f"{value:,.4f}"


def _money(value: Decimal, places: int = 2) -> Text:
    return Text(f"{value:,.{places}f}", style="red" if value < 0 else "")


def _places(out: Console) -> int:
    """Decimal places of amounts that this terminal has room for."""
    return 0 if out.width < _NARROW else 2


def _fitted(
    out: Console, names: tuple[str, ...], numbers: tuple[str, ...], dropped: tuple[str, ...]
) -> tuple[Table, Callable[..., None]]:
    """A table, and what adds a row to it by the cells of all `names`; a narrow terminal goes without some."""
    kept = [at for at, name in enumerate(names) if out.width >= _NARROW or name not in dropped]
    table = grid(*(names[at] for at in kept), right=numbers)
    for column in table.columns:
        column.no_wrap = True

    def add(*cells: str | Text, style: str = "") -> None:
        table.add_row(*(cells[at] for at in kept), style=style)

    return table, add


def _hash(out: Console, text: str) -> str:
    return text if out.width >= _NARROW else f"{text[:24]}...{text[-24:]}"


def _toned(text: str) -> Text:
    for word, tone in _TONES.items():
        if word in text.partition(":")[0]:
            return Text(text, style=tone)
    return Text(text)


def _timeline(out: Console, moments: Iterable[Moment]) -> None:
    heading(out, "What was asked, and what the system answered")
    table = grid("UTC", "who", "asked", "answered")
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    table.columns[2].ratio, table.columns[3].ratio = 2, 3
    table.expand = True
    for moment in moments:
        table.add_row(_time(moment.ts_ns), moment.who, Text(moment.asked), _toned(moment.answered))
    out.print(table)


def _algos(out: Console, lines: Iterable[AlgoLine]) -> None:
    heading(out, "Algo orders: what they did, of what the market printed meanwhile")
    numbers = ("units", "done", "sent", "market volume", "share", "vs arrival")
    table, add = _fitted(out, ("order", "asked", *numbers, "ended"), numbers, ("sent", "market volume"))
    for line in lines:
        slippage = "" if line.slippage_bps is None else f"{line.slippage_bps:+.1f} bp"
        add(
            line.cl_ord_id,
            f"{line.side} {line.symbol}",
            _qty(line.qty),
            _qty(line.filled),
            f"{line.slices:,}",
            _qty(line.market_volume),
            _share(line),
            slippage,
            _standing(line),
        )
    out.print(table)


def show_costs(out: Console, costs: CostAnalysis) -> None:
    """What execution cost by algo, and where the page is."""
    heading(out, "Transaction costs by algo against the midpoint on arrival; costs are positive")
    numbers = ("orders", "traded USD", "filled", "shortfall bp", "vs arrival bp", "vs VWAP bp", "fees bp")
    table, add = _fitted(out, ("algo", *numbers), numbers, ("fees bp",))
    for column in table.columns[4:]:
        column.no_wrap = False
    for row in costs.tca.by_algo.sort("notional", descending=True).to_dicts():
        if row["notional"]:
            bps = (row[f"{name}_bps"] for name in ("total", "arrival", "vwap", "fees"))
            cells = ("" if value is None else f"{value:+.2f}" for value in bps)
            name = row["algo"] or "no algo"
            add(
                name,
                f"{row['orders']:,}",
                _money(row["notional"], _places(out)),
                f"{row['fill_rate']:.0%}",
                *cells,
            )
    out.print(table)


def _statuses(out: Console, tables: Blotter) -> None:
    heading(out, "Orders by account and status at the close")
    seen = [
        status.value for status in OrderStatus if any(status.value in by for by in tables.statuses.values())
    ]
    table = grid("account", *seen, "total", right=(*seen, "total"))
    for account, counts in tables.statuses.items():
        cells = (f"{counts[status]:,}" if status in counts else "" for status in seen)
        table.add_row(account, *cells, f"{sum(counts.values()):,}")
    out.print(table)


def _orders(out: Console, orders: tuple[OrderLine, ...]) -> None:
    last = sorted(orders, key=lambda line: line.updated_ns)[-_LAST_ORDERS:]
    heading(out, f"The last {len(last)} orders that changed")
    numbers = ("qty", "limit", "filled", "average")
    names = ("UTC", "account", "id", "order", *numbers, "status", "venue")
    table, add = _fitted(out, names, numbers, ("account", "limit", "venue"))
    for line in last:
        add(
            _time(line.updated_ns),
            line.account,
            line.cl_ord_id,
            f"{line.side} {line.symbol} {line.tif}",
            _qty(line.qty),
            "market" if line.price is None else f"{line.price:,.2f}",
            _qty(line.cum_qty),
            _price(line.avg_px) if line.cum_qty else "",
            _toned(line.status.value),
            _venue(line.venues),
        )
    out.print(table)


def _venue(venues: tuple[str, ...]) -> str:
    """The first venue, and how many there are besides."""
    return f"{venues[0]} +{len(venues) - 1}" if len(venues) > 1 else "".join(venues)


def _positions(out: Console, tables: Blotter) -> None:
    heading(out, "Positions and P&L, USD, average cost, marked at the last midpoint")
    numbers = ("quantity", "cost", "mark", "realised", "unrealised", "fees", "net")
    table, add = _fitted(out, ("account", "symbol", *numbers), numbers, ("cost",))
    places = _places(out)
    for line in tables.positions:
        amounts = (_money(value, places) for value in (line.realised, line.unrealised, line.fees, line.net))
        cost = _price(line.avg_cost) if line.qty else ""
        add(line.account, line.symbol, _qty(line.qty), cost, _price(line.mark), *amounts)
    table.add_section()
    for account in tables.accounts:
        totals = (account.realised, account.unrealised, account.fees, account.net)
        name = f"{account.account} ({account.client})" if places else account.account
        add(name, "all", "", "", "", *(_money(value, places) for value in totals), style="bold")
    out.print(table)


def _accounts(out: Console, accounts: Iterable[AccountLine]) -> None:
    """The check: the same total from cash, which knows nothing of costs."""
    heading(out, "Check: realised + unrealised - fees = cash flow + value held, to the last digit")
    numbers = ("net P&L", "cash flow", "value held", "sum")
    table = grid("account", *numbers, "", right=numbers)
    for line in accounts:
        reckoned = (line.net, line.cash_flow, line.market_value, line.cash_flow + line.market_value)
        verdict = Text("equal") if line.agrees else Text("NOT EQUAL", style="bold red")
        table.add_row(line.account, *(f"{amount:,.4f}" for amount in reckoned), verdict)
    out.print(table)


def _venues(out: Console, tables: Blotter) -> None:
    heading(out, "Executions by venue")
    numbers = ("fills", "passive", "shares", "value USD", "fees USD")
    table = grid("venue", *numbers, right=numbers)
    for line in tables.venues:
        cells = f"{line.fills:,}", f"{line.added:,}", _qty(line.qty), _money(line.value), _money(line.fees)
        table.add_row(line.venue, *cells)
    out.print(table)


def _refusals(out: Console, tables: Blotter) -> None:
    heading(out, "Refusals")
    names, numbers = ("UTC", "account", "id", "rule", "limit", "observed"), ("limit", "observed")
    table, add = _fitted(out, names, numbers, ("id",))
    for line in tables.refusals:
        observed = Text(line.observed, overflow="ellipsis")
        add(_time(line.ts_ns), line.account, line.cl_ord_id, line.rule, line.limit, observed)
    out.print(table)


def show_proof(out: Console, outcome: DemoOutcome, page: str) -> None:
    """The journal, what it proves, and where to look further.

    Args:
        page: the path of the cost page, or why there is none.
    """
    demo, found, path = outcome.demo, outcome.verification, outcome.files.journal
    equal = demo.state_hash == demo.replay_state_hash
    facts: dict[str, object] = {
        "journal": str(path),
        "size": f"{demo.records:,} records of {demo.events:,} events in {demo.frames:,} synced writes, "
        f"{found.size_bytes:,} bytes",
        "head": _hash(out, demo.chain_hash),
        "verified": f"{'yes' if found.ok else 'NO'}, against {found.anchors} signed heads: {found.reason}",
        "state": _hash(out, demo.state_hash),
        "replayed state": f"{'equal' if equal else 'NOT EQUAL'}; decisions taken again: "
        f"{'equal, byte for byte' if demo.decide_equal else 'NOT EQUAL'}",
        "invariants": f"{demo.invariant_violations} violated",
        "cost page": page,
    }
    show_facts(out, "Journal", facts)
    out.print()
    out.print("Look further:", style=QUIET)
    for command in ("journal verify", "replay --decide", "journal export", "tca --journal"):
        out.print(Text(f"  {program()} {command} {path}"), soft_wrap=True)
