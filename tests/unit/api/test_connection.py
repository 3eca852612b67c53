"""A connection's two ways, over a transport that only records: same answers, in order, however sent."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from qtinfra.api.connection import KEPT_HEADS, MAX_KEPT_HEAD, Connection, connections
from qtinfra.api.errors import Problem, refusal
from qtinfra.api.gateway import Gateway
from qtinfra.api.main import create_app
from qtinfra.api.middleware import Edge
from qtinfra.api.replies import JSON, Reply
from qtinfra.api.short import Answer, Arrived, Begin, Begun, Waits
from qtinfra.engine.kernel import Outcome

pytestmark = pytest.mark.unit


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.late = 0
        self.closed = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.late += self.closed
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    @property
    def sent(self) -> bytes:
        return b"".join(self.written)


async def _said(text: str) -> Reply:
    await asyncio.sleep(0)
    return reply(text)


async def _refused() -> Reply:
    await asyncio.sleep(0)
    raise refusal(409, "later", "refused later")


def reply(text: str) -> Reply:
    return Reply(200, [JSON], text.encode())


def _none(request: Arrived) -> Begun:
    raise refusal(422, "no", request.body.decode())


def _broken(request: Arrived) -> Begun:
    return [reply("never")][len(request.raw) + 1]


class Operations(Gateway):
    """A gateway with operations that do nothing but answer in their several ways."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []
        self.waiting: list[asyncio.Future[Outcome]] = []
        self.operations: dict[bytes, Begin] = {
            b"/now": lambda request: self.note(reply(f"now {request.body.decode()}")),
            b"/wait": lambda request: self.wait(lambda _: reply(f"waited {request.body.decode()}")),
            b"/task": lambda request: self.note(_said(f"task {request.body.decode()}")),
            b"/wait-task": lambda request: self.wait(lambda _: _said(f"both {request.body.decode()}")),
            b"/refused": _none,
            b"/refused-later": lambda _: _refused(),
            b"/broken": _broken,
        }

    def note(self, answer: Answer) -> Answer:
        self.begun.append("short")
        return answer

    def wait(self, answer: Callable[[Outcome], Answer]) -> Waits:
        self.begun.append("short")
        decided: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.waiting.append(decided)
        return Waits(decided, answer)

    def release(self) -> None:
        for decided in self.waiting:
            if not decided.done():
                decided.set_result(Outcome(None, [], (), 0))

    def short(self, method: bytes, target: bytes) -> tuple[str, Begin] | None:
        known = self.operations.get(target)
        return None if known is None or method != b"POST" else (target.decode(), known)

    def find(self, method: str, path: str) -> Any:
        """The same for the ordinary way."""
        known = self.operations.get(path.encode())

        async def serve(call: Any) -> Reply:
            self.begun.append("ordinary")
            if known is None:
                return reply("unread")
            body, more = b"", True
            while more:
                message = await call.receive()
                body, more = body + message.get("body", b""), message.get("more_body", False)
            raw = list(call.headers.items())
            begun = known(Arrived(raw, call.headers, body, call.correlation_id))
            self.begun.pop(-1) if self.begun[-1:] == ["short"] else None
            if isinstance(begun, Waits):
                begun = begun.answer(await begun.decided)
            return begun if isinstance(begun, Reply) else await begun

        return path, serve


class Place:
    """One connection to a gateway of operations, and what a client would see of it."""

    def __init__(self, **options: Any) -> None:
        self.gateway = Operations()
        app = Edge(_unknown, self.gateway)

        class Bound(Connection):
            gateway: ClassVar[Gateway] = self.gateway

        given: dict[str, Any] = {"access_log": False, "server_header": False, "log_level": "critical"}
        config = uvicorn.Config(app, http=Bound, lifespan="off", **{**given, **options})
        config.load()
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"Mon, 23 Nov 2026 00:00:00 GMT")]
        self.connection = Bound(config, self.state, {}, asyncio.get_running_loop())
        self.wire = Wire()
        self.connection.connection_made(self.wire)

    async def turn(self, turns: int = 12) -> None:
        """Let everything happen that can."""
        for _ in range(turns):
            self.gateway.release()
            await asyncio.sleep(0)

    async def end(self) -> None:
        self.connection.connection_lost(None)
        await self.turn()


async def _unknown(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError(scope["path"])


def request(target: str, body: str = "", *more: str) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "host: x", f"content-length: {len(body)}", *more, "", body]
    return "\r\n".join(lines).encode()


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


