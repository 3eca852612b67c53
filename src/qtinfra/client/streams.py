"""The stream for threads and for asyncio: connections around one `Feed`.

When a connection breaks the next call opens another and goes on where it was; news that were missed come
first, or a snapshot that is marked as fresh. A token that is not good any more ends the stream.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from types import TracebackType

from websockets.asyncio.client import ClientConnection as AsyncConnection
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from qtinfra.client.errors import ApiError, TransportError, UnavailableError
from qtinfra.client.models import OrderList
from qtinfra.client.retries import RetryPolicy
from qtinfra.client.streaming import (
    MAX_MESSAGE_BYTES,
    SILENCE_S,
    SUBPROTOCOLS,
    Feed,
    NewOrder,
    Outcome,
    Update,
    address,
    ended,
    handshake,
    in_doubt,
    listed,
    outcomes,
    refused,
)
from qtinfra.client.transport import Token
from qtinfra.core.special import Link

#: News that wait while `submit` waits for its answer; beyond that it does not wait any longer.
MAX_WAITING = 100_000


class Stream:
    """News of topics, and orders over the same connection; a context manager. For one thread.

    Made by `Client.stream`. The first call that needs it connects.
    Iterating waits for news for ever; `next` does so for a time.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        feed: Feed,
        policy: RetryPolicy,
        timeout_s: float,
        pause: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._url = address(url)
        self._token = token
        self._feed = feed
        self._policy = policy
        self._timeout_s = timeout_s
        self._pause = pause
        self._jitter = jitter
        self._socket: ClientConnection | None = None
        self._open_sockets = ExitStack()
        self._waiting: deque[Update] = deque()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> bool:
        """Open the connection unless it is open; true then.

        Raises:
            ApiError: the server does not let us in, or is not there.
        """
        return self._connected() is not None

    def close(self) -> None:
        """Close the connection; the next call would open another."""
        self._socket = None
        self._open_sockets.close()

    def __iter__(self) -> Iterator[Update]:
        while True:
            found = self.next(SILENCE_S)
            if found is not None:
                yield found

    def next(self, timeout_s: float) -> Update | None:
        """The next news; None when none comes within so many seconds.

        Raises:
            ApiError: a subscription or the token was refused, or no connection came about.
        """
        if self._waiting:
            return self._waiting.popleft()
        end = time.monotonic() + timeout_s
        while True:
            try:
                text = self._connected().recv(timeout=max(0.0, min(end - time.monotonic(), SILENCE_S)))
            except TimeoutError:
                return None
            except ConnectionClosed as closed:
                self._lost(ended(closed))
                continue
            news = self._read(text)[0]
            if news is not None:
                return news

    def submit(self, orders: Sequence[NewOrder]) -> tuple[Outcome, ...]:
        """Send 1 to 100 orders in one frame; what became of each, in order. Safe to repeat.

        Raises:
            ApiError: the frame was refused as a whole.
            SubmissionUnknownError: the connection broke first; send the same orders again.
        """
        return outcomes(self._exchange(orders, *self._feed.entry(orders)))

    def submit_list(self, link: Link | str, orders: Sequence[NewOrder]) -> OrderList:
        """Send orders that hang together, 2 to 16 of one account and symbol: all are accepted or none.

        Args:
            link: OCO, or BRACKET with the entry first.

        Raises:
            ApiError: the list was refused.
            SubmissionUnknownError: the connection broke first; send the same orders again.
        """
        return listed(self._exchange(orders, *self._feed.list_entry(link, orders)))

    def _exchange(self, orders: Sequence[NewOrder], name: str, frame: str) -> str | bytes:
        """Send a frame; the message that answers it. News that come first wait for `next`."""
        try:
            self._connected().send(frame)
            end = time.monotonic() + self._timeout_s
            while len(self._waiting) < MAX_WAITING:
                text = self._connected().recv(timeout=max(0.0, end - time.monotonic()))
                news, answered = self._read(text)
                if answered == name:
                    return text
                if news is not None:
                    self._waiting.append(news)
        except ConnectionClosed as closed:
            self.close()
            raise in_doubt(orders, ended(closed)) from closed
        except TimeoutError as late:
            raise in_doubt(orders, TransportError("no answer in time")) from late
        raise in_doubt(orders, TransportError("too much news came before the answer"))

    def _read(self, text: str | bytes) -> tuple[Update | None, str | None]:
        news, reply, answered = self._feed.read(text)
        if reply is not None:
            self._connected().send(reply)
        return news, answered

    def _lost(self, error: ApiError) -> None:
        self.close()
        if not isinstance(error, TransportError):
            raise error

    def _connected(self) -> ClientConnection:
        attempt = 0
        while self._socket is None:
            attempt += 1
            try:
                self._socket = self._open()
            except (TransportError, UnavailableError) as error:
                if attempt >= self._policy.attempts:
                    raise
                self._pause(self._policy.pause_s(attempt, self._jitter(), error.retry_after_s))
        return self._socket

    def _open(self) -> ClientConnection:
        try:
            opening = connect(
                self._url,
                additional_headers=handshake(self._token),
                subprotocols=SUBPROTOCOLS,
                open_timeout=self._timeout_s,
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                proxy=None,
            )
            made = self._open_sockets.enter_context(opening)
        except (OSError, InvalidHandshake) as error:
            raise refused(error) from error
        try:
            for frame in self._feed.hello():
                made.send(frame)
        except ConnectionClosed as closed:
            raise ended(closed) from closed
        return made


