"""Which build runs: plain Python, or one with compiled modules (docs/compiled.md)."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import qtinfra


def compiled_modules(package: Path = Path(qtinfra.__file__).parent) -> tuple[str, ...]:
    """The names of the modules that this interpreter runs compiled; none in a plain build.

    Args:
        package: where the package is installed.
    """
    files = (path for path in package.rglob("*") if "".join(path.suffixes) in EXTENSION_SUFFIXES)
    found = sorted(path.relative_to(package.parent) for path in files)
    return tuple(_module_name(path) for path in found)


def _module_name(path: Path) -> str:
    parts = (*path.parts[:-1], path.name.partition(".")[0])
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
