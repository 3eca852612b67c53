"""Snapshots forged by somebody who knows the format: the checksum is right, the state is not.

A start takes the newest snapshot that is whole and lies on the chain, and goes on from its state. What is
forged here would therefore be believed, were it not compared with the records.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import msgspec

from qtinfra.core.ports import Snapshot
from qtinfra.engine.state import State, decode_state, encode_state
from qtinfra.journal.codec import decode_snapshot, encode_snapshot
from qtinfra.testing.prove.tamper_edits import Damage, Edit, Place, flipped

_KEPT = "SELECT seq, blob FROM snapshot ORDER BY seq"
_PUT = "INSERT OR REPLACE INTO snapshot (shard, seq, blob) VALUES (?, ?, ?)"


def snapshots_in(path: Path) -> list[tuple[int, bytes]]:
    """The snapshots that a database holds: sequence and blob.

    Raises:
        sqlite3.Error: it is too damaged to tell.
    """
    with closing(sqlite3.connect(path)) as db:
        return db.execute(_KEPT).fetchall()


def _pick(place: Place, rng: Random) -> Snapshot:
    snapshot = decode_snapshot(rng.choice(snapshots_in(place.path))[1])
    if snapshot is None:
        raise ValueError("the sound journal has a damaged snapshot")
    return snapshot


def _put(place: Place, seq: int, blob: bytes) -> None:
    with closing(sqlite3.connect(place.path, isolation_level=None)) as db:
        db.execute(_PUT, (0, seq, blob))


# --- lies ---------------------------------------------------------------------------------------------------


def _any_order(state: State, rng: Random, change: Callable[[str], None]) -> None:
    if state.orders:
        change(rng.choice(sorted(state.orders)))


def _fill(state: State, rng: Random) -> None:
    def more(order_id: str) -> None:
        state.orders[order_id].cum_qty += 1

    _any_order(state, rng, more)


def _give_away(state: State, rng: Random) -> None:
    def to_nobody(order_id: str) -> None:
        state.orders[order_id].account = "nobody"

    _any_order(state, rng, to_nobody)


def _skip_reports(state: State, rng: Random) -> None:
    state.inbound[rng.choice(sorted(state.venues) or ["XNAS"])] = 1_000_000


def _another_day(state: State, rng: Random) -> None:
    state.trade_date = f"2031-01-{rng.randrange(1, 32):02}"


def _stop_all(state: State, rng: Random) -> None:
    state.kills[f"account {rng.randrange(9)}"] = "nobody"


_LIES: dict[str, Callable[[State, Random], None]] = {
    "an order filled": _fill,
    "an order given to another account": _give_away,
    "reports of a venue skipped": _skip_reports,
    "another trading date": _another_day,
    "a kill switch engaged": _stop_all,
    "limits lifted": lambda state, _: state.limits.clear(),
    "accounts forgotten": lambda state, _: state.accounts.clear(),
    "client ids forgotten": lambda state, _: state.client_ids.clear(),
    "exposure forgotten": lambda state, _: state.risk.cells.clear(),
}


def _forged(data: bytes, rng: Random) -> tuple[str, bytes]:
    """What is changed, and the changed state; lies that would change nothing are left out."""
    while True:
        state, name = decode_state(data), rng.choice(sorted(_LIES))
        _LIES[name](state, rng)
        made = encode_state(state)
        if made != data:
            return name, made


# --- edits --------------------------------------------------------------------------------------------------


def _change_state(place: Place, rng: Random) -> Damage:
    sound = _pick(place, rng)
    what, state = _forged(sound.state, rng)
    _put(place, sound.seq, encode_snapshot(msgspec.structs.replace(sound, state=state)))
    return _damage(sound.seq, f"{what} in the snapshot of {sound.seq}")


def _add(place: Place, rng: Random) -> Damage:
    """A snapshot where there was none: on the chain, with a right checksum."""
    frame = rng.choice(place.history.frames)
    seq = frame.header.last_seq
    what, state = _forged(place.states[seq], rng)
    _put(place, seq, encode_snapshot(Snapshot(frame.header.shard, seq, frame.last_hash, state)))
    return _damage(seq, f"{what} in a new snapshot of {seq}")


def _older_state(place: Place, rng: Random) -> Damage:
    """An earlier state under a later sequence: what has happened between is undone."""
    sound = _pick(place, rng)
    while True:
        before = rng.choice([seq for seq in place.states if seq < sound.seq])
        state = decode_state(place.states[before])
        state.seq = sound.seq
        made = encode_state(state)
        if made != sound.state:
            break
    _put(place, sound.seq, encode_snapshot(msgspec.structs.replace(sound, state=made)))
    return _damage(sound.seq, f"the state of {before} in the snapshot of {sound.seq}")


def _off_the_chain(place: Place, rng: Random) -> Damage:
    """A true state with another hash of the chain, as in the snapshot of another journal."""
    sound = _pick(place, rng)
    other = msgspec.structs.replace(sound, chain_hash=flipped(sound.chain_hash, rng))
    _put(place, sound.seq, encode_snapshot(other))
    return _damage(sound.seq, f"the snapshot of {sound.seq} taken off the chain")


def _bit(place: Place, rng: Random) -> Damage:
    """A bit, without a new checksum: a start passes the snapshot over."""
    seq, blob = rng.choice(snapshots_in(place.path))
    _put(place, seq, flipped(blob, rng))
    return _damage(seq, f"a bit of the snapshot of {seq} flipped")


def _damage(seq: int, text: str) -> Damage:
    return Damage(text, seq, seq, seq)


SNAPSHOT_EDITS: dict[str, Edit] = {
    "forged snapshot": _change_state,
    "snapshot added": _add,
    "older state in a snapshot": _older_state,
    "snapshot off the chain": _off_the_chain,
    "snapshot bit": _bit,
}
