"""`python compiled/compile.py OUT`: the listed modules as extension modules in OUT/lib, C files beside it."""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Distribution, Extension

ROOT = Path(__file__).resolve().parents[1]
HEADER = Path(__file__).with_name("attribute_cache.h")

#: Types stand in annotations for checkers, not for the compiler: nothing is converted or refused by them.
DIRECTIVES = {"language_level": 3, "annotation_typing": False, "binding": True, "embedsignature": False}
#: Where Cython's own functions are declared and where they are defined; the modules' code is between the two.
_CODE_BEGINS = "/* #### Code section: module_declarations ### */"
_CODE_ENDS = "/* #### Code section: utility_code_def ### */"
_CACHED = """
#include "attribute_cache.h"
#ifdef QTINFRA_ATTRIBUTE_CACHE
#define __Pyx_PyObject_GetAttrStr(object, name) QTINFRA_GET_ATTRIBUTE(object, name)
#endif
"""
_NOT_CACHED = """
#ifdef QTINFRA_ATTRIBUTE_CACHE
#undef __Pyx_PyObject_GetAttrStr
#endif
"""


def listed(root: Path) -> list[Path]:
    """The modules that are compiled, as paths below `src`: what `include` matches and `exclude` does not.

    Raises:
        ValueError: a pattern that matches no module.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    options = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    modules = sorted(path.relative_to(root / "src") for path in (root / "src").rglob("*.py"))
    for pattern in (*options["include"], *options["exclude"]):
        if not _matching(modules, [pattern]):
            raise ValueError(f"{pattern} in pyproject.toml matches no module")
    left_out = set(_matching(modules, options["exclude"]))
    return [path for path in _matching(modules, options["include"]) if path not in left_out]


def _matching(modules: Iterable[Path], patterns: Iterable[str]) -> list[Path]:
    chosen = tuple(patterns)
    return [path for path in modules if any(fnmatchcase(path.as_posix(), each) for each in chosen)]


def module_name(path: Path) -> str:
    """The import name of a module below `src`."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def with_attribute_cache(code: str) -> str:
    """C code of a module that remembers where attributes lie.

    Raises:
        ValueError: Cython's C files are no longer laid out as this expects.
    """
    if code.count(_CODE_BEGINS) != 1 or code.count(_CODE_ENDS) != 1:
        raise ValueError("the C code has no marks where a module's own code begins and ends: another Cython?")
    return code.replace(_CODE_BEGINS, _CODE_BEGINS + _CACHED).replace(_CODE_ENDS, _NOT_CACHED + _CODE_ENDS)


def compile_modules(source: Path, modules: Iterable[Path], out: Path) -> list[Path]:
    """Compile modules below `source`; the extension modules in `out`/lib, under the packages' folders.

    Raises:
        CompileError: Cython or the C compiler refuses a module.
    """
    shutil.rmtree(out, ignore_errors=True)
    extensions = [Extension(_extension_name(path), [str(source / path)]) for path in modules]
    extensions = cythonize(
        extensions,
        build_dir=str(out / "c"),
        compiler_directives=DIRECTIVES,
        nthreads=os.cpu_count() if len(extensions) > 1 else 0,
        force=True,
        quiet=True,
    )
    for extension in extensions:
        for name in extension.sources:
            code = Path(name)
            code.write_text(with_attribute_cache(code.read_text("utf-8")), "utf-8")
        extension.include_dirs.append(str(HEADER.parent))
        extension.extra_compile_args += ["-O2", "-g0", "-w"]
    build = Distribution({"name": "qtinfra", "ext_modules": extensions}).get_command_obj("build_ext")
    build.build_lib, build.build_temp = str(out / "lib"), str(out / "objects")
    build.parallel = os.cpu_count()
    build.ensure_finalized()
    build.run()
    return sorted(path for path in (out / "lib").rglob("*") if path.is_file())


def _extension_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts)


if __name__ == "__main__":
    built = compile_modules(ROOT / "src", listed(ROOT), Path(sys.argv[1]))
    sys.stderr.write(f"compiled {len(built)} modules\n")
