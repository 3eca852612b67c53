"""The short path: operations on requests that have arrived whole, without a task, a scope or messages.

An operation answers at once, or says what it waits for and what the answer is made from, or leaves the rest
to a coroutine. What it raises is the answer as well.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Awaitable, Callable, Sequence

from qtinfra.api.errors import Problem, problem_of
from qtinfra.api.replies import Header, Reply
from qtinfra.core.exceptions import QtInfraError
from qtinfra.engine.kernel import Outcome

#: An answer, or a coroutine that makes it.
Answer = Reply | Awaitable[Reply]


class Arrived:
    """A request with all of its body.

    Attributes:
        raw: its headers, names in lower case.
        headers: the same by name.
    """

    __slots__ = ("body", "correlation_id", "headers", "raw")

    def __init__(
        self, raw: Sequence[Header], headers: dict[bytes, bytes], body: bytes, correlation_id: str
    ) -> None:
        self.raw = raw
        self.headers = headers
        self.body = body
        self.correlation_id = correlation_id


class Waits:
    """An operation that the engine has in hand.

    Attributes:
        decided: resolves when the outcome is durable.
        answer: makes the answer from it; what it raises is the answer as well.
    """

    __slots__ = ("answer", "decided")

    def __init__(self, decided: Future[Outcome], answer: Callable[[Outcome], Answer]) -> None:
        self.decided = decided
        self.answer = answer


Begun = Answer | Waits
Begin = Callable[[Arrived], Begun]


async def completed(begun: Begun) -> Reply:
    """The answer of an operation, once there is one."""
    answer = begun.answer(await begun.decided) if isinstance(begun, Waits) else begun
    return answer if isinstance(answer, Reply) else await answer


def refused(error: Problem | QtInfraError, correlation_id: str) -> Reply:
    """A refusal as the answer."""
    problem = error if isinstance(error, Problem) else problem_of(error)
    return Reply(problem.status, problem.headers(), problem.body(correlation_id))
