"""The order path in one screenful per topic: `python examples/elite_trading_demo.py`

Runs a small desk (strict parser, engine, SQLite journal, two matching venues) and prints what happened in
this run: figures and verdicts are read from answers, events, state and the journal. Nothing but the packages
in requirements.txt is needed; qtinfra itself is taken from `src`. Exit status: 0 when everything that must
hold did hold and the journal proves the session, 1 otherwise.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import textwrap
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import qtinfra
from qtinfra import bootstrap
from qtinfra.bootstrap import Evidence
from qtinfra.core.commands import (
    AnyCommand,
    CancelOrder,
    EngageKillSwitch,
    Inbound,
    ReplaceOrder,
    RestrictSymbol,
    SetLimit,
    SubmitOrder,
)
from qtinfra.core.decimals import canonical
from qtinfra.core.events import (
    AnyEvent,
    CommandRefused,
    DuplicateRefused,
    OrderAccepted,
    OrderFilled,
    OrderRejected,
    OrderRouted,
)
from qtinfra.core.exceptions import FencedError, JournalCorruptError, OverloadedError, QtInfraError
from qtinfra.core.extended_models import Account, KillScope, LimitRule
from qtinfra.core.legs import limit, units
from qtinfra.core.models import Currency, Order
from qtinfra.core.reports import ExecutionReport, OrderCancelReject, ToVenue, VenueNewOrder
from qtinfra.core.validation.errors import MessageRefused
from qtinfra.core.validation.rules import check_new
from qtinfra.core.validation.wire import parse_new_order
from qtinfra.engine.state import state_hash
from qtinfra.infra.clock import ManualClock
from qtinfra.runtime.inbox import Inbox
from qtinfra.testing.desk_rig import (
    START_NS,
    DeskRig,
    Street,
    Turn,
    durable_entries,
    flip_a_bit,
    order_message,
)

PM, OTHER, CLOSED = "pm_001", "pm_002", "pm_003"
SYMBOLS = ("AAPL", "MSFT", "KO")
LIMITS = (
    (LimitRule.MAX_ORDER_QTY, Decimal(5_000)),
    (LimitRule.MAX_ORDER_VALUE, Decimal(500_000)),
    (LimitRule.PRICE_COLLAR, Decimal("0.05")),
    (LimitRule.POSITION_LIMIT, Decimal(3_000)),
)

#: What the requested system has and this demo does not show: name, and the module that would hold it.
NOT_SHOWN = (
    ("execution algorithms", "qtinfra.core.strategies"),
    ("plugin system for algorithms", "qtinfra.core.strategies.registry"),
    ("roles and permissions of users", "qtinfra.core.security.permissions"),
    ("PII masking", "qtinfra.core.security.pii"),
    ("encryption of client data", "qtinfra.core.security.crypto"),
    ("REST and WebSocket interface", "qtinfra.api"),
    ("FIX interface for clients", "qtinfra.fix"),
)


class DemoFailedError(Exception):
    """Something that must hold did not."""


def must(holds: bool, what: str) -> None:
    """End the demo unless something holds.

    Raises:
        DemoFailedError: it does not.
    """
    if not holds:
        raise DemoFailedError(what)


# --- printing ----------------------------------------------------------------------------------------------


def section(title: str) -> None:
    print(f"\n{title}\n{'=' * len(title)}")


def step(number: int, title: str) -> None:
    print(f"\n{number}. {title}")


def say(text: str) -> None:
    print(textwrap.fill(text, 110, initial_indent="   ", subsequent_indent="      "))


def say_json(value: object) -> None:
    print(textwrap.indent(json.dumps(value, indent=2, ensure_ascii=False), "   "))


def number(value: Decimal | None) -> str:
    return "market" if value is None else f"{canonical(value):,f}"


# --- words for what happened -------------------------------------------------------------------------------


def message(cl_ord_id: str, qty: str, price: str, **changes: str) -> bytes:
    """A limit order of pm_001 to buy AAPL, as bytes."""
    fields = {"symbol": "AAPL", "side": "BUY", "quantity": qty, "price": price, "order_type": "LIMIT"}
    return order_message({**fields, "client_order_id": cl_ord_id, "account_id": PM, **changes})


def stands(order: Order) -> str:
    """How an order stands."""
    if order.cum_qty:
        return f"{order.status}, {number(order.cum_qty)} of {number(order.qty)} at {number(order.avg_px)}"
    return f"{order.status}, nothing of {number(order.qty)} executed"


def answer(turn: Turn) -> str:
    """What the first request of a turn came to: its refusal, or that it was accepted."""
    for event in turn.events:
        if isinstance(event, OrderRejected | CommandRefused):
            bound = f" (limit {event.limit}, observed {event.observed})" if event.limit else ""
            return f"refused, {event.code}: {event.text.removeprefix(event.code + ': ')}{bound}"
        if isinstance(event, DuplicateRefused):
            return f"refused: {event.text}"
        if isinstance(event, OrderAccepted):
            return "accepted"
    for report in turn.reports:
        if isinstance(report, OrderCancelReject):
            return f"refused, CxlRejReason {report.reason}: {report.text or report.code}"
    last = turn.reports[-1] if turn.reports else None
    told = f"told again that it is {last.status}" if isinstance(last, ExecutionReport) else "not answered"
    return f"{told}; {len(turn.events)} new events"


def legs(events: list[AnyEvent]) -> Iterator[str]:
    """The venue orders that were planned among the events."""
    asked = {event.order_id: event.command for event in events if isinstance(event, OrderAccepted)}
    for event in events:
        if isinstance(event, OrderRouted):
            for child in event.children:
                qty, price, order = child.qty, child.price, asked.get(event.order_id)
                if order is not None:
                    qty, price = units(child, order.qty), limit(child, order.price)
                yield f"{child.venue}: {number(qty)} at {number(price)}, {child.tif}"


def fills(events: list[AnyEvent]) -> Iterator[str]:
    for event in events:
        if isinstance(event, OrderFilled):
            yield f"{event.venue}: {number(event.qty)} at {number(event.px)}, fee {number(event.fee)} USD"


def in_doubt(desk: DeskRig) -> int:
    return sum(order.unknown_children for order in desk.state.orders.values())


# --- the desk ----------------------------------------------------------------------------------------------


def make_street() -> Street:
    """Two venues with other people's orders in three symbols."""
    street = Street(ManualClock(START_NS), SYMBOLS)
    for symbol, bid, asks in (
        ("AAPL", "150.20", ("150.23", "150.24", "150.25")),
        ("MSFT", "402.10", ("402.14", "402.15", "402.17")),
        ("KO", "61.05", ("61.06", "61.07", "61.08")),
    ):
        street.others("XNAS", symbol, 800, bid, buy=True)
        street.others("ARCX", symbol, 300, asks[0])
        street.others("XNAS", symbol, 400, asks[1])
        street.others("XNAS", symbol, 2_000, asks[2])
    return street


