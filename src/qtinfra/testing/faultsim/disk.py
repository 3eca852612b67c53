"""A disk that fails on command: at a write or sync it refuses, writes short, fills up or loses power."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import msgspec

from qtinfra.journal.disk import MemoryAppendFile, MemoryDisk, _Image
from qtinfra.testing.faultsim.eventloop import PowerCut


class DiskFault(StrEnum):
    """What a disk does wrong.

    EIO_WRITE, EIO_SYNC: it refuses, once; after a refused sync the pages it concerned are gone. SHORT: it
    writes a part and refuses. FULL: from then on there is only the space that files give back, until `free`.
    POWER: the machine stops before the operation, TORN in the middle of a write, AFTER right after it.
    """

    EIO_WRITE = "eio_write"
    EIO_SYNC = "eio_sync"
    SHORT = "short"
    FULL = "full"
    POWER = "power"
    TORN = "torn"
    AFTER = "after"


class Armed(msgspec.Struct, frozen=True):
    """A fault that waits for its moment: the `left`-th operation from now; `whim` chooses among parts."""

    fault: DiskFault
    left: int
    whim: int


class FaultDisk(MemoryDisk):
    """`MemoryDisk` with faults that are armed one at a time.

    Attributes:
        capacity: most bytes that all files may have together; None for as many as there are.
        torn: of a power cut, how much of the unsynced bytes of a file reach the disk nevertheless.
        on_durable: told of every file whose content has become durable.
        struck: faults that came to pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.armed: Armed | None = None
        self.capacity: int | None = None
        self._lost: dict[str, bool] = {}
        self.torn = 0
        self.on_durable: Callable[[Path], None] = lambda _: None
        self.struck: list[DiskFault] = []

    def arm(self, fault: DiskFault, after: int, whim: int) -> None:
        """Let a fault happen at a write or sync to come: 0 is the next one."""
        if self.armed is None:
            self.armed = Armed(fault, after, whim)

    def free(self) -> None:
        """Space again, and no fault waits."""
        self.capacity = None
        self.armed = None

    def durable_size(self, path: Path) -> int:
        """How many bytes of a file would survive a power cut now."""
        image = self._images.get(str(path))
        return len(image.durable) if image is not None else 0

    def durable_bytes(self, path: Path, start: int = 0) -> bytes:
        """What would survive, from a byte on."""
        image = self._images.get(str(path))
        return bytes(memoryview(image.durable)[start:]) if image is not None else b""

    def is_locked(self, path: Path) -> bool:
        """Whether somebody holds a lock."""
        return str(path) in self._locks

    def put(self, path: Path, data: bytes) -> None:
        """Damage or restore a file behind everybody's back."""
        self._images[str(path)] = _Image(data)

    def _strike(self) -> Armed | None:
        """The fault whose moment has come."""
        armed = self.armed
        if armed is None:
            return None
        if armed.left:
            self.armed = Armed(armed.fault, armed.left - 1, armed.whim)
            return None
        self.armed = None
        self.struck.append(armed.fault)
        if armed.fault is DiskFault.FULL:
            self.capacity = self._used()
        return armed

    def _used(self) -> int:
        return sum(len(image.written) for image in self._images.values())

    def _room(self) -> int:
        return sys.maxsize if self.capacity is None else max(0, self.capacity - self._used())

    def _write(self, path: Path, image: _Image, data: bytes) -> None:
        armed = self._strike()
        fault = armed.fault if armed is not None else None
        part = armed.whim % len(data) if armed is not None and data else 0
        if fault is DiskFault.POWER:
            raise PowerCut("before a write")
        if fault is DiskFault.EIO_WRITE:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        room = self._room()
        if room < len(data):
            super()._write(path, image, data[:room])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if fault in (DiskFault.SHORT, DiskFault.TORN):
            super()._write(path, image, data[:part])
            if fault is DiskFault.TORN:
                self.torn = part
                raise PowerCut("within a write")
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        super()._write(path, image, data)
        if fault is DiskFault.AFTER:
            raise PowerCut("after a write")

    def _sync(self, path: Path, image: _Image) -> None:
        armed = self._strike()
        fault = armed.fault if armed is not None else None
        if fault in (DiskFault.POWER, DiskFault.TORN):
            self.torn = armed.whim if armed is not None and fault is DiskFault.TORN else 0
            raise PowerCut("before a sync")
        if fault in (DiskFault.EIO_SYNC, DiskFault.EIO_WRITE, DiskFault.SHORT):
            self._lost[str(path)] = True
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        if str(path) in self._lost:
            return  # the pages count as clean since the refusal: nothing is written, and nobody is told
        super()._sync(path, image)
        self.on_durable(path)
        if fault is DiskFault.AFTER:
            raise PowerCut("after a sync")

    def replace(self, path: Path, data: bytes) -> None:
        armed = self._strike()
        fault = armed.fault if armed is not None else None
        if fault in (DiskFault.POWER, DiskFault.TORN):
            raise PowerCut("before a file was replaced")
        if self._room() < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if fault in (DiskFault.EIO_WRITE, DiskFault.EIO_SYNC, DiskFault.SHORT):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        super().replace(path, data)
        if fault is DiskFault.AFTER:
            raise PowerCut("after a file was replaced")

    def processes_die(self) -> None:
        """All processes end and the machine goes on: what was written can still be read, and is not durable
        before a sync."""
        self.boots += 1
        self._locks.clear()

    def append_to(self, path: Path) -> MemoryAppendFile:
        """Open anew: what a sync had refused is gone, as with a disk whose cached pages are dropped."""
        if self._lost.pop(str(path), False):
            self._images[str(path)] = _Image(bytes(self._image(path).durable))
        return super().append_to(path)

    def crash(self) -> None:
        self._lost.clear()
        super().crash()
        self.torn = 0

    def _surviving(self, path: Path, unsynced: bytes) -> bytes:
        return unsynced[: self.torn % (len(unsynced) + 1)] if self.torn else b""
