"""The paced benchmark: nothing is sent early, nothing is lost, latency counts from the due moment."""

import asyncio
import socket
import time
from decimal import Decimal
from pathlib import Path
from typing import cast

import pytest

from qtinfra.bench.mix import make_mix, taking_orders, wire_bytes
from qtinfra.bench.pace import send_at_pace
from qtinfra.bench.paced import OrderEntry, sender_of
from qtinfra.core.commands import AnyCommand, SubmitOrder
from qtinfra.core.exceptions import OverloadedError
from qtinfra.core.models import OrderStatus
from qtinfra.core.reports import ExecType, ExecutionReport
from qtinfra.runtime.live import LiveShard

GAP_NS = 2e6


def received(from_: socket.socket) -> list[tuple[int, bytes]]:
    """What comes until the other side closes, with the moment of each piece."""
    pieces = []
    while data := from_.recv(1 << 16):
        pieces.append((time.monotonic_ns(), data))
    return pieces


def test_lines_are_sent_in_order_none_before_its_time() -> None:
    lines = [b"%d\n" % n for n in range(20)]
    ours, theirs = socket.socketpair()
    start_ns = time.monotonic_ns() + 5_000_000
    with ours:
        with theirs:
            late_us = send_at_pace(lines, theirs, start_ns, GAP_NS)
        pieces = received(ours)
    assert b"".join(data for _, data in pieces) == b"".join(lines)
    assert len(late_us) == len(lines) and min(late_us) >= 0
    assert time.monotonic_ns() >= start_ns + 19 * GAP_NS


def test_what_is_overdue_is_sent_in_one_piece_and_counted_from_its_due_moment() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        late_us = send_at_pace([b"a\n", b"b\n"], theirs, time.monotonic_ns() - 1_000_000_000, GAP_NS)
        assert ours.recv(100) == b"a\nb\n"
    assert late_us[0] >= 1_000_000 and late_us[0] - late_us[1] == pytest.approx(GAP_NS / 1_000)


def test_the_sender_is_a_process_that_says_how_late_it_was(tmp_path: Path) -> None:
    with sender_of([b"one", b"two"], 1_000.0, tmp_path) as (sender, client):
        begun = time.monotonic_ns()
        assert sender.run() > begun
        data = b""
        while len(data) < 8:
            data += client.recv(100)
        assert data == b"one\ntwo\n"
        late = sender.lateness()
    assert 0 <= late.p50_us <= late.p99_us


class FullAfter:
    """A shard's inbox with room for so many orders."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken: list[SubmitOrder] = []

    def offer(self, command: AnyCommand, actor: str) -> None:
        del actor
        if len(self.taken) == self.room:
            raise OverloadedError("full")
        self.taken.append(cast(SubmitOrder, command))


def reply(order: SubmitOrder, cum: Decimal, leaves: Decimal) -> ExecutionReport:
    return ExecutionReport(
        account=order.account,
        order_id="O1",
        cl_ord_id=order.cl_ord_id,
        orig_cl_ord_id="",
        exec_type=ExecType.TRADE,
        ord_status="2",
        status=OrderStatus.FILLED,
        order_qty=order.qty,
        cum_qty=cum,
        leaves_qty=leaves,
    )


def test_each_order_is_through_once_with_its_last_reply_or_when_it_is_turned_away() -> None:
    asyncio.run(_orders_through())


async def _orders_through() -> None:
    orders = [order for _, order in zip(range(3), taking_orders(make_mix(10), 3), strict=False)]
    data = b"".join(wire_bytes(order) + b"\n" for order in orders)
    entry, shard = OrderEntry(3, GAP_NS), FullAfter(2)
    with pytest.raises(RuntimeError, match="before there was a shard"):
        entry.data_received(data[:-1] + b"\n")
    entry = OrderEntry(3, GAP_NS)
    entry.serve(cast(LiveShard, shard))
    entry.start_ns = time.monotonic_ns() - 1_000_000_000
    for at in range(0, len(data), 7):  # a line comes in pieces
        entry.data_received(data[at : at + 7])
    assert [order.cl_ord_id for order in shard.taken] == [order.cl_ord_id for order in orders[:2]]
    assert entry.overloaded == 1
    with pytest.raises(TimeoutError):
        await entry.all_through(0.01)
    first, second = shard.taken
    entry.hear(reply(first, Decimal(1), first.qty - 1))  # a part of it: more is to come
    assert entry.through_us == []
    entry.hear(reply(first, first.qty, Decimal(0)))
    entry.hear(reply(second, Decimal(0), Decimal(0)))  # refused
    entry.hear(reply(second, Decimal(0), Decimal(0)))  # said twice, counted once
    await entry.all_through(0.01)
    assert (len(entry.through_us), entry.filled) == (2, 1)
    assert entry.through_us[0] >= 1_000_000 and entry.through_us[1] >= 1_000_000 - GAP_NS / 1_000
