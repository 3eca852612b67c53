"""`qtinfra serve` that gets killed: what goes to the venues is written down as it goes.

    QTINFRA_WIRE=FILE python -m tests.support.crash_server --port N --data-dir DIR

Each message that a venue's link takes adds one line to FILE, in one write: it stays there when the process is
killed in the same moment. QTINFRA_CRASH_BUG=early_release plants the bug that answers and messages to venues
go before the frame is appended, to show that the comparison finds it; the disk is slow then, so that hardly
any kill comes when nothing is under way.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from qtinfra.bootstrap import serving
from qtinfra.cli import main
from qtinfra.core.reports import ToVenue
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.testing.prove.steps import EarlyReleaseShard
from qtinfra.venues.simulated.local import LocalVenueGateway

_encode = msgspec.json.Encoder().encode
#: How long a frame takes to a slow disk, seconds.
SLOW_S = 0.05


def noted(path: str) -> Callable[[LocalVenueGateway, ToVenue], None]:
    """A venue link's `send` that first writes a line to the file: venue, kind, our id for it."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    send = LocalVenueGateway.send

    def noted_send(gateway: LocalVenueGateway, message: ToVenue) -> None:
        os.write(file, _encode((gateway.venue, type(message).__name__, message.cl_ord_id)) + b"\n")
        send(gateway, message)

    return noted_send


def slow(write: Callable[..., None]) -> Callable[..., None]:
    """A journal's write of a frame, to a disk that takes its time."""

    def written(*frame: Any) -> None:
        time.sleep(SLOW_S)
        write(*frame)

    return written


if __name__ == "__main__":
    LocalVenueGateway.send = noted(os.environ["QTINFRA_WIRE"])  # type: ignore[method-assign,assignment]
    if os.environ.get("QTINFRA_CRASH_BUG") == "early_release":
        vars(serving)["LiveShard"] = EarlyReleaseShard
        SqliteJournal._write = slow(SqliteJournal._write)  # type: ignore[method-assign]
    sys.argv[1:1] = ["serve"]
    main()