def open_desk(files: Evidence, street: Street, owner: str) -> DeskRig:
    """A desk with three accounts, one of them closed, and four limits."""
    accounts = (
        Account(PM, client="north", base_currency=Currency.USD),
        Account(OTHER, client="south", base_currency=Currency.USD),
        Account(CLOSED, client="south", base_currency=Currency.USD, enabled=False),
    )
    setup: list[AnyCommand] = [SetLimit(rule, value) for rule, value in LIMITS]
    setup.append(RestrictSymbol("KO", OTHER))
    return DeskRig(files, street, accounts=accounts, setup=setup, owner=owner)


# --- 1 -----------------------------------------------------------------------------------------------------


def order_lifecycle(desk: DeskRig) -> None:
    section("ORDER LIFECYCLE")
    data = message("A1", "1000", "150.25")
    step(1, "Creating an order with validation")
    say(f"bytes in: {data.decode()}")
    command = parse_new_order(data)
    say(f"strict parser: {command.side} {number(command.qty)} {command.symbol} at {number(command.price)}")
    step(2, "Authorization, by account (users and roles come with the API)")
    account_rules(desk)
    step(3, "Validating business rules")
    business_rules(desk, command)
    step(4, "Performing risk checks")
    risk_checks(desk)
    step(5, "Routing: best price after fees over all venues")
    show_book(desk)
    turn = desk.run(command, PM)
    say(f"decision on A1: {answer(turn)}")
    for leg in legs(turn.events):
        say(leg)
    step(6, "Execution")
    for fill in fills(turn.events):
        say(fill)
    order = desk.order(PM, "A1")
    say(f"order A1: {stands(order)}")
    say(f"position of {PM}: {number(desk.position(PM, 'AAPL'))} AAPL")
    step(7, "Replace and cancel of an order that rests")
    replace_and_cancel(desk)


