"""The load generator: a process of its own that sends requests over kept-alive connections.

It reads one `Load` as a line of JSON from standard input, says "ready", waits for another line, runs, and
writes one `Found`. Each connection sends its next request when the answer to the last one is complete.
It is started by its path and imports nothing of ours, so that it starts at once.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from time import perf_counter

import msgspec
import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_ID = re.compile(rb'"id":"([^"]+)"')


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to send.

    Attributes:
        head: request line and headers without the content length; `{path}` stands in it for one of `paths`.
        bodies: texts of which each request takes the next one; `@` in it becomes a number that is never used
            twice, so that client order ids are new. Empty: requests without a body.
        paths: paths in turn.
        requests: how many in all.
        pause_s: seconds from an answer to the connection's next request.
        keep_ids: how many ids of answers to give back at most.
        accepted: how many orders each answer must say were accepted; 0 to look at its status only.
        upgrade: the head of a WebSocket's opening request; the bodies then go as frames, the first
            of them after the server's welcome.
    """

    port: int
    head: str
    bodies: tuple[str, ...] = ()
    paths: tuple[str, ...] = ("/",)
    requests: int
    connections: int
    first_number: int = 0
    pause_s: float = 0.0
    keep_ids: int = 0
    accepted: int = 0
    upgrade: str = ""


class Found(msgspec.Struct, frozen=True):
    """What came back: latencies in microseconds, from the first byte sent to the last one received.

    Attributes:
        sample: the first answer that was not a success; "" when all were.
    """

    requests: int
    wall_s: float
    p50_us: float
    p99_us: float
    max_us: float
    statuses: dict[str, int]
    ids: tuple[str, ...]
    sample: str


def requests_of(load: Load) -> Iterator[bytes]:
    """Every request as bytes."""
    head, number = load.head.encode(), load.first_number
    bodies = [body.encode().split(b"@") for body in load.bodies]
    for n in range(load.requests):
        start = head.replace(b"{path}", load.paths[n % len(load.paths)].encode())
        if not bodies:
            yield start + b"\r\n"
            continue
        parts = bodies[n % len(bodies)]
        filled = [parts[0]]
        for part in parts[1:]:
            filled += [b"%d" % number, part]
            number += 1
        body = b"".join(filled)
        if load.upgrade:
            yield text_frame(body)
            continue
        yield b"%bcontent-length: %d\r\n\r\n%b" % (start, len(body), body)


def text_frame(payload: bytes) -> bytes:
    """A client's text frame (RFC 6455, section 5.2), masked with zeros, which leaves the text as it is."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    else:
        length = b"\xfe" + size.to_bytes(2, "big") if size <= 0xFFFF else b"\xff" + size.to_bytes(8, "big")
    return b"\x81" + length + bytes(4) + payload


def frame_end(data: bytes) -> tuple[int, int]:
    """Where the payload of a server's first frame begins and ends; (0, 0) when it is not complete."""
    if len(data) < 2:
        return 0, 0
    size, start = data[1], 2
    if size >= 126:
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start], "big")
    return (start, start + size) if len(data) >= start + size else (0, 0)


class Connection(asyncio.Protocol):
    """One connection: at most one request under way."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._buffer = b""
        self._sent = 0.0
        self._framed = self._welcomed = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        if self._run.upgrade:
            self._transport.write(self._run.upgrade)  # type: ignore[union-attr]
        else:
            self._run.opened()

    def send(self) -> None:
        """Send the next request, if there is one."""
        request = next(self._run.requests, None)
        if request is None:
            self._run.ended()
            return
        self._sent = perf_counter()
        self._transport.write(request)  # type: ignore[union-attr]

    def data_received(self, data: bytes) -> None:
        self._buffer = data = self._buffer + data if self._buffer else data
        if self._framed:
            start, end = frame_end(data)
            if end == 0:
                return
            self._buffer = data[end:]
            if self._welcomed:
                self._answered(b"200", data[start:end])
            else:
                self._welcomed = True
                self._run.opened()
            return
        head = data.find(b"\r\n\r\n")
        if head < 0:
            return
        if data.startswith(b"HTTP/1.1 101"):
            self._buffer, self._framed = b"", True
            if len(data) > head + 4:
                self.data_received(data[head + 4 :])
            return
        length = _LENGTH.search(data, 0, head + 2)
        if length is None:
            raise ValueError(f"an answer without content-length: {data[:200]!r}")
        if len(data) >= head + 4 + int(length[1]):
            self._buffer = b""
            self._answered(data[9:12], data[head + 4 :])

    def _answered(self, status: bytes, body: bytes) -> None:
        self._run.answered(status, body, perf_counter() - self._sent)
        if self._run.pause_s:
            asyncio.get_running_loop().call_later(self._run.pause_s, self.send)
        else:
            self.send()

    def connection_lost(self, error: Exception | None) -> None:
        self._run.lost(error)

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.close()


class Run:
    """One load being run."""

    def __init__(self, load: Load) -> None:
        self.requests = iter(list(requests_of(load)))
        self.pause_s = load.pause_s
        self.upgrade = load.upgrade.encode()
        self._load = load
        self._latencies: list[float] = []
        self._statuses: Counter[bytes] = Counter()
        self._ids: list[str] = []
        self._sample = b""
        self._open = self._opening = load.connections
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._done: asyncio.Future[None] = loop.create_future()

    def answered(self, status: bytes, body: bytes, seconds: float) -> None:
        """Note an answer."""
        self._latencies.append(seconds)
        self._statuses[status] += 1
        if len(self._ids) < self._load.keep_ids:
            found = _ID.search(body)
            if found is not None:
                self._ids.append(found[1].decode())
        wanted = self._load.accepted
        if (status[:1] != b"2" or (wanted and body.count(b'"status":201') != wanted)) and not self._sample:
            self._sample = status + b" " + body[:300]

    def opened(self) -> None:
        """A connection can send."""
        self._opening -= 1
        if self._opening == 0:
            self._ready.set_result(None)

    def ended(self) -> None:
        """A connection has nothing more to send."""
        self._open -= 1
        if self._open == 0 and not self._done.done():
            self._done.set_result(None)

    def lost(self, error: Exception | None) -> None:
        """A connection was closed; an error while requests are left."""
        for waiting in (self._ready, self._done):
            if not waiting.done():
                waiting.set_exception(ConnectionError(f"the server closed a connection: {error}"))
                break

    async def go(self, wait: Callable[[], None]) -> Found:
        """Connect, wait for the word, send everything."""
        loop = asyncio.get_running_loop()
        connections = []
        for _ in range(self._load.connections):
            made = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self._load.port)
            connections.append(made[1])
        await self._ready
        wait()
        started = perf_counter()
        for connection in connections:
            connection.send()
        await self._done
        wall_s = perf_counter() - started
        for connection in connections:
            connection.close()
        return self._found(wall_s)

    def _found(self, wall_s: float) -> Found:
        ordered = sorted(seconds * 1e6 for seconds in self._latencies)
        statuses = {status.decode(): count for status, count in self._statuses.items()}
        return Found(
            len(ordered),
            wall_s,
            ordered[len(ordered) // 2],
            ordered[int(len(ordered) * 0.99)],
            ordered[-1],
            statuses,
            tuple(self._ids),
            self._sample.decode("utf-8", "replace"),
        )


async def _run(load: Load) -> Found:
    def wait() -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()

    return await Run(load).go(wait)


def main() -> None:
    """Run the load that standard input gives."""
    load = msgspec.json.decode(sys.stdin.readline(), type=Load)
    found = uvloop.run(_run(load))
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


if __name__ == "__main__":
    main()
