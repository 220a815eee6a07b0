"""What deploy/ and requirements/ say agrees with the code."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from service.adapters.observers.metrics import MetricsObserver
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


def test_every_alert_is_about_metrics_that_exist_and_leads_to_a_paragraph() -> None:
    text = (ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8")
    known, _ = MetricsObserver().render()
    rules = text.split("- alert: ")[1:]
    assert rules
    for rule in rules:
        (expression,) = re.findall(r"expr: (.*)", rule)
        named = re.findall(r"posthorn_\w+", expression)
        assert named, rule
        assert all(f"# TYPE {name.removesuffix('_total')}" in known.decode() for name in named), rule
        (document, anchor) = re.findall(r"runbook_url: (\S+)#(\S+)", rule)[0]
        headings = re.findall(r"^#+ (.*)$", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}, rule


# ---------------------------------------------------------------------- containers

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
BY_DIGEST = re.compile(r"[\w./-]+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}")
OURS = re.compile(r"posthorn:\d+\.\d+\.\d+")


def test_every_image_that_is_fetched_is_named_by_digest() -> None:
    """A tag is whatever its registry says today; the tag beside the digest is for people."""
    assert all(
        BY_DIGEST.fullmatch(each["image"]) or OURS.fullmatch(each["image"]) for each in COMPOSE["services"].values()
    )
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", DOCKERFILE, re.MULTILINE)
    names = {name for _, name in stages if name}
    assert stages
    assert [image for image, _ in stages if image not in names and not BY_DIGEST.fullmatch(image)] == []
    assert "# syntax=" not in DOCKERFILE, "the build would fetch another image, by tag"


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_container_can_do_no_more_than_it_must(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] <= 512
    assert service["mem_limit"]
    assert not {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices"} & service.keys()
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert not any("docker.sock" in each or ":/host" in each for each in service.get("volumes", []))


def test_database_and_broker_have_no_way_in_from_the_host_and_none_out() -> None:
    inside = {name for name, network in COMPOSE["networks"].items() if network.get("internal")}
    for name in ("postgres", "rabbitmq", "migrate"):
        service = COMPOSE["services"][name]
        assert set(service["networks"]) <= inside, name
        assert "ports" not in service, name
    assert not set(COMPOSE["services"]["postgres"]["networks"]) & set(COMPOSE["services"]["rabbitmq"]["networks"])


def test_no_container_runs_as_root() -> None:
    assert re.search(r"^USER (\d+):\1$", DOCKERFILE.rpartition("\nFROM ")[2], re.MULTILINE)
    for name, service in COMPOSE["services"].items():
        if not OURS.fullmatch(service["image"]):
            assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), name


def test_the_service_connects_as_one_role_and_the_migration_as_another() -> None:
    services = COMPOSE["services"]
    roles = set(
        re.findall(r"CREATE ROLE (\w+) LOGIN", (ROOT / "deploy/postgres/roles.sql").read_text(encoding="utf-8"))
    )
    users = {
        name: services[name]["environment"]["DATABASE_URL"].split("//")[1].split(":")[0]
        for name in ("migrate", "posthorn")
    }
    assert users == {"migrate": "posthorn_migration", "posthorn": "posthorn_service"}
    assert set(users.values()) == roles
    assert services["migrate"]["command"] == ["migrate", "--grant-to", users["posthorn"]]
    assert "POSTGRES_USER" not in services["postgres"]["environment"], (
        "the superuser keeps its name, which none of ours is"
    )
    assert "./deploy/postgres/roles.sql:/docker-entrypoint-initdb.d/roles.sql:ro" in services["postgres"]["volumes"]


def test_the_image_takes_only_what_has_its_hash_and_runs_without_pip() -> None:
    installs = re.findall(r"pip[^\n]* install .*", DOCKERFILE)
    assert installs
    for each in installs:
        assert "--no-deps /wheels/" in each or ("--require-hashes" in each and "--only-binary=:all:" in each), each
    assert "python -m venv --without-pip /opt/posthorn" in DOCKERFILE


def test_no_secret_has_a_default() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    for name in ("POSTGRES_PASSWORD", "MIGRATION_PASSWORD", "SERVICE_PASSWORD", "RABBITMQ_PASSWORD", "SECRET_KEYS"):
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
