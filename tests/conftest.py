"""Shared by all tests: the closing summary says how many tests were skipped, and why; and modules that name a
group with `xdist_group` stay with one worker.
"""

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

#: No test asserts on time; a loaded machine is no failure.
settings.register_profile("qtinfra", deadline=None)
settings.load_profile("qtinfra")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the skip count, zero included, and each reason with its own count."""
    reasons = Counter(skip_reason(report) for report in terminalreporter.getreports("skipped"))
    terminalreporter.section("skipped tests", sep="-")
    terminalreporter.line(f"{reasons.total()} skipped")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:6}  {reason}")


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the reason of a skip report: the last part of its (path, line, message)."""
    where = report.longrepr
    message = where[2] if isinstance(where, tuple) else str(where)
    return message.removeprefix("Skipped: ")


@cache
def group_in(module: Path) -> str:
    """The group that a module of tests is marked with; empty without one."""
    found = re.search(r'^pytestmark = .*xdist_group\("(\w+)"\)', module.read_text("utf-8"), re.MULTILINE)
    return found[1] if found else ""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the tests of a group to one worker, and any other test wherever there is room.

    xdist's own `loadgroup` notes the group in a test's node id, which pytest lets nobody change from 9.2 on:
    every test is a group of its own there. Here the module says it.
    """
    scheduling = LoadScopeScheduling(config, log)
    scheduling._split_scope = lambda nodeid: group_in(config.rootpath / nodeid.partition("::")[0]) or nodeid
    return scheduling
