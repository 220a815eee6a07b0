"""Lines of CSV, read back as spreadsheets and programs read them."""

import csv
import io
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.csv_line import csv_line


def read(line: str) -> list[str]:
    [found] = csv.reader(io.StringIO(line, newline=""), strict=True)
    return found


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\N{FULLWIDTH EQUALS SIGN}1", '=HYPERLINK("x","y")'],
)
def test_no_text_is_a_formula(text: str) -> None:
    raw = msgspec.Raw(msgspec.json.encode(text))
    assert read(csv_line([text, raw])) == [f"'{text}"] * 2


def test_each_value_has_its_text() -> None:
    at = datetime(2026, 11, 20, 18, 25, 35, tzinfo=UTC)
    values = [None, True, -7, 1.5, "a", at, {"a": [1]}, ["x"]]
    texts = ["", "true", "-7", "1.5", "a", "2026-11-20T18:25:35.000000Z", '{"a":[1]}', '["x"]']
    assert read(csv_line(values)) == texts


def test_json_keeps_its_notation() -> None:
    written = [b"null", b'"\\u00e9"', b"1.0", b"1e400", b"9007199254740993", b"false", b'{"a": 1.0}']
    texts = ["", "é", "1.0", "1e400", "9007199254740993", "false", '{"a": 1.0}']
    assert read(csv_line(map(msgspec.Raw, written))) == texts


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=2))
def test_what_is_written_is_read(texts: list[str]) -> None:
    line = csv_line(texts)
    assert line.endswith("\r\n")
    found = read(line)
    assert [each.removeprefix("'") for each in found] == [each.removeprefix("'") for each in texts]
    assert not any(each.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for each in found)
