"""The rules of docs/architecture.md that a machine can check."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.syntax import parse

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "manager", "models", "services", "handlers"}
SHIPPED = [*sorted((ROOT / "service").rglob("*.py")), *sorted((ROOT / "receiver").rglob("*.py"))]
SOURCES = [
    path
    for folder in ("service", "receiver", "migrations", "tests", "bench")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_keep_to_the_layers(tmp_path: Path) -> None:
    program = shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or "lint-imports"
    checked = subprocess.run(
        [program, "--no-logo", "--cache-dir", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("path", SHIPPED, ids=_name)
def test_a_file_and_its_functions_can_be_read_at_once(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= FILE_LINES_MAX
    long = {name: lines for name, lines in _functions(source) if lines > FUNCTION_LINES_MAX}
    assert not long


def _functions(source: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_every_module_has_a_noun_for_a_name() -> None:
    nameless = [_name(path) for path in SHIPPED if FORBIDDEN_NAMES & {path.stem, *path.relative_to(ROOT).parts}]
    assert not nameless


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=_name)
def test_tests_wait_for_what_happened_and_never_for_time(path: Path) -> None:
    """Only a function inside a test may: a receiver that is slow on purpose. And ``asyncio.sleep(0)`` is no nap."""
    naps = [call.lineno for call in _calls(parse(path.read_text(encoding="utf-8"))) if _is_nap(call)]
    assert not naps


def _calls(tree: ast.AST, depth: int = 0) -> Iterator[ast.Call]:
    """The calls outside of functions within functions."""
    for node in ast.iter_child_nodes(tree):
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if is_function and depth:
            continue
        if isinstance(node, ast.Call):
            yield node
        yield from _calls(node, depth + is_function)


def _is_nap(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    return name in {"sleep", "time.sleep", "asyncio.sleep"} and ast.unparse(call.args[0]) != "0"


def test_nothing_is_left_for_later() -> None:
    mark = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X])\b")  # the brackets keep this line from being found
    unfinished = [_name(path) for path in SOURCES if mark.search(path.read_text(encoding="utf-8"))]
    assert not unfinished


def test_core_reads_no_clock() -> None:
    """The import rules cannot see this: ``datetime`` is a value and a clock in one."""
    clock = re.compile(r"\b(datetime\.now|datetime\.utcnow|datetime\.today|date\.today|uuid[1-8]\(\))")
    inner = [path for path in SHIPPED if path.parts[len(ROOT.parts) + 1] in {"core", "flow", "ports"}]
    assert inner
    assert not [_name(path) for path in inner if clock.search(path.read_text(encoding="utf-8"))]


def test_status_codes_are_judged_in_one_place() -> None:
    """A comparison of something called status with a number, anywhere but in core/deliveries/outcome.py."""
    judges = re.compile(r"\bstatus(_code)?\s*(==|!=|<=|>=|<|>|in)\s*[({\[]?\s*[1-9]")
    where = [_name(path) for path in SHIPPED if judges.search(path.read_text(encoding="utf-8"))]
    assert where == ["service/core/deliveries/outcome.py"]
