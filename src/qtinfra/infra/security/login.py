"""Tokens of our own: the issuer, and a login for developers that production refuses.

`DevLogin` stands in for the firm's identity provider on a developer's machine and in tests. It hands out
tokens for a few fixed users without any password, so it must never run where real orders are.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
from joserfc import jwt

from qtinfra.core.exceptions import SecurityError, UnauthorizedAccessError
from qtinfra.core.security.identity import EVERY_ACCOUNT, Role
from qtinfra.infra.security.keys import KeyRing, SigningKey

#: Environments in which `DevLogin` may exist; every other name is refused, `production` first of all.
DEV_ENVIRONMENTS = ("development", "test")
DEV_ISSUER = "https://dev.qtinfra.invalid"
DEV_AUDIENCE = "qtinfra"
DEV_KEY_FILE = "dev-login.key.pem"
DEV_LIFE_S = 3600
_ALGORITHM = "Ed25519"


class DevUser(msgspec.Struct, frozen=True):
    """A seeded user: what his tokens say."""

    subject: str
    roles: tuple[Role, ...]
    accounts: tuple[str, ...]


#: One user per role; the trader and the viewer see one account, so that scoping shows while developing.
DEV_USERS: Mapping[str, DevUser] = MappingProxyType(
    {
        user.subject: user
        for user in (
            DevUser("viewer", (Role.VIEWER,), ("ACC-1",)),
            DevUser("trader", (Role.TRADER,), ("ACC-1",)),
            DevUser("pm", (Role.PORTFOLIO_MANAGER,), ("ACC-1", "ACC-2")),
            DevUser("risk", (Role.RISK_MANAGER,), (EVERY_ACCOUNT,)),
            DevUser("compliance", (Role.COMPLIANCE,), (EVERY_ACCOUNT,)),
            DevUser("admin", (Role.ADMIN,), (EVERY_ACCOUNT,)),
        )
    }
)


def _random_id() -> str:
    return secrets.token_urlsafe(16)


class TokenIssuer:
    """Signs access tokens (RFC 9068).

    Args:
        new_id: makes the `jti` of each token, unique for ever.
    """

    def __init__(
        self, key: SigningKey, issuer: str, audience: str, new_id: Callable[[], str] = _random_id
    ) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience
        self._new_id = new_id

    def issue(
        self,
        subject: str,
        roles: tuple[Role, ...],
        accounts: tuple[str, ...],
        now_s: float,
        life_s: int = DEV_LIFE_S,
    ) -> str:
        """A token that is valid from now (UTC seconds) for `life_s` seconds."""
        issued_s = int(now_s)
        claims: dict[str, object] = {
            "iss": self._issuer,
            "sub": subject,
            "aud": self._audience,
            "iat": issued_s,
            "nbf": issued_s,
            "exp": issued_s + life_s,
            "jti": self._new_id(),
            "roles": [role.value for role in roles],
            "accounts": list(accounts),
        }
        header = {"alg": _ALGORITHM, "kid": self._key.kid, "typ": "at+jwt"}
        return jwt.encode(header, claims, self._key.key, algorithms=[_ALGORITHM])


class DevLogin:
    """Tokens for seeded development users, signed by a key in the data directory.

    Args:
        environment: the name the process runs under; only `DEV_ENVIRONMENTS` are let in.
        data_dir: where the key file lies or is made (mode 0600); None keeps a new key in memory.
        users: who can be had, by name.

    Raises:
        SecurityError: code `dev_login_forbidden` in any other environment; nothing is read or made then.
    """

    def __init__(
        self,
        environment: str,
        data_dir: Path | None,
        users: Mapping[str, DevUser] = DEV_USERS,
        issuer: str = DEV_ISSUER,
        audience: str = DEV_AUDIENCE,
    ) -> None:
        if environment not in DEV_ENVIRONMENTS:
            raise SecurityError(
                f"the development login does not run in the environment {environment!r}",
                code="dev_login_forbidden",
                context={
                    "field": "environment",
                    "rule": "dev_login_forbidden",
                    "limit": ", ".join(DEV_ENVIRONMENTS),
                    "value": environment,
                },
            )
        if data_dir is None:
            key = SigningKey.generate()
        else:
            data_dir.mkdir(parents=True, exist_ok=True)
            key = SigningKey.load_or_create(data_dir / DEV_KEY_FILE)
        self.issuer = issuer
        self.audience = audience
        self.users = users
        self._key = key
        self._tokens = TokenIssuer(key, issuer, audience)

    def keys(self) -> KeyRing:
        """The ring with which a `TokenVerifier` accepts these tokens."""
        return KeyRing([self._key.public()])

    def token(self, user: str, now_s: float, life_s: int = DEV_LIFE_S) -> str:
        """A new token for a seeded user.

        Raises:
            UnauthorizedAccessError: code `unknown_user`; there is no such user.
        """
        found = self.users.get(user)
        if found is None:
            raise UnauthorizedAccessError(
                f"there is no development user {user!r}; there are {', '.join(self.users)}",
                code="unknown_user",
                context={"field": "user", "rule": "unknown_user", "value": user},
            )
        return self._tokens.issue(found.subject, found.roles, found.accounts, now_s, life_s)
