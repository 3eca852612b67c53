"""The commands about the read tables. What they need is imported when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from qtinfra.cli.output import console, print_json

projector_app = typer.Typer(rich_markup_mode=None, help="The read tables that are made from a journal.")


@projector_app.callback()
def _root() -> None:
    pass


@projector_app.command(short_help="Make the read tables again from the journal.")
def rebuild(
    journal: Annotated[
        Path,
        typer.Argument(
            metavar="JOURNAL", help="The journal's file.", exists=True, dir_okay=False, readable=True
        ),
    ],
    tables: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The read tables (default: JOURNAL.tables.sqlite).", dir_okay=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Empty the read tables and make them again from the journal's first record.

    Nothing that decides reads them: they may be thrown away at any time. While they are rebuilt, queries see
    only what has been projected again.
    """
    from qtinfra.bootstrap.rebuild import rebuild_tables, tables_of

    result = rebuild_tables(journal, tables if tables is not None else tables_of(journal))
    facts = msgspec.structs.asdict(result)
    if as_json:
        print_json(facts)
    else:
        from qtinfra.cli.tables import show_facts

        rows = {f"rows of {name}": number for name, number in facts.pop("rows").items()}
        show_facts(console(), "Rebuild", {**facts, **rows})
