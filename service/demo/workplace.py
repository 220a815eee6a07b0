"""A private directory that goes when the demo ends. After kill -9 the next demo sweeps it up."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "posthorn-demo-"
LOCK: Final = "lock"


@contextmanager
def demo_directory() -> Iterator[Path]:
    """Make the directory; remove it at the end, and those that killed demos left."""
    _sweep()
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        # Locked before it bears its name, so that no other demo ever sees this one's lock free while we live.
        draft = directory / "lock.draft"
        with draft.open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            draft.rename(directory / LOCK)
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _sweep() -> None:
    for lock_path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError):  # another user's, another demo's, or gone by now
            directory = lock_path.parent
            if directory.stat().st_uid == os.geteuid() and not directory.is_symlink():
                with lock_path.open("rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(directory)
