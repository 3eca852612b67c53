"""FM-06: a full disk under the server: no new orders, cancels and kills go on and are durable, reads too.

The disk is filled by our preloaded library (`fsfault.c`): while a file named `full` stands beside the data
directory, no file in that directory grows by more than what deleted ones give back. The read tables stand on
the same disk and fall behind, so that lists, which wait for them, are refused; single orders are read.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from qtinfra.bootstrap.sessions import Evidence
from qtinfra.core.models import OrderStatus
from qtinfra.journal.anchor import AnchorFile
from qtinfra.journal.reserve import reserve_path
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.testing.prove import shim
from qtinfra.testing.prove.reconcile import replay_all
from tests.support.requirements import REPO_ROOT
from tests.support.server import PATIENCE_S, Api, new_order, server_process

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("disk")]

RESERVE_BYTES = 1 << 20
ORDERS = 12
CANCELS = 10


class Disk:
    """The disk below a data directory; `full` fills it and `free` gives it space."""

    def __init__(self, library: Path, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self._full = folder / "full"
        self.environment = {
            "LD_PRELOAD": str(library),
            "FSFAULT_PATH": f"{self.data}/",
            "FSFAULT_FULL_WHILE": str(self._full),
        }

    def full(self) -> None:
        self._full.touch()

    def free(self) -> None:
        self._full.unlink()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shim.compiler():
        pytest.skip("no C compiler")
    return shim.build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def disk(library: Path, tmp_path: Path) -> Disk:
    return Disk(library, tmp_path)


@pytest.fixture
def journal(disk: Disk) -> Path:
    return disk.data / "journal.sqlite"


def refused(answer: Any) -> bool:
    """Whether it is the refusal of a full disk, as the API describes it."""
    if answer.status_code in (200, 201):
        return False
    assert answer.status_code == 503, answer.text
    assert answer.json()["code"] == "disk_full"
    assert answer.json()["retryable"] is True
    assert int(answer.headers["retry-after"]) >= 1
    return True


def until_refused(api: Api) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Send orders until the disk is found to be full: those that were accepted, and the refused one.

    The first append without space is done again in what the reserve gives back, so that its order stands.
    """
    accepted: list[dict[str, Any]] = []
    while True:
        order = new_order()
        answer = api.call("POST", "/orders", json=order)
        if refused(answer):
            return accepted, order
        accepted.append(answer.json())
        assert len(accepted) < 500, "the disk is full and every order is accepted"


def alerts(api: Api) -> Iterator[str]:
    """The kinds of all alerts that the server keeps."""
    headers = {"Authorization": f"Bearer {api.token('admin')}"}
    with connect(f"ws://127.0.0.1:{api.port}/stream", additional_headers=headers, max_size=None) as socket:
        socket.send(json.dumps({"op": "subscribe", "id": "a", "topic": "alerts"}))
        while True:
            page = json.loads(socket.recv(timeout=PATIENCE_S))
            if page["op"] == "snapshot":
                yield from (item["data"]["kind"] for item in page["items"])
                if page["last"]:
                    return


def until_alerted(api: Api, kind: str) -> None:
    """Return once the server keeps an alert of this kind."""
    deadline = time.monotonic() + PATIENCE_S
    while kind not in set(alerts(api)):
        assert time.monotonic() < deadline, f"no alert {kind}"
        time.sleep(0.05)


def last_anchored(journal: Path) -> int:
    anchors = AnchorFile(Evidence.of(journal).anchors).read()
    return anchors[-1].seq if anchors else 0


def status_of(api: Api, order: dict[str, Any]) -> str:
    answer = api.call("GET", f"/orders/{order['id']}")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["status"])


