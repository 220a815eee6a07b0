"""Tables on a terminal: ids are whole, at any width."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from rich.text import Text

from service.cli.tables import Column, badge, lay_out, near

DELIVERY = "dlv_0193ab6e7c5d7a10b3f24c9d8e7f0c12_17"
COLUMNS = (Column("state"), Column("type"), Column("tries", is_right=True), Column("delivery", moves=True))
ROWS = [("pending", "message.failed", 4, DELIVERY), ("delivered", "link.clicked", 12, "dlv_1")]


def plain(columns: tuple[Column, ...], rows: Sequence[Sequence[object]], width: int) -> list[str]:
    return [line.plain for line in lay_out(columns, rows, width)]


def test_where_all_fits_a_row_is_one_line() -> None:
    assert plain(COLUMNS, ROWS, 120) == [
        "STATE      TYPE            TRIES  DELIVERY",
        f"pending    message.failed      4  {DELIVERY}",
        "delivered  link.clicked       12  dlv_1",
    ]


def test_an_id_that_does_not_fit_takes_its_own_line() -> None:
    assert plain(COLUMNS, ROWS, 60) == [
        "STATE      TYPE            TRIES  DELIVERY",
        "pending    message.failed      4",
        f"           {DELIVERY}",
        "delivered  link.clicked       12  dlv_1",
    ]


@pytest.mark.parametrize("width", range(1, 130))
def test_an_id_is_never_folded(width: int) -> None:
    assert sum(DELIVERY in line for line in plain(COLUMNS, ROWS, width)) == 1


def test_the_widest_column_that_may_moves_first_and_what_moved_shares_a_line() -> None:
    columns = (Column("state"), Column("types", moves=True), Column("id", moves=True), Column("url", moves=True))
    row = ("active", "message.sent, link.clicked", "ep_1", "https://hooks.example.com/")
    assert plain(columns, [row], 39) == [
        "STATE   ID",
        "active  ep_1",
        "        message.sent, link.clicked",
        "        https://hooks.example.com/",
    ]
    assert plain(columns, [(*row[:3], "https://a.example.com/")], 60)[1:] == [
        "active  message.sent, link.clicked  ep_1",
        "        https://a.example.com/",
    ]


def test_prose_that_moved_breaks_between_words() -> None:
    columns = (Column("try"), Column("reply", moves=True))
    lines = plain(columns, [(1, "TypeError: cannot read the text of null")], 24)
    assert lines == ["TRY", "1", "     TypeError: cannot", "     read the text of", "     null"]


def test_nothing_is_put_below_for_what_is_not_there() -> None:
    columns = (Column("state"), Column("a name that is long", moves=True), Column("id", moves=True))
    assert plain(columns, [("active", None, "")], 10)[1:] == ["active"]


def test_what_others_wrote_does_not_drive_the_terminal() -> None:
    assert plain((Column("reply"),), [("\x1b[2J\n",)], 80)[1] == "\\x1b[2J\\n"


def test_a_badge_has_a_glyph_where_the_terminal_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert badge("delivered").plain.endswith(" delivered")
    assert badge("pending").plain != badge("pending", attempts_made=1).plain
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert badge("delivered") == Text("+ delivered", "green")


def test_times_are_as_short_as_they_can_be() -> None:
    now = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
    assert near(datetime(2026, 11, 21, 14, 48, 5, tzinfo=UTC), now) == "14:48:05"
    assert near(datetime(2026, 11, 22, 14, 48, 5, tzinfo=UTC), now) == "11-22 14:48"
