"""The gateway as a server on a free port: in a thread with its engine at hand, or as a process."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import uvicorn

from qtinfra.api.connection import connections
from qtinfra.api.main import create_app
from qtinfra.bootstrap.serving import Platform
from qtinfra.core.commands import AnyCommand
from qtinfra.core.ports import Clock
from qtinfra.engine.kernel import Outcome
from qtinfra.infra.config import Settings

PATIENCE_S = 60.0  # an upper bound for waiting, never a measurement


class Api:
    """A client of one server: requests as one of the development users."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S)
        self._tokens: dict[str, str] = {}

    def token(self, user: str) -> str:
        if user not in self._tokens:
            answer = self.http.post("/auth/token", json={"user": user})
            self._tokens[user] = answer.json()["access_token"]
        return self._tokens[user]

    def headers(self, user: str = "trader", **more: str) -> dict[str, str]:
        found = {"authorization": f"Bearer {self.token(user)}", "content-type": "application/json"}
        return found | {name.replace("_", "-"): value for name, value in more.items()}

    def call(self, method: str, path: str, user: str = "trader", **options: Any) -> httpx.Response:
        headers = self.headers(user) | options.pop("headers", {})
        return self.http.request(method, path, headers=headers, **options)

    def order(self, user: str = "trader", **fields: Any) -> httpx.Response:
        """POST /orders with a valid order, changed by `fields`; None leaves a field out."""
        return self.call("POST", "/orders", user, json=new_order(**fields))

    def post(self, body: bytes, user: str = "trader", **more: str) -> httpx.Response:
        """POST /orders with these bytes."""
        return self.http.post("/orders", content=body, headers=self.headers(user, **more))

    def until(self, path: str, status: str, user: str = "trader") -> dict[str, Any]:
        """The order once it has this status."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found: dict[str, Any] = self.call("GET", path, user).json()
            if found.get("status") == status:
                return found
            assert time.monotonic() < deadline, found

    def close(self) -> None:
        self.http.close()


_numbers = iter(range(10**9))


def new_order(**fields: Any) -> dict[str, Any]:
    """A valid AAPL BUY LIMIT order under a new client id, far from the market so that it rests."""
    order = {
        "symbol": "AAPL",
        "side": "BUY",
        "quantity": "100",
        "price": "200.00",
        "order_type": "LIMIT",
        "client_order_id": f"t{os.getpid()}-{next(_numbers)}",
        "account_id": "ACC-1",
        **fields,
    }
    return {name: value for name, value in order.items() if value is not None}


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)


class Running:
    """A server in a thread of this process."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.app = create_app(lambda: settings, clock)
        self._life, self.app.router.lifespan_context = self.app.router.lifespan_context, self._noted
        self._failure: BaseException | None = None
        config = uvicorn.Config(
            self.app,
            http=connections(self.app),
            port=0,
            loop="asyncio",
            access_log=False,
            server_header=False,
            log_level="critical",
        )
        self._server = _Server(config)
        self._thread = Thread(target=self._server.run)

    def start(self) -> Api:
        self._thread.start()
        deadline = time.monotonic() + PATIENCE_S
        while not self._server.started:
            if not self._thread.is_alive():
                raise AssertionError("the server did not start") from self._failure
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return Api(self._server.servers[0].sockets[0].getsockname()[1])

    @asynccontextmanager
    async def _noted(self, app: Any) -> AsyncIterator[Any]:
        """The application's life; what its start raised, which uvicorn only logs, is kept."""
        try:
            async with self._life(app) as state:
                yield state
        except BaseException as error:
            self._failure = error
            raise

    @property
    def platform(self) -> Platform:
        found: Platform = self.app.state.gateway.platform
        return found

    def do(self, command: AnyCommand) -> Outcome:
        """Have the engine decide a command that the API does not offer."""
        decided = self.platform.shard.submit(command, "test")
        return asyncio.run_coroutine_threadsafe(decided, self._server.loop).result(PATIENCE_S)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@contextmanager
def running(directory: Path, clock: Clock | None = None, **settings: Any) -> Iterator[tuple[Running, Api]]:
    """A server on a data directory, stopped in order afterwards."""
    server = Running(Settings(data_dir=directory, **settings), clock)
    api = server.start()
    try:
        yield server, api
    finally:
        api.close()
        server.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def server_process(directory: Path, **environment: str) -> Iterator[tuple["subprocess.Popen[bytes]", Api]]:
    """`qtinfra serve` as a process of its own; what is left of it is killed afterwards."""
    port = free_port()
    command = [sys.executable, "-m", "qtinfra", "serve", "--port", str(port), "--data-dir", str(directory)]
    with subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE) as process:
        api = Api(port)
        try:
            _await_health(process, api)
            yield process, api
        finally:
            api.close()
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(PATIENCE_S)
                finally:
                    process.kill()


def _await_health(process: "subprocess.Popen[bytes]", api: Api) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if api.http.get("/healthz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < deadline, "the server did not answer"
        time.sleep(0.05)
