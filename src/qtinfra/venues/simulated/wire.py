"""The protocol between a gateway and a venue that runs as its own process.

A message is a MessagePack map behind its length, an unsigned 32-bit big-endian number of bytes:

    client                                        venue
      Logon(session, venue, next_seq, epoch)  ─▶
                                              ◀─  LogonAccepted(session, last_seq) | LogonRefused(reason)
                                              ◀─  Report × (everything from next_seq on)
                                              ◀─  CaughtUp(seq)
      VenueNewOrder | VenueCancel | …         ─▶
                                              ◀─  Report, as they happen
      Heartbeat                               ◀▶  Heartbeat

Reports are numbered by the venue's session without gaps: the same number means the same report as long as the
venue lives. Whatever breaks the protocol ends the connection; the session goes on in the next one.
`Framer` knows no sockets; `Connection` is the asyncio side that both ends share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec

from qtinfra.core.decimals import parse_decimal, plain
from qtinfra.core.exceptions import ExternalServiceError
from qtinfra.core.reports import (
    ToVenue,
    VenueCancel,
    VenueMassStatusRequest,
    VenueNewOrder,
    VenueReplace,
    VenueReport,
    VenueStatusRequest,
)

#: Version of this protocol; the venue refuses a logon of any other.
PROTOCOL_VERSION = 2
#: The longest message, without its length prefix.
MAX_MESSAGE_BYTES = 64 * 1024
#: Both ends stop producing when this much waits to be written.
HIGH_WATER_BYTES = 256 * 1024

_PREFIX_BYTES = 4
_COMPACT_BYTES = 64 * 1024

# Reasons of LogonRefused. All but SESSION_IN_USE are final: the same logon will never be taken.
SESSION_IN_USE = "session_in_use"
STALE_EPOCH = "stale_epoch"
UNKNOWN_VENUE = "unknown_venue"
UNKNOWN_SESSION = "unknown_session"
SEQUENCE_AHEAD = "next_seq_ahead"
WRONG_VERSION = "wrong_version"


class WireError(ExternalServiceError):
    """The peer does not speak the protocol: the connection is useless from this byte on."""

    code = "wire_error"
    retryable = False


class Logon(msgspec.Struct, frozen=True, tag=True, gc=False):
    """First message of every connection.

    Attributes:
        session: the venue's session name; it has to be the one whose numbers we have journaled.
        venue: MIC (ISO 10383).
        next_seq: the first report number we have not yet journaled, 1 in a new session.
        epoch: of the shard's owner; a higher one takes the session over, a lower one is refused.
    """

    session: str
    venue: str
    next_seq: int
    epoch: int
    version: int = PROTOCOL_VERSION


class LogonAccepted(msgspec.Struct, frozen=True, tag=True, gc=False):
    """`last_seq` is the number of the newest report; what is missing up to there follows at once."""

    session: str
    last_seq: int


class LogonRefused(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The logon does not hold. Also ends a live connection when a higher epoch has taken its session."""

    reason: str
    text: str = ""


class Report(msgspec.Struct, frozen=True, tag=True, gc=False):
    report: VenueReport


