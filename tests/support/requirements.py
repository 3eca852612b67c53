"""What a test may need from the machine: when absent it is skipped with a reason, or fails."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

REPO_ROOT = Path(__file__).resolve().parents[2]


def require_tool(name: str) -> Path:
    """Return the path of an executable that the test runs."""
    found = shutil.which(name)
    if found is None:
        _missing(f"needs the tool {name!r}, which is not on PATH")
    return Path(found)


def require_data(relative: str | Path) -> Path:
    """Return the path of a file or folder of market data, below $QTINFRA_DATA or ../shared/data."""
    root = Path(os.environ.get("QTINFRA_DATA") or REPO_ROOT.parent / "shared" / "data")
    path = root / relative
    if not path.exists():
        _missing(f"needs market data {str(relative)!r}; set QTINFRA_DATA to the folder that holds it")
    return path


def _missing(reason: str) -> NoReturn:
    if os.environ.get("QTINFRA_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason} (QTINFRA_REQUIRE_ALL=1 forbids skipping)", pytrace=False)
    pytest.skip(reason)
