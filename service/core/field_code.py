"""What is wrong with a field, as a sentence for people and a code for programs."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Self


class FieldCode(StrEnum):
    """Why a field is refused; the same everywhere that fields are."""

    REQUIRED = "REQUIRED"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    UNKNOWN_VALUE = "UNKNOWN_VALUE"
    WRONG_TYPE = "WRONG_TYPE"
    WRONG_FORM = "WRONG_FORM"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    REPEATED = "REPEATED"
    NOT_ALLOWED = "NOT_ALLOWED"
    INVALID = "INVALID"


class FieldSentence(str):
    """A sentence that has a code; a sentence without one, which is any other text, counts as ``INVALID``.

    It is text, so that whatever gathers sentences by field need not know of codes.
    """

    __slots__ = ("code",)
    code: FieldCode

    def __new__(cls, sentence: str, code: FieldCode) -> Self:
        """The sentence, with its code."""
        made = super().__new__(cls, sentence)
        made.code = code
        return made


def codes_of(errors: Mapping[str, Sequence[str]]) -> dict[str, FieldCode]:
    """The code of each field: that of its first sentence."""
    return {
        field: first.code if isinstance(first := next(iter(sentences), ""), FieldSentence) else FieldCode.INVALID
        for field, sentences in errors.items()
    }


def with_codes(errors: Mapping[str, Sequence[str]], codes: Mapping[str, FieldCode]) -> dict[str, list[str]]:
    """The same errors, with these codes; where there is none, as they are."""
    return {
        field: [FieldSentence(each, codes[field]) for each in sentences] if field in codes else list(sentences)
        for field, sentences in errors.items()
    }
