"""Benchmarks over HTTP: the gateway as `qtinfra serve` runs it, loaded by a process of its own.

In the same run and in turns with it: a raw ASGI echo, which is what the server costs anyway, and a service
that commits every order by itself. Rounds are medians. CPU time is that of the server's process.

Each server has the first processor to itself while it is its turn; the load generator, the projector's
process and the benchmark are on the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from qtinfra.bench.harness import BenchResult, Progress, percentile, sized
from qtinfra.bench.http_load import Found, Load
from qtinfra.bench.http_servers import Generator, Server, apart, run_load, serve

CONNECTIONS = 32
BATCH = 500
FRAME = 16
_ROUNDS = 3
_ACCOUNT = "ACC-1"
_JSON = "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
_GET = "GET {path} HTTP/1.1\r\nhost: bench\r\n"
_ECHO = "raw ASGI + msgspec echo of the same body on the same server"


class Side(msgspec.Struct):
    """What the rounds of one server gave."""

    per_s: list[float] = []
    cpu_us: list[float] = []
    child_us: list[float] = []
    p50_us: list[float] = []
    p99_us: list[float] = []

    def add(self, found: Found, each: int, cpu_s: float, child_s: float) -> None:
        """Note a round in which every request stood for `each` operations."""
        done = found.requests * each
        self.per_s.append(done / found.wall_s)
        self.cpu_us.append(cpu_s / done * 1e6)
        self.child_us.append(child_s / done * 1e6)
        self.p50_us.append(found.p50_us)
        self.p99_us.append(found.p99_us)


class Bodies:
    """Bodies of orders through all symbols and both sides, 5% off the reference price so that they rest."""

    def __init__(self, server: Server, token: str) -> None:
        answer = server.http.get("/instruments?limit=100", headers={"authorization": f"Bearer {token}"})
        self._stamp = f"{os.getpid()}-{time.monotonic_ns()}"
        self.orders = tuple(
            self._order(row, side, factor)
            for row in answer.json()["items"]
            for side, factor in (("BUY", Decimal("0.95")), ("SELL", Decimal("1.05")))
        )

    def _order(self, row: dict[str, Any], side: str, factor: Decimal) -> str:
        tick = min(Decimal(band["tick"]) for band in row["ticks"] if Decimal(band["floor"]) < 1)
        tick = tick if Decimal(row["reference_price"]) < 1 else Decimal("0.01")
        price = (Decimal(row["reference_price"]) * factor).quantize(tick)
        order = {"symbol": row["symbol"], "side": side, "quantity": "100", "price": str(price)}
        order |= {"order_type": "LIMIT", "account_id": _ACCOUNT, "client_order_id": f"{self._stamp}-@"}
        return msgspec.json.encode(order).decode()

    def many(self, count: int) -> str:
        """`count` orders, separated by commas."""
        return ",".join(self.orders[n % len(self.orders)] for n in range(count))


class Gateway:
    """The gateway's server with a token and bodies for it, and numbers that are used once."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.token = server.http.post("/auth/token", json={"user": "trader"}).json()["access_token"]
        self._watcher = server.http.post("/auth/token", json={"user": "risk"}).json()["access_token"]
        self.bodies = Bodies(server, self.token)
        self._next = 0

    @property
    def auth(self) -> str:
        return f"authorization: Bearer {self.token}\r\n"

    def numbers(self, count: int) -> int:
        """The first of `count` numbers that no other request gets."""
        first, self._next = self._next, self._next + count
        return first

    def orders(self, requests: int, connections: int = CONNECTIONS, **more: Any) -> Load:
        """A load of single orders."""
        return Load(
            port=self.server.port,
            head=_JSON + self.auth,
            bodies=self.bodies.orders,
            paths=("/orders",),
            requests=requests,
            connections=connections,
            first_number=self.numbers(requests),
            **more,
        )

    def settle(self) -> None:
        """Wait until the read tables have caught up, so that they cost the next round nothing."""
        headers = {"authorization": f"Bearer {self._watcher}"}
        while True:
            health = self.server.http.get("/health/detailed", headers=headers).json()
            if health["projected_seq"] >= health["durable_seq"] and health["waiting"] == 0:
                return
            time.sleep(0.05)


def _round(side: Side, server: Server, load: Load, each: int = 1) -> Found:
    cpu_s, child_s = server.cpu_s(), server.children_cpu_s()
    found = run_load(load)
    side.add(found, each, server.cpu_s() - cpu_s, server.children_cpu_s() - child_s)
    return found


def _rounds(scale: float) -> int:
    return _ROUNDS if scale >= 0.05 else 1


