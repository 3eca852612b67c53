"""Self-check: does this copy of qtinfra do what it says? `python simple_verify.py`

Each check drives the real parser, engine, journal (SQLite, in a folder that is thrown away) and matching
venues, and looks at what came of it. Nothing but the packages in requirements.txt is needed; qtinfra itself
is taken from `src` beside this file. Exit status: 0 when every check passed, 1 otherwise.
"""

from __future__ import annotations

import json
import platform
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

import qtinfra
from qtinfra import bootstrap
from qtinfra.bootstrap import Evidence
from qtinfra.core.commands import AnyCommand, CancelOrder, EngageKillSwitch, SetLimit
from qtinfra.core.decimals import canonical, plain
from qtinfra.core.events import (
    AnyEvent,
    ChildUnknown,
    CommandRefused,
    DuplicateRefused,
    OrderRejected,
    OrderRouted,
)
from qtinfra.core.exceptions import FencedError, JournalCorruptError, QtInfraError
from qtinfra.core.extended_models import Account, KillScope, LimitRule
from qtinfra.core.models import Currency, OrderStatus, TimeInForce
from qtinfra.core.reports import CXL_TOO_LATE, OrderCancelReject, ToVenue, VenueNewOrder
from qtinfra.core.validation.errors import MessageRefused
from qtinfra.core.validation.wire import parse_new_order
from qtinfra.engine.state import state_hash
from qtinfra.infra.clock import ManualClock
from qtinfra.testing.desk_rig import (
    START_NS,
    DeskRig,
    Street,
    durable_entries,
    flip_a_bit,
    order_message,
)
from qtinfra.testing.engine_rig import make_rig
from qtinfra.testing.scenarios import ENGINE_FAULTS, load_scenarios, play

ACCOUNT, OTHER, CLOSED = "pm_001", "pm_002", "pm_003"
SYMBOL = "AAPL"
SCRIPTS = Path(__file__).resolve().parent / "tests" / "data" / "conformance" / "order_state_scenarios.csv"
COLLAR = Decimal("0.02")
#: What a broken system may raise inside a check; it fails that check and the others go on.
FAULTS = (*ENGINE_FAULTS, OSError, sqlite3.Error)


class CheckFailedError(Exception):
    """What was observed is not what must be."""


class CheckSkippedError(Exception):
    """Something that the check needs is not here."""


def require(holds: bool, what: str) -> None:
    """Fail the check unless something holds.

    Raises:
        CheckFailedError: it does not.
    """
    if not holds:
        raise CheckFailedError(what)


# --- a desk to check --------------------------------------------------------------------------------------


def street_of(symbols: tuple[str, ...] = (SYMBOL,)) -> Street:
    """Two venues that offer 400, 300 and 900 shares from 150.23 on, and bid 150.20."""
    street = Street(ManualClock(START_NS), symbols)
    street.others("ARCX", SYMBOL, 300, "150.23")
    street.others("XNAS", SYMBOL, 400, "150.24")
    street.others("XNAS", SYMBOL, 900, "150.25")
    street.others("XNAS", SYMBOL, 500, "150.20", buy=True)
    return street


def open_desk(folder: Path, street: Street) -> DeskRig:
    """A desk on the journal in a folder; a new journal begins with three accounts and one limit."""
    accounts = (
        Account(ACCOUNT, client="north", base_currency=Currency.USD),
        Account(OTHER, client="south", base_currency=Currency.USD),
        Account(CLOSED, client="south", base_currency=Currency.USD, enabled=False),
    )
    setup: tuple[AnyCommand, ...] = (SetLimit(LimitRule.PRICE_COLLAR, COLLAR),)
    return DeskRig(Evidence.of(folder / "journal.sqlite"), street, accounts=accounts, setup=setup)


@contextmanager
def desk_in(folder: Path) -> Iterator[DeskRig]:
    """A desk that is closed afterwards."""
    desk = open_desk(folder, street_of())
    try:
        yield desk
    finally:
        desk.close()


def buy(cl_ord_id: str, qty: int, price: str, **changes: str) -> bytes:
    """A limit order to buy, as bytes."""
    fields = {"symbol": SYMBOL, "side": "BUY", "quantity": str(qty), "price": price, "order_type": "LIMIT"}
    return order_message({**fields, "client_order_id": cl_ord_id, "account_id": ACCOUNT, **changes})


