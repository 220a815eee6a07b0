"""The folders and the layers that the documents name are those there are."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
TOP = ("service", "receiver", "migrations", "requirements", "deploy", "docs", "bench", "tests")


def _named() -> Iterator[str]:
    """The folders in the tree of docs/architecture.md: two spaces for each level, and a sentence for each."""
    tree = ARCHITECTURE.partition("## Folders")[2].partition("```\n")[2].partition("```")[0]
    way: list[str] = []
    for line in tree.splitlines():
        found = re.fullmatch(r"((?:  )*)([\w.-]+)/ +(\S.*)", line)
        assert found, line
        way[len(found[1]) // 2 :] = [found[2]]
        yield "/".join(way)


def _is_source(path: Path) -> bool:
    is_made = re.compile(r"__pycache__|\..*|.*\.egg-info")
    return path.is_file() and not any(map(is_made.fullmatch, path.relative_to(ROOT).parts))


def test_the_architecture_names_every_folder() -> None:
    files = [path.relative_to(ROOT) for top in TOP for path in (ROOT / top).rglob("*") if _is_source(path)]
    there = {str(folder) for path in files for folder in path.parents} - {"."}
    named = list(_named())
    assert sorted(set(named)) == sorted(named)
    assert set(named) == there


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_the_documents_draw_the_layers_that_the_linter_holds(name: str) -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in linter["contracts"] if contract["id"] == "layers")
    held = [re.findall(r"\w+", layer) for layer in layers if "__main__" not in layer]
    drawn = re.search(r"^cli → .*$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert drawn is not None
    assert [set(re.findall(r"\w+", layer)) for layer in drawn[0].split(" → ")] == [
        *map(set, held),
        {"webhook_signature"},
    ]
