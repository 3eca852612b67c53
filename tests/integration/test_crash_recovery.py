"""kill -9 at random moments under load: nothing acknowledged is lost, nothing is sent or booked twice.

The venues are one process that outlives all engines. The client sends orders, cancels and replaces, and after
each restart first sends again, under the same ids, what it never saw acknowledged. From time to time it lets
everything settle and compares its own record, the journal and the venues' record (`tests.support.reconcile`).

QTINFRA_KILLS sets the number of kills (default 200), QTINFRA_CRASH_SEED the seed.
"""

import json
import os
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qtinfra.core.commands import (
    AnyCommand,
    CancelOrder,
    MassCancel,
    OrderStatusRequest,
    ReplaceOrder,
    SubmitOrder,
)
from qtinfra.core.exceptions import FencedError
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import ExecutionReport
from qtinfra.engine.state import state_hash
from qtinfra.journal.sqlite import SqliteJournal
from tests.support.crash_engine import ACCOUNTS, SYMBOLS, TRADE_DATE, VENUES, Reply, Request, Round
from tests.support.reconcile import Ledger, Replayed, VenueRecord, reconcile, replay_all
from tests.support.requirements import REPO_ROOT

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("QTINFRA_KILLS", "200"))
SEED = int(os.environ.get("QTINFRA_CRASH_SEED", "1"))
PATIENCE_S = 30.0  # an upper bound for waiting, never a measurement
WINDOW = 24  # commands without an answer at any moment
KINDS = (SubmitOrder, CancelOrder, ReplaceOrder, OrderStatusRequest, MassCancel)
WEIGHTS = (56, 22, 16, 4, 2)
TIFS = (TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)


# -- processes ---------------------------------------------------------------------------------------