def refused_as(events: list[AnyEvent]) -> str:
    """The code of the refusal among some events; empty when there is none."""
    for event in events:
        if isinstance(event, OrderRejected | CommandRefused):
            return event.code
    return ""


# --- orders ----------------------------------------------------------------------------------------------


def order_to_fill(folder: Path) -> str:
    with desk_in(folder) as desk:
        desk.receive(buy("A1", 1000, "150.25"))
        order = desk.order(ACCOUNT, "A1")
        venues = [desk.state.children[child].venue for child in order.children]
        held = desk.position(ACCOUNT, SYMBOL)
    require(order.status is OrderStatus.FILLED, f"status {order.status}")
    require(order.avg_px == Decimal("150.24"), f"average {order.avg_px}")
    require(venues == ["ARCX", "XNAS"], f"routed to {venues}")
    require(held == 1000, f"position {held}")
    return f"{order.cum_qty} at {order.avg_px} from {' and '.join(venues)}; position {held}"


def refused_order(folder: Path) -> str:
    with desk_in(folder) as desk:
        reference = (Decimal("150.20") + Decimal("150.23")) / 2
        bound = reference * (1 + COLLAR)
        arrived = len(desk.street.received)
        over = desk.receive(buy("A1", 100, "153.22")).events
        require(
            refused_as(over) == "price_collar", f"153.22 against {bound}: {refused_as(over) or 'accepted'}"
        )
        require(len(desk.street.received) == arrived, "a refused order reached a venue")
        under = desk.receive(buy("A2", 100, "153.21")).events
        require(not refused_as(under), f"153.21 against {bound}: {refused_as(under)}")
        off_tick = desk.receive(buy("A3", 100, "150.005")).events
        require(refused_as(off_tick) == "tick_size", f"150.005: {refused_as(off_tick) or 'accepted'}")
    return f"collar {bound}: 153.21 passes, 153.22 is refused and stays here; 150.005 is off the tick"


def accounts(folder: Path) -> str:
    with desk_in(folder) as desk:
        desk.receive(buy("A1", 100, "150.20"))
        unknown = refused_as(desk.receive(buy("X1", 100, "150.20", account_id="nobody")).events)
        closed = refused_as(desk.receive(buy("X2", 100, "150.20", account_id=CLOSED)).events)
        cancel = desk.run(CancelOrder(OTHER, "X3", "A1"), OTHER)
        still_open = desk.order(ACCOUNT, "A1").open
    require(unknown == "unknown_account", f"an unknown account: {unknown or 'accepted'}")
    require(closed == "account_disabled", f"a disabled account: {closed or 'accepted'}")
    require(isinstance(cancel.reports[-1], OrderCancelReject), "another account's cancel was not refused")
    require(still_open, "another account's cancel ended the order")
    return "unknown and disabled accounts are refused; nobody cancels another account's order"


def duplicate_id(folder: Path) -> str:
    street = street_of()
    desk = open_desk(folder, street)
    desk.receive(buy("A1", 100, "150.20"))
    first = desk.order(ACCOUNT, "A1").order_id
    desk.kill()
    desk = open_desk(folder, street)
    count, arrived = len(desk.state.orders), len(street.received)
    same = desk.receive(buy("A1", 100, "150.20"))
    other = desk.receive(buy("A1", 200, "150.20"))
    order = desk.order(ACCOUNT, "A1")
    desk.close()
    require(not same.events and len(same.reports) == 1, "the same message again was not simply answered")
    require(any(isinstance(e, DuplicateRefused) for e in other.events), "other content was not refused")
    require(len(desk.state.orders) == count, "an order was created")
    require(len(street.received) == arrived, "something was sent to a venue")
    require(order.order_id == first and order.qty == 100, "the first order has changed")
    return "after a restart: same content gets the first answer, other content is refused"


def late_cancel(folder: Path) -> str:
    with desk_in(folder) as desk:
        desk.receive(buy("A1", 300, "150.23"))
        answer = desk.run(CancelOrder(ACCOUNT, "A2", "A1"), ACCOUNT).reports[-1]
    if not isinstance(answer, OrderCancelReject):
        raise CheckFailedError(f"a filled order's cancel was answered by {type(answer).__name__}")
    require(answer.reason == CXL_TOO_LATE, f"reason {answer.reason}")
    return f"CxlRejReason {answer.reason} (too late), OrdStatus {answer.ord_status}"


