"""--help: what is said of each command breaks between words, never inside one."""

import os
import re
import subprocess
import sys

import pytest
import typer

from service.cli import application


def paths(command: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command and group, by the words that name it."""
    inner: dict[str, object] = getattr(getattr(command, "real", command), "commands", {})
    return [path, *(each for name, below in inner.items() for each in paths(below, (*path, name)))]


def application_paths() -> list[tuple[str, ...]]:
    """Those of ``posthorn``."""
    return paths(typer.main.get_command(application))


def words_of(text: str) -> set[str]:
    return set(re.sub("[╭╮╰╯│─]", " ", text).split())


def helps(width: int, every: list[tuple[str, ...]]) -> list[str]:
    """What each says on a terminal so wide; one process for all, which is seconds faster."""
    program = """
import sys
from service.cli import application
for line in sys.stdin.read().splitlines():
    try:
        application([*line.split(), "--help"], prog_name="posthorn")
    except SystemExit:
        print("\\f")
"""
    environ = os.environ | {"COLUMNS": str(width), "TERMINAL_WIDTH": str(width), "PYTHONIOENCODING": "utf-8"}
    asked = "\n".join(" ".join(path) for path in every)
    done = subprocess.run(
        [sys.executable, "-c", program], input=asked, env=environ, capture_output=True, encoding="utf-8", check=True
    )
    return done.stdout.split("\f")


def test_of_a_wrong_value_it_is_said_only_what_is_wrong() -> None:
    for command in (["stats", "show", "--period", "9d"], ["deliveries", "list", "--state", "dea"]):
        program = [sys.executable, "-m", "service", *command]
        done = subprocess.run(program, check=False, capture_output=True, encoding="utf-8")
        assert (done.returncode, f"Invalid value for '{command[2]}': '{command[3]}' is not" in done.stderr) == (2, True)


@pytest.mark.parametrize("width", [80, 100])
def test_no_word_is_broken(width: int) -> None:
    every = application_paths()
    assert ("deliveries", "list") in every
    for path, narrow, wide in zip(every, helps(width, every), helps(400, every), strict=False):
        assert words_of(narrow) - words_of(wide) == set(), path
        assert max(map(len, narrow.splitlines())) <= width
