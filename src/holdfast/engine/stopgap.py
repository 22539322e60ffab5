"""An index in memory, for the time in which there is none on disk that can be used.

It is made by the same code from the same notes, so its answers are the same; it only costs time, and is kept as long as
it is needed. A rebuild of the real one is started in the background.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable

from holdfast.engine.detached import Detached
from holdfast.engine.diff import is_note_key
from holdfast.engine.passes import STOPPED
from holdfast.engine.sync import scan_into
from holdfast.engine.workspace import LEFT_ALONE, Workspace
from holdfast.errors import HoldfastError, IndexFault, IndexTooNew, ResourceFault
from holdfast.files.scan import Directory, scan
from holdfast.index.base import Index
from holdfast.index.sqlite.db import decoding
from holdfast.index.sqlite.store import SqliteIndex

COUNTED_S = 10
STEP_MS = 1_000
"""How long the notes are read before it is looked whether another process has begun to build the real index. Where the
notes take longer, reading them all beside it would slow both down."""


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
        if (filled := _filled(ws, stopgap, degraded)) is not None:
            return filled, "keyword"
        reason = "the index is not built yet"
    except HoldfastError as e:
        ws.count(f"index_{e.kind}", e)
        reason, rebuild = e.message.rstrip("."), rebuild and not isinstance(e, IndexTooNew)
        if not (ws.config.self_heal or ws.generations.is_outdated() or isinstance(e, ResourceFault)):
            reason, rebuild = f"{e.message} {LEFT_ALONE}".rstrip("."), False
    said = [f"{reason}; the notes were searched instead"]
    own = stopgap.index(said, rebuild=rebuild, until=lambda: _filled(ws, stopgap, []) is not None)
    if stopgap.behind != 0 and (filled := _filled(ws, stopgap, degraded)) is not None:
        return filled, "keyword"
    degraded += said
    return own, "scan"


def _filled(ws: Workspace, stopgap: Stopgap, degraded: list[str]) -> Index | None:
    """The published index where it is whole, or has notes and another process is filling it; what it lacks is said."""
    holder = ws.job_holder()
    try:
        index = ws.index()
        if index is None or not (notes := index.counts().notes):
            return None
        if not index.meta("full"):
            if holder is None:
                return None
            total = stopgap.notes_there(notes)
            degraded.append(f"the index is being built (pid {holder.pid}): {notes:,} of {total} notes were searched")
        return index
    except (IndexFault, ResourceFault):
        return None  # counted where it is met first


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
        self._guard = threading.RLock()
        self._index: SqliteIndex | None = None
        self.behind: int | None = None
        self._there: int | None = None
        self._counted_ns: int | None = None

    def notes_there(self, least: int) -> str:
        """How many notes the vault has, for people; "all" if they could not be counted in the time of a look.

        Counted anew after a while only: answers are given meanwhile, and each says how far the index has come.
        """
        fs, config = self._ws.fs, self._ws.config
        now_ns = fs.monotonic_ns()
        with self._guard:
            if self._counted_ns is None or now_ns - self._counted_ns > COUNTED_S * 10**9:
                walk = scan(fs, self._ws.root, deadline_ns=now_ns + config.look_ms * 1_000_000)
                count = sum(is_note_key(w[0]) and not _is_ignored(d, w[0]) for d in walk for w in d.files)
                self._there, self._counted_ns = None if walk.incomplete else count, now_ns
            return "all" if self._there is None else f"{max(self._there, least):,}"

    def index(self, degraded: list[str], *, rebuild: bool = True, until: Callable[[], bool] = lambda: False) -> Index:
        """The index in memory, as far as the notes could be read within the deadline; `degraded` gets the words.

        `rebuild` starts a sync in the background, which is of no use where the index is to be left alone. Once
        `until` holds no more notes are read: there is something better to ask.
        """
        with self._guard:
            if self._index is None:
                self._index = SqliteIndex.in_memory()
            left_ms = int(self._ws.config.scan_s * 1000)
            done, is_enough = scan_into(self._ws, self._index, min(STEP_MS, left_ms)), False
            while done.behind != 0 and (left_ms := left_ms - STEP_MS) > 0 and not (is_enough := until()):
                done = scan_into(self._ws, self._index, min(STEP_MS, left_ms))
            self.behind = done.behind
            index = self._index
        if done.behind is None or done.behind:
            total = "all" if done.behind is None else f"{done.notes + done.behind:,}"
            degraded.append(f"scanned {done.notes:,} of {total} notes within {self._ws.config.scan_s:g} s")
        if rebuild and not is_enough and self._ws.config.background:
            degraded.append(self._detached.start("sync") or "a sync in the background is building the index")
        return index

    def close(self) -> None:
        if self._index is not None:
            self._index.close()
            self._index = None


def _is_ignored(found: Directory, key: bytes) -> bool:
    return found.rules is not None and found.rules.ignores(os.fsdecode(key[len(found.key_prefix) :]))
