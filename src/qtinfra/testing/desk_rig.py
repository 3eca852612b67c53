"""One shard on disk in one process, by hand: bytes in, matching venues out there, a file that survives.

`Street` is the world outside: venues that trade on whatever becomes of us. `DeskRig` is the shard: strict
parser, kernel, SQLite journal with signed heads, group commit. Throw a rig away at any moment and make
another one on the same files and the same street: that is a restart. Time is a clock set by hand.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from qtinfra.bootstrap import Evidence, Recorder
from qtinfra.core.commands import (
    AnyCommand,
    Inbound,
    RecordVenueReport,
    SetReference,
    SetVenueStatus,
    StartEpoch,
    TimerFired,
    TimerKind,
)
from qtinfra.core.events import AnyEvent, Entry
from qtinfra.core.extended_models import US_EQUITY_TICKS, Account, Instrument, Venue, VenueStatus
from qtinfra.core.market import ConsolidatedBook
from qtinfra.core.models import AssetClass, Currency, Order
from qtinfra.core.reports import Alert, Effect, ExecutionReport, OrderCancelReject, ToVenue, VenueReport
from qtinfra.core.validation.wire import parse_new_order
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State
from qtinfra.infra.clock import ManualClock
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.runtime.loop import Frame, ShardLoop
from qtinfra.runtime.recovery import Recovery, recover
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.matching import Listing, MatchingVenue
from qtinfra.venues.simulated.model import VenueSession

#: Monday, 3 March 2025, 15:00:00Z: half an hour after New York has opened.
TRADE_DATE = "2025-03-03"
START_NS = 1_741_014_000_000_000_000
STEP_NS = 1_000_000

#: Fees in USD per share for taking and for making, by MIC.
US_VENUES = (
    Venue("XNAS", "Nasdaq", Currency.USD, Decimal("0.0030"), Decimal("-0.0020")),
    Venue("ARCX", "NYSE Arca", Currency.USD, Decimal("0.0030"), Decimal("-0.0018")),
)

ClientReport = ExecutionReport | OrderCancelReject


class Street:
    """The venues, what other people have in their books, and the links to them. Implements `MarketView`.

    Attributes:
        received: every message that has reached a venue, oldest first.
        arriving: told of each message as it arrives, before the venue acts on it.
    """

    def __init__(
        self, clock: ManualClock, symbols: Sequence[str], venues: Sequence[Venue] = US_VENUES
    ) -> None:
        listings = [Listing(symbol) for symbol in symbols]
        self.clock = clock
        self.symbols = tuple(symbols)
        self.places = tuple(venues)
        self.venues = {place.mic: MatchingVenue(place.mic, listings, TRADE_DATE) for place in venues}
        self.sessions = {mic: VenueSession(venue, f"{mic}-1") for mic, venue in self.venues.items()}
        self.received: list[ToVenue] = []
        self.arriving: Callable[[ToVenue], None] = lambda _: None
        self._broken: dict[str, bool] = {}
        self._others = 0

    def book(self, symbol: str) -> ConsolidatedBook | None:
        """What the venues display now."""
        now_ns = self.clock.now_ns()
        quotes = [venue.quote(symbol, now_ns) for _, venue in sorted(self.venues.items())]
        shown = tuple(quote for quote in quotes if quote is not None)
        return ConsolidatedBook(symbol, shown) if shown else None

    def others(self, mic: str, symbol: str, qty: int, price: str, *, buy: bool = False) -> list[VenueReport]:
        """Somebody else's limit order; reports about our orders that it trades with."""
        self._others += 1
        cents = int(Decimal(price) * 100)
        order = BookOrder(self._others, buy, qty, cents)
        reports = self.venues[mic].background_add(symbol, order, self.clock.now_ns())
        return self.sessions[mic].stamp(reports)

    def take(self, message: ToVenue) -> list[VenueReport]:
        """A message arrives; the reports that answer it. Nothing arrives over a broken link."""
        if self.broken(message.venue):
            return []
        self.arriving(message)
        self.received.append(message)
        return self.sessions[message.venue].submit(message, self.clock.now_ns())

    def broken(self, mic: str) -> bool:
        return self._broken.get(mic, False)

    def cut(self, mic: str) -> None:
        """Break the link: what is sent from now on is lost, and what the venue says is not heard."""
        self._broken[mic] = True

    def mend(self, mic: str) -> None:
        self._broken[mic] = False


