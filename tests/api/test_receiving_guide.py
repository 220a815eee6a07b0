"""The commands of docs/receiving.md, run by a shell against the service."""

import asyncio
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.core.rehearsals.case import CaseName
from tests.api.whole_rig import OWNER, Whole, whole_on
from webhook_signature import Webhook

pytestmark = pytest.mark.clock

PAGE = (Path(__file__).parents[2] / "docs" / "receiving.md").read_text("utf-8")
COMMANDS: dict[str, str] = dict(re.findall(r"^ *```sh name=(\S+)\n(.*?)^ *```$", PAGE, re.DOTALL | re.MULTILINE))


@pytest.fixture(autouse=True)
def _curl() -> None:
    if missing := [each for each in ("curl", "sha256sum") if shutil.which(each) is None]:
        pytest.skip(f"{missing} is not installed, so the guide's commands were NOT tested")


async def run(whole: Whole, name: str, folder: Path, **variables: str) -> str:
    environ = os.environ | {
        "API_URL": str(whole.client.make_url("")).rstrip("/"),
        "API_KEY": whole.keys[OWNER].text,
        "no_proxy": "*",
        **variables,
    }
    process = await asyncio.create_subprocess_exec(
        *("sh", "-euc", COMMANDS[name]),
        env=environ,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_a_rotation_in_commands(database_url: str, tmp_path: Path) -> None:
    async with whole_on(database_url) as whole:
        asked = {"url": "https://a.example/", "event_types": ["message.sent"]}
        made = await whole.made("POST", "/v1/endpoints", asked)
        rotated: dict[str, Any] = json.loads(await run(whole, "rotate", tmp_path, ENDPOINT_ID=made["id"]))
        Webhook([rotated["secret"], made["secret"]])  # which refuses what is no secret
        shown = json.loads(await run(whole, "secrets", tmp_path, ENDPOINT_ID=made["id"]))["secrets"]
        assert [each["expires_at"] is None for each in shown] == [True, False]
        assert [each["hint"] for each in shown] == [each["secret"][-4:] for each in (rotated, made)]
        ended = json.loads(await run(whole, "end-overlap", tmp_path, ENDPOINT_ID=made["id"]))
        assert ended["ended_count"] == 1
        (left,) = json.loads(await run(whole, "secrets", tmp_path, ENDPOINT_ID=made["id"]))["secrets"]
        assert (left["hint"], left["expires_at"]) == (rotated["secret"][-4:], None)


async def test_the_one_file_is_fetched_without_a_key(database_url: str, tmp_path: Path) -> None:
    async with whole_on(database_url) as whole:
        told = await run(whole, "download", tmp_path, API_KEY="")
    assert told == "webhook_signature.py: OK\n"


async def test_a_rehearsal_in_a_command(database_url: str, tmp_path: Path) -> None:
    async with whole_on(database_url) as whole:
        asked = {"url": "https://a.example/", "event_types": ["message.sent"]}
        made = await whole.made("POST", "/v1/endpoints", asked)
        report = json.loads(await run(whole, "rehearse", tmp_path, ENDPOINT_ID=made["id"]))
    assert [each["code"] for each in report["findings"]] == ["unreachable"]


def test_every_command_with_a_name_is_tested() -> None:
    assert set(COMMANDS) == {"download", "rotate", "secrets", "end-overlap", "rehearse"}


def test_the_guide_tells_every_case() -> None:
    table = PAGE.partition("## Rehearse")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == list(CaseName)