class AsyncStream:
    """`Stream` for asyncio; an asynchronous context manager and iterator. For one task."""

    def __init__(
        self,
        url: str,
        token: Token,
        feed: Feed,
        policy: RetryPolicy,
        timeout_s: float,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._url = address(url)
        self._token = token
        self._feed = feed
        self._policy = policy
        self._timeout_s = timeout_s
        self._pause = pause
        self._jitter = jitter
        self._socket: AsyncConnection | None = None
        self._open_sockets = AsyncExitStack()
        self._waiting: deque[Update] = deque()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self) -> bool:
        """Open the connection unless it is open; true then.

        Raises:
            ApiError: the server does not let us in, or is not there.
        """
        return await self._connected() is not None

    async def close(self) -> None:
        """Close the connection; the next call would open another."""
        self._socket = None
        await self._open_sockets.aclose()

    async def __aiter__(self) -> AsyncIterator[Update]:
        while True:
            found = await self.next(SILENCE_S)
            if found is not None:
                yield found

    async def next(self, timeout_s: float) -> Update | None:
        """The next news; None when none comes within so many seconds.

        Raises:
            ApiError: a subscription or the token was refused, or no connection came about.
        """
        if self._waiting:
            return self._waiting.popleft()
        end = time.monotonic() + timeout_s
        while True:
            try:
                text = await self._received(min(end - time.monotonic(), SILENCE_S))
            except TimeoutError:
                return None
            except ConnectionClosed as closed:
                await self._lost(ended(closed))
                continue
            news = (await self._read(text))[0]
            if news is not None:
                return news

    async def submit(self, orders: Sequence[NewOrder]) -> tuple[Outcome, ...]:
        """Send 1 to 100 orders in one frame; what became of each, in order. Safe to repeat.

        Raises:
            ApiError: the frame was refused as a whole.
            SubmissionUnknownError: the connection broke first; send the same orders again.
        """
        return outcomes(await self._exchange(orders, *self._feed.entry(orders)))

    async def submit_list(self, link: Link | str, orders: Sequence[NewOrder]) -> OrderList:
        """Send orders that hang together, 2 to 16 of one account and symbol: all are accepted or none.

        Args:
            link: OCO, or BRACKET with the entry first.

        Raises:
            ApiError: the list was refused.
            SubmissionUnknownError: the connection broke first; send the same orders again.
        """
        return listed(await self._exchange(orders, *self._feed.list_entry(link, orders)))

    async def _exchange(self, orders: Sequence[NewOrder], name: str, frame: str) -> str | bytes:
        """Send a frame; the message that answers it. News that come first wait for `next`."""
        try:
            await (await self._connected()).send(frame)
            end = time.monotonic() + self._timeout_s
            while len(self._waiting) < MAX_WAITING:
                text = await self._received(end - time.monotonic())
                news, answered = await self._read(text)
                if answered == name:
                    return text
                if news is not None:
                    self._waiting.append(news)
        except ConnectionClosed as closed:
            await self.close()
            raise in_doubt(orders, ended(closed)) from closed
        except TimeoutError as late:
            raise in_doubt(orders, TransportError("no answer in time")) from late
        raise in_doubt(orders, TransportError("too much news came before the answer"))

    async def _received(self, timeout_s: float) -> str | bytes:
        socket = await self._connected()
        async with asyncio.timeout(max(0.0, timeout_s)):
            return await socket.recv()

    async def _read(self, text: str | bytes) -> tuple[Update | None, str | None]:
        news, reply, answered = self._feed.read(text)
        if reply is not None:
            await (await self._connected()).send(reply)
        return news, answered

    async def _lost(self, error: ApiError) -> None:
        await self.close()
        if not isinstance(error, TransportError):
            raise error

    async def _connected(self) -> AsyncConnection:
        attempt = 0
        while self._socket is None:
            attempt += 1
            try:
                self._socket = await self._open()
            except (TransportError, UnavailableError) as error:
                if attempt >= self._policy.attempts:
                    raise
                await self._pause(self._policy.pause_s(attempt, self._jitter(), error.retry_after_s))
        return self._socket

    async def _open(self) -> AsyncConnection:
        try:
            opening = connect_async(
                self._url,
                additional_headers=handshake(self._token),
                subprotocols=SUBPROTOCOLS,
                open_timeout=self._timeout_s,
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                proxy=None,
            )
            made = await self._open_sockets.enter_async_context(opening)
        except (OSError, InvalidHandshake) as error:
            raise refused(error) from error
        try:
            for frame in self._feed.hello():
                await made.send(frame)
        except ConnectionClosed as closed:
            raise ended(closed) from closed
        return made
