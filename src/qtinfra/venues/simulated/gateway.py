"""The gateway to a venue that runs as its own process: one session over TCP, resumed after every break.

Each report reaches `on_report` exactly once and in the order of the session, whatever happens to connections
in between. A message is either handed to the connection or refused to the caller, never kept for later.
CONNECTED is said only once everything missed has arrived. What was handed over when a connection broke is in
doubt, and the engine resolves it by asking the venue.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import msgspec

from qtinfra.core.exceptions import ExternalServiceError
from qtinfra.core.extended_models import VenueStatus
from qtinfra.core.ports import ReportSink
from qtinfra.core.reports import ToVenue, VenueReport
from qtinfra.venues.simulated.wire import (
    SESSION_IN_USE,
    CaughtUp,
    Connection,
    Heartbeat,
    Logon,
    LogonAccepted,
    LogonRefused,
    Report,
    VenueMessage,
    decode_from_venue,
)

#: Called when the link to the venue changes, with the reason in words.
StatusSink = Callable[[VenueStatus, str], None]


class Timing(msgspec.Struct, frozen=True, gc=False):
    """Intervals of the link, in seconds.

    Attributes:
        heartbeat_s: between two heartbeats of ours.
        dead_after_s: silence of the venue after which the connection is given up.
        connect_s: how long a connection attempt may take.
        first_backoff_s, max_backoff_s: the wait before the first and, at most, before any later reconnection.
        close_s: how long `close` waits for what is still to be written.
    """

    heartbeat_s: float = 1.0
    dead_after_s: float = 3.0
    connect_s: float = 3.0
    first_backoff_s: float = 0.05
    max_backoff_s: float = 5.0
    close_s: float = 1.0


def backoff_s(attempt: int, timing: Timing, rng: random.Random) -> float:
    """Seconds to wait before reconnecting: doubled per failed attempt, capped, at random 50 to 100% of it.

    Args:
        attempt: failed attempts since the link last worked, from 0.
        rng: spreads the gateways that lost the same venue.

    Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015 (equal jitter).
    """
    doubled = timing.first_backoff_s * float(1 << min(attempt, 32))
    return min(doubled, timing.max_backoff_s) * rng.uniform(0.5, 1.0)


class TcpVenueGateway:
    """`core.ports.VenueGateway` over TCP for an asyncio runtime. Everything happens in the loop's thread.

    Args:
        venue: MIC of the venue.
        host, port: where the venue listens.
        session: name of the venue's session; the reports of any other are not ours to count.
        epoch: of the shard's owner. The venue serves the highest one only.
        next_seq: the first report number that is not yet journaled.
        on_report: gets each report once, in order. If it raises, the report counts as not delivered.
        on_status: CONNECTED after the resend is complete; DISCONNECTED when the link is lost, when a first
            attempt fails, and for each message that cannot be sent.
        rng: jitter of the reconnections.
        max_unsent_bytes: what may wait to be written; a venue that lets more pile up is disconnected.
    """

    def __init__(
        self,
        venue: str,
        host: str,
        port: int,
        *,
        session: str,
        epoch: int,
        next_seq: int,
        on_report: ReportSink,
        on_status: StatusSink,
        rng: random.Random,
        timing: Timing | None = None,
        max_unsent_bytes: int = 1 << 20,
    ) -> None:
        if next_seq < 1:
            raise ValueError(f"report numbers begin with 1, not {next_seq}")
        self._venue = venue
        self._host = host
        self._port = port
        self._session = session
        self._epoch = epoch
        self._next_seq = next_seq
        self._on_report = on_report
        self._on_status = on_status
        self._rng = rng
        self._timing = timing or Timing()
        self._max_unsent_bytes = max_unsent_bytes
        self._link: _Link | None = None
        self._runner: asyncio.Task[None] | None = None
        self._status: VenueStatus | None = None
        self._closed = False
        self._refused = ""

    @property
    def venue(self) -> str:
        return self._venue

    @property
    def next_seq(self) -> int:
        """Number of the next report to be delivered."""
        return self._next_seq

    @property
    def connected(self) -> bool:
        """Whether messages can be sent: logged on, and everything missed has been delivered."""
        return self._link is not None and self._link.caught_up and not self._link.closing

    @property
    def refused(self) -> str:
        """The venue's reason when it refused us for good (such as a stale epoch); else empty."""
        return self._refused

    async def start(self) -> None:
        """Begin to connect; `on_status` tells how it goes."""
        if self._runner is None and not self._closed:
            self._runner = asyncio.get_running_loop().create_task(self._run())

    def send(self, message: ToVenue) -> None:
        """Hand one message to the connection, in order.

        Raises:
            ExternalServiceError: it was not handed over and will not be (`venue_disconnected`, or
                `venue_backpressure` when the venue does not read). DISCONNECTED has been said again, after
                whatever was said before, so that the engine comes to ask about this message too.
            WireError: the message can never be sent: it is too long.
        """
        link = self._link
        if link is None or not link.caught_up or link.closing:
            raise self._not_sent(message, "venue_disconnected", self._refused or "not connected")
        if link.unsent_bytes > self._max_unsent_bytes:
            link.write_now()  # what one turn of the loop has queued is nothing that the venue lets pile up
        if link.unsent_bytes > self._max_unsent_bytes:
            link.drop("venue_backpressure")
            raise self._not_sent(message, "venue_backpressure", f"{self._max_unsent_bytes} bytes wait")
        link.send(message)

    async def close(self) -> None:
        """Write what waits, end the connection and stop reconnecting. No status is said."""
        self._closed = True
        link, runner = self._link, self._runner
        if link is not None:
            link.finish("closed")
            await asyncio.wait([link.lost], timeout=self._timing.close_s)
            link.drop("closed")
        if runner is not None:
            runner.cancel()
            await asyncio.wait([runner])
            if not runner.cancelled():
                runner.result()  # an error of a callback comes to light here at the latest

    # -- connections -------------------------------------------------------------------------------------

    async def _run(self) -> None:
        attempt = 0
        while not self._over():
            if await self._one_connection():
                attempt = 0
            if not self._over():
                await asyncio.sleep(backoff_s(attempt, self._timing, self._rng))
                attempt += 1

    def _over(self) -> bool:
        return self._closed or bool(self._refused)

    async def _one_connection(self) -> bool:
        """Connect and stay until the connection ends; whether it was ever caught up."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timing.connect_s):
                _, link = await loop.create_connection(lambda: _Link(self), self._host, self._port)
        except (OSError, TimeoutError) as error:
            self._say_disconnected(f"connect failed: {type(error).__name__}: {error}")
            return False
        await asyncio.wait([link.lost])
        return link.caught_up

    def _opened(self, link: _Link) -> None:
        self._link = link
        if self._closed:
            link.drop("closed")
            return
        link.send(Logon(self._session, self._venue, self._next_seq, self._epoch))

    def _lost(self, link: _Link, reason: str) -> None:
        if self._link is link:
            self._link = None
        self._say_disconnected(self._refused or reason)

    # -- messages ----------------------------------------------------------------------------------------

    def _received(self, link: _Link, message: VenueMessage) -> None:
        match message:
            case Report(report):
                self._take(link, report)
            case CaughtUp(seq):
                self._take_caught_up(link, seq)
            case LogonAccepted(session, last_seq):
                self._take_accepted(link, session, last_seq)
            case LogonRefused(reason, text):
                self._take_refused(link, reason, text)
            case Heartbeat():
                pass

    def _take(self, link: _Link, report: VenueReport) -> None:
        if not link.accepted or report.session != self._session or report.venue != self._venue:
            link.drop(f"protocol: a report of {report.venue} {report.session!r} in session {self._session!r}")
        elif report.seq > self._next_seq:
            link.drop(f"gap: report {report.seq} came, {self._next_seq} was expected")
        elif report.seq == self._next_seq:
            self._on_report(report)
            self._next_seq += 1

    def _take_accepted(self, link: _Link, session: str, last_seq: int) -> None:
        if session != self._session or last_seq < self._next_seq - 1:
            link.drop(f"protocol: logged on to {session!r} at {last_seq}, asked for {self._next_seq}")
        else:
            link.accepted = True

    def _take_caught_up(self, link: _Link, seq: int) -> None:
        if not link.accepted or seq >= self._next_seq:
            link.drop(f"gap: resend complete at {seq}, {self._next_seq} was expected")
        elif not link.caught_up:
            link.caught_up = True
            self._status = VenueStatus.CONNECTED
            self._on_status(VenueStatus.CONNECTED, f"caught up to {seq}")

    def _take_refused(self, link: _Link, reason: str, text: str) -> None:
        words = f"{reason}: {text}" if text else reason
        if reason != SESSION_IN_USE:
            self._refused = words
        link.drop(words)

    # -- statuses ----------------------------------------------------------------------------------------

    def _say_disconnected(self, reason: str) -> None:
        if not self._closed and self._status is not VenueStatus.DISCONNECTED:
            self._status = VenueStatus.DISCONNECTED
            self._on_status(VenueStatus.DISCONNECTED, reason)

    def _not_sent(self, message: ToVenue, code: str, why: str) -> ExternalServiceError:
        self._status = VenueStatus.DISCONNECTED
        self._on_status(VenueStatus.DISCONNECTED, f"not sent: {message.cl_ord_id}: {why}")
        return ExternalServiceError(
            f"{self._venue} did not get {message.cl_ord_id}: {why}",
            code=code,
            context={"venue": self._venue, "cl_ord_id": message.cl_ord_id},
        )


class _Link(Connection[VenueMessage]):
    """One connection of the gateway's."""

    def __init__(self, gateway: TcpVenueGateway) -> None:
        timing = gateway._timing
        super().__init__(decode_from_venue, timing.heartbeat_s, timing.dead_after_s)
        self._gateway = gateway
        self.accepted = False
        self.caught_up = False
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def on_open(self) -> None:
        self._gateway._opened(self)

    def on_message(self, message: VenueMessage) -> None:
        self._gateway._received(self, message)

    def on_lost(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        self._gateway._lost(self, reason)
