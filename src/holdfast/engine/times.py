"""Times as people and JSON see them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from holdfast.text import dates

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(ns: int) -> str:
    """`ns` since 1970 as RFC 3339 UTC, to the second; times outside of years 1 to 9999 are clamped."""
    try:
        return (_EPOCH + timedelta(seconds=ns // 1_000_000_000)).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    except OverflowError:
        return "9999-12-31T23:59:59Z" if ns > 0 else "0001-01-01T00:00:00Z"


def bounds(text: str) -> tuple[int, int] | None:
    """The nanoseconds that the date `text` covers, as text.dates.bounds; without a zone it is a local date."""
    span = dates.bounds(text)
    if span is None or dates.has_zone(text):
        return span
    return _local(span[0]), _local(span[1])


def _local(ns: int) -> int:
    """The instant at which a local clock shows what a UTC clock shows at `ns`."""
    try:
        shown = (_EPOCH + timedelta(seconds=ns // 1_000_000_000)).replace(tzinfo=None)
        local = int(shown.astimezone(UTC).timestamp()) * 1_000_000_000 + ns % 1_000_000_000
        return max(-(1 << 63), min(local, (1 << 63) - 1))
    except (OverflowError, ValueError, OSError):
        return ns  # at the ends of time no zone is known
