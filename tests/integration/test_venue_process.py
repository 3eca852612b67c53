"""The simulated venue as a process of its own, and the gateway that holds a session with it."""

import asyncio
import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from qtinfra.core.exceptions import ExternalServiceError
from qtinfra.core.extended_models import Liquidity, VenueStatus
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import (
    ReportKind,
    VenueCancel,
    VenueMassStatusRequest,
    VenueNewOrder,
    VenueReport,
    VenueStatusRequest,
)
from qtinfra.venues.simulated.gateway import TcpVenueGateway, Timing, backoff_s
from qtinfra.venues.simulated.server import parser
from qtinfra.venues.simulated.wire import (
    MAX_MESSAGE_BYTES,
    PROTOCOL_VERSION,
    AnyMessage,
    CaughtUp,
    ClientMessage,
    Framer,
    Heartbeat,
    Logon,
    LogonAccepted,
    LogonRefused,
    Report,
    VenueMessage,
    decode_from_client,
    decode_from_venue,
    frame,
)

pytestmark = pytest.mark.integration

MIC = "XNAS"
SESSION = "XNAS-1"
PATIENCE_S = 30.0  # an upper bound for waiting, never a measurement
QUICK = Timing(heartbeat_s=0.05, dead_after_s=PATIENCE_S, first_backoff_s=0.005, max_backoff_s=0.05)


# -- the process and its admin port ----------------------------------------------------------------


class Process:
    """A running venue process."""

    def __init__(self, popen: subprocess.Popen[str], ready: dict[str, Any]) -> None:
        self.popen = popen
        self.port: int = ready["port"]
        self.ready = ready
        self._admin = socket.create_connection(("127.0.0.1", ready["admin_port"]), PATIENCE_S)
        self._answers = self._admin.makefile("r")

    def admin(self, command: str, **arguments: object) -> dict[str, Any]:
        self._admin.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(self._answers.readline())
        return answer

    def status(self, mic: str = MIC) -> dict[str, Any]:
        status: dict[str, Any] = self.admin("status")["venues"][mic]
        return status

    def dump(self, mic: str = MIC) -> tuple[list[VenueReport], list[dict[str, Any]]]:
        """The venue's own record: the reports it sent, and our orders."""
        record = self.admin("dump")["venues"][mic]
        return msgspec.convert(record["reports"], list[VenueReport]), record["orders"]

    def wait_status(self, mic: str = MIC, **expected: object) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not expected.items() <= (status := self.status(mic)).items():
            assert time.monotonic() < deadline, status
            time.sleep(0.005)

    def close(self) -> None:
        self._answers.close()
        self._admin.close()


@contextmanager
def venue_process(*options: str) -> Iterator[Process]:
    command = [sys.executable, "-m", "qtinfra.venues.simulated.server", "--symbols", "AAPL,MSFT", *options]
    venues = () if "--venue" in options else ("--venue", MIC)
    with subprocess.Popen([*command, *venues], stdout=subprocess.PIPE, text=True) as popen:
        try:
            assert popen.stdout is not None
            process = Process(popen, json.loads(popen.stdout.readline()))
            yield process
            process.close()
        finally:
            popen.kill()


@pytest.fixture
def venue() -> Iterator[Process]:
    with venue_process("--fill", "--background-ms", "0", "--seed", "7") as process:
        yield process


# -- clients ---------------------------------------------------------------------------------------


