"""The build hook: compiles the listed modules into the wheel when QTINFRA_COMPILE=1, else does nothing.

The list stands in pyproject.toml beside this hook's path. See docs/compiled.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: What compiling needs besides a C compiler.
TOOLS = ["cython>=3.3", "setuptools>=77"]


def wanted() -> bool:
    """Whether this build shall be compiled."""
    return os.environ.get("QTINFRA_COMPILE") == "1"


class CompileHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds extension modules to a wheel and says so in its tag; leaves every other build as it is."""

    def dependencies(self) -> list[str]:
        return TOOLS if wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and have the wheel take what came out.

        Raises:
            subprocess.CalledProcessError: a module does not compile.
        """
        if version != "standard" or not wanted():
            return
        root = Path(self.root)
        out = root / "build" / "compiled"
        subprocess.run([sys.executable, root / "compiled" / "compile.py", out], cwd=root, check=True)
        library = out / "lib"
        for path in sorted(library.rglob("*")):
            if path.is_file():
                build_data["force_include"][str(path)] = path.relative_to(library).as_posix()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
