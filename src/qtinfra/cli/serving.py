"""`qtinfra serve`: the gateway with everything behind it, in one process and its projector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qtinfra.cli.output import note


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where journal, keys and read tables are.")] = None,
) -> None:
    """Serve the REST API on a simulated market, durable in a data directory.

    Every setting is an environment variable with QTINFRA_ before its name (QTINFRA_PORT); options go first.
    """
    import uvicorn
    from pydantic import ValidationError

    from qtinfra.api.connection import connections
    from qtinfra.api.main import create_app
    from qtinfra.infra.config import Settings

    given = {"host": host, "port": port, "data_dir": data_dir}
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise typer.BadParameter(f"QTINFRA_{name}: {first['msg']}, not {first['input']!r}") from error
    note(f"http://{settings.host}:{settings.port}/docs describes the API; data in {settings.data_dir}")
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
    uvicorn.Server(config).run()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)
