"""Look at the notes before answering from the index, for a bounded time."""

from __future__ import annotations

from holdfast.engine.passes import Options
from holdfast.engine.sync import sync
from holdfast.engine.workspace import Workspace
from holdfast.errors import IndexFault, NoteError, ResourceFault, TruthFault, VaultBusy, VaultMissing


def look_first(ws: Workspace, degraded: list[str]) -> int | None:
    """Bring the index up to date within the look's deadline; returns how many notes it is behind, None if unknown.

    What hinders is named in `degraded`. Threads that ask at once share a look that began after each of them asked.
    """
    asked_ns = ws.fs.monotonic_ns()
    if not ws.looking.acquire(timeout=ws.config.look_ms / 1000):
        degraded.append("a sync of this vault is under way; the newest changes may be missing")
        return None
    try:
        if ws.looked_ns >= asked_ns:
            return ws.looked_behind
        began_ns = ws.fs.monotonic_ns()
        done = sync(ws, Options(deadline_ms=ws.config.look_ms))
        ws.looked_behind = done.behind
        if done.stopped is not None:
            left = "some changed notes" if done.behind is None else f"{done.behind:,} new or changed notes"
            degraded.append(f"{left} are not in the index: {done.stopped.message}")
        ws.looked_ns, ws.is_missing, ws.is_writable = began_ns, False, True
        return ws.looked_behind
    except VaultBusy as e:
        degraded.append(f"{e.message} The newest changes may be missing.")
    except (IndexFault, ResourceFault, NoteError, TruthFault) as e:
        ws.count(f"look_{e.kind}", e)
        ws.is_missing = isinstance(e, VaultMissing)
        ws.is_writable = not isinstance(e, ResourceFault)
        degraded.append(f"the notes were not looked at: {e.message}")
    finally:
        if ws.rebuilt_because:
            degraded.append(f"{ws.rebuilt_because} It was set aside and is built anew from the notes.")
            ws.rebuilt_because = ""
        ws.looking.release()
    return None
