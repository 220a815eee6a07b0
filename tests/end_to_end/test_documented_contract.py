"""schemathesis against a running service: what /openapi.json says is what happens, whatever is sent."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from service.adapters.postgres import connect
from service.adapters.secret_box import AesSecretBox, parse_secret_keys
from tests.end_to_end.known_ids import KnownIds, all_operations, make_known_things
from tests.end_to_end.processes import Worker, free_port
from tests.end_to_end.town import SECRET_KEYS, SETTINGS

pytestmark = pytest.mark.timeout(300)

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
EXAMPLES = 25


@dataclass
class Running:
    """A service that runs, with something to ask about."""

    url: str
    known: KnownIds
    worker: Worker


@pytest.fixture(scope="module")
async def running(migrated_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    port = free_port()
    log = tmp_path_factory.mktemp("contract") / "service.log"
    settings = {
        **SETTINGS,
        "DATABASE_URL": migrated_database_url,
        "POSTHORN_HTTP_PORT": str(port),
        # Nothing a fuzzer registers is ever connected to.
        "POSTHORN_EGRESS_DENY": "0.0.0.0/0,::/0",
    }
    worker = Worker.start(("service", "serve", "--role", "all"), settings, Path(log))
    try:
        await worker.ready()
        engine = connect(migrated_database_url, pool_size=1)
        known = await make_known_things(engine, AesSecretBox(parse_secret_keys(SECRET_KEYS)))
        await engine.dispose()
        yield Running(f"http://127.0.0.1:{port}", known, worker)
    finally:
        worker.kill()


def operation_names() -> list[str]:
    """Every operation, so that a new one is tested by being there."""
    return [operation.name for operation in all_operations()]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", operation_names())
async def test_an_operation_keeps_to_its_document(running: Running, name: str, mode: GenerationMode) -> None:
    await asyncio.to_thread(probe, running, name, mode)


def probe(running: Running, name: str, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    found: list[Any] = [each.ok() for each in schema.get_all_operations()]  # type: ignore[union-attr]
    (operation,) = [each for each in found if each.definition.raw["operationId"] == name]
    headers = {"Authorization": f"Bearer {running.known.key}"}
    with requests.Session() as session:

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,),
        )
        @hypothesis.given(case=operation.as_strategy(mode), is_known=hypothesis.strategies.booleans())
        def ask(case: Any, is_known: bool) -> None:  # noqa: FBT001
            if is_known:  # things that are there, too: the interesting answers come from them
                running.known.put_into(case)
            case.call_and_validate(base_url=running.url, session=session, headers=headers, checks=CHECKS)

        ask()
