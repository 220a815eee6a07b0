"""schemathesis against a running service: what /openapi.json says is what happens, whatever is sent."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp
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
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import connect
from service.adapters.secret_box import AesSecretBox, parse_secret_keys
from service.api.documents.rapidpro import rapidpro_paths
from service.api.event_stream import EVENT_STREAM
from service.ports.secrets import SecretBox
from tests.end_to_end.known_ids import KnownIds, all_operations, make_known_things
from tests.end_to_end.processes import Worker, free_port
from tests.end_to_end.town import SECRET_KEYS, SETTINGS

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
EXAMPLES = 25
# Else it makes up keys beside the one it is given, and nothing but the check of keys is tested.
CONFIG = schemathesis.Config.from_dict({"generation": {"with-security-parameters": False}})


@dataclass
class Running:
    """A service that runs, and the way to its database."""

    url: str
    engine: AsyncEngine
    secret_box: SecretBox


@pytest.fixture(scope="module")
async def running(migrated_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    port = free_port()
    log = tmp_path_factory.mktemp("contract") / "service.log"
    settings = {
        **SETTINGS,
        "DATABASE_URL": migrated_database_url,
        "POSTHORN_HTTP_PORT": str(port),
        "POSTHORN_LEASE_SECONDS": "60",
        # Nothing a fuzzer registers is ever connected to.
        "POSTHORN_EGRESS_DENY": "0.0.0.0/0,::/0",
    }
    engine = connect(migrated_database_url, pool_size=1)
    worker = Worker.start(("service", "serve", "--role", "all"), settings, log)
    try:
        await worker.ready()
        yield Running(f"http://127.0.0.1:{port}", engine, AesSecretBox(parse_secret_keys(SECRET_KEYS)))
    finally:
        worker.kill()
        await engine.dispose()


@pytest.fixture
async def known(running: Running) -> KnownIds:
    """An organization of this test's own, with something to ask about."""
    return await make_known_things(running.engine, running.secret_box, f"org_{uuid4().hex}")


def cases() -> Iterator[Any]:
    """Every operation, so that a new one is tested by being there; wrong input only where there is any to get wrong."""
    for operation in all_operations():
        if operation.answer_type != EVENT_STREAM:  # which would not end
            yield pytest.param(operation.name, GenerationMode.POSITIVE, id=f"{operation.name}-right")
        if operation.query is not None or operation.reads_body:
            yield pytest.param(operation.name, GenerationMode.NEGATIVE, id=f"{operation.name}-wrong")
    for path in rapidpro_paths().values():
        for each in path.values():
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                yield pytest.param(each["operationId"], mode, id=f"{each['operationId']}-{mode.value}")


@pytest.mark.parametrize(("name", "mode"), list(cases()))
async def test_an_operation_keeps_to_its_document(
    running: Running, known: KnownIds, name: str, mode: GenerationMode
) -> None:
    await asyncio.to_thread(probe, running.url, known, name, mode)


def probe(url: str, known: KnownIds, name: str, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=CONFIG)
    found: list[Any] = [each.ok() for each in schema.get_all_operations()]  # type: ignore[union-attr]
    (operation,) = [each for each in found if each.definition.raw["operationId"] == name]
    headers = {"Authorization": f"Bearer {known.key}"}
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
                known.put_into(case)
            if isinstance(case.query, dict):
                case.query.pop(
                    "format", None
                )  # a file: tests/api/test_export.py; the document describes pages (ADR 56)
            case.call_and_validate(base_url=url, session=session, headers=headers, checks=CHECKS)

        ask()


@pytest.mark.parametrize("name", [each.name for each in all_operations() if each.reads_body])
async def test_the_example_of_an_operation_works(running: Running, known: KnownIds, name: str) -> None:
    """Whoever copies from the documents gets what they promise."""
    (operation,) = [each for each in all_operations() if each.name == name]
    assert operation.example is not None
    path = re.sub(r"{(\w+)}", lambda found: known.of(operation.path, found[1]), operation.path)
    headers = {"Authorization": f"Bearer {known.key}"}
    async with (
        aiohttp.ClientSession() as session,
        session.request(operation.method, running.url + path, json=operation.example, headers=headers) as reply,
    ):
        assert reply.status in operation.answers, await reply.text()
