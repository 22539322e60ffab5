"""Make the index equal to the notes.

scan -> diff -> read, parse, chunk -> apply; then removals, then postings. Removals wait for the end of the walk, when
it is known that the vault is there and which files only moved. Everything is committed in batches: a sync that dies is
continued by the next.
"""

from __future__ import annotations

from dataclasses import replace

from holdfast.engine.carry import carry_over
from holdfast.engine.hints import leave, take
from holdfast.engine.passes import Options, Pass, Progress, note_failure
from holdfast.engine.workspace import Workspace
from holdfast.errors import (
    IndexDamaged,
    IndexFault,
    VaultBusy,
)
from holdfast.index.base import Index
from holdfast.index.generations import OpenIndex
from holdfast.index.home import Manifest
from holdfast.results import Synced


def sync(ws: Workspace, options: Options | None = None, progress: Progress | None = None) -> Synced:
    """Bring the index up to the notes and say what was done.

    Raises VaultBusy while another process scans, VaultMissing where the notes seem to be gone, and the resource faults.
    """
    options = options or Options()
    if options.paths:
        return _hinted(ws, options, progress)
    is_look = options.deadline_ms is not None
    wait_s = options.wait_s if options.wait_s is not None else 0.0 if is_look else ws.config.lock_wait_s
    with ws.job("sync", wait_s):
        index = ws.writable_index()
        try:
            if is_look:
                return _run(ws, index, options, progress)
            take(ws)  # whatever was left is met by the walk
            done = _run(ws, index, options, progress)
            _take_hints(ws)
            return done
        except Exception as e:
            note_failure(ws, index, e)
            raise


def _run(ws: Workspace, index: Index, options: Options, progress: Progress | None) -> Synced:
    try:
        return Pass(ws, index, options, progress).run()
    except IndexDamaged as e:
        # Damage that shows only now: set it aside and build from the notes, once.
        ws.count("index_IndexDamaged")
        ws.set_aside(e.message)
        return Pass(ws, ws.writable_index(), options, progress).run()


def _take_hints(ws: Workspace) -> None:
    """Look at what others left while this process had the job lock. Test: fault/test_hints.py."""
    left = take(ws, keep_all=True)
    if left.paths:
        Pass(ws, ws.writable_index(), Options(paths=left.paths), None).run()


def scan_into(ws: Workspace, index: Index, deadline_ms: int) -> Synced:
    """Bring an index of this process alone up to the notes, as far as the deadline allows; takes no lock."""
    return Pass(ws, index, Options(deadline_ms=deadline_ms), None).run()


def rebuild(ws: Workspace, progress: Progress | None = None, *, accept_empty: bool = False) -> Synced:
    """Build a new generation from the notes beside the published one, then publish it."""
    with ws.job("rebuild", ws.config.lock_wait_s):
        opened, manifest, done = build_beside(ws, progress, accept_empty=accept_empty)
        ws.adopt(opened, manifest)
        _take_hints(ws)
        return done


def build_beside(
    ws: Workspace, progress: Progress | None, *, accept_empty: bool = False
) -> tuple[OpenIndex, Manifest, Synced]:
    """A new generation from the notes, with every whole vector of the others; not published. Needs the job lock."""
    known = _known_notes(ws)
    opened, manifest = ws.build()
    try:
        done = Pass(ws, opened.index, Options(accept_empty=accept_empty), progress, known).run()
        if done.stopped is not None:
            raise done.stopped  # the old one serves
        carry_over(ws, opened.index)
    except BaseException:
        opened.close()
        # This one alone: of the others, even a damaged one may be all that is left of the vectors.
        ws.generations.drop(manifest.generation)
        raise
    return opened, manifest, done


def _hinted(ws: Workspace, options: Options, progress: Progress | None) -> Synced:
    """Look at the given paths, also while another process scans: batches never overwrite what is newer.

    They are left as hints for that one too: what it builds may not be what is published now.
    """
    try:
        with ws.job("sync", 0.0):
            more = take(ws, keep_all=True).paths
            options = replace(options, paths=tuple(dict.fromkeys((*options.paths, *more))))
            index = ws.writable_index()
            try:
                done = _run(ws, index, options, progress)
                _take_hints(ws)
                return done
            except Exception as e:
                note_failure(ws, index, e)
                raise
    except VaultBusy:
        leave(ws, options.paths)
        published = ws.index()
        if published is None:
            raise
        return Pass(ws, published, options, progress, is_alone=False).run()


def _known_notes(ws: Workspace) -> int:
    """How many notes the published index has; 0 where it cannot be asked."""
    try:
        index = ws.index()
        return index.counts().notes if index else 0
    except IndexFault as e:
        ws.count(f"index_{e.kind}", e)
        return 0
