"""Journals written by hand for the cost analysis: each record says what happened, to unit and cent."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from qtinfra.core.algo import AlgoTerms, Schedule, SliceKind, SliceReason
from qtinfra.core.algo_events import AlgoPlanned, SliceSent
from qtinfra.core.commands import OrderStatusRequest, SubmitOrder
from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.events import (
    AnyEvent,
    ChildAcked,
    DayOpened,
    Entry,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    OrderRouted,
    ReferenceSet,
    Unfrozen,
)
from qtinfra.core.extended_models import US_EQUITY_TICKS, Instrument, Liquidity
from qtinfra.core.legs import ChildOrder
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.models import AssetClass, Currency, OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import ReportKind, VenueReport
from qtinfra.core.special import SpecialTerms
from qtinfra.posttrade.tca import Tca, analyse
from qtinfra.posttrade.tca_facts import Facts, gather
from qtinfra.posttrade.tca_tape import journal_tape

D = Decimal
SECOND = 1_000_000_000
START_NS = 1_704_724_200_000_000_000  # 2024-01-08 14:30 UTC
DATE = "2024-01-08"


def at(seconds: float) -> int:
    """So many seconds after the open, UTC nanoseconds."""
    return START_NS + round(seconds * SECOND)


def book(symbol: str, bid: str, ask: str, traded: str = "0", last: str | None = None) -> ConsolidatedBook:
    """One venue's quote of 1,000 units on each side."""
    quote = VenueQuote("XNAS", ((D(bid), D(1000)),), ((D(ask), D(1000)),), START_NS)
    return ConsolidatedBook(symbol, (quote,), D(traded), D(last) if last is not None else None)


class Story:
    """Appends records; order ids are the client's ids with "O-" before them."""

    def __init__(self, *symbols: str, currency: Currency = Currency.USD, multiplier: Decimal = ONE) -> None:
        self.entries: list[Entry] = []
        self._seq = 0
        self._fills = 0
        self._symbols: dict[str, str] = {}
        listed = tuple(
            Instrument(name, AssetClass.EQUITY, currency, ("XNAS",), US_EQUITY_TICKS, multiplier=multiplier)
            for name in symbols or ("ABC",)
        )
        self.record(-1, ReferenceSet(listed, (), (), ()), DayOpened(DATE))

    def record(self, seconds: float, *events: AnyEvent, books: tuple[ConsolidatedBook, ...] = ()) -> None:
        """One record with what it saw."""
        command = OrderStatusRequest("acct", "any")
        moment = at(seconds)
        self.entries.append(
            Entry(0, 1, self._seq + 1, moment, moment, "test", "", command, books, tuple(events))
        )
        self._seq += len(events)

    def accept(
        self,
        seconds: float,
        cl_ord_id: str,
        qty: str,
        *,
        side: OrderSide = OrderSide.BUY,
        symbol: str = "ABC",
        trader: str = "ann",
        seen: ConsolidatedBook | None = None,
        special: SpecialTerms | None = None,
        algo: AlgoTerms | None = None,
    ) -> None:
        """A limit order is accepted; `seen` is the book of its record."""
        self._symbols[cl_ord_id] = symbol
        command = SubmitOrder(
            "acct",
            cl_ord_id,
            symbol,
            side,
            OrderType.LIMIT,
            TimeInForce.DAY,
            D(qty),
            min_qty=ZERO,
            trader=trader,
            special=special,
            algo=algo,
        )
        event = OrderAccepted(f"O-{cl_ord_id}", command, at(seconds), special, algo=algo)
        self.record(seconds, event, books=(seen,) if seen is not None else ())

    def route(
        self,
        seconds: float,
        cl_ord_id: str,
        child: str,
        qty: str,
        bid: str | None,
        ask: str | None,
        *,
        venue: str = "XNAS",
        slice_of: SliceKind | None = None,
    ) -> None:
        """A child is sent on what the router saw."""
        order_id = f"O-{cl_ord_id}"
        sent = ChildOrder(child, venue, OrderType.LIMIT, TimeInForce.DAY, D(qty), None, ZERO)
        best = (D(bid) if bid is not None else None, D(ask) if ask is not None else None)
        events: list[AnyEvent] = [OrderRouted(order_id, (sent,), "test", at(seconds), best)]
        if slice_of is not None:
            why = SliceReason(slice_of, None, ZERO, ZERO, ZERO, D(qty), *best, None, 0)
            events.append(SliceSent(order_id, (child,), D(qty), why, at(seconds)))
        symbol = self._symbols[cl_ord_id]
        books = (book(symbol, bid, ask),) if bid is not None and ask is not None and slice_of is None else ()
        self.record(seconds, *events, books=books)

    def ack(self, seconds: float, cl_ord_id: str, child: str, *, venue: str = "XNAS") -> None:
        report = VenueReport(ReportKind.ACK, venue, child, venue_order_id="v")
        self.record(seconds, ChildAcked(report, child, f"O-{cl_ord_id}", True, at(seconds)))

    def fill(
        self,
        seconds: float,
        cl_ord_id: str,
        child: str,
        qty: str,
        px: str,
        *,
        fee: str = "0",
        commission: str = "0",
        venue: str = "XNAS",
        added: bool = False,
    ) -> str:
        """An execution; its key."""
        self._fills += 1
        key = f"K{self._fills}"
        report = VenueReport(
            ReportKind.FILL,
            venue,
            child,
            exec_id=key,
            qty=D(qty),
            px=D(px),
            liquidity=Liquidity.ADDED if added else Liquidity.REMOVED,
        )
        event = OrderFilled(
            report, child, f"O-{cl_ord_id}", key, DATE, D(fee), False, at(seconds), D(commission)
        )
        self.record(seconds, event)
        return key

    def cancel(self, seconds: float, cl_ord_id: str) -> None:
        self.record(seconds, OrderCancelled(f"O-{cl_ord_id}", "", "test", at(seconds)))

    def quote(
        self, seconds: float, symbol: str, bid: str, ask: str, traded: str = "0", last: str | None = None
    ) -> None:
        """A decision looked at the market and did nothing that matters here."""
        self.record(seconds, Unfrozen("nothing", "a look"), books=(book(symbol, bid, ask, traded, last),))

    def plan(
        self, seconds: float, cl_ord_id: str, terms: AlgoTerms, schedule: Schedule, why: str = "accepted"
    ) -> None:
        self.record(seconds, AlgoPlanned(f"O-{cl_ord_id}", terms, schedule, why, None, None, at(seconds)))

    def facts(self) -> Facts:
        return gather(iter(self.entries))

    def analysed(self, *, max_age_s: int = 1) -> Tca:
        facts = self.facts()
        return analyse(facts, journal_tape(facts, max_age_ns=max_age_s * SECOND))


