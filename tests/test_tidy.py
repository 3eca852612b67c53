"""Style rules that a linter does not know, checked on the syntax tree of src/qtinfra.

Each rule has snippets that it must flag and snippets that it must let pass: the rule itself is tested.
An exception goes into the allow-list of its rule, with the reason.
"""

import ast
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from tests.support.requirements import REPO_ROOT, require_tool

DETERMINISTIC = ("core", "engine", "execution", "risk", "router", "positions")
FLOAT_FREE = ("core", "engine", "risk", "router", "positions")

FLOAT_ALLOWED: dict[str, str] = {  # module -> reason
    "qtinfra.core.impact.estimate": "a cost model before the order; only its report leaves",
    "qtinfra.core.impact.outflow": "probability distributions",
    "qtinfra.core.impact.participation": "curves are weights; what leaves is integer lots",
    "qtinfra.core.impact.power_law": "an impact model; only its estimate leaves",
    "qtinfra.core.impact.queues": "expected costs and probabilities; router.placement turns them into lots",
    "qtinfra.core.impact.trajectory": "hyperbolic functions; planners journal them as integer lots",
    "qtinfra.core.impact.within": "expected costs and probabilities; router.placement turns them into lots",
    "qtinfra.core.impact.transient": "an impact model; only its estimate leaves",
    "qtinfra.core.strategies.schedule": "takes planners' weights; integer lots leave it",
    "qtinfra.core.strategies.inputs": "passes planners' weights on; integer lots leave it",
    "qtinfra.core.strategies.shortfall": "an optimiser in floats; its plan is journaled as integer lots",
}
BROAD_ALLOWED = {  # module -> reason
    "qtinfra.engine.kernel": "our own fault becomes a quarantine record, never a crash loop",
    "qtinfra.runtime.disk_thread": "whatever the work raises is handed to the task that waits for it",
}
ENTRY_POINTS = {  # module -> who runs it
    "qtinfra.__main__": "python -m qtinfra",
    "qtinfra.bench.__main__": "python -m qtinfra.bench and make bench",
    "qtinfra.cli": "the console script",
    "qtinfra.testing.conformance": "make conformance",
    "qtinfra.testing.prove.__main__": "make prove",
}
MAX_FUNCTION_LINES = 70
MAX_MODULE_LINES = 700
LONG_FUNCTIONS: dict[str, int] = {}  # "module:function" -> its length today, which may only shrink
LONG_MODULES: dict[str, int] = {}  # module -> its length today, which may only shrink

BANNED_IMPORTS = {"asyncio", "logging", "os", "random", "secrets", "socket", "threading", "uuid"}
BANNED_MODULE_NAMES = {"common", "helper", "helpers", "misc", "util", "utils"}
BANNED_WORDS = ("production-ready", "military-grade", "100% compliant")
BROAD = {"Exception", "BaseException"}
CLOCK_READERS = {"now", "today", "utcnow"}
FORGETS_ORDER = {"all", "any", "frozenset", "len", "set", "sorted", "sum"}
KEEPS_ORDER = {"enumerate", "filter", "iter", "list", "map", "tuple", "zip"}
SETS = {"set", "frozenset"}

Finding = tuple[int, str]
Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Module:
    name: str
    text: str
    is_package: bool = False

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text)))

    @property
    def package(self) -> str:
        return self.name.partition(".")[2].partition(".")[0]


def read(path: Path, root: Path) -> Module:
    parts = path.relative_to(root).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    return Module(".".join(parts[:-1] if is_package else parts), path.read_text("utf-8"), is_package)


SOURCES = [read(path, REPO_ROOT / "src") for path in sorted((REPO_ROOT / "src").rglob("*.py"))]
TESTS = [read(path, REPO_ROOT) for path in sorted((REPO_ROOT / "tests").rglob("*.py"))]


# -- names and imports -----------------------------------------------------------------------------


def imports(module: Module) -> Iterator[tuple[int, str, str | None]]:
    """Yield (line, absolute module, name taken from it or None)."""
    for node in module.nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.name.split(".")
            base = base[: len(base) - node.level + module.is_package] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, origin, alias.name) for alias in node.names)