def answers(sent: bytes) -> list[tuple[bytes, list[bytes], bytes]]:
    """Status line, headers without the correlation id, body of each answer, its own number taken out."""
    found = []
    while sent:
        head, _, rest = sent.partition(b"\r\n\r\n")
        status, *headers = head.split(b"\r\n")
        size = next(int(line[16:]) for line in headers if line.startswith(b"content-length"))
        mine = next(line[18:] for line in headers if line.startswith(b"x-correlation-id"))
        kept = [line for line in headers if not line.startswith(b"x-correlation-id")]
        found.append((status, kept, rest[:size].replace(mine, b"ID")))
        sent = rest[size:]
    return found


KINDS = ("/now", "/wait", "/task", "/wait-task", "/refused", "/refused-later", "/broken")


@pytest.mark.parametrize("target", ["/now", "/wait"])
def test_a_whole_request_is_answered_in_one_write(target: str) -> None:
    async def work() -> None:
        place = Place()
        place.connection.data_received(request(target, "a"))
        await place.turn()
        assert place.gateway.begun == ["short"]
        assert len(place.wire.written) == 1
        assert place.state.total_requests == 1
        await place.end()

    run(work)


@pytest.mark.parametrize(
    "more", [(), ("x-correlation-id: a b",), ("x-correlation-id: a",) * 2, ("accept: a",) * 2]
)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "/broken"])
def test_both_ways_give_the_same_answer_byte_for_byte(kind: str, more: tuple[str, ...]) -> None:
    async def work() -> None:
        whole, parts = Place(), Place()
        sent = request(kind, "body", *more)
        whole.connection.data_received(sent)
        parts.connection.data_received(sent[:-2])
        await parts.turn(2)
        parts.connection.data_received(sent[-2:])
        await whole.turn()
        await parts.turn()
        assert "short" not in parts.gateway.begun
        assert "ordinary" not in whole.gateway.begun
        assert answers(whole.wire.sent) == answers(parts.wire.sent) != []
        await whole.end()
        await parts.end()

    run(work)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([kind for kind in KINDS if kind != "/broken"]), min_size=1, max_size=5),
    st.lists(st.integers(0, 400), max_size=5),
    st.booleans(),
)
def test_requests_are_answered_in_their_order_however_they_arrive(
    kinds: list[str], cuts: list[int], patient: bool
) -> None:
    async def work() -> None:
        alone = []
        for n, kind in enumerate(kinds):
            place = Place()
            place.connection.data_received(request(kind, f"n{n}"))
            await place.turn()
            alone += answers(place.wire.sent)
            await place.end()
        place, stream = Place(), b"".join(request(kind, f"n{n}") for n, kind in enumerate(kinds))
        edges = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
        for start, stop in pairwise(edges):
            place.connection.data_received(stream[start:stop])
            if patient:
                await place.turn(2)
        for _ in kinds:
            await place.turn()
        assert answers(place.wire.sent) == alone
        assert len(alone) == len(kinds) == place.state.total_requests
        assert place.wire.reading
        assert not place.wire.closed
        await place.end()

    run(work)


