"""The optional compiled build: a sound list, code that behaves as interpreted, plain builds left plain."""

import importlib
import importlib.machinery
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from qtinfra.bench import registry
from qtinfra.bench.harness import BenchResult
from qtinfra.infra.build import compiled_modules
from tests.support.requirements import REPO_ROOT

pytestmark = pytest.mark.unit

FOLDER = REPO_ROOT / "compiled"


def load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def compiler() -> ModuleType:
    """compiled/compile.py; skipped where its tools are not installed, as in the plain environment."""
    pytest.importorskip("Cython", reason="needs Cython: the environment of `make compiled` has it")
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("needs a C compiler")
    return load(FOLDER / "compile.py", "compiled_compile")


# --- which build runs -------------------------------------------------------------------------------------


def test_an_installation_without_extension_modules_is_plain(tmp_path: Path) -> None:
    (tmp_path / "qtinfra").mkdir()
    (tmp_path / "qtinfra" / "a.py").write_text("")
    assert compiled_modules(tmp_path / "qtinfra") == ()


def test_extension_modules_of_this_interpreter_are_named_as_they_are_imported(tmp_path: Path) -> None:
    ending = importlib.machinery.EXTENSION_SUFFIXES[0]
    (tmp_path / "qtinfra" / "engine").mkdir(parents=True)
    for name in (f"engine/kernel{ending}", f"engine/__init__{ending}", f"b{ending}", "c.cpython-20-none.so"):
        (tmp_path / "qtinfra" / name).touch()
    assert compiled_modules(tmp_path / "qtinfra") == ("qtinfra.b", "qtinfra.engine", "qtinfra.engine.kernel")


def test_the_modules_said_to_be_compiled_are_loaded_as_extensions() -> None:
    for name in compiled_modules():
        assert isinstance(importlib.import_module(name).__loader__, importlib.machinery.ExtensionFileLoader)


def test_a_benchmark_of_a_compiled_build_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    result = BenchResult(
        name="x",
        unit="order",
        ops_per_s=1.0,
        cpu_us_per_op=1.0,
        p50_us=1.0,
        p99_us=1.0,
        control=1.0,
        ratio=1.0,
        note="as it is",
        control_name="nothing",
    )
    monkeypatch.setitem(registry.BENCHES, "x", lambda scale, progress: result)
    monkeypatch.setattr(registry, "compiled_modules", lambda: ())
    assert "compiled" not in registry.run(["x"])[0].note
    monkeypatch.setattr(registry, "compiled_modules", lambda: ("qtinfra.a", "qtinfra.b"))
    note = registry.run(["x"])[0].note
    assert note.startswith("as it is; ") and note.endswith("; 2 modules compiled")


# --- the list and the hook --------------------------------------------------------------------------------


def test_every_pattern_of_the_list_matches_modules_and_all_of_them_import(compiler: ModuleType) -> None:
    modules = compiler.listed(REPO_ROOT)
    assert len(modules) > 50
    for path in modules:
        importlib.import_module(compiler.module_name(path))


def test_a_pattern_that_matches_nothing_is_refused(compiler: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "src" / "qtinfra").mkdir(parents=True)
    (tmp_path / "src" / "qtinfra" / "a.py").touch()
    hooks = "[tool.hatch.build.targets.wheel.hooks.custom]"
    (tmp_path / "pyproject.toml").write_text(
        f'{hooks}\ninclude = ["qtinfra/*"]\nexclude = ["qtinfra/b.py"]\n'
    )
    with pytest.raises(ValueError, match=r"qtinfra/b\.py in pyproject\.toml matches no module"):
        compiler.listed(tmp_path)


def test_code_without_the_marks_that_the_cache_needs_is_refused(compiler: ModuleType) -> None:
    with pytest.raises(ValueError, match="another Cython"):
        compiler.with_attribute_cache("int main(void) { return 0; }")


@pytest.mark.parametrize(
    ("version", "asked"),
    [("standard", "0"), ("standard", ""), ("editable", "1")],
    ids=lambda text: text or "unset",
)
def test_a_build_is_left_plain_unless_it_is_a_wheel_and_compiling_is_asked_for(
    version: str, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QTINFRA_COMPILE", asked)
    hook = load(FOLDER / "hook.py", "compiled_hook").CompileHook(str(REPO_ROOT), {}, None, None, "", "wheel")
    data: dict[str, object] = {"force_include": {}, "pure_python": True, "infer_tag": False}
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("it compiles"))
    hook.initialize(version, data)
    assert data == {"force_include": {}, "pure_python": True, "infer_tag": False}
    assert hook.dependencies() == ([] if asked != "1" else ["cython>=3.3", "setuptools>=77"])


