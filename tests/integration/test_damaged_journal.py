"""FM-03, FM-04: what an opening makes of a last frame cut at any byte, and of any bit that flips.

QTINFRA_FLIPS sets the number of flipped bits (default 1,000), half of them in each kind of journal.
"""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from qtinfra.core.exceptions import JournalCorruptError, JournalError
from qtinfra.journal.log import LogJournal
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.testing.journal_contract import sample_entries

pytestmark = pytest.mark.integration

FLIPS = int(os.environ.get("QTINFRA_FLIPS", "1000"))
FRAMES, EACH = 20, 3
ENTRIES = sample_entries(FRAMES * EACH)
PATIENCE_S = 60.0

Kind = type[LogJournal] | type[SqliteJournal]


def written(kind: Kind, path: Path, each: int = EACH) -> list[int]:
    """A closed journal of all entries, so many in a frame; how long a log is after each frame."""
    lengths = []
    with closing(kind.open(path)) as journal:
        for at in range(0, len(ENTRIES), each):
            journal.append(ENTRIES[at : at + each])
            lengths.append(path.stat().st_size)
    return lengths


def flip(path: Path, bit: int) -> bytes:
    """Flip a bit of the file; its bytes then."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    return bytes(data)


def test_fm_03_a_last_frame_cut_at_any_byte_is_left_out_and_what_stands_before_it_is_not_touched(
    tmp_path: Path,
) -> None:
    sound, copy = tmp_path / "sound.log", tmp_path / "copy.log"
    *_, before, size = written(LogJournal, sound, each=1)
    data = sound.read_bytes()
    assert size == len(data)
    for cut in range(before, size):
        copy.write_bytes(data[:cut])
        with closing(LogJournal.open(copy)) as journal:
            assert list(journal.read()) == ENTRIES[:-1]
            assert (journal.recovered is not None) == (cut > before)
        assert copy.read_bytes() == data[:before]


def test_fm_04_no_flipped_bit_of_a_log_goes_unnoticed_and_only_its_last_frame_is_cut(tmp_path: Path) -> None:
    sound, copy = tmp_path / "sound.log", tmp_path / "copy.log"
    lengths = written(LogJournal, sound)
    rng, cut = Random("log"), 0
    for _ in range(FLIPS // 2):
        shutil.copyfile(sound, copy)
        bit = rng.randrange(8 * lengths[-1])
        damaged = flip(copy, bit)
        frame = sum(length <= bit // 8 for length in lengths)
        first, last = ENTRIES[frame * EACH].seq, ENTRIES[frame * EACH + EACH - 1].last_seq
        try:
            with closing(LogJournal.open(copy)) as journal:
                assert frame == FRAMES - 1, f"bit {bit} in frame {frame} was passed over"
                assert journal.recovered is not None
                assert list(journal.read()) == ENTRIES[:-EACH]
            assert copy.read_bytes() == damaged[: lengths[-2]]
            cut += 1
        except JournalCorruptError as error:
            assert first <= error.first_bad_seq <= last
            assert copy.read_bytes() == damaged
    assert 0 < cut < FLIPS // 2 // 5


def test_fm_04_no_flipped_bit_of_a_sqlite_journal_changes_a_record_unnoticed(tmp_path: Path) -> None:
    sound, copy = tmp_path / "sound.sqlite", tmp_path / "copy.sqlite"
    written(SqliteJournal, sound)
    rng, refused, unread = Random("sqlite"), 0, 0
    for _ in range(FLIPS // 2):
        shutil.copyfile(sound, copy)
        damaged = flip(copy, rng.randrange(8 * sound.stat().st_size))
        try:
            with closing(SqliteJournal.open_readonly(copy)) as journal:
                assert list(journal.read()) == ENTRIES
        except JournalCorruptError as error:
            assert 1 <= error.first_bad_seq <= ENTRIES[-1].last_seq + 1
            refused += 1
        except JournalError as error:
            assert "not a journal" in error.message or "cannot open" in error.message
            unread += 1  # its head says that it is no journal of ours: there is no sequence to name
        assert copy.read_bytes() == damaged
    assert refused > FLIPS // 2 // 10 > 5 * unread


def test_fm_04_the_server_refuses_to_start_with_78_names_the_sequence_and_changes_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.sqlite"
    written(SqliteJournal, path)
    at = path.read_bytes().index(ENTRIES[31].actor.encode(), path.stat().st_size // 2)
    damaged = flip(path, 8 * at)
    command = [sys.executable, "-m", "qtinfra", "serve", "--port", "1", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, said = process.communicate(timeout=PATIENCE_S)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
    assert process.returncode == 78, said
    assert "journal corrupt at sequence" in said
    assert path.read_bytes() == damaged
