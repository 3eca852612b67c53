"""A simulated venue as a process of its own: it outlives the engines that trade on it.

    python -m qtinfra.venues.simulated.server --venue XNAS --symbols AAPL,MSFT --seed 1

Everything lives in memory as long as the process does: orders, executions and every report sent. Engines come
and go; each session serves one connection at a time, the newest owner's (`wire` has the protocol):

- a logon with a higher epoch takes the session over and ends the connection before; an epoch lower than any
  accepted one is refused; the same epoch is refused while its connection lives;
- what still comes from a connection that has lost its session is counted and not executed;
- a logon gets every report from its `next_seq` on, then CaughtUp, then what happens; reports that are caused
  while nobody is connected wait for the next logon;
- messages of a session are executed one after the other, in the order they came; one that a dying client did
  not send completely is not executed.

The admin port speaks JSON, one object a line, one answer a line: `{"command": "dump"}`; see `AdminCommand`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from qtinfra.core.models import OrderSide
from qtinfra.core.reports import ToVenue, VenueReport
from qtinfra.venues.simulated import wire
from qtinfra.venues.simulated.book import BookOrder, Grid
from qtinfra.venues.simulated.flow import (
    US_INSTRUMENTS,
    SyntheticInstrument,
    SyntheticMarket,
    SyntheticVenue,
)
from qtinfra.venues.simulated.matching import Listing, MatchingVenue
from qtinfra.venues.simulated.model import SimulatedMarket, VenueSession
from qtinfra.venues.simulated.wire import Logon, LogonRefused, WireError

HOST = "127.0.0.1"


class Background(Protocol):
    """Other people at the venues: what makes resting orders trade."""

    def tick(self, now_ns: int) -> list[VenueReport]:
        """Let happen what is due; the numbered reports about our own orders that it caused."""
        ...


class Counters(msgspec.Struct, gc=False):
    """What a session has seen since the process began.

    Attributes:
        executed: messages passed to the venue's model.
        refused_logons: logons for this session that were not taken.
        refused_messages: messages from a connection without the session, a fenced owner's above all.
        partial_messages: messages cut short by the end of their connection.
        takeovers: live connections ended by a higher epoch.
    """

    executed: int = 0
    refused_logons: int = 0
    refused_messages: int = 0
    partial_messages: int = 0
    takeovers: int = 0


class _Hosted:
    """One venue's session and who is connected to it."""

    def __init__(self, mic: str, session: VenueSession) -> None:
        self.mic = mic
        self.session = session
        self.epoch = 0
        self.live: _ClientLink | None = None
        self.counters = Counters()

    def refusal(self, logon: Logon) -> LogonRefused | None:
        """Why the logon is not taken, or None."""
        if logon.version != wire.PROTOCOL_VERSION:
            return LogonRefused(wire.WRONG_VERSION, f"this is version {wire.PROTOCOL_VERSION}")
        if logon.session != self.session.name:
            return LogonRefused(wire.UNKNOWN_SESSION, f"the session is {self.session.name}")
        if logon.epoch < self.epoch:
            return LogonRefused(wire.STALE_EPOCH, f"epoch {self.epoch} has the session")
        if not 1 <= logon.next_seq <= self.session.last_seq + 1:
            return LogonRefused(wire.SEQUENCE_AHEAD, f"the last report is {self.session.last_seq}")
        if self.live is not None and not self.live.closing and logon.epoch == self.epoch:
            return LogonRefused(wire.SESSION_IN_USE, f"epoch {self.epoch} is connected")
        return None


