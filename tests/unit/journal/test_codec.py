"""Records, the chain over them, frames and versions."""

import os
import subprocess
import sys
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.commands import AnyCommand, RecordVenueReport, RecordVenueReports, SubmitOrder
from qtinfra.core.events import AnyEvent, ChildAcked, Entry, OrderAccepted, OrderFilled, OrderRouted
from qtinfra.core.exceptions import JournalCorruptError, JournalError
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.legs import ChildOrder
from qtinfra.core.models import OrderType, TimeInForce
from qtinfra.core.ports import Snapshot
from qtinfra.core.reports import ReportKind, VenueReport
from qtinfra.journal.codec import (
    GENESIS,
    Chain,
    Frame,
    FrameError,
    SealedFrame,
    WrittenBooks,
    chain_hash,
    decode_frame,
    decode_snapshot,
    encode_entry,
    encode_frame,
    encode_snapshot,
    outline,
)
from qtinfra.journal.memory import MemoryJournal
from qtinfra.journal.versions import UPCASTERS, Upcasters, decode_entry, decode_happened, upcast
from qtinfra.testing.journal_contract import RESTRICTED, sample_entries

pytestmark = pytest.mark.unit


def sample_frame(count: int = 4) -> Frame:
    return Chain(0, epoch=1).seal(sample_entries(count))


def check(frame: Frame) -> None:
    for _ in Chain(0).check_frame(frame):
        continue


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_a_decoded_entry_equals_the_encoded_one_and_encodes_to_the_same_bytes(seed: int) -> None:
    for entry in sample_entries(3, seed=seed):
        data = encode_entry(entry)
        assert decode_entry(data) == entry
        assert encode_entry(decode_entry(data)) == data


def test_remembered_books_do_not_change_a_single_byte() -> None:
    books, chain, remembered = WrittenBooks(most=2), Chain(0, epoch=1), 0
    entries = sample_entries(40)
    moved = [msgspec.structs.replace(entry, market=entries[0].market) for entry in entries]
    several = [msgspec.structs.replace(entry, market=entry.market * 2) for entry in entries]
    book = next(entry.market[0] for entry in entries if entry.market)
    others = [
        msgspec.structs.replace(entry, market=(msgspec.structs.replace(book, symbol=f"S{at % 3}"),))
        for at, entry in enumerate(entries)
    ]
    for entry in [*entries, *moved, *several, *others, *entries]:
        following = msgspec.structs.replace(entry, seq=chain.seq + 1)
        before = chain.hash
        [(data, digest)] = chain.seal([following], books).records
        assert data == encode_entry(following)
        assert digest == chain_hash(before, data) == chain.hash
        if len(following.market) == 1:
            assert books.known[following.market[0].symbol][0] is following.market[0]
            remembered += 1
    assert remembered > len(others) and len(books.known) <= 2


def test_entries_of_all_sizes_in_one_frame_are_written_as_each_alone() -> None:
    entries = sample_entries(60, seed=5)
    long = msgspec.structs.replace(entries[7], actor="a" * 5_000)
    entries[7] = long
    frame = Chain(0, epoch=1).seal(entries)
    assert [data for data, _ in frame.records] == [encode_entry(entry) for entry in entries]
    digest = GENESIS
    for data, after in frame.records:
        digest = chain_hash(digest, data)
        assert after == digest


def test_the_outline_places_an_entry_as_the_entry_does() -> None:
    for entry in sample_entries(5):
        place = outline(encode_entry(entry))
        assert (place.shard, place.epoch, place.seq, place.last_seq) == (0, 1, entry.seq, entry.last_seq)


def test_hashes_are_the_same_in_processes_with_different_hash_seeds() -> None:
    program = (
        "from qtinfra.journal.codec import Chain, encode_frame\n"
        "from qtinfra.testing.journal_contract import sample_entries\n"
        "import hashlib, sys\n"
        "frame = Chain(0, epoch=1).seal(sample_entries(50))\n"
        "sys.stdout.write(frame.last_hash.hex() + hashlib.sha256(encode_frame(frame)).hexdigest())\n"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "4711")
    ]
    assert len(outputs[0]) == 128
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith(sample_frame(50).last_hash.hex().encode())


