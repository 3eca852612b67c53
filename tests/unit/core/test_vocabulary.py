"""Money, identifiers, ticks, the transition table and the two views of a status."""

import itertools
import re
import uuid
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.decimals import ZERO
from qtinfra.core.extended_models import TickBand
from qtinfra.core.ids import HEX_PAIRS, PAIRS, Heads, base36, order_id, venue_cl_ord_id
from qtinfra.core.models import (
    TRANSITIONS,
    Capacity,
    Currency,
    Money,
    Order,
    OrderSide,
    OrderStatus,
    OrderType,
    Origin,
    TimeInForce,
    fix_status,
    is_buy,
    may_become,
    minor_units,
    order_status,
    signed,
)
from tests.support.builders import dec, instrument

pytestmark = pytest.mark.unit

USD, EUR = Currency.USD, Currency.EUR
amounts = st.decimals(min_value=-(10**12), max_value=10**12, places=4)


# --- money ---


@given(amounts, amounts)
def test_money_of_one_currency_adds_and_compares_exactly(one: Decimal, other: Decimal) -> None:
    left, right = Money(one, USD), Money(other, USD)
    assert (left + right - right) == left
    assert (left + -left).amount == 0
    assert (left < right) is (one < other)
    assert (left <= right) is (one <= other)
    assert left * 3 == Money(one * 3, USD)


def test_money_of_two_currencies_neither_adds_nor_compares() -> None:
    dollars, euros = Money(dec(1), USD), Money(dec(1), EUR)
    assert dollars != euros
    for act in (
        lambda: dollars + euros,
        lambda: dollars - euros,
        lambda: dollars < euros,
        lambda: dollars <= euros,
    ):
        with pytest.raises(ValueError, match="currencies differ"):
            act()


def test_money_is_written_without_exponent_and_with_its_currency() -> None:
    assert str(Money(dec("1E+3"), USD)) == "1000 USD"
    assert str(Money(dec("12.50"), EUR)) == "12.5 EUR"


@pytest.mark.parametrize(("currency", "places"), [("USD", 2), ("JPY", 0), ("KRW", 0), ("KWD", 3), ("BHD", 3)])
def test_minor_units_follow_iso_4217(currency: str, places: int) -> None:
    assert minor_units(Currency(currency)) == places


# --- identifiers ---

numbers = st.integers(0, 2**62 - 1)


@given(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), numbers)
def test_an_order_id_is_a_uuid_of_version_8_with_the_rfc_variant(shard: int, epoch: int, seq: int) -> None:
    text = order_id(shard, epoch, seq)
    parsed = uuid.UUID(text)
    assert str(parsed) == text
    assert parsed.variant == uuid.RFC_4122
    assert (parsed.int >> 76) & 0xF == 8
    assert text[14] == "8" and text[19] in "89ab"


@given(
    st.lists(
        st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), numbers),
        min_size=2,
        max_size=20,
        unique=True,
    )
)
def test_ids_of_different_places_differ(places: list[tuple[int, int, int]]) -> None:
    assert len({order_id(*place) for place in places}) == len(places)
    assert len({venue_cl_ord_id(*place) for place in places}) == len(places)


@given(st.lists(numbers, min_size=2, max_size=20, unique=True))
def test_order_ids_of_one_epoch_sort_by_sequence(seqs: list[int]) -> None:
    assert [order_id(3, 9, seq) for seq in sorted(seqs)] == sorted(order_id(3, 9, seq) for seq in seqs)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), numbers, st.integers(0, 40)), max_size=12))
def test_ids_are_of_their_place_whatever_ids_were_made_before(
    places: list[tuple[int, int, int, int]],
) -> None:
    for shard, epoch, seq, leg in places:
        for near in (seq, max(seq - 1, 0), seq):
            whole = uuid.UUID(order_id(shard, epoch, near)).int
            assert (whole >> 112, whole >> 80 & 0xFFFFFFFF) == (shard, epoch)
            assert (whole >> 64 & 0xFFF) << 50 | whole & (1 << 50) - 1 == near
            parts = venue_cl_ord_id(shard, epoch, near, leg).split("-")
            assert [int(part, 36) for part in parts] == [shard, epoch, near, leg][: 4 if leg else 3]


