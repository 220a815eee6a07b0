"""The oracle itself: it names every kind of wrong, so that its silence means something."""

from dataclasses import replace

import pytest

from tests.end_to_end.oracle import Database, Findings, Line, Row, judge

PAIR = ("evt_1", "/ok/all")
LINE = Line("evt_1", "/ok/all", None, "d1", "1", 204)
ROW = Row("delivered", None, (1,), 1)
PUBLISHED = {"evt_1": ("/ok/all",)}


def judged(*lines: Line, row: Row | None = ROW, digest: str | None = "d1") -> Findings:
    rows = {} if row is None else {PAIR: row}
    return judge(PUBLISHED, lines, Database(rows, {} if digest is None else {"evt_1": digest}))


def classes(found: Findings) -> set[str]:
    return {line.split(":")[0] for line in found.wrong().splitlines()}


def test_all_is_well() -> None:
    found = judged(LINE)
    assert not found.wrong()
    assert not found.duplicates


def test_a_second_copy_is_a_duplicate_and_no_wrong() -> None:
    found = judged(LINE, LINE, row=replace(ROW, attempts=(1, 2)))
    assert not found.wrong()
    assert found.duplicates == ["evt_1 at /ok/all"]


def test_a_request_made_again_on_a_second_connection_is_part_of_its_attempt() -> None:
    assert not judged(LINE, LINE, row=replace(ROW, resent=1)).wrong()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (judged(row=None, digest=None), {"unrecorded", "lost", "not_ended"}),
        (judged(), {"lost"}),
        (judged(replace(LINE, status=500)), {"lost"}),
        (judged(LINE, replace(LINE, path="/ok/other")), {"uninvited"}),
        (judged(LINE, replace(LINE, complaint="no_match", status=401)), {"unverified"}),
        (judged(LINE, replace(LINE, sha256="d2"), row=replace(ROW, attempts=(1, 2))), {"differing"}),
        (judged(LINE, row=replace(ROW, state="leased")), {"not_ended"}),
        (judged(LINE, row=replace(ROW, state="dead", reason="crashes_worker")), {"ended_wrongly"}),
        (judged(LINE, LINE), {"attempts_missing"}),
        (judged(LINE, row=replace(ROW, attempts=(2,))), {"attempts_missing"}),
        (judged(LINE, row=replace(ROW, accepted_attempts=0)), {"attempts_missing"}),
    ],
)
def test_every_wrong_has_its_name_and_lists_the_event(found: Findings, expected: set[str]) -> None:
    assert classes(found) == expected
    assert all("evt_1" in line for line in found.wrong().splitlines())
