"""What openapi-python-client makes of the document, under mypy, and against the service.

It is installed once in a run, at a fixed version, into an environment of its own; where that cannot be, this is
skipped and says so.
"""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.generators.conftest import Running, run

pytestmark = pytest.mark.timeout(900)  # it installs, and starts the service

# A program and not a module: what it imports is there only once it is generated.
JOURNEY = Path(__file__).with_name("python_journey.txt")


async def test_a_journey_in_a_generated_client_is_typed_and_succeeds(
    python_generator: Path, running: Running, tmp_path: Path
) -> None:
    (tmp_path / "openapi.json").write_text(json.dumps(await running.document("openapi")), "utf-8")
    (tmp_path / "journey.py").write_text(JOURNEY.read_text("utf-8"), "utf-8")
    programs = python_generator / "venv" / "bin"
    settings = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "API_URL": running.url, "API_KEY": running.key}
    settings["RECEIVER_URL"] = f"{running.receiver_url}/python"

    async def ask(*command: str) -> str:
        try:
            return (await asyncio.to_thread(run, command, tmp_path, env=settings)).decode()
        except subprocess.CalledProcessError as error:
            pytest.fail(f"{command}: {error.stdout.decode()[-6000:]}\n{error.stderr.decode()[-3000:]}")

    generate = ("generate", "--path", "openapi.json", "--meta", "none", "--output-path", "posthorn_client")
    (tmp_path / "config.yml").write_text("post_hooks: []\n", "utf-8")
    await ask(str(programs / "openapi-python-client"), *generate, "--fail-on-warning", "--config", "config.yml")
    await ask(str(programs / "mypy"), "--strict", "--cache-dir", str(tmp_path / "mypy"), "journey.py")
    assert await ask(str(programs / "python"), "journey.py") == "done\n"
