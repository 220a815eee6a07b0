"""What the documents say of an event is what validates it."""

import json
import re
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from service.core.events.event import Event, parse_event
from service.core.events.registry import BUILT_IN, REGISTRY, Complaint, read_data
from service.core.events.schema import built_in_types, envelope_schema, sample_of, schema_of
from tests.fakes.clock import START
from tests.fakes.events import EXAMPLE_DATA

FORMATS = FormatChecker(())
VALIDATORS = {name: Draft202012Validator(schema_of(name), format_checker=FORMATS) for name in BUILT_IN}
SAMPLES = {name: sample_of(name, "org_1", START) for name in BUILT_IN}


@FORMATS.checks("date-time")
def _is_date_time(value: object) -> bool:
    instant = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
    return not isinstance(value, str) or re.fullmatch(instant, value) is not None


def _is_valid(kind: str, data: object) -> bool:
    return not isinstance(read_data(kind, json.dumps(data).encode()), Complaint)


def _paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(found for key, each in inner for found in _paths(each, (*path, key)))]


def _changed(data: Any, path: tuple[str | int, ...], value: object, *, removed: bool = False) -> Any:
    changed = deepcopy(data)
    *way, last = path
    inner = changed
    for key in way:
        inner = inner[key]
    if removed:
        del inner[last]
    else:
        inner[last] = value
    return changed


@pytest.mark.parametrize("kind", REGISTRY)
def test_schemas_are_schemas_and_samples_satisfy_them(kind: str) -> None:
    Draft202012Validator.check_schema(VALIDATORS[kind].schema)
    VALIDATORS[kind].validate(SAMPLES[kind]["data"])
    VALIDATORS[kind].validate(EXAMPLE_DATA[kind])
    assert not VALIDATORS[kind].is_valid({})


@pytest.mark.parametrize("kind", REGISTRY)
def test_an_envelope_satisfies_its_schema_as_it_comes_and_as_it_goes(kind: str) -> None:
    came = {key: value for key, value in SAMPLES[kind].items() if key != "test"}
    gone = parse_event(json.dumps(came).encode(), START)
    assert isinstance(gone, Event)
    for event_type in (kind, None):
        for envelope, is_published in ((came, True), (json.loads(gone.body), False)):
            schema = envelope_schema(event_type, is_published=is_published)
            Draft202012Validator.check_schema(schema)
            Draft202012Validator(schema).validate(envelope)
    assert not Draft202012Validator(envelope_schema(kind)).is_valid(came)


@pytest.mark.parametrize("kind", REGISTRY)
def test_every_single_change_is_judged_alike(kind: str) -> None:
    whole = deepcopy(SAMPLES[kind]["data"])
    whole["message"] = (whole["message"] or {}) | {
        "reactions": [{"type": "heart", "at": None}],
        "attachments": [{"url": "https://a.example"}],
    }
    values: list[object] = [None, "", "x", 0, 1.5, True, [], [1], {}, {"id": 1}, "sent", "read", "inbound", "heart"]
    values += ["2026-11-20T18:25:35Z", "2026-11-20T18:25:35"]
    disagreed = []
    for path in _paths(whole)[1:]:
        cases = [_changed(whole, path, None, removed=True), *(_changed(whole, path, value) for value in values)]
        disagreed += [(path, case) for case in cases if VALIDATORS[kind].is_valid(case) != _is_valid(kind, case)]
    assert not disagreed


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(0.1, 0.9)
    | st.text("ab\x00é", max_size=2)
    | st.sampled_from(["sent", "delivered", "read", "failed", "received", "inbound", "outbound", "heart"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "urn", "text", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.data(), st.sampled_from(list(REGISTRY)))
def test_what_the_schema_rejects_is_rejected_and_nothing_else(draw: st.DataObject, kind: str) -> None:
    data: Any = deepcopy(draw.draw(st.sampled_from([SAMPLES[kind]["data"], EXAMPLE_DATA[kind]])))
    for _ in range(draw.draw(st.integers(1, 4))):
        path = draw.draw(st.sampled_from(_paths(data)[1:] or [()]))
        if path:
            data = _changed(data, path, draw.draw(values), removed=draw.draw(st.booleans()))
    assert VALIDATORS[kind].is_valid(data) == _is_valid(kind, data)


def test_every_built_in_type_is_described() -> None:
    described = built_in_types("org_1", START)
    assert [each.name for each in described] == list(BUILT_IN)
    assert all(each.is_builtin and each.description and each.sample for each in described)
