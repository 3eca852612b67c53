"""An idempotency key belongs to the first request that used it, for thirty days and over restarts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from qtinfra.core.exceptions import DatabaseError
from qtinfra.repository.idempotency import KEEP_NS, Binding, IdempotencyKeys

pytestmark = pytest.mark.integration

FIRST = Binding("ann", "k", b"1" * 32)
NOW = 10 * KEEP_NS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.sqlite"


@pytest.fixture
def keys(path: Path) -> Iterator[IdempotencyKeys]:
    opened = IdempotencyKeys(path, NOW)
    yield opened
    opened.close()


def test_the_same_request_may_use_its_key_again(keys: IdempotencyKeys) -> None:
    assert keys.bind(FIRST, NOW)
    assert keys.bind(FIRST, NOW + 1)


def test_another_request_may_not_use_the_key(keys: IdempotencyKeys) -> None:
    assert keys.bind(FIRST, NOW)
    assert not keys.bind(Binding("ann", "k", b"2" * 32), NOW)
    assert keys.bind(FIRST, NOW)


def test_keys_of_different_callers_do_not_meet(keys: IdempotencyKeys) -> None:
    assert keys.bind(FIRST, NOW)
    assert keys.bind(Binding("bob", "k", b"2" * 32), NOW)


@pytest.mark.parametrize(("age", "free"), [(KEEP_NS, False), (KEEP_NS + 1, True)])
def test_a_restart_forgets_what_is_older_than_thirty_days_and_nothing_else(
    path: Path, age: int, free: bool
) -> None:
    for when, use in ((NOW, FIRST), (NOW + age, Binding("ann", "k", b"2" * 32))):
        keys = IdempotencyKeys(path, when)
        bound = keys.bind(use, when)
        keys.close()
    assert bound is free


def test_a_file_that_cannot_be_used_is_named_as_the_cause(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="idempotency keys"):
        IdempotencyKeys(tmp_path / "missing" / "keys.sqlite", NOW)
