"""Long-lived objects leave the garbage collector's sight, and nothing else changes."""

import gc
from collections.abc import Iterator

import pytest

from qtinfra.infra.heap import THRESHOLDS, LongLivedHeap, prepare_heap
from qtinfra.infra.hugepages import LargePages

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_the_heap_is_frozen_once_enough_commands_were_decided() -> None:
    gc.unfreeze()
    heap = LongLivedHeap(freeze_every=10)
    kept = [[number] for number in range(1_000)]
    heap.note(9)
    assert gc.get_freeze_count() == 0
    heap.note(1)
    assert gc.get_freeze_count() >= len(kept)


def test_every_so_many_commands_a_piece_goes_to_large_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[None] = []
    monkeypatch.setattr(LargePages, "move_next", lambda _: moved.append(None))
    heap = LongLivedHeap(move_every=10)
    for _ in range(5):
        heap.note(5)
    assert len(moved) == 2


def test_a_prepared_heap_is_frozen_and_has_the_thresholds() -> None:
    prepare_heap()
    assert gc.get_threshold() == THRESHOLDS
    assert gc.get_freeze_count() > 0
