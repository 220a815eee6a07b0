"""What deploy/ and requirements/ say agrees with the code."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from service.ports.source import Topology
from service.settings import Settings, environment_name

ROOT = Path(__file__).resolve().parents[2]
TOPOLOGY = Topology()
OLDER = {"python_version": "3.10", "python_full_version": "3.10.12"}


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


def test_an_older_python_reads_one_sentence() -> None:
    """The pip that comes with it looks at requires-python after the dependencies: it must find none to complain of."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11"
    extras = project["optional-dependencies"]
    wanted = [Requirement(each) for group in (project["dependencies"], *extras.values()) for each in group]
    assert [each for each in wanted if each.marker is None or each.marker.evaluate(OLDER)] == [
        Requirement("posthorn[embedded,speed]")
    ]


def test_no_secret_has_a_default() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    for name in ("POSTGRES_PASSWORD", "RABBITMQ_PASSWORD", "SECRET_KEYS"):
        uses = re.findall(rf"\$\{{{name}(..)", compose)
        assert uses, name
        assert set(uses) == {":?"}, name


def test_compose_passes_every_setting_on() -> None:
    """A setting that it left out would be read from .env by nobody, without a word."""
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    environment = compose.partition("environment: &environment\n")[2].partition("\n\n")[0]
    passed = dict(re.findall(r"^    (\w+): (.*)$", environment, re.MULTILINE))
    of_the_image = {f"POSTHORN_{face}_{part}" for face in ("HTTP", "OPS") for part in ("HOST", "PORT")}
    names = {environment_name(name) for name in Settings.model_fields if name != "sources"}
    assert passed.keys() == names - of_the_image
    made_here = {"DATABASE_URL", "AMQP_URL", "SECRET_KEYS"}
    assert all(value == f"${{{name}:-}}" for name, value in passed.items() if name not in made_here)