def test_each_hash_covers_the_hash_before_and_the_entry_bytes() -> None:
    digest = GENESIS
    for data, after in sample_frame().records:
        digest = chain_hash(digest, data)
        assert after == digest


def test_a_frame_survives_its_written_form_and_verifies() -> None:
    frame = sample_frame()
    assert decode_frame(encode_frame(frame)) == frame
    check(frame)


def test_every_flipped_bit_of_a_frame_is_found() -> None:
    blob = encode_frame(sample_frame(2))
    for bit in range(len(blob) * 8):
        flipped = bytearray(blob)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((FrameError, JournalCorruptError)):
            check(decode_frame(bytes(flipped)))


@pytest.mark.parametrize("size", [0, 1, 300, 1 << 20])
@pytest.mark.parametrize(
    "lengths", [[], [0], [255, 256], [65_535, 65_536, 1], [7] * 15, [7] * 16, [1] * 70_000]
)
def test_a_frame_is_its_magic_and_its_messagepack_whatever_room_it_was_given(
    lengths: list[int], size: int
) -> None:
    header = msgspec.structs.replace(sample_frame(1).header, epoch=1 << 62, last_seq=1 << 62)
    frame = Frame(header, [(bytes(length), GENESIS) for length in lengths])
    blob = encode_frame(frame, size)
    assert blob == b"QTJ1" + msgspec.msgpack.encode(frame)
    assert blob == encode_frame(frame, len(blob))


