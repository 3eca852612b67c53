"""What the demonstration shows of its algo orders while they are worked, and when the analysis is missing."""

from decimal import Decimal
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from qtinfra.bootstrap import analysis
from qtinfra.cli.demo import bar_width, costs_of, picture, watching
from qtinfra.core.models import OrderSide
from qtinfra.runtime.demo_board import AlgoLine
from qtinfra.runtime.synthetic_session import OPEN_NS

pytestmark = pytest.mark.unit

LINE = AlgoLine(
    "POV-1",
    "POV",
    OrderSide.BUY,
    "KO",
    qty=Decimal(20_000),
    filled=Decimal(5_000),
    target=Decimal(5_200),
    market_volume=Decimal(51_000),
    participation=Decimal(5) / 51,
    avg_px=Decimal("64.01"),
    arrival_mid=Decimal(64),
    slippage_bps=Decimal("1.5625"),
    slices=12,
    started_ns=OPEN_NS,
    end_ns=OPEN_NS + 600_000_000_000,
    state="working",
    working=True,
)


def shown(line: AlgoLine, width: int) -> str:
    out = StringIO()
    Console(file=out, width=width).print(picture(OPEN_NS + 60_000_000_000, (line,), bar_width(width)))
    return out.getvalue()


def test_a_picture_shows_time_bar_done_target_units_market_and_share() -> None:
    text = shown(LINE, 100)
    assert "14:31:00 UTC" in text
    row = next(line for line in text.splitlines() if "POV-1" in line)
    assert row.split()[-6:] == ["5,000", "5,200", "20,000", "51,000", "9.8%", "working"]


def test_a_terminal_of_eighty_columns_still_says_that_an_order_works() -> None:
    far = msgspec.structs.replace(LINE, cl_ord_id="CLOSE-1", market_volume=Decimal(7_821_008))
    assert "working" in shown(far, 80)


@pytest.mark.parametrize("width", [100, 120])
@pytest.mark.parametrize("state", ["paused: news is out", "cancelled: kill switch", "handed to the close"])
def test_every_state_fits_a_terminal_of_a_hundred_columns(width: int, state: str) -> None:
    text = shown(msgspec.structs.replace(LINE, state=state, working=state.startswith("paused")), width)
    assert state in text
    assert max(map(len, text.splitlines())) <= 100


def test_nothing_is_drawn_where_standard_error_is_no_terminal() -> None:
    with watching() as watch:
        assert watch is None


def test_without_the_analytics_extra_the_demonstration_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analysis, "ANALYTICS_MODULES", ("a_module_that_is_not_installed",))
    costs, page = costs_of(tmp_path / "journal.sqlite")
    assert costs is None
    assert page.startswith("not written: ")
    assert analysis.INSTALL_LINE in page
    assert not (tmp_path / "tca.html").exists()
