"""Ctrl-C while a command is still loading, or just begins: no traceback, and the code of what was interrupted."""

import signal
import subprocess
import sys
import textwrap

import pytest

PROGRAM = textwrap.dedent(
    """
    import os, signal, sys

    moment, *arguments = sys.argv[1:]

    class Interrupter:
        def find_spec(self, name, path=None, target=None):
            if name == moment:
                sys.meta_path.remove(self)
                os.kill(os.getpid(), signal.SIGINT)

    sys.meta_path.insert(0, Interrupter())
    sys.argv = ["posthorn", *arguments]
    from service.__main__ import main
    main()
    """
)


def interrupted(environ: dict[str, str], moment: str, *arguments: str, ignoring: bool = False) -> tuple[int, str]:
    """Run a command that is sent SIGINT when it loads the module ``moment``."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, moment, *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        # Not inherited: whoever runs the tests in the background has SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if ignoring else signal.SIG_DFL),
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("moment", ["service.cli", "typer", "sqlalchemy", "alembic"])
def test_while_it_loads(bare_environment: dict[str, str], moment: str) -> None:
    assert interrupted(bare_environment, moment, "migrate") == (130, "")


def test_while_a_command_loads_what_it_alone_needs(
    bare_environment: dict[str, str], environment: dict[str, str]
) -> None:
    code, said = interrupted(bare_environment, "service.demo.command", "demo", "--once")
    assert (code, "Traceback" in said) == (130, False)
    code, said = interrupted(environment, "service.app.assembly", "serve")
    assert (code, "Traceback" in said) == (130, False)


def test_who_was_started_to_ignore_it_goes_on(bare_environment: dict[str, str]) -> None:
    code, said = interrupted(bare_environment, "typer", "--version", ignoring=True)
    assert (code, said.startswith("posthorn ")) == (0, True)
