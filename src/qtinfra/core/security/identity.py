"""Who sends a request: what a verified token says about its bearer, and nothing else."""

from __future__ import annotations

from enum import StrEnum

import msgspec

#: In `Identity.accounts` and as the account of a question: every account there is.
EVERY_ACCOUNT = "*"


class Role(StrEnum):
    """What a person or a program does at the firm. `permissions.GRANTS` says what each may do."""

    VIEWER = "VIEWER"
    TRADER = "TRADER"
    PORTFOLIO_MANAGER = "PORTFOLIO_MANAGER"
    RISK_MANAGER = "RISK_MANAGER"
    COMPLIANCE = "COMPLIANCE"
    ADMIN = "ADMIN"


class Identity(msgspec.Struct, frozen=True):
    """The bearer of a verified token.

    Attributes:
        subject: pseudonymous id of the person or program; the key of rate limits and the actor of commands.
        roles: in the token's order; roles that this system does not know are left out.
        accounts: the accounts within reach, or `("*",)` for every account; empty reaches none.
        token_id: the token's `jti`, by which it is revoked.
        expires_s: UTC seconds since 1970 at which the token ends.
    """

    subject: str
    roles: tuple[Role, ...]
    accounts: tuple[str, ...]
    token_id: str
    expires_s: int

    def reaches(self, account: str) -> bool:
        """Whether an account is in scope; `"*"` asks for every account at once."""
        return EVERY_ACCOUNT in self.accounts or account in self.accounts
