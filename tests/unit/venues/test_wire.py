"""The venue protocol's framing: pure bytes in, messages out."""

from collections.abc import Iterator
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import (
    ReportKind,
    ToVenue,
    VenueCancel,
    VenueMassStatusRequest,
    VenueNewOrder,
    VenueReplace,
    VenueReport,
    VenueStatusRequest,
)
from qtinfra.venues.simulated.wire import (
    MAX_MESSAGE_BYTES,
    CaughtUp,
    ClientMessage,
    Framer,
    Heartbeat,
    Logon,
    LogonAccepted,
    LogonRefused,
    Report,
    VenueMessage,
    WireError,
    decode_from_client,
    decode_from_venue,
    frame,
)

names = st.text(max_size=12)
numbers = st.integers(0, 10**26).map(lambda n: Decimal(n).scaleb(-9).quantize(Decimal("1.000000000")))
prices = st.none() | numbers
client_messages: st.SearchStrategy[ClientMessage] = st.one_of(
    st.builds(Logon, names, names, st.integers(1, 2**40), st.integers(0, 2**40)),
    st.just(Heartbeat()),
    st.builds(
        VenueNewOrder,
        names,
        names,
        names,
        st.sampled_from(OrderSide),
        st.sampled_from(OrderType),
        st.sampled_from(TimeInForce),
        numbers,
        prices,
        numbers,
        names,
    ),
    st.builds(VenueCancel, names, names, names),
    st.builds(VenueReplace, names, names, names, numbers, prices),
    st.builds(VenueStatusRequest, names, names),
    st.builds(VenueMassStatusRequest, names, names),
)
reports = st.builds(
    VenueReport,
    kind=st.sampled_from(ReportKind),
    venue=names,
    cl_ord_id=names,
    seq=st.integers(0, 2**40),
    qty=numbers,
    px=prices,
    text=names,
)
venue_messages: st.SearchStrategy[VenueMessage] = st.one_of(
    st.builds(LogonAccepted, names, st.integers(0, 2**40)),
    st.builds(LogonRefused, names, names),
    st.builds(Report, reports),
    st.builds(CaughtUp, st.integers(0, 2**40)),
    st.just(Heartbeat()),
)


