"""A private directory that is removed when the demo ends; after kill -9, the next demo removes it."""

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
    """Create the directory and remove it at the end; also remove those that killed demos left."""
    _sweep()
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        # Locked before it gets its name, so that no other demo sees this lock free while we run.
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
