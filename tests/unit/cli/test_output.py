"""How the command line speaks of itself."""

import shutil
import sys
from pathlib import Path

import pytest

from qtinfra.cli.output import program
from qtinfra.cli.serving import next_steps
from qtinfra.infra.config import AuthMode, Settings


def called_by(monkeypatch: pytest.MonkeyPatch, typed: str, found: str | None) -> str:
    monkeypatch.setattr(sys, "argv", [typed])
    monkeypatch.setattr(shutil, "which", lambda _: found)
    return program()


@pytest.mark.parametrize(
    ("typed", "found", "said"),
    [
        (".venv/bin/qtinfra", None, ".venv/bin/qtinfra"),
        (".venv/bin/qtinfra", "/usr/bin/qtinfra", "qtinfra"),
        ("src/qtinfra/__main__.py", None, "qtinfra"),
    ],
)
def test_advice_names_the_program_as_the_shell_finds_it(
    monkeypatch: pytest.MonkeyPatch, typed: str, found: str | None, said: str
) -> None:
    assert called_by(monkeypatch, typed, found) == said


def test_a_server_says_what_to_type_in_another_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    called_by(monkeypatch, "qtinfra", "/usr/bin/qtinfra")
    plain = next_steps("http://127.0.0.1:8000", Settings(data_dir=Path(".qtinfra")))
    assert plain == [
        "in another shell: export QTINFRA_TOKEN=$(qtinfra token --user trader)",
        "Ctrl-C stops the server",
    ]
    other = next_steps("http://127.0.0.1:8080", Settings(data_dir=Path("/data")))
    assert other[0] == (
        "in another shell: export QTINFRA_URL=http://127.0.0.1:8080 "
        "QTINFRA_TOKEN=$(QTINFRA_DATA_DIR=/data qtinfra token --user trader)"
    )
    keys = Settings(auth=AuthMode.JWKS, jwks_file=Path("keys.json"))
    assert next_steps("http://127.0.0.1:8000", keys) == ["Ctrl-C stops the server"]
