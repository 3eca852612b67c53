"""Lives of an engine under load, each ended by force; now and then the three records are compared."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path

import msgspec

from qtinfra.core.commands import SubmitOrder
from qtinfra.core.exceptions import OutcomeUnknownError
from qtinfra.core.models import OrderStatus
from qtinfra.core.reports import ExecutionReport
from qtinfra.engine.kernel import KernelStoppedError
from qtinfra.engine.state import state_hash
from qtinfra.testing.prove.client import Client
from qtinfra.testing.prove.engine import Life, Reply, Request
from qtinfra.testing.prove.processes import Engines, Venues
from qtinfra.testing.prove.reconcile import Disagreement, Replayed, reconcile, replay_all

SIGKILLED = -signal.SIGKILL


class Tally(msgspec.Struct):
    """What happened over some lives on one journal.

    Attributes:
        steps: how many lives ended at each named step by their own hand.
        found: the disagreements of the reconciliation that found any.
        restarts_ms: from each kill to the next new order accepted.
        interpreters_ms: starts of the fork server.
        sent_again: commands repeated under the same ids after a restart.
        doubted, never_received: children whose outcome was unknown, and those of them that no venue had.
    """

    lives: int = 0
    steps: Counter[str] = msgspec.field(default_factory=Counter)
    while_recovering: int = 0
    starved: int = 0
    from_snapshot: int = 0
    sent_again: int = 0
    reconciliations: int = 0
    commands: int = 0
    acknowledged: int = 0
    orders: int = 0
    executions: int = 0
    ids: int = 0
    events: int = 0
    doubted: int = 0
    never_received: int = 0
    found: list[Disagreement] = []
    restarts_ms: list[float] = []
    interpreters_ms: list[float] = []


class Lives:
    """One journal's lives, driven by one client. The caller says how each ends."""

    def __init__(self, engines: Engines, venues: Venues, journal: Path, rng: random.Random) -> None:
        self.client = Client(rng)
        self.tally = Tally()
        self.engines = engines
        self.venues = venues
        self.journal = str(journal)
        self._rng = rng
        self._killed_at: float | None = None
        self._new_from = 1

    def begin(self, life: Life) -> None:
        """Fork an engine; it recovers while this returns."""
        self.tally.lives += 1
        self.engines.fork(life)

    def hear_until(self, *kinds: str) -> Reply | None:
        """Listen to the engine up to one of these replies; None when it has died or could not begin."""
        heard, last = self.engines.hear_until((*kinds, "failed"))
        self.take(heard)
        return last if last is not None and last.kind in kinds else None

    def load(self, seconds: float, *, ticks: float = 0.15) -> bool:
        """Trade for so long; whether the engine still lives.

        Args:
            ticks: how likely, at each turn, the rest of the market trades too.
        """
        self.send_again()
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.send_more(ticks)
            if self.listen(min(left, 0.003)) is None:
                return False
        return True

    def send_again(self) -> None:
        """What was never seen acknowledged, under the same ids."""
        again = self.client.again()
        self.tally.sent_again += len(again)
        self.engines.send(again)

    def send_more(self, ticks: float = 0.15) -> None:
        """New commands, as many as may be unanswered."""
        self.engines.send(self.client.next_requests())
        if self._rng.random() < ticks:
            self.venues.tick()

    def listen(self, seconds: float) -> list[Reply] | None:
        """What the engine says within that time; None when it has died."""
        replies = self.engines.receive(seconds)
        if replies is not None:
            self.take(replies)
        return replies

    def settle(self) -> list[Disagreement]:
        """Let everything in flight be answered, then compare the three records."""
        self.engines.send([Request(0, ask="settle")])
        settled = self.hear_until("settled", "stuck")
        if settled is None or settled.kind == "stuck":
            why = settled.text if settled is not None else "the engine ended by itself"
            return [Disagreement("state", f"does not settle: {why}")]
        if self.client.unanswered:
            return [Disagreement("state", f"never acknowledged: {list(self.client.unanswered)}")]
        records = self.venues.records()
        replayed = replay_all(self.journal)
        refused = [f"{reply.kind}: {reply.code}{reply.text}" for reply in self.client.refused]
        found = [Disagreement("state", text) for text in refused]
        if (replayed.state.seq, state_hash(replayed.state)) != (settled.seq, settled.state_hash):
            found.append(Disagreement("state", "replaying the journal does not lead to the engine's state"))
        found += reconcile(self.client.ledger, replayed, records)
        self.tally.reconciliations += 1
        self._count(replayed)
        return found

    def kill(self, *, hear: bool = True, allowed: tuple[int, ...] = (SIGKILLED,)) -> None:
        """End the life now.

        Args:
            hear: whether what it had said and nobody has read counts as said.
            allowed: exit statuses that are as they should be.
        """
        self._killed_at = time.monotonic()
        self._new_from = self.client.last + 1
        said, status = self.engines.kill()
        if hear:
            self.take(said)
        if status not in allowed:
            self.tally.found.append(Disagreement("state", f"the engine ended by itself: {status}"))

    def forgive_stop(self) -> None:
        """Pass over what an engine has said that stopped itself for want of memory: that it did, and to each
        caller without a durable answer that the outcome is unknown. Any other refusal stays, and so do these
        when a command was blamed for the stop."""
        refused = self.client.refused
        stops = [reply.text for reply in refused if reply.kind == "stopped"]
        if stops and not any(KernelStoppedError.__name__ in text for text in stops):
            as_told = ("stopped", ""), ("refused", OutcomeUnknownError.code)
            refused[:] = [reply for reply in refused if (reply.kind, reply.code) not in as_told]

    def take(self, replies: list[Reply]) -> None:
        """Remember what the engine has said."""
        self.client.hear(replies)
        for reply in replies:
            self.tally.from_snapshot += reply.kind == "started" and reply.from_snapshot
            if self._killed_at is not None and self._accepted(reply):
                self.tally.restarts_ms.append((time.monotonic() - self._killed_at) * 1000)
                self._killed_at = None

    def _accepted(self, reply: Reply) -> bool:
        """Whether an order that no earlier life was ever sent has been accepted."""
        if reply.kind != "ack" or reply.n < self._new_from:
            return False
        if not isinstance(self.client.ledger.sent[reply.n], SubmitOrder):
            return False
        reports = [report for report in reply.reports if isinstance(report, ExecutionReport)]
        return bool(reports) and all(report.status is not OrderStatus.REJECTED for report in reports)

    def _count(self, replayed: Replayed) -> None:
        tally, ledger = self.tally, self.client.ledger
        tally.commands, tally.acknowledged = len(ledger.sent), len(ledger.acknowledged)
        tally.orders, tally.executions = len(replayed.created), len(replayed.state.executions)
        tally.ids, tally.events = len(replayed.ids), replayed.state.seq
        tally.doubted, tally.never_received = replayed.doubted, replayed.never_received
