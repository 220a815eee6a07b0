"""The AsyncAPI document: valid by the specification's own schema, and true of what the service takes and declares."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from pamqp.header import ContentHeader

from service.adapters.rabbitmq.delivery import Delivery
from service.adapters.rabbitmq.parking import parked_properties
from service.api.documents.asyncapi import asyncapi_document
from service.core.events.event import Event, parse_event
from service.core.events.registry import BUILT_IN, REGISTRY
from service.core.events.schema import DescribedType, built_in_types
from service.core.events.types.operational import OPERATIONAL
from service.core.reason import ParkReason
from service.ports.source import Topology
from tests.fakes.clock import START

SPECIFICATION = Path(__file__).parent / "documents" / "asyncapi-3.0.0.json.gz"
OWN = DescribedType("order.placed", "An order.", {"type": "object", "required": ["order"]}, None, is_builtin=False)
TYPES = [*built_in_types("org_1", START), OWN]


@pytest.fixture
def document() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(asyncapi_document("1.2.3", TYPES, Topology("hooks"))))
    return made


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _found(document: Any, reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document


def test_it_is_valid_by_the_specification(document: dict[str, Any]) -> None:
    schema = json.loads(gzip.decompress(SPECIFICATION.read_bytes()))
    assert [error.message[:200] for error in Draft7Validator(schema).iter_errors(document)] == []


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = list(_references(document))
    assert len(references) > 2 * len(TYPES)
    for reference in references:
        assert _found(document, reference)


def test_there_is_a_message_for_every_type_and_its_example_is_an_event(document: dict[str, Any]) -> None:
    messages = document["components"]["messages"]
    assert list(messages) == [*BUILT_IN, "order.placed", "parked"]
    for name in REGISTRY:
        (example,) = messages[name]["examples"]
        Draft202012Validator(messages[name]["payload"]).validate(example["payload"])
        event = parse_event(json.dumps(example["payload"]).encode(), START)
        assert isinstance(event, Event)
        assert event.type == name
    assert "examples" not in messages["order.placed"]
    assert messages["order.placed"]["payload"]["properties"]["data"] == OWN.schema


def test_what_posthorn_itself_publishes_is_sent_to_endpoints_and_not_taken_in(document: dict[str, Any]) -> None:
    operations, channels = document["operations"], document["channels"]
    taken = [each["$ref"].rpartition("/")[2] for each in operations["takeIn"]["messages"]]
    assert taken == [*REGISTRY, "order.placed"] == list(channels["intake"]["messages"])
    assert list(channels["webhooks"]["messages"]) == list(OPERATIONAL)
    for name in OPERATIONAL:
        message = document["components"]["messages"][name]
        (example,) = message["examples"]
        Draft202012Validator(message["payload"]).validate(example["payload"])


def test_the_names_are_those_of_the_topology(document: dict[str, Any]) -> None:
    topology = Topology("hooks")
    events, intake, parked = (document["channels"][name] for name in ("events", "intake", "parked"))
    assert events["bindings"]["amqp"]["exchange"]["name"] == topology.events_exchange
    assert intake["bindings"]["amqp"]["queue"]["name"] == intake["address"] == topology.intake_queue
    assert parked["address"] == topology.parked
    assert all(pattern in intake["description"] for pattern in topology.bindings)
    assert events["parameters"]["event_type"]["enum"] == [*REGISTRY, "order.placed"]


def test_the_headers_of_a_parked_message_are_those_it_gets(document: dict[str, Any]) -> None:
    original = Delivery(1, False, b"hooks.events", b"message.sent", b"\x00\x01", 0)  # noqa: FBT003 - its own field
    header = ContentHeader()
    header.unmarshal(bytes(12) + parked_properties(original, ParkReason.BAD_PROPERTIES, "unknown flags", START))
    headers = header.properties.headers
    schema = document["components"]["messages"]["parked"]["headers"]
    assert headers is not None
    assert set(headers) == set(schema["properties"])
    Draft202012Validator(schema).validate(headers)
