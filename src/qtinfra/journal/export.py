"""A journal as JSON Lines for people and other programs: readable, and verifiable from the file alone.

Each line holds the record's fields by name (decimals as plain text), its hash and the one before in hex, and
the original bytes in base64 as `entry`. The chain runs over `entry`; the readable part must be what these
bytes say, to the letter, when the file is read back. Read a file with the version of the program that wrote
it: a later one may name more fields.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from enum import Enum
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from qtinfra.core.decimals import plain
from qtinfra.core.exceptions import JournalError
from qtinfra.journal.anchor import Anchor, VerifyResult, verify_journal
from qtinfra.journal.codec import GENESIS, StoredRecord, chain_hash, corrupt
from qtinfra.journal.versions import UPCASTERS, Upcasters, decode_entry


class _Line(msgspec.Struct):
    """What reading back needs of a line."""

    hash: str
    entry: str


def readable(value: object) -> object:
    """A struct as a JSON-ready mapping by field name, with its tag as `type`; parts likewise."""
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        named: dict[str, object] = {} if tag is None else {"type": tag}
        for field in value.__struct_fields__:
            named[field] = readable(getattr(value, field))
        return named
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [readable(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


def export_line(record: StoredRecord, prev_hash: bytes) -> str:
    """One record as a line, without its end."""
    entry = record.entry
    fields = readable(entry)
    if not isinstance(fields, dict):
        raise TypeError("an entry is a struct")
    fields["last_seq"] = entry.last_seq
    fields["prev_hash"] = prev_hash.hex()
    fields["hash"] = record.hash.hex()
    fields["entry"] = base64.b64encode(record.entry_bytes).decode("ascii")
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def export_lines(records: Iterable[StoredRecord]) -> Iterator[str]:
    """A whole journal, from its first record on, as lines without their ends."""
    prev_hash = GENESIS
    for record in records:
        yield export_line(record, prev_hash)
        prev_hash = record.hash


def write_export(records: Iterable[StoredRecord], path: str | Path) -> int:
    """Write a whole journal to a file; how many records."""
    count = 0
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for line in export_lines(records):
            file.write(line + "\n")
            count += 1
    return count


def parse_export(lines: Iterable[str], upcasters: Upcasters = UPCASTERS) -> Iterator[StoredRecord]:
    """Records of an exported journal, each checked against the chain and against its readable part.

    Raises:
        JournalCorruptError: names the first sequence that does not verify.
    """
    prev_hash, seq = GENESIS, 0
    for line in lines:
        record = _parse_line(line, seq + 1, upcasters)
        if chain_hash(prev_hash, record.entry_bytes) != record.hash:
            raise corrupt(seq + 1, "the hash does not verify")
        if export_line(record, prev_hash) != line.removesuffix("\n"):
            raise corrupt(seq + 1, "the readable part is not what the record's bytes say")
        yield record
        prev_hash, seq = record.hash, record.entry.last_seq


def _parse_line(line: str, seq: int, upcasters: Upcasters) -> StoredRecord:
    try:
        parsed = msgspec.json.decode(line, type=_Line)
        data = base64.b64decode(parsed.entry, validate=True)
        return StoredRecord(data, bytes.fromhex(parsed.hash), decode_entry(data, upcasters))
    except (msgspec.DecodeError, binascii.Error, ValueError, JournalError) as error:
        raise corrupt(seq, f"the line is not an exported record: {error}") from error


def read_export(path: str | Path, upcasters: Upcasters = UPCASTERS) -> Iterator[StoredRecord]:
    """`parse_export` over a file.

    Raises:
        JournalCorruptError: names the first sequence that does not verify.
    """
    with Path(path).open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        yield from parse_export(file, upcasters)


def verify_export(
    path: str | Path, anchors: Sequence[Anchor] = (), public_key: Ed25519PublicKey | None = None
) -> VerifyResult:
    """`verify_journal` over an exported file."""
    return verify_journal(read_export(path), anchors, public_key)
