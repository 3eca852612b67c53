"""`qtinfra serve`: the gateway with everything behind it, in one process and its projector."""

from __future__ import annotations

import logging
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qtinfra.cli.live import DEFAULT_URL
from qtinfra.cli.output import note, program

if TYPE_CHECKING:
    import uvicorn

    from qtinfra.infra.config import Settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where journal, keys and read tables are.")] = None,
) -> None:
    """Serve the REST API and the stream on a simulated market, durable in a data directory.

    Every setting is an environment variable with QTINFRA_ before its name (QTINFRA_PORT); options go first.
    """
    import uvicorn
    from pydantic import ValidationError

    from qtinfra.api.connection import connections
    from qtinfra.api.main import create_app
    from qtinfra.infra.config import Settings
    from qtinfra.infra.process import prompt_threads

    given = {"host": host, "port": port, "data_dir": data_dir}
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise typer.BadParameter(f"QTINFRA_{name}: {first['msg']}, not {first['input']!r}") from error
    _require_free(settings.host, settings.port)
    _log()
    app = create_app(lambda: settings)
    config = uvicorn.Config(
        app,
        http=connections(app),
        host=settings.host,
        port=settings.port,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_level="warning",
        ws_max_size=1 << 20,
        ws_per_message_deflate=False,
        ws_ping_interval=20.0,
        ws_ping_timeout=90.0,
    )
    logging.getLogger("uvicorn.error").addFilter(lambda record: app.state.gateway.failure is None)
    try:
        with prompt_threads():
            _announced(uvicorn.Server, settings)(config).run()
    except KeyboardInterrupt:
        note("stopped")
    except SystemExit:
        if app.state.gateway.failure is not None:
            raise app.state.gateway.failure from None
        raise


def _require_free(host: str, port: int) -> None:
    """Nothing is opened or journaled by a server that nobody could reach.

    Raises:
        OSError: another process listens there, or the address is not this machine's.
    """
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise OSError(f"cannot listen on {host}, port {port}: {error.strerror}") from error


def _announced(kind: type[uvicorn.Server], settings: Settings) -> type[uvicorn.Server]:
    """A server that says where it is once it is there, and how the command line comes in."""

    class Announced(kind):  # type: ignore[misc, valid-type]
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                host, port = self.servers[0].sockets[0].getsockname()[:2]
                url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
                note(f"ready: {url}/docs describes the API; data in {settings.data_dir}")
                for line in next_steps(url, settings):
                    note(line)

    return Announced


def next_steps(url: str, settings: Settings) -> list[str]:
    """What to type in another shell, with what differs from the defaults."""
    from qtinfra.infra.config import AuthMode

    steps = ["Ctrl-C stops the server"]
    exports = [] if url == DEFAULT_URL else [f"QTINFRA_URL={url}"]
    if settings.auth is AuthMode.DEV:
        directory = type(settings).model_fields["data_dir"].default
        where = "" if settings.data_dir == directory else f"QTINFRA_DATA_DIR={settings.data_dir} "
        exports.append(f"QTINFRA_TOKEN=$({where}{program()} token --user trader)")
    if exports:
        steps.insert(0, f"in another shell: export {' '.join(exports)}")
    return steps


def _log() -> None:
    """What the server says about itself (trading dates, faults) goes to standard error, times in UTC."""
    form = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    form.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(form)
    logger = logging.getLogger("qtinfra")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(short_help="Serve the REST API and the stream on a simulated market.")(serve)
