"""What each role may do, as one table. What is not granted here is refused.

Duties are separated: who trades sets no limits, who sets limits places no orders (but may cancel them), who
administers access and books does neither. `docs/reference/access.md` shows the table and a test holds it to
this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from qtinfra.core.security.identity import EVERY_ACCOUNT, Identity, Role


class Permission(StrEnum):
    """One thing that may be done, as `subject:verb`."""

    REFERENCE_READ = "reference:read"
    ORDERS_READ = "orders:read"
    ORDERS_WRITE = "orders:write"
    ORDERS_CANCEL = "orders:cancel"
    POSITIONS_READ = "positions:read"
    ROUTE_READ = "route:read"
    ANALYTICS_READ = "analytics:read"
    RISK_READ = "risk:read"
    RISK_WRITE = "risk:write"
    KILL_WRITE = "kill:write"
    JOURNAL_READ = "journal:read"
    OPERATIONS_READ = "operations:read"
    OPERATIONS_WRITE = "operations:write"
    BOOKS_WRITE = "books:write"
    ADMIN = "admin"


#: What each permission opens.
MEANING: Mapping[Permission, str] = MappingProxyType(
    {
        Permission.REFERENCE_READ: "instruments and venues",
        Permission.ORDERS_READ: "orders, their history and executions",
        Permission.ORDERS_WRITE: "submit and replace orders",
        Permission.ORDERS_CANCEL: "cancel orders, one or many",
        Permission.POSITIONS_READ: "positions and profit and loss",
        Permission.ROUTE_READ: "ask how an order would be routed",
        Permission.ANALYTICS_READ: "routing and execution analytics",
        Permission.RISK_READ: "limits, what they count, and kill switches",
        Permission.RISK_WRITE: "set limits",
        Permission.KILL_WRITE: "engage and release kill switches",
        Permission.JOURNAL_READ: "the journal, exports and audit trails",
        Permission.OPERATIONS_READ: "detailed health and internal figures",
        Permission.OPERATIONS_WRITE: "trading dates, marks, rates, fee schedules and retention",
        Permission.BOOKS_WRITE: "cash and opening positions of accounts",
        Permission.ADMIN: "users, keys and revocations",
    }
)

#: Permissions that are about no account: the scope of the identity does not matter for them.
UNSCOPED: frozenset[Permission] = frozenset(
    {
        Permission.REFERENCE_READ,
        Permission.ROUTE_READ,
        Permission.OPERATIONS_READ,
        Permission.OPERATIONS_WRITE,
        Permission.ADMIN,
    }
)

_LOOK = (
    Permission.REFERENCE_READ,
    Permission.ORDERS_READ,
    Permission.POSITIONS_READ,
)
_TRADE = (
    *_LOOK,
    Permission.ORDERS_WRITE,
    Permission.ORDERS_CANCEL,
    Permission.ROUTE_READ,
    Permission.RISK_READ,
)

#: The whole policy: role to permissions.
GRANTS: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {
        Role.VIEWER: frozenset(_LOOK),
        Role.TRADER: frozenset(_TRADE),
        Role.PORTFOLIO_MANAGER: frozenset((*_TRADE, Permission.ANALYTICS_READ)),
        Role.RISK_MANAGER: frozenset(
            (
                *_LOOK,
                Permission.ORDERS_CANCEL,
                Permission.ROUTE_READ,
                Permission.ANALYTICS_READ,
                Permission.RISK_READ,
                Permission.RISK_WRITE,
                Permission.KILL_WRITE,
                Permission.OPERATIONS_READ,
            )
        ),
        Role.COMPLIANCE: frozenset(
            (*_LOOK, Permission.ANALYTICS_READ, Permission.RISK_READ, Permission.JOURNAL_READ)
        ),
        Role.ADMIN: frozenset(
            (
                Permission.REFERENCE_READ,
                Permission.OPERATIONS_READ,
                Permission.OPERATIONS_WRITE,
                Permission.BOOKS_WRITE,
                Permission.ADMIN,
            )
        ),
    }
)

_NOTHING: frozenset[Permission] = frozenset()


def holds(identity: Identity, permission: Permission) -> bool:
    """Whether one of the roles grants it, whatever the account."""
    for role in identity.roles:  # noqa: SIM110 - asked for every order; any() costs three times as much
        if permission in GRANTS.get(role, _NOTHING):
            return True
    return False


def may(identity: Identity, permission: Permission, account: str) -> bool:
    """Whether the identity may do this with this account.

    Args:
        account: the account it is about; `"*"` when it touches every account (a firm-wide limit or kill
            switch), which takes the scope `"*"`. Ignored for a permission in `UNSCOPED`.
    """
    if not holds(identity, permission):
        return False
    return permission in UNSCOPED or identity.reaches(account)


def scope(identity: Identity, permission: Permission) -> tuple[str, ...]:
    """The accounts for which the identity holds the permission: what a list, a count or a sum may look at.

    Returns:
        `("*",)` for every account; empty when there is none.
    """
    if not holds(identity, permission):
        return ()
    return (EVERY_ACCOUNT,) if EVERY_ACCOUNT in identity.accounts else identity.accounts
