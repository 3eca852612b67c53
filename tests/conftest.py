"""Shared by all tests: the closing summary says how many tests were skipped, and why."""

from collections import Counter

import pytest
from hypothesis import settings

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
