"""Everything that is wrong with an event is told at once, and each thing once."""

import json
from typing import Any

import pytest

from service.core.events.complaints import COMPLAINTS_MAX, ITEMS_MAX, complaints_about
from service.core.events.event import Rejected, parse_event
from service.core.events.own_types.own_type import OwnEventType
from service.core.events.registry import REGISTRY, Complaint, about_of
from service.core.field_code import FieldCode
from tests.fakes.clock import START
from tests.fakes.events import EXAMPLE_DATA


def _fields(event_type: str, data: object) -> list[str]:
    return [each.field for each in complaints_about(event_type, json.dumps(data).encode())]


@pytest.mark.parametrize("kind", REGISTRY)
def test_of_valid_data_there_is_nothing_to_tell(kind: str) -> None:
    assert _fields(kind, EXAMPLE_DATA[kind]) == []


@pytest.mark.parametrize("kind", REGISTRY)
def test_of_no_data_everything_required_is_told(kind: str) -> None:
    needed = {f"data.{path}" for path in (*REGISTRY[kind].required, *REGISTRY[kind].values)}
    found = _fields(kind, {})
    assert needed <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"message": 7}, ["data.message"]),
        ({"message": {"id": 7, "segments": "x"}}, ["data.message.id", "data.message.segments"]),
        ({"link": {"url": 1}, "click": {"id": "", "count": "1"}}, None),
        ({"message": {"id": "m", "attachments": [{"url": 1}, {}, 7]}}, None),
        ({"message": {"id": "m", "reactions": [{"type": "no"}]}, "error": []}, None),
    ],
)
def test_what_is_mistyped_is_told_by_its_innermost_field_and_nothing_within_it(
    changes: dict[str, Any], fields: list[str] | None
) -> None:
    expected = fields or {
        "link": ["data.link.url", "data.click.count", "data.click.id", "data.click.clicked_at"],
        "message": ["data.message.attachments[0].url", "data.message.attachments[2]"],
    }.get(next(iter(changes)))
    if "error" in changes:
        expected = ["data.message.reactions[0].type", "data.error"]
    assert _fields("link.clicked", {**EXAMPLE_DATA["link.clicked"], **changes}) == expected


def test_the_first_is_what_the_road_complains_of() -> None:
    wrong: list[Any] = [{}, {"message": {"id": 1}}, {"link": "x"}, [], {"message": {"metadata": 3}}]
    for data in wrong:
        encoded = json.dumps(data).encode()
        assert complaints_about("link.clicked", encoded)[0] == about_of("link.clicked", encoded)


def test_of_thousands_a_hundred_are_told() -> None:
    assert len(_fields("link.clicked", {"message": {"attachments": [1] * 20_000}})) == COMPLAINTS_MAX


def test_each_field_of_an_envelope_is_told_of() -> None:
    body = b'{"id":"a.b","type":"Link","timestamp":"noon","organization_id":"","test":1,"data":[]}'
    rejected = parse_event(body, START)
    assert isinstance(rejected, Rejected)
    assert [each.field for each in rejected.complaints] == [
        *("id", "type", "organization_id", "timestamp", "test", "data"),
    ]


def test_an_own_types_schema_tells_everything_too() -> None:
    schema = {
        "required": ["a", "b"],
        "properties": {"c": {"type": "string"}, "d": {"items": {"type": "integer"}}},
        "additionalProperties": False,
    }
    own = OwnEventType("own.type", json.dumps(schema))
    found = own.judge(json.dumps({"data": {"b": 1, "c": 1, "d": ["x", 2, "y"], "e": 1}}).encode())
    assert {each.field for each in found} == {"data.a", "data.c", "data.d[0]", "data.d[2]", "data"}
    assert Complaint("data.a", "is required", FieldCode.REQUIRED) in found


def test_what_is_found_before_the_budget_ends_is_told() -> None:
    schema = {"required": ["a"], "properties": {"many": {"items": {"items": {"type": "string"}}}}}
    own = OwnEventType("own.type", json.dumps(schema))
    found = own.judge_at_once(json.dumps({"data": {"many": [["x"] * 100] * 100}}).encode())
    assert found == (Complaint("data.a", "is required", FieldCode.REQUIRED),)


def test_of_a_long_list_only_the_first_items_are_looked_at() -> None:
    message = {**EXAMPLE_DATA["message.sent"]["message"], "attachments": [{}] * ITEMS_MAX + [{"url": 1}] * 2}
    assert _fields("message.sent", {"message": message}) == [f"data.message.attachments[{ITEMS_MAX}].url"]
