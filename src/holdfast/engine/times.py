"""Times as people and JSON see them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(ns: int) -> str:
    """`ns` since 1970 as RFC 3339 UTC, to the second; times outside of years 1 to 9999 are clamped."""
    try:
        return (_EPOCH + timedelta(seconds=ns // 1_000_000_000)).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    except OverflowError:
        return "9999-12-31T23:59:59Z" if ns > 0 else "0001-01-01T00:00:00Z"
