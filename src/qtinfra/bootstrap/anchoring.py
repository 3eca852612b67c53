"""Signed heads of a served journal, second by second, also across a disk that refuses them for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from threading import Lock

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from qtinfra.bootstrap.sessions import Evidence
from qtinfra.core.exceptions import JournalError
from qtinfra.core.ports import Clock, Head
from qtinfra.core.reports import Alert
from qtinfra.journal.anchor import Anchor, Anchorer, AnchorFile, KeyFile
from qtinfra.journal.base import FrameJournal

LOG = logging.getLogger("qtinfra.anchoring")

_SECOND_NS = 1_000_000_000
#: A head is anchored after so many events, or when a second has passed with any.
EVERY_EVENTS, EVERY_NS = 20_000, _SECOND_NS


def anchorer_of(files: Evidence, journal: FrameJournal) -> Anchorer:
    """What signs a journal's heads, with the key beside it and its public half in a file of its own.

    Raises:
        JournalCorruptError: the journal does not bear out the newest signed head.
        SecurityError: others may read the key, or it is none.
    """
    key = KeyFile.load_or_create(files.key)
    files.public_key.write_bytes(key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return Anchorer(journal, AnchorFile(files.anchors), key, EVERY_EVENTS, every_ns=EVERY_NS)


class Anchoring:
    """Signs the head as the journal grows. A head that cannot be written is tried again at the next interval.

    Args:
        head: the journal's durable head now.
        on_alert: told of the first refusal of each outage, `anchor_failed`.
        every_s: interval, seconds.
    """

    def __init__(
        self,
        anchorer: Anchorer,
        head: Callable[[], Head],
        clock: Clock,
        on_alert: Callable[[Alert], None],
        every_s: float = 1.0,
    ) -> None:
        self._anchorer = anchorer
        self._head = head
        self._clock = clock
        self._on_alert = on_alert
        self._every_s = every_s
        self._failing = False
        self._writing = Lock()  # a cancelled task leaves its thread behind

    async def run(self) -> None:
        """Sign what is due after each interval, off the loop's thread, until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await self._sign(self._clock.now_ns())

    async def end(self) -> None:
        """Sign the last head. What the disk refuses is left to the next start, and the log says so."""
        await self._sign(self._clock.now_ns() + EVERY_NS)

    async def _sign(self, now_ns: int) -> None:
        try:
            written = await asyncio.to_thread(self._if_due, self._head(), now_ns)
        except JournalError as error:
            if not self._failing:
                self._failing = True
                LOG.warning("%s; tried again every %s s", error.message, self._every_s)
                self._on_alert(Alert("anchor_failed", str(self._head().seq), error.message))
            return
        if written is not None and self._failing:
            self._failing = False
            LOG.info("sequence %d is anchored: signed heads can be written again", written.seq)

    def _if_due(self, head: Head, now_ns: int) -> Anchor | None:
        with self._writing:
            return self._anchorer.maybe_anchor(head, now_ns)
