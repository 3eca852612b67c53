"""The stream's queues by themselves, and its reference page."""

import asyncio
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qtinfra.api.errors import Problem
from qtinfra.api.stream import protocol
from qtinfra.api.stream.items import Item
from qtinfra.api.stream.outbox import MAX_DELTA_ITEMS, Outbox, Subscription
from qtinfra.api.stream.protocol import NEEDS, Op, Topic, read_frame
from qtinfra.api.stream.ring import Ring
from qtinfra.core.validation.errors import MessageRefused
from qtinfra.core.validation.wire import MAX_BODY_BYTES
from tests.support.requirements import REPO_ROOT

pytestmark = pytest.mark.unit

PAGE = (REPO_ROOT / "docs" / "reference" / "stream.md").read_text("utf-8")


def item(
    seq: int, key: str = "k", topic: Topic = Topic.ORDERS, account: str = "A", symbol: str = "S"
) -> Item:
    return Item(topic, key, account, symbol, seq, b'{"seq":%d}' % seq)


def drained(outbox: Outbox) -> list[dict[str, object]]:
    return [json.loads(body) for body in outbox.take()]


def seqs(message: dict[str, object]) -> list[int]:
    items = message["items"]
    assert isinstance(items, list)
    return [one["seq"] for one in items]


@given(st.lists(st.integers(1, 5), max_size=30), st.integers(1, 12), st.integers(0, 160))
def test_a_ring_is_complete_after_its_beginning(steps: list[int], room: int, wanted: int) -> None:
    ring, seq, kept = Ring(0, max_items=room), 0, []
    for step in steps:
        found = [item(seq + number + 1) for number in range(step)]
        seq += step
        kept += found
        ring.add(seq, found)
    after = max(wanted, ring.since)
    assert list(ring.after(after)) == [one for one in kept if one.seq > after]
    assert len(list(ring.after(ring.since))) <= room


def test_a_ring_is_bounded_in_bytes() -> None:
    ring = Ring(0, max_bytes=50)
    for seq in range(1, 20):
        ring.add(seq, [item(seq)])
    assert ring.since > 10


@example([1] + [0] * 300)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=600))
def test_every_item_goes_out_once_in_order_and_a_message_may_be_resumed_from(steps: list[int]) -> None:
    """Items may share a sequence; what a message says can be resumed from leaves none of them out."""
    outbox, subscription = Outbox(10_000), Subscription("s", Topic.ORDERS, None, None)
    outbox.start(subscription)
    seq, sent = 1, []
    for step in steps:
        seq += step
        sent.append(seq)
        outbox.item(subscription, item(seq))
    messages = drained(outbox)
    assert [one for message in messages for one in seqs(message)] == sent
    assert [message["n"] for message in messages] == list(range(1, len(messages) + 1))
    for place, message in enumerate(messages):
        later = [one for rest in messages[place + 1 :] for one in seqs(rest)]
        assert all(one > int(str(message["seq"])) for one in later)
        assert len(seqs(message)) <= MAX_DELTA_ITEMS
    assert outbox.waiting == 0


def test_what_comes_before_the_snapshot_follows_it() -> None:
    outbox, subscription = Outbox(100), Subscription("s", Topic.ORDERS, None, None)
    outbox.item(subscription, item(7))
    outbox.message(b'{"op":"snapshot"}')
    outbox.start(subscription)
    assert [message["op"] for message in drained(outbox)] == ["snapshot", "delta"]


def test_of_a_conflated_topic_only_the_latest_of_a_key_waits() -> None:
    outbox, subscription = Outbox(16), Subscription("s", Topic.BOOK, None, ("S",))
    outbox.start(subscription)
    for seq in range(1, 1000):
        outbox.item(subscription, item(seq, f"k{seq % 3}", Topic.BOOK))
    assert not outbox.overflowed.is_set()
    assert [seqs(message) for message in drained(outbox)] == [[997, 998, 999]]


@pytest.mark.parametrize("started", [True, False])
def test_more_than_the_bound_overflows_and_frees_what_waits(started: bool) -> None:
    outbox, subscription = Outbox(16), Subscription("s", Topic.ORDERS, None, None)
    if started:
        outbox.start(subscription)
    for seq in range(1, 18):
        assert not outbox.overflowed.is_set()
        outbox.item(subscription, item(seq))
    assert outbox.overflowed.is_set() and outbox.waiting == 0
    outbox.message(b"{}")
    assert drained(outbox) == []


