"""One connection: who it is, what it follows, the orders that it sends, and how it ends.

Three tasks share it: one reads frames, one waits for the outcomes of orders in the order of their frames, one
sends. The first that ends, ends it. A frame that cannot be served gets an error and the connection goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from qtinfra.api.errors import Problem, problem_of, refusal
from qtinfra.api.requests import allow, forbidden
from qtinfra.api.stream.hub import Follower, Hub
from qtinfra.api.stream.orders import Answer, Entry
from qtinfra.api.stream.outbox import Outbox, Subscription
from qtinfra.api.stream.protection import Guard, Protection
from qtinfra.api.stream.protocol import (
    ENTRY,
    FAULT,
    JOURNALED,
    MAX_FRAME_BYTES,
    MAX_SUBSCRIPTIONS,
    NEEDS,
    NOT_AUTHENTICATED,
    POLICY,
    SUBPROTOCOL,
    TOO_BIG,
    TRY_LATER,
    Frame,
    Op,
    Topic,
    failure,
    frame_id,
    message,
    read_frame,
)
from qtinfra.api.stream.snapshots import Snapshots
from qtinfra.api.views import rfc3339
from qtinfra.bootstrap.serving import Platform
from qtinfra.core.exceptions import AuthenticationError, QtInfraError
from qtinfra.core.security.identity import EVERY_ACCOUNT, Identity
from qtinfra.core.security.permissions import Permission, holds, scope

#: The first frame of a connection without a token in its header must come within so many seconds.
AUTH_WAIT_S = 5.0
#: When nothing else was sent for so many seconds, a heartbeat is.
HEARTBEAT_S = 10.0
#: A client that does not read has so long to take the reason why it was closed, seconds.
CLOSE_WAIT_S = 120.0
#: Frames with orders that wait for their outcomes; then no more is read.
MAX_FRAMES_UNDER_WAY = 64
#: Refused frames after which the connection is closed.
MAX_REFUSED = 1_000

_SECOND_NS = 1_000_000_000

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Closed(Exception):
    """The connection ends: with a close code and reason of ours, or because the client has gone (code 0)."""

    def __init__(self, code: int = 0, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Session:
    """One client.

    Args:
        protection: cancels the orders of a connection that asked for it when it has ended.
        authorization: value of the Authorization header; None when the first frame brings the token.
        correlation_id: stands in every problem of this connection.
        max_items: bound of the client's outbox.
    """

    def __init__(
        self,
        platform: Platform,
        hub: Hub,
        entry: Entry,
        snapshots: Snapshots,
        protection: Protection,
        receive: Receive,
        send: Send,
        *,
        authorization: bytes | None,
        correlation_id: str,
        max_items: int,
    ) -> None:
        self._platform = platform
        self._hub = hub
        self._entry = entry
        self._snapshots = snapshots
        self._protection = protection
        self._guard: Guard | None = None
        self._displaced = asyncio.Event()
        self._receive = receive
        self._send = send
        self._authorization = authorization
        self._correlation_id = correlation_id
        self.outbox = Outbox(max_items)
        self._followers: dict[str, Follower] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._answers: asyncio.Queue[Answer] = asyncio.Queue(MAX_FRAMES_UNDER_WAY)
        self._refused = 0
        self._identity: Identity

    # --- the connection -----------------------------------------------------------------------------------

    async def authenticate(self) -> Identity:
        """Whose connection it is, by the header or the first frame.

        Raises:
            Closed: 4401; the problem was sent before.
        """
        try:
            if self._authorization is None:
                async with asyncio.timeout(AUTH_WAIT_S):
                    self._authorization = await self._first_token()
            self._identity = self._verified(self._authorization)
        except TimeoutError:
            raise Closed(NOT_AUTHENTICATED, "auth_timeout") from None
        except (Problem, QtInfraError) as error:
            problem = error if isinstance(error, Problem) else problem_of(error)
            await self._out(failure("", problem, self._correlation_id))
            raise Closed(NOT_AUTHENTICATED, problem.code) from error
        return self._identity

    async def _first_token(self) -> bytes:
        frame = read_frame(await self._next())
        if frame.op is not Op.AUTH:
            raise refusal(401, "missing_token", "the first frame must be auth", field="op", limit="auth")
        return _bearer(frame)

    def _verified(self, authorization: bytes) -> Identity:
        return self._platform.verifier.verify(authorization, self._platform.clock.now_ns() / _SECOND_NS)

    async def run(self) -> None:
        """Serve the connection until it ends.

        Raises:
            Closed: with what to tell the client.
        """
        self.outbox.message(self._welcome())
        tasks = [
            asyncio.create_task(work())
            for work in (self._read, self._answer, self._write, self._overflowed, self._stopped, self._taken)
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for follower in self._followers.values():
                self._hub.leave(follower)
            rest = [*tasks, *self._starting.values()]
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            if self._guard is not None:
                self._protection.release(self._guard, self._displaced.set)
        if self.outbox.overflowed.is_set():
            raise Closed(TRY_LATER, "slow_consumer")
        for task in done:
            task.result()

    def _welcome(self) -> bytes:
        return message(
            "welcome",
            protocol=SUBPROTOCOL,
            subject=self._identity.subject,
            accounts=self._identity.accounts,
            seq=self._platform.durable.seq,
            heartbeat_s=HEARTBEAT_S,
        )

    async def _overflowed(self) -> None:
        await self.outbox.overflowed.wait()
        raise Closed(TRY_LATER, "slow_consumer")

    async def _taken(self) -> None:
        await self._displaced.wait()
        raise Closed(POLICY, "session_taken")

    async def _stopped(self) -> None:
        await self._platform.shard.wait_stopped()
        raise Closed(FAULT, "shard_stopped")

    # --- out ----------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Send what waits, as long as the token is good."""
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self.outbox.wait()
            except TimeoutError:
                now = rfc3339(self._platform.clock.now_ns())
                self.outbox.message(message("heartbeat", seq=self._platform.durable.seq, at=now))
            for body in self.outbox.take():
                self._still_known()
                await self._out(body)
                await asyncio.sleep(0)

    def _still_known(self) -> None:
        """Nothing is sent under a token that has ended or was revoked."""
        try:
            self._verified(self._authorization or b"")
        except AuthenticationError as error:
            raise Closed(NOT_AUTHENTICATED, error.error_code) from error

    async def _out(self, body: bytes) -> None:
        try:
            await self._send({"type": "websocket.send", "text": body.decode()})
        except OSError as error:
            raise Closed from error

    async def _answer(self) -> None:
        """Answer frames with orders, in their order."""
        while True:
            made = await self._answers.get()
            self.outbox.message(await made())

    # --- in -----------------------------------------------------------------------------------------------

    async def _next(self) -> bytes:
        """The next text message.

        Raises:
            Closed: the client has gone, or the message is too long.
            Problem: 415 for a binary message.
        """
        received = await self._receive()
        if received["type"] != "websocket.receive":
            raise Closed
        text = received.get("text")
        if text is None:
            raise refusal(415, "content_type", "frames are text, not binary", limit="text")
        data: bytes = text.encode()
        if len(data) > MAX_FRAME_BYTES:
            raise Closed(TOO_BIG, "frame_too_large")
        return data

    async def _read(self) -> None:
        while True:
            data = b""
            try:
                data = await self._next()
                self._still_known()
                frame = read_frame(data)
                await self._serve(frame)
            except (Problem, QtInfraError) as error:
                problem = error if isinstance(error, Problem) else problem_of(error)
                self._refuse(frame_id(data), problem)

    def _refuse(self, name: str, problem: Problem) -> None:
        self._refused += 1
        if self._refused > MAX_REFUSED:
            raise Closed(POLICY, "too_many_errors")
        self.outbox.message(failure(name, problem, self._correlation_id))

    async def _serve(self, frame: Frame) -> None:
        if frame.op in ENTRY:
            answer = await self._entry.begin(frame, self._identity, self._correlation_id, self._guard)
            await self._answers.put(answer)
            return
        allow(self._platform, self._identity)
        match frame.op:
            case Op.SUBSCRIBE:
                self._subscribe(frame)
            case Op.UNSUBSCRIBE:
                self._unsubscribe(frame.id)
            case Op.RESYNC:
                self._restart(self._follower(frame.id).subscription, "requested")
            case Op.PING:
                self.outbox.message(message("pong", id=frame.id or None, seq=self._platform.durable.seq))
            case Op.AUTH:
                self._renew(_bearer(frame))
            case Op.SESSION:
                self._protect(frame)

    def _renew(self, authorization: bytes) -> None:
        """Go on under a newer token of the same bearer with the same rights."""
        found, held = self._verified(authorization), self._identity
        if (found.subject, found.roles, found.accounts) != (held.subject, held.roles, held.accounts):
            raise Closed(POLICY, "identity_changed")
        self._authorization, self._identity = authorization, found
        self.outbox.message(self._welcome())

    def _protect(self, frame: Frame) -> None:
        """Cancel on disconnect: from now on, or no more."""
        wanted: bool = frame.fields["cancel_on_disconnect"]
        grace_s: int = frame.fields.get("grace_s", 0)
        if not holds(self._identity, Permission.ORDERS_CANCEL):
            raise forbidden(Permission.ORDERS_CANCEL)
        if self._guard is not None and self._guard.name != frame.id:
            raise refusal(409, "session_named", "the session has a name", field="id", limit=self._guard.name)
        resumed, count = False, 0
        if wanted:
            made = self._protection.hold(self._identity.subject, frame.id, grace_s, self._displaced.set)
            self._guard, resumed = made
            count = len(self._guard.open_orders())
        elif self._guard is not None:
            self._protection.drop(self._guard)
            self._guard = None
        said = message(
            "session",
            id=frame.id,
            cancel_on_disconnect=wanted,
            grace_s=grace_s,
            resumed=resumed,
            open_orders=count,
        )
        self.outbox.message(said)

    # --- subscriptions ------------------------------------------------------------------------------------

    def _subscribe(self, frame: Frame) -> None:
        topic: Topic = frame.fields["topic"]
        if frame.id in self._followers:
            raise refusal(409, "duplicate_id", "a subscription has this id", field="id", value=frame.id)
        if len(self._followers) >= MAX_SUBSCRIPTIONS:
            limit, text = str(MAX_SUBSCRIPTIONS), "too many subscriptions"
            raise refusal(422, "too_many_subscriptions", text, field="id", limit=limit)
        symbols: tuple[str, ...] | None = frame.fields.get("symbols")
        if topic is Topic.BOOK and symbols is None:
            raise refusal(422, "missing_field", "the book topic needs symbols", field="symbols")
        accounts = self._accounts(topic, frame.fields.get("accounts"))
        subscription = Subscription(frame.id, topic, accounts, symbols)
        follower = Follower(subscription, self.outbox, self._restart)
        subscription.after = self._hub.follow(follower, accounts)
        self._followers[frame.id] = follower
        wanted: int | None = frame.fields.get("resume")
        if wanted is None:
            self._begin(follower, accounts)
        elif topic in JOURNALED and self._hub.replay(follower, wanted):
            self.outbox.message(message("resumed", id=frame.id, topic=topic, seq=wanted))
            self.outbox.start(subscription)
        else:
            self._tell_resync(subscription, "not_kept")
            self._begin(follower, accounts)

    def _accounts(self, topic: Topic, wanted: Sequence[str] | None) -> tuple[str, ...] | None:
        """The accounts of a subscription; None for every account.

        Raises:
            Problem: 403 `forbidden`; the topic, or one of the accounts, is not granted.
        """
        permission = NEEDS[topic]
        if not holds(self._identity, permission):
            raise forbidden(permission)
        if topic in (Topic.BOOK, Topic.ALERTS):
            return None
        granted = scope(self._identity, permission)
        everything = EVERY_ACCOUNT in granted
        if wanted is None:
            return None if everything else granted
        if not everything and any(account not in granted for account in wanted):
            raise forbidden(permission)
        return tuple(dict.fromkeys(wanted))

    def _follower(self, name: str) -> Follower:
        found = self._followers.get(name)
        if found is None:
            raise refusal(
                404, "no_such_subscription", "there is no such subscription", field="id", value=name
            )
        return found

    def _unsubscribe(self, name: str) -> None:
        follower = self._follower(name)
        self._drop(follower)
        self.outbox.message(message("unsubscribed", id=name))

    def _drop(self, follower: Follower) -> None:
        name = follower.subscription.name
        self._hub.leave(follower)
        self.outbox.forget(follower.subscription)
        del self._followers[name]
        task = self._starting.pop(name, None)
        if task is not None:
            task.cancel()

    def _restart(self, subscription: Subscription, reason: str) -> None:
        """Begin a subscription anew, with a snapshot."""
        follower = self._followers[subscription.name]
        self.outbox.forget(subscription)
        subscription.after = self._hub.seq(subscription.topic)
        accounts = subscription.accounts
        self._tell_resync(subscription, reason)
        self._begin(follower, accounts)

    def _tell_resync(self, subscription: Subscription, reason: str) -> None:
        body = message("resync", id=subscription.name, topic=subscription.topic, reason=reason)
        self.outbox.message(body)

    def _begin(self, follower: Follower, accounts: tuple[str, ...] | None) -> None:
        name = follower.subscription.name
        before = self._starting.pop(name, None)
        if before is not None:
            before.cancel()
        self._starting[name] = asyncio.create_task(self._snapshot(follower, accounts))

    async def _snapshot(self, follower: Follower, accounts: tuple[str, ...] | None) -> None:
        """Queue the snapshot, then let follow what has happened since."""
        subscription = follower.subscription
        try:
            async for page in self._snapshots.pages(subscription, accounts, subscription.after):
                await self.outbox.room()
                self.outbox.message(page)
            self.outbox.start(subscription)
        except QtInfraError as error:
            del self._starting[subscription.name]
            self._drop(follower)
            self._refuse(subscription.name, problem_of(error))
            return
        del self._starting[subscription.name]


def _bearer(frame: Frame) -> bytes:
    return b"Bearer " + str(frame.fields["token"]).encode()