class CaughtUp(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The resend is complete: every report up to `seq` has been sent on this connection or was journaled."""

    seq: int


class Heartbeat(msgspec.Struct, frozen=True, tag=True, gc=False):
    pass


ClientMessage = (
    Logon
    | Heartbeat
    | VenueNewOrder
    | VenueCancel
    | VenueReplace
    | VenueStatusRequest
    | VenueMassStatusRequest
)
VenueMessage = LogonAccepted | LogonRefused | Report | CaughtUp | Heartbeat
AnyMessage = Logon | LogonAccepted | LogonRefused | Report | CaughtUp | Heartbeat | ToVenue

_encoder = msgspec.msgpack.Encoder()
_client_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ClientMessage)
_venue_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(VenueMessage)


def frame(message: AnyMessage) -> bytes:
    """The message as it goes over the wire, length prefix included.

    Raises:
        WireError: it is longer than a message may be.
    """
    body = _encoder.encode(message)
    _check_length(len(body))
    return len(body).to_bytes(_PREFIX_BYTES, "big") + body


def decode_from_client(body: bytes) -> ClientMessage:
    """One message of a client. Its numbers are plain: unsigned, finite, no exponent.

    Raises:
        WireError: the bytes are no message that a client may send.
    """
    message: ClientMessage = _decode(_client_decoder, body)
    match message:
        case VenueNewOrder(qty=qty, price=price, min_qty=min_qty):
            _check_numbers(qty, price, min_qty)
        case VenueReplace(qty=qty, price=price):
            _check_numbers(qty, price)
    return message


def decode_from_venue(body: bytes) -> VenueMessage:
    """One message of a venue.

    Raises:
        WireError: the bytes are no message that a venue may send.
    """
    message: VenueMessage = _decode(_venue_decoder, body)
    return message


def _decode(decoder: msgspec.msgpack.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a message: {error}", context={"length": len(body)}) from error


def _check_numbers(*values: Decimal | None) -> None:
    for value in values:
        if value is None:
            continue
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int) or not -9 <= exponent <= 0:  # before it becomes text of any length
            raise WireError(f"not a plain decimal number: {value}")
        try:
            parse_decimal(plain(value))
        except ValueError as error:
            raise WireError(str(error)) from error


def _check_length(length: int) -> None:
    if not 0 < length <= MAX_MESSAGE_BYTES:
        raise WireError(
            f"a message of {length} bytes; 1 to {MAX_MESSAGE_BYTES} are allowed",
            context={"length": length, "limit": MAX_MESSAGE_BYTES},
        )


T = TypeVar("T")


class Framer(Generic[T]):
    """Cuts a byte stream into messages, however the stream was cut into pieces on its way."""

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self._decode = decode
        self._buffer = bytearray()
        self._at = 0
        self._error: WireError | None = None

    @property
    def pending_bytes(self) -> int:
        """Bytes of a message that has not come completely."""
        return len(self._buffer) - self._at

    def feed(self, data: bytes) -> Iterator[T]:
        """Take bytes; iterate over the messages that are now complete.

        Messages ahead of the first bad byte are yielded before the error. Whoever stops iterating leaves the
        rest in the framer, for the next call.

        Raises:
            WireError: while iterating; a message too long, empty or not decodable, now and from then on.
        """
        self._buffer += data
        return self._messages()

    def _messages(self) -> Iterator[T]:
        while (body := self._next_body()) is not None:
            try:
                message = self._decode(body)
            except WireError as error:
                self._error = error
                raise
            yield message

    def _next_body(self) -> bytes | None:
        if self._error is not None:
            raise self._error
        start = self._at + _PREFIX_BYTES
        end = start
        if len(self._buffer) >= start:
            end += self._length(start)
        if len(self._buffer) < end or end == start:
            self._compact()
            return None
        body = bytes(self._buffer[start:end])
        self._at = end
        if self._at >= _COMPACT_BYTES:
            self._compact()
        return body

    def _length(self, start: int) -> int:
        length = int.from_bytes(self._buffer[self._at : start], "big")
        try:
            _check_length(length)
        except WireError as error:
            self._error = error
            raise
        return length

    def _compact(self) -> None:
        del self._buffer[: self._at]
        self._at = 0


class Connection(asyncio.Protocol, Generic[T]):
    """One TCP connection: messages out in order and in few writes, heartbeats, and an end for a silent peer.

    All methods belong to the event loop's thread. Subclasses implement the `on_` methods.

    Args:
        decode: turns the bytes of one message into the message.
        heartbeat_s: seconds between two heartbeats.
        dead_after_s: seconds of silence after which the peer counts as dead.
    """

    def __init__(self, decode: Callable[[bytes], T], heartbeat_s: float, dead_after_s: float) -> None:
        self._framer = Framer(decode)
        self._heartbeat_s = heartbeat_s
        self._dead_after_s = dead_after_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0
        self._paused = False
        self._heard_s = self._loop.time()
        self._reason = ""
        self._half_closed = False
        self.closing = False

    # -- for subclasses ----------------------------------------------------------------------------------

    def on_open(self) -> None:
        """The connection stands."""

    def on_message(self, message: T) -> None:
        """One message came. May raise WireError, which ends the connection."""
        raise NotImplementedError

    def on_writable(self) -> None:
        """What was sent so far is on its way; there is room for more."""

    def on_lost(self, reason: str) -> None:
        """The connection is gone; called once."""

    # -- use ---------------------------------------------------------------------------------------------

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait in this process."""
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._outgoing_bytes + waiting

    @property
    def partial_bytes(self) -> int:
        """Bytes of an incoming message that is not complete yet."""
        return self._framer.pending_bytes

    def send(self, message: AnyMessage) -> None:
        """Queue a message; what is queued in one turn of the loop goes out in one write.

        Raises:
            WireError: the message is too long; nothing was queued.
        """
        if self.closing or self._half_closed:
            return
        data = frame(message)
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(data)
        self._outgoing_bytes += len(data)

    def write_now(self) -> None:
        """Hand to the system what is queued, without waiting for the end of this turn of the loop."""
        self._write_outgoing()

    def drop(self, reason: str) -> None:
        """End it at once; what waits is not written, what came is not read."""
        if not self.closing:
            self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    def finish(self, reason: str) -> None:
        """End it after what waits has been written."""
        if not self.closing:
            self._write_outgoing()
            self._end(reason)
            if self._transport is not None:
                self._transport.close()

    def finish_writing(self) -> None:
        """Write what waits and close our direction; the peer is heard until it closes its own.

        Its time to do so is `dead_after_s`, whatever it sends.
        """
        self._write_outgoing()
        if self._transport is not None and not self.closing and not self._half_closed:
            self._half_closed = True
            self._transport.write_eof()

    def _end(self, reason: str) -> None:
        self.closing = True
        self._reason = reason

    def _flush(self) -> None:
        self._write_outgoing()
        if not self._paused and not self.closing:
            self.on_writable()

    def _write_outgoing(self) -> None:
        if self._outgoing and self._transport is not None and not self.closing:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()
        self._outgoing_bytes = 0

    def _beat(self) -> None:
        silent_s = self._loop.time() - self._heard_s
        if silent_s > self._dead_after_s:
            self.drop(f"dead_peer: nothing heard for {silent_s:.3f} s")
            return
        if not self._paused:
            self.send(Heartbeat())
        self._timer = self._loop.call_later(self._heartbeat_s, self._beat)

    # -- asyncio.Protocol --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"needs a stream transport, not {type(transport).__name__}")
        self._transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self._heard_s = self._loop.time()
        self._timer = self._loop.call_later(self._heartbeat_s, self._beat)
        self.on_open()

    def data_received(self, data: bytes) -> None:
        if not self._half_closed:
            self._heard_s = self._loop.time()
        try:
            for message in self._framer.feed(data):
                self.on_message(message)
                if self.closing:
                    return
        except WireError as error:
            self.drop(f"{error.error_code}: {error.message}")

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._loop.call_soon(self._flush)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.closing = True
        self.on_lost(self._reason or (f"connection lost: {exc}" if exc else "closed by the peer"))
