"""Bearer tokens: what proves an identity, what does not, and with which code and status it is refused."""

import base64
import builtins
import hmac
import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey

from qtinfra.core.exceptions import AuthenticationError, OverloadedError
from qtinfra.core.security.identity import Identity, Role
from qtinfra.infra.security.keys import KeyRing, SigningKey, VerificationKey
from qtinfra.infra.security.login import TokenIssuer
from qtinfra.infra.security.revocation import Revocations
from qtinfra.infra.security.tokens import (
    MAX_TOKEN_BYTES,
    STATUS,
    TokenVerifier,
    bearer_token,
    single_authorization,
)

pytestmark = pytest.mark.unit

NOW = 1_750_000_000
ISSUER, AUDIENCE = "https://id.desk.invalid", "qtinfra"
KEY = SigningKey.generate()
HEADER = {"alg": "Ed25519", "kid": KEY.kid, "typ": "at+jwt"}
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "t-7",
    "aud": AUDIENCE,
    "iat": NOW,
    "exp": NOW + 3600,
    "jti": "j-1",
    "roles": ["TRADER"],
    "accounts": ["ACC-1", "ACC-2"],
}


def part(value: object) -> str:
    """A base64url part; bytes are taken as they are."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: dict[str, Any], claims: object = CLAIMS, key: SigningKey = KEY) -> str:
    """A token whose signature by the key is good over whatever header and claims."""
    signed = f"{part(header)}.{part(claims)}"
    return f"{signed}.{part(key.key.private_key.sign(signed.encode()))}"  # type: ignore[union-attr]


def token(header: dict[str, Any] | None = None, without: str = "", **claims: Any) -> str:
    body = {name: value for name, value in {**CLAIMS, **claims}.items() if name != without}
    return forged({**HEADER, **(header or {})}, body)


def bearer(text: str) -> bytes:
    return f"Bearer {text}".encode()


def verifier(keys: KeyRing | None = None, **settings: Any) -> TokenVerifier:
    return TokenVerifier(keys or KeyRing([KEY.public()]), ISSUER, AUDIENCE, **{"leeway_s": 60, **settings})


def code(text: str | bytes | None, now_s: float = NOW, gate: TokenVerifier | None = None) -> str:
    """The code of the refusal, or `accepted`."""
    try:
        (gate or verifier()).verify(bearer(text) if isinstance(text, str) else text, now_s)
    except AuthenticationError as error:
        assert error.error_code in STATUS
        assert {"field", "rule"} <= error.context.keys()
        return error.error_code
    return "accepted"


# -- what is accepted ------------------------------------------------------------------------------


def test_a_good_token_gives_the_identity_it_states() -> None:
    found = verifier().verify(bearer(token()), NOW)
    assert found == Identity("t-7", (Role.TRADER,), ("ACC-1", "ACC-2"), "j-1", NOW + 3600)


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519"])
@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
def test_both_names_of_ed25519_and_both_forms_of_the_type_are_accepted(name: str, typ: str) -> None:
    assert code(token({"alg": name, "typ": typ})) == "accepted"


def test_the_audience_may_be_one_of_several() -> None:
    assert code(token(aud=["other", AUDIENCE])) == "accepted"


def test_roles_that_are_not_known_grant_nothing_and_missing_claims_reach_nothing() -> None:
    gate = verifier()
    assert gate.verify(bearer(token(roles=["TRADER", "ROOT", "TRADER"])), NOW).roles == (Role.TRADER,)
    assert gate.verify(bearer(token(without="roles")), NOW).roles == ()
    assert gate.verify(bearer(token(without="accounts")), NOW).accounts == ()


def test_what_the_issuer_signs_the_verifier_accepts() -> None:
    issuer = TokenIssuer(KEY, ISSUER, AUDIENCE, new_id=lambda: "j-9")
    text = issuer.issue("pm-1", (Role.PORTFOLIO_MANAGER,), ("*",), NOW + 0.7, 60)
    assert verifier().verify(bearer(text), NOW + 1) == Identity(
        "pm-1", (Role.PORTFOLIO_MANAGER,), ("*",), "j-9", NOW + 60
    )


# -- rows of the bad-input file --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
def test_bi_036_alg_none_is_refused_with_and_without_a_signature(name: str) -> None:
    head, body = part({**HEADER, "alg": name}), part(CLAIMS)
    assert code(f"{head}.{body}.") == "invalid_token"
    assert code(f"{head}.{body}") == "invalid_token"
    assert code(token({"alg": name})) == "invalid_token"
    assert STATUS["invalid_token"] == 401


@pytest.fixture
def no_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every attempt to open a connection or a file, with its kind; all of them fail."""
    attempts: list[str] = []

    def refuse(kind: str) -> Any:
        def attempt(*_: object, **__: object) -> None:
            attempts.append(kind)
            raise PermissionError(kind)

        return attempt

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse("connect"))
        patch.setattr(socket, "getaddrinfo", refuse("resolve"))
        patch.setattr(builtins, "open", refuse("open"))
        patch.setattr(os, "open", refuse("open"))
        yield attempts


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "../../../../dev/null"},
        {"kid": "x' UNION SELECT 'k'"},
        {"kid": ""},
        {"kid": "k" * 129},
        {"kid": 7},
        {"kid": None},
        {"jku": "http://127.0.0.1:1/"},
        {"x5u": "http://127.0.0.1:1/"},
        {"x5c": ["MIIB"]},
        {"jwk": {**KEY.public().key.as_dict(private=False), "kid": KEY.kid}},
        {"crit": ["exp"]},
        {"b64": False},
        {"zip": "DEF"},
    ],
    ids="-".join,  # names only: keys differ from one process to the next
)
def test_bi_038_a_key_is_only_looked_up_in_memory(header: dict[str, Any], no_outside: list[str]) -> None:
    assert code(token(header)) == "invalid_token"
    assert no_outside == []


