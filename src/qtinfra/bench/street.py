"""The venues of a benchmark: real matching engines, or a script that answers at once and forgets."""

from __future__ import annotations

from typing import Protocol

from qtinfra.bench.mix import MICS, START_NS, TRADE_DATE, Mix, ticks_from
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.reports import ReportKind, ToVenue, VenueNewOrder, VenueReport
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.matching import Listing, MatchingVenue
from qtinfra.venues.simulated.model import VenueSession

#: Size of the market makers' orders: no benchmark uses one up.
_ENDLESS = 10**15


class Street(Protocol):
    """All venues together."""

    def send(self, message: ToVenue, now_ns: int) -> list[VenueReport]:
        """Hand over a message; the numbered reports that answer it."""
        ...


class MatchingStreet:
    """Six `MatchingVenue`s, each behind its session, with a market maker on both sides of every symbol."""

    def __init__(self, mix: Mix) -> None:
        self.sessions: dict[str, VenueSession] = {}
        for mic in MICS:
            venue = MatchingVenue(mic, [Listing(symbol) for symbol in mix.symbols], TRADE_DATE)
            _make_market(venue, mix)
            self.sessions[mic] = VenueSession(venue, "S1")

    def send(self, message: ToVenue, now_ns: int) -> list[VenueReport]:
        return self.sessions[message.venue].submit(message, now_ns)


def _make_market(venue: MatchingVenue, mix: Mix) -> None:
    for symbol, mid in mix.mids.items():
        for order_id, ticks in ((1, -1), (2, 1)):
            price = int(ticks_from(mid, ticks) * 100)
            venue.background_add(symbol, BookOrder(order_id, ticks < 0, _ENDLESS, price), START_NS)


class ScriptedStreet:
    """Acknowledges every order and fills it in full at its limit; `resting` only acknowledges.

    It keeps a counter per venue and nothing else, so that what a benchmark measures is not the venue.
    """

    def __init__(self) -> None:
        self.resting = False
        self._seqs = dict.fromkeys(MICS, 0)

    def send(self, message: ToVenue, now_ns: int) -> list[VenueReport]:
        """Answers to a new order.

        Raises:
            TypeError: any other message.
        """
        if not isinstance(message, VenueNewOrder):
            raise TypeError(f"the script answers new orders only, not {type(message).__name__}")
        mic, seq = message.venue, self._seqs[message.venue]
        self._seqs[mic] = seq + (1 if self.resting else 2)
        ack = VenueReport(
            ReportKind.ACK, mic, message.cl_ord_id, seq + 1, "S1", TRADE_DATE, venue_order_id=f"V{seq}"
        )
        if self.resting:
            return [ack]
        fill = VenueReport(
            ReportKind.FILL,
            mic,
            message.cl_ord_id,
            seq + 2,
            "S1",
            TRADE_DATE,
            venue_order_id=ack.venue_order_id,
            exec_id=f"E{seq}",
            qty=message.qty,
            px=message.price,
            liquidity=Liquidity.REMOVED,
            source_ns=now_ns,
        )
        return [ack, fill]
