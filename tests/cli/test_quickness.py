"""--help, --version and completion answer at once: they load none of the libraries that commands work with."""

import subprocess
import sys

import pytest

from service.cli.lazy import ALONE, GROUPS, Lazy
from tests.cli.test_help import application_paths

SLOW = {"aio_pika", "aiohttp", "aiormq", "alembic", "asyncpg", "cryptography", "jinja2", "jsonschema", "sqlalchemy"}
"""They take most of a command's start; pydantic as well, which typer loads itself to read values."""
NOT_FOR_HELP = SLOW | {"asyncio", "markdown_it", "pydantic", "pygments"}
"""A third of the time that a help took; it must answer within 0.3 s."""
PROGRAM = """
import os, sys
{setup}
from service.cli import application
try:
    application(sys.argv[1:], prog_name="posthorn")
except SystemExit as end:
    code = end.code
os.write(2, "\\n".join(["LOADED", *sys.modules]).encode())
os._exit(code or 0)
"""


def run(*arguments: str, setup: str = "") -> tuple[str, set[str]]:
    """What a command prints, and the packages that it loads."""
    program = [sys.executable, "-c", PROGRAM.format(setup=setup), *arguments]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    said, _, loaded = done.stderr.partition("LOADED\n")
    return done.stdout + said, {each.partition(".")[0] for each in loaded.split()}


@pytest.mark.parametrize(
    "arguments", [("--version",), ("--help",), *((name, "--help") for name in GROUPS)], ids=" ".join
)
def test_what_is_asked_most_loads_nothing_slow(arguments: tuple[str, ...]) -> None:
    printed, loaded = run(*arguments)
    assert printed
    assert loaded & NOT_FOR_HELP == set()


def test_the_help_of_no_command_loads_anything_slow() -> None:
    """In one process, as each loads little: whatever one of them loads is found."""
    commands = [path for path in application_paths() if path]
    setup = f"""
from service.cli import application
for path in {commands!r}:
    try:
        application([*path, "--help"], prog_name="posthorn")
    except SystemExit:
        pass
"""
    printed, loaded = run("--version", setup=setup)
    assert all(f"posthorn {' '.join(path)} " in printed for path in commands)
    assert loaded & NOT_FOR_HELP == set()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("posthorn end", "endpoints"),
        ("posthorn endpoints re", "recover"),
        ("posthorn endpoints add --sig", "--signature-style"),
    ],
)
def test_completion_loads_nothing_slow(typed: str, offered: str) -> None:
    environ = {"_POSTHORN_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    printed, loaded = run(setup=f"os.environ.update({environ!r})")
    assert offered in printed.split()
    assert loaded & SLOW == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_shown_for_the_shell_that_runs(shell: str) -> None:
    setup = f"import shellingham; shellingham.detect_shell = lambda: ({shell!r}, '/bin/' + {shell!r})"
    printed, _ = run("--show-completion", setup=setup)
    assert f"complete_{shell}" in printed


@pytest.mark.parametrize("name", ALONE)
def test_the_list_of_commands_says_what_the_command_says(name: str) -> None:
    lazy = Lazy(name, *ALONE[name])
    assert lazy.real.help.startswith(lazy.help)
