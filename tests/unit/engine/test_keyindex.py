"""The index of packed orders names every row that was put in, whatever else is there."""

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.engine.keyindex import MAX_ROWS, Key, KeyIndex, client_key, id_key

pytestmark = pytest.mark.unit

#: Few buckets and few bytes, so that tags repeat and stand across the borders of entries.
keys = st.tuples(st.integers(0, 2) | st.just(65_535), st.binary(min_size=4, max_size=4)) | st.tuples(
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
        index.add(client_key("alpha", f"O{number}"), number)
    index.add_ids([f"0-1-{number}" for number in range(100_000)], range(100_000))
    for number in range(0, 100_000, 97):
        assert list(index.rows(client_key("alpha", f"O{number}"))) == [number]
        assert list(index.rows(client_key("beta", f"O{number}"))) == []
        assert list(index.rows(id_key(f"0-1-{number}"))) == [number]
        assert list(index.rows_of(f"0-1-{number}")) == [number]
        assert list(index.rows_of(f"0-2-{number}")) == []


@pytest.mark.parametrize("pattern", ["XNAS|S1|2024-01-08|E{}", "0-1-{}", "00000000-0001-8000-8000-{:012x}"])
def test_ids_that_count_up_spread_over_the_buckets(pattern: str) -> None:
    index = KeyIndex()
    index.add_ids([pattern.format(number) for number in range(50_000)], range(50_000))
    sizes = [len(entries) // 8 for _, entries in index.dump()]
    assert sum(sizes) == 50_000
    assert len(sizes) > 20_000
    assert max(sizes) < 16


def test_an_account_and_an_id_do_not_run_together() -> None:
    assert client_key("ab", "c") != client_key("a", "bc")


def test_what_is_written_stands_in_the_order_of_the_buckets() -> None:
    index = KeyIndex()
    index.add_ids([str(number) for number in range(1_000)], range(1_000))
    assert all(one[0] < other[0] for one, other in pairwise(index.dump()))
    assert KeyIndex().dump() == []
