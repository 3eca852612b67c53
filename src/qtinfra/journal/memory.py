"""A journal in memory: the log over a `MemoryDisk`, for simulation, backtests and tests."""

from __future__ import annotations

from qtinfra.journal.disk import MemoryDisk
from qtinfra.journal.log import LogJournal


class MemoryJournal(LogJournal):
    """`LogJournal` on a disk in memory. `fresh` makes one on a disk of its own."""

    @classmethod
    def fresh(cls, *, shard: int = 0, owner: str = "") -> MemoryJournal:
        """An empty journal on an empty disk, open for writing."""
        return cls.open("journal", shard=shard, owner=owner, disk=MemoryDisk())

    @property
    def disk(self) -> MemoryDisk:
        """The disk it stands on: crash it, then `MemoryJournal.open("journal", disk=journal.disk)`."""
        if not isinstance(self._disk, MemoryDisk):
            raise TypeError("a journal in memory stands on a MemoryDisk")
        return self._disk
