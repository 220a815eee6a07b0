"""What the JavaScript world makes of the documents: its linters, its generator of types, and Postman's runner.

The packages are installed once in a run, at the versions of ``npm/package-lock.json``, running none of their scripts.
Without node, npm or the registry these tests are skipped and say so.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.generators.conftest import Running, program, run

pytestmark = pytest.mark.timeout(900)  # the first installs, and starts the service


@pytest.fixture
async def workplace(npm_tools: Path, running: Running, tmp_path: Path) -> Path:
    """A folder with the documents and what is beside them, and the packages within reach."""
    shutil.copytree(npm_tools, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "lock"))
    (tmp_path / "node_modules").symlink_to(npm_tools / "node_modules")
    for name in ("openapi", "asyncapi", "postman"):
        (tmp_path / f"{name}.json").write_text(json.dumps(await running.document(name)), "utf-8")
    return tmp_path


async def tool(workplace: Path, name: str, *arguments: str, **environment: str) -> str:
    """What a package's program prints; it must succeed."""
    path = str(workplace / "node_modules" / ".bin" / name)
    return await node(workplace, path, *arguments, environment=environment)


async def node(
    workplace: Path, *arguments: str, given: bytes | None = None, environment: Mapping[str, str] = MappingProxyType({})
) -> str:
    variables = {"PATH": os.environ["PATH"], "HOME": str(workplace), "CI": "true", **environment}
    command = [program("node"), *arguments]
    try:
        printed = await asyncio.to_thread(run, command, workplace, env=variables, input=given)
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{Path(arguments[0]).name}: {error.stdout.decode()[-6000:]}\n{error.stderr.decode()[-3000:]}")
    return printed.decode()


async def test_spectral_finds_nothing_in_openapi(workplace: Path) -> None:
    printed = await tool(
        workplace, "spectral", "lint", "--fail-severity=hint", "--quiet", "--format=json", "openapi.json"
    )
    assert json.loads(printed or "[]") == []


async def test_redocly_finds_nothing_in_openapi(workplace: Path) -> None:
    settings = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    printed = await tool(workplace, "redocly", "lint", "--format=json", "openapi.json", **settings)
    found: dict[str, Any] = json.loads(printed)
    assert (found["totals"], found["problems"]) == ({"errors": 0, "warnings": 0, "ignored": 0}, [])


async def test_the_parser_of_asyncapi_finds_nothing(workplace: Path) -> None:
    printed = await node(workplace, "asyncapi.mjs", given=(workplace / "asyncapi.json").read_bytes())
    found = json.loads(printed)
    assert found["isRead"]
    # 3.1.0 adds nothing that the document needs, and fewer tools read it.
    assert [each for each in found["told"] if each["code"] != "asyncapi-latest-version"] == []


async def test_a_journey_in_generated_types_compiles_strictly_and_succeeds(workplace: Path, running: Running) -> None:
    await tool(workplace, "openapi-typescript", "openapi.json", "--output=api.ts")
    await tool(workplace, "tsc", "--project", ".")
    settings = {"API_URL": running.url, "API_KEY": running.key, "RECEIVER_URL": f"{running.receiver_url}/journey"}
    assert await node(workplace, "built/journey.js", environment=settings) == "done\n"


async def test_the_postman_collection_runs_from_top_to_bottom(workplace: Path, running: Running) -> None:
    settings = {"base_url": running.url, "api_key": running.key, "receiver_url": f"{running.receiver_url}/postman"}
    given = [f"--env-var={name}={value}" for name, value in settings.items()]
    report = ("--reporters=cli,json", "--reporter-json-export=report.json")
    await tool(workplace, "newman", "run", "postman.json", "--bail=failure", "--timeout-request=30000", *given, *report)
    executions = json.loads((workplace / "report.json").read_bytes())["run"]["executions"]
    requested = [each["item"]["name"] for each in executions]
    collection = json.loads((workplace / "postman.json").read_bytes())
    items = [item["name"] for folder in collection["item"] for item in folder["item"]]
    assert list(dict.fromkeys(requested)) == items
    assert all(each.get("assertions") for each in executions)
