"""Structs whose attributes are written often: as cheap to write as those of a class with slots."""

from __future__ import annotations

from typing import TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


def quick_writes(kind: type[S]) -> type[S]:
    """Class decorator: write the struct's attributes by Python's own rule, which the interpreter specialises.

    A struct has a rule of its own, which tells the garbage collector of what it comes to hold: five times the
    instructions, for nothing where the collector does not look (`gc=False`).

    Raises:
        TypeError: a frozen kind, or one that the collector looks at.
    """
    config = kind.__struct_config__
    if config.frozen or config.gc:
        raise TypeError(f"{kind.__name__} is frozen, or the garbage collector looks at it")
    for name in ("__setattr__", "__delattr__"):  # both: one alone would be called as a Python method
        setattr(kind, name, getattr(object, name))
    return kind
