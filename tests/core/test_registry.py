"""What must hold of every built-in event type, those to come as well."""

import importlib
import json
import pkgutil
import re
from datetime import UTC, datetime
from typing import get_args, get_type_hints

import msgspec
import pytest

from service.core.events import types
from service.core.events.data import Data
from service.core.events.event import Event, Rejected, parse_event
from service.core.events.event_type import EventType, Family, Proof
from service.core.events.message_status import MessageState, fold_message
from service.core.events.registry import FAMILIES, REGISTRY, is_event_type_name
from service.core.events.sample import sample_event
from tests.fakes.events import EXAMPLE_DATA, body_of

NOW = datetime(2026, 11, 20, 18, 25, 35, 123456, UTC)
TYPES = pytest.mark.parametrize("kind", REGISTRY.values(), ids=list(REGISTRY))
STATES = {
    Proof.SENT: MessageState.SENT,
    Proof.DELIVERED: MessageState.DELIVERED,
    Proof.READ: MessageState.READ,
    Proof.FAILED: MessageState.FAILED,
    Proof.RECEIVED: MessageState.RECEIVED,
}


def _paths(kind: EventType) -> list[str]:
    return [*kind.required, *kind.values]


def test_the_contract_has_five_types() -> None:
    five = ["message.sent", "message.delivered", "message.failed", "message.replied", "link.clicked"]
    assert [name for name in REGISTRY if name in five] == five


@TYPES
def test_it_has_a_name_and_a_sentence(kind: EventType) -> None:
    assert is_event_type_name(kind.name)
    assert re.fullmatch(r"[A-Z].*\.", kind.description)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.binding)
def test_its_routing_key_is_bound(family: Family) -> None:
    pattern = re.escape(family.binding).replace(r"\*", "[^.]+").replace(r"\#", ".*")
    assert [kind.name for kind in family.types if not re.fullmatch(pattern, kind.name)] == []


def test_every_file_of_types_is_in_the_registry() -> None:
    modules = [
        importlib.import_module(found.name) for found in pkgutil.iter_modules(types.__path__, f"{types.__name__}.")
    ]
    written = [value for module in modules for value in vars(module).values() if isinstance(value, Family)]
    assert sorted(family.binding for family in written) == sorted(family.binding for family in FAMILIES)


def test_no_name_is_given_twice() -> None:
    assert len(REGISTRY) == sum(len(family.types) for family in FAMILIES)


@TYPES
def test_its_paths_are_documented_keys(kind: EventType) -> None:
    for path in (*_paths(kind), *kind.any_of):
        struct: type[msgspec.Struct] = Data
        *way, last = path.split(".")
        for name in way:
            fields = dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True))
            assert name in fields, f"service/core/events/data.py: {struct.__name__} needs {name!r}"
            struct = get_args(get_type_hints(struct)[fields[name]])[0]
        assert last in struct.__struct_encode_fields__, f"service/core/events/data.py: {struct.__name__} needs {last!r}"


@TYPES
def test_without_a_value_that_it_requires_it_is_rejected(kind: EventType) -> None:
    assert isinstance(parse_event(body_of(type=kind.name), NOW), Event)
    for path in _paths(kind):
        data = json.loads(json.dumps(EXAMPLE_DATA[kind.name]))
        *way, last = path.split(".")
        inner = data
        for name in way:
            inner = inner[name]
        del inner[last]
        rejected = parse_event(body_of(type=kind.name, data=data), NOW)
        assert isinstance(rejected, Rejected)
        assert rejected.field == f"data.{path}"


@TYPES
def test_its_sample_proves_what_it_says(kind: EventType) -> None:
    sample = json.loads(sample_event(kind.name, "org_a", event_id="evt_1", number=7, now=NOW))
    message = sample["data"]["message"] or {}
    if kind.proves in STATES:
        status = fold_message(message["id"], [sample])
        assert status.status is STATES[kind.proves]
        assert getattr(status, kind.proves) == NOW
        del message[kind.proves.value]  # then the event's own time counts
        assert getattr(fold_message(message["id"], [sample]), kind.proves) == NOW
    elif kind.proves is Proof.CLICKED:
        assert fold_message(message["id"], [sample]).clicks.count == 1
