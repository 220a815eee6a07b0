"""``posthorn``, and ``python -m service``: Ctrl-C ends it without a traceback from its very first moment."""

import os
import signal

INTERRUPTED = 130


def main() -> None:
    """Load the commands, which takes a moment, then run one."""
    is_heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else the shell started us to ignore it
    if is_heeded:
        signal.signal(signal.SIGINT, _end_at_once)  # there is nothing to put away yet
    from service import cli  # noqa: PLC0415 - what takes the moment

    try:
        if is_heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        cli.main()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # impatience would be told with a traceback, too
        raise SystemExit(INTERRUPTED) from None


def _end_at_once(_: int, __: object) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