def test_bi_038_a_key_that_comes_with_the_token_proves_nothing() -> None:
    mallory = SigningKey.generate()
    own = {**mallory.public().key.as_dict(private=False), "kid": mallory.kid}
    for header in ({**HEADER, "kid": mallory.kid}, {**HEADER, "jwk": own}, HEADER):
        assert code(forged(header, key=mallory)) == "invalid_token"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (token(exp=NOW - 61), "expired_token"),
        (token(nbf=NOW + 61), "premature_token"),
        (token(iat=4_070_908_800, exp=4_070_912_400), "premature_token"),
        (token(without="exp"), "invalid_token"),
        (token(exp=None), "invalid_token"),
        (token(exp=str(NOW + 60)), "invalid_token"),
        (token(exp=True), "invalid_token"),
        (token(exp=10**30), "invalid_token"),
        (token(without="iat"), "invalid_token"),
        (token(without="jti"), "invalid_token"),
        (token(without="sub"), "invalid_token"),
        (token(sub=""), "invalid_token"),
        (token(exp=NOW + 86_401), "invalid_token"),
    ],
)
def test_bi_039_a_token_outside_its_time_or_without_one_is_refused(text: str, expected: str) -> None:
    assert code(text) == expected
    assert STATUS[expected] == 401


def test_bi_039_the_leeway_ends_exactly_and_is_never_above_60_seconds() -> None:
    assert code(token(exp=NOW - 59)) == "accepted"
    assert code(token(exp=NOW - 60)) == "expired_token"
    assert code(token(nbf=NOW + 60)) == "accepted"
    assert code(token(iat=NOW + 60)) == "accepted"
    assert code(token(iat=NOW + 61)) == "premature_token"
    assert code(token(exp=NOW), gate=verifier(leeway_s=0)) == "expired_token"
    with pytest.raises(ValueError, match="leeway_s must be 0 to 60 seconds, is 61"):
        verifier(leeway_s=61)


@pytest.mark.parametrize(
    "text",
    [
        token(aud="billing"),
        token(aud=[]),
        token(aud=["qtinfra-staging"]),
        token(without="aud"),
        token(iss="https://id.staging.invalid"),
        token(iss=ISSUER + "/"),
        token(without="iss"),
        token({"typ": "JWT"}, nonce="n-1", at_hash="x"),
        forged({"alg": "Ed25519", "kid": KEY.kid}),
    ],
)
def test_bi_040_a_token_of_or_for_another_place_and_an_id_token_are_refused(text: str) -> None:
    assert code(text) == "invalid_token"


