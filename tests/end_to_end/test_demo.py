"""``posthorn demo`` as somebody runs it who has nothing: it shows that all arrived, and leaves nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service.core.events.registry import REGISTRY

SECONDS_MAX = 250

STARTED = "Service "


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where it is run: also where its temporary files go."""
    home = tmp_path / "where people keep things"
    home.mkdir()
    return home


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """An environment that points elsewhere in every way that must not matter."""
    elsewhere = "http://127.0.0.1:9"
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("POSTHORN_", "AMQP_"))}
    return ours | {
        "TMPDIR": str(home),
        "HTTP_PROXY": elsewhere,
        "http_proxy": elsewhere,
        "ALL_PROXY": elsewhere,
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
        "POSTHORN_ALLOW_HTTP": "false",
        "POSTHORN_NO_SUCH_SETTING": "1",
        "PYTHONIOENCODING": "ascii",  # nothing but ASCII is asked of a terminal
    }


def start(home: Path, environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "service", "demo", *options],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def demo(home: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A demo that goes on until it is told to stop."""
    with start(home, environment, "--events", "20") as demo:
        yield demo
        demo.kill()


def processes_in(home: Path) -> list[psutil.Process]:
    """Every process whose command line or working directory is in there."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = [*(process.info["cmdline"] or ()), process.info["cwd"] or ""]
        if any(str(home) in word for word in words):
            found.append(process)
    return found


def read_until(demo: subprocess.Popen[str], what: str) -> str:
    """What it printed up to a line that has ``what``."""
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if what in line:
            return "".join(lines)
    raise AssertionError(f"{what!r} was never printed, but: {''.join(lines)}")


def test_once_shows_that_everything_arrived_and_leaves_nothing(home: Path, environment: dict[str, str]) -> None:
    count = 8 * len(REGISTRY)  # so flaky, which asks for two types, gets 16
    demo = start(home, environment, "--once", "--events", str(count))
    said = demo.communicate(timeout=SECONDS_MAX)[0]
    assert demo.returncode == 0, said
    assert said.splitlines()[1].startswith("Dashboard, signed in: http://127.0.0.1:")
    assert "not RabbitMQ" in said
    for heading in ("published", "delivered", "verified", "retried", "cancelled", "p50", "p99"):
        assert heading in said
    # crm: all published, delivered and verified; none retried, none cancelled.
    rows = {words[0]: words for words in map(str.split, said.replace("|", " ").splitlines()) if words}
    assert rows["crm"][-7:-2] == [*[str(count)] * 3, "0", "0"]
    assert rows["flaky"][-5:-2] == ["32", "16", "0"]
    assert "0 dead." in said
    assert processes_in(home) == []
    assert list(home.iterdir()) == []


def test_two_at_once_do_not_disturb_each_other(home: Path, environment: dict[str, str]) -> None:
    demos = [start(home, environment, "--once", "--events", "5") for _ in range(2)]
    said = [demo.communicate(timeout=SECONDS_MAX)[0] for demo in demos]
    assert [demo.returncode for demo in demos] == [0, 0], "\n".join(said)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("when", ["Posthorn demo", STARTED, "To look closer"])
def test_stopped_at_any_moment_it_leaves_nothing(demo: subprocess.Popen[str], home: Path, when: str) -> None:
    read_until(demo, when)
    demo.send_signal(signal.SIGINT)
    said = demo.communicate(timeout=SECONDS_MAX)[0]
    assert "Traceback" not in said
    assert "Stopping" in said
    assert demo.returncode == (0 if when == "To look closer" else 130)
    assert processes_in(home) == []
    assert list(home.iterdir()) == []


def test_its_last_lines_work_as_pasted(demo: subprocess.Popen[str]) -> None:
    read_until(demo, "To look closer")
    curl, posthorn = (line.strip() for line in read_until(demo, "Ctrl-C ends").splitlines()[:2])
    bare = {"PATH": "/usr/bin:/bin", "HOME": "/"}
    shells = [found for name in ("bash", "zsh", "dash") if (found := shutil.which(name)) is not None]
    assert shells
    for shell in shells:
        listed = subprocess.run([shell, "-c", posthorn], env=bare, cwd="/", capture_output=True, text=True, check=False)
        assert (listed.returncode, "dlv_" in listed.stdout) == (0, True), listed.stderr
        if shutil.which("curl") is not None:
            answered = subprocess.run([shell, "-c", curl], env=bare, capture_output=True, text=True, check=False)
            assert '"data":' in answered.stdout, answered.stderr


def test_killed_it_leaves_no_process_and_the_next_one_sweeps_up(
    demo: subprocess.Popen[str], home: Path, environment: dict[str, str]
) -> None:
    read_until(demo, STARTED)
    servers = [process for process in processes_in(home) if process.pid != demo.pid]
    assert servers
    demo.kill()
    _, alive = psutil.wait_procs(servers, timeout=SECONDS_MAX)
    assert alive == []
    assert processes_in(home) == []
    test_once_shows_that_everything_arrived_and_leaves_nothing(home, environment)
