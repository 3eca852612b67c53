"""Readable builders, and `Desk`: a kernel with two accounts, one symbol and venues that say what a test says.

After every command the desk checks what must hold always: the state is sound, replaying the record gives the
same state, deciding it again gives the same record, and its written form reads back.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from qtinfra.core import commands as cmd
from qtinfra.core.decisions import RiskApproved
from qtinfra.core.events import AnyEvent, Entry
from qtinfra.core.extended_models import (
    US_EQUITY_TICKS,
    Account,
    Instrument,
    KillScope,
    LimitRule,
    Liquidity,
    Policies,
    Venue,
    VenueStatus,
)
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.models import (
    AssetClass,
    Child,
    Currency,
    Order,
    OrderSide,
    OrderType,
    Origin,
    TimeInForce,
)
from qtinfra.core.reports import (
    Alert,
    ExecutionReport,
    OrderCancelReject,
    ReportKind,
    ToVenue,
    VenueReport,
)
from qtinfra.engine.archive import Packing
from qtinfra.engine.audit import audit
from qtinfra.engine.kernel import Kernel, Outcome, decide_again, replay
from qtinfra.engine.state import State, decode_state, encode_state, state_hash
from qtinfra.journal.codec import encode_entry
from qtinfra.journal.versions import decode_entry

SYMBOL = "ACME"
ALPHA, BETA = "alpha", "beta"
DAYS = ("2024-07-08", "2024-07-09", "2024-07-10", "2024-07-11")
START_NS = 1_720_445_400_000_000_000

BUY, SELL = OrderSide.BUY, OrderSide.SELL
DAY, GTC, IOC, FOK = TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK
STAFF = Origin.STAFF


Number = int | str | Decimal


def dec(value: Number) -> Decimal:
    """An exact number from its text."""
    return Decimal(value)


def values(*items: object) -> tuple[object, ...]:
    """Several things to compare at once, numbers of any kind among them."""
    return items


def instrument(
    symbol: str = SYMBOL, venues: Sequence[str] = ("XNAS",), lot: Number = 1, **changes: Any
) -> Instrument:
    """A US share listed on the venues, the first one its primary listing."""
    share = Instrument(symbol, AssetClass.EQUITY, Currency.USD, tuple(venues), US_EQUITY_TICKS, dec(lot))
    return msgspec.structs.replace(share, **changes)


def account(name: str = ALPHA, policies: Policies | None = None, **changes: Any) -> Account:
    """An account of client "client-<name>" at desk "desk-<name>"."""
    made = Account(
        name, client=f"client-{name}", base_currency=Currency.USD, desk=f"desk-{name}", firm="firm"
    )
    return msgspec.structs.replace(made, policies=policies or Policies(), **changes)


def venue(mic: str, take: Number = 0, make: Number = 0) -> Venue:
    return Venue(mic, mic, Currency.USD, dec(take), dec(make))


def quote(
    mic: str,
    bids: Sequence[tuple[Number, Number]] = (),
    asks: Sequence[tuple[Number, Number]] = (),
    live: bool = True,
) -> VenueQuote:
    """Displayed levels as (price, size), best first."""
    return VenueQuote(
        mic,
        tuple((dec(price), dec(size)) for price, size in bids),
        tuple((dec(price), dec(size)) for price, size in asks),
        START_NS,
        live,
    )


def approved(
    qty: Number,
    price: Number | None = None,
    side: OrderSide = BUY,
    tif: TimeInForce = DAY,
    min_qty: Number = 0,
) -> RiskApproved:
    """A quantity as risk hands it to the router."""
    kind = OrderType.MARKET if price is None else OrderType.LIMIT
    limit = None if price is None else dec(price)
    return RiskApproved(ALPHA, SYMBOL, side, kind, tif, dec(qty), limit, dec(min_qty))


def submit(
    cl_ord_id: str,
    qty: Number = 100,
    price: Number | None = 50,
    *,
    side: OrderSide = BUY,
    tif: TimeInForce = DAY,
    name: str = ALPHA,
    **changes: Any,
) -> cmd.SubmitOrder:
    """A new order: LIMIT with a price, MARKET without."""
    kind = OrderType.MARKET if price is None else OrderType.LIMIT
    limit = None if price is None else dec(price)
    order = cmd.SubmitOrder(name, cl_ord_id, SYMBOL, side, kind, tif, dec(qty), limit)
    return msgspec.structs.replace(order, **changes)


class Books:
    """A market view that tests set."""

    def __init__(self) -> None:
        self.quotes: dict[str, VenueQuote] = {}

    def book(self, symbol: str) -> ConsolidatedBook | None:
        if symbol != SYMBOL or not self.quotes:
            return None
        return ConsolidatedBook(symbol, tuple(self.quotes[mic] for mic in sorted(self.quotes)))


def _packing_at_once() -> State:
    """A state that packs an order in the moment in which it ends."""
    return State(packing=Packing(keep=0, block=1))


class Desk:
    """A kernel under test, and beside it one that packs every order in the moment in which it ends.

    Attributes:
        reports: what clients were told, the oldest first.
        sent: what venues were sent.
        alerts: what a person was told.
        entries: the records, as a journal would hold them.
    """

    def __init__(
        self,
        venues: Sequence[Venue | str] = ("XNAS",),
        policies: Policies | None = None,
        lot: Number = 1,
        checked: bool = True,
    ) -> None:
        self.kernel = Kernel(State())
        self.market = Books()
        self.reports: list[ExecutionReport | OrderCancelReject] = []
        self.sent: list[ToVenue] = []
        self.alerts: list[Alert] = []
        self.entries: list[Entry] = []
        self.checked = checked
        self._shadow = State()
        self._again = Kernel(State())
        self._packed = Kernel(_packing_at_once())
        self._now_ns = START_NS
        self._seq: dict[str, int] = {}
        self._execs = 0
        self.day = 0
        places = tuple(item if isinstance(item, Venue) else venue(item) for item in venues)
        self.venues = tuple(place.mic for place in places)
        self.run(cmd.StartEpoch(1, "desk"))
        self.run(
            cmd.SetReference(
                (instrument(venues=self.venues, lot=lot),), (account(ALPHA, policies), account(BETA)), places
            )
        )
        self.run(cmd.TimerFired(cmd.TimerKind.DAY_OPEN, DAYS[0]))
        for mic in self.venues:
            self.connect(mic)

    # --- reading ---

    @property
    def state(self) -> State:
        return self.kernel.state

    def order(self, cl_ord_id: str = "X", name: str = ALPHA) -> Order:
        found = self.state.find_order(name, cl_ord_id)
        assert found is not None, f"no order {cl_ord_id}"
        return found

    def children(self, cl_ord_id: str = "X", name: str = ALPHA) -> list[Child]:
        return [self.state.children[child_id] for child_id in self.order(cl_ord_id, name).children]

    def child(self, cl_ord_id: str = "X", index: int = 0) -> Child:
        return self.children(cl_ord_id)[index]

    def figures(self, cl_ord_id: str = "X") -> tuple[str, int, int, int]:
        """Status, order quantity, executed, left."""
        order = self.order(cl_ord_id)
        return order.status.value, int(order.qty), int(order.cum_qty), int(order.leaves_qty)

    def last(self) -> ExecutionReport:
        """The last thing a client was told, an execution report."""
        report = self.reports[-1]
        assert isinstance(report, ExecutionReport), report
        return report

    def last_reject(self) -> OrderCancelReject:
        report = self.reports[-1]
        assert isinstance(report, OrderCancelReject), report
        return report

    def alert_kinds(self) -> list[str]:
        return [alert.kind for alert in self.alerts]

    # --- running ---

    def run(self, command: cmd.AnyCommand, actor: str = "test") -> Outcome:
        """Execute one command and check what must hold after each."""
        self._now_ns += 1_000_000
        inbound = cmd.Inbound(command, actor, f"c{len(self.entries)}", self._now_ns - 1)
        outcome = self.kernel.execute(inbound, self._now_ns, self.market)
        if self.checked:
            self._check_packed(outcome, inbound)
        if outcome.entry is not None:
            self.entries.append(outcome.entry)
            if self.checked:
                self._check(outcome.entry)
        for effect in outcome.effects:
            self._take(effect)
        return outcome

    def _take(self, effect: object) -> None:
        if isinstance(effect, ExecutionReport | OrderCancelReject):
            self.reports.append(effect)
        elif isinstance(effect, ToVenue):
            self.sent.append(effect)
        elif isinstance(effect, Alert):
            self.alerts.append(effect)

    def _check_packed(self, outcome: Outcome, inbound: cmd.Inbound) -> None:
        """A kernel that packs every order the moment it ends says, sends and records the same."""
        packed = self._packed.execute(inbound, self._now_ns, self.market)
        assert packed == outcome, "a packed order does what a live one does"
        assert audit(self._packed.state) == [], "the state with packed orders is sound"

    def _check(self, entry: Entry) -> None:
        written = encode_entry(entry)
        assert encode_entry(decode_entry(written)) == written, "the record reads back"
        replay(self._shadow, decode_entry(written))
        again = decide_again(self._again, entry)
        assert again is not None, "a record decides again"
        assert encode_entry(again) == written, "a record decides equal"
        assert audit(self.state) == [], "the state is sound"
        assert state_hash(self._shadow) == state_hash(self.state), "replay gives the same state"

    def restart(self, from_journal: bool = False) -> None:
        """A new kernel: from the snapshot of the state, or from the records."""
        self.kernel = Kernel(self._restarted(self.state, State(), from_journal))
        if self.checked:
            self._packed = Kernel(self._restarted(self._packed.state, _packing_at_once(), from_journal))

    def _restarted(self, state: State, fresh: State, from_journal: bool) -> State:
        if from_journal:
            for entry in self.entries:
                replay(fresh, entry)
        else:
            fresh = decode_state(encode_state(state))
        assert state_hash(fresh) == state_hash(state)
        return fresh

    # --- clients and staff ---

    def new(self, cl_ord_id: str = "X", qty: Number = 100, price: Number | None = 50, **more: Any) -> Outcome:
        return self.run(submit(cl_ord_id, qty, price, **more))

    def working(
        self, cl_ord_id: str = "X", qty: Number = 100, price: Number | None = 50, **more: Any
    ) -> None:
        """A new order that its venues have acknowledged."""
        self.new(cl_ord_id, qty, price, **more)
        for child in self.children(cl_ord_id, more.get("name", ALPHA)):
            self.ack(child)

    def cancel(
        self, cl_ord_id: str, orig: str = "X", origin: Origin = Origin.CLIENT, name: str = ALPHA
    ) -> Outcome:
        return self.run(cmd.CancelOrder(name, cl_ord_id, orig, origin))

    def replace(
        self,
        cl_ord_id: str,
        orig: str = "X",
        qty: Number | None = None,
        price: Number | None = None,
        origin: Origin = Origin.CLIENT,
    ) -> Outcome:
        return self.run(
            cmd.ReplaceOrder(
                ALPHA,
                cl_ord_id,
                orig,
                None if qty is None else dec(qty),
                None if price is None else dec(price),
                origin,
            )
        )

    def limit(self, rule: LimitRule, value: Number | None, name: str = "*", symbol: str = "*") -> Outcome:
        return self.run(cmd.SetLimit(rule, None if value is None else dec(value), name, symbol))

    def kill(self, scope: KillScope, value: str = "") -> Outcome:
        return self.run(cmd.EngageKillSwitch(scope, value, "test"))

    def halt(self, halted: bool = True) -> Outcome:
        return self.run(cmd.HaltInstrument(SYMBOL, halted))

    def close_day(self, mic: str = "") -> Outcome:
        return self.run(cmd.TimerFired(cmd.TimerKind.DAY_CLOSE, DAYS[self.day], mic))

    def next_day(self) -> Outcome:
        self.day += 1
        return self.run(cmd.TimerFired(cmd.TimerKind.DAY_OPEN, DAYS[self.day]))

    # --- venues ---

    def connect(self, mic: str) -> Outcome:
        return self.run(cmd.SetVenueStatus(mic, VenueStatus.CONNECTED))

    def disconnect(self, mic: str) -> Outcome:
        return self.run(cmd.SetVenueStatus(mic, VenueStatus.DISCONNECTED))

    def say(self, kind: ReportKind, mic: str, cl_ord_id: str, **fields: Any) -> Outcome:
        """The next message of a venue's session."""
        self._seq[mic] = self._seq.get(mic, 0) + 1
        fields = {"session": "S1", "trade_date": DAYS[self.day], **fields}
        return self.run(cmd.RecordVenueReport(VenueReport(kind, mic, cl_ord_id, self._seq[mic], **fields)))

    def ack(self, child: Child) -> Outcome:
        return self.say(ReportKind.ACK, child.venue, child.cl_ord_id, venue_order_id=f"V-{child.child_id}")

    def reject(self, child: Child, reason: str = "refused") -> Outcome:
        return self.say(ReportKind.REJECT, child.venue, child.cl_ord_id, reason=reason)

    def fill(self, child: Child, qty: Number, px: Number = 50, exec_id: str = "", **fields: Any) -> Outcome:
        if not exec_id:
            self._execs += 1
            exec_id = f"E{self._execs}"
        fields = {"liquidity": Liquidity.REMOVED, **fields}
        return self.say(
            ReportKind.FILL, child.venue, child.cl_ord_id, qty=dec(qty), px=dec(px), exec_id=exec_id, **fields
        )

    def bust(self, child: Child, exec_id: str) -> Outcome:
        return self.say(ReportKind.BUST, child.venue, child.cl_ord_id, ref_exec_id=exec_id)

    def correct(self, child: Child, exec_id: str, qty: Number, px: Number) -> Outcome:
        return self.say(
            ReportKind.CORRECT, child.venue, child.cl_ord_id, ref_exec_id=exec_id, qty=dec(qty), px=dec(px)
        )

    def canceled(self, child: Child, reason: str = "") -> Outcome:
        """The answer to a cancel when one is out, else nobody asked."""
        cl_ord_id = child.cancel_id or child.cl_ord_id
        orig = child.cl_ord_id if child.cancel_id else ""
        return self.say(ReportKind.CANCELED, child.venue, cl_ord_id, orig_cl_ord_id=orig, reason=reason)

    def cancel_refused(self, child: Child, reason: str = "") -> Outcome:
        return self.say(
            ReportKind.CANCEL_REJECT,
            child.venue,
            child.cancel_id,
            orig_cl_ord_id=child.cl_ord_id,
            reason=reason,
        )

    def replaced(self, child: Child) -> Outcome:
        return self.say(ReportKind.REPLACED, child.venue, child.replace_id, orig_cl_ord_id=child.cl_ord_id)

    def replace_refused(self, child: Child, reason: str = "") -> Outcome:
        return self.say(
            ReportKind.REPLACE_REJECT,
            child.venue,
            child.replace_id,
            orig_cl_ord_id=child.cl_ord_id,
            reason=reason,
        )

    def status(self, child: Child, live: bool, cum: Number = 0, leaves: Number = 0) -> Outcome:
        return self.say(
            ReportKind.STATUS,
            child.venue,
            child.cl_ord_id,
            live=live,
            cum_qty=dec(cum),
            leaves_qty=dec(leaves),
        )

    def unknown_order(self, child: Child) -> Outcome:
        return self.say(ReportKind.UNKNOWN_ORDER, child.venue, child.cl_ord_id)


def kinds(outcome: Outcome) -> list[str]:
    """The names of the events of a record; that a venue's session begins is not told."""
    names = [type(event).__name__ for event in outcome.events]
    return [name for name in names if name != "VenueSessionStarted"]


def only(outcome: Outcome, kind: type) -> Any:
    """The one event of a kind."""
    found: list[AnyEvent] = [event for event in outcome.events if isinstance(event, kind)]
    assert len(found) == 1, kinds(outcome)
    return found[0]