def test_bi_042_two_authorization_headers_are_ambiguous_and_neither_wins() -> None:
    good = (b"authorization", bearer(token()))
    for headers in ([good, good], [good, (b"Authorization", b"Bearer x")], [(b"AUTHORIZATION", b""), good]):
        with pytest.raises(AuthenticationError) as refused:
            single_authorization(headers)
        assert refused.value.error_code == "ambiguous_authorization"
        assert STATUS[refused.value.error_code] == 400
    assert single_authorization([(b"host", b"a"), good]) == good[1]
    assert single_authorization([(b"x-authorization", b"a")]) is None


@pytest.mark.parametrize(
    "value",
    [
        b"bearer\t" + token().encode(),
        b"Bearer\t" + token().encode(),
        b"bearer " + token().encode(),
        b"Bearer  " + token().encode(),
        b" Bearer " + token().encode(),
        b"Bearer " + token().encode() + b" ",
        b"Bearer " + token().encode() + b"\n",
        b"Bearer " + token().encode() + b", Bearer " + token().encode(),
        b"Bearer",
        b"Bearer ",
        b"Basic dTpw",
        b"",
        b"Bearer " + token().encode().replace(b".", b"=.", 1),
        b"Bearer a+b.c/d.e",
        b"Bearer \xff.\xfe.\xfd",
    ],
)
def test_bi_042_a_header_of_another_form_is_refused(value: bytes) -> None:
    assert code(value) == "invalid_token"


def test_bi_042_a_token_of_32_kb_is_too_large_and_one_of_8_kib_is_not() -> None:
    assert code(b"Bearer " + b"a" * 32_768) == "token_too_large"
    assert STATUS["token_too_large"] == 431
    longest = "a." + "b" * (MAX_TOKEN_BYTES - 4) + ".c"
    assert bearer_token(bearer(longest)) == longest.encode()
    assert code(longest + "c") == "token_too_large"


def test_a_request_without_a_header_has_no_token() -> None:
    assert code(None) == "missing_token"


# -- algorithms ------------------------------------------------------------------------------------


def symmetric(secret: bytes) -> str:
    signed = f"{part({**HEADER, 'alg': 'HS256'})}.{part(CLAIMS)}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), 'sha256'))}"


def test_the_public_key_used_as_a_shared_secret_signs_nothing() -> None:
    public = KEY.key.public_key
    for secret in (
        public.public_bytes(Encoding.Raw, PublicFormat.Raw),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ):
        assert code(symmetric(secret)) == "invalid_token"


@pytest.mark.parametrize("name", ["RS256", "PS256", "ES256", "HS256", "Ed448", "ES256K", "eddsa", "X"])
def test_another_algorithm_in_the_header_of_a_good_signature_is_refused(name: str) -> None:
    assert code(token({"alg": name})) == "invalid_token"


def test_a_key_verifies_only_its_own_algorithm_even_when_another_is_allowed() -> None:
    other = ECKey.import_key(ec.generate_private_key(ec.SECP256R1()))
    ring = KeyRing([KEY.public(), VerificationKey("ec", other, ("ES256",))])
    gate = verifier(ring, algorithms=("Ed25519", "ES256"))
    signed = jwt.encode({**HEADER, "alg": "ES256", "kid": "ec"}, CLAIMS, other, algorithms=["ES256"])
    assert code(signed, gate=gate) == "accepted"
    assert code(signed, gate=verifier(ring)) == "invalid_token"
    confused = jwt.encode({**HEADER, "alg": "ES256"}, CLAIMS, other, algorithms=["ES256"])
    assert code(confused, gate=gate) == "invalid_token"
    assert code(token({"kid": "ec"}), gate=gate) == "invalid_token"


