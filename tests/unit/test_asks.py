"""What a question wants in time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.engine.asks import AFTERWARDS_DAYS, TIME, Named, match, named_date


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("What did Ana buy on 2023-05-08?", Named(2023, 5, 8)),
        ("notes of 2023-05", Named(2023, 5)),
        ("what happened in 2023-13", Named(2023)),
        ("on 8 May 2023", Named(2023, 5, 8)),
        ("on the 8th of May, 2023", Named(2023, 5, 8)),
        ("on 22nd august", Named(0, 8, 22)),
        ("on May 8", Named(0, 5, 8)),
        ("On January 21st, 2022, where was she?", Named(2022, 1, 21)),
        ("in may 2023", Named(2023, 5)),
        ("IN MAY", Named(0, 5)),
        ("since may", Named(0, 5)),
        ("may 2022", Named(2022, 5)),
        ("What did we plant in October?", Named(0, 10)),
        ("trips of 1999", Named(1999)),
        ("May I ask what she may do?", Named()),
        ("Who is April?", Named(0, 4)),
        ("8 maypoles", Named(0, 5, 8)),  # any word that begins like a month, behind a number
        ("the year 1850 and 30000 things", Named()),
        ("march 123", Named(0, 3)),
        ("", Named()),
    ],
)
def test_the_date_that_a_question_names(question: str, named: Named) -> None:
    assert named_date(question) == named


@pytest.mark.parametrize(
    ("question", "asks"),
    [("When did it rain?", True), ("  how long", True), ("What year was that", True), ("what time", False),
     ("Whenever", True), ("Since when", True), ("Who came when?", False)],
)  # fmt: skip
def test_questions_that_want_a_time(question: str, asks: bool) -> None:
    assert bool(TIME.match(question)) is asks


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Tokyo", "Pacific/Kiritimati"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def at(year: int, month: int, day: int, hour: int = 12, minute: int = 0) -> int:
    """The nanoseconds of a local time."""
    return int(datetime(year, month, day, hour, minute).timestamp()) * 10**9


def test_days_are_those_of_the_local_clock(zone: str) -> None:
    """A note's times without a zone are local; the evening of a day is that day everywhere."""
    for hour, minute in ((0, 0), (12, 0), (23, 59)):
        assert match(Named(2023, 5, 8), at(2023, 5, 8, hour, minute)) == (1.0, 1.0)
    assert match(Named(2023, 5, 8), at(2023, 5, 7, 23, 59)) == (0.0, 0.0)
    assert match(Named(2023, 5, 8), at(2023, 5, 9, 0, 0))[0] == 0.0
    assert match(Named(2023, 5), at(2023, 5, 1, 0, 0)) == (1.0, 1.0)
    assert match(Named(2023), at(2023, 12, 31, 23, 59)) == (0.3, 0.3)
    assert match(Named(2023), at(2024, 1, 1, 0, 0)) == (0.0, 0.0)


def test_people_tell_of_a_day_afterwards_and_less_the_later() -> None:
    after = [match(Named(2023, 5, 25), at(2023, 5, 25) + n * 86_400 * 10**9)[1] for n in range(AFTERWARDS_DAYS + 2)]
    assert after[:-1] == [pytest.approx(1 - n / 14) for n in range(AFTERWARDS_DAYS + 1)]
    assert after[-1] == 0.0


@pytest.mark.parametrize(
    ("named", "when", "expected"),
    [
        (Named(0, 5, 8), (2021, 5, 8), (1.0, 1.0)),  # any year
        (Named(0, 12, 30), (2023, 1, 2), (0.0, 0.0)),  # taken to be a day of the turn's own year
        (Named(0, 5), (2019, 5, 31), (1.0, 1.0)),
        (Named(2023, 5), (2022, 5, 31), (0.0, 0.0)),
        (Named(2023, 5), (2023, 6, 15), (0.0, 0.5)),
        (Named(2023, 5), (2023, 6, 16), (0.0, 0.0)),
        (Named(0, 12), (2024, 1, 3), (0.0, 0.5)),
        (Named(2023, 12), (2024, 1, 3), (0.0, 0.5)),
        (Named(2023, 12), (2023, 1, 3), (0.0, 0.5)),
        (Named(2023, 4), (2024, 5, 3), (0.0, 0.0)),
        (Named(2023), (2023, 3, 1), (0.3, 0.3)),
        (Named(), (2023, 3, 1), (0.0, 0.0)),
    ],
)  # fmt: skip
def test_near_and_far(named: Named, when: tuple[int, int, int], expected: tuple[float, float]) -> None:
    assert match(named, at(*when)) == expected


def test_what_is_no_day_matches_nothing() -> None:
    assert match(Named(2023, 2, 30), at(2023, 2, 28)) == (0.0, 0.0)
    assert match(Named(2023, 5, 99), at(2023, 5, 9)) == (0.0, 0.0)
    assert match(Named(2023, 5, 8), None) == (0.0, 0.0)
    for ns in (-(1 << 62), (1 << 62), 1 << 80):
        assert match(Named(1, 1, 1), ns) == (0.0, 0.0)


def test_the_last_second_of_a_day_counts_from_the_epoch_in_utc() -> None:
    """Nanoseconds below a second are cut off, before the epoch too."""
    end = datetime(1969, 5, 8, 23, 59, 59, tzinfo=UTC)
    local = (end - timedelta(seconds=time.localtime(end.timestamp()).tm_gmtoff)).timestamp()
    assert match(Named(1969, 5, 8), int(local) * 10**9 + 999_999_999) == (1.0, 1.0)
