"""Damage to a copy of the journal's files: what an opening and a recovery make of it."""

from __future__ import annotations

from struct import Struct

from qtinfra.core.exceptions import JournalCorruptError, JournalError
from qtinfra.engine.state import state_hash
from qtinfra.journal.codec import decode_frame, decode_snapshot
from qtinfra.journal.log import LogJournal
from qtinfra.runtime.recovery import Recovery, recover
from qtinfra.testing.faultsim.disk import FaultDisk
from qtinfra.testing.faultsim.engine import JOURNAL
from qtinfra.testing.faultsim.world import World

_HEADER = Struct(">II")
_SNAPSHOTS = JOURNAL.with_name(f"{JOURNAL.name}.snapshot.")


def _copy(world: World) -> FaultDisk:
    """A disk with what would survive a power cut now."""
    made = FaultDisk()
    for path in world.disk.siblings(JOURNAL):
        if not path.name.endswith(".lock"):
            made.put(path, world.disk.durable_bytes(path))
    return made


def frames(data: bytes) -> list[tuple[int, int, int]]:
    """Start, end and last sequence of each complete frame in a journal's bytes."""
    found, at = [], 0
    while len(data) - at >= _HEADER.size:
        length, _ = _HEADER.unpack_from(data, at)
        end = at + _HEADER.size + length
        if not length or end > len(data):
            break
        found.append((at, end, decode_frame(data[at + _HEADER.size : end]).header.last_seq))
        at = end
    return found


def _open(disk: FaultDisk) -> Recovery:
    journal = LogJournal.open(JOURNAL, disk=disk)
    try:
        return recover(journal)
    finally:
        journal.close()


def damage_snapshot(world: World, whim: int) -> None:
    """A snapshot with one wrong byte is passed over: the state is the same without it."""
    disk = _copy(world)
    paths = disk.siblings(_SNAPSHOTS)
    if not paths:
        return
    path = paths[-1]
    data = bytearray(disk.read(path))
    data[whim % len(data)] ^= 1 + whim // 7 % 255
    disk.put(path, bytes(data))
    try:
        recovery = _open(disk)
    except JournalError as error:
        world.found.append(f"a damaged snapshot stops the recovery: {error}")
        return
    if state_hash(recovery.state) != state_hash(world.durable.state):
        world.found.append("a damaged snapshot changes the recovered state")


def cut_below_snapshot(world: World, whim: int) -> None:
    """A journal that ends before its snapshot has lost its tail: nobody may go on from there."""
    disk = _copy(world)
    paths = disk.siblings(_SNAPSHOTS)
    snapshot = decode_snapshot(disk.read(paths[-1])) if paths else None
    if snapshot is None:
        return
    data = disk.read(JOURNAL)
    ends = [end for _, end, seq in frames(data) if seq < snapshot.seq]
    disk.put(JOURNAL, data[: ends[whim % len(ends)] if ends else 0])
    try:
        recovery = _open(disk)
    except JournalCorruptError:
        return
    world.found.append(
        f"a journal cut below its snapshot of sequence {snapshot.seq} was taken, to {recovery.state.seq}"
    )


def flip_bit(world: World, whim: int) -> None:
    """Damage before the last frame is never passed over; a torn last frame costs that frame and no more."""
    disk = _copy(world)
    data = bytearray(disk.read(JOURNAL))
    found = frames(bytes(data))
    if len(found) < 2:
        return
    if whim % 2:
        _torn(world, disk, bytes(data), found, whim // 2)
        return
    data[whim // 2 % found[-1][0]] ^= 1 << whim // 3 % 8
    disk.put(JOURNAL, bytes(data))
    try:
        recovery = _open(disk)
    except JournalCorruptError:
        return
    world.found.append(f"a flipped bit in the journal was passed over, to sequence {recovery.state.seq}")


def _torn(world: World, disk: FaultDisk, data: bytes, found: list[tuple[int, int, int]], whim: int) -> None:
    start, end, _ = found[-1]
    for path in disk.siblings(_SNAPSHOTS):
        disk.remove(path)  # the torn frame was never durable, so that no snapshot has it
    disk.put(JOURNAL, data[: start + whim % (end - start)])
    try:
        recovery = _open(disk)
    except JournalError as error:
        world.found.append(f"a torn last frame stops the recovery: {error}")
        return
    if recovery.state.seq != found[-2][2]:
        world.found.append(f"after a torn frame the journal ends at {recovery.state.seq}, not {found[-2][2]}")
    if len(disk.read(JOURNAL)) != start:
        world.found.append("a torn last frame was left in the journal")