class Counted:
    """A parser that counts how often it is given something."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        self.fed = 0

    def feed_data(self, data: bytes) -> None:
        self.fed += 1
        self._parser.feed_data(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


def count(place: Place) -> Counted:
    counted = Counted(place.connection.parser)
    place.connection.parser = counted  # type: ignore[assignment]
    return counted


@pytest.mark.parametrize(
    ("more", "fed"),
    [((), 1), (("x-correlation-id: own-7",), 3), (("idempotency-key: a",), 3), (("a: b",) * 2, 3)],
)
def test_a_head_that_comes_again_is_parsed_once(more: tuple[str, ...], fed: int) -> None:
    async def work() -> None:
        place = Place()
        parser = count(place)
        for body in ("ab", "cd", "ef"):
            place.connection.data_received(request("/wait", body, *more))
            await place.turn()
        assert [body for *_, body in answers(place.wire.sent)] == [b"waited ab", b"waited cd", b"waited ef"]
        assert parser.fed == fed
        assert place.state.total_requests == 3
        await place.end()

    run(work)


def test_a_known_head_with_a_body_of_another_length_is_parsed() -> None:
    async def work() -> None:
        place = Place()
        sent = request("/now", "ab")
        parser = count(place)
        for part in (sent, sent[:-1], sent[-1:], sent + sent, sent):
            place.connection.data_received(part)
            await place.turn()
        assert [body for *_, body in answers(place.wire.sent)] == [b"now ab"] * 5
        assert parser.fed == 4
        await place.end()

    run(work)


def test_a_known_head_inside_a_body_is_no_request() -> None:
    async def work() -> None:
        place = Place()
        inner = request("/now", "ab")
        outer = request("/now", "-" * 9 + inner.decode())
        place.connection.data_received(inner)
        place.connection.data_received(outer[: -len(inner)])
        place.connection.data_received(inner)
        place.connection.data_received(inner)
        await place.turn()
        found = [body for *_, body in answers(place.wire.sent)]
        assert found == [b"now ab", b"now " + b"-" * 9 + inner, b"now ab"]
        await place.end()

    run(work)


def test_few_heads_are_remembered_and_no_long_ones() -> None:
    async def work() -> None:
        place = Place()
        for size in range(3 * KEPT_HEADS):
            place.connection.data_received(request("/now", "x" * size))
        assert 1 <= len(place.connection._heads) <= KEPT_HEADS
        before = dict(place.connection._heads)
        place.connection.data_received(request("/now", "y" * 7, f"long: {'z' * MAX_KEPT_HEAD}"))
        assert place.connection._heads == before
        assert len(answers(place.wire.sent)) == 3 * KEPT_HEADS + 1
        await place.end()

    run(work)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_requests_with_bodies_like_requests_are_told_apart(data: st.DataObject) -> None:
    inner = request("/now", "ab").decode()
    bodies = data.draw(st.lists(st.sampled_from(["ab", "cd", "", "\r\n\r\n", inner, inner[9:]]), max_size=7))
    stream = b"".join(request("/now", body) for body in bodies)
    ends = [len(b"".join(request("/now", body) for body in bodies[:n])) for n in range(len(bodies) + 1)]
    near = st.builds(lambda end, off: end + off, st.sampled_from(ends), st.integers(-6, 6))
    cuts = data.draw(st.lists(near, max_size=8))

    async def work() -> None:
        place = Place()
        edges = sorted({0, len(stream), *ends, *(min(max(cut, 0), len(stream)) for cut in cuts)})
        for end in data.draw(st.lists(st.sampled_from(ends), max_size=4)):
            edges = [edge for edge in edges if edge != end or edge in (0, len(stream))]
        for start, stop in pairwise(edges):
            place.connection.data_received(stream[start:stop])
            await place.turn(2)
        await place.turn()
        assert [body for *_, body in answers(place.wire.sent)] == [b"now " + b.encode() for b in bodies]
        await place.end()

    run(work)


def test_a_body_in_chunks_that_has_arrived_whole_is_one_body() -> None:
    async def work() -> None:
        place = Place()
        head = b"POST /now HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        place.connection.data_received(head + b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
        assert place.gateway.begun == ["short"]
        assert [body for *_, body in answers(place.wire.sent)] == [b"now abcde"]
        await place.end()

    run(work)


def test_an_answer_before_the_end_of_a_long_body_lets_the_rest_come() -> None:
    async def work() -> None:
        place = Place()
        sent = request("/unread", "x" * 200_000)
        place.connection.data_received(sent[:100_000])
        assert not place.wire.reading
        await place.turn()
        assert place.wire.reading
        place.connection.data_received(sent[100_000:] + request("/now", "next"))
        await place.turn()
        assert [body for *_, body in answers(place.wire.sent)] == [b"unread", b"now next"]
        await place.end()

    run(work)


def test_while_one_request_waits_the_next_one_does_not_overtake_it() -> None:
    async def work() -> None:
        place = Place()
        place.connection.data_received(request("/wait", "first"))
        place.connection.data_received(request("/now", "second"))
        await asyncio.sleep(0)
        assert place.wire.written == []
        assert not place.wire.reading
        await place.turn()
        assert [body for *_, body in answers(place.wire.sent)] == [b"waited first", b"now second"]
        await place.end()

    run(work)


def test_a_client_that_has_gone_is_not_answered() -> None:
    async def work() -> None:
        place = Place()
        place.connection.data_received(request("/wait", "first"))
        place.wire.closed = True
        place.connection.connection_lost(None)
        await place.turn()
        assert place.wire.written == []
        assert place.wire.late == 0

    run(work)


def test_a_server_that_stops_answers_what_is_under_way_and_closes() -> None:
    async def work() -> None:
        place = Place()
        place.connection.data_received(request("/wait", "last"))
        place.connection.shutdown()
        assert not place.wire.closed
        await place.turn()
        ((_, headers, body),) = answers(place.wire.sent)
        assert body == b"waited last"
        assert headers.count(b"connection: close") == 1
        assert place.wire.closed
        await place.end()

    run(work)


def test_a_request_that_asks_to_close_is_the_last_one() -> None:
    async def work() -> None:
        place = Place()
        place.connection.data_received(request("/now", "", "connection: close"))
        ((_, headers, _),) = answers(place.wire.sent)
        assert headers.count(b"connection: close") == 1
        assert place.wire.closed
        await place.end()

    run(work)


@pytest.mark.parametrize("last", ["/now", "/wait", "/unread"])
@pytest.mark.parametrize("after", ["/now", "/unread"])
def test_nothing_is_served_after_the_last_request(last: str, after: str) -> None:
    async def work() -> None:
        place = Place()
        place.connection.data_received(request(last, "", "connection: close") + request(after, "late"))
        await place.turn()
        assert len(answers(place.wire.sent)) == 1
        assert len(place.gateway.begun) == 1
        assert place.wire.closed
        await place.end()

    run(work)


def test_a_stopped_shard_is_an_answer() -> None:
    async def work() -> None:
        place = Place()
        place.connection.data_received(request("/wait"))
        place.gateway.waiting[0].set_exception(Problem(503, "outcome_unknown", "stopped"))
        await place.turn()
        ((status, _, body),) = answers(place.wire.sent)
        assert status == b"HTTP/1.1 503 Service Unavailable"
        assert b"outcome_unknown" in body
        await place.end()

    run(work)


def test_a_fault_of_ours_is_answered_without_our_inside_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        place = Place()
        with caplog.at_level(logging.ERROR, "qtinfra.api"):
            place.connection.data_received(request("/broken"))
        ((status, _, body),) = answers(place.wire.sent)
        assert status == b"HTTP/1.1 500 Internal Server Error"
        assert b"internal_error" in body
        assert b"IndexError" not in body
        assert "fault in request" in caplog.text
        assert "IndexError" in caplog.text
        place.connection.data_received(request("/now", "goes on"))
        assert b"goes on" in place.wire.sent
        await place.end()

    run(work)


def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    async def work() -> None:
        place = Place(timeout_keep_alive=0)
        place.connection.data_received(request("/wait"))
        place.connection.timeout_keep_alive_handler()
        assert not place.wire.closed
        await place.turn()
        place.connection.timeout_keep_alive_handler()
        assert place.wire.closed
        await place.end()
        assert place.connection.timeout_keep_alive_task is None

        fresh = Place(timeout_keep_alive=60)
        fresh.connection.data_received(request("/now"))
        fresh.connection.timeout_keep_alive_handler()
        assert not fresh.wire.closed
        await fresh.end()

    run(work)


@pytest.mark.parametrize(
    "sent",
    [
        request("/now", "x", "expect: 100-continue"),
        request("/now", "x").replace(b"HTTP/1.1", b"HTTP/1.0"),
        request("/now", "x", "connection: upgrade", "upgrade: h2c"),
    ],
)
def test_what_needs_more_than_an_answer_takes_the_ordinary_way(sent: bytes) -> None:
    async def work() -> None:
        place = Place(ws="none")
        place.connection.data_received(sent)
        await place.turn()
        assert place.gateway.begun == ["ordinary"]
        assert b"\r\n\r\nnow " in place.wire.sent
        await place.end()

    run(work)


def test_a_client_that_does_not_read_takes_the_ordinary_way_and_is_waited_for() -> None:
    async def work() -> None:
        place = Place()
        place.connection.pause_writing()
        place.connection.data_received(request("/now", "x"))
        await place.turn()
        assert place.wire.written == []
        place.connection.resume_writing()
        await place.turn()
        assert b"now x" in place.wire.sent
        await place.end()

    run(work)


def test_a_server_with_an_access_log_or_a_limit_takes_the_ordinary_way_always() -> None:
    async def work() -> None:
        for option in ({"limit_concurrency": 100}, {"root_path": "/x"}):
            place = Place(**option)
            place.connection.data_received(request("/now", "x"))
            await asyncio.sleep(0)
            assert "short" not in place.gateway.begun
            await place.end()

    run(work)


def test_no_request_is_malformed_for_one_way_only() -> None:
    async def work() -> None:
        place = Place()
        place.connection.data_received(
            b"POST /now HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"
        )
        assert place.wire.sent.startswith(b"HTTP/1.1 400")
        assert place.wire.closed
        assert place.gateway.begun == []
        await place.end()

    run(work)


def test_the_app_gives_its_own_gateway_to_its_connections() -> None:
    app = create_app()
    bound = connections(app)
    assert issubclass(bound, Connection)
    assert bound.gateway is app.state.gateway
