"""The venues: the oracle of what was really sent and executed, behind their real server.

Each venue is a `MatchingVenue` in a `VenueServer`. What it says can be held back, doubled, and told in
another order where a venue may do so; it refuses, busts, corrects and cancels on command. None of that
changes its own record, which is the truth that a run is measured against.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import TypeVar

import msgspec

from qtinfra.core.market import VenueQuote
from qtinfra.core.models import OrderSide
from qtinfra.core.reports import (
    ReportKind,
    ToVenue,
    VenueCancel,
    VenueNewOrder,
    VenueReplace,
    VenueReport,
)
from qtinfra.testing.faultsim.network import Network
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.matching import Listing, MatchingVenue, OrderRecord
from qtinfra.venues.simulated.model import VenueSession
from qtinfra.venues.simulated.orders import ExecutionRecord
from qtinfra.venues.simulated.server import VenueServer

T = TypeVar("T")

#: Reports that may overtake each other; answers about doubt, busts and corrections never do.
_LOOSE = (
    ReportKind.ACK,
    ReportKind.FILL,
    ReportKind.CANCELED,
    ReportKind.CANCEL_REJECT,
    ReportKind.REPLACED,
    ReportKind.REPLACE_REJECT,
)
#: Reports that a venue may say twice, under another number.
_REPEATABLE = (ReportKind.ACK, ReportKind.FILL, ReportKind.CANCELED, ReportKind.BUST)
_REFUSALS: dict[type[ToVenue], ReportKind] = {
    VenueNewOrder: ReportKind.REJECT,
    VenueCancel: ReportKind.CANCEL_REJECT,
    VenueReplace: ReportKind.REPLACE_REJECT,
}
_FIRST_STRANGER = 1 << 40


class OracleVenue(MatchingVenue):
    """A matching venue that notes who sent what, and whose words can be bent.

    Attributes:
        told_to: gets every message that reaches the venue, before it acts.
        accounts: of each order, by its first id.
        disturbed: account and symbol pairs whose past was changed by a bust or a correction.
        counts: what happened, by name.
    """

    def __init__(self, mic: str, listings: list[Listing], trade_date: str, counts: Counter[str]) -> None:
        super().__init__(mic, listings, trade_date)
        self.counts = counts
        self.told_to: Callable[[ToVenue], None] = lambda _: None
        self.accounts: dict[str, str] = {}
        self.disturbed: dict[tuple[str, str], bool] = {}
        self.refuse_all = False
        self.silent = False
        self.twice = False
        self.swap = False
        self._held: list[VenueReport] = []
        self._strangers = _FIRST_STRANGER

    def submit(self, message: ToVenue, now_ns: int) -> list[VenueReport]:
        self.told_to(message)
        if isinstance(message, VenueNewOrder):
            self.accounts[message.cl_ord_id] = message.account
        if self.refuse_all and type(message) in _REFUSALS:
            return self._say(self._refuse(message, now_ns))
        return self._say(super().submit(message, now_ns))

    def _refuse(self, message: ToVenue, now_ns: int) -> list[VenueReport]:
        kind = _REFUSALS[type(message)]
        if isinstance(message, VenueNewOrder):
            if message.cl_ord_id not in self._db.known:
                self._db.enter(message, None, None)
            return [self._db.say(kind, message.cl_ord_id, now_ns, reason="venue refuses")]
        orig = message.orig_cl_ord_id if isinstance(message, VenueCancel | VenueReplace) else ""
        self._db.target(message.cl_ord_id, orig)
        return [self._db.say(kind, message.cl_ord_id, now_ns, reason="broker_option", orig=orig)]

    def _say(self, reports: list[VenueReport]) -> list[VenueReport]:
        """What comes out now of what the venue has to say."""
        if self.twice and reports:
            self.twice = False
            again = [msgspec.structs.replace(report) for report in reports if report.kind in _REPEATABLE]
            self.counts["reports_doubled"] += len(again)
            reports = [*reports, *again]
        if self.swap and len(reports) > 1 and all(report.kind in _LOOSE for report in reports[-2:]):
            self.swap = False
            self.counts["reports_swapped"] += 1
            reports = [*reports[:-2], reports[-1], reports[-2]]
        if self.silent or self._held:
            self._held += reports
            return []
        return reports

    def speak(self) -> list[VenueReport]:
        """End a silence: all that was held back."""
        self.silent = False
        said, self._held = self._held, []
        return said

    # --- other people, and the venue's staff --------------------------------------------------------------

    def stranger(
        self, symbol: str, buy: bool, lots: int, ticks: int | None, now_ns: int
    ) -> list[VenueReport]:
        """Somebody else's order; at a limit it rests."""
        self._strangers += 1
        order = BookOrder(self._strangers, buy, lots, ticks, rests=ticks is not None)
        return self._say(self.background_add(symbol, order, now_ns))

    def bust_some(self, whim: int, now_ns: int, exec_id: str = "") -> list[VenueReport]:
        """Bust an execution that stands, if there is one: a certain one, or any."""
        standing = [held for held in self._standing() if exec_id in ("", held[1].exec_id)]
        found = pick(standing[-2:] if whim % 2 else standing, whim // 2)
        if found is None:
            return []
        record, execution = found
        self.disturbed[self.accounts[record.cl_ord_ids[0]], record.symbol] = True
        return self._say(self.bust(execution.exec_id, now_ns))

    def correct_some(self, whim: int, now_ns: int) -> list[VenueReport]:
        """Correct an execution to another price, and sometimes to less."""
        found = pick(list(self._standing()), whim)
        if found is None:
            return []
        record, execution = found
        self.disturbed[self.accounts[record.cl_ord_ids[0]], record.symbol] = True
        less = Decimal(1) if whim % 2 and execution.qty > 1 else Decimal(0)
        px = execution.px + Decimal("0.01") * (1 + whim % 3)
        return self._say(self.correct(execution.exec_id, execution.qty - less, px, now_ns))

    def _standing(self) -> Iterator[tuple[OrderRecord, ExecutionRecord]]:
        for record in self.orders():
            for execution in record.executions:
                if not execution.busted:
                    yield record, execution

    def cancel_some(self, whim: int, now_ns: int) -> list[VenueReport]:
        """Cancel one of our orders without having been asked."""
        own = pick(self._db.live(), whim)
        if own is None:
            return []
        self._take_out(own, now_ns)
        return self._say([self._db.end(own, ReportKind.CANCELED, "unsolicited", now_ns)])

    def holdings(self) -> dict[tuple[str, str], list[Decimal]]:
        """By account and symbol: net executed, open to buy, open to sell, by the venue's own record."""
        found: dict[tuple[str, str], list[Decimal]] = {}
        for record in self.orders():
            account = self.accounts.get(record.cl_ord_ids[0], "")
            sums = found.setdefault((account, record.symbol), [Decimal(0), Decimal(0), Decimal(0)])
            buys = record.side is OrderSide.BUY
            sums[0] += record.cum_qty if buys else -record.cum_qty
            sums[1 if buys else 2] += record.leaves_qty
        return found


class VenueHost:
    """One venue with its server and its session."""

    def __init__(self, mic: str, port: int, symbols: tuple[str, ...], trade_date: str, net: Network) -> None:
        self.mic = mic
        self.port = port
        self.venue = OracleVenue(mic, [Listing(symbol) for symbol in symbols], trade_date, net.counts)
        self.session = VenueSession(self.venue, f"{mic}-1")
        self.sessions = [self.session]
        self._net = net
        self.server = self._serve()

    def _serve(self) -> VenueServer:
        return VenueServer({self.mic: self.session}, self.now_ns, background_s=0)

    def now_ns(self) -> int:
        return self._net.loop.now_ns

    async def start(self) -> None:
        """Listen on the venue's port."""
        await self.server.start(self.port)

    def publish(self, reports: list[VenueReport]) -> int:
        """Number what the venue has to say and send it on; how many reports there were."""
        self.session.stamp(reports)
        if reports:
            self.server.publish()
        return len(reports)

    def reset(self, after_seq: int) -> Awaitable[None]:
        """Lose the session, and all connections with it: a new one, whose first reports are those that nobody
        had taken of the old. Nobody can log on before what is returned has been awaited."""
        missed = self.session.resend(after_seq)
        self._net.sever(self.port)
        self._net.listeners.pop(self.port, None)
        self.session = VenueSession(self.venue, f"{self.mic}-{len(self.sessions) + 1}")
        self.sessions.append(self.session)
        self.session.stamp(missed)
        self.server = self._serve()
        return self.start()

    def quote(self, symbol: str) -> VenueQuote | None:
        return self.venue.quote(symbol, self.now_ns())


def pick(items: list[T], whim: int) -> T | None:
    """One of several things, by a number; None of none."""
    return items[whim % len(items)] if items else None
