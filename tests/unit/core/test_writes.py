"""Quick writes: the same attributes, by Python's own rule."""

from __future__ import annotations

import gc

import msgspec
import pytest

from qtinfra.core.models import Child, Order
from qtinfra.core.writes import quick_writes
from qtinfra.risk.ledger import Amounts, Cell


@quick_writes
class Counter(msgspec.Struct, gc=False):
    count: int = 0
    names: list[str] = []


def test_attributes_are_written_and_compared_and_encoded_as_before() -> None:
    counter = Counter()
    counter.count += 2
    counter.names = ["a"]
    assert counter == Counter(2, ["a"])
    assert msgspec.json.decode(msgspec.json.encode(counter), type=Counter) == counter
    assert not gc.is_tracked(counter)


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError):
        Counter().total = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [Counter, Order, Child, Cell, Amounts])
def test_the_rule_is_that_of_the_interpreter(kind: type) -> None:
    assert kind.__setattr__ is object.__setattr__
    assert kind.__delattr__ is object.__delattr__


def test_frozen_kinds_and_those_of_the_collector_are_refused() -> None:
    class Frozen(msgspec.Struct, frozen=True, gc=False):
        count: int = 0

    class Tracked(msgspec.Struct):
        count: int = 0

    for kind in (Frozen, Tracked):
        with pytest.raises(TypeError, match="frozen, or the garbage collector"):
            quick_writes(kind)
