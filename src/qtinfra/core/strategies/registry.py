"""The strategies by name. The composition root adds users' own (entry points "qtinfra.strategies")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from qtinfra.core.strategies.inputs import Strategy
from qtinfra.core.strategies.pov import Pov
from qtinfra.core.strategies.shortfall import Shortfall
from qtinfra.core.strategies.target_close import TargetClose
from qtinfra.core.strategies.twap import Twap
from qtinfra.core.strategies.vwap import Vwap

#: Where a package announces its own strategies: each entry is a class without arguments or an instance.
ENTRY_POINT_GROUP = "qtinfra.strategies"

Registry = Mapping[str, Strategy]


def registry(strategies: Iterable[Strategy]) -> Registry:
    """A registry of these strategies.

    Raises:
        ValueError: two have one name, or a name is not 1 to 32 printable ASCII characters.
    """
    found: dict[str, Strategy] = {}
    for strategy in strategies:
        name = strategy.name
        if not (0 < len(name) <= 32 and name.isascii() and name.isprintable()):
            raise ValueError(f"strategy name {name[:40]!r} is not 1 to 32 printable ASCII characters")
        if name in found:
            raise ValueError(f"two strategies are called {name}")
        found[name] = strategy
    return MappingProxyType(found)


BUILT_IN: Registry = registry((Twap(), Vwap(), Pov(), Shortfall(), TargetClose()))