def test_bytes_are_bounded_as_well() -> None:
    outbox = Outbox(1_000_000)
    for _ in range(5):
        outbox.message(b"x" * (1 << 20))
    assert outbox.overflowed.is_set()


def test_pages_wait_for_room() -> None:
    async def fill() -> int:
        outbox = Outbox(1_000)
        pages = 0

        async def produce() -> None:
            nonlocal pages
            for _ in range(40):
                await outbox.room()
                outbox.message(b"x" * (1 << 18))
                pages += 1

        task = asyncio.create_task(produce())
        await asyncio.sleep(0)
        before = pages
        while not task.done():
            for _ in outbox.take():
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert pages == 40 and not outbox.overflowed.is_set()
        return before

    assert asyncio.run(fill()) < 10


@pytest.mark.parametrize("account", ["A", "B", ""])
@pytest.mark.parametrize("symbol", ["S", "T"])
@pytest.mark.parametrize("seq", [5, 6])
def test_a_subscription_wants_its_scope_its_filter_and_what_is_new(
    account: str, symbol: str, seq: int
) -> None:
    subscription = Subscription("s", Topic.ORDERS, ("A",), ("S",))
    subscription.after = 5
    assert subscription.wants(item(seq, account=account, symbol=symbol)) is (
        account != "B" and symbol == "S" and seq == 6
    )


def test_the_id_of_a_frame_may_look_like_its_items() -> None:
    frame = read_frame(b'{"op":"orders","id":"[1]","items":[1]}')
    assert (frame.id, frame.items) == ("[1]", (b"1",))


def test_the_reference_names_every_operation_topic_permission_and_close_code() -> None:
    assert [op for op in Op if f"| `{op}` |" not in PAGE] == []
    assert [topic for topic in Topic if f"| `{topic}` |" not in PAGE] == []
    for topic, permission in NEEDS.items():
        rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{topic}` |")]
        assert any(f"| {permission} |" in row for row in rows)
    codes = ("POLICY", "TOO_BIG", "FAULT", "TRY_LATER", "NOT_AUTHENTICATED")
    assert [name for name in codes if f"| {getattr(protocol, name)} |" not in PAGE] == []


_ITEMS = b'[{"client_order_id":"a"}]'
_ENTRY_FRAMES = (
    b'{"op":"orders","id":"f-1","items":%b}',
    b' { "items" : %b , "id":"a:b:c" , "op":"cancel"} ',
    b'{"op":"orders","id":"f","items":%b,"id":"g"}',
    b'{"op":"orders","id":"f:","items":%b,"op":"orders"}',
    b'{"op":"orders","id":"f","items":%b,"more":1}',
    b'{"op":"orders","items":%b}',
    b'{"op":"orders","id":7,"items":%b}',
    b'{"op":"orders","id":"","items":%b}',
    b'{"op":"orders","id":"' + b"x" * 65 + b'","items":%b}',
    b'{"op":"orders","id":"a b","items":%b}',
    b'{"op":"orders","id":"a\\u0062","items":%b}',
    b'{"op":"orders","id":"a\x7f","items":%b}',
    b'{"op":"orders","id":"\xc3\xa9","items":%b}',
    b'{"op":"orders","id":"f","items":%b}' + b" " * MAX_BODY_BYTES,
    b'{"op":"orders","id":"f","items":null}',
    b'{"op":"orders","id":"f","items":5}',
    b'{"op":"orders","id":"f"}',
)


@pytest.mark.parametrize("form", _ENTRY_FRAMES)
def test_a_frame_with_items_is_read_the_same_by_the_quick_look_and_field_by_field(
    form: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = form.replace(b"%b", _ITEMS)

    def read() -> object:
        try:
            return read_frame(data)
        except MessageRefused as refused:
            return refused.errors
        except Problem as problem:
            return problem.status, problem.code

    quick = read()
    monkeypatch.setattr(protocol, "_plainly_right", lambda around: False)
    assert quick == read()


def test_the_usual_frame_with_items_takes_the_quick_look() -> None:
    assert protocol._plainly_right(b'{"op":"orders","id":"a:b","items":0}')
    assert not protocol._plainly_right(b'{"op":"orders","id":"a:b","items":0,"items":0}')