def exact_average(folder: Path) -> str:
    del folder
    rig = make_rig({})
    rig.client_new("A1", Decimal(303), Decimal("10.04"), TimeInForce.DAY, False)
    rig.venue_ack("A1")
    for exec_id, qty, px in (("E1", "100", "10.01"), ("E2", "200", "10.02"), ("E3", "3", "10.035")):
        rig.venue_fill("A1", Decimal(qty), Decimal(px), exec_id)
    order = next(iter(rig.state.orders.values()))
    require(order.notional == Decimal("3035.105"), f"notional {order.notional}")
    require(order.avg_px == Decimal("10.01684818"), f"average {order.avg_px}")
    notional = plain(canonical(order.notional))
    return f"100@10.01 + 200@10.02 + 3@10.035: notional {notional}, average {order.avg_px}"


def bust(folder: Path) -> str:
    with desk_in(folder) as desk:
        desk.receive(buy("A1", 700, "150.24"))
        order = desk.order(ACCOUNT, "A1")
        first = desk.state.executions[order.executions[0]]
        desk.say(desk.street.sessions[first.venue].stamp(desk.street.venues[first.venue].bust(first.exec_id)))
        held = desk.position(ACCOUNT, SYMBOL)
    require(order.status is OrderStatus.PARTIALLY_FILLED, f"status {order.status}")
    require(order.cum_qty == 400 and order.avg_px == Decimal("150.24"), f"{order.cum_qty} at {order.avg_px}")
    require(held == 400, f"position {held}")
    return f"300 of 700 taken back: {order.status}, {order.cum_qty} at {order.avg_px}, position {held}"


def kill_switch(folder: Path) -> str:
    with desk_in(folder) as desk:
        desk.receive(buy("A1", 100, "150.20"))
        desk.run(EngageKillSwitch(KillScope.CLIENT, "north", "check"), "staff:check")
        resting = desk.order(ACCOUNT, "A1")
        refused = refused_as(desk.receive(buy("A2", 100, "150.20")).events)
        other = desk.receive(buy("B1", 100, "150.20", account_id=OTHER)).events
    require(resting.status is OrderStatus.CANCELLED, f"the resting order is {resting.status}")
    require(refused == "kill_switch", f"a new order: {refused or 'accepted'}")
    require(not refused_as(other), "another client's order was refused")
    return "client north: its order is cancelled at the venue, a new one is refused, others trade on"


def broken_link(folder: Path) -> str:
    with desk_in(folder) as desk:
        desk.street.cut("XNAS")
        desk.receive(buy("A1", 100, "150.20"))
        doubt = desk.disconnect("XNAS").events
        order = desk.order(ACCOUNT, "A1")
        before, exposure = order.status, desk.state.open_quantity(ACCOUNT, SYMBOL).buy
        desk.connect("XNAS")
        live = [record for venue in desk.street.venues.values() for record in venue.orders()]
    require(any(isinstance(event, ChildUnknown) for event in doubt), "nothing is in doubt")
    require(before is OrderStatus.UNKNOWN and exposure == 100, f"{before} with exposure {exposure}")
    require(order.status is OrderStatus.ROUTED, f"afterwards {order.status}")
    require(len(live) == 1, f"the venues have {len(live)} orders")
    return "a lost order is UNKNOWN and counted as exposure; asked about, then placed once"


# --- the journal ------------------------------------------------------------------------------------------


def durable_before_wire(folder: Path) -> str:
    seen: list[str] = []
    with desk_in(folder) as desk:

        def look(message: ToVenue) -> None:
            if isinstance(message, VenueNewOrder):
                events = [event for entry in durable_entries(desk.files) for event in entry.events]
                routed = [event for event in events if isinstance(event, OrderRouted)]
                known = [child.child_id for event in routed for child in event.children]
                require(message.cl_ord_id in known, f"{message.cl_ord_id} left before it was on the disk")
                seen.append(message.cl_ord_id)

        desk.street.arriving = look
        desk.receive(buy("A1", 1000, "150.25"))
        desk.receive(buy("A2", 100, "150.20"))
    require(len(seen) == 3, f"{len(seen)} venue orders were seen")
    return f"{len(seen)} venue orders, each found in the journal's file when it arrived at its venue"


