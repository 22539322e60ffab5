"""A circuit breaker for an embedder that fails, kept in the index so that every process knows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b

from holdfast.config import USERS_ALONE, Config
from holdfast.index.base import Index

# How long an embedder that failed is left alone, by the number of failures in a row; kept in the index, so that every
# process knows. The last one holds for all that follow.
PAUSES_S = (5, 30, 120, 600)
BREAKER = "embedder_failed"
FAILED_WITH = "embedder_failed_with"
"""With which settings embedding failed last: an error of other settings than those of now says nothing."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """What the index remembers of an embedder that failed: since when, how often in a row, and until when it rests."""

    failures: int
    until_ns: int
    error: str


def open_breaker(index: Index, identity: str, now_ns: int) -> Breaker | None:
    """The breaker if it is open for this embedder now."""
    try:
        raw = json.loads(str(index.meta(BREAKER) or "null"))
        if raw is None or raw["identity"] != identity:
            return None
        found = Breaker(int(raw["failures"]), int(raw["until_ns"]), str(raw["error"]))
    except (ValueError, KeyError, TypeError):
        return None
    return found if now_ns < found.until_ns <= now_ns + PAUSES_S[-1] * 10**9 else None


def trip(index: Index, identity: str, now_ns: int, error: Exception) -> None:
    """Let the embedder rest, the longer the more often it failed."""
    try:
        raw = json.loads(str(index.meta(BREAKER) or "null"))
        failures = int(raw["failures"]) + 1 if raw is not None and raw["identity"] == identity else 1
    except (ValueError, KeyError, TypeError):
        failures = 1
    until_ns = now_ns + PAUSES_S[min(failures, len(PAUSES_S)) - 1] * 10**9
    value = {"identity": identity, "failures": failures, "until_ns": until_ns, "error": str(error)}
    index.put_meta({BREAKER: json.dumps(value)})


def reset(index: Index) -> None:
    """Forget its failures."""
    if index.meta(BREAKER) not in (None, "null"):
        index.put_meta({BREAKER: "null"})


def settings_mark(config: Config) -> str:
    """What tells the settings of one embedder from those of another, without asking either; no secret can be read of
    it."""
    named = [(name, getattr(config, name)) for name in sorted(Config.__slots__) if name.startswith(USERS_ALONE)]
    return blake2b(repr(named).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