def account_rules(desk: DeskRig) -> None:
    for name in ("nobody", CLOSED):
        turn = desk.receive(message(f"AUTH-{name}", "100", "150.20", account_id=name))
        say(f"order for account {name}: {answer(turn)}")
    account = desk.state.accounts[PM]
    say(f"account {PM} of client {account.client}: {'may' if account.enabled else 'may NOT'} trade")


def business_rules(desk: DeskRig, command: SubmitOrder) -> None:
    state = desk.state
    refusal = check_new(command, state.accounts[PM], state.instruments["AAPL"], halted=False)
    say(f"A1: {'every rule passed' if refusal is None else refusal.text}")
    for cl_ord_id, qty, price, symbol in (
        ("R1", "100", "150.005", "AAPL"),
        ("R2", "100.5", "150.20", "AAPL"),
        ("R3", "100", "150.20", "ZZZZ"),
    ):
        turn = desk.receive(message(cl_ord_id, qty, price, symbol=symbol))
        say(f"{cl_ord_id}, {qty} {symbol} at {price}: {answer(turn)}")


def risk_checks(desk: DeskRig) -> None:
    for cl_ord_id, qty, price, symbol, account in (
        ("K1", "5001", "61.06", "KO", PM),
        ("K2", "2000", "402.14", "MSFT", PM),
        ("K3", "100", "160.00", "AAPL", PM),
        ("K4", "3001", "61.06", "KO", PM),
        ("K5", "100", "61.06", "KO", OTHER),
    ):
        turn = desk.receive(message(cl_ord_id, qty, price, symbol=symbol, account_id=account))
        say(f"{cl_ord_id}, {qty} {symbol} at {price} for {account}: {answer(turn)}")
    reached = [sent for sent in desk.street.received if isinstance(sent, VenueNewOrder)]
    say(f"orders that have reached a venue so far: {len(reached)}")


def show_book(desk: DeskRig) -> None:
    book = desk.street.book("AAPL")
    for quote in book.quotes if book is not None else ():
        offers = ", ".join(f"{number(size)} at {number(price)}" for price, size in quote.asks)
        fee = desk.state.venues[quote.venue].take_fee
        say(f"{quote.venue} offers {offers}; fee {number(fee)} per share")


def replace_and_cancel(desk: DeskRig) -> None:
    desk.receive(message("A2", "500", "150.10"))
    say(f"A2, 500 at 150.10: {stands(desk.order(PM, 'A2'))}")
    desk.run(ReplaceOrder(PM, "A3", "A2", Decimal(600), Decimal("150.12")), PM)
    order = desk.order(PM, "A3")
    say(f"replaced by 600 at 150.12: now {order.cl_ord_id}, {stands(order)}, limit {number(order.price)}")
    turn = desk.run(CancelOrder(OTHER, "X1", "A3"), OTHER)
    say(f"{OTHER} tries to cancel it: {answer(turn)}")
    desk.run(CancelOrder(PM, "A4", "A3"), PM)
    say(f"{PM} cancels it: {stands(order)}")
    turn = desk.run(CancelOrder(PM, "A5", "A1"), PM)
    say(f"cancel of the filled A1: {answer(turn)}")


# --- 2 -----------------------------------------------------------------------------------------------------


def exception_hierarchy(desk: DeskRig) -> None:
    section("EXCEPTION HIERARCHY")
    step(1, "The tree, as it stands in the running program (code, severity, retryable)")
    show_tree(QtInfraError, 0)
    step(2, "One of them, raised by the parser just now, in its JSON form")
    try:
        parse_new_order(message("E1", "0", "1e5", side="HOLD"))
    except MessageRefused as error:
        say_json(error.to_json())
    step(3, "Another, raised by a full inbox that refuses new work instead of dropping accepted work")
    inbox: Inbox[None] = Inbox(1)
    try:
        for cl_ord_id in ("E2", "E3"):
            inbox.put(Inbound(parse_new_order(message(cl_ord_id, "100", "150.20")), PM), None)
    except OverloadedError as error:
        say_json(error.to_json())
    known = [name for name in ("E1", "E2", "E3") if desk.state.find_order(PM, name) is not None]
    say(f"of E1, E2 and E3 the engine knows {len(known)}")


