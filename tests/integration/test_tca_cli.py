"""`qtinfra tca` on journals on the disk: of a simulated session, and of algo orders."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from qtinfra import bootstrap
from qtinfra.bootstrap import analysis
from qtinfra.cli import main
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.runtime.session import RandomFlow
from tests.unit.posttrade.story import twap_day

pytestmark = pytest.mark.integration

TABLES = ("orders", "children", "fills", "schedules", "by_venue", "by_algo", "by_symbol", "total")
COMPONENTS = ("delay", "trading", "opportunity", "fees")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five minutes of the synthetic market with 60 orders."""
    path = tmp_path_factory.mktemp("tca") / "journal.sqlite"
    bootstrap.simulate_synthetic(("AAPL", "KO"), 5, RandomFlow(60, seed=3), journal=path)
    return path


@pytest.fixture
def algos(tmp_path: Path) -> Path:
    path = tmp_path / "algos.sqlite"
    journal = SqliteJournal.open(path, owner="test")
    journal.append(twap_day(parents=2, slices=5).entries)
    journal.close()
    return path


def facts_of(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = main(["tca", *args, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, found


def test_the_parts_of_a_simulated_session_sum_to_its_total(
    simulated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = facts_of(capsys, "--journal", str(simulated))
    assert (status, found["orders"], found["orders_measured"]) == (0, 60, 60)
    (total,) = found["total"]
    assert sum(Decimal(total[name]) for name in COMPONENTS) == Decimal(total["total"])
    assert sum(Decimal(row["total"]) for row in found["by_symbol"]) == Decimal(total["total"])
    assert sum(row["fills"] for row in found["by_venue"]) == found["fills"]


def test_the_analysis_agrees_with_what_the_session_counted(simulated: Path, tmp_path: Path) -> None:
    session = bootstrap.simulate_synthetic(
        ("AAPL", "KO"), 5, RandomFlow(60, seed=3), journal=tmp_path / "again.sqlite"
    ).session
    tca = analysis.analyse_costs(simulated).tca
    assert tca.fills.height == session.fills
    assert tca.fills.filter(pl.col("liquidity") == "ADDED").height == session.passive_fills
    assert tca.summary["records"] == session.records


def test_every_table_is_written_as_parquet_with_exact_amounts(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tables"
    status, found = facts_of(capsys, "--journal", str(simulated), "--parquet", str(folder))
    assert status == 0
    assert {Path(path).name for path in found["parquet"]} >= {f"{name}.parquet" for name in TABLES}
    orders = pl.read_parquet(folder / "orders.parquet")
    parts = sum((pl.col(name) for name in COMPONENTS[1:]), pl.col("delay"))
    assert orders.select((parts == pl.col("total")).all()).item()
    with duckdb.connect() as connection:
        row = connection.execute(
            "select count(*), sum(fees) from read_parquet(?)", [str(folder / "fills.parquet")]
        ).fetchone()
    assert row == (found["fills"], sum(Decimal(one["fees"]) for one in found["by_venue"]))


def test_the_page_is_written_and_shows_the_algo_orders(
    algos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "report.html"
    assert main(["tca", "--journal", str(algos), "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert f"written: {page}" in out.replace("\n", "")
    text = page.read_text("utf-8")
    assert "P0: TWAP BUY 500 ABC" in text
    assert "P1: VWAP BUY 500 ABC" in text


def test_a_market_file_takes_the_place_of_the_journaled_books(
    algos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    market = tmp_path / "market.csv"
    market.write_text("symbol,ts_ns,bid,ask\nABC,1704724000000000000,50.00,50.02\n")
    status, found = facts_of(capsys, "--journal", str(algos), "--market", str(market))
    assert (status, found["market"], found["quotes"], found["prints"]) == (0, "market file market.csv", 1, 0)


def test_wrong_input_is_refused_by_name(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "market.csv"
    bad.write_text("symbol,when\n")
    journal = ("--journal", str(simulated))
    cases = (
        ((*journal, "--market", str(bad)), "column missing: ts_ns"),
        ((*journal, "--quote-age", "0"), "seconds above 0"),
        ((*journal, "--html", str(tmp_path / "no" / "page.html")), "there is no directory"),
        ((), "--journal"),
    )
    for args, complaint in cases:
        status, found = facts_of(capsys, *args)
        assert status == 2, args
        assert complaint in found["message"]


def test_without_the_analytics_extra_the_error_has_the_line_that_installs_it(
    simulated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(analysis, "ANALYTICS_MODULES", ("polars_that_nobody_has",))
    status, found = facts_of(capsys, "--journal", str(simulated))
    assert (status, found["code"]) == (1, "missing_extra")
    assert found["message"].endswith("pip install '.[analytics]' in the clone")


def test_a_damaged_journal_is_not_analysed(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "damaged.sqlite"
    data = bytearray(simulated.read_bytes())
    place = data.find(b"OrderFilled")
    data[place + 40] ^= 1
    copy.write_bytes(data)
    status, found = facts_of(capsys, "--journal", str(copy))
    assert (status, found["code"]) == (78, "journal_corrupt")
