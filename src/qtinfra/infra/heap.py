"""The garbage collector of a process that keeps what it makes.

A shard's orders live for days, and a collector that walks them again and again finds nothing and holds
everybody up: a full pass over a million orders takes a good part of a second. Here what has outlived some
frames is moved out of the collector's sight (`gc.freeze`), which costs the same however much there is.
Reference counting still frees it; only a cycle that was garbage at just that moment stays. A young pass goes
before, and what it walks is mostly orders under way, as many after 16,000 commands as after 4,000: so it
comes seldom. What stays goes to large pages, 2 MB at a time (`infra.hugepages`).
"""

from __future__ import annotations

import gc

from qtinfra.infra.hugepages import LargePages

#: Objects made before a young pass, young passes before a middle one, middle ones before a full one.
THRESHOLDS = (10_000, 20, 1_000)
#: Commands between two freezes, and between two moves to a large page.
FREEZE_EVERY = 16_384
MOVE_EVERY = 4_096


class LongLivedHeap:
    """Keeps full passes away: freezes what is there every so many commands, and moves it to large pages.

    Args:
        freeze_every, move_every: commands between two freezes, and between two moves of 2 MB.
    """

    def __init__(self, freeze_every: int = FREEZE_EVERY, move_every: int = MOVE_EVERY) -> None:
        self._freeze_every, self._move_every = freeze_every, move_every
        self._unfrozen = self._unmoved = 0
        self._pages = LargePages()

    def note(self, commands: int) -> None:
        """So many commands were decided; freezes and moves when it is time."""
        self._unfrozen += commands
        self._unmoved += commands
        if self._unmoved >= self._move_every:
            self._unmoved = 0
            self._pages.move_next()
        if self._unfrozen >= self._freeze_every:
            self._unfrozen = 0
            gc.collect(0)
            gc.freeze()


def prepare_heap() -> None:
    """For whoever starts the process: collect, freeze what is there, and set the thresholds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
