"""Signed heads (Ed25519, RFC 8032) kept outside the journal, and the verification of a journal against them.

A hash chain shows edits, deletions, insertions and swaps, but a chain that is cut short, or written anew
from some point on, is still a chain. An anchored head says: at this time the journal reached this sequence
with this hash. What follows the newest anchor can still be cut or rewritten without a trace; the anchor
interval bounds it.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from qtinfra.core.exceptions import JournalCorruptError, JournalError, SecurityError
from qtinfra.core.ports import Head
from qtinfra.journal.base import FrameJournal
from qtinfra.journal.codec import Chain, StoredRecord, corrupt, outline
from qtinfra.journal.disk import sync_folder

_OTHERS = 0o077
_PURPOSE = "qtinfra journal head 1"


def key_id(public_key: Ed25519PublicKey) -> str:
    """Names a public key: the first 16 hex digits of SHA-256 over its 32 raw bytes."""
    return sha256(public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


class KeyFile:
    """A signing key in a PEM file (PKCS 8) that nobody but its owner may read."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key = private_key.public_key()
        self.key_id = key_id(self.public_key)

    @classmethod
    def load_or_create(cls, path: str | os.PathLike[str]) -> KeyFile:
        """Read the key, or make one with mode 0600 where there is none.

        Raises:
            SecurityError: others may read the file, or it holds no Ed25519 key.
        """
        place = Path(path)
        if not place.exists():
            _create_key(place)
        if place.stat().st_mode & _OTHERS:
            raise SecurityError(f"{place} is open to others; it must have mode 0600")
        try:
            key = load_pem_private_key(place.read_bytes(), password=None)
        except (ValueError, TypeError) as error:
            raise SecurityError(f"{place} holds no readable key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SecurityError(f"{place} holds no Ed25519 key")
        return cls(key)

    def sign(self, message: bytes) -> bytes:
        """64 bytes of Ed25519 signature."""
        return self._private_key.sign(message)


def _create_key(place: Path) -> None:
    """Write a new key whole or not at all; a key that appears meanwhile wins."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = place.with_name(f".{place.name}.{os.getpid()}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, pem)
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        os.link(draft, place)
    except FileExistsError:
        return
    finally:
        draft.unlink()
    sync_folder(place.absolute().parent)


class Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signed head. `hash` and `signature` are hex; `ts_ns` is UTC nanoseconds."""

    shard: int
    epoch: int
    seq: int
    hash: str
    ts_ns: int
    key_id: str
    signature: str = ""

    def message(self) -> bytes:
        """The bytes that are signed: purpose and fields, one a line."""
        fields = (self.shard, self.epoch, self.seq, self.hash, self.ts_ns, self.key_id)
        return "\n".join([_PURPOSE, *map(str, fields)]).encode()

    def signed_by(self, public_key: Ed25519PublicKey) -> bool:
        """Whether the signature is that key's over these fields."""
        try:
            public_key.verify(bytes.fromhex(self.signature), self.message())
        except (InvalidSignature, ValueError):
            return False
        return self.key_id == key_id(public_key)


def sign_head(head: Head, ts_ns: int, key: KeyFile) -> Anchor:
    """The signed form of a durable head."""
    anchor = Anchor(head.shard, head.epoch, head.seq, head.hash.hex(), ts_ns, key.key_id)
    return msgspec.structs.replace(anchor, signature=key.sign(anchor.message()).hex())


class AnchorFile:
    """Signed heads as JSON Lines, oldest first; best kept on another disk, or by another user."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def append(self, head: Head, ts_ns: int, key: KeyFile) -> Anchor:
        """Sign a head and add it, durably. What a crash left of an unfinished line is cut first.

        Raises:
            JournalError: the disk refused.
        """
        anchor = sign_head(head, ts_ns, key)
        line = json.dumps(msgspec.to_builtins(anchor)).encode() + b"\n"
        try:
            with self.path.open("ab+") as file:
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self.path.absolute().parent)
        except OSError as error:
            raise JournalError(f"cannot anchor sequence {head.seq} in {self.path}: {error}") from error
        return anchor

    def read(self) -> list[Anchor]:
        """All anchors; an unfinished last line counts as not written.

        Raises:
            JournalError: a line is not an anchor; the message has its number.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")[:-1]
        return [_parse_anchor(line, number) for number, line in enumerate(lines, 1)]


def _parse_anchor(line: bytes, number: int) -> Anchor:
    try:
        return msgspec.json.decode(line, type=Anchor)
    except msgspec.DecodeError as error:
        raise JournalError(f"anchor {number} is not readable: {error}", code="anchor_unreadable") from error


class VerifyResult(msgspec.Struct, frozen=True):
    """What a verification found.

    Attributes:
        records, events: how many verified.
        first_bad_seq: the first sequence that does not verify; None when all do.
        reason: in words: what is wrong, or what was checked and what this check cannot see.
        last_anchored_seq: sequence of the newest anchor that the journal bears out; 0 without one.
        unanchored_events: events after it: cutting or rewriting them would not be seen.
    """

    ok: bool
    records: int
    events: int
    first_bad_seq: int | None
    reason: str
    last_anchored_seq: int
    unanchored_events: int


class _Tally:
    """Counts what verified."""

    def __init__(self) -> None:
        self.chain: Chain | None = None
        self.records = 0
        self.anchored = 0

    @property
    def seq(self) -> int:
        return self.chain.seq if self.chain else 0

    def result(self, reason: str, first_bad_seq: int | None) -> VerifyResult:
        return VerifyResult(
            ok=first_bad_seq is None,
            records=self.records,
            events=self.seq,
            first_bad_seq=first_bad_seq,
            reason=reason,
            last_anchored_seq=self.anchored,
            unanchored_events=self.seq - self.anchored,
        )


def verify_journal(
    records: Iterable[StoredRecord],
    anchors: Sequence[Anchor] = (),
    public_key: Ed25519PublicKey | None = None,
) -> VerifyResult:
    """Verify a whole journal: the chain from its beginning, and every anchor against it.

    The chain shows edits, deletions, swaps and insertions; the anchors a cut tail, a file rolled back, and a
    chain written anew. Without anchors and key only the chain is checked, and the reason says so.

    Args:
        records: from the first sequence on; may raise JournalCorruptError while it is read.
        anchors: in the order of their file.
        public_key: the key that all of them must be signed with.
    """
    tally = _Tally()
    try:
        _check_anchors(anchors, public_key)
        pending = deque(anchors)
        for record in records:
            _check_record(record, tally)
            _match(pending, tally)
        if pending:
            raise corrupt(
                tally.seq + 1, f"the journal ends at {tally.seq}, an anchor has seen {pending[-1].seq}"
            )
    except JournalCorruptError as error:
        return tally.result(error.message, error.first_bad_seq)
    return tally.result(_what_was_seen(tally, bool(anchors)), None)


def _check_anchors(anchors: Sequence[Anchor], public_key: Ed25519PublicKey | None) -> None:
    """Signed, of one shard, in order. Anchors without a key to check them prove nothing."""
    last = (0, 0)
    for number, anchor in enumerate(anchors, 1):
        if public_key is None or not anchor.signed_by(public_key):
            raise corrupt(anchor.seq, f"anchor {number} is not signed by the given key")
        if (anchor.epoch, anchor.seq) < last or anchor.seq < last[1] or anchor.shard != anchors[0].shard:
            raise corrupt(anchor.seq, f"anchor {number} is out of order")
        last = (anchor.epoch, anchor.seq)


def _check_record(record: StoredRecord, tally: _Tally) -> None:
    chain = tally.chain
    if chain is None:
        try:
            chain = tally.chain = Chain(outline(record.entry_bytes).shard)
        except msgspec.DecodeError as error:
            raise corrupt(1, "the record is not an entry") from error
    chain.check((record.entry_bytes, record.hash))
    tally.records += 1


def _match(pending: deque[Anchor], tally: _Tally) -> None:
    """Compare the anchors that the chain has reached and take them out."""
    chain = tally.chain
    while chain is not None and pending and pending[0].seq <= chain.seq:
        anchor = pending[0]
        if anchor.seq and (anchor.shard, anchor.seq, anchor.hash) != (
            chain.shard,
            chain.seq,
            chain.hash.hex(),
        ):
            raise corrupt(tally.anchored + 1, f"not what was anchored at sequence {anchor.seq}")
        tally.anchored = pending.popleft().seq


def _what_was_seen(tally: _Tally, anchored: bool) -> str:
    if not anchored:
        return f"the chain verifies up to sequence {tally.seq}; without an anchor a cut tail cannot be seen"
    rest = tally.seq - tally.anchored
    if not rest:
        return f"the chain verifies and its end, sequence {tally.seq}, is anchored"
    return (
        f"the chain verifies up to sequence {tally.seq} and every anchor agrees; the last {rest} events "
        f"follow the newest anchor (sequence {tally.anchored}): cutting or rewriting them would not be seen"
    )


class Anchorer:
    """Anchors a journal's head every so many events, and if asked after so much time.

    Raises, when made: JournalCorruptError when the journal does not bear out the newest anchor of its shard.
    """

    def __init__(
        self,
        journal: FrameJournal,
        anchor_file: AnchorFile,
        key: KeyFile,
        every_events: int,
        every_ns: int | None = None,
    ) -> None:
        self._file = anchor_file
        self._key = key
        self._every_events = every_events
        self._every_ns = every_ns
        self._seq, self._ts_ns = _last_anchored(journal, anchor_file, key)

    def maybe_anchor(self, head: Head, now_ns: int) -> Anchor | None:
        """Anchor a durable head if it is due; the anchor, or None.

        Raises:
            JournalError: the anchor could not be written.
        """
        grown = head.seq - self._seq
        late = self._every_ns is not None and now_ns - self._ts_ns >= self._every_ns
        if grown <= 0 or (grown < self._every_events and not late):
            return None
        return self.anchor(head, now_ns)

    def anchor(self, head: Head, now_ns: int) -> Anchor:
        """Anchor a durable head now (at a close, say)."""
        written = self._file.append(head, now_ns, self._key)
        self._seq, self._ts_ns = head.seq, now_ns
        return written


def _last_anchored(journal: FrameJournal, anchor_file: AnchorFile, key: KeyFile) -> tuple[int, int]:
    """Sequence and time of the newest anchor, which the journal must bear out."""
    anchors = [anchor for anchor in anchor_file.read() if anchor.shard == journal.head.shard]
    if not anchors:
        return 0, 0
    last = anchors[-1]
    if not last.signed_by(key.public_key):
        raise JournalCorruptError("the newest anchor is not signed by our key", first_bad_seq=last.seq)
    if last.seq > journal.head.seq:
        raise corrupt(journal.head.seq + 1, f"the journal ends there, an anchor has seen {last.seq}")
    if journal.head_at(last.seq).hex() != last.hash:
        raise corrupt(last.seq, "not what was anchored there")
    return last.seq, last.ts_ns
