"""Secrets are compared in constant time: ``hmac.compare_digest``, never ``==`` or ``in``, which stop at a difference."""

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.syntax import parse

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*(ROOT / "service").rglob("*.py"), *(ROOT / "receiver/webhook_signature").rglob("*.py")])
SECRET = re.compile(r"(^|_)(digests?|signatures?|secrets?|passwords?|tokens?|mac)$")
PUBLIC = {
    "digest != request.digest": "of a request's body, which whoever asks has written himself",
    "digest not in self._found": "found by its hash; how digests begin says nothing of the tokens they were made from",
}


def _comparisons(source: str) -> list[str]:
    found = []
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn):
            sides = (node.left, *node.comparators)
            if not any(isinstance(side, ast.Constant) for side in sides) and any(map(_is_secret, sides)):
                found.append(ast.unparse(node))
    return found


def _is_secret(side: ast.expr) -> bool:
    name = side.attr if isinstance(side, ast.Attribute) else side.id if isinstance(side, ast.Name) else ""
    return SECRET.search(name) is not None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_secret_is_compared_by_its_first_difference(path: Path) -> None:
    assert [each for each in _comparisons(path.read_text(encoding="utf-8")) if each not in PUBLIC] == []


@pytest.mark.parametrize("source", ["a.digest == b", "signature in known", "x != key.secret", "self.token == given"])
def test_such_a_comparison_is_found(source: str) -> None:
    assert _comparisons(source)


@pytest.mark.parametrize(
    "path", ["service/api/entrance/auth.py", "service/api/entrance/guesses.py", "receiver/webhook_signature/sign.py"]
)
def test_where_keys_and_signatures_are_judged_they_are_compared_in_constant_time(path: str) -> None:
    assert "hmac.compare_digest(" in (ROOT / path).read_text(encoding="utf-8")
