"""An index in memory, for the time in which there is none on disk that can be used.

It is made by the same code from the same notes, so its answers are the same; it only costs time, and is kept as long as
it is needed. A rebuild of the real one is started in the background.
"""

from __future__ import annotations

import json
import os
import threading

from holdfast.engine.detached import Detached
from holdfast.engine.diff import is_note_key
from holdfast.engine.passes import STOPPED
from holdfast.engine.sync import scan_into
from holdfast.engine.workspace import LEFT_ALONE, Workspace
from holdfast.errors import HoldfastError, IndexTooNew, ResourceFault
from holdfast.files.locks import Holder
from holdfast.files.scan import Directory, scan
from holdfast.index.base import Index
from holdfast.index.sqlite.db import decoding
from holdfast.index.sqlite.store import SqliteIndex

COUNTED_S = 10
FIRST_BATCH_S = 1.0
"""How long a question waits for the first notes of an index that another process has begun to build. Reading all notes
a second time beside it would take longer, and slow that one down."""
POLL_S = 0.02


def usable_index(ws: Workspace, stopgap: Stopgap, degraded: list[str]) -> tuple[Index, str]:
    """The index to ask, with how it finds: `keyword` for the published one, `scan` for the stopgap.

    The published one is asked if it covers all notes, or if another process is filling it for the first time; what it
    lacks is said in `degraded`.
    """
    rebuild = ws.is_writable
    try:
        index, holder = ws.index(), None
        if index is None or not index.meta("full"):
            index, holder = _first_batch(ws, index)
        if index is not None and index.meta("full"):
            return index, "keyword"
        if index is not None and (stopped := str(index.meta(STOPPED) or "")):
            degraded.append(_partial(index, stopped))
            return index, "keyword"
        if index is not None and holder is not None and (notes := index.counts().notes):
            total = stopgap.notes_there(notes)
            degraded.append(f"the index is being built (pid {holder.pid}): {notes:,} of {total} notes were searched")
            return index, "keyword"
        reason = "the index is not built yet"
    except HoldfastError as e:
        ws.count(f"index_{e.kind}", e)
        reason, rebuild = e.message.rstrip("."), rebuild and not isinstance(e, IndexTooNew)
        if not (ws.config.self_heal or ws.generations.is_outdated() or isinstance(e, ResourceFault)):
            reason, rebuild = f"{e.message} {LEFT_ALONE}".rstrip("."), False
    degraded.append(f"{reason}; the notes were searched instead")
    return stopgap.index(degraded, rebuild=rebuild), "scan"


def _first_batch(ws: Workspace, index: Index | None) -> tuple[Index | None, Holder | None]:
    """The index that another process is filling, as soon as it has notes, and that process; waits for it a moment."""
    until_ns = ws.fs.monotonic_ns() + int(FIRST_BATCH_S * 1e9)
    while (holder := ws.job_holder()) is not None and not _has_notes(index):
        if ws.fs.monotonic_ns() >= until_ns:
            break
        ws.fs.sleep(POLL_S)
        index = ws.index()
    return index, holder


def _has_notes(index: Index | None) -> bool:
    return index is not None and bool(index.counts().notes or index.meta("full"))


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


def _is_ignored(found: Directory, key: bytes) -> bool:
    return found.rules is not None and found.rules.ignores(os.fsdecode(key[len(found.key_prefix) :]))