class _ClientLink(wire.Connection[wire.ClientMessage]):
    """One client's connection: first a logon, then orders; reports flow at the client's pace."""

    def __init__(self, server: VenueServer, heartbeat_s: float, dead_after_s: float) -> None:
        super().__init__(wire.decode_from_client, heartbeat_s, dead_after_s)
        self._server = server
        self._unsent: Sequence[VenueReport] = ()
        self._next = 0
        self._resend_to = 0
        self._caught_up = False
        self._cursor = 0
        self.hosted: _Hosted | None = None
        self.serving = False

    def begin(self, hosted: _Hosted, next_seq: int) -> None:
        """The logon is taken: resend, then follow."""
        self.hosted = hosted
        self.serving = True
        self._cursor = next_seq - 1
        self._resend_to = hosted.session.last_seq
        self.send(wire.LogonAccepted(hosted.session.name, self._resend_to))
        self.pump()

    def end(self, refusal: LogonRefused) -> None:
        """No session for this connection, or no longer; what still comes is counted only."""
        self.serving = False
        self.send(refusal)
        self.finish_writing()

    def pump(self) -> None:
        """Send reports as long as the client reads; the rest follows when it has read these."""
        while self.serving and self.unsent_bytes < wire.HIGH_WATER_BYTES:
            if not self._caught_up and self._cursor >= self._resend_to:
                self._caught_up = True
                self.send(wire.CaughtUp(self._cursor))
            report = self._next_report()
            if report is None:
                return
            self.send(wire.Report(report))
            self._cursor += 1

    def _next_report(self) -> VenueReport | None:
        if self._next == len(self._unsent):
            if self.hosted is None or self._cursor == self.hosted.session.last_seq:
                return None
            self._unsent, self._next = self.hosted.session.resend(self._cursor), 0
        self._next += 1
        return self._unsent[self._next - 1]

    def on_open(self) -> None:
        self._server.opened(self)

    def on_message(self, message: wire.ClientMessage) -> None:
        match message:
            case wire.Heartbeat():
                pass
            case Logon():
                self._server.log_on(self, message)
            case _:
                self._server.take(self, message)

    def on_writable(self) -> None:
        self.pump()

    def on_lost(self, reason: str) -> None:
        del reason
        self._server.lost(self)


class VenueServer:
    """Hosts venue sessions on a TCP port of this machine.

    Args:
        sessions: by MIC.
        now_ns: the time that the venues live in, UTC nanoseconds.
        heartbeat_s, dead_after_s: seconds between heartbeats; of silence until a client counts as dead.
        backgrounds: other people's flow; acts every `background_s` seconds (0: only by `tick`).
    """

    def __init__(
        self,
        sessions: Mapping[str, VenueSession],
        now_ns: Callable[[], int],
        *,
        heartbeat_s: float = 1.0,
        dead_after_s: float = 5.0,
        backgrounds: Sequence[Background] = (),
        background_s: float = 0.005,
    ) -> None:
        self._hosted = {mic: _Hosted(mic, session) for mic, session in sessions.items()}
        self._now_ns = now_ns
        self._heartbeat_s = heartbeat_s
        self._dead_after_s = dead_after_s
        self._backgrounds = tuple(backgrounds)
        self._background_s = background_s
        self._links: dict[int, _ClientLink] = {}
        self._listener: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None

    async def start(self, port: int = 0) -> int:
        """Listen; returns the port. Background flow begins."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._link, HOST, port)
        if self._backgrounds and self._background_s > 0:
            self._ticker = loop.call_later(self._background_s, self._tick_and_again)
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """End every connection and stop listening. The sessions' content stays in this object."""
        if self._ticker is not None:
            self._ticker.cancel()
        if self._listener is not None:
            self._listener.close()
        for link in list(self._links.values()):
            link.drop("stopped")
        await asyncio.sleep(0)

    def tick(self) -> int:
        """Let the background act once; returns how many reports that caused."""
        now_ns = self._now_ns()
        caused = sum(len(background.tick(now_ns)) for background in self._backgrounds)
        if caused:
            self.publish()
        return caused

    def publish(self) -> None:
        """Send on reports that were stamped outside of a client's message."""
        for hosted in self._hosted.values():
            if hosted.live is not None:
                hosted.live.pump()

    def disconnect(self, mic: str) -> bool:
        """Cut the live connection of a venue's session, as a failing network does; whether there was one."""
        link = self._hosted[mic].live
        if link is not None:
            link.drop("cut")
        return link is not None

    def status(self) -> dict[str, dict[str, object]]:
        """By MIC: session, last_seq, epoch, connected, and the session's counters."""
        return {mic: self._status(hosted) for mic, hosted in self._hosted.items()}

    def _status(self, hosted: _Hosted) -> dict[str, object]:
        return {
            "session": hosted.session.name,
            "last_seq": hosted.session.last_seq,
            "epoch": hosted.epoch,
            "connected": hosted.live is not None,
            **msgspec.structs.asdict(hosted.counters),
        }

    # -- what connections say ----------------------------------------------------------------------------

    def _link(self) -> _ClientLink:
        return _ClientLink(self, self._heartbeat_s, self._dead_after_s)

    def opened(self, link: _ClientLink) -> None:
        self._links[id(link)] = link

    def lost(self, link: _ClientLink) -> None:
        self._links.pop(id(link), None)
        hosted = link.hosted
        if hosted is None:
            return
        if link.partial_bytes:
            hosted.counters.partial_messages += 1
        if hosted.live is link:
            hosted.live = None

    def log_on(self, link: _ClientLink, logon: Logon) -> None:
        """Take a logon or refuse it.

        Raises:
            WireError: the connection has logged on already.
        """
        if link.hosted is not None:
            raise WireError("a second logon on one connection")
        hosted = self._hosted.get(logon.venue)
        if hosted is None:
            link.end(LogonRefused(wire.UNKNOWN_VENUE, f"this is {', '.join(self._hosted)}"))
            return
        refusal = hosted.refusal(logon)
        if refusal is not None:
            hosted.counters.refused_logons += 1
            link.hosted = hosted
            link.end(refusal)
            return
        if hosted.live is not None:
            hosted.counters.takeovers += 1
            hosted.live.end(LogonRefused(wire.STALE_EPOCH, f"epoch {logon.epoch} took the session"))
        hosted.epoch = logon.epoch
        hosted.live = link
        link.begin(hosted, logon.next_seq)

    def take(self, link: _ClientLink, message: ToVenue) -> None:
        """Execute one message of the connection that has the session.

        Raises:
            WireError: no logon came before it, or it is meant for another venue.
        """
        hosted = link.hosted
        if hosted is None:
            raise WireError("the first message has to be a logon")
        if not link.serving:
            hosted.counters.refused_messages += 1
            return
        if message.venue != hosted.mic:
            raise WireError(f"a message for {message.venue} in a session of {hosted.mic}")
        hosted.counters.executed += 1
        hosted.session.submit(message, self._now_ns())
        link.pump()

    def _tick_and_again(self) -> None:
        self.tick()
        self._ticker = asyncio.get_running_loop().call_later(self._background_s, self._tick_and_again)


