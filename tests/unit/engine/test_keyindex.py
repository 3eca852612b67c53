"""The index of packed orders names every row that was put in, whatever else is there."""

from collections import defaultdict
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.engine.keyindex import MAX_ROWS, KeyIndex, salt_of

pytestmark = pytest.mark.unit

rows = st.integers(0, MAX_ROWS - 1) | st.sampled_from([0, 1, 256, MAX_ROWS - 1])


def colliding(count: int) -> list[str]:
    """Client ids of one CRC-32: it is linear, so what changes it by nothing can be put into any of them."""
    base, rows = crc32(b"alpha" + b"0" * 24), []
    for bit in range(48):
        text = bytearray(b"0" * 24)
        text[bit // 2] ^= 1 << bit % 2
        rows.append((crc32(b"alpha" + text) ^ base, 1 << bit))
    kernel: list[int] = []
    pivots: dict[int, tuple[int, int]] = {}
    for changed, bits in rows:
        value, mask = changed, bits
        while value and value.bit_length() in pivots:
            other = pivots[value.bit_length()]
            value, mask = value ^ other[0], mask ^ other[1]
        if value:
            pivots[value.bit_length()] = (value, mask)
        else:
            kernel.append(mask)
    found = []
    for choice in range(count):
        mask = 0
        for place, part in enumerate(kernel):
            mask ^= part if choice >> place & 1 else 0
        text = bytearray(b"0" * 24)
        for bit in range(48):
            text[bit // 2] ^= (mask >> bit & 1) << bit % 2
        found.append(text.decode())
    return found


#: Ids of one hash beside others, so that chains fill up.
COLLIDING = colliding(40)
ids = st.sampled_from(COLLIDING) | st.sampled_from("abc") | st.text(max_size=3)


@given(st.lists(st.tuples(st.lists(ids, max_size=20), rows), max_size=20), ids)
def test_an_id_names_the_rows_that_were_noted_for_it_in_their_order_and_survives_being_written(
    noted: list[tuple[list[str], int]], other: str
) -> None:
    index = KeyIndex()
    expected: dict[str, list[int]] = defaultdict(list)
    for texts, row in noted:
        index.add_ids([f"alpha{text}" for text in texts], row)
        for text in texts:
            expected[text].append(row)
    read = KeyIndex(index.dump())
    for text in (*expected, other):
        found = list(index.rows_of(f"alpha{text}"))
        of_it = iter(found)
        assert all(row in of_it for row in expected.get(text, [])), "all of its rows, in their order"
        if text not in COLLIDING:
            assert found == expected.get(text, [])
        assert (
            found
            == list(read.rows_of(f"alpha{text}"))
            == list(index.rows_of_client("alpha", text, salt_of("alpha")))
        )
    assert read.dump() == index.dump()


def test_a_hundred_thousand_ids_are_found_each_by_its_own_row_and_others_by_none() -> None:
    index = KeyIndex()
    for number in range(100_000):
        index.add_ids([f"alphaO{number}", f"0-1-{number}"], number)
    for number in range(0, 100_000, 97):
        assert list(index.rows_of_client("alpha", f"O{number}", salt_of("alpha"))) == [number]
        assert list(index.rows_of_client("beta", f"O{number}", salt_of("beta"))) == []
        assert list(index.rows_of(f"0-1-{number}")) == [number]
        assert list(index.rows_of(f"0-2-{number}")) == []


@pytest.mark.parametrize("pattern", ["XNAS|S1|2024-01-08|E{}", "0-1-{}", "00000000-0001-8000-8000-{:012x}"])
def test_ids_that_count_up_spread_over_the_slots(pattern: str) -> None:
    slots: dict[int, int] = defaultdict(int)
    for number in range(200_000):
        slots[crc32(pattern.format(number).encode()) >> 10] += 1
    assert len(slots) > 180_000
    assert max(slots.values()) < 8


@pytest.mark.parametrize("together", [1, 3, 1_000])
def test_ids_of_one_hash_leave_a_few_rows_to_read_however_many_are_noted_together(together: int) -> None:
    names, index = colliding(1_000), KeyIndex()
    texts = [f"alpha{name}" for name in names]
    assert len(set(texts)) == 1_000
    assert len({crc32(text.encode()) for text in texts}) == 1
    for at in range(0, len(texts), together):
        index.add_ids(texts[at : at + together], at)
    read = KeyIndex(index.dump())
    for number, name in enumerate(names):
        found = index.rows_of_client("alpha", name, salt_of("alpha"))
        assert number - number % together in found
        assert list(read.rows_of_client("alpha", name, salt_of("alpha"))) == list(found)
        assert len(found) <= 10


def test_ids_after_a_full_slot_was_written_and_read_are_noted_elsewhere_too() -> None:
    names, index = colliding(100), KeyIndex()
    for row, name in enumerate(names[:50]):
        index.add_ids([f"alpha{name}"], row)
    index = KeyIndex(index.dump())
    for row, name in enumerate(names[50:], 50):
        index.add_ids([f"alpha{name}"], row)
    for row, name in enumerate(names):
        found = index.rows_of_client("alpha", name, salt_of("alpha"))
        assert row in found
        assert len(found) <= 10


def test_what_is_written_stands_in_the_order_of_noting() -> None:
    index = KeyIndex()
    assert KeyIndex(index.dump()).dump() == index.dump()
    for row in (7, 3):
        index.add_ids(["a", "b"], row)
    numbers = [memoryview(written).cast("I").tolist() for written in index.dump()]
    of_a, of_b = crc32(b"a"), crc32(b"b")
    assert numbers == [[0, of_a, of_b, of_a, of_b], [0, 0, 0, 1, 2], [7, 3], [1, 3]]
