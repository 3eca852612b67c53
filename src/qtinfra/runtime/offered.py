"""Orders that were handed over together and are answered together: one future for all of them.

An order of its own has a future of its own; the orders of a batch or of a stream's frame leave with one
answer, so that a future for each would be made for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from qtinfra.core.exceptions import QtInfraError
from qtinfra.engine.kernel import Outcome

#: What became of one order: its durable outcome, or why there is none.
Result = Outcome | QtInfraError


class Offered:
    """New orders on their way through a shard, in the order in which they were handed over.

    Args:
        count: how many orders there are.
        taken: how many of them, from the first on, the shard took.
        refusal: why it did not take the others.

    Attributes:
        taken: as above.
        decided: completed with what became of each order once all that were taken are durable, or once the
            shard has stopped; it never fails.
    """

    __slots__ = ("_refusal", "_results", "_unanswered", "decided", "taken")

    def __init__(self, count: int, taken: int, refusal: QtInfraError | None = None) -> None:
        self.taken = taken
        self.decided: asyncio.Future[Sequence[Result]] = asyncio.get_running_loop().create_future()
        self._results: list[Result] = []
        self._refusal = refusal
        self._unanswered = count - taken
        if not taken:
            self._complete()

    def note(self, result: Result) -> None:
        """The next order that was taken has a durable outcome, or will never have one that we know of."""
        results = self._results
        results.append(result)
        if len(results) == self.taken:
            self._complete()

    def _complete(self) -> None:
        if self._refusal is not None:
            self._results += [self._refusal] * self._unanswered
        if not self.decided.done():
            self.decided.set_result(self._results)

    async def results(self) -> Sequence[Result]:
        """What became of each order, once that is known. A caller that is cancelled does not undo it."""
        if not self.decided.done():
            await asyncio.wait([self.decided])
        return self.decided.result()
