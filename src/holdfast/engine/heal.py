"""What whoever meets damage while reading does about it: set the index aside, so that it is built anew without a word.

An index is only ever set aside here, never removed, and only the very one in which the damage was met.
"""

from __future__ import annotations

from holdfast.engine.workspace import LEFT_ALONE, Workspace
from holdfast.errors import HoldfastError, IndexDamaged
from holdfast.index.base import Index


def set_aside(ws: Workspace, index: Index, met: HoldfastError) -> str:
    """Set `index` aside if `met` says that it is damaged, and return what became of it, in words; "" if nothing did.

    Whoever scans meanwhile goes on; then the next who meets the damage does it.
    """
    if not isinstance(met, IndexDamaged) or not ws.is_writable:
        return ""
    if not ws.config.self_heal:
        return LEFT_ALONE
    try:
        with ws.job("repair", 0.0):
            if ws.index() is not index:
                return ""  # it was replaced meanwhile
            ws.set_aside(met.message)
            ws.rebuilt_because = ""  # who asks is told here
    except HoldfastError as e:
        ws.count(f"heal_{e.kind}")
        return ""
    return "It was set aside and is built anew from the notes."