def show_tree(kind: type[QtInfraError], depth: int) -> None:
    mark = "retryable" if kind.retryable else "not retryable"
    print(f"   {'  ' * depth}{kind.__name__}  ({kind.code}, {kind.severity}, {mark})")
    for below in kind.__subclasses__():
        if below.__module__ == QtInfraError.__module__:
            show_tree(below, depth + 1)


# --- 3 -----------------------------------------------------------------------------------------------------


def transaction_safety(desk: DeskRig) -> DeskRig:
    """Ends with another desk on the same journal: the one that was given is killed twice."""
    section("TRANSACTION SAFETY")
    step(1, "Durable before wire: the journal's file is read at the moment an order arrives at its venue")
    watch_the_wire(desk)
    step(2, "A second writer on the same journal")
    try:
        open_desk(desk.files, desk.street, "intruder").kill()
        raise DemoFailedError("a second writer was let in")
    except FencedError as error:
        say(f"refused, {error.error_code}: {error.message}")
    step(3, "Killed after the sync, before anything has left")
    desk = killed_before_the_wire(desk)
    step(4, "Killed after the venue has traded, before we have heard of it")
    return killed_before_the_answer(desk)


def watch_the_wire(desk: DeskRig) -> None:
    seen: list[str] = []

    def look(sent: ToVenue) -> None:
        events = [event for entry in durable_entries(desk.files) for event in entry.events]
        routed = [child for event in events if isinstance(event, OrderRouted) for child in event.children]
        found = any(child.child_id == sent.cl_ord_id for child in routed)
        must(found, f"{sent.cl_ord_id} reached {sent.venue} before it was in the file")
        seen.append(f"{sent.venue} gets {sent.cl_ord_id}, which is in the file already")

    desk.street.arriving = look
    desk.receive(message("T1", "700", "402.15", symbol="MSFT"))
    desk.street.arriving = lambda _: None
    for line in seen:
        say(line)
    say(f"order T1: {stands(desk.order(PM, 'T1'))}")


def killed_before_the_wire(desk: DeskRig) -> DeskRig:
    street, files = desk.street, desk.files
    frame = desk.decide(parse_new_order(message("T2", "200", "150.15")), PM)
    arrived = len(street.received)
    desk.commit(frame)
    before = state_hash(desk.state)
    desk.kill()
    left = len(street.received) - arrived
    say(f"order T2 is decided and synced, then the kernel is thrown away: {left} messages had left")
    after, _ = bootstrap.replay(files.journal, decide=False)
    say(f"state in memory before the kill and rebuilt from the file: {_equal(before, after.state_hash)}")
    must(before == after.state_hash, "the rebuilt state differs")
    desk = open_desk(files, street, "second owner")
    say(f"restart replays {desk.recovery.records} records; epoch {desk.state.epoch}")
    asked = [f"{type(sent).__name__} to {sent.venue}" for sent in street.received[arrived:]]
    say(f"then sends: {', '.join(asked) or 'nothing'}")
    say(f"order T2: {stands(desk.order(PM, 'T2'))}; children in doubt: {in_doubt(desk)}")
    return desk


def killed_before_the_answer(desk: DeskRig) -> DeskRig:
    street, files, held = desk.street, desk.files, desk.position(PM, "MSFT")
    frame = desk.decide(parse_new_order(message("T3", "300", "402.17", symbol="MSFT")), PM)
    desk.commit(frame)
    desk.release(frame, Turn())
    desk.kill()
    arrived = len(street.received)
    venue_says = street.venues["XNAS"].orders()[-1].cum_qty
    say(f"XNAS has executed {number(venue_says)} of T3; the dead kernel knew of {number(held)} MSFT")
    desk = open_desk(files, street, "third owner")
    resent = [type(sent).__name__ for sent in street.received[arrived:]]
    order, now_held = desk.order(PM, "T3"), desk.position(PM, "MSFT")
    say(f"after the restart: {stands(order)}; position {number(now_held)} MSFT")
    must(now_held == held + venue_says, "the position is not what the venue has executed")
    say(f"new orders sent by the restart: {resent.count('VenueNewOrder')}; in doubt: {in_doubt(desk)}")
    turn = desk.receive(message("T3", "300", "402.17", symbol="MSFT"))
    say(f"the client repeats T3, unsure: {answer(turn)}; position {number(desk.position(PM, 'MSFT'))} MSFT")
    return desk


