"""Orders and positions of a server as tables: what a terminal has room for, and how figures are written."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from rich.console import Console

from qtinfra.cli.live_tables import orders_table, positions_table, show_order
from qtinfra.client import Order, OrderDetail, Position

FILLED = {
    "id": "00000000-0001-8000-8000-00000000006f",
    "status": "PARTIALLY_FILLED",
    "symbol": "AAPL",
    "side": "BUY",
    "quantity": "1000",
    "price": "210.25",
    "order_type": "LIMIT",
    "created_at": "2026-11-24T00:33:42.600028Z",
    "client_order_id": "a1",
    "account_id": "ACC-1",
    "time_in_force": "DAY",
    "min_quantity": "0",
    "capacity": "AGENCY",
    "trader": "",
    "filled_quantity": "337",
    "remaining_quantity": "663",
    "average_price": "210.17985163",
    "updated_at": "2026-11-24T00:33:44Z",
    "version": 9,
    "routing_decision": None,
}


def printed(width: int, *, whole_ids: bool = True) -> Sequence[str]:
    order = msgspec.convert(FILLED, Order, strict=False)
    out = Console(file=io.StringIO(), width=width)
    out.print(orders_table(out, [order], whole_ids=whole_ids))
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert all(len(line) <= width for line in lines)
    assert not any("…" in line for line in lines)
    return [" ".join(line.split()) for line in lines]


def test_a_wide_terminal_has_every_column_of_an_order() -> None:
    heading, _, row = printed(130)
    assert heading == "id status symbol side quantity filled average price created"
    assert row == (
        "00000000-0001-8000-8000-00000000006f PARTIALLY_FILLED AAPL BUY 1000 337 210.1799 210.25 00:33:42"
    )


@pytest.mark.parametrize("width", [110, 100, 90, 84])
def test_a_narrower_terminal_gets_fewer_columns_and_whole_ids(width: int) -> None:
    heading, _, row = printed(width)
    assert heading.startswith("id status symbol side quantity")
    assert "created" not in heading
    assert row.startswith("00000000-0001-8000-8000-00000000006f PARTIALLY_FILLED AAPL BUY 1000")


def test_the_live_view_shows_how_ids_end_before_it_goes_without_prices() -> None:
    heading, _, row = printed(100, whole_ids=False)
    assert heading == "id ends status symbol side quantity filled average price created"
    assert row == "0000006f PARTIALLY_FILLED AAPL BUY 1000 337 210.1799 210.25 00:33:42"
    assert printed(84, whole_ids=False)[2] == "0000006f PARTIALLY_FILLED AAPL BUY 1000 337 210.1799 210.25"


def test_reckoned_figures_of_a_position_are_rounded_for_people() -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    position = Position(
        account_id="ACC-1",
        symbol="AAPL",
        currency="USD",
        quantity=Decimal(337),
        average_cost=Decimal("210.17985163"),
        realised_pnl=Decimal(-1_234),
        fees=Decimal("0.8086"),
        mark_price=Decimal("210.525"),
        unrealised_pnl=Decimal("116.31500069"),
        updated_at=now,
    )
    out = Console(file=io.StringIO(), width=100)
    out.print(positions_table([position]))
    row = out.file.getvalue().splitlines()[2]  # type: ignore[attr-defined]
    assert row.split() == [
        "ACC-1",
        "AAPL",
        "337",
        "210.1799",
        "210.5250",
        "-1,234.00",
        "116.32",
        "0.81",
        "USD",
    ]


@pytest.mark.parametrize(
    ("terms", "shown", "told"),
    [
        ({"order_type": "MARKET"}, "market", None),
        ({"order_type": "STOP", "stop_price": "205"}, "stop 205", "stop price 205"),
        ({"order_type": "TRAILING_STOP", "trail_amount": "0.5"}, "trail 0.5", "trail amount 0.5"),
        (
            {"order_type": "PEGGED", "peg": {"type": "PRIMARY", "offset": "0.05"}},
            "pegged",
            "peg type PRIMARY, offset 0.05",
        ),
        (
            {"price": "431", "display_quantity": "200", "expire_at": "2026-11-24T20:00:00Z"},
            "431",
            "display quantity 200 expire at 2026-11-24T20:00:00Z",
        ),
    ],
)
def test_an_order_shows_its_limit_or_what_sets_it_off_and_its_special_terms(
    terms: dict[str, object], shown: str, told: str | None
) -> None:
    order = msgspec.convert({**FILLED, "price": None, **terms}, OrderDetail, strict=False)
    out = Console(file=io.StringIO(), width=130)
    show_order(out, order)
    lines = [" ".join(line.split()) for line in out.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert lines[2].endswith(f" 210.1799 {shown} 00:33:42")
    assert lines[4:] == ([told] if told else [])
