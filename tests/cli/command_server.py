"""Runs ``python -m service`` again and again, with the imports done once: ``python -m … SOCKET``.

A command is a process of its own all the same: a fork, with the arguments, the environment, the streams and the exit
code that whoever asks gives and gets. Only Python's own start and end, which take most of a command's time, are left
out. The server ends when its standard input does.
"""

import atexit
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from importlib import import_module
from typing import Any, Never

import service

MESSAGE_BYTES_MAX = 1_000_000
STREAMS = 3


def main() -> None:
    for each in pkgutil.walk_packages(service.__path__, "service."):  # what takes most of a command's time
        if not each.name.endswith("__main__"):
            import_module(each.name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(sys.argv[1])
        listening.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait for the commands
        os.write(1, b"ready\n")
        asked = next_to_serve(listening)
    if asked is not None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        answer(asked)


def next_to_serve(listening: socket.socket) -> socket.socket | None:
    """Returns in a process for each command, with whoever asked; at the end in the first process, with nobody."""
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        connection = listening.accept()[0]
        if os.fork() == 0:
            return connection
        connection.close()
    return None


def answer(connection: socket.socket) -> None:
    """Run one command, and tell its exit code."""
    message, streams, _, _ = socket.recv_fds(connection, MESSAGE_BYTES_MAX, STREAMS)
    child = os.fork()
    if child == 0:
        connection.close()
        become(json.loads(message), streams)
    _, status = os.waitpid(child, 0)
    connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def become(asked: dict[str, Any], streams: list[int]) -> Never:
    """The command, up to what Python does at an end; it does not take all modules apart."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(asked["environ"])
    sys.argv = ["posthorn", *asked["arguments"]]
    code: object = 0
    try:
        runpy.run_module("service", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 - told as Python tells it
        traceback.print_exc()
        code = 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    assert isinstance(code, int), code
    os._exit(code)


if __name__ == "__main__":
    main()
