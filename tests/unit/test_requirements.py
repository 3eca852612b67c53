import os
import shutil
from pathlib import Path

import pytest

from tests import conftest
from tests.support.requirements import REPO_ROOT, require_data, require_tool

TWO_NEEDY_TESTS = """
    from tests.support.requirements import require_data, require_tool

    def test_tool():
        require_tool("no-such-tool")

    def test_tool_again():
        require_tool("no-such-tool")

    def test_data():
        require_data("no-such.csv")
"""

pytestmark = pytest.mark.unit


@pytest.fixture
def needy(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("QTINFRA_DATA", str(pytester.path))
    monkeypatch.delenv("QTINFRA_REQUIRE_ALL", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.fspath(REPO_ROOT))
    shutil.copy(str(conftest.__file__), pytester.path / "conftest.py")
    pytester.makepyfile(TWO_NEEDY_TESTS)
    return pytester


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["in one process", "in workers"])
def test_missing_requirements_skip_and_the_reasons_are_counted(
    needy: pytest.Pytester, workers: list[str]
) -> None:
    result = needy.runpytest_subprocess(*workers)
    result.assert_outcomes(skipped=3)
    result.stdout.fnmatch_lines(
        [
            "3 skipped",
            "*2  needs the tool 'no-such-tool', which is not on PATH",
            "*1  needs market data 'no-such.csv'; *",
        ]
    )
    assert result.ret == pytest.ExitCode.OK


def test_missing_requirements_fail_when_everything_is_required(
    needy: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QTINFRA_REQUIRE_ALL", "1")
    result = needy.runpytest_subprocess()
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["*needs the tool 'no-such-tool'*QTINFRA_REQUIRE_ALL=1*", "0 skipped"])


def test_present_requirements_are_returned_as_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "some-tool"
    tool.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("QTINFRA_DATA", str(tmp_path))
    assert require_tool("some-tool") == tool
    assert require_data("some-tool") == tool
