"""The processes of a proof: venues that outlive everything, and engines that are forked, fed and killed."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from qtinfra.testing.prove.engine import SYMBOLS, TRADE_DATE, VENUES, Life, Reply, Request
from qtinfra.testing.prove.reconcile import VenueRecord

#: Seconds after which a process counts as hanging. An upper bound for waiting, never a measurement.
PATIENCE_S = 30.0


class Venues:
    """The venue process and its admin port. Other people trade only when `tick` says so."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        if popen.stdout is None:
            raise ValueError("the venue process needs a pipe to say where it listens")
        self.ready: dict[str, Any] = json.loads(popen.stdout.readline())
        self._admin = socket.create_connection(("127.0.0.1", self.ready["admin_port"]), PATIENCE_S)
        self._answers = self._admin.makefile("r")

    @property
    def sessions(self) -> dict[str, tuple[int, str]]:
        """Port and session of each venue."""
        return {mic: (self.ready["port"], session) for mic, session in self.ready["sessions"].items()}

    def tick(self) -> None:
        """Let the rest of the market trade once."""
        self._ask(command="tick", count=1)

    def records(self) -> dict[str, VenueRecord]:
        """What each venue has in its books and has ever reported."""
        return msgspec.convert(self._ask(command="dump")["venues"], dict[str, VenueRecord])

    def _ask(self, **command: object) -> dict[str, Any]:
        self._admin.sendall(json.dumps(command).encode() + b"\n")
        answer: dict[str, Any] = json.loads(self._answers.readline())
        if not answer.get("ok", True):
            raise RuntimeError(f"the venues refused {command}: {answer}")
        return answer

    def close(self) -> None:
        self._answers.close()
        self._admin.close()


@contextmanager
def venue_process(seed: int) -> Iterator[Venues]:
    """Run the venues until the block ends."""
    options = ["--symbols", ",".join(SYMBOLS), "--trade-date", TRADE_DATE, "--seed", str(seed)]
    flow = ["--fill", "--fill-lots", "120", "--background-ms", "0"]
    hosted = [part for mic in VENUES for part in ("--venue", mic)]
    command = [sys.executable, "-m", "qtinfra.venues.simulated.server", *options, *flow, *hosted]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as popen, ExitStack() as stack:
        stack.callback(popen.kill)
        venues = Venues(popen)
        stack.callback(venues.close)
        yield venues


#: Stopped, dead, or inside the kernel, from where a stopped process does not come back.
_STANDING = "TtZXD"


def _thread_states(pid: int) -> list[str]:
    """One letter for each thread, as in proc(5)."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return [stat.rpartition(")")[2].split()[0] for stat in stats]


class Engines:
    """Starts engines by fork, kills them, and talks to the living one."""

    def __init__(self, popen: subprocess.Popen[str], listener: socket.socket) -> None:
        self._popen = popen
        self._listener = listener
        self._listener.settimeout(PATIENCE_S)
        self._pid = 0
        self._buffer = b""
        self._socket: socket.socket | None = None
        self._decoder = msgspec.json.Decoder(Reply)
        self._number()

    def _number(self) -> int:
        if self._popen.stdout is None:
            raise ValueError("the fork server needs pipes")
        return int(self._popen.stdout.readline())

    def _ask(self, order: Life | str) -> int:
        if self._popen.stdin is None:
            raise ValueError("the fork server needs pipes")
        self._popen.stdin.write(msgspec.json.encode(order).decode() + "\n")
        self._popen.stdin.flush()
        return self._number()

    def fork(self, life: Life) -> None:
        """Begin a life; returns when it has connected, before it has opened its journal."""
        self._buffer = b""
        self._pid = self._ask(life)
        self._socket = self._listener.accept()[0]

    def send(self, requests: list[Request]) -> None:
        """Send; an engine that has died by itself shows at the next `receive`."""
        try:
            self._line().sendall(b"".join(msgspec.json.encode(request) + b"\n" for request in requests))
        except ConnectionError:
            return

    def receive(self, timeout_s: float) -> list[Reply] | None:
        """Complete replies that come within the time; None at the end of the stream."""
        line = self._line()
        if not select.select([line], [], [], max(0.0, timeout_s))[0]:
            return []
        try:
            data = line.recv(1 << 18)
        except ConnectionError:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [self._decoder.decode(line) for line in lines] if data else None

    def hear_until(self, kinds: tuple[str, ...]) -> tuple[list[Reply], Reply | None]:
        """Replies up to the first of these kinds, which comes second; None when the engine has died before.

        Raises:
            TimeoutError: it said none of them.
        """
        heard: list[Reply] = []
        deadline = time.monotonic() + PATIENCE_S
        while (left := deadline - time.monotonic()) > 0:
            replies = self.receive(left)
            if replies is None:
                return heard, None
            heard += replies
            for reply in replies:
                if reply.kind in kinds:
                    return heard, reply
        raise TimeoutError(f"the engine said none of {kinds} within {PATIENCE_S} s")

    def freeze(self) -> None:
        """Stop the engine where it is: no thread of it does anything more until it is killed.

        Raises:
            TimeoutError: a thread goes on running.
        """
        os.kill(self._pid, signal.SIGSTOP)
        deadline = time.monotonic() + PATIENCE_S
        while set(_thread_states(self._pid)) - set(_STANDING):
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self._pid} does not stop")

    def kill(self) -> tuple[list[Reply], int]:
        """SIGKILL; what the engine had said before, which is still there to read, and its exit status."""
        os.kill(self._pid, signal.SIGKILL)
        status = self._ask("reap")
        said: list[Reply] = []
        while (replies := self.receive(PATIENCE_S)) is not None:
            said += replies
        self._line().close()
        self._socket = None
        return said, status

    def _line(self) -> socket.socket:
        if self._socket is None:
            raise RuntimeError("no engine lives")
        return self._socket

    def close(self) -> None:
        """End the living engine, if any, and the fork server."""
        if self._socket is not None and self._popen.poll() is None:
            self.kill()
        if self._popen.stdin is not None:
            self._popen.stdin.close()


@contextmanager
def engine_processes(
    journal: Path, venues: Venues, folder: Path, extra: Mapping[str, str] | None = None
) -> Iterator[Engines]:
    """Run a fork server until the block ends.

    Args:
        journal: its journal's path; `.log` at the end makes it a log, anything else SQLite's.
        folder: where the socket stands.
        extra: more for its environment, such as LD_PRELOAD.
    """
    address = str(folder / "engine.socket")
    arguments = [str(journal), address, json.dumps(venues.sessions)]
    command = [sys.executable, "-m", "qtinfra.testing.prove.engine", *arguments]
    environment = {**os.environ, **(extra or {})}
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as stack:
        listener.bind(address)
        listener.listen()
        popen = stack.enter_context(
            subprocess.Popen(
                command, text=True, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        )
        engines = Engines(popen, listener)
        stack.callback(engines.close)
        yield engines
