"""A journal as one append-only file of frames over a `Disk`: length (u32), CRC-32 (u32), blob; big-endian.

Beside `<path>` stand `<path>.epoch` (the owner), `<path>.lock`, `<path>.reserve` (space held back for a full
disk) and `<path>.snapshot.<sequence>`. A crash can
leave a torn last frame: opening for writing cuts it and says so. Anything else that does not verify is
corruption: nothing is changed and the first bad sequence is named.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from struct import Struct
from typing import Self
from zlib import crc32

from qtinfra.core.exceptions import JournalCorruptError, JournalError
from qtinfra.core.ports import Head
from qtinfra.journal.base import FrameJournal, StoredFrame, Verify, holder_note
from qtinfra.journal.codec import FRAME_MAGIC, Blob, Chain, FrameError, SealedFrame, corrupt, decode_frame
from qtinfra.journal.disk import AppendFile, Disk, RealDisk
from qtinfra.journal.reserve import Reserve, no_space, reserve_path
from qtinfra.journal.versions import UPCASTERS, Upcasters

_HEADER = Struct(">II")
_CHUNK_BYTES = 1 << 20
_SNAPSHOT_DIGITS = 20


def wrap(blob: Blob) -> bytes:
    """A frame's blob as it stands in the file."""
    return _HEADER.pack(len(blob), crc32(blob)) + blob


