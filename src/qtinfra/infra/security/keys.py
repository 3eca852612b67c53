"""Keys of tokens: a private key in a file that only its owner reads, public keys in memory by their id."""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import mkstemp

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from qtinfra.core.exceptions import SecurityError

PublicKey = OKPKey | ECKey | RSAKey

_OTHERS = 0o077
_RSA_BITS = 2048
#: Most keys in a ring, and most characters of a key's id.
MAX_KEYS, MAX_KID = 64, 128
#: Both names mean Ed25519 here: RFC 9864 replaces the first by the second.
ED25519 = ("EdDSA", "Ed25519")
#: What a key may be used for, by its type and curve: an algorithm never chooses the kind of key.
ALGORITHMS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("OKP", "Ed25519"): ED25519,
    ("EC", "P-256"): ("ES256",),
    ("RSA", ""): ("RS256", "PS256"),
}


class VerificationKey(msgspec.Struct, frozen=True):
    """A public key with its id and what it verifies.

    Attributes:
        retires_s: UTC seconds from which nothing it signed is accepted any more; None: no date is set.
    """

    kid: str
    key: PublicKey
    algorithms: tuple[str, ...]
    retires_s: int | None = None


class SigningKey:
    """An Ed25519 private key and the id of its public half (RFC 7638 thumbprint)."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self.key = OKPKey.import_key(private_key)
        self.kid = self.key.thumbprint()

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key that lives in memory only."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load_or_create(cls, path: str | os.PathLike[str]) -> SigningKey:
        """Read the key from a PEM file, or make one with mode 0600 where there is none.

        Raises:
            SecurityError: others may read the file, it is no regular file, or it holds no Ed25519 key.
        """
        place = Path(path)
        if not place.exists():
            _create(place)
        return cls(_load(place))

    def public(self, retires_s: int | None = None) -> VerificationKey:
        """The half that verifies."""
        public = OKPKey.import_key(self.key.public_key)
        return VerificationKey(self.kid, public, ED25519, retires_s)


def _create(place: Path) -> None:
    """Write a new key whole or not at all; a key that appears meanwhile wins."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    handle, name = mkstemp(prefix=f".{place.name}.", dir=place.absolute().parent)  # mode 0600
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, place)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _load(place: Path) -> Ed25519PrivateKey:
    handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        if os.fstat(file.fileno()).st_mode & _OTHERS:
            raise _refused(f"{place} is open to others; it must have mode 0600", "key_file_mode")
        pem = file.read(16_384)
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise _refused(f"{place} holds no readable key", "key_file_content") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _refused(f"{place} holds no Ed25519 key", "key_file_content")
    return key


def _refused(message: str, rule: str, **context: object) -> SecurityError:
    return SecurityError(message, context={"rule": rule, **context})


class KeyRing:
    """Verification keys by id, in memory: looking one up opens no file and no connection.

    Several keys stand side by side while they rotate: add the new one, let the issuer change over, give the
    old one the date on which its last token has ended.
    """

    def __init__(self, keys: Iterable[VerificationKey] = ()) -> None:
        self._keys: dict[str, VerificationKey] = {}
        for key in keys:
            self.add(key)

    @classmethod
    def from_jwks(cls, document: bytes | str, retires_s: Mapping[str, int] | None = None) -> KeyRing:
        """Read a JSON Web Key Set (RFC 7517).

        Args:
            retires_s: UTC seconds by key id for the keys that end.

        Raises:
            SecurityError: a key without id, twice the same id, a private or symmetric key, a kind of key
                that `ALGORITHMS` does not have, a short RSA key, or more than `MAX_KEYS`.
        """
        try:
            held = msgspec.json.decode(document, type=dict[str, list[dict[str, object]]]).get("keys", [])
        except msgspec.DecodeError as error:
            raise _refused(f"this is no key set: {error}", "jwks_form") from error
        dates = retires_s or {}
        return cls(_verification_key(fields, dates) for fields in held)

    def add(self, key: VerificationKey) -> None:
        """Trust one more key.

        Raises:
            SecurityError: the id is taken, empty or long, or the ring is full.
        """
        if not 1 <= len(key.kid) <= MAX_KID:
            raise _refused(f"a key's id has 1 to {MAX_KID} characters", "kid_length", limit=MAX_KID)
        if key.kid in self._keys:
            raise _refused(f"two keys have the id {key.kid!r}", "kid_unique")
        if len(self._keys) >= MAX_KEYS:
            raise _refused(f"a ring holds {MAX_KEYS} keys at most", "key_count", limit=MAX_KEYS)
        self._keys[key.kid] = key

    def retire(self, kid: str, at_s: int) -> None:
        """From that moment (UTC seconds) accept nothing more that the key has signed.

        Raises:
            SecurityError: there is no such key.
        """
        if kid not in self._keys:
            raise _refused(f"there is no key {kid!r}", "kid_known")
        self._keys[kid] = msgspec.structs.replace(self._keys[kid], retires_s=at_s)

    def find(self, kid: str, now_s: float) -> VerificationKey | None:
        """The key of that id, unless there is none or it has retired."""
        key = self._keys.get(kid)
        if key is None or (key.retires_s is not None and now_s >= key.retires_s):
            return None
        return key

    def jwks(self, now_s: float) -> dict[str, list[dict[str, object]]]:
        """The keys that are in use as a public key set (RFC 7517)."""
        active = [key for kid in self._keys if (key := self.find(kid, now_s)) is not None]
        return {"keys": [{**key.key.as_dict(private=False), "kid": key.kid, "use": "sig"} for key in active]}


def _verification_key(fields: dict[str, object], dates: Mapping[str, int]) -> VerificationKey:
    kid = fields.get("kid")
    if not isinstance(kid, str):
        raise _refused("every key of a set needs an id", "kid_required")
    if {"d", "k", "p", "q"} & fields.keys():
        raise _refused(f"key {kid!r} is not a public key", "key_public")
    if fields.get("use", "sig") != "sig":
        raise _refused(f"key {kid!r} is not for signatures", "key_use")
    allowed = ALGORITHMS.get((str(fields.get("kty")), str(fields.get("crv", ""))))
    if allowed is None:
        raise _refused(f"key {kid!r} is of a kind that is not accepted", "key_kind")
    named = fields.get("alg")
    if named is not None and named not in allowed:
        raise _refused(f"key {kid!r} names an algorithm that is not its own", "key_algorithm")
    if fields["kty"] == "RSA" and _bits(fields.get("n")) < _RSA_BITS:
        raise _refused(f"key {kid!r} has fewer than {_RSA_BITS} bits", "key_bits", limit=_RSA_BITS)
    try:
        key = JWKRegistry.import_key(msgspec.convert(fields, dict[str, str | list[str]]))
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise _refused(f"key {kid!r} cannot be read", "key_form") from error
    if not isinstance(key, OKPKey | ECKey | RSAKey):
        raise _refused(f"key {kid!r} is of a kind that is not accepted", "key_kind")
    algorithms = allowed if named is None or named in ED25519 else (str(named),)
    return VerificationKey(kid, key, algorithms, dates.get(kid))


def _bits(modulus: object) -> int:
    """Length of an RSA modulus as a key set writes it; 0 when it cannot be read."""
    if not isinstance(modulus, str):
        return 0
    try:
        return int.from_bytes(urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4)), "big").bit_length()
    except ValueError:
        return 0