@given(
    st.lists(
        st.tuples(st.integers(1, 2), st.integers(1, 2), numbers | st.integers(0, 9_000)),
        min_size=1,
        max_size=8,
    )
)
def test_an_order_and_its_child_have_the_ids_that_each_would_have_alone(
    places: list[tuple[int, int, int]],
) -> None:
    of_shards = {shard: Heads() for shard, _, _ in places}
    for shard, epoch, seq in places:
        for near in (seq, *range(max(seq - 3, 0), seq + 4), seq | 255, (seq | 255) + 1):
            alone = order_id(shard, epoch, near), venue_cl_ord_id(shard, epoch, near + 1)
            assert _served(of_shards[shard], shard, epoch, near)[0] == alone


def _served(heads: Heads, shard: int, epoch: int, seq: int) -> tuple[tuple[str, str], bool]:
    """The ids of an order and its child, and whether the heads served them as they were."""
    if heads.first <= seq < heads.end and heads.epoch == epoch:
        return (heads.order + HEX_PAIRS[seq & 255], heads.child + PAIRS[seq - heads.begin]), True
    return heads.order_and_child(shard, epoch, seq), False


def test_orders_that_follow_each_other_have_the_ids_of_their_sequences() -> None:
    heads, served = Heads(), 0
    for seq in range(4_000):
        found, at_once = _served(heads, 1, 2, seq)
        assert found == (order_id(1, 2, seq), venue_cl_ord_id(1, 2, seq + 1))
        served += at_once
    assert served > 2_600, "from where ids have all their digits on, nearly all"


def test_venue_ids_are_short_base_36_and_differ_by_leg() -> None:
    ids = [venue_cl_ord_id(1, 40, 10**9, leg) for leg in range(40)]
    assert len(ids) == len({*ids})
    assert all(re.fullmatch(r"[0-9a-z-]{1,20}", text) for text in ids)
    assert ids[0] == "1-14-gjdgxs"


@given(st.integers(0, 10**30))
def test_base_36_reads_back(number: int) -> None:
    assert int(base36(number), 36) == number
    assert base36(number) == base36(number).lower()


# --- ticks and sides ---


def test_behaviour_21_us_prices_are_cents_from_one_dollar_up_and_hundredths_of_a_cent_below() -> None:
    share = instrument()
    assert not share.on_tick(dec("10.005"))
    assert share.nearest_prices(dec("10.005")) == (dec("10.00"), dec("10.01"))
    assert share.on_tick(dec("0.9999"))
    assert not share.on_tick(dec("0.99999"))
    assert share.on_tick(dec("1.00")) and not share.on_tick(dec("1.0001"))
    assert (share.tick_at(dec("0.9999")), share.tick_at(dec(1))) == (dec("0.0001"), dec("0.01"))


def test_behaviour_21_a_band_counts_from_its_floor_on() -> None:
    banded = instrument(
        ticks=(TickBand(ZERO, dec("0.1")), TickBand(dec(10), dec("0.5")), TickBand(dec(50), dec(1)))
    )
    assert [banded.tick_at(dec(price)) for price in ("9.9", "10", "49.5", "50", "900")] == [
        dec("0.1"),
        dec("0.5"),
        dec("0.5"),
        dec(1),
        dec(1),
    ]


@given(st.integers(0, 1_000).map(lambda tenths: Decimal(tenths) / 10), st.integers(0, 2))
def test_the_same_tick_applies_from_the_first_bound_on_and_below_the_second(
    price: Decimal, further: int
) -> None:
    bands = (TickBand(ZERO, dec("0.1")), TickBand(dec(10), dec("0.5")), TickBand(dec(50), dec(1)))
    banded = instrument(ticks=bands[: 1 + further])
    low, high = banded.tick_bounds(price)
    assert low <= price < high
    for floor in (band.floor for band in banded.ticks):
        assert (banded.tick_at(floor) == banded.tick_at(price)) is (low <= floor < high)


@given(st.decimals(min_value=Decimal("0.00001"), max_value=10**6, places=5))
def test_behaviour_21_the_nearest_prices_enclose_and_lie_on_the_tick(price: Decimal) -> None:
    share = instrument()
    below, above = share.nearest_prices(price)
    assert below <= price < above
    assert share.on_tick(below)
    assert share.on_tick(above)