class Turn(msgspec.Struct):
    """What a request led to, until nothing was under way any more."""

    events: list[AnyEvent] = []
    reports: list[ClientReport] = []
    alerts: list[Alert] = []


class DeskRig:
    """A shard between clients' bytes and a street, on files of its own.

    Args:
        files: the journal and its evidence; an existing journal is recovered.
        street: the venues; they outlive the rig.
        accounts: what a new journal begins with; an existing one knows its own.
        setup: further commands of a new journal (limits, restrictions).

    Raises:
        FencedError: another writer holds the journal.
        JournalCorruptError: names the first sequence that does not verify.
    """

    def __init__(
        self,
        files: Evidence,
        street: Street,
        *,
        accounts: Iterable[Account] = (),
        setup: Iterable[AnyCommand] = (),
        owner: str = "desk",
    ) -> None:
        self.files = files
        self.street = street
        self.clock = street.clock
        self.journal = SqliteJournal.open(files.journal, owner=owner)
        self.recovery: Recovery = recover(self.journal)
        self._recorder = Recorder(self.journal, files, self.clock)
        self.loop: ShardLoop[None] = ShardLoop(
            Kernel(self.recovery.state), self.journal, self.clock, street, not_before_ns=self.recovery.last_ns
        )
        self._heard: deque[VenueReport] = deque()
        self._begin(owner, tuple(accounts), tuple(setup))

    @property
    def state(self) -> State:
        return self.loop.kernel.state

    def _begin(self, owner: str, accounts: tuple[Account, ...], setup: tuple[AnyCommand, ...]) -> None:
        """Take the shard over. Of what was in flight before, each venue is asked; nothing is sent again."""
        new = not self.state.seq
        self.run(StartEpoch(self.journal.epoch, owner), "system")
        if new:
            self.run(SetReference(us_shares(self.street), accounts, self.street.places), "system")
            self.run(TimerFired(TimerKind.DAY_OPEN, TRADE_DATE), "timer")
            for command in setup:
                self.run(command, "risk")
        else:
            for mic in self.state.venues:
                self.run(SetVenueStatus(mic, VenueStatus.DISCONNECTED, "restart"), "system")
        for mic in self.street.venues:
            self.connect(mic)

    # --- asking -------------------------------------------------------------------------------------------

    def receive(self, data: bytes, account: str | None = None) -> Turn:
        """An order message from a client, and all that follows from it.

        Raises:
            MessageRefused: the parser takes no order from it; nothing was journaled.
        """
        command = parse_new_order(data, account=account)
        return self.run(command, command.account)

    def run(self, command: AnyCommand, actor: str) -> Turn:
        """Have a command decided, made durable and released, and everything that the venues say to it."""
        turn = Turn()
        self._pass(self.decide(command, actor), turn)
        self._listen(turn)
        return turn

    def say(self, reports: Iterable[VenueReport]) -> Turn:
        """What a venue says by itself: a fill of a resting order, a bust, a correction."""
        self._heard.extend(report for report in reports if not self.street.broken(report.venue))
        turn = Turn()
        self._listen(turn)
        return turn

    def disconnect(self, mic: str) -> Turn:
        """The link breaks and we notice."""
        self.street.cut(mic)
        return self.run(SetVenueStatus(mic, VenueStatus.DISCONNECTED, "link lost"), f"venue:{mic}")

    def connect(self, mic: str) -> Turn:
        """The link is there: the venue first sends what we missed, then takes our questions."""
        self.street.mend(mic)
        turn = self.say(self.street.sessions[mic].resend(self.state.inbound.get(mic, 0)))
        status = SetVenueStatus(mic, VenueStatus.CONNECTED, "session resumed")
        after = self.run(status, f"venue:{mic}")
        return Turn(turn.events + after.events, turn.reports + after.reports, turn.alerts + after.alerts)

    # --- the three steps of a frame ------------------------------------------------------------------------

    def decide(self, command: AnyCommand, actor: str) -> Frame[None]:
        """Decide and apply in memory: nothing is durable and nothing has left."""
        self.clock.advance_to(self.clock.now_ns() + STEP_NS)
        inbound = Inbound(command, actor, received_ns=self.clock.now_ns())
        return self.loop.compute([(inbound, None)])

    def commit(self, frame: Frame[None]) -> None:
        """Make a frame durable: synced to the disk when this returns; then a head is signed when due."""
        self.loop.append(frame)
        if frame.entries:
            self._recorder.on_durable(self.journal.head)

    def release(self, frame: Frame[None], turn: Turn) -> None:
        """Let the effects of a durable frame go: replies to clients, messages to venues."""
        self.loop.release(frame, lambda effect: self._leave(effect, turn))

    def _pass(self, frame: Frame[None], turn: Turn) -> None:
        if frame.stopped is not None:
            raise frame.stopped
        self.commit(frame)
        for outcome, _ in frame.results:
            turn.events += outcome.events
        self.release(frame, turn)

    def _leave(self, effect: Effect, turn: Turn) -> None:
        if isinstance(effect, ExecutionReport | OrderCancelReject):
            turn.reports.append(effect)
        elif isinstance(effect, Alert):
            turn.alerts.append(effect)
        else:
            self._heard.extend(self.street.take(effect))

    def _listen(self, turn: Turn) -> None:
        while self._heard:
            report = self._heard.popleft()
            self._pass(self.decide(RecordVenueReport(report), f"venue:{report.venue}"), turn)

    # --- reading and leaving -------------------------------------------------------------------------------

    def order(self, account: str, cl_ord_id: str) -> Order:
        """An order by any of its client ids.

        Raises:
            LookupError: there is none.
        """
        found = self.state.find_order(account, cl_ord_id)
        if found is None:
            raise LookupError(f"no order {cl_ord_id} of {account}")
        return found

    def position(self, account: str, symbol: str) -> Decimal:
        """Net position in units; bought is positive."""
        return self.state.net_position(account, symbol)

    def close(self) -> None:
        """Sign the end of the journal and give the shard back."""
        self._recorder.close()

    def kill(self) -> None:
        """End without a last word: what was not synced is lost, and the operating system drops the lock."""
        self.journal.close()


