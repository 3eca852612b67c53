"""Roles and scope: default deny, and the table of the documentation is the table of the code."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.security.identity import Identity, Role
from qtinfra.core.security.permissions import (
    GRANTS,
    MEANING,
    UNSCOPED,
    Permission,
    holds,
    may,
    scope,
)
from qtinfra.infra.security.tokens import STATUS
from tests.support.requirements import REPO_ROOT

pytestmark = pytest.mark.unit

PAGE = (REPO_ROOT / "docs" / "reference" / "access.md").read_text("utf-8")


def identity(*roles: Role, accounts: tuple[str, ...] = ("A",)) -> Identity:
    return Identity("s", roles, accounts, "j", 0)


def table(first: str) -> list[list[str]]:
    """The cells of the page's table whose head begins with that cell, head included."""
    lines = PAGE.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith(f"| {first} |"))
    body = itertools.takewhile(lambda line: line.startswith("|"), lines[start:])
    cells = [[cell.strip().strip("`") for cell in line.strip().strip("|").split("|")] for line in body]
    return [cells[0], *cells[2:]]


def test_every_role_and_every_permission_has_an_entry() -> None:
    assert GRANTS.keys() == set(Role)
    assert MEANING.keys() == set(Permission)
    granted = frozenset[Permission]().union(*GRANTS.values())
    assert granted == set(Permission)


def test_the_documented_table_is_the_policy() -> None:
    head, *rows = table("permission")
    assert head == ["permission", "opens", "scope", *(role.value for role in Role)]
    assert [row[0] for row in rows] == [permission.value for permission in Permission]
    for row in rows:
        permission = Permission(row[0])
        assert row[1] == MEANING[permission]
        assert row[2] == ("none" if permission in UNSCOPED else "account")
        assert row[3:] == ["yes" if permission in GRANTS[role] else "" for role in Role], permission


def test_the_documented_codes_are_those_of_the_verifier() -> None:
    assert {row[0]: int(row[1]) for row in table("code")[1:]} == {**STATUS, "forbidden": 403}


def test_duties_are_separated() -> None:
    def roles_with(permission: Permission) -> set[Role]:
        return {role for role in Role if permission in GRANTS[role]}

    traders = {Role.TRADER, Role.PORTFOLIO_MANAGER}
    assert roles_with(Permission.ORDERS_WRITE) == traders
    assert roles_with(Permission.RISK_WRITE) == roles_with(Permission.KILL_WRITE) == {Role.RISK_MANAGER}
    assert roles_with(Permission.ADMIN) == {Role.ADMIN}
    assert roles_with(Permission.ORDERS_CANCEL) == {*traders, Role.RISK_MANAGER}
    assert Role.ADMIN not in roles_with(Permission.ORDERS_READ)


@pytest.mark.parametrize("permission", list(Permission))
def test_nobody_may_do_anything_without_a_role(permission: Permission) -> None:
    nobody = identity(accounts=("*",))
    assert not holds(nobody, permission)
    assert not may(nobody, permission, "A") and not may(nobody, permission, "*")
    assert scope(nobody, permission) == ()


@given(
    roles=st.lists(st.sampled_from(Role), max_size=3),
    accounts=st.lists(st.sampled_from(["A", "B", "*", ""]), max_size=3),
    permission=st.sampled_from(Permission),
    asked=st.sampled_from(["A", "B", "C", "*", ""]),
)
def test_what_is_allowed_is_a_granted_role_within_scope(
    roles: list[Role], accounts: list[str], permission: Permission, asked: str
) -> None:
    who = identity(*roles, accounts=tuple(accounts))
    granted = any(permission in GRANTS[role] for role in roles)
    within = permission in UNSCOPED or "*" in accounts or asked in accounts
    assert may(who, permission, asked) == (granted and within)
    assert holds(who, permission) == granted
    if permission not in UNSCOPED and "*" not in scope(who, permission):
        assert may(who, permission, asked) == (asked in scope(who, permission))


def test_all_accounts_at_once_takes_the_scope_of_all_accounts() -> None:
    firm, desk = (
        identity(Role.RISK_MANAGER, accounts=("*",)),
        identity(Role.RISK_MANAGER, accounts=("A", "B")),
    )
    assert may(firm, Permission.KILL_WRITE, "*") and may(firm, Permission.KILL_WRITE, "Z")
    assert may(desk, Permission.KILL_WRITE, "A") and not may(desk, Permission.KILL_WRITE, "*")
    assert scope(firm, Permission.ORDERS_READ) == ("*",)
    assert scope(desk, Permission.ORDERS_READ) == ("A", "B")


def test_an_account_s_name_is_no_pattern() -> None:
    who = identity(Role.TRADER, accounts=("ACC-1",))
    for other in ("acc-1", "ACC-1 ", "ACC-", "ACC-10", "ACC*", "*"):
        assert not may(who, Permission.ORDERS_READ, other)
