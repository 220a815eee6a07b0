"""Reliably ending a PostgreSQL program: asked once, then killed, together with its processes and shared memory."""

import ctypes
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
POLL_SECONDS: Final = 0.01
KILLED_SECONDS_MAX: Final = 10.0
IPC_RMID: Final = 0


def end_at_once(process: subprocess.Popen[bytes], *, seconds_max: float) -> None:
    """Request an immediate shutdown, and kill what has not ended after ``seconds_max``; this never hangs.

    A killed server cannot clean up, so its processes (each in its own session, out of reach of group signals) and its
    shared memory are looked up in /proc first. Without /proc, the processes notice by themselves that the server is
    gone, and its next start on the same data frees the memory.
    """
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGQUIT)
    try:
        process.wait(seconds_max)
    except subprocess.TimeoutExpired:
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)  # from here on it starts nothing more
    family = _descendants(process.pid)
    kept = _shared_memory_of([process.pid, *family])
    process.kill()
    for process_id in family:
        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
    deadline = time.monotonic() + KILLED_SECONDS_MAX  # a process stuck in a write to a dead disk may remain
    with suppress(subprocess.TimeoutExpired):
        process.wait(KILLED_SECONDS_MAX)
    while any(map(_is_alive, family)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    kept.free()


def _descendants(process_id: int) -> list[int]:
    parents = {int(each.name): _parent_of(each) for each in PROC.glob("[0-9]*")}
    found = [process_id]
    for known in found:  # grows during the loop
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]


def _parent_of(directory: Path) -> int:
    state = _state_of(directory)
    return int(state[1]) if state else 0


def _is_alive(process_id: int) -> bool:
    state = _state_of(PROC / str(process_id))
    return bool(state) and state[0] != "Z"


def _state_of(directory: Path) -> list[str]:
    """The fields of a process's stat file after its name, starting with state and parent; [] if it has ended."""
    try:
        return (directory / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


@dataclass(frozen=True)
class _SharedMemory:
    """Shared memory segments that outlive their creator: POSIX ones as files, System V ones as ids."""

    files: frozenset[Path]
    ids: frozenset[int]

    def free(self) -> None:
        for file in self.files:
            file.unlink(missing_ok=True)
        for each in self.ids:
            ctypes.CDLL(None).shmctl(each, IPC_RMID, None)


def _shared_memory_of(process_ids: list[int]) -> _SharedMemory:
    files, ids = set(), set()
    for process_id in process_ids:
        with suppress(OSError):
            for line in (PROC / str(process_id) / "maps").read_text().splitlines():
                _, _, _, _, inode, *name = line.split(maxsplit=5)
                if name and name[0].startswith("/dev/shm/PostgreSQL."):  # noqa: S108 - where the kernel has them
                    files.add(Path(name[0].removesuffix(" (deleted)")))
                elif name and name[0].startswith("/SYSV"):
                    ids.add(int(inode))
    return _SharedMemory(frozenset(files), frozenset(ids))