def _equal(left: str, right: str) -> str:
    return f"equal, {left[:16]}" if left == right else f"DIFFERENT, {left[:16]} and {right[:16]}"


# --- 4 -----------------------------------------------------------------------------------------------------

BAD_INPUTS: tuple[tuple[str, bytes], ...] = (
    ("not JSON", b"buy 100 AAPL"),
    ("not UTF-8", b'{"symbol": "\xff"}'),
    ("70 kB of blanks", b" " * 70_000),
    ("nested 40 deep", b"[" * 40),
    ("a list", b"[]"),
    ("empty object", b"{}"),
    ("symbol twice", b'{"symbol": "AAPL", "symbol": "MSFT"}'),
    ("unknown field", message("V1", "100", "150.20", colour="red")),
    ("side in lower case", message("V1", "100", "150.20", side="buy")),
    ("quantity 0", message("V1", "0", "150.20")),
    ("negative price", message("V1", "100", "-1")),
    ("exponent", message("V1", "1e3", "150.20")),
    ("decimal comma", message("V1", "100", "150,20")),
    ("Arabic digits", message("V1", "\u0661\u0660\u0660", "150.20")),
    ("Cyrillic A in AAPL", message("V1", "100", "150.20", symbol="\u0410APL")),
    ("notional of 10^25", message("V1", "9" * 17, "99999999")),
    ("MARKET with a price", order_message({**json.loads(message("V1", "100", "1")), "order_type": "MARKET"})),
    ("off the tick", message("V2", "100", "150.001")),
    ("part of a share", message("V3", "0.5", "150.20")),
    ("unknown symbol", message("V4", "100", "150.20", symbol="ZZZZ")),
    ("beyond the collar", message("V5", "100", "170.00")),
    ("too many shares", message("V6", "5001", "61.06", symbol="KO")),
)


def validation_layers(desk: DeskRig) -> None:
    section("VALIDATION LAYERS")
    print(f"\n   {'input':<22}{'refused by':<12}{'HTTP':<6}{'code':<24}field")
    orders, refused = len(desk.state.orders), 0
    for name, data in BAD_INPUTS:
        layer, status, code, field = verdict(desk, data)
        refused += layer != "nobody"
        print(f"   {name:<22}{layer:<12}{status:<6}{code:<24}{field}")
    noted = len(desk.state.orders) - orders
    print()
    say(f"{refused} of {len(BAD_INPUTS)} refused; {noted} reached the engine and are on record as REJECTED")
    must(refused == len(BAD_INPUTS), "a bad input was accepted")


def verdict(desk: DeskRig, data: bytes) -> tuple[str, str, str, str]:
    """Which layer refuses a message: its name, the HTTP status if the parser's, code and field."""
    try:
        turn = desk.receive(data)
    except MessageRefused as error:
        return "parser", str(error.http_status), error.error_code, error.errors[0].field
    for event in turn.events:
        if isinstance(event, OrderRejected):
            risk = event.code in {rule.value for rule in LimitRule}
            return "risk" if risk else "rules", "", event.code, event.field
    return "nobody", "", "accepted", ""


# --- 5 -----------------------------------------------------------------------------------------------------


def error_handling(desk: DeskRig) -> None:
    section("ERROR HANDLING")
    step(1, "The same client order id again")
    turn = desk.receive(message("A1", "1000", "150.25"))
    say(f"same content: {answer(turn)}")
    turn = desk.receive(message("A1", "900", "150.25"))
    say(f"other content: {answer(turn)}")
    step(2, "A link that breaks under an order")
    broken_link(desk)
    step(3, "A venue takes a trade back")
    bust(desk)
    step(4, "Kill switch for a client")
    desk.receive(message("H2", "100", "150.11"))
    desk.run(EngageKillSwitch(KillScope.CLIENT, "north", "demonstration"), "staff:desk")
    say(f"resting order H2: {stands(desk.order(PM, 'H2'))}")
    say(f"new order of the client: {answer(desk.receive(message('H3', '100', '150.11')))}")
    other = desk.receive(message("H4", "100", "150.11", account_id=OTHER))
    say(f"new order of another client: {answer(other)}")