def twap_day(parents: int = 3, slices: int = 30, symbol: str = "ABC") -> Story:
    """TWAP, VWAP and POV parents that buy into a market which prints every ten seconds and drifts up."""
    story = Story(symbol)
    length, traded = slices * 60.0, 0
    names = ("TWAP", "VWAP", "POV")
    for number in range(parents):
        algo, qty = names[number % 3], 100 * slices
        terms = AlgoTerms(algo, at(0), at(length), target_rate=D("0.1") if algo == "POV" else None)
        story.accept(
            0, f"P{number}", str(qty), symbol=symbol, seen=book(symbol, "50.00", "50.02"), algo=terms
        )
        story.plan(0, f"P{number}", terms, schedule_of(algo, slices))
    for second in range(0, int(length) + 320, 10):
        minute, price = second // 60, D("50.01") + D(second // 120) / 100 + D((second // 10) % 3 - 1) / 100
        traded += 180 + 20 * ((second // 10) % 7) + (250 if minute < 4 or minute > slices - 5 else 0)
        bid, ask = str(price - D("0.01")), str(price + D("0.01"))
        story.quote(second, symbol, bid, ask, str(traded), str(price))
        if second % 60 == 10 and minute < slices:
            for number in range(parents):
                child, passive = f"P{number}C{minute}", minute % 3 != 0
                kind = SliceKind.PASSIVE if passive else SliceKind.CROSS
                story.route(
                    second,
                    f"P{number}",
                    child,
                    "100",
                    bid,
                    ask,
                    slice_of=kind,
                    venue="XNAS" if passive else "BATS",
                )
                story.ack(second + 0.001, f"P{number}", child, venue="XNAS" if passive else "BATS")
                px, fee = (bid, "-0.20") if passive else (ask, "0.30")
                story.fill(
                    second + 0.4 * number + 0.5,
                    f"P{number}",
                    child,
                    "100",
                    px,
                    fee=fee,
                    commission="0.05",
                    venue="XNAS" if passive else "BATS",
                    added=passive,
                )
    return story


def schedule_of(algo: str, slices: int) -> Schedule:
    """Equal steps for TWAP, a U for VWAP, a rate for POV."""
    times = tuple(at(60 * number) for number in range(slices))
    if algo == "POV":
        return Schedule(times, times, (), at(60 * slices), rate=D("0.1"))
    weights = [2 if algo == "VWAP" and (n < 5 or n >= slices - 5) else 1 for n in range(slices)]
    total = 100 * slices
    targets = tuple(D(round(total * sum(weights[: n + 1]) / sum(weights))) for n in range(slices))
    return Schedule(times, times, targets, at(60 * slices))


def many(children: int) -> Iterator[Entry]:
    """Orders of ten children each, every child acknowledged and filled once."""
    story = Story("ABC", "XYZ")
    for number in range(children // 10):
        symbol, name, second = ("ABC", "XYZ")[number % 2], f"M{number}", number * 0.5
        bid = f"{50 + number % 40 / 100:.2f}"
        ask = f"{float(bid) + 0.02:.2f}"
        story.accept(
            second, name, "1000", symbol=symbol, trader=f"t{number % 5}", seen=book(symbol, bid, ask)
        )
        for part in range(10):
            child = f"{name}C{part}"
            story.route(second, name, child, "100", bid, ask, venue=("XNAS", "BATS", "ARCX")[part % 3])
            story.ack(second + 0.001, name, child)
            story.fill(
                second + 0.1 * part + 0.01,
                name,
                child,
                "100",
                bid if part % 2 else ask,
                fee="0.3",
                added=bool(part % 2),
            )
        yield from story.entries
        story.entries.clear()