# -- other people's orders -------------------------------------------------------------------------------


class CounterFlow:
    """Market orders of other people against whatever rests, so that our resting orders fill bit by bit.

    Each tick sends one order per venue and symbol, to buy or to sell 1 to `max_lots` lots; what finds nothing
    to trade with is cancelled. The stream of orders depends on `rng` alone.
    """

    _FIRST_ID = 1 << 40  # out of the way of the ids of any other flow in the same books

    def __init__(
        self,
        venues: Mapping[str, tuple[MatchingVenue, VenueSession]],
        symbols: Sequence[str],
        rng: random.Random,
        max_lots: int = 100,
    ) -> None:
        self._venues = dict(venues)
        self._symbols = tuple(symbols)
        self._rng = rng
        self._max_lots = max_lots
        self._last_id = self._FIRST_ID

    def tick(self, now_ns: int) -> list[VenueReport]:
        caused: list[VenueReport] = []
        for mic in self._venues:
            for symbol in self._symbols:
                buy, lots = self._rng.random() < 0.5, self._rng.randint(1, self._max_lots)
                caused += self.trade(mic, symbol, buy, lots, limit_ticks=None, now_ns=now_ns)
        return caused

    def trade(
        self, mic: str, symbol: str, buy: bool, lots: int, *, limit_ticks: int | None, now_ns: int
    ) -> list[VenueReport]:
        """One order of somebody else's; at a limit it rests, without one it does not.

        Raises:
            KeyError: no such venue, or it does not list the symbol.
            ValueError: quantity or limit is not positive.
        """
        venue, session = self._venues[mic]
        self._last_id += 1
        order = BookOrder(self._last_id, buy, lots, limit_ticks, rests=limit_ticks is not None)
        return session.stamp(venue.background_add(symbol, order, now_ns))


class MarketFlow:
    """A market that moves by itself, played as the venue's time passes."""

    _STEPS_PER_TICK = 500  # a market that has fallen behind leaves time for orders

    def __init__(self, market: SimulatedMarket) -> None:
        self._market = market

    def tick(self, now_ns: int) -> list[VenueReport]:
        caused: list[VenueReport] = []
        for _ in range(self._STEPS_PER_TICK):
            due_ns = self._market.next_ns()
            if due_ns is None or due_ns > now_ns:
                break
            caused += self._market.step()
        return caused


# -- the admin port --------------------------------------------------------------------------------------