class Client:
    """A client without any cleverness: a blocking socket that speaks the protocol."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._framer = Framer(decode_from_venue)
        self._came: list[VenueMessage] = []

    def send(self, *messages: AnyMessage) -> None:
        self.socket.sendall(b"".join(map(frame, messages)))

    def receive(self) -> VenueMessage | None:
        """The next message that is no heartbeat; None at the end of the stream."""
        while not self._came:
            data = self.socket.recv(65536)
            if not data:
                return None
            self._came += [m for m in self._framer.feed(data) if not isinstance(m, Heartbeat)]
        return self._came.pop(0)

    def receive_until(self, last: type[VenueMessage]) -> list[VenueMessage]:
        came = [self.receive()]
        while came[-1] is not None and not isinstance(came[-1], last):
            came.append(self.receive())
        return [message for message in came if message is not None]

    def log_on(self, epoch: int = 1, next_seq: int = 1, session: str = SESSION, mic: str = MIC) -> None:
        self.send(Logon(session, mic, next_seq, epoch))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


class Desk:
    """A gateway with what it said, in the order it said it."""

    def __init__(
        self,
        port: int,
        *,
        epoch: int = 1,
        next_seq: int = 1,
        timing: Timing = QUICK,
        max_unsent_bytes: int = 1 << 20,
    ) -> None:
        self.reports: list[VenueReport] = []
        self.statuses: list[tuple[VenueStatus, str]] = []
        self.gateway = TcpVenueGateway(
            MIC,
            "127.0.0.1",
            port,
            session=SESSION,
            epoch=epoch,
            next_seq=next_seq,
            on_report=self.reports.append,
            on_status=lambda status, reason: self.statuses.append((status, reason)),
            rng=random.Random(epoch),
            timing=timing,
            max_unsent_bytes=max_unsent_bytes,
        )

    def kinds(self) -> list[ReportKind]:
        return [report.kind for report in self.reports]

    async def __aenter__(self) -> "Desk":
        await self.gateway.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.gateway.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.002)


async def connected(desk: Desk) -> None:
    await until(lambda: desk.gateway.connected)


def limit(
    cl_ord_id: str, side: OrderSide = OrderSide.BUY, qty: int = 100, price: str = "10.00"
) -> VenueNewOrder:
    terms = (side, OrderType.LIMIT, TimeInForce.DAY, Decimal(qty), Decimal(price))
    return VenueNewOrder(MIC, cl_ord_id, "AAPL", *terms)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def filled(reports: Sequence[VenueReport]) -> Decimal:
    return sum((report.quantity for report in reports if report.kind is ReportKind.FILL), Decimal(0))


# -- trading ---------------------------------------------------------------------------------------


def test_an_order_is_acknowledged_and_filled_by_other_peoples_order(venue: Process) -> None:
    async def scenario() -> None:
        async with Desk(venue.port) as desk:
            await connected(desk)
            desk.gateway.send(limit("A1", qty=300))
            await until(lambda: len(desk.reports) == 1)
            sold = venue.admin("trade", venue=MIC, symbol="AAPL", side="SELL", qty="200", price="9.99")
            assert sold == {"ok": True, "reports": 1}
            await until(lambda: len(desk.reports) == 2)
            desk.gateway.send(VenueCancel(MIC, "A2", "A1"))
            desk.gateway.send(VenueStatusRequest(MIC, "A1"))
            desk.gateway.send(VenueStatusRequest(MIC, "never-sent"))
            desk.gateway.send(VenueMassStatusRequest(MIC, "M1"))
            await until(lambda: len(desk.reports) == 6)
            _, fill, canceled, status, unknown, end = desk.reports
            assert desk.kinds()[0] is ReportKind.ACK
            assert (fill.kind, fill.qty, fill.px) == (ReportKind.FILL, Decimal(200), Decimal(10))
            assert (canceled.kind, canceled.orig_cl_ord_id) == (ReportKind.CANCELED, "A1")
            assert (status.kind, status.cum_qty, status.live) == (ReportKind.STATUS, Decimal(200), False)
            assert (unknown.kind, end.kind) == (ReportKind.UNKNOWN_ORDER, ReportKind.MASS_STATUS_END)
            assert [report.seq for report in desk.reports] == [1, 2, 3, 4, 5, 6]
            assert {report.session for report in desk.reports} == {SESSION}

    run(scenario())


def test_the_venues_record_is_what_it_reported(venue: Process) -> None:
    async def scenario() -> None:
        async with Desk(venue.port) as desk:
            await connected(desk)
            desk.gateway.send(limit("B1", qty=150))
            desk.gateway.send(limit("S1", OrderSide.SELL, qty=500, price="10.05"))
            await until(lambda: len(desk.reports) == 2)
            caused = venue.admin("tick", count=12)["reports"]
            await until(lambda: len(desk.reports) == 2 + caused)
            reports, orders = venue.dump()
            assert reports == desk.reports
            assert [order["cl_ord_ids"] for order in orders] == [["B1"], ["S1"]]
            for order in orders:
                fills = [
                    r for r in reports if r.kind is ReportKind.FILL and r.cl_ord_id in order["cl_ord_ids"]
                ]
                assert [e["exec_id"] for e in order["executions"]] == [fill.exec_id for fill in fills]
                assert Decimal(order["cum_qty"]) == sum(fill.quantity for fill in fills) > 0

    run(scenario())


def test_background_flow_fills_a_resting_order_in_parts_as_time_passes() -> None:
    async def scenario(port: int) -> None:
        async with Desk(port) as desk:
            await connected(desk)
            desk.gateway.send(limit("A1", qty=500))
            await until(lambda: filled(desk.reports) == 500)
            assert desk.kinds().count(ReportKind.FILL) >= 5  # none larger than 100

    with venue_process("--fill", "--background-ms", "1", "--fill-lots", "100") as process:
        run(scenario(process.port))


def test_the_same_seed_and_messages_give_the_same_fills() -> None:
    async def scenario(process: Process) -> None:
        async with Desk(process.port) as desk:
            await connected(desk)
            for number in range(5):
                desk.gateway.send(limit(f"A{number}", qty=400, price=f"10.0{number}"))
            await until(lambda: len(desk.reports) == 5)
            process.admin("tick", count=30)

    records = []
    for _ in range(2):
        with venue_process("--fill", "--background-ms", "0", "--seed", "11") as process:
            run(scenario(process))
            records.append([msgspec.structs.replace(r, source_ns=0) for r in process.dump()[0]])
    assert records[0] == records[1]
    assert sum(report.kind is ReportKind.FILL for report in records[0]) > 5


def test_a_synthetic_market_trades_with_our_orders_as_time_passes() -> None:
    async def scenario(process: Process) -> None:
        async with Desk(process.port) as desk:
            await connected(desk)
            taker = VenueNewOrder(
                MIC, "T1", "AAPL", OrderSide.BUY, OrderType.MARKET, TimeInForce.IOC, Decimal(1), None
            )
            desk.gateway.send(taker)
            await until(lambda: ReportKind.FILL in desk.kinds())
            touch = next(report.px for report in desk.reports if report.kind is ReportKind.FILL)
            assert touch is not None
            for tick in range(5):  # at the touch and below it: somebody comes for them
                desk.gateway.send(limit(f"P{tick}", qty=10, price=str(touch - Decimal(tick) / 100)))
            await until(lambda: any(report.liquidity is Liquidity.ADDED for report in desk.reports))
            assert desk.reports == process.dump()[0][: len(desk.reports)]

    with venue_process("--market", "--speed", "200", "--background-ms", "2", "--seed", "3") as process:
        run(scenario(process))


def test_the_process_refuses_options_that_contradict_each_other() -> None:
    command = [sys.executable, "-m", "qtinfra.venues.simulated.server", "--venue", MIC, "--symbols", "A,A"]
    failed = subprocess.run([*command, "--market"], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "each named once" in failed.stderr


# -- the session outlives connections ----------------------------------------------------------------


def test_reports_caused_while_nobody_is_connected_come_with_the_next_logon(venue: Process) -> None:
    async def scenario() -> None:
        async with Desk(venue.port) as first:
            await connected(first)
            first.gateway.send(limit("A1", qty=1_000))
            await until(lambda: first.reports)
        venue.wait_status(connected=False)
        caused = venue.admin("tick", count=20)["reports"]
        assert caused > 1
        async with Desk(venue.port, epoch=2, next_seq=first.gateway.next_seq) as second:
            await connected(second)
            assert len(second.reports) == caused
            assert first.reports + second.reports == venue.dump()[0]

    run(scenario())


CLIENT_PROGRAM = """
import asyncio, random, sys
import msgspec
from decimal import Decimal
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import VenueNewOrder
from qtinfra.venues.simulated.gateway import TcpVenueGateway

