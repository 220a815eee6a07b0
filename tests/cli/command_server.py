"""Runs ``python -m service`` again and again, with the imports done once: ``python -m … SOCKET``.

A command is a process of its own all the same: a fork, with the arguments, the environment, the streams and the exit
code that whoever asks gives and gets. What it would do when Python starts, it does not: the tests of ``serve``, of
signing and of the help start the program anew. It ends when its standard input does.
"""

import json
import os
import runpy
import select
import signal
import socket
import sys
from typing import Any

import service.cli  # noqa: F401 - what takes most of a command's time

MESSAGE_BYTES_MAX = 1_000_000
STREAMS = 3


def main() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(sys.argv[1])
        listening.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait for the commands
        os.write(1, b"ready\n")
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            connection = listening.accept()[0]
            if os.fork() == 0:
                break
            connection.close()
        else:
            return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    answer(connection)


def answer(connection: socket.socket) -> None:
    """Run one command, and tell its exit code."""
    message, streams, _, _ = socket.recv_fds(connection, MESSAGE_BYTES_MAX, STREAMS)
    child = os.fork()
    if child == 0:
        connection.close()
        become(json.loads(message), streams)
        return
    _, status = os.waitpid(child, 0)
    connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def become(asked: dict[str, Any], streams: list[int]) -> None:
    """The command. It returns or raises as the program does, and Python ends as it would."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(asked["environ"])
    sys.argv = ["posthorn", *asked["arguments"]]
    runpy.run_module("service", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
