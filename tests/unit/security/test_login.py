"""The development login: tokens for seeded users, and never where it must not be."""

from pathlib import Path

import pytest

from qtinfra.core.exceptions import SecurityError, UnauthorizedAccessError
from qtinfra.core.security.identity import Role
from qtinfra.infra.security.login import DEV_KEY_FILE, DEV_USERS, DevLogin
from qtinfra.infra.security.tokens import TokenVerifier

pytestmark = pytest.mark.unit

NOW = 1_750_000_000


def verifier(login: DevLogin) -> TokenVerifier:
    return TokenVerifier(login.keys(), login.issuer, login.audience)


@pytest.mark.parametrize("environment", ["production", "Production", "staging", "prod", "", "development "])
def test_it_refuses_every_environment_but_development_and_test(environment: str, tmp_path: Path) -> None:
    with pytest.raises(SecurityError) as refused:
        DevLogin(environment, tmp_path / "data")
    assert refused.value.error_code == "dev_login_forbidden"
    assert refused.value.context["value"] == environment
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", list(DEV_USERS))
def test_each_seeded_user_gets_a_token_that_verifies_as_that_user(name: str) -> None:
    login = DevLogin("test", None)
    found = verifier(login).verify(b"Bearer " + login.token(name, NOW).encode(), NOW)
    assert (found.subject, found.roles, found.accounts) == (
        name,
        DEV_USERS[name].roles,
        DEV_USERS[name].accounts,
    )
    assert found.expires_s == NOW + 3600


def test_there_is_a_user_for_every_role() -> None:
    assert {role for user in DEV_USERS.values() for role in user.roles} == set(Role)


def test_tokens_outlive_the_process_by_the_key_in_the_data_directory(tmp_path: Path) -> None:
    first = DevLogin("development", tmp_path / "data")
    text = b"Bearer " + first.token("trader", NOW).encode()
    again = DevLogin("development", tmp_path / "data")
    assert verifier(again).verify(text, NOW).subject == "trader"
    assert (tmp_path / "data" / DEV_KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_no_two_tokens_have_the_same_id() -> None:
    login = DevLogin("test", None)
    gate = verifier(login)
    ids = {gate.verify(b"Bearer " + login.token("pm", NOW).encode(), NOW).token_id for _ in range(20)}
    assert len(ids) == 20


def test_an_unknown_user_is_refused_by_name() -> None:
    with pytest.raises(
        UnauthorizedAccessError, match="no development user 'mallory'; there are viewer, trader"
    ):
        DevLogin("test", None).token("mallory", NOW)
