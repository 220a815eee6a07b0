"""SECURITY.md: each threat has a defence and tests that show it, and those tests are there."""

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.syntax import parse

ROOT = Path(__file__).resolve().parents[2]
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
TABLE = SECURITY.partition("## Threats")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")] for line in TABLE.splitlines() if line.startswith("| ")
][1:]
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", SECURITY)))


def test_the_table_is_read() -> None:
    assert len(ROWS) > 20
    assert len(NAMED) > len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_threat_has_a_defence_and_a_test(row: list[str]) -> None:
    _, defence, shown_by = row
    assert defence
    assert re.fullmatch(r"`[\w/]+\.py::test_\w+`(, `[\w/]+\.py::test_\w+`)*", shown_by.removesuffix(" |"))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_test_that_is_named_exists(path: str, name: str) -> None:
    tree = parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