def restart(folder: Path) -> str:
    street = street_of()
    desk = open_desk(folder, street)
    desk.receive(buy("A1", 300, "150.23"))
    before = state_hash(desk.state)
    frame = desk.decide(parse_new_order(buy("A2", 100, "150.20")), ACCOUNT)
    desk.commit(frame)
    synced = state_hash(desk.state)
    desk.kill()
    desk = open_desk(folder, street)
    order, filled = desk.order(ACCOUNT, "A2"), desk.order(ACCOUNT, "A1")
    orders = [record for venue in street.venues.values() for record in venue.orders()]
    replayed = bootstrap.replay(desk.files.journal, decide=True)[0]
    desk.close()
    require(before != synced, "the second order left no trace")
    require(filled.status is OrderStatus.FILLED, f"the filled order came back as {filled.status}")
    require(order.status is OrderStatus.ROUTED, f"the order in flight came back as {order.status}")
    require(len(orders) == 2, f"the venues have {len(orders)} orders of ours")
    require(replayed.decide_equal is True, "decisions differ when they are taken again")
    return "killed after the sync and before the wire: asked about, then placed once; the fill is kept"


def replay_hash(folder: Path) -> str:
    with desk_in(folder) as desk:
        desk.receive(buy("A1", 1000, "150.25"))
        desk.receive(buy("A2", 100, "159.00"))
        live = state_hash(desk.state)
    found, _ = bootstrap.replay(desk.files.journal, decide=True)
    require(found.state_hash == live, "the replayed state differs from the live one")
    require(found.decide_equal is True, f"sequence {found.first_difference} is decided otherwise")
    return f"{found.records} records lead to the same state {live[:12]}; decided again: equal bytes"


def _written(folder: Path) -> Evidence:
    with desk_in(folder) as desk:
        desk.receive(buy("A1", 1000, "150.25"))
        desk.receive(buy("A2", 100, "150.20"))
    return desk.files


def _verify(files: Evidence) -> bootstrap.Verification:
    return bootstrap.verify(files.journal, files.anchors, str(files.public_key))


def tamper_found(folder: Path) -> str:
    files = _written(folder)
    require(_verify(files).ok, "the untouched journal does not verify")
    first = flip_a_bit(files.journal)
    found = _verify(files)
    require(not found.ok, "an edited record verifies")
    try:
        open_desk(folder, street_of()).close()
    except JournalCorruptError as error:
        code = error.error_code
        return f"one bit flipped from sequence {first} on: found at {found.first_bad_seq}, no start ({code})"
    raise CheckFailedError("a desk starts on an edited journal")


def cut_tail_found(folder: Path) -> str:
    files = _written(folder)
    with sqlite3.connect(files.journal) as db:
        db.execute("DELETE FROM frame WHERE first_seq = (SELECT max(first_seq) FROM frame)")
    db.close()
    chain, heads = bootstrap.verify(files.journal, None, None), _verify(files)
    require(chain.ok, "the shortened chain is not even a chain")
    require(not heads.ok, "the signed heads do not miss the last record")
    return (
        f"the chain alone ends well at {chain.events}; the signed heads miss sequence {heads.first_bad_seq}"
    )


def second_writer(folder: Path) -> str:
    with desk_in(folder) as desk:
        try:
            open_desk(folder, street_of()).close()
        except FencedError as error:
            desk.receive(buy("A1", 100, "150.20"))
            require(desk.order(ACCOUNT, "A1").status is OrderStatus.ROUTED, "the first writer is disturbed")
            return f"refused as {error.error_code}; the first writer goes on"
        raise CheckFailedError("a second writer was let in")


# --- input and errors ---------------------------------------------------------------------------------------