class _Admin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag=str.lower):
    pass


class Status(_Admin, frozen=True):
    """By MIC: session, last_seq, epoch, connected, counters."""


class Dump(_Admin, frozen=True):
    """Status, and the venue's own record: all `reports` sent, our `orders` with their executions."""


class Tick(_Admin, frozen=True):
    """Let the background act `count` times at once."""

    count: int = 1


class Trade(_Admin, frozen=True):
    """Somebody else's order: at `price` it rests, without a price what does not trade is cancelled."""

    venue: str
    symbol: str
    side: OrderSide
    qty: Decimal
    price: Decimal | None = None


class Disconnect(_Admin, frozen=True):
    """Cut the live connection of the venue's session, as a failing network does."""

    venue: str


class Stop(_Admin, frozen=True):
    """End the process, and with it all that the venues know."""


AdminCommand = Status | Dump | Tick | Trade | Disconnect | Stop


class AdminPort:
    """Answers `AdminCommand`s; every answer has `ok`, and `error` when that is false."""

    def __init__(
        self,
        server: VenueServer,
        venues: Mapping[str, tuple[MatchingVenue, VenueSession]],
        flow: CounterFlow,
        grid: Grid,
        *,
        now_ns: Callable[[], int],
    ) -> None:
        self._server = server
        self._venues = venues
        self._flow = flow
        self._grid = grid
        self._now_ns = now_ns
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AdminCommand)
        self.stopped = asyncio.Event()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it closes."""
        try:
            while line := await reader.readline():
                writer.write(msgspec.json.encode(self.answer(line)) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):  # ValueError: a line longer than the reader's limit
            return
        finally:
            writer.close()

    def answer(self, line: bytes) -> dict[str, object]:
        try:
            return {"ok": True, **self._execute(self._decoder.decode(line))}
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}

    def _execute(self, command: AdminCommand) -> dict[str, object]:
        match command:
            case Status():
                return {"venues": self._server.status()}
            case Dump():
                status = self._server.status()
                return {"venues": {mic: {**status[mic], **self._record(mic)} for mic in status}}
            case Tick(count):
                return {"reports": sum(self._server.tick() for _ in range(count))}
            case Trade():
                return {"reports": self._trade(command)}
            case Disconnect(venue):
                return {"disconnected": self._server.disconnect(venue)}
            case Stop():
                self.stopped.set()
        return {}

    def _record(self, mic: str) -> dict[str, object]:
        venue, session = self._venues[mic]
        return {
            "orders": msgspec.to_builtins(venue.orders()),
            "reports": msgspec.to_builtins(session.resend(0)),
        }

    def _trade(self, command: Trade) -> int:
        lots = self._grid.units(command.qty)
        ticks = None if command.price is None else self._grid.ticks(command.price)
        if lots is None or (ticks is None and command.price is not None):
            raise ValueError(f"not on the grid: {command.qty} at {command.price}")
        buy = command.side is OrderSide.BUY
        caused = self._flow.trade(
            command.venue, command.symbol, buy, lots, limit_ticks=ticks, now_ns=self._now_ns()
        )
        self._server.publish()
        return len(caused)


# -- the process -----------------------------------------------------------------------------------------


def _positive(text: str) -> Decimal:
    value = Decimal(text) if text.replace(".", "", 1).isdecimal() else Decimal(0)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"not a positive number: {text}")
    return value


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("qtinfra-venue", description="Simulated venues as a process of their own.")
    made.add_argument("--venue", action="append", required=True, metavar="MIC", help="host it (repeatable)")
    made.add_argument("--symbols", required=True, help="comma-separated symbols that every venue lists")
    made.add_argument("--tick", type=_positive, default=Decimal("0.01"), help="price step (%(default)s)")
    made.add_argument("--lot", type=_positive, default=Decimal(1), help="quantity step (%(default)s)")
    made.add_argument("--trade-date", default="", help="ISO 8601; reports and session names carry it")
    made.add_argument("--port", type=int, default=0, help="where gateways connect; 0 takes a free one")
    made.add_argument("--admin-port", type=int, default=0, help="where operators connect; 0 takes a free one")
    made.add_argument("--heartbeat-ms", type=int, default=1000, help="between heartbeats (%(default)s)")
    made.add_argument(
        "--dead-after-ms", type=int, default=5000, help="silence of a dead client (%(default)s)"
    )
    made.add_argument("--seed", type=int, default=1, help="of all background flow (%(default)s)")
    made.add_argument("--market", action="store_true", help="run a synthetic market that opens now")
    made.add_argument("--market-hours", type=_positive, default=Decimal("6.5"), help="how long (%(default)s)")
    made.add_argument("--speed", type=int, default=1, help="venue time runs this much faster (%(default)s)")
    made.add_argument("--fill", action="store_true", help="market orders on both sides fill what rests")
    made.add_argument("--fill-lots", type=int, default=100, help="size of the largest of them (%(default)s)")
    made.add_argument(
        "--background-ms", type=int, default=5, help="between actions; 0: on command (%(default)s)"
    )
    return made


Venues = dict[str, tuple[MatchingVenue, VenueSession]]


def _plain_venues(options: argparse.Namespace, symbols: Sequence[str]) -> Venues:
    listings = [Listing(symbol, options.tick, options.lot) for symbol in symbols]
    made = {mic: MatchingVenue(mic, listings, options.trade_date) for mic in options.venue}
    return {mic: (made[mic], VenueSession(made[mic], f"{mic}-{options.trade_date or 1}")) for mic in made}


def _market(options: argparse.Namespace, symbols: Sequence[str], now_ns: int) -> SyntheticMarket:
    known = {spec.symbol: spec for spec in US_INSTRUMENTS}
    specs = [
        msgspec.structs.replace(
            known.get(symbol) or SyntheticInstrument(symbol, Decimal(100), 0.02, 10_000_000),
            tick=options.tick,
            lot=options.lot,
        )
        for symbol in symbols
    ]
    venues = [SyntheticVenue(mic, 1.0) for mic in options.venue]
    close_ns = now_ns + int(options.market_hours * 3600 * 10**9)
    trade_date = options.trade_date or "1"
    return SyntheticMarket(
        options.seed, specs, venues, open_ns=now_ns, close_ns=close_ns, trade_date=trade_date
    )


def faster(now_ns: Callable[[], int], speed: int) -> Callable[[], int]:
    """A clock that starts with another and runs `speed` times as fast."""
    start_ns = now_ns()
    return now_ns if speed == 1 else lambda: start_ns + (now_ns() - start_ns) * speed


def assemble(options: argparse.Namespace, now_ns: Callable[[], int]) -> tuple[VenueServer, AdminPort]:
    """The server and its admin port, not listening yet.

    Raises:
        ValueError: the options contradict each other.
    """
    symbols = tuple(options.symbols.split(","))
    now_ns = faster(now_ns, options.speed)
    backgrounds: list[Background] = []
    if options.market:
        market = _market(options, symbols, now_ns())
        venues = {mic: (market.matching[mic], session) for mic, session in market.sessions.items()}
        backgrounds.append(MarketFlow(market))
    else:
        venues = _plain_venues(options, symbols)
    flow = CounterFlow(venues, symbols, random.Random(options.seed), options.fill_lots)
    if options.fill:
        backgrounds.append(flow)
    server = VenueServer(
        {mic: session for mic, (_, session) in venues.items()},
        now_ns,
        heartbeat_s=options.heartbeat_ms / 1000,
        dead_after_s=options.dead_after_ms / 1000,
        backgrounds=backgrounds,
        background_s=options.background_ms / 1000,
    )
    return server, AdminPort(server, venues, flow, Grid(options.tick, options.lot), now_ns=now_ns)


async def serve(server: VenueServer, admin: AdminPort, port: int = 0, admin_port: int = 0) -> None:
    """Host the venues until a stop command, SIGTERM or SIGINT. Ports and sessions go to stdout as JSON."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, admin.stopped.set)
    bound = await server.start(port)
    listener = await asyncio.start_server(admin.talk, HOST, admin_port)
    ready = {
        "port": bound,
        "admin_port": listener.sockets[0].getsockname()[1],
        "pid": os.getpid(),
        "sessions": {mic: status["session"] for mic, status in server.status().items()},
    }
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()
    await admin.stopped.wait()
    listener.close()
    await server.stop()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the process; returns its exit code."""
    command_line = parser()
    options = command_line.parse_args(argv)
    try:
        server, admin = assemble(options, time.time_ns)
    except ValueError as error:
        command_line.error(str(error))
    asyncio.run(serve(server, admin, options.port, options.admin_port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
