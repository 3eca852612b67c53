"""An append in its two halves: what can be done beforehand, and the write."""

from __future__ import annotations

import threading

import pytest

from qtinfra.core.exceptions import JournalError
from qtinfra.journal.memory import MemoryJournal
from qtinfra.testing.journal_contract import fill, follow

pytestmark = pytest.mark.unit


def test_the_two_halves_of_an_append_do_what_it_does_and_the_second_may_be_another_threads() -> None:
    whole, halves = MemoryJournal.fresh(), MemoryJournal.fresh()
    before = halves.head
    write = halves.seal(follow(halves, 3))
    assert halves.head == before, "nothing is written yet"
    writer = threading.Thread(target=write)
    writer.start()
    writer.join()
    assert halves.head == whole.append(follow(whole, 3)) != before
    assert list(halves.read()) == list(whole.read())


def test_what_was_sealed_before_another_append_is_not_written() -> None:
    journal = MemoryJournal.fresh()
    late = journal.seal(follow(journal, 1))
    fill(journal, 1)
    head = journal.head
    with pytest.raises(JournalError, match="since the frame was sealed"):
        late()
    assert journal.head == head
    fill(journal, 1)


def test_a_journal_that_was_closed_writes_nothing_that_was_sealed_and_seals_no_more() -> None:
    journal = MemoryJournal.fresh()
    late = journal.seal(follow(journal, 1))
    entries = follow(journal, 1)
    journal.close()
    for again in (late, lambda: journal.seal(entries)):
        with pytest.raises(JournalError, match="no more entries"):
            again()
