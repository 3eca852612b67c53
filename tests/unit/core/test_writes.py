"""Quick writes: the same attributes, by Python's own rule."""

from __future__ import annotations

import gc

import msgspec
import pytest

from qtinfra.core.models import Child, Order
from qtinfra.core.writes import quick_writes
from qtinfra.engine.state import State
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


@pytest.mark.parametrize("kind", [Counter, Order, Child, Cell, Amounts, State])
def test_the_rule_is_that_of_the_interpreter(kind: type) -> None:
    for name in ("__setattr__", "__delattr__"):
        assert getattr(kind, name) is getattr(object, name)


def test_a_kind_that_holds_a_container_from_the_start_is_looked_at_by_the_collector_as_before() -> None:
    @quick_writes
    class Holder(msgspec.Struct):
        count: int = 0
        names: dict[str, int] = {}

    holder = Holder()
    assert gc.is_tracked(holder)
    assert gc.is_tracked(msgspec.json.decode(b"{}", type=Holder))
    assert gc.is_tracked(State())


def test_frozen_kinds_and_those_of_the_collector_are_refused() -> None:
    class Frozen(msgspec.Struct, frozen=True, gc=False):
        count: int = 0

    class Tracked(msgspec.Struct):
        count: int = 0

    for kind in (Frozen, Tracked):
        with pytest.raises(TypeError, match="frozen, or the garbage collector"):
            quick_writes(kind)
