"""The continuous audit of a process that stays: some notes at a time, each compared with all that is kept of it.

What differs is read again under the job lock; where that does not help, or what is wrong is not one note's, the index
is set aside and built anew. A one-shot `sync` looks at a few notes in the same way (prove.audit_slice).
"""

from __future__ import annotations

from holdfast.engine.apply import Apply
from holdfast.engine.journal import NAME, Journal
from holdfast.engine.late import finish_late
from holdfast.engine.passes import known_grain_ns
from holdfast.engine.prove import AUDIT_ID, AUDITED_NS, Looked, look_over, mend
from holdfast.engine.sync import sync
from holdfast.engine.workspace import LEFT_ALONE, Workspace
from holdfast.errors import IndexDamaged
from holdfast.index.base import Index
from holdfast.index.sqlite.db import decoding
from holdfast.results import Audited


def audit(ws: Workspace, count: int) -> Audited:
    """Look at the next `count` notes and mend what is wrong; the place to go on is kept in the index.

    Raises VaultBusy where something is wrong and another process scans, and IndexDamaged where the settings say that
    damage is left alone; both are recorded as a failure of the job `audit`.
    """
    index = ws.index()
    if index is None or not index.meta("full"):
        return Audited(0, (), 0, rebuilt=False, is_last=True)
    looked, damage = _look(ws, index, count)
    if looked.is_clean and damage is None:
        _record(ws, index, looked)
        return Audited(looked.notes, (), 0, rebuilt=False, is_last=not looked.next)
    ws.count("audit_found")
    found = tuple(looked.words) or (str(damage),)
    try:
        rebuilt = _heal(ws, count)
    except Exception as e:
        ws.count("audit_failed")
        index.note_job("audit", f"{found[0]} {e}", ws.fs.time_ns(), failed=True)
        raise
    if rebuilt:
        sync(ws)
    if (now := ws.index()) is not None:
        _record(ws, now, Looked() if rebuilt else looked)
    return Audited(looked.notes, found, len(looked.suspects), rebuilt=rebuilt, is_last=not looked.next)


def _look(ws: Workspace, index: Index, count: int) -> tuple[Looked, IndexDamaged | None]:
    """What the next look finds; a damage that it does not survive comes beside it."""
    try:
        with decoding(index.path):
            after = int(index.meta(AUDIT_ID) or 0)
        return look_over(ws, index, after, count, read=True), None
    except IndexDamaged as e:
        ws.count("audit_met_damage")
        return Looked(), e


def _heal(ws: Workspace, count: int) -> bool:
    """Mend what the same look finds now that nobody else writes; returns whether the index was set aside instead."""
    if not ws.config.self_heal:
        raise IndexDamaged("The audit found damage.", hint=LEFT_ALONE)
    with ws.job("audit", ws.config.lock_wait_s):
        index = ws.writable_index()
        looked, damage = _look(ws, index, count)
        try:
            if damage is not None:
                raise damage
            with Journal(ws.fs, f"{ws.directory}/{NAME}", ws.count, is_writer=True) as journal:
                apply = Apply(ws, index, known_grain_ns(ws, index), None, journal)
                mend(ws, index, apply, looked)
                finish_late(ws, index, apply, lambda: None, None, is_full=False, is_forced=True)
                journal.is_done = True
        except IndexDamaged as e:
            ws.set_aside(e.message)
            return True
    return False


def _record(ws: Workspace, index: Index, looked: Looked) -> None:
    now_ns = ws.fs.time_ns()
    index.note_job("audit", "", now_ns, {AUDITED_NS: now_ns, AUDIT_ID: looked.next})
