"""How much an identity may ask within a window of time, exactly.

A sliding log: at any moment the costs of the last `window_ns` count, so that no choice of moments gets more
than the limit into any window. A token bucket would let the limit through at once and more as it refills.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from qtinfra.core.exceptions import OrderValidationError

_SECOND_NS = 1_000_000_000
#: Most entries that one subject's log holds. Above this limit moments within a grain share an entry that
#: counts from the end of the grain: never more passes than the limit, a refused one may wait a grain longer.
LOG_LENGTH = 1024


class _Log:
    """What one subject has spent, by the moment it counts from."""

    __slots__ = ("entries", "spent")

    def __init__(self) -> None:
        self.entries: deque[tuple[int, int]] = deque()
        self.spent = 0

    def forget(self, until_ns: int) -> None:
        """Drop what was spent at that moment or before."""
        while self.entries and self.entries[0][0] <= until_ns:
            self.spent -= self.entries.popleft()[1]

    def add(self, at_ns: int, cost: int) -> None:
        entries = self.entries
        before = entries.pop()[1] if entries and entries[-1][0] == at_ns else 0
        entries.append((at_ns, before + cost))
        self.spent += cost

    def frees(self, amount: int) -> int:
        """The moment of the entry whose end gives back at least that amount; the log holds as much."""
        freed = 0
        for at_ns, cost in self.entries:
            freed += cost
            if freed >= amount:
                return at_ns
        raise ValueError(f"{amount} is more than the log holds ({freed})")


class RateLimiter:
    """A limit of cost per window for every subject. For one thread.

    The key is the verified subject, never an address or a header that the sender chooses. Memory is bounded
    by `max_subjects` logs of at most `LOG_LENGTH` entries. Only a subject whose window has passed is
    forgotten, so nobody gets a fresh log by making others appear; when all are active, new ones wait.

    Args:
        limit: cost per window that passes; one more does not.
        window_ns: length of the window in nanoseconds.
        max_subjects: how many subjects are followed at a time.
    """

    def __init__(self, limit: int, window_ns: int = _SECOND_NS, max_subjects: int = 10_000) -> None:
        for name, value in (("limit", limit), ("window_ns", window_ns), ("max_subjects", max_subjects)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, is {value}")
        self.limit = limit
        self.window_ns = window_ns
        self._grain_ns = 1 if limit <= LOG_LENGTH else -(-window_ns // LOG_LENGTH)
        self._max_subjects = max_subjects
        self._logs: OrderedDict[str, _Log] = OrderedDict()  # by the last request that passed, oldest first
        self._latest_ns: int | None = None

    def __len__(self) -> int:
        """Subjects followed now."""
        return len(self._logs)

    def take(self, subject: str, cost: int, now_ns: int) -> float | None:
        """Spend, or say how long to wait. What is refused costs nothing.

        Args:
            subject: the verified identity.
            cost: 1 for one order, the number of orders for a batch; 0 always passes.
            now_ns: monotonic nanoseconds; a moment before the latest one counts as the latest.

        Returns:
            None when it passes, otherwise the seconds after which the same request passes if nothing else
            is spent meanwhile.

        Raises:
            OrderValidationError: code `rate_cost`; the cost is above the limit and can never pass.
        """
        if not 0 <= cost <= self.limit:
            self._refuse_cost(cost)
        latest_ns = self._latest_ns
        if latest_ns is not None and now_ns < latest_ns:
            now_ns = latest_ns
        self._latest_ns = now_ns
        if cost == 0:
            return None
        log = self._logs.get(subject)
        if log is None:
            full_ns = self._make_room(now_ns)
            if full_ns is not None:
                return full_ns / _SECOND_NS
            log = self._logs[subject] = _Log()
        until_ns = now_ns - self.window_ns
        if log.entries and log.entries[0][0] <= until_ns:
            log.forget(until_ns)
        over = log.spent + cost - self.limit
        if over > 0:
            return (log.frees(over) + self.window_ns - now_ns) / _SECOND_NS
        log.add(-(-now_ns // self._grain_ns) * self._grain_ns, cost)
        self._logs.move_to_end(subject)
        return None

    def _refuse_cost(self, cost: int) -> None:
        if cost < 0:
            raise ValueError(f"cost must be 0 or more, is {cost}")
        raise OrderValidationError(
            f"a request of {cost} can never pass a limit of {self.limit}",
            code="rate_cost",
            context={"field": "cost", "rule": "rate_cost", "limit": self.limit, "value": cost},
        )

    def _make_room(self, now_ns: int) -> int | None:
        """Forget one subject if there are too many; otherwise the nanoseconds until that is possible."""
        if len(self._logs) < self._max_subjects:
            return None
        oldest, log = next(iter(self._logs.items()))
        idle_ns = log.entries[-1][0] + self.window_ns if log.entries else now_ns
        if idle_ns > now_ns:
            return idle_ns - now_ns
        del self._logs[oldest]
        return None