def test_rsa_is_refused_unless_it_is_asked_for() -> None:
    key = RSAKey.import_key(rsa.generate_private_key(65537, 2048))
    ring = KeyRing([VerificationKey("r", key, ("RS256", "PS256"))])
    signed = jwt.encode({**HEADER, "alg": "RS256", "kid": "r"}, CLAIMS, key, algorithms=["RS256"])
    assert code(signed, gate=verifier(ring)) == "invalid_token"
    assert code(signed, gate=verifier(ring, algorithms=("RS256",))) == "accepted"


def test_a_key_that_names_one_algorithm_verifies_no_other_of_its_kind() -> None:
    key = RSAKey.import_key(rsa.generate_private_key(65537, 2048))
    gate = verifier(KeyRing([VerificationKey("r", key, ("PS256",))]), algorithms=("RS256", "PS256"))
    for name, expected in (("PS256", "accepted"), ("RS256", "invalid_token")):
        signed = jwt.encode({**HEADER, "alg": name, "kid": "r"}, CLAIMS, key, algorithms=[name])
        assert code(signed, gate=gate) == expected


def test_only_the_names_that_the_verifier_lists_are_accepted() -> None:
    gate = verifier(algorithms=("Ed25519",))
    assert code(token({"alg": "Ed25519"}), gate=gate) == "accepted"
    assert code(token({"alg": "EdDSA"}), gate=gate) == "invalid_token"


@pytest.mark.parametrize("names", [("none",), ("HS256",), ("Ed25519", "HS512"), ()])
def test_a_verifier_for_weak_algorithms_cannot_be_made(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="algorithms must be asymmetric"):
        verifier(algorithms=names)


def test_the_signature_has_one_spelling() -> None:
    text = token()
    respelled = text[:-1] + chr(ord(text[-1]) + 1)  # the same 64 bytes to a lenient decoder
    assert base64.urlsafe_b64decode(respelled[-86:] + "==") == base64.urlsafe_b64decode(text[-86:] + "==")
    assert code(text) == "accepted"
    assert code(respelled) == "invalid_token"


@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_token_with_one_byte_changed_is_refused(at: int, flip: int) -> None:
    raw = bytearray(token().encode())
    raw[at % len(raw)] ^= flip
    assert code(b"Bearer " + bytes(raw)) == "invalid_token"


@given(st.binary(max_size=200))
def test_any_bytes_are_answered_with_a_code(value: bytes) -> None:
    assert code(value) != "accepted"
    assert code(b"Bearer " + value) != "accepted"


@pytest.mark.parametrize("claims", [[], "x", 7, None, b"{", b"\xff", b"[" * 5000, b'{"a":' * 1000])
def test_signed_claims_that_are_no_claims_are_refused(claims: object) -> None:
    assert code(forged(HEADER, claims)) == "invalid_token"


@pytest.mark.parametrize("header", [b"{", b"[]", b"\xff\xfe{}", b'{"alg":' + b"[" * 3000])
def test_a_header_that_is_no_header_is_refused(header: bytes) -> None:
    assert code(f"{part(header)}.{part(CLAIMS)}.{part(b'x' * 64)}") == "invalid_token"


# -- use after use ---------------------------------------------------------------------------------


