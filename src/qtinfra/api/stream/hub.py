"""From the engine to the subscriptions: items are made when records are decided, and go out when these are
durable. Nothing here waits for anybody.

While nobody follows a topic nothing is made of it. What is made stays in a ring for a while, so that a client
that comes back can go on. A fault in here ends no order: whoever follows starts anew with a snapshot.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal

from qtinfra.api.stream.items import Item, alert_item, book_item, journal_items
from qtinfra.api.stream.outbox import Outbox, Subscription
from qtinfra.api.stream.protocol import JOURNALED, Topic
from qtinfra.api.stream.ring import Ring
from qtinfra.api.views import Measured
from qtinfra.bootstrap.serving import Platform
from qtinfra.core.events import Entry
from qtinfra.core.market import ConsolidatedBook
from qtinfra.core.ports import Head
from qtinfra.core.reports import Alert
from qtinfra.runtime.recovery import UNFIT

LOG = logging.getLogger("qtinfra.api.stream")
#: A topic that nobody follows any more is kept up for so long, for those who come back, seconds.
LINGER_S = 60.0
#: A symbol's book is sent at most once in so many seconds.
BOOK_EVERY_S = 0.1

_ALL = "*"


class Follower:
    """A subscription with the outbox that it fills.

    Args:
        restart: called when the subscription has to begin anew, with the reason.
    """

    __slots__ = ("outbox", "restart", "subscription")

    def __init__(
        self, subscription: Subscription, outbox: Outbox, restart: Callable[[Subscription, str], None]
    ) -> None:
        self.subscription = subscription
        self.outbox = outbox
        self.restart = restart


class Hub:
    """Hands what happens to whoever follows it. Everything happens in the loop's thread.

    Args:
        platform: what runs; its taps are used until `close`.
        linger_s: see `LINGER_S`.
    """

    def __init__(self, platform: Platform, linger_s: float = LINGER_S) -> None:
        self._platform = platform
        self._measured = Measured(platform.routes)
        self._linger_s = linger_s
        self._followers: dict[Topic, dict[str, list[Follower]]] = {topic: {} for topic in Topic}
        self._rings: dict[Topic, Ring] = {}
        self._quiet: dict[Topic, asyncio.TimerHandle] = {}
        self._pending: deque[tuple[int, list[Item]]] = deque()
        self._alert_seq, self._book_seq = len(platform.alerts), 0
        self._books: dict[str, tuple[ConsolidatedBook, Item]] = {}
        self._shown: dict[str, Item] = {}
        self._ticker: asyncio.TimerHandle | None = None
        taps = platform.taps
        taps.decided, taps.durable, taps.alerted = self._decided, self._durable, self._alerted

    def close(self) -> None:
        """Follow nothing any more."""
        self._platform.taps.clear()
        for timer in self._quiet.values():
            timer.cancel()
        if self._ticker is not None:
            self._ticker.cancel()

    # --- who follows --------------------------------------------------------------------------------------

    def follow(self, follower: Follower, accounts: Sequence[str] | None) -> int:
        """Hand items to a follower from now on; the sequence after which they will come.

        Args:
            accounts: as the subscription's; None for every account.
        """
        topic = follower.subscription.topic
        if topic in JOURNALED:
            self._keep_up(topic)
        for account in accounts if accounts is not None else (_ALL,):
            self._followers[topic].setdefault(account, []).append(follower)
        if topic is Topic.BOOK and self._ticker is None:
            self._ticker = asyncio.get_running_loop().call_later(BOOK_EVERY_S, self._tick)
        return self.seq(topic)

    def leave(self, follower: Follower) -> None:
        """Hand a follower nothing more."""
        topic = follower.subscription.topic
        by_account = self._followers[topic]
        for account, found in list(by_account.items()):
            left = [one for one in found if one is not follower]
            by_account[account] = left
            if not left:
                del by_account[account]
        if not by_account and topic in self._rings and topic not in self._quiet:
            loop = asyncio.get_running_loop()
            self._quiet[topic] = loop.call_later(self._linger_s, self._let_go, topic)

    def seq(self, topic: Topic) -> int:
        """The sequence that the topic is at: of the journal, or its own count."""
        if topic is Topic.BOOK:
            return self._book_seq
        return self._alert_seq if topic is Topic.ALERTS else self._platform.state.seq

    def replay(self, follower: Follower, seq: int) -> bool:
        """Queue what came after a sequence; false when that is not known any more, or too much."""
        ring = self._rings.get(follower.subscription.topic)
        if ring is None or not ring.since <= seq <= self._platform.durable.seq:
            return False
        subscription, before = follower.subscription, follower.subscription.after
        subscription.after = seq
        missed = [item for item in ring.after(seq) if subscription.wants(item)]
        if not follower.outbox.has_room_for(len(missed), sum(len(item.body) for item in missed)):
            subscription.after = before
            return False
        for item in missed:
            follower.outbox.item(subscription, item)
        return True

    def _keep_up(self, topic: Topic) -> None:
        timer = self._quiet.pop(topic, None)
        if timer is not None:
            timer.cancel()
        if topic not in self._rings:
            self._rings[topic] = Ring(self._platform.state.seq)

    def _let_go(self, topic: Topic) -> None:
        del self._quiet[topic]
        del self._rings[topic]

    # --- from the journal ---------------------------------------------------------------------------------

    def _decided(self, entries: Sequence[Entry]) -> None:
        """Make the items of records that were just decided; they wait until these are durable."""
        if not self._rings:
            return
        platform = self._platform
        try:
            made = journal_items(platform.state, entries, self._rings, self._measured, self._mid)
            items = sorted(made, key=lambda item: item.seq)
        except UNFIT as error:
            self._broken(error)
            return
        if items:
            self._pending.append((entries[-1].last_seq, items))

    def _mid(self, symbol: str) -> Decimal | None:
        book = self._platform.book(symbol)
        return book.mid() if book is not None else None

    def _durable(self, head: Head) -> None:
        """Release what is durable now."""
        while self._pending and self._pending[0][0] <= head.seq:
            last_seq, items = self._pending.popleft()
            by_topic: dict[Topic, list[Item]] = {}
            for item in items:
                by_topic.setdefault(item.topic, []).append(item)
            for topic, found in by_topic.items():
                ring = self._rings.get(topic)
                if ring is not None:
                    ring.add(last_seq, found)
                self._send(topic, found)

    def _send(self, topic: Topic, items: Sequence[Item]) -> None:
        by_account = self._followers[topic]
        everywhere = by_account.get(_ALL, ())
        for item in items:
            for follower in (*by_account.get(item.account, ()), *everywhere):
                if follower.subscription.wants(item):
                    follower.outbox.item(follower.subscription, item)

    def _broken(self, error: Exception) -> None:
        """Our own fault: what was made is not to be trusted; everybody starts anew."""
        LOG.error("the stream could not show what was decided", exc_info=error)
        self._pending.clear()
        for topic in self._rings:
            self._rings[topic] = Ring(self._platform.state.seq)
        for topic in JOURNALED:
            found = [one for by_account in self._followers[topic].values() for one in by_account]
            for follower in dict.fromkeys(found):
                follower.restart(follower.subscription, "fault")

    # --- from elsewhere -----------------------------------------------------------------------------------

    def _alerted(self, alert: Alert) -> None:
        self._alert_seq += 1
        self._send(Topic.ALERTS, [alert_item(alert, self._alert_seq)])

    def alerts(self) -> list[Item]:
        """The alerts that are kept, numbered up to the latest."""
        kept = list(self._platform.alerts)
        first = self._alert_seq - len(kept) + 1
        return [alert_item(alert, first + place) for place, alert in enumerate(kept)]

    def book(self, symbol: str) -> Item | None:
        """The book of a symbol now; None without one."""
        book = self._platform.book(symbol)
        known = self._books.get(symbol)
        if book is None or (known is not None and known[0] is book):
            return known[1] if known is not None and book is not None else None
        self._book_seq += 1
        made = book_item(book, self._book_seq)
        self._books[symbol] = (book, made)
        return made

    def _tick(self) -> None:
        """Look at the books that are followed and send those that have changed."""
        followers = self._followers[Topic.BOOK].get(_ALL, [])
        if not followers:
            self._ticker = None
            return
        symbols = sorted({symbol for one in followers for symbol in one.subscription.symbols or ()})
        for symbol in symbols:
            item = self.book(symbol)
            if item is not None and self._shown.get(symbol) is not item:
                self._shown[symbol] = item
                self._send(Topic.BOOK, [item])
        self._ticker = asyncio.get_running_loop().call_later(BOOK_EVERY_S, self._tick)
