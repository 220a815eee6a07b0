"""Uids start with the time of receipt, so ranges of one are ranges of the other."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from service.core.events.uid import day_of, first_uid_from, received_at

INSTANTS = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
UIDS = st.integers(0, 2**128 - 1).map(lambda number: UUID(int=number))


@given(INSTANTS, INSTANTS, st.integers(0, 2**80 - 1))
def test_a_uid_is_at_or_after_an_instant_as_its_time_is(bound: datetime, at: datetime, random_bits: int) -> None:
    milliseconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    uid = UUID(int=milliseconds << 80 | random_bits)
    assert (uid >= first_uid_from(bound)) == (received_at(uid) >= bound)


@given(UIDS)
def test_a_day_holds_its_uids(uid: UUID) -> None:
    first, last = day_of(uid)
    assert first <= uid <= last
    assert day_of(first) == day_of(last) == (first, last)


def test_what_lies_before_time_began_is_the_first_uid() -> None:
    far_east = datetime.fromisoformat("0001-01-01T00:00:00+23:59")
    assert first_uid_from(far_east) == UUID(int=0)
