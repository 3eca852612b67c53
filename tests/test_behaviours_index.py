"""Every behaviour of the order semantics has a test that carries its number: `test_behaviour_NN_…`."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.requirements import REPO_ROOT

pytestmark = pytest.mark.unit

BEHAVIOURS = range(1, 28)
_NUMBERED = re.compile(r"^test_.*?behaviour_(\d+)_")


def names_of_tests() -> Iterator[str]:
    """The names of all test functions, as the files say them."""
    for path in sorted((REPO_ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield node.name


def numbers(names: Iterator[str]) -> dict[int, int]:
    """How many tests each behaviour has."""
    found = dict.fromkeys(BEHAVIOURS, 0)
    for name in names:
        match = _NUMBERED.match(name)
        if match is not None:
            number = int(match[1])
            found[number] = found.get(number, 0) + 1
    return found


def test_every_behaviour_has_a_test_of_its_number() -> None:
    counted = numbers(names_of_tests())
    assert [number for number in BEHAVIOURS if not counted[number]] == []


def test_no_test_names_a_behaviour_that_there_is_not() -> None:
    assert [number for number in numbers(names_of_tests()) if number not in BEHAVIOURS] == []


def test_a_behaviour_without_a_test_is_noticed() -> None:
    counted = numbers(iter(["test_behaviour_1_a_fill_crosses", "test_the_third_behaviour_has_none"]))
    assert [number for number, count in counted.items() if count] == [1]
