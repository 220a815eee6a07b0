"""Suggestions: the closest name, found without comparing all of them, and looked for a few times only."""

from difflib import get_close_matches
from itertools import islice, permutations

import pytest
from pydantic import ValidationError

from service.api.validation import BodyModel, field_errors
from service.core import suggestion
from service.core.endpoints.filter.filter import FilterRefused, parse_filter
from service.core.suggestion import SUGGESTIONS_MAX, did_you_mean

Compared = list[int]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Compared:
    """How many names each search has compared with what was written."""
    found: Compared = []

    def counted(name: str, names: list[str], n: int) -> list[str]:
        found.append(len(names))
        return get_close_matches(name, names, n=n)

    monkeypatch.setattr(suggestion, "get_close_matches", counted)
    return found


def test_of_many_names_the_closest_is_found_and_few_are_compared(compared: Compared) -> None:
    known = [f"order.number_{number}" for number in range(200)] + ["invoice.paid"]
    assert did_you_mean("invoice.piad", known) == "; did you mean 'invoice.paid'?"
    assert did_you_mean("order.numbr_117", known) == "; did you mean 'order.number_117'?"
    assert did_you_mean("x" * 100_000, known) == ""
    assert max(compared) <= 8


class _Model(BodyModel):
    signature: str | None = None


def _anagrams() -> list[str]:
    return ["".join(each) for each in islice(permutations("erutangis"), 100)]


def test_what_resembles_nothing_is_looked_for_no_more_often(compared: Compared) -> None:
    with pytest.raises(ValidationError) as caught:
        _Model.model_validate(dict.fromkeys(_anagrams(), 1))
    errors = field_errors(caught.value, _Model)
    assert len(errors) == 100
    assert not any("did you mean" in each for sentences in errors.values() for each in sentences)
    assert len(compared) == SUGGESTIONS_MAX


def test_a_filter_of_unknown_operators_is_looked_at_as_seldom(compared: Compared) -> None:
    refused = parse_filter({"match": {f"data.{path}": dict.fromkeys(_anagrams()[:50], 1) for path in "abcdefghij"}})
    assert isinstance(refused, FilterRefused)
    assert len(refused.problems) >= 500
    assert len(compared) == SUGGESTIONS_MAX
