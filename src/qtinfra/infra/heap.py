"""The garbage collector of a process that keeps what it makes.

A shard's orders live for days, and a collector that walks them again and again finds nothing and holds
everybody up: a full pass over a million orders takes a good part of a second. Here what has outlived a few
frames is moved out of the collector's sight (`gc.freeze`), which costs the same however much there is.
Reference counting still frees it; only a cycle that was garbage at just that moment stays. What stays goes to
large pages, 2 MB at a time (`infra.hugepages`).
"""

from __future__ import annotations

import gc

from qtinfra.infra.hugepages import LargePages

#: Objects made before a young pass, young passes before a middle one, middle ones before a full one.
THRESHOLDS = (10_000, 20, 1_000)
#: Commands between two freezes.
FREEZE_EVERY = 4_096


class LongLivedHeap:
    """Keeps full passes away: freezes what is there every so many commands, and moves 2 MB of it.

    Args:
        every: commands between two freezes.
    """

    def __init__(self, every: int = FREEZE_EVERY) -> None:
        self._every = every
        self._since = 0
        self._pages = LargePages()

    def note(self, commands: int) -> None:
        """So many commands were decided; freezes when it is time."""
        self._since += commands
        if self._since >= self._every:
            self._since = 0
            gc.collect(0)
            gc.freeze()
            self._pages.move_next()


def prepare_heap() -> None:
    """For whoever starts the process: collect, freeze what is there, and set the thresholds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