def name_of(node: ast.AST | None) -> str:
    """Return the last name of `a`, `x.a`, `a(...)` or `a[...]`, or an empty string."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return name_of(inner)
    return ""


def root_of(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


# -- rules of the deterministic core ---------------------------------------------------------------


def wall_clock(module: Module) -> Iterator[Finding]:
    for line, origin, _ in imports(module):
        if origin == "time":
            yield line, "reads the clock: take `now` as an argument"
    dated = {
        alias.asname or alias.name
        for node in module.nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if alias.name in {"datetime", "date"}
    }
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and node.attr in CLOCK_READERS and root_of(node) in dated:
            yield node.lineno, f"{node.attr} reads the clock: take `now` as an argument"


def nondeterminism(module: Module) -> Iterator[Finding]:
    for line, origin, _ in imports(module):
        if origin.split(".")[0] in BANNED_IMPORTS:
            yield line, f"imports {origin}: randomness, I/O and the environment stay outside"


def set_iteration(module: Module) -> Iterator[Finding]:
    named = set(set_names(module))
    harmless = {
        id(argument)
        for node in module.nodes
        if isinstance(node, ast.Call) and name_of(node.func) in FORGETS_ORDER
        for argument in node.args
    }
    for node in module.nodes:
        walked: list[ast.expr] = []
        if isinstance(node, ast.For):
            walked = [node.iter]
        elif isinstance(node, Comprehension) and not isinstance(node, ast.SetComp):
            walked = [part.iter for part in node.generators] if id(node) not in harmless else []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KEEPS_ORDER:
            walked = node.args if id(node) not in harmless else []
        elif isinstance(node, ast.Starred):
            walked = [node.value]
        for expression in walked:
            if is_set(expression, named):
                yield expression.lineno, "iterates over a set: its order differs between processes, sort it"


def set_names(module: Module) -> Iterator[str]:
    """Yield the names that the module annotates or assigns as sets: a heuristic, by name and not by scope."""
    for node in module.nodes:
        match node:
            case ast.arg(arg=name, annotation=annotation) if name_of(annotation) in SETS:
                yield name
            case ast.AnnAssign(target=target, annotation=annotation) if name_of(annotation) in SETS:
                yield name_of(target)
            case ast.Assign(targets=targets, value=value) if is_set(value, set()):
                yield from map(name_of, targets)


def is_set(node: ast.expr, named: set[str]) -> bool:
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in SETS
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
            return is_set(left, named) or is_set(right, named)
        case ast.Name() | ast.Attribute():
            return name_of(node) in named
    return False


def floats(module: Module) -> Iterator[Finding]:
    """Floats in money code; `isinstance(x, float)`, which keeps them out, is fine."""
    if module.name in FLOAT_ALLOWED:
        return
    guards = {
        id(inner)
        for node in module.nodes
        if isinstance(node, ast.Call) and name_of(node.func) == "isinstance"
        for inner in ast.walk(node)
    }
    for node in module.nodes:
        match node:
            case ast.Constant(value=float() as value):
                yield node.lineno, f"float literal {value}: use Decimal or integer lots"
            case ast.Name(id="float") if id(node) not in guards:
                yield node.lineno, "float: use Decimal or integer lots"


# -- rules for all of src --------------------------------------------------------------------------


def broad_except(module: Module) -> Iterator[Finding]:
    if module.name in BROAD_ALLOWED:
        return
    for node in module.nodes:
        caught: list[ast.expr | None]
        match node:
            case ast.ExceptHandler(type=ast.Tuple(elts=kinds)):
                caught = [*kinds]
            case ast.ExceptHandler(type=kind):
                caught = [kind]
            case ast.Call(args=kinds) if name_of(node) == "suppress":
                caught = [*kinds]
            case _:
                continue
        if any(kind is None or name_of(kind) in BROAD for kind in caught):
            yield node.lineno, "catches everything: name the errors that are expected here"


def prints(module: Module) -> Iterator[Finding]:
    if module.package == "cli":
        return
    for node in module.nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield node.lineno, "print outside the command line"


def vague_name(module: Module) -> Iterator[Finding]:
    if module.name.split(".")[-1] in BANNED_MODULE_NAMES:
        yield 1, "a module is named after what it is for"


def notes_to_self(module: Module) -> Iterator[Finding]:
    """XXX counts in comments only: it is also a currency code."""
    for line, text in enumerate(module.text.splitlines(), 1):
        if re.search(r"\b(TODO|FIXME)\b|#.*\bXXX\b", text):
            yield line, "a note to self: do it, or open an issue"


def bare_type_ignore(module: Module) -> Iterator[Finding]:
    for line, text in enumerate(module.text.splitlines(), 1):
        if re.search(r"#\s*type:\s*ignore(?!\[)", text):
            yield line, "type: ignore without an error code"


def named_subscript(module: Module) -> Iterator[Finding]:
    for node in module.nodes:
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.NamedExpr):
            yield node.lineno, "an assignment in a subscript: Cython (`make compiled`) does not take it"


def long_function(module: Module) -> Iterator[Finding]:
    for node in module.nodes:
        if isinstance(node, Function):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            yield from ratchet(node.lineno, length, LONG_FUNCTIONS, f"{module.name}:{node.name}")


def long_module(module: Module) -> Iterator[Finding]:
    yield from ratchet(1, len(module.text.splitlines()), LONG_MODULES, module.name)


def ratchet(line: int, length: int, allowances: dict[str, int], key: str) -> Iterator[Finding]:
    limit = MAX_FUNCTION_LINES if allowances is LONG_FUNCTIONS else MAX_MODULE_LINES
    if length > allowances.get(key, limit):
        yield line, f"{key} has {length} lines, {allowances.get(key, limit)} are allowed: split it"
    elif key in allowances and length < allowances[key]:
        yield line, f"{key} has shrunk to {length} lines: lower or remove its allowance"


# -- the table of rules and their tests ------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    check: Callable[[Module], Iterable[Finding]]
    bad: tuple[str, ...]
    good: tuple[str, ...] = ()
    packages: tuple[str, ...] | None = None
    snippet_name: str = "qtinfra.core.snippet"

    def __str__(self) -> str:
        return self.check.__name__


RULES = [
    Rule(
        wall_clock,
        bad=(
            "import time",
            "from time import monotonic_ns",
            "from datetime import datetime as dt\ndt.now()",
            "import datetime\ndatetime.datetime.utcnow()",
            "from datetime import date\nkey = date.today",
        ),
        good=("from datetime import time, timedelta", "command.now", "clock.now()"),
        packages=DETERMINISTIC,
    ),
    Rule(
        nondeterminism,
        bad=(
            "import random",
            "from os import path",
            "import os.path",
            "def f():\n    from uuid import uuid4",
        ),
        good=("from qtinfra.core import random_walk", "import operator"),
        packages=DETERMINISTIC,
    ),
    Rule(
        set_iteration,
        bad=(
            "for x in {1, 2}: pass",
            "for x in set(a) | b: pass",
            "[x for x in frozenset(a)]",
            "{k: 1 for k in {x for x in a}}",
            "seen = set()\nfor x in seen: pass",
            "class A:\n    ids: frozenset[str]\ndef f(a): return list(a.ids)",
            "def f(ids: set[str]): return (*ids,)",
        ),
        good=(
            "for x in sorted(set(a)): pass",
            "any(x > 1 for x in {1, 2})",
            "{x + 1 for x in {1, 2}}",
            "for x in dict.fromkeys(a): pass",
        ),
        packages=DETERMINISTIC,
    ),
    Rule(
        floats,
        bad=("a = 0.1", "float(a)", "def f(a: float): pass", "b: dict[str, float] = {}", "c = 1e3"),
        good=("isinstance(a, float)", "isinstance(a, (int, float))", "a = 1", "Decimal('0.1')"),
        packages=FLOAT_FREE,
    ),
    Rule(
        broad_except,
        bad=(
            "try: f()\nexcept: pass",
            "try: f()\nexcept Exception: pass",
            "try: f()\nexcept (ValueError, BaseException): pass",
            "with contextlib.suppress(Exception): f()",
        ),
        good=("try: f()\nexcept (ValueError, KeyError): pass",),
    ),
    Rule(prints, bad=("print(1)",), good=("console.print(1)",)),
    Rule(vague_name, bad=("",), snippet_name="qtinfra.core.utils"),
    Rule(notes_to_self, bad=("# TODO: later", "'FIXME'", "f()  # XXX"), good=("NO_CURRENCY = 'XXX'",)),
    Rule(
        bare_type_ignore, bad=("a = 1  # type: ignore", "a = 1  #type:ignore"), good=("# type: ignore[misc]",)
    ),
    Rule(named_subscript, bad=("sizes[qty := order.qty]",), good=("qty = order.qty\nsizes[qty]",)),
    Rule(long_function, bad=("def f():\n" + "    x = 1\n" * 70,), good=("def f():\n" + "    x = 1\n" * 69,)),
    Rule(long_module, bad=("x = 1\n" * 701,), good=("x = 1\n" * 700,)),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_sources_keep_the_rule(rule: Rule) -> None:
    in_scope = [module for module in SOURCES if rule.packages is None or module.package in rule.packages]
    broken = [f"{module.name}:{line}: {why}" for module in in_scope for line, why in rule.check(module)]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_rule_flags_each_bad_snippet_and_no_good_one(rule: Rule) -> None:
    assert [text for text in rule.bad if not list(rule.check(Module(rule.snippet_name, text)))] == []
    assert [text for text in rule.good if list(rule.check(Module(rule.snippet_name, text)))] == []


def test_print_is_allowed_in_the_command_line() -> None:
    assert not list(prints(Module("qtinfra.cli.demo", "print(1)")))


def test_a_length_allowance_may_only_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LONG_MODULES, "qtinfra.big", 800)
    lengths = {n: bool(list(long_module(Module("qtinfra.big", "x = 1\n" * n)))) for n in (799, 800, 801)}
    assert lengths == {799: True, 800: False, 801: True}


def test_every_allowance_belongs_to_something_that_exists() -> None:
    functions = {
        f"{module.name}:{node.name}"
        for module in SOURCES
        for node in module.nodes
        if isinstance(node, Function)
    }
    modules = {module.name for module in SOURCES}
    assert LONG_FUNCTIONS.keys() <= functions
    assert LONG_MODULES.keys() | FLOAT_ALLOWED.keys() <= modules


# -- dead modules ----------------------------------------------------------------------------------


def dead(sources: list[Module], users: list[Module]) -> list[str]:
    """Return the modules that nothing imports; importing a module imports its parent packages too."""
    used = set(ENTRY_POINTS)
    for user in users:
        for _, origin, taken in imports(user):
            path = f"{origin}.{taken}".split(".")
            used |= {".".join(path[:end]) for end in range(1, len(path) + 1)} - {user.name}
    return [module.name for module in sources if module.name not in used]


def test_every_module_is_imported_or_is_an_entry_point() -> None:
    assert dead(SOURCES, SOURCES + TESTS) == []


def test_a_module_that_nothing_imports_is_found() -> None:
    package = Module("qtinfra.a", "from . import used", is_package=True)
    user = Module("qtinfra.a.user", "from .other import f\nfrom qtinfra.a.user import me")
    sources = [package, user, Module("qtinfra.a.used", ""), Module("qtinfra.a.other", "")]
    assert dead([*sources, Module("qtinfra.a.left_over", "")], sources) == [
        "qtinfra.a.user",
        "qtinfra.a.left_over",
    ]


# -- words -----------------------------------------------------------------------------------------


def boasts(text: str) -> list[str]:
    return [word for word in BANNED_WORDS if word in text.lower()]


def test_no_file_boasts() -> None:
    git = require_tool("git")
    listing = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO_ROOT,
        capture_output=True,
        check=True,
    )
    names = listing.stdout.decode().rstrip("\0").split("\0")
    paths = [
        path for path in (REPO_ROOT / name for name in names) if path.is_file() and path != Path(__file__)
    ]
    broken = [
        f"{path}: {word}" for path in paths for word in boasts(path.read_text("utf-8", errors="ignore"))
    ]
    assert paths
    assert not broken, "\n".join(broken)


def test_a_boast_is_found_in_any_case() -> None:
    assert boasts("A Production-Ready system, 100% compliant.") == ["production-ready", "100% compliant"]
