"""FM-34, FM-35: `journal verify` finds every edit, says where, and says what signed heads cannot show."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from qtinfra.bootstrap import Verification, verify
from qtinfra.testing.prove import tamper
from qtinfra.testing.prove.tamper import KINDS, Bench, Judged, TamperReport, run_tamper
from qtinfra.testing.prove.tamper_edits import MEDIA

pytestmark = pytest.mark.integration

MANY = 300


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_fm_34_and_fm_35_every_change_is_found_and_placed() -> None:
    report = run_tamper(MANY, 7)
    assert report.passed, report.examples
    assert (report.attempts, report.found, report.missed, report.examples) == (MANY, MANY, 0, ())
    assert report.named + report.named_by_interval + report.refused == MANY
    assert sum(report.kinds.values()) == MANY
    assert {f"{medium} {name}" for medium, name in KINDS} - set(report.kinds) == set()
    assert msgspec.json.decode(msgspec.json.encode(report), type=TamperReport) == report


def test_the_same_seed_makes_the_same_changes() -> None:
    first, second = (msgspec.structs.replace(run_tamper(60, 3), seconds=0) for _ in range(2))
    assert first == second
    assert msgspec.structs.replace(run_tamper(60, 4), seconds=0, seed=3) != first


def test_fm_35_only_what_follows_the_newest_signed_head_is_blind() -> None:
    report = run_tamper(MANY, 11)
    assert 0 < report.anchored_seq < report.last_seq
    hidden = {label.partition(" ")[2] for label in report.blind}
    assert {"cut tail", "rewritten history", "roll back"} <= hidden
    assert hidden & {"swap", "duplication", "field"} == set()


def test_verification_that_is_not_given_the_signed_heads_misses_a_rewritten_history(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tamper, "verify", lambda path, anchors, key: verify(path, None, None))
    outcomes = [bench.attempt("log", "rewritten history", Random(seed)).outcome for seed in range(12)]
    assert "missed" in outcomes


def test_verification_that_does_not_replay_misses_a_forged_snapshot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = ("forged snapshot", "snapshot added", "older state in a snapshot")
    assert {bench.attempt("sqlite", kind, Random(3)).outcome for kind in forged} == {"named"}
    monkeypatch.setattr(
        tamper, "verify", lambda path, anchors, key: verify(path, anchors, key, replays=False)
    )
    assert {bench.attempt("sqlite", kind, Random(3)).outcome for kind in forged} == {"missed"}


def test_verification_that_names_a_later_sequence_has_missed_the_change(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(path: Path, anchors: Path | None, key: str | None) -> Verification:
        found = verify(path, anchors, key)
        return msgspec.structs.replace(found, first_bad_seq=(found.first_bad_seq or 0) + 9)

    monkeypatch.setattr(tamper, "verify", late)
    judged = bench.attempt("jsonl", "field", Random(1))
    assert judged.outcome == "missed"
    assert "instead of" in judged.text


def test_a_report_with_one_change_missed_has_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([Judged("missed", "verifies")])
    found = Judged("named", "")
    monkeypatch.setattr(Bench, "attempt", lambda *_: next(answers, found))
    report = run_tamper(5, 1)
    assert (report.passed, report.found, report.missed) == (False, 4, 1)
    assert report.examples == ("sqlite bit: verifies",)


# --- the command --------------------------------------------------------------------------------------------


def asked(bench: Bench, journal: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, facts and notes of `qtinfra journal verify`."""
    options = ["--anchor", str(bench.anchors), "--key", str(bench.key), "--json", *more]
    command = [sys.executable, "-m", "qtinfra", "journal", "verify", str(journal), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("medium", MEDIA)
def test_fm_34_the_command_leaves_with_78_and_names_the_first_bad_sequence(
    bench: Bench, tmp_path: Path, medium: str
) -> None:
    assert bench.attempt(medium, "field", Random(5)).outcome == "named"
    status, facts, notes = asked(bench, tmp_path / f"copy.{medium}")
    assert (status, facts["ok"]) == (78, False)
    assert f"first bad sequence: {facts['first_bad_seq']}" in notes


def test_fm_35_the_command_says_which_events_no_signed_head_stands_for(bench: Bench, tmp_path: Path) -> None:
    status, facts, _ = asked(bench, tmp_path / "journal.sqlite")
    rest = bench.history.last_seq - bench.history.anchored_seq
    assert (status, facts["unanchored_events"]) == (0, rest)
    assert f"the last {rest} events follow the newest anchor" in str(facts["reason"])
    assert "cutting or rewriting them would not be seen" in str(facts["reason"])


def test_fm_35_a_tail_cut_below_the_newest_signed_head_is_named_by_the_command(
    bench: Bench, tmp_path: Path
) -> None:
    for seed in range(20):
        if bench.attempt("log", "cut tail", Random(seed)).outcome == "named":
            break
    status, facts, notes = asked(bench, tmp_path / "copy.log")
    assert status == 78
    assert "an anchor has seen" in notes
    assert int(str(facts["first_bad_seq"])) <= bench.history.anchored_seq


def test_the_command_leaves_with_78_for_a_forged_snapshot_and_says_what_it_did_not_check(
    bench: Bench, tmp_path: Path
) -> None:
    assert bench.attempt("sqlite", "forged snapshot", Random(5)).outcome == "named"
    status, facts, notes = asked(bench, tmp_path / "copy.sqlite")
    (wrong,) = [one for one in facts["snapshots"] if one["verdict"] == "wrong"]
    assert (status, facts["ok"], facts["first_bad_seq"]) == (78, False, wrong["seq"])
    assert f"the snapshot of sequence {wrong['seq']} is wrong" in notes
    status, facts, _ = asked(bench, tmp_path / "copy.sqlite", "--no-replay")
    assert (status, {one["verdict"] for one in facts["snapshots"]}) == (0, {"not checked"})
    assert all(f"snapshot {one['seq']} not checked" in facts["reason"] for one in facts["snapshots"])
    status, facts, _ = asked(bench, tmp_path / "journal.sqlite")
    assert (status, {one["verdict"] for one in facts["snapshots"]}) == (0, {"agrees"})
