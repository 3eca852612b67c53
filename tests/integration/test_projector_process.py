"""The projector's process beside its server."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qtinfra.journal.sqlite import SqliteJournal

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_leaves_the_projector_to_its_server(
    tmp_path: Path, number: signal.Signals
) -> None:
    journal = tmp_path / "journal.sqlite"
    SqliteJournal.open(journal, owner="test").close()
    command = (sys.executable, "-m", "qtinfra.bootstrap.projection", str(journal), str(tmp_path / "tables"))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"0\n"
        process.send_signal(number)
        process.stdin.write(b"g")
        process.stdin.flush()
        assert process.stdout.readline() == b"0\n"
        process.stdin.close()
        assert process.wait(30) == 0
