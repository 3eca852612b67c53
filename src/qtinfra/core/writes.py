"""Structs whose attributes are written often: as cheap to write as those of a class with slots."""

from __future__ import annotations

from typing import TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


def quick_writes(kind: type[S]) -> type[S]:
    """Class decorator: write the struct's attributes by Python's own rule, which the interpreter specialises.

    A struct has a rule of its own, which tells the garbage collector when it comes to hold a container: five
    times the instructions, for nothing where the collector does not look (`gc=False`) or knows from the
    start, because a list or a dictionary is among the defaults.

    Raises:
        TypeError: a frozen kind, or one of which the collector would have to be told.
    """
    config, defaults = kind.__struct_config__, kind.__struct_defaults__
    known = any(getattr(default, "factory", None) in (list, dict) for default in defaults)
    if config.frozen or (config.gc and not known):
        raise TypeError(f"{kind.__name__} is frozen, or the garbage collector has to be told of its writes")
    for name in ("__setattr__", "__delattr__"):  # both: one alone would be called as a Python method
        setattr(kind, name, getattr(object, name))
    return kind
