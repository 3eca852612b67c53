"""The indexes of packed orders name every row that was put in, whatever else is there."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.engine.keyindex import KeyIndex, SeqIndex, client_hash, venue_hash

pytestmark = pytest.mark.unit

hashes = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1, 5 << 18, 6 << 18])


@given(st.lists(st.tuples(hashes, st.integers(0, 2**28 - 2)), max_size=200))
def test_every_row_that_was_put_in_under_a_hash_is_found_and_survives_being_written(
    pairs: list[tuple[int, int]],
) -> None:
    index = KeyIndex()
    expected: dict[int, list[int]] = defaultdict(list)
    for key, row in pairs:
        index.add([key], row)
        expected[key].append(row)
    read = KeyIndex.load(index.dump())
    for key, rows in expected.items():
        assert set(rows) <= set(index.rows(key))
        assert list(read.rows(key)) == list(index.rows(key))
    assert read.dump() == index.dump()


def test_a_hundred_thousand_keys_are_found_each_by_its_own_row_and_others_by_none() -> None:
    index = KeyIndex()
    for number in range(100_000):
        index.add([client_hash("alpha", f"O{number}")], number)
    for number in range(0, 100_000, 97):
        assert list(index.rows(client_hash("alpha", f"O{number}"))) == [number]
        assert list(index.rows(client_hash("beta", f"O{number}"))) == []


def test_ids_that_count_up_spread_over_the_parts() -> None:
    index = KeyIndex()
    for number in range(50_000):
        index.add([venue_hash(f"XNAS|S1|2024-01-08|E{number}")], number)
    used = [part[1] for part in index.dump()]
    assert len(used) == 1_024
    assert max(used) < 4 * 50_000 // 1_024


def test_an_account_and_an_id_do_not_run_together() -> None:
    assert client_hash("ab", "c") != client_hash("a", "bc")


@given(
    st.dictionaries(st.integers(0, 20_000), st.integers(0, 2**28 - 2), max_size=60), st.integers(0, 20_000)
)
def test_a_sequence_names_the_row_that_was_put_there_last(rows: dict[int, int], other: int) -> None:
    index = SeqIndex()
    for seq, row in rows.items():
        index.put(seq, 0)
        index.put(seq, row)
    read = SeqIndex.load(index.dump())
    for seq in (*rows, other):
        assert index.row(seq) == read.row(seq) == rows.get(seq)
