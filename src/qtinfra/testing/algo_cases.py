"""Algorithm cases: `kind` selects a function, every key of `expected` is compared within the tolerance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeGuard

import msgspec

from qtinfra.testing.algo_kinds import KINDS, AlgoFunction
from qtinfra.testing.scenarios import ConformanceFileError

__all__ = [
    "ALGO_KINDS",
    "AlgoCase",
    "AlgoFunction",
    "Tolerance",
    "case_failure",
    "data_is_there",
    "load_algo_cases",
]

#: The kinds that exist so far; those of value at risk and its tests come with the controls.
ALGO_KINDS: Mapping[str, AlgoFunction] = KINDS


class Tolerance(msgspec.Struct, frozen=True):
    """How far a number may be off: absolutely, or relative to the expected value."""

    abs: Decimal | None = None
    rel: Decimal | None = None

    def allows(self, expected: Decimal, got: Decimal) -> bool:
        margin = self.abs or Decimal(0)
        if self.rel is not None:
            margin = max(margin, self.rel * abs(expected))
        return abs(got - expected) <= margin


class AlgoCase(msgspec.Struct, frozen=True):
    """One case; `inputs` may name market data by `file` or `files`, relative to the folder of the data."""

    id: str
    kind: str
    inputs: dict[str, object]
    expected: dict[str, object]
    tolerance: Tolerance = Tolerance()


def load_algo_cases(path: Path) -> list[AlgoCase]:
    """Read the cases; decimal literals are kept exactly.

    Raises:
        ConformanceFileError: the file is not JSON or not a list of cases.
    """
    try:
        data = json.loads(path.read_text("utf-8-sig"), parse_float=Decimal)
        return msgspec.convert(data, list[AlgoCase])
    except (json.JSONDecodeError, msgspec.ValidationError) as error:
        raise ConformanceFileError(f"{path.name}: {error}") from error


def data_is_there(case: AlgoCase, data_root: Path) -> bool:
    """Whether the market data that the case names exists: a file, a folder, or files that begin so."""
    names = [case.inputs[field] for field in ("file", "files") if field in case.inputs]
    return all(_exists(data_root / str(name)) for name in names)


def _exists(path: Path) -> bool:
    return path.exists() or (path.parent.is_dir() and any(path.parent.glob(f"{path.name}*")))


def case_failure(case: AlgoCase, function: AlgoFunction, data_root: Path) -> str:
    """Run one case; the first key that differs with both values, empty when all agree."""
    results = function(case.inputs, data_root)
    for key, expected in case.expected.items():
        if key not in results:
            return f"case {case.id}, {key}: expected {expected}, got none"
        where = _difference(expected, results[key], case.tolerance)
        if where is not None:
            return f"case {case.id}, {key}{where}: expected {expected}, got {results[key]}"
    return ""


def _difference(expected: object, got: object, tolerance: Tolerance) -> str | None:
    """Where the two differ, "" at the top and "[2]" in the third element; None when they agree."""
    if _is_list(expected):
        if not _is_list(got) or len(expected) != len(got):
            return ""
        for index, (one, other) in enumerate(zip(expected, got, strict=True)):
            where = _difference(one, other, tolerance)
            if where is not None:
                return f"[{index}]{where}"
        return None
    wanted, number = _number(expected), _number(got)
    if wanted is None or number is None:
        return None if expected == got else ""
    return None if tolerance.allows(wanted, number) else ""


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _number(value: object) -> Decimal | None:
    """The value as a finite number, None for anything else: a word, a truth value, not-a-number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