def journal(report):
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\\n")
    sys.stdout.buffer.flush()

async def main(port):
    ready = asyncio.Event()
    gateway = TcpVenueGateway("XNAS", "127.0.0.1", port, session="XNAS-1", epoch=1, next_seq=1,
        on_report=journal, on_status=lambda status, reason: ready.set(), rng=random.Random(1))
    await gateway.start()
    await ready.wait()
    number = 0
    while True:
        number += 1
        gateway.send(VenueNewOrder("XNAS", f"A{number}", "AAPL", OrderSide.BUY, OrderType.LIMIT,
            TimeInForce.DAY, Decimal(100), Decimal("10.00")))
        await asyncio.sleep(0)

asyncio.run(main(int(sys.argv[1])))
"""


def kill_client_while_it_trades(port: int, after_reports: int) -> list[VenueReport]:
    """Run a trading client, kill -9 it; the reports it had journaled (a torn last line is not)."""
    command = [sys.executable, "-c", CLIENT_PROGRAM, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        journal = [client.stdout.readline() for _ in range(after_reports)]
        client.kill()
        journal += client.stdout.readlines()
    return [msgspec.json.decode(line, type=VenueReport) for line in journal if line.endswith(b"\n")]


def test_after_kill_9_of_the_client_the_next_one_resumes_without_loss_or_duplication() -> None:
    async def resume(port: int, epoch: int, next_seq: int, target: int) -> list[VenueReport]:
        async with Desk(port, epoch=epoch, next_seq=next_seq) as desk:
            await connected(desk)
            await until(lambda: desk.gateway.next_seq > target)
            return desk.reports

    with venue_process("--fill", "--background-ms", "1") as process:
        journaled = kill_client_while_it_trades(process.port, after_reports=150)
        assert [report.seq for report in journaled] == list(range(1, len(journaled) + 1))
        process.wait_status(connected=False)
        target = process.status()["last_seq"]
        resumed = asyncio.run(resume(process.port, 2, len(journaled) + 1, target))
        everything = journaled + resumed
        assert everything == process.dump()[0][: len(everything)]
        assert len(everything) >= target
        assert process.popen.poll() is None


def test_through_many_broken_connections_every_report_arrives_once_and_in_order(venue: Process) -> None:
    async def scenario() -> None:
        rng = random.Random(5)
        async with Desk(venue.port) as desk:
            for number in range(300):
                if rng.random() < 0.06:
                    venue.admin("disconnect", venue=MIC)
                if rng.random() < 0.10:
                    venue.admin("tick")
                if desk.gateway.connected:
                    desk.gateway.send(limit(f"A{number}"))
                await asyncio.sleep(0.001)
            await connected(desk)
            last = venue.status()["last_seq"]
            await until(lambda: desk.gateway.next_seq == last + 1)
            assert desk.reports == venue.dump()[0]
            assert sum(status is VenueStatus.CONNECTED for status, _ in desk.statuses) > 3

    run(scenario())


def test_a_long_resend_arrives_whole_before_the_session_counts_as_caught_up(venue: Process) -> None:
    """More than what the venue lets wait for a slow reader."""
    with Client(venue.port) as client:
        client.log_on()
        client.receive_until(CaughtUp)
        client.send(*[limit(f"A{number}", price=f"{number + 1}.00") for number in range(4_000)])
        for number in range(4_000):
            report = client.receive()
            assert isinstance(report, Report)
            assert report.report.seq == number + 1
    venue.wait_status(connected=False)
    with Client(venue.port) as client:
        client.log_on(epoch=2, next_seq=11)
        time.sleep(0.05)  # it fills every buffer before anybody reads
        accepted, *resent, caught_up = client.receive_until(CaughtUp)
        assert accepted == LogonAccepted(SESSION, 4_000)
        assert [m.report.seq for m in resent if isinstance(m, Report)] == list(range(11, 4_001))
        assert caught_up == CaughtUp(4_000)


def test_a_message_cut_short_by_its_dying_client_is_not_executed(venue: Process) -> None:
    with Client(venue.port) as client:
        client.log_on()
        whole, torn = frame(limit("WHOLE")), frame(limit("TORN"))
        client.socket.sendall(whole + torn[:-1])
        client.receive_until(CaughtUp)
        assert isinstance(client.receive(), Report)
    venue.wait_status(connected=False, executed=1, partial_messages=1)
    with Client(venue.port) as client:
        client.log_on(epoch=2)
        client.send(VenueStatusRequest(MIC, "TORN"))
        client.receive_until(CaughtUp)
        answer = client.receive()
        assert isinstance(answer, Report)
        assert answer.report.kind is ReportKind.UNKNOWN_ORDER
    assert [order["cl_ord_ids"] for order in venue.dump()[1]] == [["WHOLE"]]


# -- one owner at a time ---------------------------------------------------------------------------


def test_a_higher_epoch_takes_the_session_over_and_the_old_owner_is_told(venue: Process) -> None:
    async def scenario() -> None:
        async with Desk(venue.port, epoch=1) as old:
            await connected(old)
            old.gateway.send(limit("A1"))
            await until(lambda: old.reports)
            async with Desk(venue.port, epoch=2, next_seq=2) as new:
                await connected(new)
                await until(lambda: old.gateway.refused)
                assert old.gateway.refused == "stale_epoch: epoch 2 took the session"
                assert old.statuses[-1] == (VenueStatus.DISCONNECTED, old.gateway.refused)
                with pytest.raises(ExternalServiceError) as refused:
                    old.gateway.send(limit("A2"))
                assert refused.value.error_code == "venue_disconnected"
                new.gateway.send(limit("A3"))
                await until(lambda: new.reports)
                assert venue.status()["takeovers"] == 1
                assert [order["cl_ord_ids"] for order in venue.dump()[1]] == [["A1"], ["A3"]]

    run(scenario())


def test_what_a_fenced_owner_still_sends_is_counted_and_not_executed(venue: Process) -> None:
    with Client(venue.port) as old, Client(venue.port) as new:
        old.log_on(epoch=1)
        old.receive_until(CaughtUp)
        new.log_on(epoch=2)
        new.receive_until(CaughtUp)
        old.send(limit("STALE-1"), limit("STALE-2"))
        venue.wait_status(refused_messages=2)
        *_, refusal = old.receive_until(LogonRefused)
        assert refusal == LogonRefused("stale_epoch", "epoch 2 took the session")
        assert old.receive() is None
        assert venue.dump() == ([], [])


def test_a_lower_epoch_is_refused_even_when_the_higher_one_has_gone(venue: Process) -> None:
    with Client(venue.port) as client:
        client.log_on(epoch=5)
        client.receive_until(CaughtUp)

        async def scenario() -> None:
            async with Desk(venue.port, epoch=4) as stale:
                await until(lambda: stale.gateway.refused)
                assert stale.gateway.refused == "stale_epoch: epoch 5 has the session"
                assert [status for status, _ in stale.statuses] == [VenueStatus.DISCONNECTED]

        run(scenario())
    venue.wait_status(connected=False)
    with Client(venue.port) as client:
        client.log_on(epoch=4)
        client.send(limit("STALE"))
        assert client.receive() == LogonRefused("stale_epoch", "epoch 5 has the session")
        venue.wait_status(epoch=5, refused_logons=2, refused_messages=1, executed=0)


def test_a_second_logon_of_the_same_epoch_waits_until_the_first_connection_has_ended(venue: Process) -> None:
    async def scenario() -> None:
        with Client(venue.port) as client:
            client.log_on(epoch=1)
            client.receive_until(CaughtUp)
            async with Desk(venue.port, epoch=1) as desk:
                await until(lambda: venue.status()["refused_logons"] >= 2)
                assert not desk.gateway.connected
                assert desk.statuses == [(VenueStatus.DISCONNECTED, "session_in_use: epoch 1 is connected")]
                client.socket.close()
                await connected(desk)

    run(scenario())


@pytest.mark.parametrize(
    ("logon", "reason"),
    [
        (Logon("XNAS-2", MIC, 1, 1), "unknown_session"),
        (Logon(SESSION, "XLON", 1, 1), "unknown_venue"),
        (Logon(SESSION, MIC, 2, 1), "next_seq_ahead"),
        (Logon(SESSION, MIC, 0, 1), "next_seq_ahead"),
        (Logon(SESSION, MIC, 1, 1, PROTOCOL_VERSION + 1), "wrong_version"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_logon_that_does_not_fit_is_refused_with_its_reason(
    venue: Process, logon: Logon, reason: str
) -> None:
    with Client(venue.port) as client:
        client.send(logon)
        refusal = client.receive()
        assert isinstance(refusal, LogonRefused)
        assert refusal.reason == reason
        assert client.receive() is None


@pytest.mark.parametrize(
    "bad",
    [
        frame(limit("BEFORE-LOGON")),
        b"\xff\xff\xff\xff",
        (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"),
        frame(Logon(SESSION, MIC, 1, 1)) + frame(Logon(SESSION, MIC, 1, 2)),
        frame(Logon(SESSION, MIC, 1, 1)) + frame(msgspec.structs.replace(limit("A1"), venue="XLON")),
        frame(Logon(SESSION, MIC, 1, 1)) + frame(msgspec.structs.replace(limit("A1"), qty=Decimal("NaN"))),
    ],
    ids=["order before logon", "garbage", "too long", "two logons", "another venue's order", "no number"],
)
def test_who_breaks_the_protocol_is_disconnected_and_the_venue_goes_on(venue: Process, bad: bytes) -> None:
    with Client(venue.port) as client:
        client.socket.sendall(bad)
        try:
            while client.receive() is not None:
                pass
        except ConnectionResetError:
            pass
    venue.wait_status(connected=False, executed=0, takeovers=0)
    with Client(venue.port) as client:
        client.log_on(epoch=2)
        assert client.receive_until(CaughtUp)[-1] == CaughtUp(0)


def test_each_venue_of_a_process_has_its_own_session_numbers_and_owner() -> None:
    with venue_process("--venue", "XNAS", "--venue", "XNYS", "--trade-date", "2024-07-08") as process:
        assert process.ready["sessions"] == {"XNAS": "XNAS-2024-07-08", "XNYS": "XNYS-2024-07-08"}
        with Client(process.port) as one, Client(process.port) as other:
            one.log_on(epoch=9, session="XNAS-2024-07-08")
            one.receive_until(CaughtUp)
            other.log_on(epoch=3, session="XNYS-2024-07-08", mic="XNYS")
            other.receive_until(CaughtUp)
            one.send(limit("A1"))
            assert isinstance(one.receive(), Report)
            assert (process.status("XNAS")["last_seq"], process.status("XNYS")["last_seq"]) == (1, 0)
            assert (process.status("XNAS")["epoch"], process.status("XNYS")["epoch"]) == (9, 3)


# -- the process -----------------------------------------------------------------------------------


def test_the_venue_outlives_its_clients_and_ends_on_command(venue: Process) -> None:
    for epoch in range(1, 6):
        with Client(venue.port) as client:
            client.log_on(epoch=epoch)
            client.receive_until(CaughtUp)
            client.send(limit(f"A{epoch}"))
            client.receive()
    venue.wait_status(connected=False, last_seq=5, epoch=5)
    assert venue.popen.poll() is None
    assert venue.popen.pid == venue.ready["pid"]
    assert venue.admin("stop") == {"ok": True}
    assert venue.popen.wait(PATIENCE_S) == 0


def test_sigterm_ends_the_venue_in_order(venue: Process) -> None:
    with Client(venue.port) as client:
        client.log_on()
        client.receive_until(CaughtUp)
        venue.popen.send_signal(signal.SIGTERM)
        assert venue.popen.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    "line",
    [
        {"command": "explode"},
        {"command": "status", "more": 1},
        {"command": "disconnect", "venue": "XLON"},
        {"command": "trade", "venue": MIC, "symbol": "IBM", "side": "BUY", "qty": "1"},
        {"command": "trade", "venue": MIC, "symbol": "AAPL", "side": "BUY", "qty": "1", "price": "1.001"},
        {"command": "trade", "venue": MIC, "symbol": "AAPL", "side": "BUY", "qty": "0.5"},
    ],
    ids=lambda line: json.dumps(line)[12:60],
)
def test_a_wrong_admin_command_is_answered_with_its_error(venue: Process, line: dict[str, str]) -> None:
    answer = venue.admin(**line)
    assert answer["ok"] is False
    assert answer["error"]
    assert venue.admin("status")["ok"] is True


def test_a_client_that_falls_silent_is_disconnected() -> None:
    with (
        venue_process("--heartbeat-ms", "20", "--dead-after-ms", "60") as process,
        Client(process.port) as client,
    ):
        client.log_on()
        client.receive_until(CaughtUp)
        process.wait_status(connected=False)


def test_a_fenced_owner_that_never_hangs_up_is_hung_up_on() -> None:
    with (
        venue_process("--heartbeat-ms", "20", "--dead-after-ms", "60") as process,
        Client(process.port) as old,
        Client(process.port) as new,
    ):
        old.log_on(epoch=1)
        old.receive_until(CaughtUp)
        new.log_on(epoch=2)
        assert isinstance(old.receive(), LogonRefused)
        deadline = time.monotonic() + PATIENCE_S
        with pytest.raises(ConnectionError):
            while time.monotonic() < deadline:
                old.send(Heartbeat())
                time.sleep(0.005)


def test_the_command_line_refuses_a_tick_that_is_no_positive_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--venue", MIC, "--symbols", "AAPL", "--tick", "-1"])
    assert "not a positive number" in capsys.readouterr().err


# -- the gateway against venues that misbehave -------------------------------------------------------

Script = Sequence[AnyMessage | bytes]


class ScriptedVenue:
    """Answers the n-th logon with the n-th script, then stays silent; keeps the logons it got."""

    def __init__(self, *scripts: Script) -> None:
        self.logons: list[Logon] = []
        self.came: list[ClientMessage] = []
        self._scripts = list(scripts)
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.sleep(0)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        framer = Framer(decode_from_client)
        try:
            while data := await reader.read(65536):
                for message in framer.feed(data):
                    self.came.append(message)
                    if isinstance(message, Logon):
                        self.logons.append(message)
                        for answer in self._scripts.pop(0) if self._scripts else ():
                            writer.write(answer if isinstance(answer, bytes) else frame(answer))
        except ConnectionError:
            pass
        writer.close()


def numbered(seq: int) -> Report:
    return Report(VenueReport(ReportKind.ACK, MIC, f"A{seq}", seq=seq, session=SESSION))


def test_a_gap_in_the_numbers_is_never_applied_and_the_missing_is_asked_for() -> None:
    async def scenario() -> None:
        first: Script = [LogonAccepted(SESSION, 1), numbered(1), CaughtUp(1), numbered(3), numbered(4)]
        second: Script = [LogonAccepted(SESSION, 4), *map(numbered, (2, 3, 4)), CaughtUp(4)]
        venue = ScriptedVenue(first, second)
        async with venue as port, Desk(port) as desk:
            await until(lambda: len(desk.reports) == 4)
            await connected(desk)
            assert [report.seq for report in desk.reports] == [1, 2, 3, 4]
            assert [logon.next_seq for logon in venue.logons] == [1, 2]
            assert desk.statuses == [
                (VenueStatus.CONNECTED, "caught up to 1"),
                (VenueStatus.DISCONNECTED, "gap: report 3 came, 2 was expected"),
                (VenueStatus.CONNECTED, "caught up to 4"),
            ]

    run(scenario())


def test_a_resend_that_ends_too_early_is_a_gap() -> None:
    async def scenario() -> None:
        first: Script = [LogonAccepted(SESSION, 2), numbered(1), CaughtUp(2)]
        second: Script = [LogonAccepted(SESSION, 2), numbered(2), CaughtUp(2)]
        async with ScriptedVenue(first, second) as port, Desk(port) as desk:
            await connected(desk)
            assert [report.seq for report in desk.reports] == [1, 2]
            assert desk.statuses[0] == (VenueStatus.DISCONNECTED, "gap: resend complete at 2, 2 was expected")

    run(scenario())


def test_what_follows_a_gap_on_the_same_connection_is_not_read() -> None:
    async def scenario() -> None:
        answers: list[AnyMessage] = [LogonAccepted(SESSION, 2), numbered(2), numbered(1), CaughtUp(1)]
        first = b"".join(map(frame, answers))
        second: Script = [LogonAccepted(SESSION, 2), numbered(1), numbered(2), CaughtUp(2)]
        async with ScriptedVenue([first], second) as port, Desk(port) as desk:
            await connected(desk)
            assert [report.seq for report in desk.reports] == [1, 2]
            assert [reason for _, reason in desk.statuses] == [
                "gap: report 2 came, 1 was expected",
                "caught up to 2",
            ]

    run(scenario())


def test_a_number_seen_before_is_dropped() -> None:
    async def scenario() -> None:
        script: Script = [
            LogonAccepted(SESSION, 3),
            *map(numbered, (1, 2, 1, 2, 3)),
            CaughtUp(3),
            numbered(3),
            numbered(4),
        ]
        async with ScriptedVenue(script) as port, Desk(port) as desk:
            await until(lambda: len(desk.reports) == 4)
            assert [report.seq for report in desk.reports] == [1, 2, 3, 4]
            assert [status for status, _ in desk.statuses] == [VenueStatus.CONNECTED]

    run(scenario())


def test_connected_is_not_said_before_the_resend_is_complete_and_nothing_is_sent() -> None:
    async def scenario() -> None:
        venue = ScriptedVenue([LogonAccepted(SESSION, 3), numbered(1)])
        async with venue as port, Desk(port) as desk:
            await until(lambda: desk.reports)
            with pytest.raises(ExternalServiceError, match="did not get EARLY"):
                desk.gateway.send(limit("EARLY"))
            assert [status for status, _ in desk.statuses] == [VenueStatus.DISCONNECTED]
            await desk.gateway.close()
            assert not [message for message in venue.came if isinstance(message, VenueNewOrder)]

    run(scenario())


def test_a_message_refused_while_disconnected_is_not_sent_after_the_reconnection() -> None:
    async def scenario() -> None:
        with socket.socket() as placeholder:
            placeholder.bind(("127.0.0.1", 0))
            port = placeholder.getsockname()[1]
        async with Desk(port) as desk:
            await until(lambda: desk.statuses)
            assert desk.statuses[0][1].startswith("connect failed: ConnectionRefusedError")
            with pytest.raises(ExternalServiceError):
                desk.gateway.send(limit("LOST"))
            assert desk.statuses[-1] == (VenueStatus.DISCONNECTED, "not sent: LOST: not connected")
            with venue_process("--port", str(port)) as process:
                await connected(desk)
                desk.gateway.send(limit("LATER"))
                await until(lambda: desk.reports)
                assert [order["cl_ord_ids"] for order in process.dump()[1]] == [["LATER"]]

    run(scenario())


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([numbered(1)], "protocol: "),
        ([LogonAccepted("XNAS-9", 0)], "protocol: "),
        ([LogonAccepted(SESSION, 0), Report(VenueReport(ReportKind.ACK, MIC, "A", seq=1))], "protocol: "),
        ([LogonAccepted(SESSION, 0), b"\x00\x00\x00\x01\xc1"], "wire_error: not a message"),
        ([LogonAccepted(SESSION, 0), b"\x00\x00\x00\x00"], "wire_error: a message of 0 bytes"),
    ],
    ids=["report before the logon", "another session", "report of no session", "garbage", "empty message"],
)
def test_a_venue_that_breaks_the_protocol_is_left_and_tried_again(script: Script, reason: str) -> None:
    async def scenario() -> None:
        async with (
            ScriptedVenue(script, [LogonAccepted(SESSION, 0), CaughtUp(0)]) as port,
            Desk(port) as desk,
        ):
            await connected(desk)
            assert desk.reports == []
            assert desk.statuses[0][1].startswith(reason)

    run(scenario())


def test_a_venue_that_falls_silent_is_left_and_tried_again() -> None:
    async def scenario() -> None:
        venue = ScriptedVenue(
            [LogonAccepted(SESSION, 0), CaughtUp(0)], [LogonAccepted(SESSION, 0), CaughtUp(0)]
        )
        timing = msgspec.structs.replace(QUICK, heartbeat_s=0.02, dead_after_s=0.06)
        async with venue as port, Desk(port, timing=timing) as desk:
            await until(lambda: len(desk.statuses) >= 3)
            assert desk.statuses[0] == (VenueStatus.CONNECTED, "caught up to 0")
            assert desk.statuses[1][1].startswith("dead_peer: ")
            assert desk.statuses[2] == (VenueStatus.CONNECTED, "caught up to 0")
            assert any(isinstance(message, Heartbeat) for message in venue.came)

    run(scenario())


def test_a_venue_that_does_not_read_is_disconnected_when_the_bound_is_reached() -> None:
    async def scenario() -> None:
        async with (
            ScriptedVenue([LogonAccepted(SESSION, 0), CaughtUp(0)]) as port,
            Desk(port, max_unsent_bytes=10_000) as desk,
        ):
            await connected(desk)
            with pytest.raises(ExternalServiceError) as refused:
                for number in range(1_000_000):  # more than the system takes for a peer that does not read
                    desk.gateway.send(limit(f"A{number}"))
            assert refused.value.error_code == "venue_backpressure"
            assert desk.statuses[-1][0] is VenueStatus.DISCONNECTED
            assert not desk.gateway.connected

    run(scenario())


def test_what_one_turn_of_the_loop_sends_is_no_backlog_of_the_venues() -> None:
    """A venue that is back is asked about everything in doubt there at once, however much that is."""

    async def scenario() -> None:
        venue = ScriptedVenue([LogonAccepted(SESSION, 0), CaughtUp(0)])
        async with venue as port, Desk(port, max_unsent_bytes=1_000) as desk:
            await connected(desk)
            for number in range(500):
                desk.gateway.send(VenueStatusRequest(MIC, f"A{number}"))
            await until(lambda: sum(type(one) is VenueStatusRequest for one in venue.came) == 500)
            assert desk.gateway.connected

    run(scenario())


def test_a_report_whose_delivery_fails_is_delivered_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        script: Script = [LogonAccepted(SESSION, 2), numbered(1), numbered(2), CaughtUp(2)]
        async with ScriptedVenue(script, script) as port:
            desk = Desk(port)
            failures = [ArithmeticError("the first time")]

            def deliver(report: VenueReport) -> None:
                if failures:
                    raise failures.pop()
                desk.reports.append(report)

            desk.gateway._on_report = deliver
            async with desk:
                await connected(desk)
                assert [report.seq for report in desk.reports] == [1, 2]

    run(scenario())
    assert "the first time" in caplog.text


def test_what_was_sent_before_close_is_written() -> None:
    async def scenario() -> None:
        venue = ScriptedVenue([LogonAccepted(SESSION, 0), CaughtUp(0)])
        async with venue as port:
            desk = Desk(port)
            await desk.gateway.start()
            await connected(desk)
            for number in range(50):
                desk.gateway.send(limit(f"A{number}"))
            await desk.gateway.close()
            await until(lambda: sum(isinstance(message, VenueNewOrder) for message in venue.came) == 50)
            assert [status for status, _ in desk.statuses] == [VenueStatus.CONNECTED]

    run(scenario())


def test_the_wait_before_reconnecting_doubles_up_to_its_cap_with_jitter_below() -> None:
    timing = Timing(first_backoff_s=0.1, max_backoff_s=1.0)
    waits = [[backoff_s(attempt, timing, random.Random(seed)) for seed in range(50)] for attempt in range(8)]
    for attempt, sample in enumerate(waits):
        full = min(0.1 * 2**attempt, 1.0)
        assert all(full / 2 <= wait <= full for wait in sample)
        assert len(set(sample)) > 40
    assert backoff_s(10_000, timing, random.Random(1)) <= 1.0


def test_report_numbers_begin_with_one() -> None:
    with pytest.raises(ValueError, match="begin with 1"):
        Desk(1, next_seq=0)
