"""Transaction cost analysis of a journal: tables, a page, Parquet files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from qtinfra.bootstrap.sessions import reading
from qtinfra.core.exceptions import QtInfraError

if TYPE_CHECKING:
    from qtinfra.posttrade.tca import Tca

#: What the analysis needs beyond the core installation, and how to get it.
ANALYTICS_MODULES = ("polars",)
INSTALL_LINE = "'make venv' installs it, or pip install '.[analytics]' in the clone"
_SECOND_NS = 1_000_000_000


class MissingExtraError(QtInfraError):
    """An optional dependency is not installed; the message has the line that installs it."""

    code = "missing_extra"


class CostAnalysis(msgspec.Struct, frozen=True):
    """An analysis, the files it wrote, and what opening the journal had to leave out."""

    tca: Tca
    html: Path | None
    parquet: tuple[Path, ...]
    recovered: str | None


def analyse_costs(
    journal: Path,
    *,
    market: Path | None = None,
    quote_age_s: float = 1.0,
    html: Path | None = None,
    parquet: Path | None = None,
) -> CostAnalysis:
    """Analyse what a journal's executions cost.

    Args:
        market: quotes and prints of the same days (`posttrade.tca_tape.read_tape`); None for the books that
            the journal's decisions saw.
        quote_age_s: without a market file, how old a quote may be that an execution is measured against.
        html: the page; a file there is replaced.
        parquet: a directory for one file per table; files there of these names are replaced.

    Raises:
        MissingExtraError: polars is not installed.
        JournalCorruptError: names the first sequence that does not verify.
        JournalError: it is no journal, or an export of one.
        RecordedDataError: the market file is malformed.
        AnalysisError: an amount has more digits than the tables hold.
        OSError: a file cannot be written.
    """
    _require_analytics()
    from qtinfra.posttrade.tca import analyse  # noqa: PLC0415
    from qtinfra.posttrade.tca_facts import gather  # noqa: PLC0415
    from qtinfra.posttrade.tca_report import report  # noqa: PLC0415
    from qtinfra.posttrade.tca_tape import journal_tape, read_tape  # noqa: PLC0415

    with reading(journal) as source:
        facts, recovered = gather(source.read(0)), source.recovered
    if market is not None:
        tape = read_tape(market, facts)
    else:
        tape = journal_tape(facts, max_age_ns=int(quote_age_s * _SECOND_NS))
    tca = analyse(facts, tape)
    if html is not None:
        html.write_text(report(tca, journal.name), encoding="utf-8")
    return CostAnalysis(tca, html, _write_tables(tca, parquet), recovered)


def _write_tables(tca: Tca, directory: Path | None) -> tuple[Path, ...]:
    if directory is None:
        return ()
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in tca.tables().items():
        path = directory / f"{name}.parquet"
        table.write_parquet(path)
        written.append(path)
    return tuple(written)


def _require_analytics() -> None:
    for name in ANALYTICS_MODULES:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"the analysis needs {name}, which is not installed: {INSTALL_LINE}")
