"""The servers that are measured, each a process of its own, and what the system says of them.

python -m qtinfra.bench.http_servers echo|commit PORT FOLDER      (`qtinfra serve` is the third)
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import msgspec
import uvicorn

from qtinfra.bench import http_load
from qtinfra.bench.controls import commit_per_order, echo
from qtinfra.bench.http_load import Found, Load

_PATIENCE_S = 60.0
#: Nothing at the gateway's limits is to be measured, only what it does within them.
_ENVIRONMENT = {"QTINFRA_RATE_LIMIT": "1000000"}


class Cores(msgspec.Struct, frozen=True):
    """Which processors the server that is measured has, and which everything else: the load, the
    projector's process and the benchmark itself. Servers take turns, so that all of them may have the same.
    """

    server: frozenset[int]
    others: frozenset[int]


@contextmanager
def apart() -> Iterator[Cores]:
    """Keep one processor for the servers, and this process and what it starts away from it, until the block
    ends. Where there is only one, they share it.
    """
    before = os.sched_getaffinity(0)
    first = frozenset({min(before)})
    cores = Cores(first, frozenset(before) - first or first)
    os.sched_setaffinity(0, cores.others)
    try:
        yield cores
    finally:
        os.sched_setaffinity(0, before)


def _keep_to(pid: int, cores: frozenset[int]) -> None:
    """Let a process, all its threads, run on these processors only; what it starts later inherits that."""
    for task in _tasks(pid):
        os.sched_setaffinity(task, cores)


def _tasks(pid: int) -> list[int]:
    """The ids of a process's threads (proc(5))."""
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.port = port
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_PATIENCE_S)

    def await_health(self) -> None:
        """Return when it answers.

        Raises:
            RuntimeError: it ended or did not answer in time.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if self.http.get("/healthz").status_code == 200:
                    return
            time.sleep(0.05)
        raise RuntimeError("a server for the benchmark did not start")

    def cpu_s(self) -> float:
        """CPU seconds of the server's process, its threads included, its child processes not."""
        return _cpu_s(self._process.pid)

    def children_cpu_s(self) -> float:
        """CPU seconds of its child processes: the projector's."""
        return sum(_cpu_s(pid) for pid in self._children())

    def spread(self, cores: Cores) -> None:
        """Put the server on its processor, and its child processes on the others."""
        _keep_to(self._process.pid, cores.server)
        for pid in self._children():
            _keep_to(pid, cores.others)

    def processors(self) -> tuple[set[frozenset[int]], set[frozenset[int]]]:
        """On which processors the threads of the server may run, and those of its child processes."""
        own = {frozenset(os.sched_getaffinity(task)) for task in _tasks(self._process.pid)}
        return own, {frozenset(os.sched_getaffinity(t)) for pid in self._children() for t in _tasks(pid)}

    def _children(self) -> list[int]:
        listed = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def memory_mb(self) -> float:
        """Resident memory of the server's process, 10**6 bytes."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self._process.pid}/status").read_text())
        return int(found[1]) * 1024 / 1e6 if found is not None else 0.0


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process's living threads, to the nanosecond (proc(5), schedstat)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serve(kind: str, folder: Path, cores: Cores | None = None) -> Iterator[Server]:
    """Run a server until the block ends.

    Args:
        kind: "qtinfra", "echo" or "commit".
        folder: for its files; a new one is made in it.
        cores: where it runs; None leaves that to the system.
    """
    port, data = _free_port(), folder / kind
    data.mkdir()
    command = [sys.executable, "-m", __name__, kind, str(port), str(data)]
    if kind == "qtinfra":
        command = [sys.executable, "-m", "qtinfra", "serve", "--port", str(port), "--data-dir", str(data)]
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(command, env={**os.environ, **_ENVIRONMENT}, stderr=subprocess.DEVNULL)
        )
        stack.callback(_end, process)
        server = Server(process, port)
        stack.callback(server.http.close)
        server.await_health()
        if cores is not None:
            server.spread(cores)
        yield server


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_PATIENCE_S)
        finally:
            process.kill()


class Generator:
    """A load generator's process, connected and ready; `run` lets it go."""

    def __init__(self, load: Load, stack: ExitStack) -> None:
        command, pipe = [sys.executable, "-P", http_load.__file__], subprocess.PIPE
        process = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe))
        stack.callback(process.kill)
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the load generator has no pipes")
        self._in, self._out = process.stdin, process.stdout
        self._say(msgspec.json.encode(load))
        if self._out.readline() != b"ready\n":
            raise RuntimeError("the load generator did not start")

    def _say(self, line: bytes) -> None:
        self._in.write(line + b"\n")
        self._in.flush()

    def start(self) -> None:
        """Begin to send."""
        self._say(b"go")

    def found(self) -> Found:
        """What came back, when everything has.

        Raises:
            RuntimeError: an answer was not a success.
        """
        line = self._out.readline()
        if not line:
            raise RuntimeError("the load generator failed")
        found = msgspec.json.decode(line, type=Found)
        if found.sample:
            raise RuntimeError(f"not every request was accepted: {found.statuses}, {found.sample}")
        return found


def run_load(load: Load) -> Found:
    """Run one load in a process of its own."""
    with ExitStack() as stack:
        generator = Generator(load, stack)
        generator.start()
        return generator.found()


def main(argv: list[str]) -> None:
    """Serve one of the controls with the options that the gateway's server has."""
    kind, port, folder = argv
    app = echo.app if kind == "echo" else commit_per_order.create_app(Path(folder) / "orders.sqlite")
    uvicorn.run(
        app,
        port=int(port),
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_level="warning",
        lifespan="off" if kind == "echo" else "on",
    )


if __name__ == "__main__":
    main(sys.argv[1:])