def broken_link(desk: DeskRig) -> None:
    mic = "XNAS"
    desk.street.cut(mic)
    desk.receive(message("H1", "100", "150.12"))
    desk.disconnect(mic)
    exposure = desk.state.open_quantity(PM, "AAPL").buy
    say(f"H1 was on its way to {mic}: {stands(desk.order(PM, 'H1'))}; open buys counted: {number(exposure)}")
    arrived = len(desk.street.received)
    desk.connect(mic)
    sent = [type(sent).__name__ for sent in desk.street.received[arrived:]]
    say(f"the link is back; sent: {', '.join(sent)}")
    say(f"H1: {stands(desk.order(PM, 'H1'))}")


def bust(desk: DeskRig) -> None:
    order = desk.order(PM, "A1")
    execution = desk.state.executions[order.executions[0]]
    before = desk.position(PM, "AAPL")
    venue = desk.street.venues[execution.venue]
    desk.say(desk.street.sessions[execution.venue].stamp(venue.bust(execution.exec_id)))
    say(f"{execution.venue} busts {number(execution.qty)} at {number(execution.px)} of A1: {stands(order)}")
    say(f"position {number(before)} to {number(desk.position(PM, 'AAPL'))} AAPL")
    say(f"{number(order.unallocated)} re-opened and held for staff")


# --- 6 -----------------------------------------------------------------------------------------------------


def journal_proof(desk: DeskRig, folder: Path) -> None:
    section("WHAT THE JOURNAL PROVES")
    live, files = state_hash(desk.state), desk.files
    must(not in_doubt(desk), "an outcome is still in doubt")
    desk.close()
    print()
    found = bootstrap.verify(files.journal, files.anchors, str(files.public_key))
    say(f"{found.events} events in {found.records} records; signed heads: {found.anchors}; {found.reason}")
    must(found.ok, "the journal does not verify")
    replayed, _ = bootstrap.replay(files.journal, decide=True)
    say(f"state at the end and replayed from the file: {_equal(live, replayed.state_hash)}")
    same = "equal bytes" if replayed.decide_equal else f"differs from {replayed.first_difference} on"
    say(f"every decision taken again from its recorded inputs: {same}")
    must(
        live == replayed.state_hash and bool(replayed.decide_equal), "the journal does not lead to the state"
    )
    try:
        copyfile(files.journal, folder / "tampered.sqlite")
        flip_a_bit(folder / "tampered.sqlite")
        bootstrap.replay(folder / "tampered.sqlite", decide=False)
    except JournalCorruptError as error:
        say(f"a copy with one bit flipped: {error.error_code}, {error.message}")
    else:
        raise DemoFailedError("a copy with one bit flipped was accepted")


def exists(module: str) -> bool:
    """Whether the package has a module."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def closing(desk: DeskRig) -> None:
    section("SUMMARY")
    print()
    counts: dict[str, int] = {}
    for order in desk.state.orders.values():
        counts[order.status.value] = counts.get(order.status.value, 0) + 1
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    say(f"{len(desk.state.orders)} orders: {told}")
    say(f"{len(desk.state.executions)} executions; {desk.state.seq} events in the journal")
    built = [name for name, module in NOT_SHOWN if exists(module)]
    missing = [name for name, module in NOT_SHOWN if not exists(module)]
    if missing:
        say(f"Not built yet: {', '.join(missing)}.")
    if built:
        say(f"In the package, not part of this demo: {', '.join(built)}.")


def play(folder: Path) -> None:
    """Run every part on one desk.

    Raises:
        DemoFailedError: something that must hold did not.
    """
    desk = open_desk(Evidence.of(folder / "journal.sqlite"), make_street(), "first owner")
    order_lifecycle(desk)
    exception_hierarchy(desk)
    desk = transaction_safety(desk)
    validation_layers(desk)
    error_handling(desk)
    journal_proof(desk, folder)
    closing(desk)


def main() -> int:
    """Play in a folder that is thrown away; the exit status."""
    print("TRADING INFRASTRUCTURE DEMO")
    print(f"qtinfra {qtinfra.__version__} from {Path(qtinfra.__file__).parent}")
    with TemporaryDirectory(prefix="qtinfra-demo-") as folder:
        try:
            play(Path(folder))
        except DemoFailedError as failure:
            print(f"\nDEMO FAILED: {failure}")
            return 1
    print("\nDEMO COMPLETED")
    return 0


if __name__ == "__main__":
    sys.exit(main())
