"""What README and reference say of the server is true of it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qtinfra.api.main import create_app
from qtinfra.infra.config import Settings
from tests.support.requirements import REPO_ROOT, require_tool
from tests.support.server import running

pytestmark = pytest.mark.integration

REFERENCE = (REPO_ROOT / "docs" / "reference" / "api.md").read_text("utf-8")


def test_every_setting_is_in_the_reference() -> None:
    assert sorted(name for name in Settings.model_fields if f"`{name}`" not in REFERENCE) == []


def test_every_operation_is_in_the_reference_and_none_that_is_not_there() -> None:
    paths = create_app().openapi()["paths"]
    operations = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    named = set(re.findall(r"`((?:GET|POST|PUT|DELETE) /[^`]+)`", REFERENCE))
    assert sorted(operations ^ named) == []


def test_every_operation_says_what_it_does_and_has_a_name_of_its_own() -> None:
    found = create_app().openapi()
    operations = [operation for methods in found["paths"].values() for operation in methods.values()]
    for operation in operations:
        assert " " in operation["summary"] and not operation["summary"].endswith(".")
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert {tag for operation in operations for tag in operation["tags"]} == {
        tag["name"] for tag in found["tags"] if tag["description"]
    }


def test_from_clone_to_a_filled_order_the_readme_works_as_written(tmp_path: Path) -> None:
    section = (REPO_ROOT / "README.md").read_text("utf-8").split("## From clone to")[1].split("\n## ")[0]
    lines = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    assert lines.pop(0).startswith("make serve")
    script = "\n".join(lines).replace(".venv/bin/qtinfra", f"{sys.executable} -m qtinfra")
    script = script.replace("qtinfra watch ", "qtinfra watch --count 1 ")
    with running(tmp_path) as (_, api):
        url = f"http://127.0.0.1:{api.port}"
        env = os.environ | {"QTINFRA_URL": url, "QTINFRA_DATA_DIR": str(tmp_path)}
        done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True, env=env)
    submitted, listed, positions, *watched = re.split(r"\n(?=id |account )", done.stdout)
    assert "AAPL" in submitted
    assert "FILLED" in listed
    assert re.search(r"ACC-1 +AAPL +100", positions)
    assert len(watched) == 2


def test_the_curl_lines_of_the_readme_work_as_written(tmp_path: Path) -> None:
    require_tool("curl")
    section = (REPO_ROOT / "README.md").read_text("utf-8").split("## Serve it")[1].split("\n## ")[0]
    lines = [line.strip() for line in section.splitlines() if line.startswith("    ") and "curl" in line]
    with running(tmp_path) as (_, api):
        script = "\necho\n".join(lines).replace("localhost:8000", f"127.0.0.1:{api.port}")
        done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line]
    assert len(answers) == len(lines) - 1
    order, orders, positions, plan, health = answers
    assert order["client_order_id"] == "first-1"
    assert [item["id"] for item in orders["items"]] == [order["id"]]
    assert "items" in positions
    assert plan["legs"]
    assert health == {"status": "ok"}