@contextmanager
def _servers(*kinds: str) -> Iterator[tuple[Path, list[Server]]]:
    with TemporaryDirectory(prefix="qtinfra-http-") as name, ExitStack() as stack:
        folder, cores = Path(name), stack.enter_context(apart())
        yield folder, [stack.enter_context(serve(kind, folder, cores)) for kind in kinds]


def _result(
    name: str, unit: str, ours: Side, echo: Side, target: str, met: bool | None, note: str, **figures: float
) -> BenchResult:
    per_s, control = median(ours.per_s), median(echo.per_s)
    return BenchResult(
        name=name,
        unit=unit,
        ops_per_s=per_s,
        cpu_us_per_op=median(ours.cpu_us),
        p50_us=median(ours.p50_us),
        p99_us=median(ours.p99_us),
        control=control,
        ratio=per_s / control,
        note=f"{note}; servers on a processor of their own",
        control_name=_ECHO,
        target=target,
        met=met,
        figures={
            "per_core_s": 1e6 / median(ours.cpu_us) if median(ours.cpu_us) else 0.0,
            "projector_cpu_us": median(ours.child_us),
            "echo_cpu_us": median(echo.cpu_us),
            "echo_p50_us": median(echo.p50_us),
            **figures,
        },
    )


def fdatasync_us(folder: Path, count: int) -> float:
    """Median time of appending 4 kB and fdatasync, microseconds."""
    found = []
    file = os.open(folder / "sync", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(count):
        started = time.perf_counter()
        os.write(file, bytes(4096))
        os.fdatasync(file)
        found.append((time.perf_counter() - started) * 1e6)
    os.close(file)
    return percentile(sorted(found), 0.5)


def bench_http_orders(scale: float, progress: Progress) -> BenchResult:
    """POST /orders, durable, checked and routed, at 32 connections; and one client alone."""
    count, alone = sized(12_000, scale, 64), sized(1_500, scale, 20)
    ours, echo, usual, single = Side(), Side(), Side(), Side()
    with _servers("qtinfra", "echo", "commit") as (folder, (server, echoing, committing)):
        gateway = Gateway(server)
        others = gateway.bodies.orders
        for n in range(_rounds(scale)):
            progress(f"http_orders: round {n + 1}")
            _round(ours, server, gateway.orders(count))
            gateway.settle()
            _round(echo, echoing, _posts(echoing, others, count * 2, gateway))
            _round(usual, committing, _posts(committing, others, max(64, count // 10), gateway))
            _round(single, server, gateway.orders(alone, 1))
            gateway.settle()
        sync_us = fdatasync_us(folder, 200)
        memory = server.memory_mb()
    per_s, times = median(ours.per_s), median(ours.per_s) / median(usual.per_s)
    bound_us = 2 * sync_us + 300
    good = (
        per_s >= 8_000 and times >= 10 and median(ours.p50_us) <= 5_000 and median(single.p50_us) <= bound_us
    )
    target = ">= 8,000/s, >= 10x commit per order, p50 <= 5 ms, one client p50 <= 2 fdatasync + 0.3 ms"
    return _result(
        "http_orders",
        "order",
        ours,
        echo,
        target,
        good if scale >= 1 else None,
        "durable, risk-checked and routed; p50 and p99 at 32 connections, CPU of the server's process",
        commit_app_per_s=median(usual.per_s),
        commit_app_cpu_us=median(usual.cpu_us),
        commit_app_p50_us=median(usual.p50_us),
        times_commit_app=times,
        one_client_p50_us=median(single.p50_us),
        one_client_bound_us=bound_us,
        fdatasync_us=sync_us,
        memory_after_mb=memory,
    )


def _posts(server: Server, bodies: Sequence[str], count: int, gateway: Gateway) -> Load:
    return Load(
        port=server.port,
        head=_JSON + gateway.auth,
        bodies=tuple(bodies),
        paths=("/orders",),
        requests=count,
        connections=CONNECTIONS,
        first_number=gateway.numbers(count * BATCH),
    )


def bench_batch_orders(scale: float, progress: Progress) -> BenchResult:
    """POST /orders:batch with 500 orders a request, four connections."""
    count = sized(40, scale, 1)
    ours, echo = Side(), Side()
    with _servers("qtinfra", "echo") as (_, (server, echoing)):
        gateway = Gateway(server)
        body = '{"orders":[' + gateway.bodies.many(BATCH) + "]}"
        for n in range(_rounds(scale)):
            progress(f"batch_orders: round {n + 1}")
            load = _posts(server, (body,), count, gateway)
            asked = msgspec.structs.replace(load, paths=("/orders:batch",), connections=4, accepted=BATCH)
            _round(ours, server, asked, BATCH)
            gateway.settle()
            plain = msgspec.structs.replace(_posts(echoing, (body,), count, gateway), connections=4)
            _round(echo, echoing, plain, BATCH)
    met = median(ours.per_s) >= 25_000 if scale >= 1 else None
    note = f"{BATCH} orders a request; p50 and p99 are of one request"
    return _result("batch_orders", "order", ours, echo, ">= 25,000/s", met, note)


def bench_ws_orders(scale: float, progress: Progress) -> BenchResult:
    """Orders over the stream, 16 a frame, eight connections."""
    count = sized(800, scale, 8)
    ours, echo = Side(), Side()
    with _servers("qtinfra", "echo") as (_, (server, echoing)):
        gateway = Gateway(server)
        items = gateway.bodies.many(FRAME)
        body = '{"op":"orders","id":"@","items":[' + items + "]}"
        upgrade = (
            "GET /stream HTTP/1.1\r\nhost: bench\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            f"sec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n{gateway.auth}\r\n"
        )
        for n in range(_rounds(scale)):
            progress(f"ws_orders: round {n + 1}")
            load = _posts(server, (body,), count, gateway)
            load = msgspec.structs.replace(load, connections=8, accepted=FRAME, upgrade=upgrade)
            _round(ours, server, load, FRAME)
            gateway.settle()
            plain = _posts(echoing, (f"[{items}]",), count, gateway)
            _round(echo, echoing, msgspec.structs.replace(plain, connections=8), FRAME)
    met = median(ours.per_s) >= 20_000 if scale >= 1 else None
    note = f"{FRAME} orders a frame, 8 connections; p50 and p99 are of one frame"
    return _result("ws_orders", "order", ours, echo, ">= 20,000/s", met, note)


def bench_get_order(scale: float, progress: Progress) -> BenchResult:
    """GET /orders/{id}: an order with its children, at 32 connections."""
    count = sized(20_000, scale, 64)
    ours, echo = Side(), Side()
    with _servers("qtinfra", "echo") as (_, (server, echoing)):
        gateway = Gateway(server)
        made = run_load(gateway.orders(200, keep_ids=200))
        gateway.settle()
        paths = tuple(f"/orders/{order_id}" for order_id in made.ids)
        for n in range(_rounds(scale)):
            progress(f"get_order: round {n + 1}")
            _round(ours, server, _gets(server, count, paths, gateway.auth))
            _round(echo, echoing, _gets(echoing, count, paths, gateway.auth))
    met = median(ours.per_s) >= 12_000 if scale >= 1 else None
    note = "from memory, durable; with children and executions"
    return _result("get_order", "request", ours, echo, ">= 12,000/s", met, note)


def _gets(server: Server, count: int, paths: tuple[str, ...], auth: str = "", **more: Any) -> Load:
    options = {"connections": CONNECTIONS, **more}
    return Load(port=server.port, head=_GET + auth, paths=paths, requests=count, **options)


def bench_healthz(scale: float, progress: Progress) -> BenchResult:
    """GET /healthz: its rate alone, its latency while orders come in, and the memory of a new server."""
    count, under_load = sized(25_000, scale, 64), sized(10_000, scale, 64)
    ours, echo, loaded = Side(), Side(), []
    with _servers("qtinfra", "echo") as (_, (server, echoing)):
        memory = server.memory_mb()
        gateway = Gateway(server)
        for n in range(_rounds(scale)):
            progress(f"healthz: round {n + 1}")
            _round(ours, server, _gets(server, count, ("/healthz",)))
            _round(echo, echoing, _gets(echoing, count, ("/healthz",)))
            loaded.append(_probed(server, gateway, under_load))
            gateway.settle()
    p99_ms = median(found.p99_us for found in loaded) / 1e3
    met = median(ours.per_s) >= 25_000 and p99_ms < 10 and memory < 150
    return _result(
        "healthz",
        "request",
        ours,
        echo,
        ">= 25,000/s; p99 < 10 ms under order load; a new server < 150 MB",
        met if scale >= 1 else None,
        "p50 and p99 without orders; loaded: of 4 probes while 32 connections send orders",
        loaded_p50_ms=median(found.p50_us for found in loaded) / 1e3,
        loaded_p99_ms=p99_ms,
        base_memory_mb=memory,
    )


def _probed(server: Server, gateway: Gateway, orders: int) -> Found:
    """What probes of /healthz see while orders come in."""
    with ExitStack() as stack:
        load = Generator(gateway.orders(orders), stack)
        probes = _gets(server, max(20, orders // 20), ("/healthz",), connections=4, pause_s=0.005)
        probe = Generator(probes, stack)
        load.start()
        probe.start()
        found = probe.found()
        load.found()
        return found