def test_every_sell_counts_against_the_position() -> None:
    for side in OrderSide:
        assert is_buy(side) is (side is OrderSide.BUY)
        assert signed(side, dec(5)) == (5 if side is OrderSide.BUY else -5)


# --- statuses ---


def order(**changes: object) -> Order:
    made = Order(
        order_id="O",
        account="A",
        cl_ord_id="X",
        symbol="S",
        side=OrderSide.BUY,
        order_type=OrderType.LIMIT,
        tif=TimeInForce.DAY,
        qty=dec(10),
        price=dec(5),
        min_qty=ZERO,
        capacity=Capacity.AGENCY,
        trader="",
        origin=Origin.CLIENT,
        created_ns=0,
        updated_ns=0,
        unallocated=ZERO,
        submitted_qty=dec(10),
        submitted_price=dec(5),
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_every_status_has_a_row_and_every_edge_its_reason() -> None:
    assert {*TRANSITIONS} == {*OrderStatus}
    for targets in TRANSITIONS.values():
        assert all(reason for reason in targets.values())
        assert {*targets} <= {*OrderStatus}


def test_a_rejected_order_stays_rejected_and_staying_is_always_allowed() -> None:
    assert not TRANSITIONS[OrderStatus.REJECTED]
    for status in OrderStatus:
        assert may_become(status, status)
    for status, target in itertools.product(OrderStatus, repeat=2):
        if target is OrderStatus.RECEIVED and status is not target:
            assert not may_become(status, target), "nothing becomes RECEIVED again"
    assert not may_become(OrderStatus.CANCELLED, OrderStatus.ROUTED)
    assert may_become(OrderStatus.CANCELLED, OrderStatus.FILLED), "late fills"


@pytest.mark.parametrize(
    ("status", "acked", "code"),
    [
        (OrderStatus.RECEIVED, False, "A"),
        (OrderStatus.VALIDATED, False, "A"),
        (OrderStatus.VALIDATED, True, "0"),
        (OrderStatus.ROUTED, False, "A"),
        (OrderStatus.ROUTED, True, "0"),
        (OrderStatus.PARTIALLY_FILLED, True, "1"),
        (OrderStatus.FILLED, True, "2"),
        (OrderStatus.DONE_FOR_DAY, True, "3"),
        (OrderStatus.CANCELLED, True, "4"),
        (OrderStatus.PENDING_CANCEL, True, "6"),
        (OrderStatus.STOPPED, True, "7"),
        (OrderStatus.REJECTED, True, "8"),
        (OrderStatus.SUSPENDED, True, "9"),
        (OrderStatus.UNKNOWN, False, "A"),
        (OrderStatus.UNKNOWN, True, "0"),
        (OrderStatus.EXPIRED, True, "C"),
        (OrderStatus.PENDING_REPLACE, True, "E"),
    ],
)
def test_the_fix_view_of_each_status(status: OrderStatus, acked: bool, code: str) -> None:
    assert fix_status(order(status=status, acked=acked)) == code


@pytest.mark.parametrize(
    ("facts", "code"), [({"cum_qty": dec(3)}, "1"), ({"suspended": True}, "9"), ({"stopped": True}, "7")]
)
def test_while_unknown_the_fix_view_is_the_last_one_known(facts: dict[str, object], code: str) -> None:
    assert fix_status(order(status=OrderStatus.UNKNOWN, acked=True, **facts)) == code


def test_unknown_ranks_below_filled_and_above_what_is_merely_open() -> None:
    doubtful = order(unknown_children=1, cum_qty=dec(3))
    assert order_status(doubtful) is OrderStatus.UNKNOWN
    doubtful.cum_qty = dec(10)
    assert order_status(doubtful) is OrderStatus.FILLED


def test_a_closed_order_has_nothing_left_and_an_overfilled_one_neither() -> None:
    assert order(cum_qty=dec(4)).leaves_qty == 6
    assert order(cum_qty=dec(4), closed=OrderStatus.CANCELLED).leaves_qty == 0
    assert order(cum_qty=dec(12)).leaves_qty == 0
