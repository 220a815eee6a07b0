"""What deploy/ and requirements/ say agrees with the code."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from service.ports.entrance import Topology

ROOT = Path(__file__).resolve().parents[2]
TOPOLOGY = Topology()


def _definitions() -> dict[str, Any]:
    definitions: dict[str, Any] = json.loads((ROOT / "deploy/rabbitmq/definitions.json").read_text(encoding="utf-8"))
    return definitions


def test_the_brokers_definitions_are_what_we_would_declare() -> None:
    definitions = _definitions()
    exchanges = {each["name"]: each["type"] for each in definitions["exchanges"]}
    assert exchanges == {TOPOLOGY.events_exchange: "topic", TOPOLOGY.parked: "fanout"}
    queues = {each["name"]: each["arguments"] for each in definitions["queues"]}
    assert queues == {TOPOLOGY.intake_queue: TOPOLOGY.intake_arguments, TOPOLOGY.parked: TOPOLOGY.parked_arguments}
    assert all(each["durable"] for each in definitions["exchanges"] + definitions["queues"])


def test_the_brokers_definitions_bind_what_we_would_bind() -> None:
    bound = {(each["source"], each["destination"], each["routing_key"]) for each in _definitions()["bindings"]}
    ours = {(TOPOLOGY.events_exchange, TOPOLOGY.intake_queue, pattern) for pattern in TOPOLOGY.bindings}
    assert bound == ours | {(TOPOLOGY.parked, TOPOLOGY.parked, "")}


@pytest.mark.parametrize("name", ["runtime", "test", "build"])
def test_every_locked_file_has_its_hash_and_names_no_host(name: str) -> None:
    lock = (ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8")
    pinned = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert pinned
    assert all("==" in each and "--hash=sha256:" in each for each in pinned)
    assert "://" not in lock
    assert "index" not in lock.replace("importlib", "")


def test_whatever_the_service_needs_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = (ROOT / "requirements/runtime.txt").read_text(encoding="utf-8")
    locked = {re.sub(r"[-_.]+", "-", name) for name in re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE)}
    wanted = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=; ]", each)[0].lower()) for each in project["dependencies"]}
    assert wanted <= locked


def test_no_secret_has_a_default() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    for name in ("POSTGRES_PASSWORD", "RABBITMQ_PASSWORD", "SECRET_KEYS"):
        uses = re.findall(rf"\$\{{{name}(..)", compose)
        assert uses, name
        assert set(uses) == {":?"}, name
