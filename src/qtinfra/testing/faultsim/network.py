"""Connections between engines and venues, byte by byte: delay, cut in mid-message, stall, silence.

A connection keeps the order of bytes, as TCP does. Each of its ends belongs to an owner: when an engine dies,
its end is closed and the venue hears of it after what was already on its way, or, when the machine lost its
power, without that.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from qtinfra.testing.faultsim.eventloop import OUTSIDE, VirtualLoop

#: Bytes beyond which a protocol is asked to pause; set by the protocol.
_HIGH_BYTES = 64 * 1024


class End(asyncio.Transport):
    """One end of a connection, as its protocol sees it."""

    def __init__(self, net: Network, owner: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.owner = owner
        self.protocol = protocol
        self.peer: End
        self.cut_after: int | None = None
        self.lose_next = False
        self._net = net
        self._closing = False
        self._lost = False
        self._due_ns = 0
        self._stuck = bytearray()
        self._high = _HIGH_BYTES

    # --- asyncio.Transport --------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._closing:
            return
        piece = bytes(data)
        if self.lose_next:
            self._net.counts["messages_lost"] += 1
            self.lose_next, piece = False, b""
        if self.cut_after is not None:
            piece = piece[: self.cut_after]
            self.cut_after -= len(piece)
        if self._net.stalled.get(self._key()):
            self._stuck += piece
            if len(self._stuck) > self._high:
                self.protocol.pause_writing()
        else:
            self._carry(piece)
        if self.cut_after == 0:
            self.sever("cut while sending")

    def _key(self) -> int:
        return self._net.port_of(self)

    def _carry(self, piece: bytes) -> None:
        if piece:
            self._plan(self.peer._arrive, piece)

    def _plan(self, callback: Callable[..., None], *args: Any) -> None:
        loop = self._net.loop
        self._due_ns = max(self._due_ns, loop.now_ns + self._net.delay_ns())
        loop.call_for(self.peer.owner, self._due_ns - loop.now_ns, callback, *args)

    def release(self) -> None:
        """The stall is over: what waited goes on."""
        waited, self._stuck = bytes(self._stuck), bytearray()
        if waited and not self._closing:
            self._carry(waited)
            if len(waited) > self._high:
                self.protocol.resume_writing()

    def _arrive(self, piece: bytes) -> None:
        if not self._closing and not self._lost:
            self.protocol.data_received(piece)

    def write_eof(self) -> None:
        if not self._closing:
            self._plan(self.peer._hear_end)

    def _hear_end(self) -> None:
        if not self._closing and not self._lost and not self.protocol.eof_received():
            self.close()

    def close(self) -> None:
        self._shut(None)

    def abort(self) -> None:
        self._shut(None)

    def _shut(self, error: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._net.loop.call_for(self.owner, 0, self._lose, error)
        self._plan(self.peer._peer_gone)

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._net.gone(self)
            self.protocol.connection_lost(error)

    def _peer_gone(self) -> None:
        if not self._closing:
            self._closing = True
            self._lose(None)

    # --- the network's doing ------------------------------------------------------------------------------

    def sever(self, reason: str) -> None:
        """The line breaks: both ends hear of it, and nothing more arrives."""
        for end in (self, self.peer):
            if not end._closing:
                end._closing = True
                self._net.loop.call_for(end.owner, 0, end._lose, ConnectionResetError(reason))

    def die(self, *, power: bool) -> None:
        """This end's process is gone. Its callbacks never run again; the peer hears of the end."""
        if self._closing and self._lost:
            return
        self._closing = self._lost = True
        self._net.gone(self)
        if power:
            self.peer.sever("the peer's machine stopped")
        else:
            self._plan(self.peer._peer_gone)

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return len(self._stuck)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del low
        self._high = _HIGH_BYTES if high is None else high

    def pause_reading(self) -> None:
        """Nobody pauses here."""

    def resume_reading(self) -> None:
        """Nobody pauses here."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        del name
        return default


class _Socket:
    def __init__(self, port: int) -> None:
        self._port = port

    def getsockname(self) -> tuple[str, int]:
        return ("virtual", self._port)


class Listener:
    """What `create_server` gives: a port that takes connections until closed."""

    def __init__(self, net: Network, port: int) -> None:
        self._net = net
        self._port = port
        self.sockets = [_Socket(port)]

    def close(self) -> None:
        self._net.listeners.pop(self._port, None)


class Network:
    """All connections.

    Attributes:
        down: ports that nobody can reach now. stalled: ports whose bytes to the venue wait.
        delay_ns: draws how long the next piece of data travels.
        counts: what happened, by name.
    """

    def __init__(self, loop: VirtualLoop, delay_ns: Callable[[], int], counts: Counter[str]) -> None:
        self.loop = loop
        self.counts = counts
        self.delay_ns = delay_ns
        self.down: dict[int, bool] = {}
        self.stalled: dict[int, bool] = {}
        self.listeners: dict[int, Callable[[], asyncio.Protocol]] = {}
        self._ends: dict[End, int] = {}  # the engine's end of each connection, with its port
        loop.connect = self._connect
        loop.listen = self._listen

    def _listen(self, factory: Callable[[], asyncio.Protocol], port: int) -> Listener:
        self.listeners[port] = factory
        return Listener(self, port)

    async def _connect(self, factory: Callable[[], asyncio.Protocol], port: int) -> Any:
        owner = self.loop.owner
        await asyncio.sleep(self.delay_ns() / 1_000_000_000)
        accept = self.listeners.get(port)
        if accept is None or self.down.get(port):
            raise ConnectionRefusedError(f"port {port}")
        near = End(self, owner, factory())
        self.loop.owner = OUTSIDE
        far = End(self, OUTSIDE, accept())
        near.peer, far.peer = far, near
        self._ends[near] = port
        far.protocol.connection_made(far)
        self.loop.owner = owner
        near.protocol.connection_made(near)
        return near, near.protocol

    def port_of(self, end: End) -> int:
        """The port of an engine's end; -1 for a venue's, which never stalls."""
        return self._ends.get(end, -1)

    def gone(self, end: End) -> None:
        self._ends.pop(end, None)

    def ends(self, port: int) -> list[End]:
        """The engines' ends of the connections to a port."""
        return [end for end, at in self._ends.items() if at == port]

    def sever(self, port: int) -> bool:
        """Break every connection to a port; whether there was one."""
        ends = self.ends(port)
        for end in ends:
            end.sever("cut")
        return bool(ends)

    def stall(self, port: int, stalled: bool) -> None:
        """Let bytes to a venue wait, or go on."""
        self.stalled[port] = stalled
        if not stalled:
            for end in self.ends(port):
                end.release()

    def die(self, owner: int, *, power: bool) -> None:
        """The process of an owner is gone, with all its connections."""
        for end in [end for end in self._ends if end.owner == owner]:
            end.die(power=power)
