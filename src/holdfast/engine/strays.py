"""Files that a write left in the vault because its process died: what they hold is kept, then they go.

Between the exchange of two names and the look at what came out, such a file may hold what another program has just
saved (files/swap.py), and nobody else does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from holdfast.engine.workspace import Workspace
from holdfast.errors import HoldfastError, NotFound
from holdfast.files import notes
from holdfast.files.paths import is_note
from holdfast.files.swap import stray_of
from holdfast.history.rows import Change, Kind

_OLD_NS = 3_600 * 10**9


def clear_strays(ws: Workspace, paths: Sequence[str]) -> None:
    """Keep what these files hold in the history of their notes, and remove them; what hinders is counted."""
    if not ws.past.is_on:
        return
    for path in paths:
        try:
            _clear(ws, path)
        except (HoldfastError, OSError) as e:
            ws.count("stray_left", e)


def _clear(ws: Workspace, path: str) -> None:
    folder, slash, name = path.rpartition("/")
    here = [e.name for e in ws.fs.scandir(f"{ws.root}/{folder}") if is_note(e.name)]
    stray = stray_of(name, here)
    if stray is None or not _is_left(ws, path, stray[0]):
        return
    body = notes.read_note(ws.fs, ws.root, path, max_bytes=ws.config.note_bytes).data
    with ws.past.store() as store:
        try:
            store.body(notes.digest_of(body))
        except NotFound:
            if stray[1] is None:
                return  # Whose it is cannot be told any more: it stays, and `sync --explain` names it.
            note = f"{folder}{slash}{stray[1]}"
            now = notes.read_note(ws.fs, ws.root, note, max_bytes=ws.config.note_bytes).data
            at = ws.fs.time_ns()
            store.record([Change(Kind.FOUND, note, body, at), Change(Kind.FOUND, note, now, at)])
    ws.fs.unlink(f"{ws.root}/{path}")


def _is_left(ws: Workspace, path: str, process: int) -> bool:
    """Whether its process is gone: by its number here, by age where the folder is shared with other machines."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # There is one of that number, another user's.
    return ws.fs.time_ns() - ws.fs.stat(f"{ws.root}/{path}").st_mtime_ns > _OLD_NS
