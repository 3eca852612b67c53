"""The fault catalogue, its table in docs/reliability.md and the tests that name its rows say the same.

A test names a row by `fm_NN` in its name or in the name of one of its cases.
"""

import csv
import re
from pathlib import Path

import pytest

from tests.support.requirements import REPO_ROOT

pytestmark = pytest.mark.simulation

CATALOGUE = REPO_ROOT.parent / "shared" / "conformance" / "faults.csv"
DOCUMENT = REPO_ROOT / "docs" / "reliability.md"
ROWS = 36

_ROW = re.compile(r"^\| (FM-\d\d) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
_NAMED = re.compile(r'^\s*(?:async def |def |f?")(\w*fm_\d\d\w*)', re.MULTILINE)
_ID = re.compile(r"fm_(\d\d)")
_PATH = re.compile(r"`(tests/[\w/]+\.py)`")


def table() -> dict[str, tuple[str, str]]:
    """Row -> fault, and what the table says of its tests."""
    found = _ROW.findall(DOCUMENT.read_text("utf-8"))
    assert len({row for row, _, _ in found}) == len(found), "a row stands twice"
    return {row: (fault.strip(), tested.strip()) for row, fault, tested in found}


def named_in(text: str) -> set[str]:
    """The rows that test names and case names in a module's text name."""
    return {f"FM-{number}" for name in _NAMED.findall(text) for number in _ID.findall(name)}


def modules_by_row() -> dict[str, set[str]]:
    """Row -> the test modules that name it."""
    found: dict[str, set[str]] = {}
    for path in sorted((REPO_ROOT / "tests").rglob("test_*.py")):
        if path == Path(__file__):
            continue
        for row in named_in(path.read_text("utf-8")):
            found.setdefault(row, set()).add(path.relative_to(REPO_ROOT).as_posix())
    return found


def test_the_table_has_every_row_of_the_catalogue() -> None:
    assert list(table()) == [f"FM-{number:02}" for number in range(1, ROWS + 1)]
    if CATALOGUE.exists():
        with CATALOGUE.open(encoding="utf-8", newline="") as file:
            catalogue = {line["id"]: line["fault"] for line in csv.DictReader(file)}
        assert catalogue == {row: fault for row, (fault, _) in table().items()}


@pytest.mark.parametrize("number", range(1, ROWS + 1))
def test_a_row_is_tested_where_the_table_says_or_open_for_a_reason(number: int) -> None:
    row = f"FM-{number:02}"
    tested = table()[row][1]
    named = modules_by_row().get(row, set())
    if tested.startswith("open: "):
        assert len(tested) > len("open: ") + 20, "an open row has a reason"
        assert not named, "a row that a test names is not open"
    else:
        assert set(_PATH.findall(tested)) == named, "the table names the modules that name the row"
        assert named, "a row without a test is open"


def test_names_of_tests_and_of_cases_are_found_and_other_mentions_are_not() -> None:
    text = (
        'def test_fm_01_and_fm_26_nothing_is_lost() -> None:\n    "fm_05_refused_write": ((1,),),\n'
        "# fm_09 is elsewhere\nvalue = fm_10\n"
    )
    assert named_in(text) == {"FM-01", "FM-26", "FM-05"}
