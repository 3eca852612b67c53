"""The program from the outside: what it prints, how it exits, what its journals prove."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.requirements import require_data

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("cli")]

RECORDING = "lobster/AAPL_2012-06-21_"
PROVEN = {"invariant_violations": 0, "decide_equal": True, "journal_verified": True}


def qtinfra(
    *args: str | Path, status: int = 0, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the program and check how it exits."""
    done = subprocess.run(
        [sys.executable, "-m", "qtinfra", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def facts(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one JSON object on standard output."""
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    assert done.stdout.count("\n") == 1
    return found


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on standard error."""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def lobster_args() -> list[str | Path]:
    def part(name: str) -> Path:
        return require_data(f"{RECORDING}{name}.csv.gz")

    return [
        *("simulate", "--feed", "lobster", "--orders", "500", "--seed", "1", "--json"),
        *("--messages", part("34200000_37800000_message_50")),
        *("--seed-messages", part("message_10_first1000")),
        *("--seed-book", part("orderbook_10_first1000")),
    ]


def official() -> list[str | Path]:
    return ["--official-bbo", require_data(f"{RECORDING}34200000_57600000_orderbook_1.csv.gz")]


@pytest.fixture(scope="session")
def recorded() -> dict[str, Any]:
    env = {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C"}
    return facts(qtinfra(*lobster_args(), *official(), env=env))


@pytest.fixture(scope="session")
def demo_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "session"


@pytest.fixture(scope="session")
def demo(demo_dir: Path) -> dict[str, Any]:
    return facts(qtinfra("demo", "--orders", "120", "--seed", "1", "--journal", demo_dir, "--json"))


@pytest.fixture(scope="session")
def journal(demo: dict[str, Any]) -> Path:
    return Path(demo["journal"])


@pytest.fixture
def copy(journal: Path, tmp_path: Path) -> Path:
    """The demonstration's journal with its signed heads and public key, to be damaged."""
    for suffix in ("", ".anchors.jsonl", ".pub.pem"):
        shutil.copy(f"{journal}{suffix}", tmp_path / f"journal.sqlite{suffix}")
    return tmp_path / "journal.sqlite"


def execute(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


# -- simulate --------------------------------------------------------------------------------------


def test_simulate_rebuilds_the_recorded_book_and_proves_its_journal(recorded: dict[str, Any]) -> None:
    assert recorded["bbo_changes"] == 23_439
    assert recorded["bbo_official_share"] >= 0.999
    assert recorded["bbo_crossed"] == 0
    assert recorded["orders"] == 500
    assert recorded["passive_fills"] >= 50
    assert recorded["fills"] >= recorded["passive_fills"]
    assert recorded["state_hash"] == recorded["replay_state_hash"]
    assert {name: recorded[name] for name in PROVEN} == PROVEN
    assert {"events", "frames"} <= recorded.keys()


@pytest.mark.parametrize(
    ("batch", "env"),
    [
        ("1", {"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"}),
        ("64", {"PYTHONHASHSEED": "random", "TZ": "America/New_York", "LC_ALL": "tr_TR.UTF-8"}),
    ],
)
def test_simulate_gives_equal_hashes_in_any_process_and_batch(
    recorded: dict[str, Any], batch: str, env: dict[str, str]
) -> None:
    again = facts(qtinfra(*lobster_args(), "--batch", batch, env=env))
    same = ("state_hash", "replay_state_hash", "chain_hash", "events", "records", "fills")
    assert {name: again[name] for name in same} == {name: recorded[name] for name in same}
    assert again["bbo_official_share"] is None
    assert {name: again[name] for name in PROVEN} == PROVEN


def test_simulate_on_the_synthetic_market_proves_a_journal_that_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite"
    args = ("simulate", "--feed", "synthetic", "--minutes", "3", "--orders", "30", "--symbols", "ko,JPM")
    found = facts(qtinfra(*args, "--journal", path, "--json"))
    assert found["symbols"] == ["JPM", "KO"]
    assert found["orders"] == 30
    assert found["bbo_changes"] > 0
    assert found["bbo_crossed"] == 0
    assert {name: found[name] for name in PROVEN} == PROVEN
    head = facts(qtinfra("journal", "head", path, "--json"))
    assert (head["seq"], head["hash"]) == (found["events"], found["chain_hash"])
    refused = qtinfra(*args, "--journal", path, status=2)
    assert complaint(refused) == (
        f"qtinfra: Invalid value for '--journal': a new journal is needed, and {path} exists"
    )


def test_simulate_reports_how_far_the_routers_predictions_held() -> None:
    args = ("simulate", "--feed", "synthetic", "--minutes", "3", "--orders", "60", "--routing-report")
    found = facts(qtinfra(*args, "--json"))
    assert {name: found[name] for name in PROVEN} == PROVEN
    tenths = found["routing"]["reliability"]
    ended = [item for venue in found["routing"]["venues"] for item in venue["activities"]]
    trials = sum(item["filled"] + item["partly"] + item["missed"] for item in ended)
    assert sum(item["trials"] for item in tenths) == trials > 30
    lines = qtinfra(*args).stdout.splitlines()
    start = lines.index("predicted   orders   mean predicted   executed in full")
    assert [line.split()[1] for line in lines[start + 1 : start + 1 + len(tenths)]] == [
        str(item["trials"]) for item in tenths
    ]
    assert lines[start + 1 + len(tenths)].startswith("mean distance, weighted by orders: 0.")


# -- demo ------------------------------------------------------------------------------------------


def test_demo_ends_with_a_proven_journal_and_a_blotter_that_adds_up(demo: dict[str, Any]) -> None:
    assert demo["orders"] >= 100
    assert demo["state_hash"] == demo["replay_state_hash"]
    assert {name: demo[name] for name in PROVEN} == PROVEN
    assert [line["agrees"] for line in demo["blotter"]["accounts"]] == [True] * 4


def test_demo_writes_the_cost_page_beside_its_journal_and_charts_every_algo_order(
    demo: dict[str, Any], journal: Path
) -> None:
    page = journal.with_name("tca.html")
    assert demo["tca_html"] == str(page)
    text = page.read_text("utf-8")
    for line in demo["algos"]:
        assert f"{line['cl_ord_id']}: {line['algo']} {line['side']}" in text


def test_demo_prints_tables_of_at_most_a_hundred_columns_without_a_terminal(tmp_path: Path) -> None:
    done = qtinfra("demo", "--orders", "10", "--journal", tmp_path / "d", env={"COLUMNS": "60"})
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    paths = [line for line in done.stdout.splitlines() if str(tmp_path) in line]
    assert max(len(line) for line in done.stdout.splitlines() if line not in paths) <= 100
    assert "Positions and P&L" in done.stdout
    assert "decisions taken again: equal, byte for byte" in done.stdout
    assert "Algo orders" in done.stdout
    assert "Transaction costs by algo" in done.stdout
    assert "cost page" in done.stdout
    assert (tmp_path / "d" / "tca.html").is_file()


# -- replay and journals ---------------------------------------------------------------------------


def test_replay_leads_another_process_to_the_same_state_and_decisions(
    demo: dict[str, Any], journal: Path
) -> None:
    found = facts(qtinfra("replay", "--decide", journal, "--json", env={"PYTHONHASHSEED": "5"}))
    assert found["state_hash"] == demo["state_hash"]
    assert found["decide_equal"] is True
    assert (found["records"], found["last_seq"]) == (demo["records"], demo["events"])


def test_replay_decides_nothing_unless_asked(journal: Path) -> None:
    assert facts(qtinfra("replay", journal, "--json"))["decide_equal"] is None


def test_verify_finds_journal_and_signed_heads_sound(demo: dict[str, Any], journal: Path) -> None:
    found = facts(qtinfra("journal", "verify", journal, "--json"))
    assert found["ok"] is True
    assert found["last_anchored_seq"] == demo["events"]
    assert found["unanchored_events"] == 0
    assert found["anchors"] >= 1


def test_verify_without_signed_heads_says_what_it_cannot_see(copy: Path) -> None:
    copy.with_name("journal.sqlite.anchors.jsonl").unlink()
    found = facts(qtinfra("journal", "verify", copy, "--json"))
    assert found["ok"] is True
    assert "without an anchor a cut tail cannot be seen" in found["reason"]


def test_an_edited_record_is_found_and_its_sequence_named(copy: Path) -> None:
    db = sqlite3.connect(copy)
    first, blob = db.execute(
        "SELECT first_seq, blob FROM frame ORDER BY first_seq LIMIT 1 OFFSET 40"
    ).fetchone()
    place = len(blob) // 2
    edited = blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :]
    db.execute("UPDATE frame SET blob = ? WHERE first_seq = ?", (edited, first))
    db.commit()
    db.close()
    done = qtinfra("journal", "verify", copy, "--json", status=78)
    found = facts(done)
    assert found["ok"] is False
    assert found["first_bad_seq"] >= first
    assert str(found["first_bad_seq"]) in complaint(done)
    for command in (("replay", copy), ("journal", "head", copy), ("journal", "export", copy)):
        assert f"sequence {found['first_bad_seq']}" in complaint(qtinfra(*command, status=78))


def test_a_cut_tail_is_found_by_the_signed_heads_only(demo: dict[str, Any], copy: Path) -> None:
    execute(copy, "DELETE FROM frame WHERE first_seq = (SELECT max(first_seq) FROM frame)")
    found = facts(qtinfra("journal", "verify", copy, "--json", status=78))
    assert found["first_bad_seq"] == found["events"] + 1
    assert f"an anchor has seen {demo['events']}" in found["reason"]
    copy.with_name("journal.sqlite.anchors.jsonl").unlink()
    assert facts(qtinfra("journal", "verify", copy, "--json"))["ok"] is True


def test_a_file_that_is_no_journal_is_wrong_input_and_the_complaint_says_so(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("a file of somebody else's")
    for command in (("journal", "verify"), ("journal", "head"), ("replay",), ("tca", "--journal")):
        assert "no journal" in complaint(qtinfra(*command, path, status=2))


def test_a_journal_without_its_first_page_is_damage_as_long_as_its_signed_heads_are_there(copy: Path) -> None:
    with copy.open("r+b") as file:
        file.write(b"\0" * 100)
    assert "first bad sequence: 1" in complaint(qtinfra("journal", "head", copy, status=78))


def test_a_server_that_cannot_read_its_journal_says_why_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_text("not one at all")
    done = qtinfra("serve", "--data-dir", tmp_path, "--port", "0", status=78)
    assert "not a database" in complaint(done)
    assert "Traceback" not in done.stderr


def test_heads_signed_by_another_key_prove_nothing(journal: Path) -> None:
    found = facts(qtinfra("journal", "verify", journal, "--key", "ab" * 32, "--json", status=78))
    assert "not signed by the given key" in found["reason"]


def test_an_export_verifies_by_itself_and_shows_an_edit(
    demo: dict[str, Any], journal: Path, tmp_path: Path
) -> None:
    out = tmp_path / "session.jsonl"
    qtinfra("journal", "export", journal, "--out", out)
    lines = out.read_text("utf-8").splitlines()
    assert len(lines) == demo["records"]
    anchors, key = f"{journal}.anchors.jsonl", f"{journal}.pub.pem"
    found = facts(qtinfra("journal", "verify", out, "--anchor", anchors, "--key", key, "--json"))
    assert (found["ok"], found["kind"], found["unanchored_events"]) == (True, "export", 0)
    bad = json.loads(lines[9])["seq"]
    lines[9] = lines[9].replace('"actor":"', '"actor":"x', 1)
    out.write_text("\n".join(lines) + "\n", "utf-8")
    assert facts(qtinfra("journal", "verify", out, "--json", status=78))["first_bad_seq"] == bad
    assert "this needs the journal itself" in complaint(qtinfra("replay", out, status=2))
    assert "exists" in complaint(qtinfra("journal", "export", journal, "--out", out, status=2))


# -- wrong input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        ((), ("no command",)),
        (("trade",), ("'trade'",)),
        (("demo", "--orders", "0"), ("'--orders'", "'0'", "from 1 to 1000000")),
        (("demo", "--seed", "x"), ("'--seed'", "'x'", "whole number")),
        (("demo", "--jurnal", "d"), ("--jurnal",)),
        (("simulate", "--feed", "nyse"), ("'--feed'", "'nyse'", "'lobster'")),
        (("simulate", "--feed", "lobster"), ("'--messages'", "lobster needs this file")),
        (("simulate", "--feed", "lobster", "--minutes", "5"), ("'--minutes'", "does not go with", "5")),
        (("simulate", "--feed", "synthetic", "--symbols", "KO,IBM"), ("'--symbols'", "'IBM'", "KO")),
        (("simulate", "--feed", "nbbo", "--routing-report"), ("'--routing-report'", "synthetic")),
        (("simulate", "--feed", "synthetic", "--batch", "0"), ("'--batch'", "'0'", "from 1 to")),
        (("replay", "missing.sqlite"), ("'JOURNAL'", "missing.sqlite", "does not exist")),
        (("journal", "verify", "missing.sqlite"), ("'JOURNAL'", "missing.sqlite")),
    ],
)
def test_wrong_input_is_one_line_naming_option_rule_and_value(
    args: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    done = qtinfra(*args, status=2)
    assert done.stdout == ""
    line = complaint(done)
    assert all(part in line for part in parts), line


def test_a_file_that_is_no_recording_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("hello\n")
    args = ("--messages", path, "--seed-messages", path, "--seed-book", path)
    done = qtinfra("simulate", "--feed", "lobster", *args, "--json", status=2)
    assert path.name in complaint(done)
    assert facts(done)["code"] == "recorded_data"


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    execute(path, "CREATE TABLE t (a)")
    assert "not a journal" in complaint(qtinfra("journal", "head", path, status=2))


def test_an_error_under_json_is_one_object_too() -> None:
    done = qtinfra("demo", "--orders", "0", "--json", status=2)
    assert facts(done)["code"] == "usage"


def test_the_version_is_printed() -> None:
    assert qtinfra("--version").stdout.startswith("qtinfra 0.")


def test_an_interrupt_leaves_cleanly_with_130() -> None:
    args = ["simulate", "--feed", "synthetic", "--minutes", "390", "--orders", "100000"]
    script = (
        "import os, signal, sys, threading; from qtinfra.cli import main;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "threading.Timer(0.4, os.kill, [os.getpid(), signal.SIGINT]).start();"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *args], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr == "qtinfra: interrupted\n"
    assert done.stdout == ""


def test_simulate_on_recorded_quotes_and_trades_proves_its_journal() -> None:
    quotes = require_data("nbbo_ticks/ibm_20131007_quote.zip")
    trades = require_data("nbbo_ticks/ibm_20131007_trade.zip")
    options = ("--quotes", str(quotes), "--trades", str(trades), "--orders", "60", "--json")
    told = facts(qtinfra("simulate", "--feed", "nbbo", *options))
    assert (told["locked"], told["crossed"]) == (648, 86)
    assert told["state_hash"] == told["replay_state_hash"]
    assert told["decide_equal"] is True
    assert told["journal_verified"] is True
    assert told["invariant_violations"] == 0
    assert told["fills"] > 0


def test_simulate_refuses_an_option_of_another_feed() -> None:
    done = qtinfra("simulate", "--feed", "synthetic", "--quotes", __file__, status=2)
    assert "--quotes" in complaint(done)


def test_serve_with_a_market_that_no_calendar_knows_exits_2_with_the_setting_and_leaves_no_data(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    said = qtinfra("serve", "--port", "0", "--data-dir", data, status=2, env={"QTINFRA_CALENDAR": "ZZZZ"})
    assert said.stderr.splitlines()[-1].endswith("QTINFRA_CALENDAR: no calendar for ZZZZ")
    assert not data.exists()


def test_serve_on_a_port_in_use_says_so_and_leaves_no_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = complaint(qtinfra("serve", "--port", str(port), "--data-dir", data, status=1))
    assert said == f"qtinfra: cannot listen on 127.0.0.1, port {port}: Address already in use"
    assert not data.exists()


def test_serve_on_a_data_directory_that_cannot_be_made_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    data = tmp_path / "file" / "data"
    said = complaint(qtinfra("serve", "--port", "0", "--data-dir", data, status=1))
    assert said == f"qtinfra: Not a directory: {data}"


def test_a_server_that_is_interrupted_stops_in_order_and_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qtinfra", "serve", "--port", "0", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Ctrl-C" in line:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr.read() == "qtinfra: stopped\n"
    assert facts(qtinfra("journal", "verify", tmp_path / "journal.sqlite", "--json"))["snapshots"]