# --- compiled code ----------------------------------------------------------------------------------------

SOURCE = """
from __future__ import annotations

from decimal import Decimal

import msgspec


class Frozen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    price: Decimal
    qty: int | None = None

    @property
    def value(self) -> Decimal:
        return self.price * (self.qty or 0)


class Slotted:
    __slots__ = ("price",)


class Plain:
    price = "of the class"


class Watched:
    def __getattr__(self, name: str) -> str:
        return "made up " + name


def price_of(thing: object) -> object:
    return thing.price
"""


@pytest.fixture(scope="module")
def code(compiler: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """`SOURCE`, compiled."""
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "compiled_sample.py").write_text(SOURCE)
    (built,) = compiler.compile_modules(folder, [Path("compiled_sample.py")], folder / "out")
    sys.path.insert(0, str(built.parent))
    try:
        yield importlib.import_module("compiled_sample")
    finally:
        sys.path.remove(str(built.parent))
        del sys.modules["compiled_sample"]


def test_compiled_structs_keep_their_options_and_their_annotations(code: ModuleType) -> None:
    made = msgspec.json.decode(b'["2.5",4]', type=code.Frozen)
    assert made.value == 10 and msgspec.json.encode(made) == b'["2.5",4]'
    with pytest.raises(AttributeError, match="immutable"):
        made.price = made.value
    assert isinstance(code.__loader__, importlib.machinery.ExtensionFileLoader)


def test_one_place_reads_slots_class_attributes_and_made_up_ones_in_turns(code: ModuleType) -> None:
    slotted, plain, frozen, watched = code.Slotted(), code.Plain(), code.Frozen(7), code.Watched()
    slotted.price = "in a slot"
    for _ in range(1_000):
        assert code.price_of(slotted) == "in a slot"
        assert code.price_of(plain) == "of the class"
        assert code.price_of(frozen) == 7
        assert code.price_of(watched) == "made up price"


def test_an_empty_slot_and_a_missing_attribute_raise_as_in_the_interpreter(code: ModuleType) -> None:
    slotted = code.Slotted()
    for value in (1, None, 2):
        slotted.price = value
        assert [code.price_of(slotted) for _ in range(3)] == [value] * 3
        del slotted.price
        with pytest.raises(AttributeError):
            code.price_of(slotted)
    with pytest.raises(AttributeError, match="no attribute 'price'"):
        code.price_of(object())


def test_what_is_remembered_of_a_slot_ends_with_a_change_of_its_type(code: ModuleType) -> None:
    base: Any = type("Base", (), {"__slots__": ("other", "price")})
    derived: Any = type("Derived", (base,), {})
    thing = derived()
    thing.price, thing.other = "slot", "other slot"
    assert [code.price_of(thing) for _ in range(3)] == ["slot"] * 3
    derived.price = property(lambda self: "property")
    assert [code.price_of(thing) for _ in range(3)] == ["property"] * 3
    del derived.price
    assert [code.price_of(thing) for _ in range(3)] == ["slot"] * 3
    base.price = base.other
    assert [code.price_of(thing) for _ in range(3)] == ["other slot"] * 3
    derived.__getattribute__ = lambda self, name: "all mine"
    assert [code.price_of(thing) for _ in range(3)] == ["all mine"] * 3


def test_types_that_come_and_go_at_one_place_are_told_apart(code: ModuleType) -> None:
    for number in range(500):
        slots = ("price", *(f"x{i}" for i in range(number % 7)))
        kind = type("Passing", (), {"__slots__": tuple(sorted(slots, reverse=bool(number % 2)))})
        thing = kind()
        thing.price = number
        assert [code.price_of(thing) for _ in range(2)] == [number] * 2
        del kind, thing


def test_values_read_through_the_cache_are_not_leaked(code: ModuleType) -> None:
    value = object()
    thing = code.Slotted()
    thing.price = value
    before = sys.getrefcount(value)
    for _ in range(100):
        code.price_of(thing)
    assert sys.getrefcount(value) == before


def test_the_sample_runs_alike_in_the_interpreter(tmp_path: Path) -> None:
    (tmp_path / "plain_sample.py").write_text(SOURCE)
    script = "import plain_sample as m; print(m.Frozen(2, 3).value, m.price_of(m.Watched()))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "6 made up price\n"
