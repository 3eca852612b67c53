"""The documentation is true to the code: every name is there, and every name that is there exists."""

import ast
import re
from collections.abc import Iterator
from itertools import takewhile

import pytest
from typer.testing import CliRunner

from qtinfra.cli.commands import app
from qtinfra.core.extended_models import KillScope, LimitRule
from qtinfra.core.models import OrderType, TimeInForce
from qtinfra.core.special import Link, Peg
from qtinfra.core.validation.sessions import TYPE_TIF
from qtinfra.risk.checks import SOFT
from tests.support.requirements import REPO_ROOT

SOURCE = REPO_ROOT / "src" / "qtinfra"
REFERENCE = {path.stem: path.read_text("utf-8") for path in (REPO_ROOT / "docs" / "reference").glob("*.md")}
README = (REPO_ROOT / "README.md").read_text("utf-8")
MAPS = ("README.md", "ARCHITECTURE.md")
#: Where the refusals of the two reference pages come from.
ORDER_RULES = ("core/validation/special.py", "engine/decide/lists.py")


def rows(text: str) -> dict[str, list[str]]:
    """The cells of every table row, by its first cell."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {line[0].strip("` "): line for line in cells}


def refusal_codes(text: str) -> Iterator[str]:
    """The codes that a module refuses with, as far as they are written out."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
            continue
        at = 1 if node.func.id == "_refuse" else 0
        first = node.args[at] if len(node.args) > at else None
        named = node.func.id in ("Refusal", "over", "_too_many", "_refuse")
        if named and isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value


def test_every_limit_rule_has_its_row_with_its_unit_and_whether_it_is_soft() -> None:
    table = rows(REFERENCE["controls"])
    assert {rule.value for rule in LimitRule} <= set(table)
    kinds = {rule: table[rule.value][-1].strip("| ") for rule in LimitRule if rule is not LimitRule.CAPITAL}
    assert {rule for rule, kind in kinds.items() if kind == "soft"} == set(SOFT)
    assert {kind for rule, kind in kinds.items() if rule not in SOFT} == {"hard"}
    assert all(len(line) == len(table["rule"]) for line in table.values())


def test_every_kill_scope_is_named() -> None:
    assert all(scope.value in rows(REFERENCE["controls"])["kill switch"][2] for scope in KillScope)


def test_every_refusal_of_a_control_is_documented() -> None:
    files = sorted((SOURCE / "risk").glob("*.py"))
    codes = {code for path in files for code in refusal_codes(path.read_text("utf-8"))}
    assert len(codes) > 15
    assert sorted(code for code in codes if f"`{code}`" not in REFERENCE["controls"]) == []


def test_every_order_type_and_time_in_force_has_its_row() -> None:
    table = rows(REFERENCE["order-types"])
    names = [item.value for kind in (OrderType, TimeInForce, Link) for item in kind]
    assert sorted(set(names) - set(table)) == []
    assert all(peg.value in table["PEGGED"][2] for peg in Peg)
    for kind, allowed in TYPE_TIF.items():
        said = table[kind.value][4]
        assert said == "all" or said == ", ".join(allowed), kind
        assert said != "all" or set(allowed) == set(TimeInForce)


def test_every_refusal_of_the_rules_for_special_orders_is_documented() -> None:
    codes = {code for name in ORDER_RULES for code in refusal_codes((SOURCE / name).read_text("utf-8"))}
    codes -= {"too_late"}  # of amendments of any order
    assert len(codes) > 10
    assert sorted(code for code in codes if f"`{code}`" not in REFERENCE["order-types"]) == []


@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_every_name_on_a_reference_page_exists_in_the_source(name: str) -> None:
    text = "\n".join(path.read_text("utf-8") for path in SOURCE.rglob("*.py"))
    named = set(re.findall(r"`([A-Za-z_]+)`", REFERENCE[name]))
    stems = {re.sub(r"_(required|not_allowed)$", "", word) for word in named}
    assert sorted(stem for stem in stems if not re.search(rf"\b{stem}\b", text)) == []


@pytest.mark.parametrize(
    "page", [*MAPS, "docs/adr/README.md", *(f"docs/reference/{n}.md" for n in REFERENCE)]
)
def test_every_file_that_a_page_points_to_exists(page: str) -> None:
    text = (REPO_ROOT / page).read_text("utf-8")
    folder = (REPO_ROOT / page).parent
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    paths = [
        word for word in re.findall(r"`([a-z_]+/[\w/]+\.py)`", text) if not word.startswith("runtime/live")
    ]
    assert [target for target in links if not (folder / target).exists()] == []
    assert [word for word in paths if not ((SOURCE / word).exists() or (REPO_ROOT / word).exists())] == []


def command_lines() -> list[tuple[str, ...]]:
    """Every call of the command line in the README, continued lines joined."""
    joined = README.replace("\\\n", " ")
    found = re.findall(r"(?:\.venv/bin/|`)qtinfra ([^\n`#]+)", joined)
    return list(dict.fromkeys(tuple(line.split()) for line in found))


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_every_command_of_the_readme_parses(words: tuple[str, ...]) -> None:
    names = list(takewhile(lambda word: re.fullmatch(r"[a-z]+", word) is not None, words))
    done = CliRunner().invoke(app, [*names, "--help"], env={"COLUMNS": "120"})
    assert done.exit_code == 0
    options = {word.strip("[]") for word in words if word.strip("[]").startswith("--")}
    assert sorted(option for option in options if option not in done.output.split()) == []


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPO_ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z]+)", README, re.MULTILINE))
    assert named
    assert named <= targets
