"""Bugs to plant in journal, loop, inbox and gateways: each one a mistake that somebody could make there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from qtinfra.core.commands import CancelOrder, OrderStatusRequest, SubmitOrder
from qtinfra.core.exceptions import JournalError, OverloadedError
from qtinfra.core.reports import ToVenue
from qtinfra.journal import base as journal_base
from qtinfra.journal import disk as journal_disk
from qtinfra.journal import log as journal_log
from qtinfra.runtime import inbox, live, loop, snapshots, timers
from qtinfra.testing.faultsim import engine
from qtinfra.venues.simulated import gateway

Plant = Callable[[], AbstractContextManager[None]]


@contextmanager
def swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Another value for an attribute, or for a key of a mapping, while it lasts."""
    keyed = isinstance(owner, dict)
    before = owner[name] if keyed else owner.__dict__[name]
    _set(owner, name, value, keyed)
    try:
        yield
    finally:
        _set(owner, name, before, keyed)


def _set(owner: Any, name: str, value: Any, keyed: bool) -> None:
    if keyed:
        owner[name] = value
    else:
        setattr(owner, name, value)


def swap(owner: Any, name: Any, make: Callable[[Any], Any]) -> Plant:
    """A plant that puts `make(original)` in the place of a function."""

    def plant() -> AbstractContextManager[None]:
        original = owner[name] if isinstance(owner, dict) else owner.__dict__[name]
        return swapped(owner, name, make(original))

    return plant


# --- journal ---------------------------------------------------------------------------------------------


def _no_sync(original: Any) -> Any:
    del original
    return lambda file: None


def _sync_again(original: Any) -> Any:
    def sync(file: Any) -> None:
        try:
            original(file)
        except OSError:
            original(file)

    return sync


def _unfenced(original: Any) -> Any:
    del original

    def write(journal: Any, frame: Any, blob: bytes) -> None:
        journal._file.write(journal_log.wrap(blob))
        journal._file.sync()
        journal._end = journal._disk.size(journal._path)

    return write


def _same_epoch(original: Any) -> Any:
    def take(journal: Any, owner: str) -> None:
        original(journal, owner)
        journal._epoch = max(1, journal._epoch - 1)
        journal._disk.replace(journal._beside(".epoch"), f"{journal._epoch}\n{owner}\n".encode())

    return take


def _nothing(original: Any) -> Any:
    del original
    return lambda *_: None


def _any_snapshot(original: Any) -> Any:
    del original
    return lambda journal: next(journal._intact_snapshots(), None)


@contextmanager
def _newest_snapshot() -> Iterator[None]:
    kind = journal_base.FrameJournal
    with swap(kind, "_refuse_shorter_than", _nothing)(), swap(kind, "latest_snapshot", _any_snapshot)():
        yield


def _torn_tail_kept(original: Any) -> Any:
    def load(journal: Any) -> int:
        original(journal)
        return 0

    return load


def _middle_cut(original: Any) -> Any:
    del original
    return lambda tail: False


def _append_failed_goes_on(original: Any) -> Any:
    def commit(journal: Any, *sealed: Any) -> Any:
        try:
            return original(journal, *sealed)
        except JournalError:
            journal._refusal = ""
            return journal._head

    return commit


# --- loop and shard --------------------------------------------------------------------------------------


def _answers_early(original: Any) -> Any:
    def sync(shard: Any, frame: Any) -> Any:
        for (outcome, _), waiter in zip(frame.results, list(shard._taken), strict=False):
            if waiter is not None and not waiter.done():
                waiter.set_result(outcome)
        return original(shard, frame)

    return sync


def _venue_messages_early(original: Any) -> Any:
    def sync(shard: Any, frame: Any) -> Any:
        for outcome, _ in frame.results:
            for effect in [effect for effect in outcome.effects if isinstance(effect, ToVenue)]:
                outcome.effects.remove(effect)
                shard._send(effect)
        return original(shard, frame)

    return sync


def _client_reports_early(original: Any) -> Any:
    def sync(shard: Any, frame: Any) -> Any:
        for outcome, _ in frame.results:
            for effect in [effect for effect in outcome.effects if not isinstance(effect, ToVenue)]:
                shard._send(effect)
        return original(shard, frame)

    return sync


def _reads_early(original: Any) -> Any:
    def decide(shard: Any, frame: Any) -> None:
        before = len(frame.results)
        original(shard, frame)
        fresh = frame.results[before:]
        waiters = list(shard._taken)[-len(fresh) :] if fresh else []
        for (outcome, _), waiter in zip(fresh, waiters, strict=False):
            if outcome.entry is None and waiter is not None and not waiter.done():
                waiter.set_result(outcome)

    return decide


def _stop_unjournaled(original: Any) -> Any:
    def compute(shard_loop: Any, batch: Any, frame: Any = None) -> Any:
        made = original(shard_loop, batch, frame)
        if made.stopped is not None:
            made.entries.remove(made.stopped.entry)
        return made

    return compute


