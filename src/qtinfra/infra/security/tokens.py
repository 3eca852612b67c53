"""Bearer tokens: from the bytes of a request's Authorization header to the identity it proves.

A token is a JWT access token (RFC 9068) signed with Ed25519. Only the header names `alg`, `kid` and `typ` are
accepted: whatever would bring or point to a key of its own (`jwk`, `jku`, `x5c`, `x5u`) is refused, so that
verifying opens no connection and no file (RFC 8725, sections 3.1, 3.2, 3.9 to 3.11).
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from qtinfra.core.exceptions import AuthenticationError
from qtinfra.core.security.identity import Identity, Role
from qtinfra.infra.security.keys import ED25519, KeyRing, VerificationKey
from qtinfra.infra.security.revocation import Revocations

#: HTTP status of each code; every other failure to authenticate is 401 as well.
STATUS: Mapping[str, int] = MappingProxyType(
    {
        "missing_token": 401,
        "invalid_token": 401,
        "expired_token": 401,
        "premature_token": 401,
        "revoked_token": 401,
        "ambiguous_authorization": 400,
        "token_too_large": 431,
    }
)

MAX_TOKEN_BYTES = 8192
MAX_LEEWAY_S = MAX_CACHE_S = 60
#: Longest time from `iat` to `exp` unless set otherwise.
MAX_LIFE_S = 86_400
ACCESS_TOKEN_TYPES = ("at+jwt", "application/at+jwt")

_SCHEME = b"Bearer "
_COMPACT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_ROLES = {role.value: role for role in Role}

_Part = TypeVar("_Part")
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: str


class _Claims(msgspec.Struct, frozen=True):
    """Times are whole UTC seconds since 1970; claims that are not listed are not looked at."""

    iss: str
    sub: Name
    aud: str | list[str]
    exp: int
    iat: int
    jti: Name
    nbf: int | None = None
    roles: tuple[str, ...] = ()
    accounts: tuple[Name, ...] = ()


class _Verified(msgspec.Struct, frozen=True):
    identity: Identity
    claims: _Claims
    kid: str
    at_s: float


class _Registry(JWSRegistry):
    """Ed25519 under both its names: RFC 9864 deprecates `EdDSA`, which issuers still send."""

    def get_alg(self, name: str) -> Any:
        return super().get_alg("Ed25519" if name == "EdDSA" else name)


def single_authorization(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The value of the one Authorization header among ASGI headers; None when there is none.

    Raises:
        AuthenticationError: code `ambiguous_authorization`; there are several, and none of them wins.
    """
    found = [value for name, value in headers if name.lower() == b"authorization"]
    if len(found) > 1:
        raise _refused("ambiguous_authorization", "one_header", f"{len(found)} Authorization headers")
    return found[0] if found else None


def bearer_token(authorization: bytes | None) -> bytes:
    """The token of an Authorization header: `Bearer`, one space, and the rest.

    Raises:
        AuthenticationError: codes `missing_token`, `token_too_large`, `invalid_token`.
    """
    if authorization is None:
        raise _refused("missing_token", "header", "an Authorization header with a bearer token is needed")
    if len(authorization) > len(_SCHEME) + MAX_TOKEN_BYTES:
        raise _refused("token_too_large", "size", f"a token has {MAX_TOKEN_BYTES} bytes at most")
    if not authorization.startswith(_SCHEME):
        raise _invalid("scheme", "the Authorization header must begin with 'Bearer' and one space")
    return authorization[len(_SCHEME) :]


