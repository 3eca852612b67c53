"""How the command line speaks: one JSON object or text on standard output, notes on standard error."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: Width of output that does not go to a terminal, and the most that is used of a wide one.
WIDTH, WIDEST = 100, 120


def program() -> str:
    """What to type for this program here: its path, as long as the shell does not find its name."""
    typed = sys.argv[0]
    return typed if Path(typed).name == "qtinfra" and shutil.which("qtinfra") is None else "qtinfra"


def note(text: str) -> None:
    """One line for the person at the terminal."""
    print(f"qtinfra: {text}", file=sys.stderr)


def print_json(value: Mapping[str, object]) -> None:
    """The one JSON object of a command."""
    print(json.dumps(value, ensure_ascii=False))


def console(plain_width: int = WIDTH) -> Console:
    """Standard output for tables; plain text of a fixed width when it is not a terminal."""
    from rich.console import Console

    found = Console(highlight=False)
    if not found.is_terminal:
        return Console(highlight=False, width=plain_width)
    return Console(highlight=False, width=WIDEST) if found.width > WIDEST else found


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error while something lasts, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(40), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
