"""Starting PostgreSQL's programs so that they end with this process, and as another user if it is root."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, Final

AS_SOMEBODY: Final = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
"""A separate user namespace: files still belong to root outside, but inside it no process is root."""

GUARD: Final = """
import ctypes, os, signal, sys
parent_id, user_id, group_id, *command = sys.argv[1:]
if user_id != "-":
    os.setgroups([]), os.setgid(int(group_id)), os.setuid(int(user_id))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(signal.SIGINT))  # PR_SET_PDEATHSIG, after setuid, which would clear it
if os.getppid() == int(parent_id):  # else the parent was gone before it could be waited for
    os.execvp(command[0], command)
"""
"""Runs in the child, then execs the program. It is a separate script because forking Python with threads is unsafe."""


class Launcher:
    """Runs PostgreSQL's programs on this machine, for the data in ``directory``.

    As a normal user: directly. As root: in a user namespace; if those are forbidden, as the user ``nobody``, who then
    owns the data, with a copy of the programs (29 MB, beside the data) if ``nobody`` cannot read the original ones.
    On Linux the kernel sends SIGINT, PostgreSQL's fast shutdown, when the thread that called ``spawn`` ends, so even
    kill -9 leaves nothing behind. On other systems a killed parent leaves the server running.
    """

    def __init__(self, binaries: Path, directory: Path) -> None:
        self._binaries = binaries
        self._directory = directory
        self._prefix: tuple[str, ...] = ()
        self._user: pwd.struct_passwd | None = None
        if os.geteuid() == 0:
            self._give_up_root()

    def _give_up_root(self) -> None:
        self._prefix = AS_SOMEBODY
        if self._can_run():
            return
        self._prefix = ()
        self._user = pwd.getpwnam("nobody")
        if not self._can_run():
            self._binaries = self._copy_binaries()

    def own(self) -> None:
        """Give the data directory to the user that PostgreSQL runs as, if that is a different user."""
        if self._user is not None:
            for path in (self._directory, *self._directory.rglob("*")):
                os.chown(path, self._user.pw_uid, self._user.pw_gid, follow_symlinks=False)

    def spawn(self, command: list[str], log: IO[bytes], *, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a program in its own session, so that Ctrl-C reaches only this process, which then stops it."""
        user_id, group_id = (str(self._user.pw_uid), str(self._user.pw_gid)) if self._user else ("-", "-")
        guard = [sys.executable, "-I", "-S", "-c", GUARD, str(os.getpid()), user_id, group_id]
        program = str(self._binaries / command[0])
        # The error messages searched for are in English, and the user's PGPORT must not redirect the programs.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return subprocess.Popen(  # noqa: S603 - known programs, and no shell
            [*guard, *self._prefix, program, *command[1:]],
            env={**environment, "LC_ALL": "C"},
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _can_run(self) -> bool:
        with Path(os.devnull).open("wb") as nowhere:
            return self.spawn(["postgres", "--version"], nowhere).wait() == 0

    def _copy_binaries(self) -> Path:
        """Copy the programs and the libraries that the wheel put beside them, keeping their relative places."""
        installed = self._binaries.parent
        package, libraries = installed.parent, installed.parent.with_suffix(".libs")
        copy = self._directory / "programs"
        shutil.rmtree(copy, ignore_errors=True)  # copied afresh each time: the wheel may have been upgraded
        unneeded = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(installed, copy / package.name / installed.name, symlinks=True, ignore=unneeded)
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        return copy / package.name / installed.name / "bin"
