"""Hints: the next command, ready to paste."""

import shlex
import shutil
import sys
from pathlib import Path

from service.cli.terminal import shown, tell


def suggest(*commands: str, when: str = "") -> None:
    """Print the next command, or a choice of commands, to stderr, as a shell would call them."""
    tell(f"\nNext{when}:")
    for command in commands:
        tell(f"  {called_as()} {shown(command)}")  # ids in it may come from outside


def words(*each: str) -> str:
    """Join a command's words, quoted for the shell as needed."""
    return shlex.join(each)


def add_endpoint_command(organization_id: str | None) -> str:
    """The command that adds an endpoint, with an example URL."""
    whose = ("--organization", organization_id) if organization_id is not None else ()
    return words("endpoints", "add", *whose, "--url", "https://hooks.example.com/", "--event-types", "message.sent")


def called_as(*, anywhere: bool = False) -> str:
    """How a shell calls this program: by name if it is on the PATH, else as it was called now.

    ``anywhere`` gives a form that works from any directory and with any PATH.
    """
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return words(sys.executable, "-m", "service")
    found = shutil.which(program.name)
    if not anywhere and found is not None and program.exists() and Path(found).samefile(program):
        return program.name
    return words(str(program.absolute()) if anywhere else sys.argv[0])