def cut(stream: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The stream in pieces of the given sizes, the last piece being what is left."""
    at = 0
    for size in sizes:
        yield stream[at : at + size]
        at += size
    yield stream[at:]


def prefixed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


sizes = st.lists(st.integers(0, 80), max_size=40)


@given(st.lists(client_messages, max_size=8), sizes)
def test_a_clients_messages_arrive_the_same_however_the_stream_is_cut(
    messages: list[ClientMessage], pieces: list[int]
) -> None:
    framer = Framer(decode_from_client)
    stream = b"".join(map(frame, messages))
    arrived = [message for piece in cut(stream, pieces) for message in framer.feed(piece)]
    assert arrived == messages
    assert framer.pending_bytes == 0


@given(st.lists(venue_messages, max_size=8), sizes)
def test_a_venues_messages_arrive_the_same_however_the_stream_is_cut(
    messages: list[VenueMessage], pieces: list[int]
) -> None:
    framer = Framer(decode_from_venue)
    stream = b"".join(map(frame, messages))
    arrived = [message for piece in cut(stream, pieces) for message in framer.feed(piece)]
    assert arrived == messages
    assert framer.pending_bytes == 0


@given(st.lists(client_messages, min_size=1, max_size=5), st.data())
def test_a_message_that_did_not_come_completely_is_not_delivered(
    messages: list[ClientMessage], data: st.DataObject
) -> None:
    last = frame(messages[-1])
    kept = data.draw(st.integers(0, len(last) - 1))
    framer = Framer(decode_from_client)
    arrived = list(framer.feed(b"".join(map(frame, messages[:-1])) + last[:kept]))
    assert arrived == messages[:-1]
    assert framer.pending_bytes == kept


@given(st.lists(client_messages, max_size=4), sizes)
def test_messages_ahead_of_garbage_are_delivered_however_the_stream_is_cut(
    messages: list[ClientMessage], pieces: list[int]
) -> None:
    framer = Framer(decode_from_client)
    arrived: list[ClientMessage] = []
    stream = b"".join(map(frame, messages)) + prefixed(b"\xc1")
    with pytest.raises(WireError, match="not a message"):
        for piece in cut(stream, pieces):
            arrived.extend(framer.feed(piece))  # list.extend keeps what came before the error
    assert arrived == messages


@given(st.binary(min_size=1, max_size=200))
def test_random_bytes_are_a_message_or_a_wire_error_and_nothing_else(body: bytes) -> None:
    try:
        message = decode_from_client(body)
    except WireError as error:
        assert error.error_code == "wire_error"
    else:
        assert decode_from_client(frame(message)[4:]) == message


def test_many_small_messages_in_one_piece_are_all_delivered() -> None:
    framer = Framer(decode_from_client)
    messages = [VenueCancel("XNAS", f"C{n}", f"O{n}") for n in range(5_000)]
    assert list(framer.feed(b"".join(map(frame, messages)))) == messages
    assert framer.pending_bytes == 0


def test_a_consumer_that_stops_finds_the_rest_at_its_next_call() -> None:
    framer = Framer(decode_from_client)
    messages = [VenueStatusRequest("XNAS", f"S{n}") for n in range(3)]
    first = next(framer.feed(b"".join(map(frame, messages))))
    assert [first, *framer.feed(b"")] == messages


@pytest.mark.parametrize("length", [0, MAX_MESSAGE_BYTES + 1, 2**32 - 1])
def test_a_length_out_of_bounds_is_refused_before_its_bytes_come(length: int) -> None:
    framer = Framer(decode_from_client)
    with pytest.raises(WireError, match=f"a message of {length} bytes"):
        list(framer.feed(length.to_bytes(4, "big")))


def test_a_message_of_the_longest_length_passes_and_one_byte_more_does_not() -> None:
    overhead = len(frame(LogonRefused("r", "x" * 1_000))) - 4 - 1_000
    longest = LogonRefused("r", "x" * (MAX_MESSAGE_BYTES - overhead))
    assert list(Framer(decode_from_venue).feed(frame(longest))) == [longest]
    with pytest.raises(WireError, match="65537 bytes"):
        frame(LogonRefused("r", longest.text + "x"))


def test_after_garbage_the_stream_stays_refused() -> None:
    framer = Framer(decode_from_client)
    for data in (prefixed(b"\xc1"), frame(Heartbeat())):
        with pytest.raises(WireError):
            list(framer.feed(data))


@pytest.mark.parametrize(
    "body",
    [
        msgspec.msgpack.encode({"type": "NoSuchMessage"}),
        msgspec.msgpack.encode({"type": "Logon", "session": "S"}),
        msgspec.msgpack.encode({"type": "Logon", "session": 1, "venue": "X", "next_seq": 1, "epoch": 1}),
        msgspec.msgpack.encode({"type": "CaughtUp", "seq": 1}),
        msgspec.msgpack.encode([1, 2]),
        frame(Heartbeat())[4:] + b"\x00",
        b"\x81\xa1a" + b"\x91" * 50_000,
    ],
    ids=[
        "unknown type",
        "field missing",
        "wrong type",
        "a venue's",
        "no map",
        "trailing byte",
        "deep nesting",
    ],
)
def test_what_a_client_may_not_send_is_a_wire_error(body: bytes) -> None:
    with pytest.raises(WireError):
        decode_from_client(body)


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-1", "1E+2", "1E+999999", "1E-10", "1234567890123456789"]
)
def test_an_order_with_a_number_that_is_not_plain_is_a_wire_error(number: str) -> None:
    bad = Decimal(number)
    order = VenueNewOrder(
        "XNAS", "A1", "AAPL", OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, Decimal(1), Decimal(1)
    )
    broken: list[ToVenue] = [
        msgspec.structs.replace(order, qty=bad),
        msgspec.structs.replace(order, price=bad),
        msgspec.structs.replace(order, min_qty=bad),
        VenueReplace("XNAS", "A2", "A1", bad, None),
    ]
    for message in broken:
        with pytest.raises(WireError, match="not a plain decimal number"):
            decode_from_client(frame(message)[4:])
