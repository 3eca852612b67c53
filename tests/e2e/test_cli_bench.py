"""`qtinfra bench` from the outside."""

import json
import subprocess
import sys

import pytest

from qtinfra.bench import BENCHES
from qtinfra.cli.benches import FIELDS

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("scripts")]


def bench(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qtinfra", "bench", *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_bench_prints_a_json_list_of_the_documented_fields() -> None:
    done = bench("parse", "journal", "--scale", "0.005", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["name"] for row in found] == ["parse", "journal"]
    for row in found:
        assert tuple(row) == FIELDS
        assert row["ratio"] == pytest.approx(row["ops_per_s"] / row["control"])
        assert row["note"].startswith("control: ")
    assert done.stdout.count("\n") == 1
    assert "qtinfra: parse" in done.stderr


def test_bench_prints_a_table_with_control_ratio_and_note() -> None:
    done = bench("routing", "--scale", "0.005")
    assert done.returncode == 0, done.stderr
    for text in ("ops/s", "cpu us/op", "p50 us", "p99 us", "control", "ratio", "note", "not judged"):
        assert text in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (("nonsense",), "no benchmark 'nonsense'; there are " + ", ".join(BENCHES)),
        (("parse", "--scale", "0"), "'0' is not a number above 0"),
        (("parse", "--scale", "nan"), "'nan' is not a number above 0"),
        (("parse", "--scale", "much"), "'much' is not a number above 0"),
    ],
)
def test_bench_refuses_what_it_does_not_know_in_one_line(args: tuple[str, ...], part: str) -> None:
    done = bench(*args)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert part in line