def _no_quarantine(original: Any) -> Any:
    def quarantine(kernel: Any, command: Any, stage: str, error: Exception) -> Any:
        if stage == "decide":
            raise error
        return original(kernel, command, stage, error)

    return quarantine


def _goes_on_after_a_fault(original: Any) -> Any:
    def compute(shard_loop: Any, batch: Any, frame: Any = None) -> Any:
        made = original(shard_loop, batch, frame)
        if made.stopped is not None:
            made.entries.remove(made.stopped.entry)
            made.stopped = None
        return made

    return compute


def _time_runs_back(original: Any) -> Any:
    def compute(shard_loop: Any, batch: Any, frame: Any = None) -> Any:
        shard_loop._last_ns = 0
        return original(shard_loop, batch, frame)

    return compute


def _reports_shed(original: Any) -> Any:
    def report(shard: Any, what: Any) -> None:
        if shard.waiting < 2:
            original(shard, what)

    return report


def _links_unsaid(original: Any) -> Any:
    def status(shard: Any, venue: str, what: Any, reason: str) -> None:
        if what != "DISCONNECTED":
            original(shard, venue, what, reason)

    return status


def _not_in_doubt_at_restart(original: Any) -> Any:
    def start(shard: Any, owner: str = "", setup: Sequence[Any] = ()) -> Any:
        venues, shard.state.venues = shard.state.venues, {}
        running = original(shard, owner, setup)

        async def begin() -> None:
            task = asyncio.ensure_future(running)
            await asyncio.sleep(0)
            shard.state.venues = venues
            await task

        return begin()

    return start


# --- inbox -----------------------------------------------------------------------------------------------


def _drops_the_oldest(original: Any) -> Any:
    def put(box: Any, inbound: Any, token: Any) -> None:
        try:
            original(box, inbound, token)
        except OverloadedError:
            if not isinstance(inbound.command, SubmitOrder) or not box._orders:
                raise
            item, order = box._orders.popleft()
            box._waiting.remove(getattr(item[0].command, "account", ""), order)
            box._cancels_behind -= isinstance(item[0].command, CancelOrder)
            original(box, inbound, token)

    return put


def _sheds_cancels(original: Any) -> Any:
    def put(box: Any, inbound: Any, token: Any) -> None:
        if isinstance(inbound.command, CancelOrder) and len(box._orders) >= box._capacity:
            raise OverloadedError("too many commands wait")
        original(box, inbound, token)

    return put


def _refused_after_all(original: Any) -> Any:
    def put(box: Any, inbound: Any, token: Any) -> None:
        try:
            original(box, inbound, token)
        except OverloadedError:
            box._reports.append((inbound, None))
            raise

    return put


def _always_ahead(original: Any) -> Any:
    del original
    return lambda box, command: False


# --- recovery, snapshots, timers -------------------------------------------------------------------------


def _ids_forgotten(original: Any) -> Any:
    def recover(journal: Any, shard: int = 0) -> Any:
        found = original(journal, shard)
        found.state.client_ids.clear()
        return found

    return recover


def _snapshot_loses_executions(original: Any) -> Any:
    def snapshot(state: Any, chain_hash: bytes) -> Any:
        kept, state.inbound = state.inbound, {}
        try:
            return original(state, chain_hash)
        finally:
            state.inbound = kept

    return snapshot


# --- gateways --------------------------------------------------------------------------------------------


def _gaps_taken(original: Any) -> Any:
    def take(of: Any, link: Any, report: Any) -> None:
        of._next_seq = max(of._next_seq, report.seq)
        original(of, link, report)

    return take


def _send_kept(original: Any) -> Any:
    def send(of: Any, message: ToVenue) -> None:
        waiting = of.__dict__.setdefault("kept", [])
        if not of.connected:
            waiting.append(message)
            return
        original(of, message)
        for earlier in waiting:
            original(of, earlier)
        waiting.clear()

    return send


def _cached(original: Any) -> Any:
    """Reads answered beside the order path, by what is in memory."""

    def offer(shard: Any, command: Any, actor: str, correlation_id: str = "") -> Any:
        done = original(shard, command, actor, correlation_id)
        if isinstance(command, OrderStatusRequest) and not done.done():
            state = shard.state
            done.set_result(_Read(state.seq))
        return done

    return offer


class _Read:
    """An answer made of the state in memory."""

    def __init__(self, seq: int) -> None:
        self.entry = None
        self.depends_on = seq
        self.effects: list[Any] = []


SHARD, LOOP, LOG = live.LiveShard, loop.ShardLoop, journal_log.LogJournal

