"""Memory that stays, on pages of 2 MB.

A shard with many accounts finds nearly every order's figures cold, in memory that no page table entry at hand
leads to: with pages of 4 kB the processor walks the tables for each of them. Linux can move what lies on 512
small pages to a large one (`MADV_COLLAPSE`, from 6.1 on), which takes a millisecond or two and changes
nothing else. Elsewhere, and where the kernel refuses, nothing happens.
"""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

#: Size of a large page; they begin at multiples of it.
LARGE = 1 << 21

_MAPS = Path("/proc/self/maps")
#: `MADV_COLLAPSE` of <linux/mman.h>.
_COLLAPSE = 25


def large_pages(maps: Iterable[str]) -> Iterator[int]:
    """Addresses at which a large page fits into memory that a process writes to and shares with no file.

    Args:
        maps: lines of /proc/self/maps.
    """
    for line in maps:
        span, rights, _, _, _, *name = line.split()
        if rights == "rw-p" and name in ([], ["[heap]"]):
            begin, end = (int(address, 16) for address in span.split("-"))
            yield from range((begin + LARGE - 1) // LARGE * LARGE, end - LARGE + 1, LARGE)


class LargePages:
    """Moves the process's memory to large pages, one at a time: each is tried once."""

    def __init__(self) -> None:
        self._tried: dict[int, bool] = {}
        self._waiting: deque[int] = deque()
        self._works = sys.platform == "linux" and _MAPS.exists()

    def move_next(self) -> bool:
        """Move what is on the next 2 MB; whether there was any to be tried."""
        if not self._works:
            return False
        if not self._waiting:
            with _MAPS.open() as maps:
                self._waiting += [page for page in large_pages(maps) if page not in self._tried]
        if not self._waiting:
            return False
        page = self._waiting.popleft()
        self._tried[page] = _collapse(page)
        return True


def _collapse(page: int) -> bool:
    """Whether the kernel moved it: it may be unmapped by now, or never written to."""
    madvise = ctypes.CDLL(None).madvise
    return not madvise(ctypes.c_void_p(page), ctypes.c_size_t(LARGE), _COLLAPSE)
