"""A shell for one job: ``python -m … COMMAND…``. It says how the job ended or stopped, and how it left the terminal.

Unlike other shells it mends nothing by itself. A job that stopped goes on at once.
"""

import os
import signal
import sys
import termios


def modes() -> str:
    local = termios.tcgetattr(0)[3]
    return "as it was" if local & termios.ICANON and local & termios.ECHO else "changed"


def main() -> None:
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever runs us in the background has it ignored
        os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - the job itself
    sys.stdout.write(f"<job {job}>\n")
    sys.stdout.flush()
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        os.tcsetpgrp(0, os.getpgrp())
        what = "stopped" if os.WIFSTOPPED(status) else f"ended {os.waitstatus_to_exitcode(status)}"
        sys.stdout.write(f"<{what}, terminal {modes()}>\n")
        sys.stdout.flush()
        if not os.WIFSTOPPED(status):
            return
        os.tcsetpgrp(0, job)
        os.kill(job, signal.SIGCONT)


if __name__ == "__main__":
    main()
