"""The stage of the golden session: a kernel, venues that say what the script says, and the records so far.

Times and ids come from the script and from counters here, never from the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import count
from typing import Any

import msgspec

from qtinfra.core import commands as cmd
from qtinfra.core.decimals import ZERO, exact
from qtinfra.core.events import Entry
from qtinfra.core.extended_models import Liquidity, VenueStatus
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.models import Child, Order, OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import ReportKind, VenueReport
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State

DAYS = ("2024-07-08", "2024-07-09", "2024-07-10", "2024-07-11")
START_NS = 1_720_445_400_000_000_000
STEP_NS = 1_000_000
VENUE, OTHER = "XNAS", "XNYS"
SYMBOL, RARE, PAIR = "ACME", "RARE", "PAIR"
ALPHA, BETA, GAMMA = "alpha", "beta", "gamma"
BUY, SELL = OrderSide.BUY, OrderSide.SELL


class Story:
    """A kernel, venues that say what the script says, and the records so far.

    Attributes:
        entries: the records, in order; those of one epoch stand together.
        day: index of the trading date in `DAYS`.
        traded: volume of `SYMBOL` that has printed today, in units.
        blind: reading the market fails, so that the engine quarantines what needs it.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.kernel = Kernel(State())
        self.day = 0
        self.blind = False
        self.traded = ZERO
        self._books: dict[str, ConsolidatedBook] = {}
        self._now_ns = START_NS
        self._seqs: dict[str, int] = {}
        self._executions = 0

    def book(self, symbol: str) -> ConsolidatedBook | None:
        """Implements `MarketView`: what the script has quoted; while `blind`, it fails."""
        if self.blind:
            raise LookupError(f"no market for {symbol}")
        found = self._books.get(symbol)
        if found is None or symbol != SYMBOL:
            return found
        return msgspec.structs.replace(found, traded=self.traded)

    def pass_time(self, to_ns: int) -> None:
        """Let the clock stand at a later moment, UTC nanoseconds."""
        self._now_ns = max(self._now_ns, to_ns)

    def run(self, command: cmd.AnyCommand, actor: str = "desk") -> None:
        self._now_ns += STEP_NS
        inbound = cmd.Inbound(command, actor, f"c{len(self.entries)}", self._now_ns - 1_000)
        outcome = self.kernel.execute(inbound, self._now_ns, self)
        if outcome.entry is not None:
            self.entries.append(outcome.entry)

    @property
    def now_ns(self) -> int:
        return self._now_ns

    # --- asking -------------------------------------------------------------------------------------------

    def submit(
        self, name: str, qty: int = 100, price: str = "50", *, account: str = ALPHA, **terms: Any
    ) -> None:
        """A limit order to buy, with whatever else is named."""
        self.run(order_of(name, qty, price, account=account, **terms), account)

    def submit_together(self, *orders: cmd.SubmitOrder) -> None:
        """New orders of one sender that wait together."""
        self._now_ns += STEP_NS
        about = orders[0].account, f"c{len(self.entries)}"
        batch = [
            (cmd.Inbound(order, *about, self._now_ns - 1_000 + place), None)
            for place, order in enumerate(orders)
        ]
        moments = count(self._now_ns, 100)
        with exact():
            self.kernel.execute_all(batch, lambda: next(moments), self, [], self.entries)

    def working(self, name: str, qty: int = 100, price: str = "50", **terms: Any) -> None:
        """The same, acknowledged by the venue."""
        self.submit(name, qty, price, **terms)
        self.say(ReportKind.ACK, name, account=terms.get("account", ALPHA), venue_order_id=f"V-{name}")

    def cancel(self, name: str, account: str = ALPHA) -> None:
        self.run(cmd.CancelOrder(account, f"{name}-c", name), account)

    def replace(self, new: str, name: str, qty: int, price: str | None = None, account: str = ALPHA) -> None:
        limit = None if price is None else Decimal(price)
        self.run(cmd.ReplaceOrder(account, new, name, Decimal(qty), limit), account)

    # --- the market and the venue ---------------------------------------------------------------------------

    def show(self, symbol: str, bid: str, asks: Mapping[str, str], size: int = 1_000) -> None:
        """The market stands like this: `size` units at the bid and at the offer of each venue in `asks`."""
        units = Decimal(size)
        self._books[symbol] = ConsolidatedBook(
            symbol,
            tuple(
                VenueQuote(venue, ((Decimal(bid), units),), ((Decimal(ask), units),), self._now_ns)
                for venue, ask in asks.items()
            ),
        )

    def quote(self, bid: str, ask: str, last: str | None = None) -> None:
        """`SYMBOL` stands at these prices, and the engine is told."""
        self.show(SYMBOL, bid, {VENUE: ask})
        self.run(cmd.MarketMoved(SYMBOL, None if last is None else Decimal(last)), "market")

    def order(self, name: str, account: str = ALPHA) -> Order:
        """An order that the script has sent.

        Raises:
            LookupError: the engine does not know it.
        """
        found = self.kernel.state.find_order(account, name)
        if found is None:
            raise LookupError(f"no order {name} of {account}")
        return found

    def child(self, name: str, account: str = ALPHA, venue: str = VENUE) -> Child:
        """The newest child of an order at a venue.

        Raises:
            LookupError: it has none there.
        """
        children = [self.kernel.state.children[each] for each in self.order(name, account).children]
        there = [child for child in children if child.venue == venue]
        if not there:
            raise LookupError(f"order {name} of {account} has no child at {venue}")
        return there[-1]

    def say(
        self, kind: ReportKind, name: str, *, account: str = ALPHA, venue: str = VENUE, **fields: Any
    ) -> None:
        """A venue's next message, about an order's child there unless `cl_ord_id` names another id."""
        self._seqs[venue] = self._seqs.get(venue, 0) + 1
        about = fields.pop("cl_ord_id", None) or self.child(name, account, venue).cl_ord_id
        fields = {"session": "S1", "trade_date": DAYS[self.day], **fields}
        report = VenueReport(kind, venue, about, self._seqs[venue], **fields)
        self.run(cmd.RecordVenueReport(report), f"venue:{venue}")

    def fill(
        self,
        name: str,
        qty: int,
        px: str,
        exec_id: str = "",
        *,
        account: str = ALPHA,
        venue: str = VENUE,
        cl_ord_id: str = "",
    ) -> None:
        """An execution of an order's newest child at a venue, or of the one that `cl_ord_id` names."""
        self._executions += 1
        self.say(
            ReportKind.FILL,
            name,
            account=account,
            venue=venue,
            cl_ord_id=cl_ord_id,
            liquidity=Liquidity.REMOVED,
            qty=Decimal(qty),
            px=Decimal(px),
            exec_id=exec_id or f"E{self._executions}",
        )

    def link(self, status: VenueStatus, venue: str = VENUE) -> None:
        self.run(cmd.SetVenueStatus(venue, status, "script"), "link")


def order_of(
    name: str, qty: int = 100, price: str | None = "50", *, account: str = ALPHA, **terms: Any
) -> cmd.SubmitOrder:
    """An order to buy for the day; LIMIT with a price, MARKET without, unless the terms say otherwise."""
    kind = OrderType.MARKET if price is None else OrderType.LIMIT
    limit = None if price is None else Decimal(price)
    plain = cmd.SubmitOrder(account, name, SYMBOL, BUY, kind, TimeInForce.DAY, Decimal(qty), limit)
    return msgspec.structs.replace(plain, **terms)
