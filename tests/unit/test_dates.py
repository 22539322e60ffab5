"""Dates: which texts are some, and which time they cover."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from holdfast.text.dates import bounds, is_before, is_date, is_instant

SECOND = 10**9
DAY = 86_400 * SECOND


def ns(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * SECOND  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2024", ns(2024, 1, 1), ns(2025, 1, 1)),
        ("2024-02", ns(2024, 2, 1), ns(2024, 3, 1)),
        ("2024-12", ns(2024, 12, 1), ns(2025, 1, 1)),
        ("2024-02-29", ns(2024, 2, 29), ns(2024, 3, 1)),
        ("1969-12-31", -DAY, 0),
        ("2024-02-29T10:20", ns(2024, 2, 29, 10, 20), ns(2024, 2, 29, 10, 21)),
        ("2024-02-29 10:20:30", ns(2024, 2, 29, 10, 20, 30), ns(2024, 2, 29, 10, 20, 31)),
        ("2024-02-29T10:20:30Z", ns(2024, 2, 29, 10, 20, 30), ns(2024, 2, 29, 10, 20, 31)),
        ("2024-02-29T10:20:30+02:30", ns(2024, 2, 29, 7, 50, 30), ns(2024, 2, 29, 7, 50, 31)),
        ("2024-02-29T22:20-0500", ns(2024, 3, 1, 3, 20), ns(2024, 3, 1, 3, 21)),
        ("2024-02-29T10:20+01", ns(2024, 2, 29, 9, 20), ns(2024, 2, 29, 9, 21)),
        ("1970-01-01T00:00:30.25Z", 30_250_000_000, 30_260_000_000),
        ("1970-01-01T00:00:01,123456789123Z", 1_123_456_789, 1_123_456_790),
    ],
)
def test_bounds(text: str, start: int, end: int) -> None:
    assert bounds(text) == (start, end)
    assert is_date(text)
    assert is_instant(text) == (":" in text)


@pytest.mark.parametrize(
    "text",
    [
        "", "24", "20240105", "2024-1", "2024-1-05", "2024-13", "2024-00", "2023-02-29", "2024-01-32", "0000",
        "12024", "2024-01-05T", "2024-01-05T10", "2024-01-05T24:00", "2024-01-05T10:60", "2024-01-05T10:00:60",
        "2024-01-05t10:00", "2024-01-05T10:00z", "2024-01-05T10:00 Z", "2024-01-05T10:00+24:00", "2024-01-05Z",
        "2024-01-05T10:00+01:60", "2024-01-05  10:00", "2024-01-05T10:00:00.", "2024-01-05\n", " 2024",
        "２０２４", "2024-W01", "yesterday",
    ],
)  # fmt: skip
def test_no_date(text: str) -> None:
    assert bounds(text) is None
    assert not is_date(text)
    assert not is_instant(text)


def test_bounds_fit_into_64_bits_and_stay_in_order() -> None:
    for text in ("0001", "1492-10-12", "1676", "2263", "9999-12-31T23:59:59Z", "9999-12"):
        start, end = bounds(text) or (0, 0)
        assert -(2**63) <= start <= end < 2**63
    assert is_before("1491", "1492")
    assert not is_before("1492", "1492-10-12")


@pytest.mark.parametrize(
    ("text", "other", "expected"),
    [
        ("2024", "2025", True),
        ("2025", "2024", False),
        ("2024", "2024-06", False),
        ("2024-06", "2024", False),
        ("2024-05-31", "2024-06", True),
        ("2024-05-06T11:30+02:00", "2024-05-06T10:00Z", True),
        ("2024-05-06T10:00", "2024-05-06T10:00:30", False),
        ("never", "2024", False),
        ("2024", "never", False),
    ],
)
def test_before_means_all_of_it(text: str, other: str, expected: bool) -> None:
    assert is_before(text, other) is expected
