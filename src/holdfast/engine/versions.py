"""The past of notes: what they held, who changed them, and taking that back.

A version is named by its number in the history (`NOTE@42`) or by a time (`NOTE@2026-11-20`: as it stood at the end of
that day). Taking back writes a new version; nothing is ever removed from the past by it.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.changes import Difference, Undone, Version, Versions, Written
from holdfast.engine.read import find_exact, usable
from holdfast.engine.times import bounds, rfc3339
from holdfast.engine.workspace import Workspace
from holdfast.engine.write import Terms, change, create, delete, rename
from holdfast.errors import Conflict, HoldfastError, NotFound, PathNotAllowed, QueryError
from holdfast.files import notes
from holdfast.files.paths import is_note, safe_path
from holdfast.history.rows import By, Entry, Kind
from holdfast.history.store import History
from holdfast.model import show_digest, show_path
from holdfast.text.merge import unified

_KINDS = {
    Kind.FOUND: "found", Kind.WRITTEN: "written", Kind.MOVED: "moved", Kind.DELETED: "deleted",
    Kind.RESTORED: "restored", Kind.GONE: "gone",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Named:
    """A note of the history: its id there, its path, and the entry that was named, if one was."""

    note: int
    path: str
    entry: Entry | None


def split_rev(identifier: str) -> tuple[str, str | None]:
    """`NOTE@REV` as note and rev; a name with an `@` of its own stays whole unless what follows can be a rev."""
    name, at, rev = identifier.rpartition("@")
    if at and name and (rev.isdecimal() or bounds(rev) is not None):
        return name, rev
    return identifier, None


def named(ws: Workspace, store: History, identifier: str, rev: str | None = None) -> Named:
    """The note that `identifier` names, there or deleted, with its version `rev`. Raises NotFound and QueryError."""
    if rev is None:
        identifier, rev = split_rev(identifier)
    path = _path(ws, store, identifier)
    note = store.note_of(path)
    if note is None:
        raise NotFound(
            f"Nothing is known of the past of “{identifier}”.", hint="Its history begins with the next sync."
        )
    return Named(note, path, _entry(store, note, path, rev) if rev else None)


def path_of(ws: Workspace, identifier: str) -> str:
    """The path of a note, there or deleted; raises NotFound."""
    if not ws.past.is_on or not ws.past.is_begun():
        return find_exact(ws, usable(ws), identifier)
    with ws.past.store() as store:
        return _path(ws, store, identifier)


def _path(ws: Workspace, store: History, identifier: str) -> str:
    try:
        return find_exact(ws, usable(ws), identifier)
    except NotFound:
        # Perhaps it was deleted: then the history knows it by the path that it had.
        for tried in (identifier,) if is_note(identifier.rpartition("/")[2]) else (identifier, f"{identifier}.md"):
            try:
                path = safe_path(ws.root, tried)
            except PathNotAllowed:
                continue
            if store.note_of(path) is not None:
                return path
        raise


def _entry(store: History, note: int, path: str, rev: str) -> Entry:
    if rev.isdecimal():
        found = store.entry(int(rev))
        if found is None or found.note != note:
            raise NotFound(
                f"{show_path(path)} has no version {rev}.", hint=f"`holdfast history {show_path(path)}` lists them."
            )
        return found
    span = bounds(rev)
    if span is None:
        raise QueryError(
            f"“{rev}” is no version and no date.", hint="Give a number of `history`, or a date such as 2026-11-20."
        )
    found = store.at(note, span[1] - 1)
    if found is None:
        raise NotFound(f"The history of {show_path(path)} does not reach back to {rev}.")
    return found


def history(ws: Workspace, identifier: str, *, before: int = 0, limit: int = 50) -> Versions:
    """The versions of a note, newest first; `next` is what to pass as `before` for older ones."""
    _want(ws)
    with ws.past.store() as store:
        known = named(ws, store, identifier)
        rows = store.versions(known.note, before=before, limit=limit + 1)
        return Versions(
            show_path(known.path),
            tuple(map(_version, rows[:limit])),
            rows[limit - 1].seq if len(rows) > limit else None,
        )


def recent(
    ws: Workspace, *, since: str = "", author: str = "", session: str = "", before: int = 0, limit: int = 50
) -> Versions:
    """The changes of all notes, newest first."""
    _want(ws)
    span = bounds(since) if since else (0, 0)
    if span is None:
        raise QueryError(f"“{since}” is no date.", hint="Write it like 2026-11-20.")
    with ws.past.store() as store:
        rows = store.recent(since_ns=span[0], author=author, session=session, before=before, limit=limit + 1)
        return Versions(None, tuple(map(_version, rows[:limit])), rows[limit - 1].seq if len(rows) > limit else None)


def text_at(ws: Workspace, identifier: str, rev: str) -> tuple[str, bytes, Entry]:
    """(path, bytes, entry) of a note as it stood; raises NotFound where it was deleted then."""
    _want(ws)
    with ws.past.store() as store:
        known = named(ws, store, identifier, rev)
        assert known.entry is not None
        if known.entry.digest is None:
            raise NotFound(f"{show_path(known.path)} was deleted then (version {known.entry.seq}).")
        return known.path, store.body(known.entry.digest), known.entry


def version_named(ws: Workspace, identifier: str) -> tuple[str, bytes, int] | None:
    """(path, bytes, time) of `NOTE@REV`, None where `identifier` is no such name. Raises NotFound and QueryError."""
    name, rev = split_rev(identifier)
    if rev is None or not ws.past.is_on or not ws.past.is_begun():
        return None
    path, body, entry = text_at(ws, name, rev)
    return path, body, entry.time_ns


def diff(ws: Workspace, identifier: str, older: str | None, newer: str | None) -> Difference:
    """What changed in a note: between two versions, from one to now, or by the last change."""
    _want(ws)
    with ws.past.store() as store:
        known = named(ws, store, identifier)
        now = _now(ws, known.path)
        if older is None and known.entry is not None:
            older = str(known.entry.seq)
        if older is None:
            rows = store.versions(known.note, limit=2)
            last = store.body(rows[0].digest) if rows and rows[0].digest else b""
            if now is not None and now != last:
                a, name_a = last, f"version {rows[0].seq}" if rows else "nothing"
            else:
                a = store.body(rows[1].digest) if len(rows) > 1 and rows[1].digest else b""
                name_a = f"version {rows[1].seq}" if len(rows) > 1 else "nothing"
        else:
            entry = _entry(store, known.note, known.path, older)
            a, name_a = store.body(entry.digest) if entry.digest else b"", f"version {entry.seq}"
        b, name_b = now or b"", "now"
        if newer is not None:
            entry = _entry(store, known.note, known.path, newer)
            b, name_b = store.body(entry.digest) if entry.digest else b"", f"version {entry.seq}"
    path = show_path(known.path)
    return Difference(path, name_a, name_b, unified(a, b, f"{path} ({name_a})", f"{path} ({name_b})"))


def restore(ws: Workspace, identifier: str, by: By) -> Written:
    """Make a note what it was at `NOTE@REV`; a deleted one comes back, without a rev as it was last."""
    _want(ws)
    with ws.past.store() as store:
        known = named(ws, store, identifier)
        entry = known.entry
        if entry is None:
            rows = [e for e in store.versions(known.note, limit=2) if e.digest is not None]
            if _now(ws, known.path) is not None or not rows:
                raise QueryError(
                    f"Which version of {show_path(known.path)}?", hint=f"Name it, as in {show_path(known.path)}@42."
                )
            entry = rows[0]
        if entry.digest is None:
            raise NotFound(f"{show_path(known.path)} was deleted by version {entry.seq}.", hint="Name an older one.")
        body = store.body(entry.digest)
    return _back(ws, known.path, body, by)


def _back(ws: Workspace, path: str, body: bytes, by: By) -> Written:
    if _now(ws, path) is None:
        return create(ws, path, body, by, Kind.RESTORED)
    return change(ws, path, lambda _: body, Terms(by), Kind.RESTORED)


def undo(ws: Workspace, session: str, by: By, *, dry_run: bool = False) -> Undone:
    """Take back what a session wrote and nobody changed since, newest first; the rest is listed with the reason."""
    _want(ws)
    with ws.past.store() as store:
        entries = store.of_session(session)
        if not entries:
            raise NotFound(f"Nothing was written in the session “{session}”.", hint="`holdfast recent` names sessions.")
        noted = dict.fromkeys(e.note for e in entries)
        plans = [(note, [e for e in entries if e.note == note]) for note in noted]
        backs = [(*_before_session(store, note, own), own) for note, own in plans]
    done: list[str] = []
    left: list[str] = []
    for path, why, before, own in backs:
        if why:
            left.append(f"{show_path(path)}: {why}")
            continue
        if not dry_run:
            try:
                _take_back(ws, path, before, own, by)
            except HoldfastError as e:
                left.append(f"{show_path(path)}: {e.message}")
                continue
        done.append(show_path(path))
    return Undone(session, tuple(done), tuple(left), not dry_run)


def _before_session(store: History, note: int, own: list[Entry]) -> tuple[str, str, Entry | None]:
    """(path, why it must stay or "", the entry before the session) of one note."""
    newest = store.versions(note, limit=1)[0]
    ours = {e.seq for e in own}
    if newest.seq not in ours:
        who = newest.by.author or "somebody"
        return newest.path, f"{who} changed it since (version {newest.seq})", None
    first = min(own, key=lambda e: e.seq)
    between = [e for e in store.versions(note, limit=10_000) if e.seq > first.seq and e.seq not in ours]
    if between:
        return newest.path, f"others changed it in between (version {between[-1].seq})", None
    return newest.path, "", store.before(first)


def _take_back(ws: Workspace, path: str, before: Entry | None, own: list[Entry], by: By) -> None:
    newest = max(own, key=lambda e: e.seq)
    now = _now(ws, path)
    if (notes.digest_of(now) if now is not None else None) != newest.digest:
        raise Conflict("it is not what the session left.")
    if before is None or before.digest is None:
        if now is not None:
            delete(ws, path, Terms(by, newest.digest))
        return
    with ws.past.store() as store:
        body = store.body(before.digest)
    if before.path != path and now is not None:
        rename(ws, path, before.path, Terms(by, newest.digest))
        path = before.path
    _back(ws, path, body, by)


def _now(ws: Workspace, path: str) -> bytes | None:
    try:
        return notes.read_note(ws.fs, ws.root, path, max_bytes=ws.config.note_bytes).data
    except FileNotFoundError:
        return None


def _version(e: Entry) -> Version:
    return Version(
        e.seq, show_path(e.path), _KINDS[e.kind], rfc3339(e.time_ns), show_digest(e.digest) if e.digest else None,
        e.size, e.by.author or None, e.by.session or None, e.by.reason or None,
    )  # fmt: skip


def _want(ws: Workspace) -> None:
    if not ws.past.is_on:
        raise QueryError("This vault keeps no history.", hint='Set `history = "on"` in .holdfast/config.toml.')
