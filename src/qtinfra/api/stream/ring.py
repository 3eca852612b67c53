"""What was sent of one topic lately, so that a client that comes back can go on where it was."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from qtinfra.api.stream.items import Item

#: Items and bytes that one topic keeps.
MAX_ITEMS = 20_000
MAX_BYTES = 8 * 1024 * 1024


class Ring:
    """The newest items of one topic, complete after `since`.

    Args:
        since: sequence after which items are kept.
        max_items, max_bytes: beyond them the oldest rounds go, and `since` moves on.
    """

    def __init__(self, since: int, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES) -> None:
        self.since = since
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items = self._bytes = 0
        self._rounds: deque[tuple[int, Sequence[Item], int]] = deque()

    def add(self, last_seq: int, items: Sequence[Item]) -> None:
        """Keep the items of one round; `last_seq` is the highest that it may have."""
        size = sum(len(item.body) for item in items)
        self._rounds.append((last_seq, items, size))
        self._items += len(items)
        self._bytes += size
        while self._rounds and (self._items > self._max_items or self._bytes > self._max_bytes):
            self.since, gone, lost = self._rounds.popleft()
            self._items -= len(gone)
            self._bytes -= lost

    def after(self, seq: int) -> Iterator[Item]:
        """The items after a sequence that is not before `since`."""
        for last_seq, items, _ in self._rounds:
            if last_seq > seq:
                yield from (item for item in items if item.seq > seq)
