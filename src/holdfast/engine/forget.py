"""Forget notes, and prove it: the note, its history, its vectors and set-aside copies, in files that are made anew.

What a database frees is overwritten or written anew before the search begins: a fresh generation of the index, a
history that was vacuumed with `secure_delete`. What cannot be reached from here is said: backups, other machines,
repositories, blocks that the disk has freed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from holdfast.changes import Forgotten, Trace
from holdfast.engine.prune import prune
from holdfast.engine.sync import rebuild
from holdfast.engine.workspace import Workspace
from holdfast.engine.write import check_new
from holdfast.errors import Conflict, HoldfastError, NotFound
from holdfast.files import notes
from holdfast.files.fs import READ_BLOCK
from holdfast.files.swap import Changed, Swap
from holdfast.history.store import History
from holdfast.index.base import Index
from holdfast.model import key_path, show_path, sort_key
from holdfast.text.tokens import terms

_WORD = re.compile(r"[^\W_]{4,}")
_WORDS, _LINES, _LINE_LETTERS = 300, 40, 24
_OVERLAP = 512
_SCHEMAS = ("holdfast.index.sqlite", "holdfast.history")
"""Their statements stand in every database: a word of those betrays nothing."""

UNREACHED = (
    "Backups, snapshots, other machines and repositories that had the note are out of reach, as are blocks of the disk"
    " that were freed and not yet written again."
)


@dataclass(frozen=True, slots=True)
class _Text:
    """What is looked for afterwards: distinctive `words`, long `lines`, and the `paths` that the notes had."""

    words: tuple[str, ...]
    lines: tuple[str, ...]
    paths: tuple[str, ...]

    def pattern(self) -> re.Pattern[bytes] | None:
        """All of it as one expression over bytes, case aside."""
        found = {w for text in (*self.words, *self.lines, *self.paths) for w in (text, text.lower())}
        if not found:
            return None
        return re.compile(
            b"|".join(re.escape(os.fsencode(w)) for w in sorted(found, key=len, reverse=True)), re.IGNORECASE
        )


def forget(ws: Workspace, paths: Sequence[str], *, dry_run: bool) -> Forgotten:
    """Remove these notes and every trace of them that is ours; then search what is left, and say what was found.

    Raises NotFound where nothing is known of a path, Conflict where a note is changed meanwhile, VaultBusy while
    another process scans.
    """
    bodies = {path: _versions(ws, path) for path in paths}
    for path, known in bodies.items():
        if not known:
            raise NotFound(f"Nothing is known of {show_path(path)}.")
    shown = tuple(show_path(p) for p in paths)
    counts = sum(len(v) for v in bodies.values())
    if dry_run:
        return Forgotten(shown, counts, False, (), 0, (), UNREACHED)
    for path in paths:
        _remove(ws, path)
    _drop_versions(ws, paths)
    # They are gone because we removed them, all of them perhaps: that is no unmounted disk.
    rebuild(ws, accept_empty=True)
    prune(ws)
    _drop_versions(ws, paths)  # Once more: a sync on the way may have recorded that they are gone.
    index = ws.index()
    text = _text(index, [b for known in bodies.values() for b in known], paths)
    _clear_logs(ws, text)
    searched, traces = _search(ws, text)
    elsewhere = tuple(_elsewhere(ws, index, text)) if index is not None else ()
    return Forgotten(shown, counts, True, traces, searched, elsewhere, UNREACHED)


def _versions(ws: Workspace, path: str) -> list[bytes]:
    """Every content that is known of the note: that of now, and those of the history."""
    check_new(ws, path)
    out: list[bytes] = []
    try:
        out.append(notes.read_note(ws.fs, ws.root, path, max_bytes=ws.config.note_bytes).data)
    except FileNotFoundError:
        pass  # It was deleted: the history may have it.
    if ws.past.is_on and ws.past.is_begun():
        with ws.past.store() as store:
            for note in store.notes_of(path):
                digests = dict.fromkeys(e.digest for e in store.versions(note, limit=1_000_000) if e.digest is not None)
                out += [body for digest in digests if (body := _body(store, digest)) is not None]
    return list(dict.fromkeys(out))


def _body(store: History, digest: bytes) -> bytes | None:
    try:
        return store.body(digest)
    except HoldfastError:
        return None  # Damaged: it cannot be searched for, and is dropped with its entry.


def _remove(ws: Workspace, path: str) -> None:
    try:
        now = notes.read_note(ws.fs, ws.root, path, max_bytes=ws.config.note_bytes)
    except FileNotFoundError:
        return
    try:
        Swap(ws.fs, ws.root).take(path, now.digest)
    except Changed as e:
        raise Conflict(f"{show_path(path)} was changed in this moment; it was not forgotten.", hint="Try again.") from e


def _drop_versions(ws: Workspace, paths: Sequence[str]) -> None:
    if not ws.past.is_on or not ws.past.is_begun():
        return
    with ws.past.store() as store:
        for path in paths:
            for note in store.notes_of(path):
                store.drop([e.seq for e in store.versions(note, limit=1_000_000)])
        store.shrink()


def _text(index: Index | None, bodies: Iterable[bytes], paths: Sequence[str]) -> _Text:
    """What would betray the notes: words that no other note has, and lines of some length."""
    words: dict[str, None] = {}
    lines: dict[str, None] = {}
    for body in bodies:
        text = body.decode("utf-8", "replace")
        words |= dict.fromkeys(w.group() for w in _WORD.finditer(text))
        lines |= dict.fromkeys(s for line in text.splitlines() if len(s := line.strip()) >= _LINE_LETTERS)
    own = {word: terms(word) for word in words}
    often = index.proofs.frequencies({t for ts in own.values() for t in ts}) if index is not None else {}
    schemas = b"".join(files(p).joinpath("schema.sql").read_bytes() for p in _SCHEMAS).decode().lower()
    rare = [w for w, ts in own.items() if ts and not any(often.get(t) for t in ts) and w.lower() not in schemas]
    longest = sorted(lines, key=len, reverse=True)[:_LINES]
    return _Text(tuple(sorted(rare, key=len, reverse=True)[:_WORDS]), tuple(longest), tuple(paths))


def _ours(ws: Workspace) -> Iterator[str]:
    """Every file of ours that remains: of the index, the history and the log."""
    for folder in (ws.directory, ws.past.directory):
        for here, _, names in os.walk(folder):
            yield from (os.path.join(here, name) for name in names)
    if os.path.exists(ws.log.path):
        yield ws.log.path


def _clear_logs(ws: Workspace, text: _Text) -> None:
    """The log, what a check found and what a watch said name notes: where they name these, they go."""
    pattern = text.pattern()
    for path in (ws.log.path, f"{ws.directory}/verdict.json", f"{ws.directory}/health.json"):
        if pattern is not None and os.path.exists(path) and _found(path, pattern):
            ws.fs.unlink(path)


def _search(ws: Workspace, text: _Text) -> tuple[int, tuple[Trace, ...]]:
    """(files searched, what was found); the versions of the history are searched as they were before packing."""
    pattern, traces, searched = text.pattern(), [], 0
    for path in sorted(set(_ours(ws))):
        searched += 1
        if pattern is not None and (hit := _found(path, pattern)) is not None:
            traces.append(Trace(path, hit))
    if pattern is not None and ws.past.is_on and ws.past.is_begun():
        with ws.past.store() as store:
            for digest in store.digests():
                body = _body(store, digest)
                if body is not None and (match := pattern.search(body)) is not None and not _is_elsewhere(ws, match[0]):
                    traces.append(Trace(f"{store.path} (version b2-{digest.hex()})", os.fsdecode(match[0])))
    return searched, tuple(traces)


def _is_elsewhere(ws: Workspace, text: bytes) -> bool:
    """Whether other notes have that text, now: then it is theirs."""
    index = ws.index()
    said = terms(text.decode("utf-8", "replace"))
    often = index.proofs.frequencies(said) if index is not None else {}
    return bool(said) and all(often.get(t) for t in said)


def _found(path: str, pattern: re.Pattern[bytes]) -> str | None:
    kept = b""
    try:
        with open(path, "rb") as file:
            while block := file.read(READ_BLOCK):
                if (match := pattern.search(kept + block)) is not None:
                    return os.fsdecode(match[0])
                kept = block[-_OVERLAP:]
    except FileNotFoundError:
        pass  # SQLite removes its log when the last connection closes.
    return None


def _elsewhere(ws: Workspace, index: Index, text: _Text) -> Iterator[str]:
    """Other notes that have a line of the text: they are not forgotten, and are named."""
    after = b""
    pattern = re.compile(b"|".join(re.escape(x.encode()) for x in text.lines)) if text.lines else None
    while pattern is not None and (page := index.file_rows(after, 500)):
        after = page[-1][0]
        for row in page:
            path = key_path(row[0])
            try:
                body = notes.read_note(ws.fs, ws.root, path, max_bytes=ws.config.note_bytes).data
            except (HoldfastError, OSError):
                continue
            if index.note_by_key(sort_key(path)) is not None and pattern.search(body):
                yield show_path(path)
