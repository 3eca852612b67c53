"""Disk space that is held back for the day the disk is full: cancels and kills are still journaled from it.

A file of its own beside the journal takes the space. When an append finds no room, the file is removed and
the append is done again; from then on the journal is `on_reserve`, and whoever feeds it refuses new orders.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from qtinfra.core.exceptions import JournalError
from qtinfra.journal.disk import Disk

#: Bytes that hold 10,000 cancels, one record each, with room to spare (a cancel's record is below 400 bytes).
RESERVE_BYTES = 8 << 20


class Reserve:
    """Holds space, and lets it go once.

    Args:
        disk: where the journal lives.
        path: the file that takes the space.
        size: bytes; 0 holds nothing.
    """

    def __init__(self, disk: Disk, path: Path, size: int) -> None:
        if size < 0:
            raise ValueError(f"a reserve has no negative size: {size}")
        self._disk = disk
        self._path = path
        self._size = size
        self.used = False

    def hold(self) -> None:
        """Take the space, if it is not held already. On a disk that is full now, the reserve counts as used.

        Raises:
            JournalError: the disk refused for another reason.
        """
        if not self._size:
            return
        try:
            if not self._disk.exists(self._path) or self._disk.size(self._path) < self._size:
                self._disk.replace(self._path, bytes(self._size))
            self.used = False
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise JournalError(f"cannot hold a reserve at {self._path}: {error}") from error
            self.used = True

    def release(self) -> bool:
        """Give the space back; false when there is none to give.

        Raises:
            OSError: the disk refused.
        """
        if self.used or not self._size or not self._disk.exists(self._path):
            return False
        self._disk.remove(self._path)
        self.used = True
        return True


def no_space(error: OSError) -> bool:
    """Whether the disk, or the quota, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def reserve_path(journal: str | os.PathLike[str]) -> Path:
    """The reserve's file of a journal."""
    place = Path(journal)
    return place.with_name(f"{place.name}.reserve")
