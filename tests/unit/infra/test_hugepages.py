"""Which memory goes to large pages, and that each of them is tried once."""

import pytest

from qtinfra.infra import hugepages
from qtinfra.infra.hugepages import LARGE, LargePages, large_pages

pytestmark = pytest.mark.unit

MAPS = [
    "00400000-00c00000 rw-p 00000000 00:00 0                                  [heap]",
    "00d00000-01300000 rw-p 00000000 00:00 0 ",
    "01400000-01500000 rw-p 00000000 00:00 0 ",
    "02000000-02400000 r--p 00000000 00:00 0 ",
    "03000000-03400000 rw-s 00000000 00:01 12                                 /dev/zero",
    "04000000-04400000 rw-p 00000000 fe:00 34                                 /usr/lib/libpython3.11.so.1.0",
    "7ffc00000000-7ffc00800000 rw-p 00000000 00:00 0                          [stack]",
]


def test_large_pages_are_whole_ones_of_the_heap_and_of_memory_without_a_file() -> None:
    assert [page // LARGE for page in large_pages(MAPS)] == [2, 3, 4, 5, 7, 8]


def test_each_page_is_tried_once_whatever_came_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def collapse(page: int) -> bool:
        tried.append(page)
        return page % (2 * LARGE) == 0

    pages = LargePages()
    if not pages.move_next():
        pytest.skip("no Linux")
    monkeypatch.setattr(hugepages, "_collapse", collapse)
    monkeypatch.setattr(hugepages, "large_pages", lambda _: iter([LARGE, 2 * LARGE]))
    pages = LargePages()
    assert [pages.move_next() for _ in range(4)] == [True, True, False, False]
    assert tried == [LARGE, 2 * LARGE]
    monkeypatch.setattr(hugepages, "large_pages", lambda _: iter([LARGE, 3 * LARGE]))
    assert pages.move_next()
    assert tried == [LARGE, 2 * LARGE, 3 * LARGE]


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(hugepages, "_collapse", lambda _: pytest.fail("asked"))
    assert not LargePages().move_next()


def test_what_was_written_is_what_is_read_after_it_has_moved() -> None:
    kept = [[number, str(number)] for number in range(200_000)]
    pages = LargePages()
    for _ in range(8):
        pages.move_next()
    assert kept == [[number, str(number)] for number in range(200_000)]
