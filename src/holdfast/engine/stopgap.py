"""An index in memory, for the time in which there is none on disk that can be used.

It is made by the same code from the same notes, so its answers are the same; it only costs time, and is kept as long as
it is needed. A rebuild of the real one is started in the background.
"""

from __future__ import annotations

import json
import threading

from holdfast.engine.detached import Detached
from holdfast.engine.sync import STOPPED, scan_into
from holdfast.engine.workspace import Workspace
from holdfast.errors import HoldfastError, IndexTooNew
from holdfast.index.base import Index
from holdfast.index.sqlite.db import decoding
from holdfast.index.sqlite.store import SqliteIndex


def usable_index(ws: Workspace, stopgap: Stopgap, degraded: list[str]) -> tuple[Index, str]:
    """The index to ask, with how it finds: `keyword` for the published one, `scan` for the stopgap.

    The published one is asked if it covers all notes, or if another process is filling it for the first time; what it
    lacks is said in `degraded`.
    """
    rebuild = ws.is_writable
    try:
        index = ws.index()
        if index is not None and index.meta("full"):
            return index, "keyword"
        if index is not None and (stopped := str(index.meta(STOPPED) or "")):
            degraded.append(_partial(index, stopped))
            return index, "keyword"
        holder = ws.job_holder()
        if index is not None and holder is not None and (notes := index.counts().notes):
            degraded.append(f"the first sync is under way (pid {holder.pid}): {notes:,} notes so far were searched")
            return index, "keyword"
        reason = "the index is not built yet"
    except HoldfastError as e:
        ws.count(f"index_{e.kind}", e)
        reason, rebuild = e.message.rstrip("."), rebuild and not isinstance(e, IndexTooNew)
    degraded.append(f"{reason}; the notes were searched instead")
    return stopgap.index(degraded, rebuild=rebuild), "scan"


def _partial(index: Index, stopped: str) -> str:
    with decoding(index.path):
        said = json.loads(stopped)
        notes = index.counts().notes
        of = "all" if said["left"] is None else f"{notes + int(said['left']):,}"
        return f"partial: {notes:,} of {of} notes were searched. {said['message']}"


class Stopgap:
    """The index in memory of one open vault, made when it is first needed."""

    def __init__(self, ws: Workspace, detached: Detached) -> None:
        self._ws, self._detached = ws, detached
        self._guard = threading.Lock()
        self._index: SqliteIndex | None = None
        self.behind: int | None = None

    def index(self, degraded: list[str], *, rebuild: bool = True) -> Index:
        """The index in memory, as far as the notes could be read within the deadline; `degraded` gets the words.

        `rebuild` starts a sync in the background, which is of no use where the index is to be left alone.
        """
        with self._guard:
            if self._index is None:
                self._index = SqliteIndex.in_memory()
            done = scan_into(self._ws, self._index, int(self._ws.config.scan_s * 1000))
            self.behind = done.behind
            index = self._index
        if done.behind is None or done.behind:
            total = "all" if done.behind is None else f"{done.notes + done.behind:,}"
            degraded.append(f"scanned {done.notes:,} of {total} notes within {self._ws.config.scan_s:g} s")
        if rebuild and self._ws.config.background:
            degraded.append(self._detached.start("sync") or "a sync in the background is building the index")
        return index

    def close(self) -> None:
        if self._index is not None:
            self._index.close()
            self._index = None
