"""The dates of the format: ISO year, month, day or instant, and the time each of them covers.

Text stays text everywhere; what lives here says whether a text is a date and which nanoseconds it means. An instant
may have a `T` or a space before its time; seconds, a fraction and a zone are optional. Without a zone it is taken as
UTC here, where nothing is known of the place; engine.times has the local reading.
"""

from __future__ import annotations

import re
from datetime import date

_DATE = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})(?:[T ](?P<time>[0-9]{2}:[0-9]{2}"
    r"(?::[0-9]{2}(?:[.,][0-9]{1,30})?)?)(?P<zone>Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?)?)?"
)

_SECOND = 10**9
_DAY = 86_400 * _SECOND
_EPOCH = date(1970, 1, 1).toordinal()
_LEAST, _MOST = -(2**63), 2**63 - 1


def is_date(text: str) -> bool:
    """Whether `text` is an ISO year, month, day or instant that exists."""
    return _interval(text) is not None


def is_instant(text: str) -> bool:
    """Whether `text` is a date with a time of day."""
    return len(text) >= 16 and _interval(text) is not None


def has_zone(text: str) -> bool:
    """Whether `text` is a date that states its zone."""
    match = _DATE.fullmatch(text)
    return match is not None and match["zone"] is not None


def bounds(text: str) -> tuple[int, int] | None:
    """The first nanosecond that `text` covers and the first after it, in UTC since 1970; None if it is no date.

    A minute covers 60 seconds, a second one, a fraction what its last digit stands for. Held to 64 bits: whatever
    lies before 1677 or after 2262 is the least or the greatest number.
    """
    found = _interval(text)
    if found is None:
        return None
    start, end = found
    return min(max(start, _LEAST), _MOST - 1), min(max(end, _LEAST + 1), _MOST)


def is_before(text: str, other: str) -> bool:
    """Whether all of date `text` lies before date `other`; False if one of them is no date."""
    this, that = _interval(text), _interval(other)
    return this is not None and that is not None and this[1] <= that[0]


def _interval(text: str) -> tuple[int, int] | None:
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day, time, zone = match.groups()
    try:
        start = date(int(year), int(month or 1), int(day or 1)).toordinal()
    except ValueError:
        return None
    if time is not None:
        return _moment(start, time, zone)
    if day is not None:
        end = start + 1
    elif month is None or month == "12":
        end = date(int(year), 12, 31).toordinal() + 1
    else:
        end = date(int(year), int(month) + 1, 1).toordinal()
    return (start - _EPOCH) * _DAY, (end - _EPOCH) * _DAY


def _moment(day: int, time: str, zone: str | None) -> tuple[int, int] | None:
    hour, minute, second = int(time[:2]), int(time[3:5]), int(time[6:8] or 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    ahead = 0
    if zone is not None and zone != "Z":
        hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
        if hours > 23 or minutes > 59:
            return None
        ahead = (hours * 60 + minutes) * (-60 if zone[0] == "-" else 60)
    fraction = time[9:18]
    start = (day - _EPOCH) * _DAY + (hour * 3600 + minute * 60 + second - ahead) * _SECOND
    start += int(fraction.ljust(9, "0") or 0) if fraction else 0
    if len(time) == 5:
        return start, start + 60 * _SECOND
    return start, start + 10 ** (9 - len(fraction))
