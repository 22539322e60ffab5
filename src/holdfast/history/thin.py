"""Keep a history within an age and a number of bytes: the oldest versions go first, the newest of each note stays.

Of a note that was deleted, the version before stays as long as its age allows: it is what brings it back.
"""

from __future__ import annotations

from holdfast.history.store import History

_BATCH = 500
_LOW = 0.9
"""It is thinned to this share of the bytes it may have, so that it need not be done at every change."""


def thin(history: History, *, max_bytes: int, before_ns: int) -> int:
    """Drop versions older than `before_ns`, then the oldest while there are more than `max_bytes`; how many went."""
    gone = 0
    while rows := history.old(before_ns, _BATCH):
        history.drop(rows)
        gone += len(rows)
    if history.live_bytes() > max_bytes:
        while history.live_bytes() > _LOW * max_bytes and (rows := history.old(2**63 - 1, _BATCH)):
            history.drop(rows)
            gone += len(rows)
    if gone:
        history.give_back()
    return gone
