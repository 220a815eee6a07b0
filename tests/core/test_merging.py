"""JSON Merge Patch: every example of RFC 7396, Appendix A; and headers."""

import pytest

from service.core.endpoints.merging import merge_headers, merge_patch

RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("before", "patch", "after"), RFC_7396)
def test_the_examples_of_the_rfc(before: object, patch: object, after: object) -> None:
    assert merge_patch(before, patch) == after


def test_headers_are_the_same_in_any_case() -> None:
    before = {"X-Team": "crm", "X-Key": "1"}
    assert merge_headers(before, {"x-team": "ops", "X-KEY": None, "X-New": "2"}) == {"X-Team": "ops", "X-New": "2"}