class _Window:
    """Reads a file in large pieces and hands out small ones."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._path = path
        self._start = 0
        self._data = b""

    def get(self, offset: int, length: int) -> bytes:
        at = offset - self._start
        if at < 0 or at + length > len(self._data):
            self._data = self._disk.read(self._path, offset, max(length, _CHUNK_BYTES))
            self._start, at = offset, 0
        return self._data[at : at + length]


def _blob_at(window: _Window, offset: int, size: int) -> bytes | None:
    """The blob of the frame at `offset` in a file of `size` bytes; None when incomplete or damaged."""
    head = window.get(offset, _HEADER.size)
    if len(head) < _HEADER.size:
        return None
    length, crc = _HEADER.unpack(head)
    if length == 0 or offset + _HEADER.size + length > size:
        return None
    blob = window.get(offset + _HEADER.size, length)
    return blob if len(blob) == length and crc32(blob) == crc else None


def _has_frame_after(tail: bytes) -> bool:
    """Whether a valid frame begins somewhere in `tail` after its first byte."""
    at = tail.find(FRAME_MAGIC, _HEADER.size + 1)
    while at >= 0:
        length, crc = _HEADER.unpack_from(tail, at - _HEADER.size)
        blob = memoryview(tail)[at : at + length]
        if len(blob) == length and crc32(blob) == crc:
            return True
        at = tail.find(FRAME_MAGIC, at + 1)
    return False


class LogJournal(FrameJournal):
    """`Journal` over an append-only file. Use `open` or `open_readonly`.

    The lock keeps a second writer out while the first lives; the epoch file, read before each append, stops
    one whose lock was taken away. Opening always verifies every record.
    """

    def __init__(self, path: Path, disk: Disk, shard: int, *, writable: bool, upcasters: Upcasters) -> None:
        super().__init__(shard, writable=writable, upcasters=upcasters)
        self._path = path
        self._disk = disk
        self._end = 0
        self._bad_at: int | None = None
        self._marks: list[tuple[int, int]] = [(0, 1)]
        self._file: AppendFile | None = None
        self._held = ExitStack()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        shard: int = 0,
        owner: str = "",
        disk: Disk | None = None,
        verify: Verify = "full",
        upcasters: Upcasters = UPCASTERS,
        reserve_bytes: int = 0,
    ) -> Self:
        """Take the shard for writing: lock, verify, cut a torn tail, begin a new epoch.

        Args:
            reserve_bytes: space held back for a full disk; `reserve.RESERVE_BYTES` is for 10,000 cancels.

        Raises:
            FencedError: a living writer holds it; the message names it.
            JournalCorruptError: names the first sequence that does not verify; nothing was changed.
            JournalError: the disk refused.
        """
        del verify  # the whole file is read in any case
        place = Path(path)
        journal = cls(place, disk or RealDisk(), shard, writable=True, upcasters=upcasters)
        journal._reserve = Reserve(journal._disk, reserve_path(place), reserve_bytes)
        with ExitStack() as stack:
            stack.callback(journal.close)
            try:
                lock = journal._disk.lock(journal._beside(".lock"), holder_note(owner))
                journal._held.callback(lock.release)
                journal._take(owner)
                journal._reserve.hold()
            except OSError as error:
                raise JournalError(f"cannot open {place}: {error}") from error
            stack.pop_all()
        return journal

    @classmethod
    def open_readonly(
        cls,
        path: str | os.PathLike[str],
        *,
        shard: int = 0,
        disk: Disk | None = None,
        verify: Verify = "full",
        upcasters: Upcasters = UPCASTERS,
    ) -> Self:
        """Verify and read without taking the shard; a torn tail is reported and left as it is.

        Raises:
            JournalCorruptError: names the first sequence that does not verify.
            JournalError: no such file, or the disk refused.
        """
        del verify
        journal = cls(Path(path), disk or RealDisk(), shard, writable=False, upcasters=upcasters)
        try:
            journal._load()
        except OSError as error:
            raise JournalError(f"cannot open {path}: {error}") from error
        return journal

    def close(self) -> None:
        self._refusal = self._refusal or "it is closed"
        self._held.close()

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    # --- opening ------------------------------------------------------------------------------------------

    def _take(self, owner: str) -> None:
        self._file = self._disk.append_to(self._path)
        self._held.callback(self._file.close)
        cut = self._load()
        if cut:
            self._file.truncate(self._end)
            self._file.sync()
        self._epoch = max(self._stored_epoch(), self._epoch) + 1
        self._disk.replace(self._beside(".epoch"), f"{self._epoch}\n{owner}\n".encode())
        self._head = Head(self._shard, self._epoch, self._head.seq, self._head.hash)

    def _load(self) -> int:
        """Verify all frames and find the end; the bytes of a torn tail."""
        newest = self._newest_intact()
        self._end = size = self._disk.size(self._path)
        self._verify()
        if self._bad_at is not None:
            self._end = self._judge(self._bad_at)
        self._refuse_shorter_than(newest)
        cut = size - self._end
        if cut:
            what = "cut" if not self._refusal else "left as they are (open for reading only)"
            self.recovered = (
                f"torn tail: {cut} bytes after sequence {self._head.seq} are no complete frame, {what}"
            )
        return cut

    def _judge(self, offset: int) -> int:
        """A bad frame at the very end is a torn tail: the log ends before it. Elsewhere it is corruption."""
        tail = self._disk.read(self._path, offset)
        if _has_frame_after(tail):
            chain = Chain(self._shard, epoch=self._head.epoch, seq=self._head.seq, hash=self._head.hash)
            raise corrupt(_first_bad(tail, chain), f"the frame at byte {offset} is damaged")
        return offset

    def _stored_epoch(self) -> int:
        path = self._beside(".epoch")
        if not self._disk.exists(path):
            return 0
        text = self._disk.read(path).partition(b"\n")[0]
        if not text.isdigit():
            raise JournalError(f"{path} does not hold an epoch")
        return int(text)

    # --- frames -------------------------------------------------------------------------------------------

    def _stored(self, seq: int) -> Iterator[StoredFrame]:
        """Frames from `seq` on, up to the end or to the first one that is not complete."""
        offset = next((at for at, first in reversed(self._marks) if first <= seq), 0)
        window = _Window(self._disk, self._path)
        while offset < self._end:
            blob = _blob_at(window, offset, self._end)
            if blob is None:
                self._bad_at = offset
                return
            yield StoredFrame(blob)
            self._mark(offset, blob)
            offset += _HEADER.size + len(blob)

    def _mark(self, offset: int, blob: Blob) -> None:
        """Remember, about once per megabyte, at which sequence the file is there (the frame is verified)."""
        if offset - self._marks[-1][0] >= _CHUNK_BYTES:
            self._marks.append((offset, decode_frame(blob).header.first_seq))

    def _write(self, frame: SealedFrame) -> None:
        blob, file = frame.blob, self._file
        if file is None:
            raise JournalError("the journal is not open for writing")
        try:
            epoch = self._stored_epoch()
            if epoch != self._epoch or self._disk.size(self._path) != self._end:
                raise self._fenced(epoch=epoch)
            try:
                file.write(wrap(blob))
            except OSError as error:
                if not no_space(error) or self._reserve is None or not self._reserve.release():
                    raise
                file.truncate(self._end)
                file.write(wrap(blob))
            file.sync()
        except OSError as error:
            raise JournalError(f"append to {self._path} failed: {error}") from error
        self._mark(self._end, blob)
        self._end += _HEADER.size + len(blob)

    def _snapshots(self) -> list[tuple[int, bytes]]:
        prefix = self._beside(".snapshot.")
        named = [(path.name.removeprefix(prefix.name), path) for path in self._disk.siblings(prefix)]
        found = [(int(digits), self._disk.read(path)) for digits, path in named if digits.isdigit()]
        return sorted(found, reverse=True)

    def _keep_snapshots(self, seq: int, blob: bytes, drop: list[int]) -> None:
        try:
            self._disk.replace(self._snapshot_path(seq), blob)
            for old in drop:
                self._disk.remove(self._snapshot_path(old))
        except OSError as error:
            if error.errno == errno.EIO:
                self._refusal = f"the disk failed under a snapshot: {error}"
            raise JournalError(f"cannot write the snapshot of sequence {seq}: {error}") from error

    def _snapshot_path(self, seq: int) -> Path:
        return self._beside(f".snapshot.{seq:0{_SNAPSHOT_DIGITS}}")


def _first_bad(damaged: bytes, chain: Chain) -> int:
    """The first sequence of a damaged frame that does not verify; its first one when it cannot be told."""
    first = chain.seq + 1
    length, _ = _HEADER.unpack_from(damaged)
    try:
        for _ in chain.check_frame(decode_frame(damaged[_HEADER.size : _HEADER.size + length])):
            continue
    except JournalCorruptError as error:
        return error.first_bad_seq
    except FrameError:
        return first
    return first