BAD_MESSAGES: tuple[tuple[bytes, str], ...] = (
    (b"not json", "invalid_json"),
    (b"[]", "type"),
    (b"\xff{}", "invalid_encoding"),
    (b"[" * 40, "nesting_depth"),
    (b'{"symbol": "A", "symbol": "B"}', "duplicate_key"),
    (b" " * 70_000, "body_too_large"),
    (buy("A1", 1, "150.20", colour="red"), "unknown_field"),
    (buy("A1", 1, "150.20", side="buy"), "unknown_enum"),
    (buy("A1", 0, "150.20"), "must_be_positive"),
    (buy("A1", 1, "-150.20"), "must_be_positive"),
    (buy("A1", 1, "1e2"), "number_out_of_range"),
    (buy("A1", 1, "150,20"), "number_format"),
    (buy("A1", 1, "\u0661\u0665\u0660"), "non_ascii_number"),
    (buy("A1", 10**17, "99999999"), "notional_out_of_range"),
    (buy("A1", 1, "150.20", symbol="\u0410APL"), "symbol_charset"),
)


def strict_parser(folder: Path) -> str:
    del folder
    for data, expected in BAD_MESSAGES:
        try:
            parse_new_order(data)
        except MessageRefused as error:
            require(error.error_code == expected, f"{data[:60]!r}: {error.error_code}, not {expected}")
        else:
            raise CheckFailedError(f"{data[:60]!r} was accepted")
    taken = parse_new_order(buy("A1", 1000, "150.250"))
    require(str(taken.price) == "150.25", f"the price is read as {taken.price}")
    return f"{len(BAD_MESSAGES)} bad messages refused by their codes; '150.250' is read as {taken.price}"


def _tree(kind: type[QtInfraError]) -> Iterator[type[QtInfraError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == QtInfraError.__module__:
            yield from _tree(below)


def error_forms(folder: Path) -> str:
    del folder
    kinds = list(dict.fromkeys(_tree(QtInfraError)))
    codes = [kind.code for kind in kinds]
    require(len(set(codes)) == len(codes), "two kinds of error share a code")
    try:
        parse_new_order(b"{}")
    except MessageRefused as error:
        form = json.loads(json.dumps(error.to_json()))
    require(form["error"] == "OrderValidationError", f"named {form['error']}")
    require(form["code"] == "missing_field" and form["retryable"] is False, f"told as {form['code']}")
    return (
        f"{len(kinds)} kinds of error, each with a code of its own; an empty order is told as {form['code']}"
    )


def order_state_scripts(folder: Path) -> str:
    del folder
    if not SCRIPTS.is_file():
        raise CheckSkippedError(f"{SCRIPTS.name} is not here")
    scenarios = load_scenarios(SCRIPTS)
    outcomes = [play(scenario, make_rig(dict(scenario.policy))) for scenario in scenarios]
    failures = [outcome.failure for outcome in outcomes if not outcome.passed]
    require(bool(outcomes) and not failures, "; ".join(failures))
    return f"{len(outcomes)} scripts played, every report as written"


# --- running ---------------------------------------------------------------------------------------------

Check = Callable[[Path], str]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("order to fill", order_to_fill),
    ("refused order", refused_order),
    ("accounts", accounts),
    ("duplicate id", duplicate_id),
    ("late cancel", late_cancel),
    ("exact average", exact_average),
    ("bust", bust),
    ("kill switch", kill_switch),
    ("broken link", broken_link),
    ("durable before wire", durable_before_wire),
    ("restart", restart),
    ("replay hash", replay_hash),
    ("tamper found", tamper_found),
    ("cut tail found", cut_tail_found),
    ("second writer", second_writer),
    ("strict parser", strict_parser),
    ("error forms", error_forms),
    ("order state scripts", order_state_scripts),
)


def run_check(check: Check) -> tuple[str, str]:
    """Run one check in a folder of its own; PASS, FAIL or SKIP, and what was seen."""
    try:
        with TemporaryDirectory(prefix="qtinfra-verify-") as folder:
            return "PASS", check(Path(folder))
    except CheckFailedError as failure:
        return "FAIL", str(failure)
    except CheckSkippedError as reason:
        return "SKIP", str(reason)
    except FAULTS as fault:
        return "FAIL", f"{type(fault).__name__}: {fault}"


def main() -> int:
    """Run every check; the exit status."""
    print(f"qtinfra {qtinfra.__version__} from {Path(qtinfra.__file__).parent}")
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}\n")
    counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}
    for name, check in CHECKS:
        verdict, seen = run_check(check)
        counts[verdict] += 1
        print(f"{verdict}  {name:<20}  {seen}", flush=True)
    print(f"\n{counts['PASS']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped")
    return 1 if counts["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
