"""What to do next, ready to paste."""

import shlex
import shutil
import sys
from pathlib import Path

from service.cli.terminal import tell


def suggest(*commands: str, when: str = "") -> None:
    """Tell the next command, or the choice of them, with how this program was called in front. On stderr."""
    tell(f"\nNext{when}:")
    for command in commands:
        tell(f"  {called_as()} {command}")


def words(*each: str) -> str:
    """One command's words, quoted for the shell where they need it."""
    return shlex.join(each)


def called_as(*, anywhere: bool = False) -> str:
    """How a shell calls this program: by name where the PATH finds it, else the way it was called now.

    ``anywhere``: from any directory, and by shells with another PATH.
    """
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return words(sys.executable, "-m", "service")
    found = shutil.which(program.name)
    if not anywhere and found is not None and program.exists() and Path(found).samefile(program):
        return program.name
    return words(str(program.absolute()) if anywhere else sys.argv[0])