#: Name, fault id, what is wrong, how to plant it.
BUGS: tuple[tuple[str, str, str, Plant], ...] = (
    (
        "missing_fsync",
        "FM-02",
        "frames are written and never synced",
        swap(journal_disk.MemoryAppendFile, "sync", _no_sync),
    ),
    (
        "fsync_retried",
        "FM-05",
        "a refused sync is tried again and then believed",
        swap(journal_disk.MemoryAppendFile, "sync", _sync_again),
    ),
    (
        "append_error_ignored",
        "FM-05",
        "an append that failed counts as done",
        swap(journal_base.FrameJournal, "_commit", _append_failed_goes_on),
    ),
    ("no_fencing", "FM-09", "an append does not look who owns the shard", swap(LOG, "_write", _unfenced)),
    (
        "epoch_reused",
        "FM-09",
        "a new owner goes on under the epoch of the last",
        swap(LOG, "_take", _same_epoch),
    ),
    (
        "shorter_than_snapshot",
        "FM-29",
        "a journal shorter than its snapshot is taken",
        swap(journal_base.FrameJournal, "_refuse_shorter_than", _nothing),
    ),
    (
        "snapshot_newer_than_journal",
        "FM-29",
        "the newest snapshot is trusted, wherever the journal ends",
        _newest_snapshot,
    ),
    ("torn_tail_kept", "FM-03", "a torn last frame stays in the file", swap(LOG, "_load", _torn_tail_kept)),
    (
        "middle_cut",
        "FM-04",
        "damage in the middle is cut off like a torn tail",
        swap(vars(journal_log), "_has_frame_after", _middle_cut),
    ),
    (
        "answer_before_sync",
        "FM-01",
        "callers are answered when the sync begins",
        swap(SHARD, "_sync", _answers_early),
    ),
    (
        "venue_before_append",
        "FM-01",
        "orders go to venues before their record is written",
        swap(SHARD, "_sync", _venue_messages_early),
    ),
    (
        "reports_before_append",
        "FM-01",
        "clients are told before the record is written",
        swap(SHARD, "_sync", _client_reports_early),
    ),
    (
        "reads_before_sync",
        "FM-01",
        "a read is answered before what it saw is durable",
        swap(SHARD, "_decide", _reads_early),
    ),
    ("reads_from_memory", "FM-01", "a read is answered beside the order path", swap(SHARD, "offer", _cached)),
    (
        "quarantine_not_journaled",
        "FM-23",
        "the command that stopped the shard leaves no record",
        swap(LOOP, "compute", _stop_unjournaled),
    ),
    (
        "fault_passed_over",
        "FM-23",
        "the shard goes on with a state that a fault left half done",
        swap(LOOP, "compute", _goes_on_after_a_fault),
    ),
    (
        "time_runs_back",
        "FM-19",
        "a decision may be dated before the one before it",
        swap(LOOP, "compute", _time_runs_back),
    ),
    (
        "reports_shed",
        "FM-21",
        "venue reports are dropped when much waits",
        swap(SHARD, "report", _reports_shed),
    ),
    (
        "link_loss_unsaid",
        "FM-13",
        "the engine does not hear that a line broke",
        swap(SHARD, "venue_status", _links_unsaid),
    ),
    (
        "no_doubt_at_restart",
        "FM-13",
        "what was in flight at a crash is not put in doubt",
        swap(SHARD, "start", _not_in_doubt_at_restart),
    ),
    (
        "oldest_dropped",
        "FM-21",
        "a full inbox drops what it had accepted",
        swap(inbox.Inbox, "put", _drops_the_oldest),
    ),
    (
        "cancels_shed",
        "FM-21",
        "cancels are refused with the orders",
        swap(inbox.Inbox, "put", _sheds_cancels),
    ),
    (
        "refused_and_done",
        "FM-21",
        "an order that was refused for overload is carried out",
        swap(inbox.Inbox, "put", _refused_after_all),
    ),
    (
        "cancel_overtakes",
        "FM-21",
        "a cancel passes its own order",
        swap(inbox.Inbox, "_must_queue_behind", _always_ahead),
    ),
    (
        "dedupe_lost_at_restart",
        "FM-25",
        "client ids are forgotten at a restart",
        swap(vars(engine), "recover", _ids_forgotten),
    ),
    (
        "snapshot_without_sequence",
        "FM-15",
        "a snapshot leaves out which reports were taken",
        swap(vars(snapshots), "snapshot_of", _snapshot_loses_executions),
    ),
    (
        "lost_timer",
        "FM-19",
        "a new order's end is not waited for",
        swap(timers.ExpiryTimer, "note", _nothing),
    ),
    (
        "timer_lost_by_bust",
        "FM-17",
        "nobody waits for the end of an order that a bust opened again",
        lambda: swapped(timers, "_REOPENS", ()),
    ),
    (
        "gap_ignored",
        "FM-18",
        "a report behind a gap is taken",
        swap(gateway.TcpVenueGateway, "_take", _gaps_taken),
    ),
    (
        "kept_for_later",
        "FM-13",
        "what could not be sent is sent when the line is back",
        swap(gateway.TcpVenueGateway, "send", _send_kept),
    ),
)
