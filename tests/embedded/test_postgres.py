"""The embedded PostgreSQL: starts anywhere, keeps its data, and never outlives us."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path

import asyncpg
import psutil
import pytest

from service.embedded.postgres import EmbeddedPostgres, EmbeddedPostgresError, binaries, launcher, server

QUICK = {"fsync": "off"}


def processes_of(directory: Path) -> list[psutil.Process]:
    """Every process that mentions the directory: the server, and whatever started it."""
    cluster = str(directory / "cluster")
    return [each for each in psutil.process_iter(["cmdline"]) if cluster in " ".join(each.info["cmdline"] or ())]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def query(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_a_restart_keeps_rows_and_stopping_leaves_no_process(data_directory: Path) -> None:
    async with EmbeddedPostgres(data_directory, QUICK) as postgres:
        await query(postgres.url, "CREATE TABLE kept (number int)")
        await query(postgres.url, "INSERT INTO kept VALUES (7)")
        assert processes_of(data_directory)
    assert processes_of(data_directory) == []
    async with EmbeddedPostgres(data_directory, QUICK) as postgres:
        assert await query(postgres.url, "SELECT number FROM kept") == 7
    assert processes_of(data_directory) == []


def test_it_works_without_an_event_loop(data_directory: Path) -> None:
    postgres = EmbeddedPostgres(data_directory, QUICK)
    postgres.start()
    try:
        assert asyncio.run(query(postgres.url, "SHOW fsync")) == "off"
    finally:
        postgres.stop()
    postgres.stop()
    with postgres:
        assert asyncio.run(query(postgres.url, "SELECT current_user || '@' || current_database()")) == (
            "posthorn@posthorn"
        )


async def test_only_this_machine_and_only_with_the_password(data_directory: Path) -> None:
    async with EmbeddedPostgres(data_directory, {**QUICK, "listen_addresses": "*"}) as postgres:
        assert await query(postgres.url, "SHOW listen_addresses") == "127.0.0.1"
        assert await query(postgres.url, "SHOW unix_socket_directories") == ""
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(postgres.url.replace("posthorn:", "posthorn:guessed"))
    assert (mode_of(data_directory), mode_of(data_directory / "password")) == (0o700, 0o600)


async def test_a_server_that_is_still_going_down_is_waited_for(data_directory: Path) -> None:
    last, next_one = EmbeddedPostgres(data_directory, QUICK), EmbeddedPostgres(data_directory, QUICK)
    last.start()
    for seconds in next_one._starting():
        if seconds == server.RETRY_SECONDS:
            last.stop()
    assert await query(next_one.url, "SELECT 1") == 1
    next_one.stop()


def test_data_in_use_by_another_server_is_said_so(data_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "RETRY_SECONDS_MAX", 0.0)
    with (
        EmbeddedPostgres(data_directory, QUICK) as first,
        pytest.raises(EmbeddedPostgresError, match=f"postmaster.pid(.|\n)*{first.process_id}"),
        EmbeddedPostgres(data_directory, QUICK),
    ):
        pass


async def test_a_taken_port_is_no_reason_to_fail(data_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = server._free_port
    listening = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    ports = iter([listening.sockets[0].getsockname()[1], choose()])
    monkeypatch.setattr(server, "_free_port", lambda: next(ports))
    async with listening, EmbeddedPostgres(data_directory, QUICK) as postgres:
        assert await query(postgres.url, "SELECT 1") == 1


def test_a_setting_it_refuses_is_named_and_leaves_no_process(data_directory: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        EmbeddedPostgres(data_directory, {"no_such_setting": "1"}).start()
    assert processes_of(data_directory) == []


async def test_cancelled_while_starting_it_leaves_no_process(data_directory: Path) -> None:
    postgres = EmbeddedPostgres(data_directory, QUICK)
    starting = postgres._starting()
    next(starting)
    assert postgres.process_id is not None
    starting.close()
    assert processes_of(data_directory) == []


def suspended(process_id: int | None, children_min: int) -> list[psutil.Process]:
    """The process with all it started, which do nothing more; empty if it has not started so many yet."""
    assert process_id is not None
    process = psutil.Process(process_id)
    process.suspend()
    children = process.children(recursive=True)
    if len(children) < children_min:
        process.resume()
        return []
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.suspend()
    return [process, *children]


def shared_memory_of(family: list[psutil.Process]) -> tuple[list[str], set[Path]]:
    """Ids of the System V kind, by who made them, and files that are mapped; the first can be told afterwards too."""
    makers = {str(process.pid) for process in family}
    rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()]
    files: set[Path] = set()
    for process in family:
        with suppress(psutil.NoSuchProcess):
            files |= {Path(each.path) for each in process.memory_maps() if "/PostgreSQL." in each.path}
    return [row[1] for row in rows if row[4] in makers], files


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows whose processes and memory there are")
@pytest.mark.parametrize("is_server", [False, True], ids=["initdb", "server"])
async def test_what_does_not_hear_that_it_is_to_end_is_killed_with_all_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_server: bool
) -> None:
    """A program that hangs, and its children with it: on a dying disk, or in a debugger."""
    monkeypatch.setattr(server, "ABANDON_SECONDS_MAX", 0.1, raising=False)
    postgres = EmbeddedPostgres(tmp_path, QUICK)
    family: list[psutil.Process] = []
    with monkeypatch.context() as never_ready, closing(postgres._starting()) as starting:
        never_ready.setattr(EmbeddedPostgres, "_is_ready", lambda *_: False)
        while not family:
            next(starting)
            if (tmp_path / "cluster").exists() == is_server:
                family = suspended(postgres.process_id, children_min=int(is_server))
        ids, files = shared_memory_of(family)
        assert bool(ids) == is_server
    assert [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    assert processes_of(tmp_path) == []
    assert shared_memory_of(family)[0] == []
    assert [file for file in files if file.exists()] == []
    assert not (tmp_path / "cluster.draft").exists()
    with EmbeddedPostgres(tmp_path, QUICK) as postgres:  # and what is left serves the next start
        assert await query(postgres.url, "SELECT 1") == 1


async def test_a_server_whose_stop_is_cancelled_is_gone_all_the_same(data_directory: Path) -> None:
    postgres = EmbeddedPostgres(data_directory, QUICK)
    postgres.start()
    stopping = postgres._stopping()
    next(stopping)
    stopping.close()
    assert processes_of(data_directory) == []


PARENT = """
import sys, time
from service.embedded.postgres import EmbeddedPostgres
with EmbeddedPostgres(sys.argv[1], {"fsync": "off"}) as postgres:
    print(postgres.process_id, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_killing_the_python_parent_with_9_leaves_no_process(data_directory: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(data_directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        postgres = psutil.Process(int(parent.stdout.readline()))
        family = [postgres, *postgres.children(recursive=True)]
        assert len(family) > 1
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=100)
    assert alive == []
    assert processes_of(data_directory) == []


# --------------------------------------------------------------------------- where the programs come from, and as whom


def test_without_the_wheel_the_systems_programs_serve_and_their_data_keep_their_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without_wheel:
        without_wheel.setattr(binaries, "WHEEL", "no_such_wheel")
        try:
            programs = binaries.find_binaries(tmp_path / "cluster")
        except EmbeddedPostgresError:
            pytest.skip("no PostgreSQL is installed on this system")
        with EmbeddedPostgres(tmp_path, QUICK) as postgres:
            made_by = asyncio.run(query(postgres.url, "SHOW server_version_num"))
    assert binaries.find_binaries(tmp_path / "cluster") == programs
    with EmbeddedPostgres(tmp_path, QUICK) as postgres:  # the wheel is back, and newer
        assert asyncio.run(query(postgres.url, "SHOW server_version_num")) == made_by


def test_without_any_programs_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "WHEEL", "no_such_wheel")
    monkeypatch.setattr(binaries, "SYSTEM", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedPostgresError, match=r"posthorn\[embedded\]"):
        EmbeddedPostgres(tmp_path / "data").start()


def test_data_of_a_version_that_is_not_here_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(EmbeddedPostgresError, match=r"created by PostgreSQL 9\.6"):
        EmbeddedPostgres(tmp_path).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
@pytest.mark.parametrize("can_reach_programs", [True, False])
def test_root_without_user_namespaces_runs_it_as_nobody(
    monkeypatch: pytest.MonkeyPatch, *, can_reach_programs: bool
) -> None:
    monkeypatch.setattr(launcher, "AS_SOMEBODY", ("false",))
    if not can_reach_programs:
        monkeypatch.setattr(launcher.Launcher, "_can_run", lambda _: False)
    with tempfile.TemporaryDirectory() as name:  # not tmp_path, which only its owner may enter
        directory = Path(name)
        directory.chmod(0o755)
        with EmbeddedPostgres(directory / "data", QUICK) as postgres:
            assert asyncio.run(query(postgres.url, "SELECT 1")) == 1
            server_process = psutil.Process(postgres.process_id)
            assert server_process.username() == "nobody"
            assert ("programs" in server_process.cmdline()[0]) == (not can_reach_programs)
        assert processes_of(directory / "data") == []