def signatures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every signature that is checked from now on."""
    calls: list[int] = []
    check = jws.deserialize_compact

    def counted(*args: Any, **settings: Any) -> Any:
        calls.append(1)
        return check(*args, **settings)

    monkeypatch.setattr(jws, "deserialize_compact", counted)
    return calls


def test_a_verified_token_is_checked_again_only_after_the_cache_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = signatures(monkeypatch)
    gate = verifier(cache_s=60)
    for now_s in (NOW, NOW + 30, NOW + 59.9):
        gate.verify(bearer(token()), now_s)
    assert len(calls) == 1
    gate.verify(bearer(token()), NOW + 60)
    gate.verify(bearer(token()), NOW - 5)  # a clock that went back: not within the time either
    assert len(calls) == 3
    with pytest.raises(ValueError, match="cache_s must be 0 to 60 seconds, is 61"):
        verifier(cache_s=61)


def test_a_remembered_token_expires_on_time() -> None:
    gate = verifier(leeway_s=0)
    text = token(exp=NOW + 10)
    assert code(text, NOW, gate) == code(text, NOW + 9.9, gate) == "accepted"
    assert code(text, NOW + 10, gate) == "expired_token"


def test_a_remembered_token_is_refused_at_once_when_it_is_revoked() -> None:
    gate = verifier()
    first, second = token(), token(jti="j-2")
    assert code(first, NOW, gate) == code(second, NOW, gate) == "accepted"
    gate.revocations.revoke_token("j-1", NOW + 3660, NOW)
    assert code(first, NOW + 1, gate) == "revoked_token"
    assert code(second, NOW + 1, gate) == "accepted"


def test_a_subject_s_tokens_end_at_a_moment_and_later_ones_are_good() -> None:
    gate = verifier()
    other, late = token(sub="t-8"), token(iat=NOW + 5)
    assert code(token(), NOW + 5, gate) == "accepted"
    gate.revocations.revoke_subject("t-7", NOW + 5, NOW + 5)
    gate.revocations.revoke_subject("t-7", NOW + 1, NOW + 5)  # never moves back
    assert code(token(), NOW + 5, gate) == "revoked_token"
    assert code(late, NOW + 5, gate) == code(other, NOW + 5, gate) == "accepted"


def test_everybody_s_tokens_can_be_ended_at_a_moment() -> None:
    gate = verifier()
    gate.revocations.revoke_issued_before(NOW + 1)
    gate.revocations.revoke_issued_before(NOW - 9)
    assert code(token(), NOW, gate) == "revoked_token"
    assert code(token(iat=NOW + 1), NOW, gate) == "accepted"


def test_a_full_register_of_revocations_says_so_and_forgets_only_what_has_ended() -> None:
    register = Revocations(max_entries=2, keep_s=100)
    register.revoke_token("a", NOW + 10, NOW)
    register.revoke_token("b", NOW + 20, NOW)
    with pytest.raises(OverloadedError):
        register.revoke_token("c", NOW + 30, NOW)
    register.revoke_token("a", NOW + 15, NOW)
    register.revoke_token("c", NOW + 30, NOW + 15)
    assert [register.covers(name, "s", NOW) for name in "abc"] == [False, True, True]
    register.revoke_subject("x", NOW, NOW)
    register.revoke_subject("y", NOW, NOW)
    with pytest.raises(OverloadedError):
        register.revoke_subject("z", NOW, NOW + 99)
    register.revoke_subject("z", NOW + 100, NOW + 100)
    assert register.covers("t", "z", NOW) and not register.covers("t", "x", NOW - 1)


def test_keys_rotate_side_by_side_and_a_retired_one_ends_cached_tokens_too() -> None:
    new = SigningKey.generate()
    ring = KeyRing([KEY.public(), new.public()])
    gate = verifier(ring)
    renewed = forged({**HEADER, "kid": new.kid}, key=new)
    assert code(token(), NOW, gate) == code(renewed, NOW, gate) == "accepted"
    ring.retire(KEY.kid, NOW + 10)
    assert code(token(), NOW + 9.9, gate) == "accepted"
    assert code(token(), NOW + 10, gate) == "invalid_token"
    assert code(renewed, NOW + 10, gate) == "accepted"
    assert code(token(), NOW + 10, verifier(ring)) == "invalid_token"


def test_the_cache_is_bounded_and_what_fails_never_enters_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = signatures(monkeypatch)
    gate = verifier(cache_entries=2)
    first, second, third = (token(jti=f"j-{n}") for n in range(3))
    for text in (first, second, first, third):  # the third pushes the second out
        assert code(text, NOW, gate) == "accepted"
    for n in range(5):
        assert code(token(aud="x", jti=f"x-{n}"), NOW, gate) == "invalid_token"
    calls.clear()
    assert code(first, NOW, gate) == code(third, NOW, gate) == "accepted"
    assert calls == []
    assert code(second, NOW, gate) == "accepted"
    assert calls == [1]


def test_a_refusal_never_repeats_the_token() -> None:
    text = token(aud="billing-secret")
    with pytest.raises(AuthenticationError) as refused:
        verifier().verify(bearer(text), NOW)
    said = json.dumps(refused.value.to_json())
    assert "billing-secret" not in said and text.split(".")[1] not in said