class Venues:
    """The venue process and its admin port. Other people trade only when `tick` says so."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        assert popen.stdout is not None
        self.ready: dict[str, Any] = json.loads(popen.stdout.readline())
        self._admin = socket.create_connection(("127.0.0.1", self.ready["admin_port"]), PATIENCE_S)
        self._answers = self._admin.makefile("r")

    @property
    def sessions(self) -> dict[str, tuple[int, str]]:
        return {mic: (self.ready["port"], session) for mic, session in self.ready["sessions"].items()}

    def tick(self) -> None:
        assert self._ask(command="tick", count=1)["ok"]

    def records(self) -> dict[str, VenueRecord]:
        return msgspec.convert(self._ask(command="dump")["venues"], dict[str, VenueRecord])

    def _ask(self, **command: object) -> dict[str, Any]:
        self._admin.sendall(json.dumps(command).encode() + b"\n")
        answer: dict[str, Any] = json.loads(self._answers.readline())
        return answer

    def close(self) -> None:
        self._answers.close()
        self._admin.close()


@contextmanager
def venue_process(seed: int) -> Iterator[Venues]:
    options = ["--symbols", ",".join(SYMBOLS), "--trade-date", TRADE_DATE, "--seed", str(seed)]
    flow = ["--fill", "--fill-lots", "120", "--background-ms", "0"]
    hosted = [part for mic in VENUES for part in ("--venue", mic)]
    command = [sys.executable, "-m", "qtinfra.venues.simulated.server", *options, *flow, *hosted]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as popen, ExitStack() as stack:
        stack.callback(popen.kill)
        venues = Venues(popen)
        stack.callback(venues.close)
        yield venues


class Engines:
    """Starts engines by fork, kills them, and talks to the living one."""

    def __init__(self, popen: subprocess.Popen[str], listener: socket.socket) -> None:
        self._popen = popen
        self._listener = listener
        self._pid = 0
        self._buffer = b""
        self._socket: socket.socket | None = None
        self._decoder = msgspec.json.Decoder(Reply)

    def _ask(self, order: Round | str) -> int:
        assert self._popen.stdin is not None and self._popen.stdout is not None
        self._popen.stdin.write(msgspec.json.encode(order).decode() + "\n")
        self._popen.stdin.flush()
        return int(self._popen.stdout.readline())

    def fork(self, life: Round) -> None:
        self._pid = self._ask(life)
        self._buffer = b""

    def connect(self) -> None:
        self._listener.settimeout(PATIENCE_S)
        self._socket = self._listener.accept()[0]

    def send(self, requests: list[Request]) -> None:
        """Send; an engine that has died by itself shows at the next `receive`."""
        assert self._socket is not None
        self._socket.sendall(b"".join(msgspec.json.encode(request) + b"\n" for request in requests))

    def receive(self, timeout_s: float) -> list[Reply] | None:
        """Complete replies that come within the time; None at the end of the stream."""
        assert self._socket is not None
        if not select.select([self._socket], [], [], max(0.0, timeout_s))[0]:
            return []
        try:
            data = self._socket.recv(1 << 18)
        except ConnectionError:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [self._decoder.decode(line) for line in lines] if data else None

    def kill(self) -> list[Reply]:
        """SIGKILL; what the engine had said before is still there to read."""
        os.kill(self._pid, 9)
        status = self._ask("reap")
        assert status == -9, f"the engine ended by itself: {status}"
        said: list[Reply] = []
        self._listener.setblocking(False)
        if self._socket is None and select.select([self._listener], [], [], 0)[0]:
            self._socket = self._listener.accept()[0]
        while self._socket is not None and (replies := self.receive(PATIENCE_S)) is not None:
            said += replies
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        return said


@contextmanager
def engine_processes(folder: Path, venues: Venues, bug: str = "") -> Iterator[Engines]:
    address = str(folder / "engine.socket")
    arguments = [str(folder / "journal.db"), address, json.dumps(venues.sessions)]
    command = [sys.executable, "-m", "tests.support.crash_engine", *arguments]
    environment = {**os.environ, "QTINFRA_CRASH_BUG": bug}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        socket.socket(socket.AF_UNIX) as listener,
        subprocess.Popen(command, text=True, cwd=REPO_ROOT, env=environment, **pipes) as popen,  # type: ignore[call-overload]
    ):
        listener.bind(address)
        listener.listen()
        yield Engines(popen, listener)
        popen.stdin.close()


# -- the client --------------------------------------------------------------------------------------


class Client:
    """Sends a seeded mix of commands and remembers every one of them and every answer."""

    def __init__(self, rng: random.Random) -> None:
        self.ledger = Ledger()
        self.unanswered: dict[int, AnyCommand] = {}
        self.refused: list[Reply] = []
        self._rng = rng
        self._recent: list[SubmitOrder] = []
        self._last = 0

    def next_requests(self) -> list[Request]:
        """As many new commands as the window has room for."""
        return [self._request(self._next()) for _ in range(WINDOW - len(self.unanswered))]

    def again(self) -> list[Request]:
        """What was never seen acknowledged, under the same ids, in the same order."""
        return [Request(n, command) for n, command in self.unanswered.items()]

    def hear(self, replies: list[Reply]) -> None:
        for reply in replies:
            match reply.kind:
                case "ack":
                    self.ledger.acknowledged.setdefault(reply.n, []).append(reply.reports)
                    self.unanswered.pop(reply.n, None)
                case "refused" | "stopped" | "stuck":
                    self.refused.append(reply)
                case "report":
                    self._hear_fill(reply)

    def _hear_fill(self, reply: Reply) -> None:
        for report in reply.reports:
            if isinstance(report, ExecutionReport):
                self.ledger.fills[report.venue, report.exec_id] = (report.last_qty, report.last_px)

    def _request(self, command: AnyCommand) -> Request:
        self._last += 1
        self.ledger.sent[self._last] = self.unanswered[self._last] = command
        return Request(self._last, command)

    def _next(self) -> AnyCommand:
        kind = self._rng.choices(KINDS, WEIGHTS)[0] if self._recent else SubmitOrder
        number = self._last + 1
        if kind is SubmitOrder:
            return self._submit(number)
        if kind is MassCancel:
            return MassCancel(self._rng.choice(ACCOUNTS), f"M{number}", self._rng.choice(SYMBOLS))
        order = self._rng.choice(self._recent)
        if kind is CancelOrder:
            return CancelOrder(order.account, f"C{number}", order.cl_ord_id)
        if kind is OrderStatusRequest:
            return OrderStatusRequest(order.account, order.cl_ord_id)
        qty = order.qty + self._rng.randint(-20, 40)
        return ReplaceOrder(order.account, f"R{number}", order.cl_ord_id, max(qty, Decimal(1)), self._price())

    def _submit(self, number: int) -> SubmitOrder:
        if self._recent and self._rng.random() < 0.03:
            return self._rng.choice(self._recent)  # the client repeats itself without any crash
        order = SubmitOrder(
            self._rng.choice(ACCOUNTS),
            f"O{number}",
            self._rng.choice(SYMBOLS),
            self._rng.choice((OrderSide.BUY, OrderSide.SELL)),
            OrderType.LIMIT,
            self._rng.choices(TIFS, (70, 10, 15, 5))[0],
            Decimal(self._rng.randint(1, 310)),
            self._price(),
        )
        self._recent = [*self._recent[-40:], order]
        return order

    def _price(self) -> Decimal:
        return Decimal(self._rng.randint(9990, 10010)) / 100


# -- the test ----------------------------------------------------------------------------------------


class Crashes:
    """Rounds of load and kill, with a reconciliation now and then."""

    def __init__(self, engines: Engines, venues: Venues, path: str, rng: random.Random) -> None:
        self.client = Client(rng)
        self.kills = self.early_kills = self.from_snapshot = self.sent_again = self.reconciled = 0
        self.summary = ""
        self._engines = engines
        self._venues = venues
        self._path = path
        self._rng = rng

    def run(self, kills: int, every: int) -> list[str]:
        """Kill so many times; the disagreements of the first reconciliation that finds any."""
        while self.kills < kills:
            settle = self.kills % every == every - 1 or self.kills == kills - 1
            disagreements = self._one_life(settle)
            if disagreements:
                return disagreements
        return []

    def _one_life(self, settle: bool) -> list[str]:
        self._engines.fork(Round(self.kills, snapshots=self._rng.random() < 0.5))
        self.kills += 1
        disagreements: list[str] = []
        if settle or self._rng.random() < 0.85:
            self._engines.connect()
            self.hear_until("started" if self._rng.random() < 0.3 else "ready")
            seconds = self._rng.uniform(0.005, 0.060)
            if settle:
                disagreements = self.load_and_settle(seconds)
            else:
                self._load(seconds)
        else:
            self.early_kills += 1
            time.sleep(self._rng.uniform(0.0, 0.08))
        self.client.hear(self._engines.kill())
        if self._rng.random() < 0.3:
            self._venues.tick()  # the market goes on while no engine is there
        return disagreements

    def hear_until(self, kind: str) -> Reply:
        deadline = time.monotonic() + PATIENCE_S
        while (left := deadline - time.monotonic()) > 0:
            replies = self._engines.receive(left)
            assert replies is not None, "the engine ended by itself"
            self.client.hear(replies)
            for reply in replies:
                self.from_snapshot += reply.kind == "started" and reply.from_snapshot
                if reply.kind in (kind, "stuck"):
                    return reply
        raise TimeoutError(f"the engine did not say {kind!r}")

    def _load(self, seconds: float) -> None:
        again = self.client.again()
        self.sent_again += len(again)
        self._engines.send(again)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._engines.send(self.client.next_requests())
            if self._rng.random() < 0.15:
                self._venues.tick()
            replies = self._engines.receive(min(left, 0.003))
            assert replies is not None, "the engine ended by itself"
            self.client.hear(replies)

    def load_and_settle(self, seconds: float) -> list[str]:
        """After some load let everything in flight be answered, then compare the three records."""
        self._load(seconds)
        self._engines.send([Request(0)])
        settled = self.hear_until("settled")
        if settled.kind == "stuck":
            return [f"does not settle: {settled.text}"]
        if self.client.unanswered:
            return [f"never acknowledged: {list(self.client.unanswered)}"]
        records = self._venues.records()
        replayed = replay_all(self._path)
        self.reconciled += 1
        found = [f"{reply.kind}: {reply.code}{reply.text}" for reply in self.client.refused]
        if (replayed.state.seq, state_hash(replayed.state)) != (settled.seq, settled.state_hash):
            found.append("replaying the journal does not lead to the engine's state")
        found += reconcile(self.client.ledger, replayed, records)
        self.summary = self._summarise(replayed)
        return found

    def _summarise(self, replayed: Replayed) -> str:
        ledger, state = self.client.ledger, replayed.state
        figures = {
            "kills": self.kills,
            "while recovering": self.early_kills,
            "lives from a snapshot": self.from_snapshot,
            "reconciliations": self.reconciled,
            "commands": len(ledger.sent),
            "acknowledged": len(ledger.acknowledged),
            "sent again": self.sent_again,
            "orders": len(replayed.created),
            "executions": len(state.executions),
            "children in doubt, resolved": replayed.doubted,
            "of them never received": replayed.never_received,
            "events": state.seq,
        }
        return ", ".join(f"{name} {figure}" for name, figure in figures.items())


def crash(folder: Path, kills: int, every: int, bug: str = "", seed: int = SEED) -> tuple[list[str], str]:
    """Run the rounds; disagreements and a summary."""
    with venue_process(seed) as venues, engine_processes(folder, venues, bug) as engines:
        crashes = Crashes(engines, venues, str(folder / "journal.db"), random.Random(seed))
        return crashes.run(kills, every), crashes.summary


def test_nothing_is_lost_or_doubled_when_the_engine_is_killed_at_random_moments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disagreements, summary = crash(tmp_path, KILLS, every=40)
    with capsys.disabled():
        sys.stdout.write(f"\n{summary}\n")
    assert disagreements == []


@pytest.mark.parametrize("bug", ["early_release", "blind_resend"])
def test_the_reconciliation_finds_a_planted_bug(tmp_path: Path, bug: str) -> None:
    disagreements, _ = crash(tmp_path, 60, every=6, bug=bug)
    assert any("does not know" in text or "is lost" in text for text in disagreements), disagreements


def test_a_second_engine_is_refused_while_the_first_lives_and_the_first_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with venue_process(SEED) as venues, engine_processes(tmp_path, venues) as engines:
        crashes = Crashes(engines, venues, str(path), random.Random(SEED))
        engines.fork(Round(0, snapshots=False))
        engines.connect()
        crashes.hear_until("ready")
        with pytest.raises(FencedError, match="round 0"):
            SqliteJournal.open(path, owner="another")
        assert crashes.load_and_settle(0.02) == []
        engines.kill()
        with closing(SqliteJournal.open(path, owner="another")) as journal:
            assert journal.epoch == 2
