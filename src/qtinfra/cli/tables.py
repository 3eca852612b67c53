"""Results as tables for a terminal of a hundred columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qtinfra.bootstrap import DemoOutcome, Verification
from qtinfra.core.models import OrderStatus
from qtinfra.runtime.blotter import AccountLine, Blotter, OrderLine
from qtinfra.runtime.demo_script import Moment

_LAST_ORDERS = 14
_TITLE, _QUIET = "bold cyan", "dim"
_TONES = {"refused": "yellow", "REJECTED": "yellow", "UNKNOWN": "magenta"}


def show_demo(out: Console, outcome: DemoOutcome) -> None:
    """The whole demonstration: timeline, blotter, P&L, refusals, venues, journal."""
    demo, tables = outcome.demo, outcome.demo.blotter
    _title(out, f"Session of {demo.trade_date}, 14:30 to 14:50 UTC, synthetic market, seed {demo.seed}")
    out.print(
        f"{demo.orders} orders  {demo.fills} fills  {demo.refused} refusals  {demo.replaced} replaces  "
        f"{demo.cancelled} cancels  {demo.busted} bust  {demo.corrected} correction  "
        f"{demo.doubtful} in doubt",
        style=_QUIET,
    )
    _timeline(out, demo.timeline)
    _statuses(out, tables)
    _orders(out, tables.orders)
    _positions(out, tables)
    _accounts(out, tables.accounts)
    _venues(out, tables)
    _refusals(out, tables)
    _journal(out, outcome)


def show_facts(out: Console, title: str, facts: Mapping[str, object]) -> None:
    """A flat result as two columns."""
    _title(out, title)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style=_QUIET, no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), Text(_fact(value)))
    out.print(table)


def show_verification(out: Console, found: Verification) -> None:
    """What a verification found, in words."""
    verdict = "verified" if found.ok else f"NOT verified: first bad sequence {found.first_bad_seq}"
    facts: dict[str, object] = {
        "journal": found.path,
        "verdict": verdict,
        "records": "unknown" if found.records is None else found.records,
        "events": found.events,
        "signed heads": f"{found.anchors}, key {found.key_id}" if found.anchors else "none",
        "in words": found.reason,
    }
    show_facts(out, "Journal", facts)


# --- pieces ------------------------------------------------------------------------------------------------


def _title(out: Console, text: str) -> None:
    out.print()
    out.print(Text(text, style=_TITLE))


def _table(*columns: str, right: Iterable[str] = ()) -> Table:
    numbers = tuple(right)
    table = Table(
        box=SIMPLE_HEAD, header_style="bold", border_style=_QUIET, padding=(0, 1, 0, 0), show_edge=False
    )
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left")
    return table


def _time(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).strftime("%H:%M:%S")


def _qty(value: Decimal) -> str:
    return f"{value:,.4f}".rstrip("0").rstrip(".")


def _price(value: Decimal | None) -> str:
    return "" if value is None else f"{value:,.4f}"


def _money(value: Decimal) -> Text:
    return Text(f"{value:,.2f}", style="red" if value < 0 else "")


def _fact(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _toned(text: str) -> Text:
    for word, tone in _TONES.items():
        if word in text.partition(":")[0]:
            return Text(text, style=tone)
    return Text(text)


def _timeline(out: Console, moments: Iterable[Moment]) -> None:
    _title(out, "What was asked, and what the system answered")
    table = _table("UTC", "who", "asked", "answered")
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    table.columns[2].ratio, table.columns[3].ratio = 2, 3
    table.expand = True
    for moment in moments:
        table.add_row(_time(moment.ts_ns), moment.who, Text(moment.asked), _toned(moment.answered))
    out.print(table)


def _statuses(out: Console, tables: Blotter) -> None:
    _title(out, "Orders by account and status at the close")
    seen = [
        status.value for status in OrderStatus if any(status.value in by for by in tables.statuses.values())
    ]
    table = _table("account", *seen, "total", right=(*seen, "total"))
    for account, counts in tables.statuses.items():
        cells = (f"{counts[status]:,}" if status in counts else "" for status in seen)
        table.add_row(account, *cells, f"{sum(counts.values()):,}")
    out.print(table)


def _orders(out: Console, orders: tuple[OrderLine, ...]) -> None:
    last = sorted(orders, key=lambda line: line.updated_ns)[-_LAST_ORDERS:]
    _title(out, f"The last {len(last)} orders that changed")
    numbers = ("qty", "limit", "filled", "average")
    table = _table("UTC", "account", "id", "order", *numbers, "status", "venue", right=numbers)
    for column in table.columns[:-1]:
        column.no_wrap = True
    for line in last:
        table.add_row(
            _time(line.updated_ns),
            line.account,
            line.cl_ord_id,
            f"{line.side} {line.symbol} {line.tif}",
            _qty(line.qty),
            "market" if line.price is None else f"{line.price:,.2f}",
            _qty(line.cum_qty),
            _price(line.avg_px) if line.cum_qty else "",
            _toned(line.status.value),
            " ".join(line.venues),
        )
    out.print(table)


def _positions(out: Console, tables: Blotter) -> None:
    _title(out, "Positions and P&L, USD, average cost, marked at the last midpoint")
    numbers = ("quantity", "cost", "mark", "realised", "unrealised", "fees", "net")
    table = _table("account", "symbol", *numbers, right=numbers)
    for line in tables.positions:
        amounts = map(_money, (line.realised, line.unrealised, line.fees, line.net))
        cost = _price(line.avg_cost) if line.qty else ""
        table.add_row(line.account, line.symbol, _qty(line.qty), cost, _price(line.mark), *amounts)
    table.add_section()
    for account in tables.accounts:
        totals = (account.realised, account.unrealised, account.fees, account.net)
        name = f"{account.account} ({account.client})"
        table.add_row(name, "all", "", "", "", *map(_money, totals), style="bold")
    out.print(table)


def _accounts(out: Console, accounts: Iterable[AccountLine]) -> None:
    """The check: the same total from cash, which knows nothing of costs."""
    _title(out, "Check: realised + unrealised - fees is cash flow + value of what is held, to the last digit")
    numbers = ("net P&L", "cash flow", "value held", "sum")
    table = _table("account", *numbers, "", right=numbers)
    for line in accounts:
        reckoned = (line.net, line.cash_flow, line.market_value, line.cash_flow + line.market_value)
        verdict = Text("equal") if line.agrees else Text("NOT EQUAL", style="bold red")
        table.add_row(line.account, *(f"{amount:,.4f}" for amount in reckoned), verdict)
    out.print(table)


def _venues(out: Console, tables: Blotter) -> None:
    _title(out, "Executions by venue")
    numbers = ("fills", "passive", "shares", "value USD", "fees USD")
    table = _table("venue", *numbers, right=numbers)
    for line in tables.venues:
        cells = f"{line.fills:,}", f"{line.added:,}", _qty(line.qty), _money(line.value), _money(line.fees)
        table.add_row(line.venue, *cells)
    out.print(table)


def _refusals(out: Console, tables: Blotter) -> None:
    _title(out, "Refusals")
    table = _table("UTC", "account", "id", "rule", "limit", "observed", right=("limit", "observed"))
    for line in tables.refusals:
        observed = Text(line.observed, overflow="ellipsis")
        table.add_row(_time(line.ts_ns), line.account, line.cl_ord_id, line.rule, line.limit, observed)
    out.print(table)


def _journal(out: Console, outcome: DemoOutcome) -> None:
    demo, found, path = outcome.demo, outcome.verification, outcome.files.journal
    equal = demo.state_hash == demo.replay_state_hash
    facts: dict[str, object] = {
        "journal": str(path),
        "size": f"{demo.records:,} records of {demo.events:,} events in {demo.frames:,} synced writes, "
        f"{found.size_bytes:,} bytes",
        "head": demo.chain_hash,
        "verified": f"{'yes' if found.ok else 'NO'}, against {found.anchors} signed heads: {found.reason}",
        "state": demo.state_hash,
        "replayed state": f"{'equal' if equal else 'NOT EQUAL'}; decisions taken again: "
        f"{'equal, byte for byte' if demo.decide_equal else 'NOT EQUAL'}",
        "invariants": f"{demo.invariant_violations} violated",
    }
    show_facts(out, "Journal", facts)
    out.print()
    out.print("Look further:", style=_QUIET)
    for command in ("journal verify", "replay --decide", "journal export"):
        out.print(Text(f"  qtinfra {command} {path}"), soft_wrap=True)
