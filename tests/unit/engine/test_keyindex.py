"""The index of packed orders names every row that was put in, whatever else is there."""

from collections import defaultdict
from itertools import pairwise
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.engine.keyindex import MAX_ROWS, Key, KeyIndex, client_text, strong_key

pytestmark = pytest.mark.unit

#: Few buckets and few bytes, so that tags repeat and stand across the borders of entries.
keys = st.tuples(st.integers(0, 2) | st.just(16_383), st.binary(min_size=4, max_size=4)) | st.tuples(
    st.just(7), st.lists(st.sampled_from([0, 1]), min_size=4, max_size=4).map(bytes)
)
rows = st.integers(0, MAX_ROWS - 1) | st.sampled_from([0, 1, 256, 257, 0x01010101, 0x01000000])


@given(st.lists(st.tuples(keys, rows), max_size=200), keys)
def test_a_hash_names_the_rows_that_were_put_in_under_it_and_no_others_and_survives_being_written(
    pairs: list[tuple[Key, int]], other: Key
) -> None:
    index = KeyIndex()
    expected: dict[Key, list[int]] = defaultdict(list)
    for key, row in pairs:
        index.add(key, row)
        expected[key].append(row)
    read = KeyIndex(index.dump())
    for key in (*expected, other):
        assert list(index.rows(key)) == list(read.rows(key)) == expected.get(key, [])
    assert read.dump() == index.dump()


def test_a_hundred_thousand_ids_are_found_each_by_its_own_row_and_others_by_none() -> None:
    index = KeyIndex()
    for number in range(100_000):
        index.add_ids([client_text("alpha", f"O{number}")], number)
        index.add_ids([f"0-1-{number}"], number)
    for number in range(0, 100_000, 97):
        assert list(index.rows_of_client("alpha", f"O{number}")) == [number]
        assert list(index.rows_of_client("beta", f"O{number}")) == []
        assert list(index.rows_of(f"0-1-{number}")) == [number]
        assert list(index.rows_of(f"0-2-{number}")) == []


@pytest.mark.parametrize("pattern", ["XNAS|S1|2024-01-08|E{}", "0-1-{}", "00000000-0001-8000-8000-{:012x}"])
def test_ids_that_count_up_spread_over_the_buckets(pattern: str) -> None:
    index = KeyIndex()
    index.add_ids([pattern.format(number) for number in range(50_000)], 1)
    sizes = [len(entries) // 8 for _, entries in index.dump()]
    assert sum(sizes) == 50_000
    assert len(sizes) > 14_000
    assert max(sizes) < 24


def colliding(count: int) -> list[str]:
    """Client ids of one CRC-32: it is linear, so what changes it by nothing can be put into any of them."""
    base, rows = crc32(b"alpha\0" + b"0" * 24), []
    for bit in range(48):
        text = bytearray(b"0" * 24)
        text[bit // 2] ^= 1 << bit % 2
        rows.append((crc32(b"alpha\0" + text) ^ base, 1 << bit))
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


def test_client_ids_made_to_collide_leave_a_few_rows_to_read_each() -> None:
    names, index = colliding(2_000), KeyIndex()
    texts = [client_text("alpha", name) for name in names]
    assert len(set(texts)) == 2_000
    assert len({crc32(text.encode()) for text in texts}) == 1
    for row, text in enumerate(texts):
        index.add_ids([text], row)
    read = KeyIndex(index.dump())
    for row, name in enumerate(names):
        found = index.rows_of_client("alpha", name)
        assert row in found
        assert list(read.rows_of_client("alpha", name)) == list(found)
        assert len(found) <= 6
    assert max(len(entries) for _, entries in index.dump()) < 100


def test_ids_of_a_full_bucket_are_noted_elsewhere_and_found() -> None:
    index, text = KeyIndex(), client_text("alpha", "X")
    hashed = crc32(text.encode())
    for row in range(2_100):
        index.add((hashed >> 18, b"full"), row)
    assert list(index.rows_of_client("alpha", "X")) == []
    index.add((hashed >> 18, bytes([0, hashed >> 8 & 0b11111100, *hashed.to_bytes(4, "little")[2:]])), 5)
    index.add_ids([text], 7)
    for each in (index, KeyIndex(index.dump())):
        assert list(each.rows_of_client("alpha", "X")) == list(each.rows(strong_key(text))) == [7]
    index.add_ids([client_text("alpha", "Y")], 8)
    assert list(index.rows(strong_key(client_text("alpha", "Y")))) == []


def test_a_full_bucket_that_was_read_has_its_new_ids_noted_elsewhere_and_found() -> None:
    index, text = KeyIndex(), client_text("alpha", "X")
    for row in range(2_100):
        index.add((crc32(text.encode()) >> 18, b"full"), row)
    read = KeyIndex(index.dump())
    for each in (index, read):
        each.add_ids([text], 7)
        assert 7 in each.rows_of_client("alpha", "X")
        assert 7 in KeyIndex(each.dump()).rows_of_client("alpha", "X")


def test_an_account_and_an_id_do_not_run_together() -> None:
    assert client_text("ab", "c") != client_text("a", "bc")


@pytest.mark.parametrize("together", [1, 3, 1_000])
def test_ids_of_one_hash_leave_a_few_rows_to_read_however_many_are_noted_together(together: int) -> None:
    names, index = [f"alpha\0{name}" for name in colliding(1_000)], KeyIndex()
    for at in range(0, len(names), together):
        index.add_ids(names[at : at + together], at)
    for number, name in enumerate(names):
        found = index.rows_of(name)
        assert number - number % together in found
        assert len(found) <= 6


def test_what_is_written_stands_in_the_order_of_the_buckets() -> None:
    index = KeyIndex()
    index.add_ids([str(number) for number in range(1_000)], 1)
    assert all(one[0] < other[0] for one, other in pairwise(index.dump()))
    assert KeyIndex().dump() == []