class TokenVerifier:
    """Verifies tokens and remembers verified ones for a short time. For one thread.

    What is remembered is keyed by the SHA-256 of the whole token; its times, its key and the revocations are
    checked at each use. Only what verified is remembered, so garbage cannot push anything out.

    Args:
        keys: the only place where a key is looked up.
        issuer, audience: the exact `iss`, and what `aud` must be or contain.
        leeway_s: allowance for differing clocks, 0 to 60 seconds.
        revocations: asked at each use.
        algorithms: accepted names; never `none` and never a symmetric one.
        max_life_s: longest time from `iat` to `exp`.
        cache_s: seconds for which a verified token is remembered, 0 to 60.
        cache_entries: how many at most; the one unused for longest goes first.
    """

    def __init__(
        self,
        keys: KeyRing,
        issuer: str,
        audience: str,
        leeway_s: int = 30,
        *,
        revocations: Revocations | None = None,
        algorithms: tuple[str, ...] = ED25519,
        max_life_s: int = MAX_LIFE_S,
        cache_s: int = MAX_CACHE_S,
        cache_entries: int = 10_000,
    ) -> None:
        _check_settings(issuer, audience, leeway_s, algorithms, cache_s)
        self.revocations = revocations if revocations is not None else Revocations()
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway_s = leeway_s
        self._algorithms = algorithms
        self._max_life_s = max_life_s
        self._cache_s = cache_s
        self._cache_entries = cache_entries
        self._cache: OrderedDict[bytes, _Verified] = OrderedDict()
        self._registry = _Registry(algorithms=[*algorithms, *(ED25519 if "EdDSA" in algorithms else ())])

    def verify(self, authorization: bytes | None, now_s: float) -> Identity:
        """The identity that a request proves.

        Args:
            authorization: value of its only Authorization header (`single_authorization`), or None.
            now_s: UTC seconds since 1970.

        Raises:
            AuthenticationError: with a code of `STATUS`; context has field and rule, never the token.
        """
        token = bearer_token(authorization)
        digest = sha256(token).digest()
        known = self._cache.get(digest)
        if known is None or not 0 <= now_s - known.at_s < self._cache_s:
            known = self._check_signed(token, now_s)
            self._remember(digest, known)
        else:
            self._cache.move_to_end(digest)
            if self._keys.find(known.kid, now_s) is None:
                raise _invalid("kid", "the token's key has retired")
        self._check_now(known.claims, now_s)
        return known.identity

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        self._cache[digest] = verified
        self._cache.move_to_end(digest)
        if len(self._cache) > self._cache_entries:
            self._cache.popitem(last=False)

    def _check_signed(self, token: bytes, now_s: float) -> _Verified:
        """What does not change while a token lives: form, key, signature, issuer, audience."""
        if _COMPACT.fullmatch(token) is None:
            raise _invalid("form", "a token is three base64url parts joined by dots")
        head, body, _ = token.split(b".")
        header = _decoded(head, _Header, "header")
        if header.typ.lower() not in ACCESS_TOKEN_TYPES:
            raise _invalid("typ", "this is no access token (typ must be at+jwt)")
        key = self._key(header, now_s)
        try:
            jws.deserialize_compact(token, key.key, registry=self._registry)
        except (JoseError, ValueError, TypeError) as error:
            raise _invalid("signature", "the token's signature does not verify") from error
        claims = _decoded(body, _Claims, "claims")
        self._check_claims(claims)
        return _Verified(_identity(claims), claims, header.kid, now_s)

    def _key(self, header: _Header, now_s: float) -> VerificationKey:
        if header.alg not in self._algorithms:
            raise _invalid("alg", "the token's algorithm is not accepted")
        key = self._keys.find(header.kid, now_s)
        if key is None:
            raise _invalid("kid", "the token's key is not known")
        if header.alg not in key.algorithms:
            raise _invalid("alg", "the token's algorithm is not that of its key")
        return key

    def _check_claims(self, claims: _Claims) -> None:
        if claims.iss != self._issuer:
            raise _invalid("iss", "the token is of another issuer")
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if self._audience not in audiences:
            raise _invalid("aud", "the token is for another service")
        if claims.exp - claims.iat > self._max_life_s:
            raise _invalid("exp", f"a token may live for {self._max_life_s} seconds")

    def _check_now(self, claims: _Claims, now_s: float) -> None:
        """What depends on the moment of use."""
        if now_s >= claims.exp + self._leeway_s:
            raise _refused("expired_token", "exp", "the token has expired")
        if claims.nbf is not None and now_s < claims.nbf - self._leeway_s:
            raise _refused("premature_token", "nbf", "the token is not valid yet")
        if now_s < claims.iat - self._leeway_s:
            raise _refused("premature_token", "iat", "the token was issued in the future")
        if self.revocations.covers(claims.jti, claims.sub, claims.iat):
            raise _refused("revoked_token", "jti", "the token has been revoked")


def _identity(claims: _Claims) -> Identity:
    roles = tuple(dict.fromkeys(_ROLES[name] for name in claims.roles if name in _ROLES))
    return Identity(claims.sub, roles, tuple(dict.fromkeys(claims.accounts)), claims.jti, claims.exp)


def _decoded(part: bytes, kind: type[_Part], what: str) -> _Part:
    try:
        return msgspec.json.decode(_bytes(part), type=kind)
    except (ValueError, RecursionError) as error:  # of base64 and of msgspec
        raise _invalid(what, f"the token's {what} cannot be read") from error


def _bytes(part: bytes) -> bytes:
    return urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def _check_settings(
    issuer: str, audience: str, leeway_s: int, algorithms: tuple[str, ...], cache_s: int
) -> None:
    if not issuer or not audience:
        raise ValueError("issuer and audience must not be empty")
    for name, value, limit in (("leeway_s", leeway_s, MAX_LEEWAY_S), ("cache_s", cache_s, MAX_CACHE_S)):
        if not 0 <= value <= limit:
            raise ValueError(f"{name} must be 0 to {limit} seconds, is {value}")
    weak = [name for name in algorithms if name == "none" or name.startswith("HS")]
    if weak or not algorithms:
        raise ValueError(f"algorithms must be asymmetric signatures, not {weak or 'empty'}")


def _refused(code: str, field: str, message: str) -> AuthenticationError:
    return AuthenticationError(message, code=code, context={"field": field, "rule": code})


def _invalid(field: str, message: str) -> AuthenticationError:
    return _refused("invalid_token", field, message)