def test_fm_06_on_a_full_disk_cancels_and_kills_go_on_and_after_a_restart_with_space_everything_does(
    disk: Disk, journal: Path
) -> None:
    environment = {**disk.environment, "QTINFRA_JOURNAL_RESERVE_BYTES": str(RESERVE_BYTES)}
    with server_process(disk.data, **environment) as (process, api):
        resting = [api.order().json() for _ in range(ORDERS)]
        assert reserve_path(journal).stat().st_size == RESERVE_BYTES
        disk.full()
        accepted, lost = until_refused(api)
        assert accepted and not reserve_path(journal).exists()

        assert refused(api.order())
        change = {"client_order_id": "smaller", "quantity": "50"}
        assert refused(api.call("PUT", f"/orders/{resting[-1]['id']}", json=change))
        cancelled = resting[:CANCELS]
        for order in cancelled:
            assert api.call("DELETE", f"/orders/{order['id']}").is_success
        for order in cancelled:
            api.until(f"/orders/{order['id']}", "CANCELLED")
        kill = {"scope": "SYMBOL", "value": "MSFT", "reason": "full disk"}
        assert api.call("POST", "/risk/kill-switches", "risk", json=kill).is_success

        assert status_of(api, resting[-1]) == status_of(api, accepted[-1]) == "ROUTED"
        assert api.http.get("/healthz").status_code == 200
        assert Counter(alerts(api))["disk_full"] == 1
        assert refused(api.order())
        process.kill()
        assert process.wait(PATIENCE_S) == -signal.SIGKILL

    state = replay_all(str(journal)).state
    for order in cancelled:
        assert state.orders[order["id"]].status is OrderStatus.CANCELLED
    assert {order["id"] for order in [*resting, *accepted]} == state.orders.keys()
    assert state.find_order("ACC-1", lost["client_order_id"]) is None
    assert any("MSFT" in key for key in state.kills)

    disk.free()
    with server_process(disk.data, **environment) as (_, api):
        assert {status_of(api, order) for order in cancelled} == {"CANCELLED"}
        assert api.call("POST", "/orders", json=lost).status_code == 201
        assert reserve_path(journal).stat().st_size == RESERVE_BYTES
        listed = api.call("GET", "/orders", params={"status": "CANCELLED", "limit": "100"})
        assert {order["id"] for order in cancelled} <= {row["id"] for row in listed.json()["items"]}
        assert "disk_full" not in set(alerts(api))


def test_fm_06_signed_heads_and_read_tables_wait_for_space_with_one_alert_each_and_go_on_by_themselves(
    disk: Disk, journal: Path
) -> None:
    others = {**disk.environment, "FSFAULT_PATH": f"{journal}."}  # all but the journal stand on that disk
    with server_process(disk.data, **others) as (process, api):
        resting = [api.order().json() for _ in range(ORDERS)]
        disk.full()
        assert api.order().is_success
        until_alerted(api, "anchor_failed")
        until_alerted(api, "projector_died")
        anchored = last_anchored(journal)
        for order in resting[:CANCELS]:
            assert api.call("DELETE", f"/orders/{order['id']}").is_success
        time.sleep(3.0)  # three intervals of the heads, and the projector's second and third start
        told = Counter(alerts(api))
        assert (told["anchor_failed"], told["projector_died"], told["task_failed"]) == (1, 1, 0)
        assert last_anchored(journal) == anchored

        disk.free()
        deadline = time.monotonic() + PATIENCE_S
        listed: set[str] = set()
        while (
            not {order["id"] for order in resting[:CANCELS]} <= listed or last_anchored(journal) <= anchored
        ):
            assert time.monotonic() < deadline
            time.sleep(0.1)
            answer = api.call("GET", "/orders", params={"status": "CANCELLED", "limit": "100"})
            listed = {row["id"] for row in answer.json()["items"]} if answer.is_success else set()
        told = Counter(alerts(api))
        assert (told["anchor_failed"], told["projector_died"], told["task_failed"]) == (1, 1, 0)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert b"Traceback" not in said, said.decode()
    assert said.count(b"cannot anchor") == said.count(b"the projector ended") == 1, said.decode()


# Appends one frame of one cancel each on a disk that fills after the first; says how many and leaves.
WRITER = """
import sys
from pathlib import Path
from qtinfra.core.exceptions import JournalError
from qtinfra.journal.sqlite import SqliteJournal
from tests.unit.journal.test_reserve import cancel

place, full, reserve, wanted = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
journal = SqliteJournal.open(place, reserve_bytes=reserve)
journal.append([cancel(1, journal.epoch)])
full.touch()
done = 0
try:
    for seq in range(2, wanted + 2):
        journal.append([cancel(seq, journal.epoch)])
        done += 1
except JournalError as error:
    print(error, file=sys.stderr)
print(done, journal.on_reserve)
"""


@pytest.mark.parametrize(("reserve", "all_of_them"), [(8 << 20, True), (2 << 20, False)])
def test_fm_06_the_reserve_of_a_sqlite_journal_takes_ten_thousand_cancels_each_in_its_own_frame(
    disk: Disk, journal: Path, reserve: int, all_of_them: bool
) -> None:
    full = disk.environment["FSFAULT_FULL_WHILE"]
    command = [sys.executable, "-c", WRITER, str(journal), full, str(reserve), "10000"]
    environment = {**os.environ, **disk.environment, "FSFAULT_NO_SYNC": "1"}
    done = subprocess.run(command, cwd=REPO_ROOT, env=environment, capture_output=True, text=True, check=True)
    count, on_reserve = done.stdout.split()
    assert on_reserve == "True"
    assert (int(count) == 10_000) is all_of_them, done.stderr
    assert ("database or disk is full" in done.stderr) is not all_of_them
    with closing(SqliteJournal.open(journal)) as again:
        assert again.head.seq == int(count) + 1
