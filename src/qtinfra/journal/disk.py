"""The few things a journal asks of a disk, for a real one and for one in memory that can crash.

What matters is the line between written and synced: after `AppendFile.sync` returns, bytes survive a crash;
before, nothing is promised. `Disk.replace` is all or nothing and durable when it returns.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol

from qtinfra.core.exceptions import FencedError

_LOCK_ATTEMPTS = 8


class AppendFile(Protocol):
    """A file open for appending. Every method raises OSError when the disk refuses."""

    def write(self, data: bytes) -> None:
        """Append all of `data`; not durable yet."""
        ...

    def sync(self) -> None:
        """Everything written so far is durable when this returns."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes; durable with the next sync."""
        ...

    def close(self) -> None: ...


class DiskLock(Protocol):
    """An exclusive lock that ends with `release` or with the process."""

    def release(self) -> None: ...


class Disk(Protocol):
    """A place for files. Missing files raise FileNotFoundError, other refusals OSError."""

    def exists(self, path: Path) -> bool: ...

    def size(self, path: Path) -> int: ...

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        """Up to `length` bytes from `offset`; all of the rest when negative."""
        ...

    def siblings(self, path: Path) -> list[Path]:
        """Files in the same folder whose name starts with that of `path`, sorted by name."""
        ...

    def append_to(self, path: Path) -> AppendFile:
        """Open for appending; a new file's name is durable when this returns."""
        ...

    def replace(self, path: Path, data: bytes) -> None:
        """The file holds exactly `data`, durably, when this returns; a crash leaves the old or the new."""
        ...

    def remove(self, path: Path) -> None: ...

    def lock(self, path: Path, note: str) -> DiskLock:
        """Take an exclusive lock; `note` tells others who holds it.

        Raises:
            FencedError: somebody holds it; the message has their note.
        """
        ...


def held(path: Path, holder: str) -> FencedError:
    """Somebody holds the lock."""
    return FencedError(f"{path} is held by {holder or 'another process'}", context={"holder": holder})


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _drop_cached(handle: int) -> None:
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def drop_cached(path: Path) -> None:
    """Have the next read of a file come from the disk, if there is such a file.

    After a sync that was refused its pages read well and count as clean, though the disk never got them.
    """
    if path.exists():
        handle = os.open(path, os.O_RDONLY)
        try:
            _drop_cached(handle)
        finally:
            os.close(handle)


class RealAppendFile:
    """`AppendFile` on a file descriptor.

    Opening an existing file drops its cached pages: after a sync that was refused they read well and count as
    clean, though the disk never got them. What an opening verifies has to come from the disk.
    """

    def __init__(self, path: Path) -> None:
        created = not path.exists()
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if created:
            sync_folder(path.parent)
        else:
            _drop_cached(self._handle)

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._handle, rest) :]

    def sync(self) -> None:
        os.fsync(self._handle)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._handle, size)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class FlockLock:
    """An advisory lock (flock) on a lock file; the kernel releases it when the process dies."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def release(self) -> None:
        if self._handle >= 0:
            os.ftruncate(self._handle, 0)
            fcntl.flock(self._handle, fcntl.LOCK_UN)  # a process that is being forked may have a copy of it
            os.close(self._handle)
            self._handle = -1


class RealDisk:
    """The operating system's files."""

    def exists(self, path: Path) -> bool:
        return path.exists()

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def siblings(self, path: Path) -> list[Path]:
        return sorted(other for other in path.parent.iterdir() if other.name.startswith(path.name))

    def append_to(self, path: Path) -> RealAppendFile:
        return RealAppendFile(path)

    def replace(self, path: Path, data: bytes) -> None:
        draft = path.with_name(f".{path.name}.new")
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)

    def remove(self, path: Path) -> None:
        path.unlink()
        sync_folder(path.parent)

    def lock(self, path: Path, note: str) -> FlockLock:
        for _ in range(_LOCK_ATTEMPTS):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(handle, 200, 0).decode(errors="replace").strip()
                os.close(handle)
                raise held(path, holder) from None
            if _is_still(handle, path):
                os.ftruncate(handle, 0)
                os.pwrite(handle, note.encode(), 0)
                return FlockLock(handle)
            os.close(handle)
        raise held(path, "processes that keep replacing the lock file")


