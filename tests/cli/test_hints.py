"""The next command: ready to paste, beside the result, and never in the way of --json."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.hints import called_as
from tests.cli.command import Finished, Run

ORGANIZATION = ("--organization", "org_a")


def next_of(told: Finished) -> list[list[str]]:
    """The words of the commands that were suggested, without how the program is called."""
    _, _, after = told.err.partition("\nNext")
    lines = [shlex.split(line) for line in after.splitlines()[1:]]
    assert all(line[:3] == [sys.executable, "-m", "service"] for line in lines)
    return [line[3:] for line in lines]


async def test_each_command_leads_to_the_next(posthorn: Run) -> None:
    [create] = next_of(await posthorn("migrate"))
    made = await posthorn(*create)
    assert made.code == 0
    assert made.out.startswith("ph_live_")
    [add] = next_of(made)
    added = await posthorn(*add)
    assert added.code == 0
    [test] = next_of(added)
    assert (test[:2], test[3:]) == (["endpoints", "test"], [*ORGANIZATION])
    listed = await posthorn("endpoints", "list", *ORGANIZATION)
    [deliveries] = next_of(listed)
    none = await posthorn(*deliveries)
    assert (none.code, "No delivery matches." in none.err) == (0, True)
    [endpoints] = next_of(none)
    assert (await posthorn(*endpoints)).out == listed.out
    assert next_of(await posthorn("doctor")) == [["serve"]]


@pytest.mark.parametrize("command", [("organizations", "list"), ("keys", "list", *ORGANIZATION)])
async def test_json_stands_alone(posthorn: Run, command: tuple[str, ...]) -> None:
    await posthorn("keys", "create", *ORGANIZATION)
    told = await posthorn(*command, "--json")
    assert told.json
    assert told.err == ""


async def test_an_organization_that_does_not_exist_is_told_with_a_spelling(posthorn: Run) -> None:
    await posthorn("keys", "create", "--organization", "org_alpha")
    for command in (
        ("deliveries", "list"),
        ("endpoints", "list"),
        ("endpoints", "remove", "ep_1"),
        ("endpoints", "show", "ep_1"),
        ("endpoints", "resume", "ep_1"),
    ):
        told = await posthorn(*command, "--organization", "org_alhpa")
        assert (told.code, told.out) == (1, ""), command
        assert "There is no organization 'org_alhpa'; did you mean 'org_alpha'?" in told.err
        assert "posthorn organizations list" in told.err
        assert "posthorn keys create --organization org_alhpa" in told.err
    assert (await posthorn("organizations", "list")).out == "org_alpha\n"


def test_it_is_called_by_name_only_where_the_path_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "a place with spaces"
    directory.mkdir()
    program = directory / "posthorn"
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(program)])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert called_as() == f"'{program}'"
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)
    assert called_as() == "posthorn"
    anywhere = called_as(anywhere=True)
    assert subprocess.run(["/bin/sh", "-c", f"{anywhere}"], check=False, cwd="/", env={}).returncode == 7
    monkeypatch.chdir(directory)
    monkeypatch.setattr("sys.argv", ["./posthorn"])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert called_as() == "./posthorn"