@pytest.mark.parametrize("extra", [b"\0", b"QTJ1"])
def test_bytes_after_a_frame_are_refused(extra: bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame(encode_frame(sample_frame()) + extra)


def test_another_written_form_of_the_same_frame_is_refused() -> None:
    blob = encode_frame(sample_frame(1))
    assert blob[4:6] == b"\x92\x95"
    longer = blob[:4] + b"\xdc\x00\x02" + blob[5:]
    with pytest.raises(FrameError, match="not a frame in its written form"):
        decode_frame(longer)


def test_an_edited_record_is_named_by_its_first_sequence() -> None:
    frame = sample_frame(6)
    entry = sample_entries(6)[3]
    data, digest = frame.records[3]
    frame.records[3] = (data[:-1] + bytes([data[-1] ^ 1]), digest)
    with pytest.raises(JournalCorruptError) as error:
        check(frame)
    assert error.value.first_bad_seq == entry.seq
    assert f"sequence {entry.seq}" in error.value.message


def test_an_epoch_never_goes_down_along_the_chain() -> None:
    chain = Chain(0, epoch=2)
    later = chain.seal(sample_entries(1, epoch=2))
    back = Chain(0, epoch=1, seq=chain.seq, hash=chain.hash).seal(
        sample_entries(1, epoch=1, after_seq=chain.seq)
    )
    checker = Chain(0)
    list(checker.check_frame(later))
    with pytest.raises(JournalCorruptError, match="older epoch"):
        list(checker.check_frame(back))


def test_a_gap_another_shard_or_an_empty_frame_is_found_though_every_hash_is_right() -> None:
    first, *later = sample_entries(3)
    header = sample_frame(1).header
    for wrong in (later[1], sample_entries(1, shard=1, after_seq=first.last_seq)[0]):
        data = [encode_entry(first), encode_entry(wrong)]
        digest = chain_hash(GENESIS, data[0])
        records = [(data[0], digest), (data[1], chain_hash(digest, data[1]))]
        with pytest.raises(JournalCorruptError, match="out of place") as error:
            check(Frame(msgspec.structs.replace(header, last_seq=wrong.last_seq), records))
        assert error.value.first_bad_seq == first.last_seq + 1
    with pytest.raises(JournalCorruptError, match="no records"):
        check(Frame(header, []))


def test_a_frame_that_lies_about_its_epoch_or_its_end_is_found() -> None:
    frame = sample_frame(2)
    for change in ({"epoch": 2}, {"last_seq": frame.header.last_seq + 1}):
        header = msgspec.structs.replace(frame.header, **change)
        with pytest.raises(JournalCorruptError):
            check(Frame(header, frame.records))


def test_a_refused_frame_leaves_the_chain_where_it_was() -> None:
    chain = Chain(0, epoch=1)
    good = sample_entries(2)
    with pytest.raises(JournalError):
        chain.seal([good[0], good[0]])
    assert (chain.seq, chain.hash) == (0, GENESIS)
    chain.seal(good)


def test_every_flipped_bit_of_a_snapshot_is_found() -> None:
    snapshot = Snapshot(0, 12, bytes(range(32)), b"state")
    blob = encode_snapshot(snapshot)
    assert decode_snapshot(blob) == snapshot
    for bit in range(len(blob) * 8):
        flipped = bytearray(blob)
        flipped[bit // 8] ^= 1 << bit % 8
        assert decode_snapshot(bytes(flipped)) is None
    assert decode_snapshot(b"") is None


def test_a_record_that_is_read_for_more_than_its_outline_is_checked_alike() -> None:
    frame = sample_frame(3)
    expected = [(place.seq, place.last_seq, record) for place, record in Chain(0).check_frame(frame)]
    for read in (decode_entry, decode_happened):
        found = [(one.seq, one.last_seq, record) for one, record in Chain(0).read_frame(frame, read)]
        assert found == expected


@pytest.mark.parametrize("read", [outline, decode_entry, decode_happened])
def test_what_is_wrong_with_a_record_has_one_name_however_far_it_is_read(read: Any) -> None:
    frame = sample_frame(2)
    header, (first, _) = frame.header, frame.records
    for data, why in ((b"\x90", "not an entry"), (encode_entry(sample_entries(3)[2]), "out of place")):
        wrong = Frame(header, [first, (data, chain_hash(first[1], data))])
        with pytest.raises(JournalCorruptError, match=why):
            list(Chain(0).read_frame(wrong, read))


@pytest.mark.parametrize("gap", [0, 1])
def test_an_unknown_version_is_named_as_such_only_where_it_stands_in_place(gap: int) -> None:
    entry = sample_entries(1)[0]
    raw = msgspec.msgpack.decode(old_bytes(entry, ["SymbolRestricted@9", "GME"]))
    raw[2] += gap
    data = msgspec.msgpack.encode(raw)
    header = msgspec.structs.replace(sample_frame(1).header, last_seq=outline(data).last_seq)
    with pytest.raises(JournalError) as error:
        list(Chain(0).read_frame(Frame(header, [(data, chain_hash(GENESIS, data))]), decode_entry))
    assert isinstance(error.value, JournalCorruptError) == bool(gap)


# --- versions: a made-up past in which SymbolRestricted had no account, and before that said yes or no ---


def from_zero(item: list[object]) -> list[object]:
    return ["SymbolRestricted@-1", item[1], item[2] == "yes"]


def from_minus_one(item: list[object]) -> list[object]:
    return ["SymbolRestricted", item[1], "*", item[2]]


OLD: Upcasters = {"SymbolRestricted@-2": from_zero, "SymbolRestricted@-1": from_minus_one}


def old_bytes(entry: Entry, event: list[object]) -> bytes:
    raw = msgspec.msgpack.decode(encode_entry(entry))
    raw[9] = [event, *raw[9]]
    return msgspec.msgpack.encode(raw)


@pytest.mark.parametrize(
    "event", [["SymbolRestricted@-2", "GME", "yes"], ["SymbolRestricted@-1", "GME", True]]
)
def test_an_old_event_is_lifted_through_every_version_to_todays(event: list[object]) -> None:
    for entry in sample_entries(6):
        lifted = decode_entry(old_bytes(entry, event), OLD)
        assert msgspec.to_builtins(lifted.events[0]) == ["SymbolRestricted", "GME", "*", True]
        assert lifted.events[1:] == entry.events
        assert (lifted.command, lifted.market) == (entry.command, entry.market)


def test_an_old_command_is_lifted_too() -> None:
    raw = msgspec.msgpack.decode(encode_entry(sample_entries(1)[0]))
    raw[7] = ["Limit", "max_order_qty", "12.50"]
    registry: Upcasters = {"Limit": lambda item: ["SetLimit", *item[1:], "*", "*"]}
    command = decode_entry(msgspec.msgpack.encode(raw), registry).command
    assert getattr(command, "value", None) == Decimal("12.50")


def test_a_version_that_nobody_knows_is_an_error_of_its_own_and_not_corruption() -> None:
    data = old_bytes(sample_entries(1)[0], ["SymbolRestricted@9", "GME"])
    for registry in (UPCASTERS, OLD):
        with pytest.raises(JournalError) as error:
            decode_entry(data, registry)
        assert error.value.error_code == "journal_version"
        assert not isinstance(error.value, JournalCorruptError)


@pytest.mark.parametrize("data", [b"", b"\xc1", msgspec.msgpack.encode([1, 2]), msgspec.msgpack.encode("x")])
def test_bytes_that_are_no_entry_are_an_error(data: bytes) -> None:
    with pytest.raises(JournalError):
        decode_entry(data)


def test_upcasters_that_run_in_a_circle_are_an_error() -> None:
    with pytest.raises(JournalError):
        upcast(["A"], {"A": lambda item: ["B"], "B": lambda item: ["A"]})


def test_a_journal_reads_old_records_and_its_hashes_cover_the_original_bytes() -> None:
    journal = MemoryJournal.fresh()
    entry = sample_entries(1)[0]
    data = old_bytes(entry, ["SymbolRestricted@-1", "GME", True])
    digest = chain_hash(GENESIS, data)
    header = msgspec.structs.replace(sample_frame(1).header, last_seq=outline(data).last_seq)
    frame = Frame(header, [(data, digest)])
    journal._write(SealedFrame(header, digest, encode_frame(frame)))
    journal.close()
    again = MemoryJournal.open("journal", disk=journal.disk, upcasters=OLD)
    (record,) = again.records()
    assert (record.entry_bytes, record.hash, again.head.hash) == (data, digest, digest)
    assert len(record.entry.events) == len(entry.events) + 1


# --- an accepted order: its command stands in the acceptance, and only there ------------------------------


def accepted_entry(**said: Any) -> Entry:
    """A record of a new order that was accepted, with another of the same in `said` for its command."""
    entry = next(one for one in sample_entries(20) if isinstance(one.events[0], OrderAccepted))
    return msgspec.structs.replace(entry, command=msgspec.structs.replace(entry.command, **said))


def written(entry: Entry) -> list[Any]:
    """The record's items, as a chain seals it."""
    start = Chain(entry.shard, epoch=entry.epoch, seq=entry.seq - 1)
    [(data, _)] = start.seal([entry]).records
    assert data == encode_entry(entry)
    items: list[Any] = msgspec.msgpack.decode(data)
    return items


def test_the_command_of_an_accepted_order_is_written_once_and_read_back_as_one_object() -> None:
    entry = accepted_entry()
    assert written(entry)[7] is None
    again = decode_entry(encode_entry(entry))
    assert again == entry
    assert isinstance(again.events[0], OrderAccepted)
    assert again.events[0].command is again.command


@pytest.mark.parametrize("same", [True, False], ids=["the same object", "an equal one"])
def test_what_is_written_depends_on_values_and_not_on_objects(same: bool) -> None:
    entry = accepted_entry()
    accepted = entry.events[0]
    assert isinstance(accepted, OrderAccepted)
    command = accepted.command if same else msgspec.structs.replace(accepted.command)
    assert (command is accepted.command) is same
    assert written(msgspec.structs.replace(entry, command=command))[7] is None


@pytest.mark.parametrize(
    "said", [{"qty": Decimal(7)}, {"poss_resend": True}, {"trader": "x"}, {"price": None}], ids=str
)
def test_a_command_that_its_acceptance_does_not_repeat_is_written_too(said: dict[str, Any]) -> None:
    entry = accepted_entry(**said)
    assert written(entry)[7] == msgspec.to_builtins(entry.command)
    assert decode_entry(encode_entry(entry)) == entry


def test_a_command_that_differs_in_a_digit_alone_is_written_too() -> None:
    entry = accepted_entry()
    assert isinstance(entry.command, SubmitOrder)
    longer = accepted_entry(qty=Decimal(f"{entry.command.qty}.0"))
    assert longer == entry
    assert written(longer)[7] is not None
    assert msgspec.msgpack.encode(decode_entry(encode_entry(longer))) == msgspec.msgpack.encode(longer)


def test_a_record_without_a_command_and_without_an_acceptance_is_of_no_version() -> None:
    raw = written(accepted_entry())
    raw[9] = raw[9][1:]
    with pytest.raises(JournalError, match="it has no command") as error:
        decode_entry(msgspec.msgpack.encode(raw))
    assert error.value.error_code == "journal_version"


@pytest.mark.parametrize("rest", [[], [None], [None, "27.000"], [None, None, None]], ids=str)
@pytest.mark.parametrize("read", [decode_entry, decode_happened])
def test_an_acceptance_of_before_is_lifted_with_the_command_of_its_record(rest: list[Any], read: Any) -> None:
    entry = accepted_entry(poss_resend=True)
    assert isinstance(entry.command, SubmitOrder)
    command = msgspec.to_builtins(entry.command)
    raw = written(entry)
    raw[9][0] = ["OrderAccepted", "o-1", *command[1:13], 17, *rest]
    lifted = read(msgspec.msgpack.encode(raw))
    reference = Decimal(rest[1]) if rest[1:] and rest[1] else None
    assert lifted.events[0] == OrderAccepted("o-1", entry.command, 17, None, reference)
    assert lifted.command == entry.command


@pytest.mark.parametrize("touch", [("26.9", "27.1"), (None, "27"), (None, None)], ids=str)
@pytest.mark.parametrize("read", [decode_entry, decode_happened])
def test_a_routing_of_before_is_lifted_with_its_touch(touch: tuple[Any, Any], read: Any) -> None:
    raw = written(accepted_entry())
    leg = ["c-1", "XNAS", "LIMIT", "IOC", "100", "27.0", None]
    raw[9].append(["OrderRouted", "o-1", [leg], "sweep 1", *touch, 17])
    lifted = read(msgspec.msgpack.encode(raw))
    child = ChildOrder("c-1", "XNAS", OrderType.LIMIT, TimeInForce.IOC, Decimal(100), Decimal("27.0"), None)
    bid, ask = (None if px is None else Decimal(px) for px in touch)
    assert lifted.events[-1] == OrderRouted("o-1", (child,), "sweep 1", 17, (bid, ask))


def test_an_acceptance_says_the_terms_of_its_command_by_their_names() -> None:
    accepted = accepted_entry().events[0]
    assert isinstance(accepted, OrderAccepted)
    names = [name for name in SubmitOrder.__struct_fields__ if name not in ("poss_resend", "special", "algo")]
    assert [getattr(accepted, name) for name in names] == [getattr(accepted.command, name) for name in names]


# --- venues' reports: they stand in what they led to, and only there --------------------------------------


def reported(seq: int, kind: ReportKind = ReportKind.FILL, **said: Any) -> VenueReport:
    """A report that names what an acknowledgement or an execution has."""
    if kind is ReportKind.FILL:
        executed = {"exec_id": f"E{seq}", "qty": Decimal("70"), "px": Decimal("50.10")}
        said = {**executed, "liquidity": Liquidity.ADDED, **said}
    return VenueReport(kind, "XNAS", f"c{seq}", seq, "S1", "2024-01-08", venue_order_id=f"V{seq}", **said)


def led_to(report: VenueReport) -> ChildAcked | OrderFilled:
    child_id, ts_ns = f"child {report.seq}", 17
    if report.kind is ReportKind.ACK:
        return ChildAcked(report, child_id, "o-1", True, ts_ns)
    key = f"XNAS|S1|2024-01-08|{report.exec_id}"
    return OrderFilled(report, child_id, "o-1", key, "2024-01-08", Decimal("0.070"), False, ts_ns)


def record_of(command: AnyCommand, *events: AnyEvent) -> Entry:
    return Entry(0, 1, 1, 17, 16, "venue:XNAS", "", command, (), events)


def holds_its_reports(entry: Entry) -> bool:
    """Whether the events hold the reports of their command, all of them, as the same objects."""
    command = entry.command
    assert isinstance(command, RecordVenueReport | RecordVenueReports)
    told = (command.report,) if isinstance(command, RecordVenueReport) else command.reports
    held = [event.report for event in entry.events if isinstance(event, ChildAcked | OrderFilled)]
    return [id(report) for report in told] == [id(report) for report in held]


ACK, FILL, OTHER = reported(1, ReportKind.ACK), reported(2), reported(3)
TOGETHER = RecordVenueReports((ACK, FILL, OTHER))


@pytest.mark.parametrize("between", [(), (RESTRICTED,)], ids=["nothing else", "other events too"])
@pytest.mark.parametrize("reports", [(ACK,), (FILL,), (ACK, FILL), (FILL, ACK, OTHER)], ids=len)
def test_reports_are_written_in_their_events_and_read_back_as_one_object(
    reports: tuple[VenueReport, ...], between: tuple[AnyEvent, ...]
) -> None:
    one = len(reports) == 1
    command = RecordVenueReport(reports[0]) if one else RecordVenueReports(reports)
    entry = record_of(command, *between, *map(led_to, reports), *between)
    assert written(entry)[7] is None
    again = decode_entry(encode_entry(entry))
    assert again == entry
    assert encode_entry(again) == encode_entry(entry)
    assert holds_its_reports(again)


def test_reports_are_written_once_whether_they_are_the_same_objects_or_equal_ones() -> None:
    alike = tuple(msgspec.structs.replace(report) for report in TOGETHER.reports)
    entry = record_of(RecordVenueReports(alike), *map(led_to, TOGETHER.reports))
    assert written(entry)[7] is None


@pytest.mark.parametrize(
    ("command", "held"),
    [
        (RecordVenueReports((FILL,)), (FILL,)),
        (RecordVenueReports((ACK, FILL)), (FILL, ACK)),
        (RecordVenueReports((ACK, FILL)), (ACK,)),
        (RecordVenueReports((ACK, FILL)), (ACK, FILL, OTHER)),
        (RecordVenueReports((ACK, FILL)), (ACK, OTHER)),
        (RecordVenueReports((ACK, FILL)), (ACK, reported(2, qty=Decimal("70.0")))),
        (RecordVenueReports((ACK, FILL)), (ACK, reported(2, flag="a"))),
        (RecordVenueReports(()), ()),
        (RecordVenueReport(ACK), (FILL,)),
        (RecordVenueReport(ACK), ()),
        (RecordVenueReport(ACK), (ACK, FILL)),
        (RecordVenueReport(FILL), (reported(2, px=Decimal("50.1")),)),
        (sample_entries(1)[0].command, (ACK, FILL)),
    ],
)
def test_reports_that_their_events_do_not_repeat_are_written_too(
    command: AnyCommand, held: tuple[VenueReport, ...]
) -> None:
    entry = record_of(command, *map(led_to, held), RESTRICTED)
    assert msgspec.msgpack.encode(written(entry)[7]) == msgspec.msgpack.encode(command)
    assert msgspec.msgpack.encode(decode_entry(encode_entry(entry))) == msgspec.msgpack.encode(entry)


@pytest.mark.parametrize(
    "held",
    [
        (ACK, FILL),
        (ACK, OTHER, FILL),
        (ACK, FILL, OTHER, OTHER),
        (ACK, reported(2, qty=Decimal("70.0")), OTHER),
        (ACK, reported(2, flag="a"), OTHER),
    ],
)
def test_reports_are_written_when_all_events_hold_one_but_not_each_its_own(
    held: tuple[VenueReport, ...],
) -> None:
    entry = record_of(TOGETHER, *map(led_to, held))
    assert msgspec.msgpack.encode(written(entry)[7]) == msgspec.msgpack.encode(TOGETHER)
    assert written(record_of(TOGETHER, *map(led_to, TOGETHER.reports)))[7] is None


@given(
    told=st.lists(st.sampled_from([ACK, FILL, OTHER, reported(2, qty=Decimal("7E+1"))]), max_size=4),
    held=st.lists(st.sampled_from([ACK, FILL, OTHER, reported(2, qty=Decimal("7E+1"))]), max_size=4),
    same=st.booleans(),
    alone=st.booleans(),
)
@settings(deadline=None)
def test_a_record_of_reports_reads_back_to_the_last_digit(
    told: list[VenueReport], held: list[VenueReport], same: bool, alone: bool
) -> None:
    events = [RESTRICTED, *map(led_to, told if same else held)]
    command = RecordVenueReport(told[0]) if alone and told else RecordVenueReports(tuple(told))
    entry = record_of(command, *events)
    data = encode_entry(entry)
    again = decode_entry(data)
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(entry)
    assert encode_entry(again) == data


def in_version_1(event: ChildAcked | OrderFilled) -> list[Any]:
    """The event as it was written when it had what it needed of its report as fields of its own."""
    told: list[Any] = msgspec.to_builtins(event.report)
    mic, seq, venue_order_id, exec_id = told[1], told[3], told[7], told[8]
    qty, px, liquidity, ahead = told[10], told[11], told[15], told[16]
    if isinstance(event, ChildAcked):
        return [
            "ChildAcked", mic, seq, event.child_id, event.order_id, venue_order_id, event.first, event.ts_ns
        ]  # fmt: skip
    return [
        "OrderFilled", mic, seq, event.child_id, event.order_id, "a1", "AAPL", "SELL", event.key, exec_id,
        event.trade_date, qty, px, liquidity, str(event.fee), ahead, event.late, event.ts_ns,
    ]  # fmt: skip


def old_record(command: AnyCommand, reports: tuple[VenueReport, ...], *more: Any) -> bytes:
    """A record of version 1, `more` of it at the end of each execution."""
    raw = msgspec.to_builtins(record_of(command, *map(led_to, reports)))
    raw[9] = [in_version_1(led_to(report)) for report in reports]
    for event in raw[9]:
        event.extend(more if event[0] == "OrderFilled" else ())
    return msgspec.msgpack.encode(raw)


@pytest.mark.parametrize("commission", [(), (None,), ("0.25",)], ids=["before it was known", "none", "some"])
@pytest.mark.parametrize("read", [decode_entry, decode_happened])
def test_old_acknowledgements_and_executions_hold_the_reports_of_their_command(
    read: Any, commission: tuple[Any, ...]
) -> None:
    ahead = reported(4, queue_ahead=Decimal(300), flag="auction")
    taken = reported(1, ReportKind.ACK, liquidity=Liquidity.ADDED, text="taken")
    reports = (taken, FILL, ahead)
    lifted = read(old_record(RecordVenueReports(reports), reports, *commission))
    booked = Decimal(commission[0]) if commission and commission[0] else None
    events = [led_to(report) for report in reports]
    expected = [events[0], *(msgspec.structs.replace(event, commission=booked) for event in events[1:])]
    assert list(lifted.events) == expected
    assert lifted.command == RecordVenueReports(reports)
    assert holds_its_reports(lifted)


@pytest.mark.parametrize(
    "told",
    [
        (reported(9), FILL),
        (reported(2, qty=Decimal("70.0")), FILL),
        (reported(2, ReportKind.ACK), FILL),
        (reported(2, exec_id="E9"), FILL),
    ],
)
def test_an_old_execution_holds_the_report_that_says_what_it_says(told: tuple[VenueReport, ...]) -> None:
    lifted = decode_entry(old_record(RecordVenueReports(told), (FILL,)))
    assert lifted.events == (led_to(FILL),)


@pytest.mark.parametrize(
    "command", [RecordVenueReport(OTHER), RecordVenueReports((OTHER, OTHER)), sample_entries(1)[0].command]
)
def test_an_old_event_without_its_report_says_what_it_said(command: AnyCommand) -> None:
    acked, filled = decode_entry(old_record(command, (ACK, FILL))).events
    assert isinstance(acked, ChildAcked)
    assert isinstance(filled, OrderFilled)
    assert (acked.report.kind, filled.report.kind) == (ReportKind.ACK, ReportKind.FILL)
    assert in_version_1(acked) == in_version_1(led_to(ACK))
    assert in_version_1(filled) == in_version_1(led_to(FILL))


def test_an_event_says_what_its_report_says_by_the_same_names() -> None:
    filled = led_to(reported(2, queue_ahead=Decimal(300)))
    names = ["venue", "seq", "venue_order_id", "exec_id", "qty", "px", "liquidity", "queue_ahead"]
    assert [getattr(filled, name) for name in names] == [getattr(filled.report, name) for name in names]
    assert filled.liquidity is Liquidity.ADDED
    with pytest.raises(ValueError, match="without a price"):
        assert led_to(ACK).px
