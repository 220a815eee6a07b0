"""The answers that /docs shows are those of the service: a run of every operation comes to the same.

``KEEP_ANSWERS=1 pytest tests/api/documents/test_answers.py -n 0`` keeps those of a new run, after a change that they show.
"""

import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.adapters.postgres.engine import connect
from service.api.documents import answers
from tests.api.documents.recording import recorded
from tests.cli.command import free_port
from tests.cli.conftest import SECRET_KEYS
from tests.cli.live.rig import Town, town_on

KEPT = Path(answers.__file__).with_name("answers.json")
MOVES = {
    "list_audit",
    "list_replays",
    "get_replay",
    "create_replay",
    "recover_endpoint",
    "pause_replay",
    "resume_replay",
    "cancel_replay",
    "test_endpoint",
}
"""How far a job, or a test event, has come depends on the moment, also in the audit log: of these answers the fields
are compared."""
SAMPLED = re.compile(r"\.(event|data\[\d+\])\.data$")
"""Where the data of a test event stands: a sample, of one of several people."""
OWN = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+Z?|\b(ep|evt|dlv|rpl|req|lnk|msg|aud|ct)_\w+|\b[0-9a-f]{16,}\b|wh(sec|pk)_\S+|v1a?,\S+|[A-Za-z0-9_+/=-]{24,}|\d+"
)
"""What stands for one thing of one run in a text: times, ids, keys, signatures, cursors, counts."""


@pytest.fixture
async def town(database_url: str, bare_environment: dict[str, str]) -> AsyncIterator[Town]:
    engine = connect(database_url)
    environment = bare_environment | {
        "DATABASE_URL": database_url,
        "SECRET_KEYS": SECRET_KEYS,
        "POSTHORN_HTTP_PORT": str(free_port()),
        "POSTHORN_OPS_PORT": str(free_port()),
        "POSTHORN_ALLOW_HTTP": "true",
        "POSTHORN_EGRESS_ALLOW": "127.0.0.0/8",
        "POSTHORN_LOG_FORMAT": "json",
    }
    async with town_on(environment, engine) as town:
        yield town
    await engine.dispose()


@pytest.fixture
def bare_environment() -> dict[str, str]:
    return {name: each for name, each in os.environ.items() if not name.startswith(("POSTHORN_", "AMQP_", "PUBLIC_"))}


def leaves(value: Any, operation: str, place: str = "") -> dict[str, Any]:
    """By its place: what stands there, without what differs from run to run."""
    match value:
        case dict() if SAMPLED.search(place):
            return {}
        case dict():
            inner = [(f"{place}.{name}", each) for name, each in value.items()]
        case list():
            inner = [(f"{place}[{number}]", each) for number, each in enumerate(value)]
        case _:
            return {f"{operation}{place}": _likeness(value, operation, place)}
    return {name: each for at, below in inner for name, each in leaves(below, operation, at).items()}


def _likeness(value: Any, operation: str, place: str) -> Any:
    if operation in MOVES or place.endswith(".hint"):
        return "…"
    if isinstance(value, str):
        return OWN.sub("…", value)
    return "a number" if isinstance(value, int | float) and not isinstance(value, bool) else value


async def test_what_is_shown_is_what_is_answered(town: Town) -> None:
    async with recorded(town) as run:
        found = run.as_kept()
    lacking = {
        (name, status)
        for name, (_, _, operation) in run.operations.items()
        for status, answer in operation["responses"].items()
        if status.startswith("2") and "content" in answer and status not in found.get(name, {})
    }
    assert lacking == set()
    if os.environ.get("KEEP_ANSWERS"):
        KEPT.write_text(json.dumps(found, indent=1, ensure_ascii=False, sort_keys=False) + "\n", "utf-8")
    kept = json.loads(KEPT.read_text("utf-8"))
    differing = {
        place: (told.get(place), shown.get(place))
        for name in found.keys() | kept.keys()
        for told, shown in [(leaves(found.get(name), name), leaves(kept.get(name), name))]
        for place in told.keys() | shown.keys()
        if told.get(place) != shown.get(place)
    }
    assert differing == {}, "if that is right, keep it (see above)"
