"""Statements that must hold. A broken one stops the shard; it is never caught and passed over."""

from __future__ import annotations


class InvariantBrokenError(Exception):
    """The state is not what the rules allow; nothing built on it may leave."""


def invariant(condition: bool, statement: str, *facts: object) -> None:
    """Raise when `condition` is false.

    Args:
        condition: what must be true.
        statement: the rule, as a sentence.
        facts: values that show how it was broken.

    Raises:
        InvariantBrokenError: the condition is false.
    """
    if not condition:
        shown = ", ".join(str(fact) for fact in facts)
        raise InvariantBrokenError(f"{statement} ({shown})" if shown else statement)
