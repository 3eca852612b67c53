"""Flat results as tables for a terminal, and the pieces that other tables are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qtinfra.bootstrap import Verification

TITLE, QUIET = "bold cyan", "dim"


def show_facts(out: Console, title: str, facts: Mapping[str, object]) -> None:
    """A flat result as two columns."""
    heading(out, title)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style=QUIET, no_wrap=True)
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
        "snapshots": [f"{one.seq:,} {one.verdict}" for one in found.snapshots],
        "in words": found.reason,
    }
    show_facts(out, "Journal", facts)


# --- pieces ------------------------------------------------------------------------------------------------


def heading(out: Console, text: str) -> None:
    """A line above a table."""
    out.print()
    out.print(Text(text, style=TITLE))


def grid(*columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table; the columns in `right` hold numbers."""
    numbers = tuple(right)
    table = Table(
        box=SIMPLE_HEAD, header_style="bold", border_style=QUIET, padding=(0, 1, 0, 0), show_edge=False
    )
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left")
    return table


def _fact(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
