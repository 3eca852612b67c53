"""What the server does about storage that refuses: signed heads are tried again, projectors started again."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qtinfra.bootstrap.anchoring import EVERY_NS, Anchoring, anchorer_of
from qtinfra.bootstrap.projection import MAX_BACKOFF_S, STEADY_S, Outages
from qtinfra.bootstrap.sessions import Evidence
from qtinfra.core.reports import Alert
from qtinfra.infra.clock import ManualClock, SystemClock
from qtinfra.journal.anchor import AnchorFile
from qtinfra.journal.memory import MemoryJournal
from qtinfra.testing.journal_contract import follow

pytestmark = pytest.mark.unit


def grow(journal: MemoryJournal) -> None:
    journal.append(follow(journal, 3, seed=journal.head.seq))


@pytest.fixture
def journal() -> MemoryJournal:
    made = MemoryJournal.fresh()
    grow(made)
    return made


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Evidence]:
    """Evidence whose signed heads cannot be written while `heads` is a folder."""
    found = Evidence.of(tmp_path / "journal")
    yield found
    with suppress(OSError):
        found.anchors.rmdir()


def test_a_head_that_cannot_be_written_is_signed_later_and_each_outage_alerts_once(
    journal: MemoryJournal, files: Evidence
) -> None:
    alerts: list[Alert] = []
    anchorer = anchorer_of(files, journal)
    clock = ManualClock(0)
    anchoring = Anchoring(anchorer, lambda: journal.head, clock, alerts.append)
    for outage in (1, 2):
        files.anchors.unlink(missing_ok=True)
        files.anchors.mkdir()
        grow(journal)
        first = journal.head.seq
        for _ in range(3):
            clock.advance_to(clock.now_ns() + 2 * EVERY_NS)
            asyncio.run(anchoring.end())
            grow(journal)
        assert [alert.kind for alert in alerts] == ["anchor_failed"] * outage
        assert f"cannot anchor sequence {first} " in alerts[-1].text
        files.anchors.rmdir()
        clock.advance_to(clock.now_ns() + 2 * EVERY_NS)
        asyncio.run(anchoring.end())
        assert [anchor.seq for anchor in AnchorFile(files.anchors).read()] == [journal.head.seq]
    assert len(alerts) == 2


def test_the_task_goes_on_at_the_next_interval_after_a_refusal(
    journal: MemoryJournal, files: Evidence
) -> None:
    alerts: list[Alert] = []
    anchorer = anchorer_of(files, journal)
    anchoring = Anchoring(anchorer, lambda: journal.head, SystemClock(), alerts.append, every_s=0.001)
    files.anchors.mkdir()

    async def until_signed() -> None:
        task = asyncio.create_task(anchoring.run())
        while not alerts:
            await asyncio.sleep(0.001)
        files.anchors.rmdir()
        while not files.anchors.exists() or not AnchorFile(files.anchors).read():
            assert not task.done()
            await asyncio.sleep(0.001)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(until_signed(), 30))
    assert len(alerts) == 1


def test_projectors_that_die_one_after_another_are_one_outage_with_pauses_that_double_up_to_a_bound() -> None:
    outages = Outages()
    told = [outages.died(0.0) for _ in range(10)]
    assert [begins for begins, _ in told] == [True] + [False] * 9
    assert [pause for _, pause in told] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, *[MAX_BACKOFF_S] * 4]


def test_tables_that_were_complete_for_a_moment_between_two_deaths_do_not_end_the_outage() -> None:
    outages = Outages()
    outages.died(0.0)
    assert outages.died(STEADY_S - 1) == (False, 1.0)


def test_a_projector_that_dies_after_a_steady_life_begins_a_new_outage() -> None:
    outages = Outages()
    for _ in range(5):
        outages.died(0.0)
    assert outages.died(STEADY_S) == (True, 0.5)
