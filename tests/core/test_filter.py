"""Filters: what the sentences of ``service.core.endpoints.filter.filter`` promise."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.endpoints.filter.filter import (
    CLAUSES_MAX,
    VALUES_MAX,
    Filter,
    FilterRefused,
    Mismatch,
    decode_envelope,
    parse_filter,
)

EVENT = {
    "type": "message.sent",
    "data": {
        "message": {
            "protocol": "sms",
            "segments": 3,
            "text": "STOP it",
            "read_at": None,
            "reactions": [{"type": "up"}],
        },
        "scope": {"brand_id": "b1", "campaign_id": "camp_A"},
        "flag": True,
        "a.b": 1,
    },
}


def _filter(value: object) -> Filter:
    parsed = parse_filter(value)
    assert isinstance(parsed, Filter), parsed
    return parsed


def _match(path: str, **operators: Any) -> Filter:
    return _filter({"match": {path: operators}})


def _problems(value: object) -> dict[str, str]:
    parsed = parse_filter(value)
    assert isinstance(parsed, FilterRefused), parsed
    return dict(parsed.problems)


# --------------------------------------------------------------------------- what passes


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"scope": {}, "match": {}},
        {"scope": {"brand_id": ["b0", "b1"], "campaign_id": ["camp_A"]}},
        {"match": {"data.message.protocol": {"in": ["sms", "mms"]}, "data.message.segments": {"gte": 2}}},
        {"match": {"data.message.segments": {"gt": 2, "gte": 3, "lt": 4, "lte": 3, "eq": 3.0}}},
        {"match": {"data.message.text": {"prefix": "STOP"}}},
        {"match": {"data.error": {"exists": False}, "data.message.read_at": {"exists": False, "eq": None}}},
        {"match": {"data.message.reactions": {"exists": True}, "data.message": {"exists": True}}},
        {"match": {"data.message.reactions.type": {"exists": False}, "data.a.b": {"exists": False}}},
        {"match": {"data.flag": {"eq": True, "not": {"eq": 1}}, "data.x": {"not": {"eq": 1}}}},
        {"match": {"data.x": {"in": [None, "y"], "not": {"gte": 0, "lt": 9}}, "type": {"prefix": "message."}}},
    ],
)
def test_an_event_that_passes(value: object) -> None:
    assert _filter(value).judge(EVENT) is None


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            {"scope": {"project_id": ["p1"]}},
            'scope.project_id: expected one of "p1", found nothing',
        ),
        (
            {"match": {"data.message.protocol": {"in": ["mms", "rcs"]}}},
            'match.data.message.protocol.in: expected one of "mms", "rcs", found "sms"',
        ),
        (
            {"match": {"data.message.segments": {"gte": 2, "lt": 3}}},
            "match.data.message.segments.lt: expected a number below 3, found 3",
        ),
        (
            {"match": {"data.message.text": {"gte": 2}}},
            'match.data.message.text.gte: expected a number, at least 2, found "STOP it"',
        ),
        ({"match": {"data.flag": {"eq": 1}}}, "match.data.flag.eq: expected 1, found true"),
        ({"match": {"data.flag": {"gte": 0}}}, "match.data.flag.gte: expected a number, at least 0, found true"),
        ({"match": {"data.message.segments": {"eq": "3"}}}, 'match.data.message.segments.eq: expected "3", found 3'),
        (
            {"match": {"data.message.read_at": {"exists": True}}},
            "match.data.message.read_at.exists: expected a value, found nothing",
        ),
        (
            {"match": {"data.message": {"exists": False}}},
            "match.data.message.exists: expected no value, found an object",
        ),
        (
            {"match": {"data.message.reactions": {"prefix": "u"}}},
            'match.data.message.reactions.prefix: expected text that begins with "u", found a list',
        ),
        (
            {"match": {"data.message.segments": {"not": {"gte": 2, "lte": 4}}}},
            "match.data.message.segments.not: expected anything but a number, at least 2 and a number, at most 4, found 3",
        ),
    ],
)
def test_an_event_that_does_not_and_why(value: object, sentence: str) -> None:
    assert str(_filter(value).judge(EVENT)) == sentence


def test_long_values_are_cut_short_for_people() -> None:
    failed = _match("text", **{"in": [f"v{n}" for n in range(VALUES_MAX)]}).judge({"text": "x" * 5000})
    assert failed is not None
    assert len(str(failed)) < 300


@pytest.mark.parametrize(
    ("number", "is_above"),
    [(10**400, True), (-(10**5000), False), (float("inf"), True), (float("nan"), False)],
    ids=range(4),
)
def test_numbers_of_any_size_are_compared(number: float, is_above: bool) -> None:  # noqa: FBT001
    failed = _match("n", gt=1.5).judge({"n": number})
    assert (failed is None) == is_above
    str(failed)


def test_whole_numbers_are_compared_exactly() -> None:
    assert _match("n", eq=2**53 + 1).judge({"n": float(2**53)}) is not None
    assert _match("n", eq=1).judge({"n": 1.0}) is None


@pytest.mark.parametrize("text", ["1e400", "9" * 5000, "-" + "9" * 5000, '"\\ud800"', "123456789012345678901", "{}"])
def test_any_stored_envelope_is_read(text: str) -> None:
    envelope = decode_envelope(f'{{"data":{text}}}'.encode())
    failed = _match("data", eq="x").judge(envelope)
    str(failed).encode()
    assert failed is not None


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("value", "path", "part"),
    [
        (None, "", "an object with 'scope' and 'match'"),
        ([], "", "an object with"),
        ("x", "", "an object with"),
        ({"scop": {}}, "scop", "did you mean 'scope'?"),
        ({"zzz": {}}, "zzz", "expected one of scope, match"),
        ({"scope": []}, "scope", "must be an object"),
        ({"scope": {"campaign": ["a"]}}, "scope.campaign", "did you mean 'campaign_id'?"),
        ({"scope": {"brand_id": "b1"}}, "scope.brand_id", "must be a list of ids"),
        ({"scope": {"brand_id": []}}, "scope.brand_id", "1 to 100"),
        ({"scope": {"brand_id": ["a", 7]}}, "scope.brand_id[1]", "must be text"),
        ({"scope": {"brand_id": ["\0"]}}, "scope.brand_id[0]", "without NUL"),
        ({"match": None}, "match", "must be an object"),
        ({"match": {"data.x": "sms"}}, "match.data.x", '{"eq": ...}'),
        ({"match": {"data.x": ["sms"]}}, "match.data.x", '{"in": [...]}'),
        ({"match": {"data.x": {}}}, "match.data.x", "at least one operator"),
        ({"match": {"data.x": {"equals": 1}}}, "match.data.x.equals", "unknown"),
        ({"match": {"data.x": {"exist": True}}}, "match.data.x.exist", "did you mean 'exists'?"),
        ({"match": {"data.x": {"exists": 1}}}, "match.data.x.exists", "true or false"),
        ({"match": {"data.x": {"prefix": ""}}}, "match.data.x.prefix", "1 to 1000 characters"),
        ({"match": {"data.x": {"gte": "2"}}}, "match.data.x.gte", "a number"),
        ({"match": {"data.x": {"gte": True}}}, "match.data.x.gte", "a number"),
        ({"match": {"data.x": {"gt": 2**63}}}, "match.data.x.gt", "64 bits"),
        ({"match": {"data.x": {"lt": float("inf")}}}, "match.data.x.lt", "64 bits"),
        ({"match": {"data.x": {"lte": float("nan")}}}, "match.data.x.lte", "64 bits"),
        ({"match": {"data.x": {"eq": {}}}}, "match.data.x.eq", "must be null"),
        ({"match": {"data.x": {"eq": "x" * 1001}}}, "match.data.x.eq", "at most 1000"),
        ({"match": {"data.x": {"eq": "\ud800"}}}, "match.data.x.eq", "text"),
        ({"match": {"data.x": {"in": "sms"}}}, "match.data.x.in", "a list of values"),
        ({"match": {"data.x": {"in": [1] * 101}}}, "match.data.x.in", "1 to 100"),
        ({"match": {"data.x": {"in": [1, []]}}}, "match.data.x.in[1]", "must be null"),
        ({"match": {"data.x": {"not": 1}}}, "match.data.x.not", "object of operators"),
        ({"match": {"data.x": {"not": {}}}}, "match.data.x.not", "at least one"),
        ({"match": {"data.x": {"not": {"not": {"eq": 1}}}}}, "match.data.x.not.not", "unknown"),
        ({"match": {"": {"eq": 1}}}, "match.", "single dots"),
        ({"match": {"data..x": {"eq": 1}}}, "match.data..x", "single dots"),
        ({"match": {".".join("abcdefghijklmnopq"): {"eq": 1}}}, "match.a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q", "16 keys"),
        ({"match": {"x" * 257: {"eq": 1}}}, f"match.{'x' * 256!r}", "256 characters"),
        ({"match": {"a\0": {"eq": 1}}}, "match.'a\\x00'", "single dots"),
        ({"match": {f"k{n}": {"exists": True} for n in range(CLAUSES_MAX + 1)}}, "match", "at most 50"),
        (
            {
                "match": {f"k{n}": {"not": {"eq": 1, "lt": 2}} for n in range(CLAUSES_MAX // 2)},
                "scope": {"brand_id": ["b"]},
            },
            "",
            "at most 50",
        ),
    ],
)
def test_what_is_no_filter(value: object, path: str, part: str) -> None:
    problems = _problems(value)
    assert list(problems) == [path]
    assert part in problems[path]


def test_every_problem_is_told_at_once() -> None:
    value = {"scope": {"brand": ["a"]}, "match": {"data.x": {"gte": "2", "lt": 3}, "data.y": 1}, "more": 1}
    assert set(_problems(value)) == {"more", "scope.brand", "match.data.x.gte", "match.data.y"}


# --------------------------------------------------------------------------- whatever comes

numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(-(2.0**63), 2.0**62, allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
words = st.sampled_from(["", "a", "ab", "b", "sms"]) | texts
scalars = st.none() | st.booleans() | st.sampled_from([0, 1, 1.0, 2, True]) | numbers | words
conditions = st.fixed_dictionaries(
    {},
    optional={
        "eq": scalars,
        "in": st.lists(scalars, min_size=1, max_size=5),
        "prefix": words.filter(bool),
        "exists": st.booleans(),
        "gt": numbers,
        "gte": numbers,
        "lt": numbers,
        "lte": numbers,
    },
).filter(bool)
keys = st.sampled_from(["data", "scope", "brand_id", "a", "b"])
paths = st.lists(keys, min_size=1, max_size=4).map(".".join)
filters = st.fixed_dictionaries(
    {},
    optional={
        "scope": st.dictionaries(
            st.sampled_from(["brand_id", "campaign_id"]), st.lists(words.filter(bool), min_size=1, max_size=3)
        ),
        "match": st.dictionaries(paths, conditions | conditions.map(lambda inner: {"not": inner}), max_size=4),
    },
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)
envelopes = st.dictionaries(keys, anything, max_size=4)
guesses = st.recursive(
    anything,
    lambda inner: st.dictionaries(
        st.sampled_from(["scope", "match", "not", "eq", "in", "gte", "brand_id", "data.x"]), inner, max_size=4
    ),
)


@given(filters, envelopes)
def test_any_filter_judges_any_event(value: dict[str, Any], envelope: dict[str, Any]) -> None:
    failed = _filter(value).judge(envelope)
    if failed is not None:
        str(failed).encode()
        clause = next(each for each in _filter(value).clauses if each.name == failed.clause)
        assert Filter((clause,)).judge(envelope) == failed, "the clause fails by itself"


@given(filters, envelopes)
def test_all_clauses_must_hold(value: dict[str, Any], envelope: dict[str, Any]) -> None:
    whole = _filter(value)
    alone = [Filter((clause,)).judge(envelope) for clause in whole.clauses]
    assert whole.judge(envelope) == next((failed for failed in alone if failed), None)


@given(conditions, paths, envelopes)
def test_not_inverts(inner: dict[str, Any], path: str, envelope: dict[str, Any]) -> None:
    plain, denied = _match(path, **inner), _match(path, **{"not": inner})
    assert (plain.judge(envelope) is None) != (denied.judge(envelope) is None)


@given(st.lists(scalars, min_size=1, max_size=5), scalars | anything)
def test_in_is_any_eq(values: list[Any], found: object) -> None:
    envelope = {"a": found}
    any_equal = any(_match("a", eq=each).judge(envelope) is None for each in values)
    assert (_match("a", **{"in": values}).judge(envelope) is None) == any_equal


@given(scalars)
def test_a_storable_value_equals_itself_and_survives_the_database(value: object) -> None:
    stored = json.loads(json.dumps(value))
    assert _match("a", eq=value).judge({"a": stored}) is None


@given(guesses)
def test_whatever_is_read_is_a_filter_or_refused_with_sentences(value: object) -> None:
    parsed = parse_filter(value)
    if isinstance(parsed, FilterRefused):
        assert parsed.problems
        for path, problem in parsed.problems.items():
            f"{path}: {problem}".encode()
    else:
        assert len(parsed.clauses) <= CLAUSES_MAX
        assert parsed.judge({}) is None or isinstance(parsed.judge({}), Mismatch)


@given(filters, st.none() | st.booleans() | st.integers() | st.floats() | words | st.lists(anything, max_size=3))
def test_a_filter_with_anything_else_in_it_is_refused(value: dict[str, Any], stray: object) -> None:
    assert "match" in _problems({**value, "match": stray})
    assert "other" in _problems({**value, "other": stray})
    assert "match.a" in _problems({"match": {"a": stray}})
