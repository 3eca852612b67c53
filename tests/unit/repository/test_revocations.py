"""Revoked tokens on disk: durable, widened and never narrowed, dropped when of no use any more."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from qtinfra.core.exceptions import DatabaseError
from qtinfra.infra.security.revocation import Revocations
from qtinfra.repository.revocations import Kind, Revocation, RevokedTokens

pytestmark = pytest.mark.integration

NOW = 1_783_500_000
TOKEN = Revocation(Kind.JTI, "j-1", 0, NOW + 100, NOW, "ann", "leaked")
SUBJECT = Revocation(Kind.SUBJECT, "bob", NOW, NOW + 86_460, NOW + 1, "ann", "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "revocations.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[RevokedTokens]:
    opened = RevokedTokens(path)
    yield opened
    opened.close()


def restored(path: Path, now_s: float) -> Revocations:
    register, again = Revocations(), RevokedTokens(path)
    again.restore(register, now_s)
    again.close()
    return register


def test_what_is_kept_is_in_force_after_a_restart(store: RevokedTokens, path: Path) -> None:
    store.keep(TOKEN)
    store.keep(SUBJECT)
    register = restored(path, NOW + 1)
    assert register.covers("j-1", "ann", NOW)
    assert register.covers("j-9", "bob", NOW - 1)
    assert not register.covers("j-9", "bob", NOW)
    assert not register.covers("j-9", "ann", NOW - 1)


def test_an_entry_goes_when_what_it_names_has_ended(store: RevokedTokens, path: Path) -> None:
    store.keep(TOKEN)
    assert restored(path, NOW + 99).covers("j-1", "ann", NOW)
    assert [item.name for item in store.newest(10, NOW + 100)] == []
    assert not restored(path, NOW + 100).covers("j-1", "ann", NOW)


def test_a_second_entry_for_a_name_never_narrows_the_first(store: RevokedTokens, path: Path) -> None:
    store.keep(SUBJECT)
    store.keep(msgspec.structs.replace(SUBJECT, moment_s=NOW - 50, ends_s=NOW + 10, reason="again"))
    found = store.newest(10, NOW)[0]
    assert (found.moment_s, found.ends_s, found.reason) == (NOW, NOW + 86_460, "again")
    assert restored(path, NOW).covers("", "bob", NOW - 1)


def test_the_newest_come_first_and_are_bounded(store: RevokedTokens) -> None:
    store.keep(TOKEN)
    store.keep(SUBJECT)
    assert [item.name for item in store.newest(10, NOW)] == ["bob", "j-1"]
    assert [item.name for item in store.newest(1, NOW)] == ["bob"]


def test_a_file_that_is_none_of_ours_is_said_so(path: Path) -> None:
    path.write_text("not a database at all")
    with pytest.raises(DatabaseError):
        RevokedTokens(path)
