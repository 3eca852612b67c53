"""Keys: a private key that only its owner reads, and public keys that are what they say."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey, OKPKey, RSAKey

from qtinfra.core.exceptions import SecurityError
from qtinfra.infra.security.keys import MAX_KEYS, KeyRing, SigningKey, VerificationKey

pytestmark = pytest.mark.unit

KEY = SigningKey.generate()
PUBLIC: dict[str, Any] = {**KEY.public().key.as_dict(private=False), "kid": "k-1"}


def ring(*keys: dict[str, Any]) -> KeyRing:
    return KeyRing.from_jwks(json.dumps({"keys": keys}))


def refused_rule(*keys: dict[str, Any]) -> object:
    with pytest.raises(SecurityError) as refused:
        ring(*keys)
    return refused.value.context["rule"]


def test_a_new_key_file_is_readable_by_its_owner_only_and_is_the_same_key_later(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    old = os.umask(0)
    try:
        first = SigningKey.load_or_create(path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load_or_create(path).kid == first.kid != KEY.kid
    assert [entry.name for entry in tmp_path.iterdir()] == ["key.pem"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    SigningKey.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(SecurityError, match="must have mode 0600"):
        SigningKey.load_or_create(path)


def test_a_key_file_with_other_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    other = ec.generate_private_key(ec.SECP256R1())
    for content in (b"", b"garbage", other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(SecurityError, match="holds no"):
            SigningKey.load_or_create(path)
        assert path.read_bytes() == content


def test_a_link_in_place_of_the_key_file_is_not_followed(tmp_path: Path) -> None:
    SigningKey.load_or_create(tmp_path / "real.pem")
    (tmp_path / "key.pem").symlink_to(tmp_path / "real.pem")
    with pytest.raises(OSError, match="symbolic link"):
        SigningKey.load_or_create(tmp_path / "key.pem")


def test_a_key_set_gives_each_key_by_its_id_and_no_other() -> None:
    curve = ECKey.import_key(ec.generate_private_key(ec.SECP256R1())).as_dict(private=False)
    keys = ring(PUBLIC, {**curve, "kid": "k-2", "use": "sig", "alg": "ES256"})
    found = keys.find("k-1", 0)
    assert found is not None and found.algorithms == ("EdDSA", "Ed25519")
    assert (other := keys.find("k-2", 0)) is not None and other.algorithms == ("ES256",)
    rsa_key = RSAKey.import_key(rsa.generate_private_key(65537, 2048)).as_dict(private=False)
    assert (third := ring({**rsa_key, "kid": "r"}).find("r", 0)) is not None
    assert third.algorithms == ("RS256", "PS256")
    assert keys.find("k-3", 0) is None and keys.find("", 0) is None


def test_a_key_ends_on_its_date_and_leaves_the_published_set() -> None:
    keys = KeyRing.from_jwks(json.dumps({"keys": [PUBLIC]}), {"k-1": 100})
    assert keys.find("k-1", 99.9) is not None
    assert keys.find("k-1", 100) is None
    assert keys.jwks(99) == {"keys": [{**PUBLIC, "use": "sig"}]}
    assert keys.jwks(100) == {"keys": []}
    with pytest.raises(SecurityError, match="no key 'k-9'"):
        keys.retire("k-9", 5)


def test_the_published_set_of_a_signing_key_holds_nothing_private() -> None:
    published = KeyRing([KEY.public()]).jwks(0)["keys"][0]
    assert published.keys() == {"kty", "crv", "x", "kid", "use"}
    assert not KEY.public().key.is_private


def test_keys_that_are_not_public_signature_keys_are_refused_by_rule() -> None:
    private = KEY.key.as_dict(private=True)
    long = RSAKey.import_key(rsa.generate_private_key(65537, 2048)).as_dict(private=False)
    short = {**long, "n": long["n"][:-2]}
    exchange = OKPKey.generate_key("X25519", private=False).as_dict(private=False)
    cases: list[tuple[dict[str, Any], str]] = [
        ({**private, "kid": "a"}, "key_public"),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "a"}, "key_public"),
        ({name: value for name, value in PUBLIC.items() if name != "kid"}, "kid_required"),
        ({**PUBLIC, "kid": 7}, "kid_required"),
        ({**PUBLIC, "kid": ""}, "kid_length"),
        ({**PUBLIC, "kid": "k" * 129}, "kid_length"),
        ({**PUBLIC, "use": "enc"}, "key_use"),
        ({**PUBLIC, "alg": "HS256"}, "key_algorithm"),
        ({**PUBLIC, "alg": "RS256"}, "key_algorithm"),
        ({**exchange, "kid": "a"}, "key_kind"),
        ({"kty": "OKP", "crv": "Ed25519", "kid": "a"}, "key_form"),
        ({**PUBLIC, "x": "AA"}, "key_form"),
        ({**PUBLIC, "x": 5}, "key_form"),
        ({**short, "kid": "a"}, "key_bits"),
        ({**short, "kid": "a", "n": "ü"}, "key_bits"),
        ({**short, "kid": "a", "n": 5}, "key_bits"),
    ]
    assert [refused_rule(key) for key, _ in cases] == [rule for _, rule in cases]
    assert refused_rule(PUBLIC, PUBLIC) == "kid_unique"


@pytest.mark.parametrize("document", [b"", b"[]", b'{"keys": 5}', b'{"keys": [5]}', b"\xff"])
def test_a_document_that_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(SecurityError, match="no key set"):
        KeyRing.from_jwks(document)


def test_a_ring_is_bounded() -> None:
    key = KEY.public()
    held = [VerificationKey(f"k-{n}", key.key, key.algorithms) for n in range(MAX_KEYS)]
    full = KeyRing(held)
    with pytest.raises(SecurityError, match="64 keys at most"):
        full.add(VerificationKey("one-more", key.key, key.algorithms))