def _is_still(handle: int, path: Path) -> bool:
    """Whether the open file is the one that the path names now."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


class _Image:
    """One file in memory: what was written, and what a crash would leave of it."""

    __slots__ = ("durable", "unchanged", "written")

    def __init__(self, data: bytes = b"") -> None:
        self.written = bytearray(data)
        self.durable = bytearray(data)
        self.unchanged = len(data)

    def truncate(self, size: int) -> None:
        del self.written[size:]
        self.unchanged = min(self.unchanged, size)

    def sync(self) -> None:
        del self.durable[self.unchanged :]
        self.durable += self.written[self.unchanged :]
        self.unchanged = len(self.written)

    def unsynced(self) -> bytes:
        return bytes(self.written[self.unchanged :])


class MemoryDisk:
    """A deterministic disk that distinguishes written from synced bytes and can `crash`.

    Fault simulations subclass it: `_write` and `_sync` see every change of an open file before it happens
    (raise OSError there, or write a part), `_surviving` decides what a crash leaves of bytes never synced.
    """

    def __init__(self) -> None:
        self._images: dict[str, _Image] = {}
        self._locks: dict[str, _MemoryLock] = {}
        self.boots = 0

    def crash(self) -> None:
        """Lose power: unsynced bytes are gone, open files and locks are dead."""
        self.boots += 1
        self._locks.clear()
        for path in sorted(self._images):
            image = self._images[path]
            kept = self._surviving(Path(path), image.unsynced())
            if kept:
                del image.durable[image.unchanged :]
            self._images[path] = _Image(bytes(image.durable) + kept)

    def _surviving(self, path: Path, unsynced: bytes) -> bytes:
        """What a crash leaves of the bytes written after the last sync."""
        del path, unsynced
        return b""

    def _write(self, path: Path, image: _Image, data: bytes) -> None:
        del path
        image.written += data

    def _sync(self, path: Path, image: _Image) -> None:
        del path
        image.sync()

    def _image(self, path: Path) -> _Image:
        try:
            return self._images[str(path)]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None

    def exists(self, path: Path) -> bool:
        return str(path) in self._images

    def size(self, path: Path) -> int:
        return len(self._image(path).written)

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        end = None if length < 0 else offset + length
        return bytes(memoryview(self._image(path).written)[offset:end])

    def siblings(self, path: Path) -> list[Path]:
        found = (Path(other) for other in sorted(self._images))
        return [other for other in found if other.parent == path.parent and other.name.startswith(path.name)]

    def append_to(self, path: Path) -> MemoryAppendFile:
        self._images.setdefault(str(path), _Image())
        return MemoryAppendFile(self, path)

    def replace(self, path: Path, data: bytes) -> None:
        self._images[str(path)] = _Image(data)

    def remove(self, path: Path) -> None:
        if self._locks.pop(str(path), None) is None:
            self._image(path)
        self._images.pop(str(path), None)

    def lock(self, path: Path, note: str) -> _MemoryLock:
        holder = self._locks.get(str(path))
        if holder is not None:
            raise held(path, holder.note)
        lock = self._locks[str(path)] = _MemoryLock(self, str(path), note)
        return lock


class MemoryAppendFile:
    """`AppendFile` on a `MemoryDisk`; dead after `close` or a crash of the disk."""

    def __init__(self, disk: MemoryDisk, path: Path) -> None:
        self._disk = disk
        self._path = path
        self._boot = disk.boots

    def _live(self) -> _Image:
        if self._boot != self._disk.boots:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), str(self._path))
        return self._disk._image(self._path)

    def write(self, data: bytes) -> None:
        self._disk._write(self._path, self._live(), data)

    def sync(self) -> None:
        self._disk._sync(self._path, self._live())

    def truncate(self, size: int) -> None:
        self._live().truncate(size)

    def close(self) -> None:
        self._boot = -1


class _MemoryLock:
    def __init__(self, disk: MemoryDisk, path: str, note: str) -> None:
        self._disk = disk
        self._path = path
        self.note = note

    def release(self) -> None:
        if self._disk._locks.get(self._path) is self:
            del self._disk._locks[self._path]
