"""What waits to be sent to one client: whole messages and items of its subscriptions, in order and bounded.

Nobody waits for a client. When more waits than the bound allows, the outbox is emptied and marked as
overflowed, and the session ends; of conflated topics only the latest item of a key waits at all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from qtinfra.api.stream.items import Item
from qtinfra.api.stream.protocol import CONFLATED, Topic, encode

#: Bytes that may wait, whatever the number of items.
MAX_WAITING_BYTES = 4 * 1024 * 1024
#: Items and bytes of one delta message.
MAX_DELTA_ITEMS = 256
MAX_DELTA_BYTES = 64 * 1024


class Subscription:
    """One subscription of one client.

    Attributes:
        accounts: whose items it may get; None for every account.
        symbols: of which instruments; None for all.
        after: items up to this sequence are not for it.
        started: whether its snapshot is under way to the client; what comes before that waits.
        number: of the last delta message.
    """

    def __init__(
        self, name: str, topic: Topic, accounts: tuple[str, ...] | None, symbols: tuple[str, ...] | None
    ) -> None:
        self.name = name
        self.topic = topic
        self.accounts = accounts
        self.symbols = symbols
        self.after = 0
        self.started = False
        self.number = 0
        self._conflated = topic in CONFLATED
        self._waiting: dict[str, Item] = {}
        self._count = 0
        self._head = b'{"op":"delta","id":%b,"topic":"%b","n":' % (encode(name), topic.value.encode())

    def wants(self, item: Item) -> bool:
        """Whether an item is in its scope and filter and after its start."""
        return (
            item.seq > self.after
            and (self.symbols is None or item.symbol in self.symbols)
            and (self.accounts is None or not item.account or item.account in self.accounts)
        )

    def put(self, item: Item) -> tuple[int, int]:
        """Have an item wait; by how many items and bytes more wait now."""
        if not self._conflated:
            self._count += 1
            self._waiting[str(self._count)] = item
            return 1, len(item.body)
        before = self._waiting.pop(item.key, None)
        self._waiting[item.key] = item
        return (0, len(item.body) - len(before.body)) if before is not None else (1, len(item.body))

    def take(self) -> tuple[bytes, int, int]:
        """The next delta message, with the number of items and bytes that it takes out of waiting.

        Its `seq` is what can be resumed from: nothing up to there is still to come.
        """
        taken: list[bytes] = []
        size = seq = 0
        while self._waiting and len(taken) < MAX_DELTA_ITEMS and size < MAX_DELTA_BYTES:
            item = self._waiting.pop(next(iter(self._waiting)))
            taken.append(item.body)
            size += len(item.body)
            seq = max(seq, item.seq)
        if self._waiting and next(iter(self._waiting.values())).seq == seq:
            seq -= 1
        self.number += 1
        body = b'%b%d,"seq":%d,"items":[%b]}' % (self._head, self.number, seq, b",".join(taken))
        return body, len(taken), size

    def drop(self) -> tuple[int, int]:
        """Forget what waits; how many items and bytes that were."""
        count, size = len(self._waiting), sum(len(item.body) for item in self._waiting.values())
        self._waiting.clear()
        return count, size

    @property
    def waits(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)


class Outbox:
    """The queue of one client.

    Args:
        max_items: items and messages that may wait.
    """

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._queue: deque[bytes | Subscription] = deque()
        self._items = self._bytes = self._message_bytes = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self.overflowed = asyncio.Event()

    def message(self, body: bytes) -> None:
        """Queue a whole message."""
        if not self.overflowed.is_set():
            self._queue.append(body)
            self._message_bytes += len(body)
            self._grow(1, len(body))

    def item(self, subscription: Subscription, item: Item) -> None:
        """Queue an item of a subscription."""
        if self.overflowed.is_set():
            return
        if subscription.started and not subscription.waits:
            self._queue.append(subscription)
        self._grow(*subscription.put(item))

    def start(self, subscription: Subscription) -> None:
        """The subscription's snapshot is queued: what waited for that follows it."""
        subscription.started = True
        if subscription.waits:
            self._queue.append(subscription)
            self._filled.set()

    def forget(self, subscription: Subscription) -> None:
        """Nothing more of this subscription."""
        count, size = subscription.drop()
        subscription.started = False
        self._items -= count
        self._bytes -= size
        self._queue = deque(entry for entry in self._queue if entry is not subscription)

    def _grow(self, items: int, size: int) -> None:
        self._items += items
        self._bytes += size
        if self._items > self._max_items or self._bytes > MAX_WAITING_BYTES:
            self._overflow()
        self._filled.set()

    def _overflow(self) -> None:
        for entry in self._queue:
            if isinstance(entry, Subscription):
                entry.drop()
        self._queue.clear()
        self._items = self._bytes = self._message_bytes = 0
        self.overflowed.set()
        self._emptied.set()

    async def room(self) -> None:
        """Return when few bytes of messages wait: for what can be fetched later as well."""
        while self._message_bytes > MAX_WAITING_BYTES // 8:
            self._emptied.clear()
            await self._emptied.wait()

    async def wait(self) -> None:
        """Return when something waits."""
        await self._filled.wait()

    def take(self) -> Iterator[bytes]:
        """What waits, message by message, as long as anything does."""
        while self._queue:
            entry = self._queue.popleft()
            if isinstance(entry, Subscription):
                body, count, size = entry.take()
                if entry.waits:
                    self._queue.append(entry)
            else:
                body, count, size = entry, 1, len(entry)
                self._message_bytes -= size
            self._items -= count
            self._bytes -= size
            self._emptied.set()
            yield body
        self._filled.clear()

    def has_room_for(self, items: int, size: int) -> bool:
        """Whether so many items and bytes more leave half of the bound free."""
        return self._items + items <= self._max_items // 2 and self._bytes + size <= MAX_WAITING_BYTES // 2

    @property
    def waiting(self) -> int:
        """Items and messages that wait."""
        return self._items
