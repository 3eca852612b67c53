"""Which entries a chain seals: the next one, of its own shard and epoch, with events; others move nothing."""

from typing import Any

import msgspec
import pytest

from qtinfra.core.exceptions import JournalError
from qtinfra.journal.codec import GENESIS, Chain, FrameError, decode_frame, encode_frame
from qtinfra.testing.journal_contract import sample_entries

pytestmark = pytest.mark.unit


def test_a_new_chain_stands_at_the_beginning() -> None:
    chain = Chain(3)
    assert (chain.shard, chain.epoch, chain.seq, chain.hash) == (3, 0, 0, GENESIS)


@pytest.mark.parametrize(
    "change", [{"shard": 1}, {"epoch": 2}, {"seq": 2}, {"seq": 0}, {"events": ()}], ids=str
)
def test_an_entry_out_of_place_is_refused_with_what_was_expected(change: dict[str, Any]) -> None:
    chain = Chain(0, epoch=1)
    entry = msgspec.structs.replace(sample_entries(1)[0], **change)
    with pytest.raises(JournalError, match=r"sequence 1 of shard 0, epoch 1, is next") as refused:
        chain.seal([entry])
    expected = {"seq": entry.seq, "expected_seq": 1, "epoch": entry.epoch, "expected_epoch": 1}
    assert refused.value.context == expected
    assert (chain.seq, chain.hash) == (0, GENESIS)


def test_a_second_entry_that_does_not_follow_the_first_is_refused_and_the_chain_has_not_moved() -> None:
    chain = Chain(0, epoch=1)
    first, second = sample_entries(2)
    late = msgspec.structs.replace(second, seq=second.seq + 1)
    with pytest.raises(JournalError, match=f"sequence {second.seq} of shard 0"):
        chain.seal([first, late])
    assert (chain.seq, chain.hash) == (0, GENESIS)
    chain.seal([first, second])
    assert chain.seq == second.last_seq


@pytest.mark.parametrize("damage", [b"XXXX", b"QTJ1", b"QTJ1\x90"])
def test_bytes_that_are_no_frame_are_refused_in_words(damage: bytes) -> None:
    with pytest.raises(FrameError, match="not a frame in its written form"):
        decode_frame(damage)
    whole = encode_frame(Chain(0, epoch=1).seal(sample_entries(1)))
    with pytest.raises(FrameError, match="not a frame in its written form"):
        decode_frame(whole + b"\x00")
