"""What a question wants in time: a date that it names, or to know one. Pure; in English, as the trees were fitted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_MONTHS = "january february march april may june july august september october november december".split()
_NUMBER = {m[:3]: i + 1 for i, m in enumerate(_MONTHS)}
_SHORT = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_ISO = re.compile(r"\b((?:19|20)\d\d)-(\d\d)(?:-(\d\d))?\b")
_DAY_MONTH = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? {_SHORT}\b")
_MONTH_DAY = re.compile(rf"\b({'|'.join(_MONTHS)}) (\d{{1,2}})(?:st|nd|rd|th)?\b(?!\d)")
_MONTH = re.compile(
    rf"\b({'|'.join(m for m in _MONTHS if m != 'may')})\b|\b(?:in|during|of|by|since) (may)\b|\b(may) 20"
)
_YEAR = re.compile(r"\b((?:19|20)\d\d)\b")

TIME = re.compile(r"\s*(when|how long|since when|what (year|month|day|date))", re.I)

DAY_NS = 86_400 * 10**9
AFTERWARDS_DAYS = 10


@dataclass(frozen=True, slots=True)
class Named:
    """The date that a question names; 0 where it names none."""

    year: int = 0
    month: int = 0
    day: int = 0


def named_date(question: str) -> Named:
    """The date in a question: ISO, `8 May 2023`, `May 8`, `in May`, `2023`."""
    q = question.lower()
    if m := _ISO.search(q):
        return Named(int(m[1]), int(m[2]) if 1 <= int(m[2]) <= 12 else 0, int(m[3] or 0))
    y = _YEAR.search(q)
    year = int(y[1]) if y else 0
    if m := _DAY_MONTH.search(q):
        return Named(year, _NUMBER[m[2]], int(m[1]))
    if m := _MONTH_DAY.search(q):
        return Named(year, _NUMBER[m[1][:3]], int(m[2]))
    if m := _MONTH.search(q):
        return Named(year, _NUMBER[next(g for g in m.groups() if g)[:3]], 0)
    return Named(year)


def match(named: Named, at_ns: int | None) -> tuple[float, float]:
    """(said on that date, said shortly after it): people tell of things afterwards. Days are the local clock's."""
    if at_ns is None or not (named.year or named.month):
        return 0.0, 0.0
    try:
        when = datetime.fromtimestamp(at_ns // 10**9, UTC).astimezone().replace(tzinfo=None)
        if named.month and named.day:
            then = datetime(named.year or when.year, named.month, named.day)  # noqa: DTZ001 - both are local
            gap = (when.replace(hour=0, minute=0, second=0) - then).days
            return float(gap == 0), 1 - gap / 14 if 0 <= gap <= AFTERWARDS_DAYS else 0.0
    except (ValueError, OverflowError, OSError):
        return 0.0, 0.0
    if not named.month:
        return (0.3, 0.3) if when.year == named.year else (0.0, 0.0)
    if named.year in (0, when.year) and when.month == named.month:
        return 1.0, 1.0
    is_next = (when.month - named.month) % 12 == 1 and when.day <= 15
    is_near = is_next and (named.year in (0, when.year) or (named.month == 12 and when.year == named.year + 1))
    return 0.0, 0.5 if is_near else 0.0