def us_shares(street: Street) -> tuple[Instrument, ...]:
    """The street's symbols as US shares that every venue trades, the first one being the listing venue."""
    mics = tuple(street.venues)
    return tuple(
        Instrument(symbol, AssetClass.EQUITY, Currency.USD, mics, US_EQUITY_TICKS)
        for symbol in street.symbols
    )


def order_message(fields: Mapping[str, str]) -> bytes:
    """An order as a client sends it: a JSON object, numbers as text."""
    return msgspec.json.encode(dict(fields))


def durable_entries(files: Evidence) -> list[Entry]:
    """What the journal's file holds right now, read and verified over a connection of its own."""
    reader = SqliteJournal.open_readonly(files.journal)
    try:
        return list(reader.read(0))
    finally:
        reader.close()


def flip_a_bit(journal: Path) -> int:
    """Change one bit of a record in the middle of a closed journal; the first sequence of its frame."""
    db = sqlite3.connect(journal)
    try:
        rows = db.execute("SELECT first_seq, blob FROM frame ORDER BY first_seq").fetchall()
        first, blob = rows[len(rows) // 2]
        place = len(blob) // 2
        edited = blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :]
        db.execute("UPDATE frame SET blob = ? WHERE first_seq = ?", (edited, first))
        db.commit()
    finally:
        db.close()
    return int(first)
